"""This project's side: its sampler, its batch, its update, through the doors a run uses."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from rl.advantages import advantages
from rl.artifacts import RunWriter
from rl.bench import workload
from rl.bench.profile import profiled
from rl.bench.workload import GROUP, NEW_TOKENS, PROMPTS, Timer
from rl.config import RunConfig, find_experiment, load_experiment
from rl.logprobs import token_logps
from rl.losses import aggregate
from rl.models import FusedDecoder, load_decoder, new_decoder
from rl.rollout import LocalSampler, Request
from rl.seeding import derive
from rl.trainers.parts import (
    forward_logits,
    make_engine,
    make_task,
    make_tokenizer,
    micro_batch_tokens,
)
from rl.trainers.policy import train_policy
from rl.trainers.rollouts import collate
from rl.trainers.update import micro_losses, update_policy
from rl.types import Batch, Problem, Rollout

MAX_ROWS = 1024


def run_config(profile: str, changes: dict[str, Any]) -> RunConfig:
    """Experiment 03's arm `none` with other settings, by path."""
    config = load_experiment(find_experiment(3), profile, changes).decoder("none")
    if not isinstance(config, RunConfig):
        raise TypeError(f"experiment 03: expected program policy, got {config.program}")
    return config


class Ours:
    """Steps of the workload on one model."""

    def __init__(self, directory: Path) -> None:
        self._model = load_decoder(directory)
        changes = {f"optim.{name}": value for name, value in workload.OPTIMISER.items()}
        changes |= {
            "rollout.max_new_tokens": NEW_TOKENS,
            "optim.warmup_steps": 0,
            "optim.schedule": "constant",
        }
        self._config = run_config("laptop", changes)
        self._engine = make_engine(self._model, self._config.optim, self._config.engine, 10**6)
        self._micro_tokens = micro_batch_tokens(self._config.engine, self._model)
        self._steps = 0

    def _sampler(self, *, share_prompts: bool) -> LocalSampler:
        tokens = workload.tokenizer()
        return LocalSampler(
            self._model,
            eos_id=tokens.eos_id,
            pad_id=tokens.pad_id,
            max_rows=MAX_ROWS,
            share_prompts=share_prompts,
        )

    def step(self, work: str, share_prompts: bool) -> dict[str, Any]:
        """One GRPO step; times of its parts."""
        timer, sampler = Timer(), self._sampler(share_prompts=share_prompts)
        for module in self._engine.model.modules():
            if isinstance(module, FusedDecoder):
                module.share_prompts = share_prompts
        self._steps += 1
        with timer.part("step"):
            with timer.part("sample"):
                rollouts = self._roll_out(sampler, work)
            with timer.part("train"):
                batch = self._batch(rollouts, work)
                update_policy(
                    self._engine,
                    batch,
                    self._config,
                    micro_tokens=self._micro_tokens,
                    seed=0,
                    step=self._steps,
                )
                sampler.load_weights(self._model.state_dict())
        return timer.parts

    def _roll_out(self, sampler: LocalSampler, work: str) -> list[Rollout]:
        tokens, limits = workload.tokenizer(), workload.lengths(work)
        prompts = [tokens.encode(text) for text in workload.prompts(self._steps)]
        requests = [
            Request(prompts[i // GROUP], derive("bench", self._steps, i), limit)
            for i, limit in enumerate(limits)
        ]
        completions = sampler.generate(
            requests, temperature=1.0, max_new_tokens=NEW_TOKENS, ignore_eos=True
        )
        return [
            Rollout(Problem(i // GROUP, "", "", 0), i % GROUP, request.prompt_ids, completion, "")
            for i, (request, completion) in enumerate(zip(requests, completions, strict=True))
        ]

    def _batch(self, rollouts: list[Rollout], work: str) -> Batch:
        reward_PG = torch.tensor(workload.rewards(work), dtype=torch.float64).view(PROMPTS, GROUP)
        advantage_PG = advantages(
            reward_PG, baseline="group_mean", scale="group_std", ddof=1, eps=1e-4
        )
        return collate(rollouts, advantage_PG.flatten(), workload.tokenizer().pad_id)

    def profile(self, work: str) -> dict[str, Any]:
        """One step, as runs take it, under the profiler."""
        return profiled(lambda: self.step(work, share_prompts=True))

    def sample_rows(self, rows: int) -> dict[str, Any]:
        """Tokens a CPU second of a batch of so many rows of fixed length."""
        timer, sampler = Timer(), self._sampler(share_prompts=False)
        prompts = [workload.tokenizer().encode(text) for text in workload.prompts(0)]
        requests = [Request(prompts[i % PROMPTS], i) for i in range(rows)]
        with timer.part("sample"):
            sampler.generate(requests, temperature=1.0, max_new_tokens=NEW_TOKENS, ignore_eos=True)
        return {"tokens_per_s": rows * NEW_TOKENS / timer.parts["sample"]["cpu"]}

    def gradient_error(self) -> dict[str, float]:
        """Of the uneven step, as runs take it: bucketed, fused, prompts shared, without the groups
        that have no advantage; against all rows padded to the longest, through transformers' own
        forward pass."""
        sampler = self._sampler(share_prompts=True)
        batch = self._batch(self._roll_out(sampler, "uneven"), "uneven")
        reference = self._gradient([self._plain_loss(batch)])
        rows, model = torch.arange(len(batch.length_B)), FusedDecoder(self._model)
        parts = micro_losses(model, batch, None, rows, self._config, self._micro_tokens)
        ours = self._gradient(compute()[0] for compute in parts)
        return {"relative": float((ours - reference).norm() / reference.norm())}

    def _plain_loss(self, batch: Batch) -> Tensor:
        logits_BTV = forward_logits(self._model, batch.token_BT)
        logp_BT = token_logps(logits_BTV, batch.token_BT, temperature=1.0)
        return aggregate(
            -logp_BT * batch.advantage_B[:, None],
            batch.response_BT,
            mode="constant",
            sequences=len(batch.length_B),
            tokens=int(batch.response_BT.sum()),
            max_length=NEW_TOKENS,
        )

    def _gradient(self, losses: Iterable[Tensor]) -> Tensor:
        """Of the sum of the losses, each made when its turn comes."""
        self._model.zero_grad()
        for loss in losses:
            loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in self._model.parameters()])  # type: ignore[union-attr]
        self._model.zero_grad()
        return gradient.clone()


def toy_seed() -> dict[str, float]:
    """Seconds of a whole run of one tiny step in a process that has run one before."""
    changes = {
        "base.model.hidden_size": 32,
        "base.model.layers": 1,
        "steps": 1,
        "rollout.prompts": 2,
        "rollout.group_size": 2,
        "rollout.max_new_tokens": 2,
        "eval.problems_per_difficulty": 1,
        "eval.samples": 1,
    }
    config = run_config("smoke", changes)
    tokens = make_tokenizer(make_task(config.generated.task))
    seconds = []
    for seed in range(6):
        model = new_decoder(tokens, seed=0, **config.base.model.model_dump())
        with TemporaryDirectory() as folder:
            start = perf_counter()
            with RunWriter(Path(folder) / "run", {"arm": "toy", "seed": seed}) as log:
                train_policy(config, seed=seed, model=model, log=log, report=lambda *_: None)
                log.finish({})
            seconds.append(perf_counter() - start)
    return {"seconds": sorted(seconds[1:])[2]}
