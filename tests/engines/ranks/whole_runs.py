"""Whole tiny runs of every program that several ranks can do, by one rank or by all."""

from pathlib import Path
from typing import Any

from rl import engine as module, ranks
from rl.artifacts import SAME, open_run
from rl.config import ProgramConfig
from rl.trainers import preference_pairs
from rl.trainers.policy import train_policy
from rl.trainers.ppo import train_ppo
from rl.trainers.preferences import train_preferences
from rl.trainers.reward_model import train_reward_model
from tests import test_preferences, test_reward_model
from tests.goes_on import KilledError
from tests.tiny import OPTIM, RUN, decoder, ppo_config, run_config

MANIFEST: dict[str, Any] = {
    **dict.fromkeys(SAME, "the same"),
    "arm": "a",
    "seed": 0,
    "started": "now",
}
SMALL = {**RUN["engine"], "micro_batch_tokens": 60}
# Nothing of optimiser, schedule and loop is left at its start value. A small epsilon would have
# AdamW make large steps of gradients that are rounding errors.
PLAIN = {**OPTIM, "eps": 0.01}
MOVING = {**PLAIN, "weight_decay": 0.1, "warmup_steps": 2, "schedule": "linear"}
KL = {
    "loss": 0.1,
    "estimator": "k3",
    "level": "token",
    "weighted": False,
    "refresh": 2,
    "target": 1.0,
}


def asked(name: str, stage: int) -> ProgramConfig:
    """The run's settings, by program."""
    engine = {**SMALL, "zero_stage": stage}
    if name == "policy":
        changes = {"advantage.baseline": "running_mean", "loss.minibatches": 2, "eval.every": 2}
        steps = {"steps": 4, "optim": MOVING, "kl": KL, "engine": engine}
        return run_config({**changes, **steps})
    if name == "ppo":
        critic = {
            "kind": "separate",
            "start": "base",
            "pretrain": {"updates": 2, "optim": PLAIN},
        }
        changes = {"optim": PLAIN, "critic": critic, "loss.epochs": 2}
        return ppo_config({**changes, "engine": engine})
    if name == "reward_model":
        settings = {"engine": {**engine, "micro_batch_tokens": 30}}
        return test_reward_model.config({**test_reward_model.RUN_SAMPLED, **settings})
    learned: dict[str, Any] = {"name": "position", "scale": 1.0, "kl": 0.0}
    if name == "learned":
        learned |= {"name": "learned", "learned": test_preferences.LEARNED}
    engine["micro_batch_tokens"] = 40
    return test_preferences.config({"engine": engine, "reward": learned, "optim": PLAIN})


def train(directory: Path, name: str, stage: int, *, until: int | None = None) -> tuple[int, bool]:
    """The run, or up to step `until`, where it is cut off: the tokens that it sampled, and whether
    it found a checkpoint, which it makes at every step."""
    module.KEPT_WHOLE = 0
    preference_pairs.CHUNK = 32

    def stop(step: int, _: float) -> None:
        if step == until:
            raise KilledError

    config = asked(name, stage)
    programs: dict[str, Any] = {
        "policy": train_policy,
        "ppo": train_ppo,
        "reward_model": train_reward_model,
    }
    model = decoder() if name in ("policy", "ppo") else test_preferences.base()
    tokens, found = 0, False
    try:
        with open_run(directory, MANIFEST, checkpoint_seconds=0.0) as log:
            found = log.checkpoint is not None
            do = programs.get(name, train_preferences)
            tokens = do(config, seed=0, model=model, log=log, report=stop)
            log.finish({"tokens": tokens})
    except KilledError:
        ranks.agreed(None)  # rank 0 has let go of its log before another takes it up
    return tokens, found
