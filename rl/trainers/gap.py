"""How far the sampler's log-probs are from the trainer's, and what corrects for it."""

from dataclasses import dataclass

from torch import Tensor

from rl.losses import gap_weights
from rl.types import Batch


@dataclass(frozen=True)
class Gap:
    """Sums of |sampler - trainer log-prob| over tokens, and of the weights that correct it."""

    tokens: int = 0
    total: float = 0.0
    most: float = 0.0
    weighed: int = 0
    weight: float = 0.0
    capped: int = 0

    @classmethod
    def of(cls, logp_BT: Tensor, part: Batch) -> "Gap":
        """Of a batch or a part of one, whose log-probs under the weights that it was drawn with are
        given."""
        gap_BT = (logp_BT.detach() - part.logp_sampler_BT).abs() * part.response_BT
        count = int(part.response_BT.sum())
        return cls(tokens=count, total=float(gap_BT.sum()), most=float(gap_BT.max()))

    def __add__(self, other: "Gap") -> "Gap":
        """Of both."""
        return Gap(
            tokens=self.tokens + other.tokens,
            total=self.total + other.total,
            most=max(self.most, other.most),
            weighed=self.weighed + other.weighed,
            weight=self.weight + other.weight,
            capped=self.capped + other.capped,
        )

    def metrics(self) -> dict[str, float]:
        """Of all tokens; the weights' only where there were any."""
        found = {
            "train/logp_gap_mean": self.total / self.tokens,
            "train/logp_gap_max": self.most,
        }
        if self.weighed:
            found["train/gap_weight_mean"] = self.weight / self.weighed
            found["train/gap_weight_capped"] = self.capped / self.weighed
        return found


def corrected(
    loss_BT: Tensor, logp_old_BT: Tensor, part: Batch, cap: float | None
) -> tuple[Tensor, Gap]:
    """The policy's loss, weighed by gap_weights, and what the weights were; as it is where there is
    no cap."""
    if cap is None:
        return loss_BT, Gap()
    mask_BT = part.response_BT
    weight_BT, capped_BT = gap_weights(logp_old_BT, part.logp_sampler_BT, mask_BT, cap=cap)
    of_weights = Gap(
        weighed=int(mask_BT.sum()),
        weight=float(weight_BT[mask_BT].sum()),
        capped=int(capped_BT.sum()),
    )
    return weight_BT * loss_BT, of_weights
