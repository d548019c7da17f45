"""Two policies at a stated distance, on a tree of responses.

Axis letters: K contexts, V tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rl.seeding import derive
from rl.tabular.exact import divergences
from rl.tabular.worlds import World

FARTHEST = 1e4  # times the direction: beyond it a distance counts as out of reach


def normal_direction(world: World, *, seed: int) -> Float[Tensor, "K V"]:
    """A standard normal number a logit [K, V], float64, the same for the same seed."""
    generator = torch.Generator().manual_seed(derive("tree-direction", seed))
    return torch.randn(world.next_KV.shape, generator=generator, dtype=torch.float64)


def at_distance(
    world: World,
    logit_KV: Float[Tensor, "K V"],
    direction_KV: Float[Tensor, "K V"],
    *,
    distance: float,
) -> Float[Tensor, "K V"]:
    """The logits o = logit_KV + t direction_KV, t >= 0, whose policy is `distance` away.

    The distance is the mean over prompts of KL(pi || softmax o) of whole responses, in nats. It is
    0 at t = 0 and convex in t, as log sum exp is, so that it grows and bisection finds t. At a
    distance of 0 the logits are those of pi, bit for bit.

    Args:
        world: a tree.
        logit_KV: of pi [K, V].
        direction_KV: where to go [K, V].
        distance: nats a response, 0 or more.

    Raises:
        ValueError: a negative distance, tables that are not [K, V], or a distance that this
            direction does not reach.
    """
    if distance < 0:
        raise ValueError(f"distance: expected nats of 0 or more, got {distance}")
    logp_KV = logit_KV.log_softmax(dim=1)

    def apart(t: float) -> float:
        other_KV = (logit_KV + t * direction_KV).log_softmax(dim=1)
        return float(divergences(world, logp_KV, other_KV).mean())

    low, high = 0.0, 1.0 if distance else 0.0
    while apart(high) < distance:
        low, high = high, 2 * high
        if high > FARTHEST:
            raise ValueError(
                f"distance: {distance} nats are out of reach, {FARTHEST:g} times the direction "
                f"away it is {apart(FARTHEST):.4g}; choose a smaller distance"
            )
    while low < (middle := (low + high) / 2) < high:  # until float64 has nothing between them
        low, high = (middle, high) if apart(middle) < distance else (low, middle)
    return logit_KV + high * direction_KV
