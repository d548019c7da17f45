"""All responses as one batch, such as losses take, and two gradients side by side.

Axis letters: P prompts, B = P * N responses, T places, K contexts, V tokens.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.tabular.exact import list_responses
from rl.tabular.worlds import World

ROUNDING = 1e-12  # a gradient this much shorter than another is 0, and points nowhere


@dataclass(frozen=True)
class Batch:
    """Responses as rows, prompt by prompt, all of the world's length."""

    context_BT: Tensor  # int64
    token_BT: Tensor  # int64
    prompts: int

    @property
    def mask(self) -> Tensor:
        """[B, T], all True: every response has T tokens."""
        return torch.ones_like(self.token_BT, dtype=torch.bool)

    def logps(self, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, "B T"]:
        """Log-probabilities of the tokens [B, T]; or any other table's entries."""
        return logp_KV[self.context_BT, self.token_BT]

    def chances(self, logp_KV: Float[Tensor, "K V"]) -> Float[Tensor, " B"]:
        """Of listed responses: the chance of each under a policy, over P [B], no gradient. A sum
        weighted by it is a mean over prompts of expectations."""
        return self.logps(logp_KV.detach()).sum(dim=1).exp() / self.prompts


def listed(world: World) -> Batch:
    """Every response to every prompt; for small worlds."""
    listing = list_responses(world)
    return Batch(
        listing.context_PNT.flatten(0, 1),
        listing.token_NT.repeat(world.prompts, 1),
        world.prompts,
    )


def cosine(found: Tensor, true: Tensor) -> float:
    """Of the angle between two gradients of one shape; 0 where either is 0 up to rounding."""
    found_norm, true_norm = float(found.norm()), float(true.norm())
    if min(found_norm, true_norm) <= ROUNDING * max(found_norm, true_norm):
        return 0.0
    return float((found * true).sum()) / (found_norm * true_norm)


def relative_gap(found: Tensor, true: Tensor) -> float:
    """|found - true| / |true|."""
    return float((found - true).norm() / true.norm())
