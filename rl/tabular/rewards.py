"""Tables of rewards for listed responses. Each row is one prompt; each is fixed by its seed.

Axis letters: P prompts, N responses.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rl.seeding import derive


def graded(probability_PN: Float[Tensor, "P N"], *, seed: int) -> Float[Tensor, "P N"]:
    """0/1 rewards that make prompts of different difficulty: prompt p succeeds at a rate of at most
    (p + 1) / (P + 1), and as near to it as a random order of the responses allows.

    Responses are taken in that order, and one is right if the rate stays within the aim. Where none
    fits, the rarest is right.
    """
    prompts, responses = probability_PN.shape
    reward_PN = torch.zeros_like(probability_PN)
    for prompt, order_N in enumerate(_orders(prompts, responses, seed)):
        aim, mass = (prompt + 1) / (prompts + 1), 0.0
        for response in order_N.tolist():
            chance = float(probability_PN[prompt, response])
            if mass + chance <= aim:
                reward_PN[prompt, response] = 1.0
                mass += chance
        if mass == 0.0:
            reward_PN[prompt, probability_PN[prompt].argmin()] = 1.0
    return reward_PN


def single(probability_PN: Float[Tensor, "P N"], *, seed: int) -> Float[Tensor, "P N"]:
    """One response of all is right, drawn evenly for each prompt: the sparsest 0/1 reward."""
    prompts, responses = probability_PN.shape
    pick_P1 = torch.stack(_orders(prompts, responses, seed))[:, :1]
    return torch.zeros_like(probability_PN).scatter(1, pick_P1, 1.0)


def likeliest(probability_PN: Float[Tensor, "P N"], *, seed: int) -> Float[Tensor, "P N"]:
    """Each prompt's likeliest response is right, and no other; `seed` is not used."""
    del seed
    pick_P1 = probability_PN.argmax(dim=1, keepdim=True)
    return torch.zeros_like(probability_PN).scatter(1, pick_P1, 1.0)


def normal(probability_PN: Float[Tensor, "P N"], *, seed: int) -> Float[Tensor, "P N"]:
    """Dense rewards: a standard normal number a response plus one a prompt, its difficulty."""
    generator = torch.Generator().manual_seed(derive("reward-normal", seed))
    prompts, responses = probability_PN.shape
    drawn = torch.randn(prompts, responses + 1, generator=generator, dtype=torch.float64)
    return drawn[:, 1:] + drawn[:, :1]


def _orders(prompts: int, responses: int, seed: int) -> list[Tensor]:
    """A random order of the responses for each prompt."""
    return [
        torch.randperm(
            responses, generator=torch.Generator().manual_seed(derive("reward", seed, prompt))
        )
        for prompt in range(prompts)
    ]


REWARD_TABLES: dict[str, Callable[..., Tensor]] = {
    "graded": graded,
    "single": single,
    "likeliest": likeliest,
    "normal": normal,
}
