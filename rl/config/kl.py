"""How a policy's distance from a reference is estimated, and what is made of it."""

from typing import Literal, Self

from pydantic import model_validator

from rl.config.scalars import NonNegative, PositiveFloat, PositiveInt
from rl.config.schema import Strict


class KLConfig(Strict):
    """What `reward.kl` multiplies, and a penalty in the loss beside it (rl.kl).

    `loss` is the coefficient in the loss, 0 for none; the penalty goes through `loss.aggregate` as
    the policy loss does. `weighted` multiplies it there by the importance ratio. The reference is
    the base model, or, with `refresh`, the policy as it was at the start of every `refresh`-th
    step. With `target`, in nats a response, the coefficients are halved after a step whose
    estimate lies under target / 1.5, and doubled after one over 1.5 target (1707.06347, section 4).
    """

    loss: NonNegative
    estimator: Literal["k1", "k2", "k3"]
    level: Literal["token", "sequence"]
    weighted: bool
    refresh: PositiveInt | None
    target: PositiveFloat | None

    @model_validator(mode="after")
    def _in_the_loss(self) -> Self:
        if self.weighted and not self.loss:
            raise ValueError(
                "kl.weighted: the importance ratio is 1 where a reward is given; expected kl.loss "
                "over 0 with it, got 0"
            )
        return self
