"""From rewards to an update: the advantage and the policy loss."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.scalars import NonNegative, PositiveFloat, PositiveInt
from rl.config.schema import Strict

# Which policy losses have a bound, by rl.losses.
BOUNDED_LOSSES = ("dual_clip", "cispo", "truncated_is")


class AdvantageConfig(Strict):
    """Baseline subtracted from the reward, then a scale divided out; see rl.advantages."""

    baseline: Literal[
        "none",
        "running_mean",
        "batch_mean",
        "group_mean",
        "leave_one_out",
        "group_max_only",
        "batch_max_only",
    ]
    scale: Literal["none", "group_std", "batch_std"]
    ddof: Literal[0, 1]
    eps: NonNegative


LossName = Literal[
    "reinforce",
    "unclipped",
    "clipped",
    "dual_clip",
    "gspo",
    "cispo",
    "sequence_is",
    "truncated_is",
    "log_over_log",
    "no_stop_gradient",
]


def check_bound(where: str, name: str, bound: float | None) -> None:
    """Whether a policy loss states a bound where it has one.

    Raises:
        ValueError: it does not, or states one that it does not have.
    """
    if (name in BOUNDED_LOSSES) != (bound is not None):
        raise ValueError(
            f"{where}.bound: expected with {where}.name {', '.join(BOUNDED_LOSSES)}, and only with "
            f"one of these; got {bound} for {name}"
        )
    if name == "dual_clip" and bound == 1:
        raise ValueError(
            f"{where}.bound: at 1, dual_clip cuts fresh responses; expected a ratio over 1"
        )


class BatchLossConfig(Strict):
    """Policy loss, how its tokens are averaged, and the updates of a batch; see rl.losses.

    `bound` is stated for the losses that have one, and only for them. With `gap_cap` the loss of
    each token is weighed by min(pi_trainer / pi_sampler, gap_cap), which corrects that the sampler
    computes other log-probs than the trainer (rl.losses.gap).
    """

    name: LossName
    clip_low: Annotated[float, Field(gt=0, lt=1)]
    clip_high: PositiveFloat
    bound: Annotated[float, Field(ge=1)] | None = None
    gap_cap: Annotated[float, Field(ge=1)] | None = None
    aggregate: Literal["sequence_mean", "token_mean", "constant"]
    epochs: PositiveInt
    minibatches: PositiveInt

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        check_bound("loss", self.name, self.bound)
        return self


class LossConfig(BatchLossConfig):
    """`old_logps`: who says what the old policy's log-probs were: the trainer, by a forward pass of
    its own before the first update, or the sampler, for free and off by the gap between the two."""

    old_logps: Literal["trainer", "sampler"]

    @model_validator(mode="after")
    def _corrects_once(self) -> Self:
        if self.gap_cap is not None and self.old_logps == "sampler":
            raise ValueError(
                "loss.gap_cap: with the sampler's log-probs for the old ones the ratio itself "
                f"corrects the gap; expected loss.old_logps trainer with it, or null, got "
                f"{self.gap_cap} and sampler"
            )
        return self
