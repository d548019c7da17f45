"""The policy that a run is kept close to: the base model, or one of its own earlier selves."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rl.config import DecoderRunConfig, KLConfig, RunConfig
from rl.engine import Engine
from rl.kl import ESTIMATORS, adapted, kl_penalty
from rl.models import Decoder, FusedDecoder
from rl.trainers.parts import fuses
from rl.trainers.rollouts import collate
from rl.trainers.update import LossPenalty, response_logps
from rl.types import Batch, Rollout

# What `reward.kl` alone asks for.
PLAIN = KLConfig(loss=0.0, estimator="k1", level="token", weighted=False, refresh=None, target=None)


@dataclass(frozen=True)
class Distance:
    """How far a batch is from the reference, and what that costs its reward and its loss."""

    off_reward_PG: Tensor  # float64
    in_loss: LossPenalty | None
    metrics: dict[str, float]


class Reference:
    """Frozen copies of a model, and the factor that adapts the coefficients."""

    def __init__(self, model: Decoder, config: RunConfig) -> None:
        """`model` must be the base model still: the engine has not taken any step with it."""
        self._config = config
        self._kl = config.kl or PLAIN
        self.base = Frozen(model, config)
        self._own = Frozen(model, config) if self._kl.refresh else None
        self._factor = 1.0

    def measure(
        self,
        engine: Engine,
        model: Decoder,
        batch: Batch,
        scores_PG: Tensor,
        *,
        step: int,
        micro_tokens: int,
    ) -> Distance:
        """Of a fresh batch of `model`, before its update, with all log-probs by the trainer.

        The distance is 0 where model and reference are one. Where the reference is to be renewed
        at this step, that is done first; where the coefficients adapt, that is done last.
        """
        logp_BT = response_logps(engine.model, batch, self._config, micro_tokens)
        base_BT = ref_BT = self.base.logps(engine, batch, micro_tokens)
        if self._own is not None and self._kl.refresh is not None:
            if step % self._kl.refresh == 0:
                with engine.whole(model):
                    self._own.renew(model)
            ref_BT = self._own.logps(engine, batch, micro_tokens)
        kl_B = kl_penalty(
            logp_BT,
            ref_BT,
            batch.response_BT,
            estimator=self._kl.estimator,
            level=self._kl.level,
        ).sum(dim=1)
        in_reward = self._factor * self._config.reward.kl
        in_loss = self._factor * self._kl.loss
        metrics = {"train/kl": float(kl_B.double().mean())}
        if self._config.kl is not None:
            metrics |= _estimates(logp_BT, base_BT, batch)
            cost = (in_reward + in_loss) * metrics["train/base_k1"]
            metrics["train/objective"] = float(scores_PG.mean()) - cost
        if self._kl.target is not None:
            metrics["train/kl_coefficient"] = in_reward + in_loss
            self._factor = adapted(self._factor, metrics["train/kl"], target=self._kl.target)
        kl_PG = kl_B.double().cpu().view(-1, self._config.rollout.group_size)
        return Distance(
            off_reward_PG=in_reward * kl_PG,
            in_loss=LossPenalty(ref_BT, in_loss, self._kl) if in_loss else None,
            metrics=metrics,
        )

    @property
    def copies(self) -> list[Decoder]:
        """The models that it keeps."""
        return [frozen.copy for frozen in (self.base, self._own) if frozen is not None]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, the base model apart."""
        own = {} if self._own is None else self._own.weights()
        return {"factor": self._factor, "weights": own}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._factor = state["factor"]
        if self._own is not None:
            self._own.copy.load_state_dict(state["weights"])


class Frozen:
    """A copy that does not train."""

    def __init__(self, model: Decoder, config: DecoderRunConfig) -> None:
        self._config = config
        self.copy = deepcopy(model).requires_grad_(False)
        self._fused = FusedDecoder(self.copy, fuse=fuses(config.engine))

    def logps(self, engine: Engine, batch: Batch, micro_tokens: int) -> Tensor:
        """Log-probs (B, T) of the response tokens, 0 elsewhere."""
        self._fused.to(engine.device, next(engine.model.parameters()).dtype)
        return response_logps(self._fused, batch, self._config, micro_tokens)

    def log_ratios(
        self, rollouts: Sequence[Rollout], *, engine: Engine, pad_id: int, micro_tokens: int
    ) -> Tensor:
        """log pi(y) - log pi_frozen(y) of whole responses (B), pi as their sampler says."""
        batch = collate(rollouts, torch.zeros(len(rollouts)), pad_id).to(engine.device)
        return (batch.logp_sampler_BT - self.logps(engine, batch, micro_tokens)).sum(dim=1)

    def renew(self, model: Decoder) -> None:
        """Become what `model` is now."""
        self.copy.load_state_dict(model.state_dict())

    def weights(self) -> dict[str, Tensor]:
        """Of now."""
        return {name: weight.clone() for name, weight in self.copy.state_dict().items()}


def _estimates(logp_BT: Tensor, base_BT: Tensor, batch: Batch) -> dict[str, float]:
    """All estimators of the distance from the base model, of whole responses."""
    found = {}
    for name in ESTIMATORS:
        kl_B = kl_penalty(
            logp_BT, base_BT, batch.response_BT, estimator=name, level="sequence"
        ).sum(dim=1)
        std = kl_B.double().std()
        found[f"train/base_{name}"] = float(kl_B.double().mean())
        found[f"train/base_{name}_std"] = float(std)
        found[f"train/base_{name}_se"] = float(std) / len(kl_B) ** 0.5
    if found["train/base_k1_std"]:
        found["train/base_std_ratio"] = found["train/base_k3_std"] / found["train/base_k1_std"]
    return found
