"""Settings of training a tabular policy that is to stay close to what it was."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import OptimConfig
from rl.config.kl import KLConfig
from rl.config.run import ProgramConfig
from rl.config.scalars import NonNegative, PositiveFloat, PositiveInt
from rl.config.schema import Strict
from rl.config.tabular import Count, TreeConfig
from rl.config.update import LossName, check_bound


class ProximalRewardConfig(Strict):
    """The world's reward less `kl` times the estimate of KL(pi || reference) that `kl` asks for."""

    kl: NonNegative


class ProximalAdvantageConfig(Strict):
    """What is taken off the reward; `exact_value` is its expectation under pi_old."""

    baseline: Literal["none", "group_mean", "leave_one_out", "exact_value"]


class ProximalLossConfig(Strict):
    """The policy loss (rl.losses) and how many updates are made with one batch, `epochs`.

    `penalty` is the coefficient of the exact KL(pi_old || pi), nats a response, in the loss, 0 for
    none. With `penalty_target`, in nats a response too, it is halved after a batch whose updates
    have gone less than penalty_target / 1.5, and doubled after more than 1.5 penalty_target
    (1707.06347, section 4).
    """

    name: LossName
    clip_low: Annotated[float, Field(gt=0, lt=1)]
    clip_high: PositiveFloat
    bound: Annotated[float, Field(ge=1)] | None = None
    epochs: PositiveInt
    penalty: NonNegative
    penalty_target: PositiveFloat | None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        check_bound("loss", self.name, self.bound)
        if self.penalty_target is not None and not self.penalty:
            raise ValueError(
                "loss.penalty_target: there is no coefficient to be adapted; expected loss.penalty "
                "over 0 with it, got 0"
            )
        return self


class TrustRegionConfig(Strict):
    """A step of rl.tabular.trust_region: its `radius` in nats a response, the `damping` of the
    Fisher matrix, and how many lengths are tried."""

    radius: PositiveFloat
    damping: PositiveFloat
    backtracks: Annotated[int, Field(ge=1, le=100)]


class ProximalConfig(ProgramConfig):
    """One run of `steps` batches: `group_size` responses to every prompt or, without it, all
    responses, each with its probability as weight: the exact expectation.

    With `trust_region` a batch is used for one step of that kind, else for `loss.epochs` updates
    by the optimiser.
    """

    program: Literal["proximal"]
    world: TreeConfig
    group_size: Count | None
    reward: ProximalRewardConfig
    advantage: ProximalAdvantageConfig
    loss: ProximalLossConfig
    kl: KLConfig
    trust_region: TrustRegionConfig | None
    optim: OptimConfig
    eval_every: PositiveInt

    @property
    def beta(self) -> float:
        """Reward a nat of KL from the reference, as first set; 0 for no penalty."""
        return self.reward.kl + self.kl.loss

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.world.check_listed()
        compares = self.advantage.baseline in ("group_mean", "leave_one_out")
        if compares and (self.group_size is None or self.group_size == 1):
            raise ValueError(
                f"advantage.baseline: {self.advantage.baseline} compares the samples of a group; "
                f"expected a group_size of 2 or more with it, got {self.group_size}"
            )
        if self.kl.target is not None and not self.beta:
            raise ValueError(
                "kl.target: there is no coefficient to be adapted; expected kl.loss or reward.kl "
                "over 0 with it"
            )
        loss = self.loss
        plain = loss.name == "unclipped" and loss.epochs == 1 and not loss.penalty
        if self.trust_region is not None and not (plain and not self.kl.loss):
            raise ValueError(
                "trust_region: its step raises the surrogate of 1502.05477, once a batch; expected "
                f"loss.name unclipped, loss.epochs 1, loss.penalty 0 and kl.loss 0, got "
                f"{loss.name}, {loss.epochs}, {loss.penalty} and {self.kl.loss}"
            )
        self.check_table()
        if self.trust_region is not None and self.engine.zero_stage:
            raise ValueError(
                "engine.zero_stage: a trust-region step sets whole weights; expected 0, got "
                f"{self.engine.zero_stage}"
            )
        return self
