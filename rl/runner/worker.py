"""A worker process: takes one job after another, so that imports are paid for once."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rl.artifacts import open_run, run_directory
from rl.config import DecoderRunConfig, RunSpec, config_digest
from rl.digests import file_sha256
from rl.errors import UserError
from rl.files import named


@dataclass(frozen=True)
class Job:
    """One run, or with `spec.arm` empty the training of the base model that it starts from."""

    spec: RunSpec
    root: Path
    cache: Path
    facts: dict[str, Any]
    checkpoint_seconds: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.spec.arm} seed {self.spec.seed}" if self.spec.arm else "base model"

    @property
    def steps(self) -> int:
        """How many times the job will report."""
        made = self.spec.config.base_model()
        return made.base.steps if made and not self.spec.arm else self.spec.config.steps

    @property
    def log_file(self) -> Path:
        """Where the job's own output goes."""
        return self.root / "logs" / f"{self.name.replace(' ', '-')}.txt"


def work(connection: Connection, gpu: str | None = None) -> None:
    """Serve jobs until told to stop, on one GPU if it is named. Messages: (`step`, done, value),
    (`done`,), (`failed`, why).

    A job that raises ends the process; its traceback is the end of the job's log. Ctrl-C is for
    the parent, which stops its workers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when torch first looks
    while (job := connection.recv()) is not None:
        try:
            restore = output_to(job.log_file)
            run_job(job, lambda step, value: connection.send(("step", step, value)))
        except BrokenPipeError:  # the parent was killed: leave what is logged to its successor
            return
        except BaseException as error:
            connection.send(("failed", job_error(error)))
            raise
        restore()
        connection.send(("done",))


def job_error(error: BaseException) -> str:
    """One line, for people."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def output_to(path: Path) -> Callable[[], None]:
    """This process's stdout and stderr, native code's too, go to a file until undone."""
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return _redirected(path)


def _redirected(path: Path) -> Callable[[], None]:
    saved = {target: os.dup(target) for target in (1, 2)}
    with path.open("w", encoding="utf-8") as file:
        for target in saved:
            os.dup2(file.fileno(), target)

    def restore() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        for target, copy in saved.items():
            os.dup2(copy, target)
            os.close(copy)

    return restore


@cache
def load() -> None:
    """Import what jobs need, once, without a look for garbage among what stays: a second less."""
    gc.disable()
    import rl.trainers.policy  # noqa: F401

    gc.freeze()
    gc.enable()


def run_job(job: Job, report: Callable[[int, float], None]) -> None:
    """Do it; `report` gets (steps done, value). On several ranks all must call it."""
    load()
    import torch
    from transformers.utils import logging as transformers_logging

    from rl.engine import device
    from rl.models import load_decoder
    from rl.runner.base_models import base_directory, make_base_model
    from rl.runner.provenance import machine, versions
    from rl.trainers.published import load_published

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(1)  # another number of threads sums in another order
    spec, every_s = job.spec, job.checkpoint_seconds
    model: Any = None
    base_facts: dict[str, Any] = {}
    made = spec.config.base_model()
    if made is not None:
        if not spec.arm:
            make_base_model(job.cache, made, report, checkpoint_seconds=every_s)
            return
        base = base_directory(job.cache, made)
        model = load_decoder(base)
        base_facts = {
            "base_model": base.name,
            "base_sha256": file_sha256(base / "model.safetensors"),
        }
    elif isinstance(spec.config, DecoderRunConfig):  # it was fetched before any run
        model, base_facts = load_published(spec.config)
    manifest = {
        **job.facts,
        "arm": spec.arm,
        "seed": spec.seed,
        "config": spec.config.model_dump(mode="json"),
        "config_sha256": config_digest(spec.config),
        **base_facts,
        "versions": versions(vllm=spec.config.by_vllm),
        "machine": machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    directory = run_directory(job.root, spec.arm, spec.seed)
    with open_run(directory, manifest, checkpoint_seconds=every_s) as log:
        program = _programs()[spec.config.program]
        start = {} if model is None else {"model": model.to(device())}
        tokens = program(spec.config, seed=spec.seed, log=log, report=report, **start)
        seconds = log.seconds
        log.finish({"seconds": seconds, "tokens": tokens, "tokens_per_s": tokens / seconds})


def _programs() -> Mapping[str, Callable[..., int]]:
    """Each does one run and returns how many tokens (or moves in a world) it sampled."""
    from rl.studies.advantage_estimates import measure_advantage_estimates
    from rl.studies.gradient_covariance import measure_gradient_covariance
    from rl.studies.gradient_weight import measure_gradient_weight
    from rl.studies.kl_estimators import measure_kl_estimators
    from rl.studies.surrogate_gradients import measure_surrogate_gradients
    from rl.studies.unseen_action import measure_unseen_action
    from rl.trainers.episodes import train_episodes
    from rl.trainers.lecture_sorting import train_lecture_sorting
    from rl.trainers.policy import train_policy
    from rl.trainers.ppo import train_ppo
    from rl.trainers.preferences import train_preferences
    from rl.trainers.proximal import train_proximal
    from rl.trainers.reward_model import train_reward_model
    from rl.trainers.tabular import train_tabular
    from rl.trainers.tabular_preferences import train_tabular_preferences

    return {
        "policy": train_policy,
        "ppo": train_ppo,
        "preferences": train_preferences,
        "gradient_weight": measure_gradient_weight,
        "lecture_sorting": train_lecture_sorting,
        "gradient_covariance": measure_gradient_covariance,
        "surrogate_gradients": measure_surrogate_gradients,
        "kl_estimators": measure_kl_estimators,
        "advantage_estimates": measure_advantage_estimates,
        "tabular": train_tabular,
        "proximal": train_proximal,
        "tabular_preferences": train_tabular_preferences,
        "unseen_action": measure_unseen_action,
        "episodes": train_episodes,
        "reward_model": train_reward_model,
    }
