"""A tabular policy: one logit a context and token, its log-probabilities and its samples."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.seeding import derive, uniforms
from rl.tabular.exact import entropies
from rl.tabular.worlds import World

Seeds = tuple[int, ...]  # that name a stream of random numbers

BISECTIONS = 100  # more than float64 can tell apart


class TabularPolicy(nn.Module):
    """softmax(logit_KV). The logits are float32, as the engine keeps them; the rest is float64."""

    def __init__(self, logit_KV: Float[Tensor, "K V"]) -> None:
        super().__init__()
        self.logit_KV = nn.Parameter(logit_KV.detach().float().clone())

    def forward(self) -> Tensor:
        """Log-probabilities [K, V], nats, float64."""
        return self.logit_KV.double().log_softmax(dim=1)


class TabularPolicies(nn.Module):
    """S policies side by side, all of which start at the same logits [K, V]; else the same.

    A loss that adds up over policies, under Adam without clipping, trains each as if alone.
    """

    def __init__(self, logit_KV: Float[Tensor, "K V"], count: int) -> None:
        super().__init__()
        self.logit_SKV = nn.Parameter(logit_KV.detach().float().repeat(count, 1, 1))

    def forward(self) -> Tensor:
        """Log-probabilities [S, K, V], nats, float64."""
        return self.logit_SKV.double().log_softmax(dim=-1)


def draw(
    world: World,
    probability_KV: Float[Tensor, "K V"],
    prompt_B: Int[Tensor, " B"],
    uniform_BT: Float[Tensor, "B T"],
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Responses by inversion: token v where the cumulative probability first exceeds u.

    Args:
        world: where the policy speaks.
        probability_KV: token probabilities [K, V].
        prompt_B: the prompt of each response.
        uniform_BT: numbers in [0, 1), one a token; the same ones give the same responses.

    Returns:
        (contexts, tokens), each int64 [B, T].

    Raises:
        ValueError: another number of places than the world's.
    """
    if uniform_BT.shape != (len(prompt_B), world.length):
        raise ValueError(
            f"uniform_BT: expected shape {(len(prompt_B), world.length)}, got "
            f"{tuple(uniform_BT.shape)}"
        )
    upto_KV = probability_KV.double().cumsum(dim=1)
    context_B = world.start_P[prompt_B]
    contexts, tokens = [], []
    for uniform_B in uniform_BT.double().T:
        # The last sum may be short of 1 by rounding.
        above_BV = uniform_B[:, None] * upto_KV[context_B, -1:] >= upto_KV[context_B]
        token_B = above_BV[:, :-1].sum(dim=1)
        contexts.append(context_B)
        tokens.append(token_B)
        context_B = world.next_KV[context_B, token_B]
    return torch.stack(contexts, dim=1), torch.stack(tokens, dim=1)


def draw_groups(
    world: World, probability_KV: Float[Tensor, "K V"], *, count: int, stream: str, parts: Seeds
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """`count` responses to every prompt, by `draw`, prompt by prompt, B = P * count.

    Each prompt has a stream of random numbers of its own, named by `stream` and `parts`.
    """
    seeds = [derive(stream, *parts, prompt) for prompt in range(world.prompts)]
    uniform_BT = torch.from_numpy(uniforms(seeds, count * world.length)).view(-1, world.length)
    prompt_B = torch.arange(world.prompts).repeat_interleave(count)
    return draw(world, probability_KV, prompt_B, uniform_BT)


def draw_listed(
    probability_PN: Float[Tensor, "P N"], *, count: int, stream: str, parts: Seeds
) -> Int[Tensor, "P C"]:
    """Numbers of `count` responses to every prompt, by inversion, of those that are listed.

    Each prompt has a stream of random numbers of its own, named by `stream` and `parts`.
    """
    seeds = [derive(stream, *parts, prompt) for prompt in range(len(probability_PN))]
    uniform_PC = torch.from_numpy(uniforms(seeds, count))
    upto_PN = probability_PN.cumsum(dim=1)
    # The last sum may be short of 1 by rounding.
    pick_PC = torch.searchsorted(upto_PN, uniform_PC * upto_PN[:, -1:], right=True)
    return pick_PC.clamp(max=probability_PN.shape[1] - 1)


def before_first_slip(
    world: World, context_BT: Int[Tensor, "B T"], token_BT: Int[Tensor, "B T"]
) -> Bool[Tensor, "B T"]:
    """Mask of what a demonstrator writes who gives up at a slip: up to it, itself included."""
    slip_BT = token_BT != world.right_K[context_BT]
    return slip_BT.cumsum(dim=1) - slip_BT.long() == 0


def logits_of_entropy(
    world: World, logit_KV: Float[Tensor, "K V"], *, entropy: float
) -> Float[Tensor, "K V"]:
    """The logits times a factor per prompt, so that every prompt's responses have one entropy.

    The contexts of a prompt must be its own, as in a tree. The factor is found by bisection
    between 0, where the policy is uniform, and one where it is nearly certain.

    Args:
        world: a tree.
        logit_KV: logits without equals within a row.
        entropy: nats a token, the response's entropy over its length; in (0, log V).

    Raises:
        ValueError: an entropy that the policy cannot have.
    """
    highest = float(torch.tensor(float(world.vocabulary)).log())
    if not 0 < entropy < highest:
        raise ValueError(f"entropy: expected nats a token in (0, {highest:.4f}), got {entropy}")
    own = world.contexts // world.prompts
    low_P = torch.zeros(world.prompts, dtype=torch.float64)
    high_P = torch.full_like(low_P, 1e4)

    def scaled(factor_P: Tensor) -> Tensor:
        return factor_P.repeat_interleave(own)[:, None] * logit_KV.double()

    for _ in range(BISECTIONS):
        middle_P = (low_P + high_P) / 2
        found_P = entropies(world, scaled(middle_P).log_softmax(dim=1)) / world.length
        too_flat_P = found_P > entropy
        low_P = torch.where(too_flat_P, middle_P, low_P)
        high_P = torch.where(too_flat_P, high_P, middle_P)
    return scaled((low_P + high_P) / 2)
