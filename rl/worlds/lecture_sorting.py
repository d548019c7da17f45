"""Sorting n numbers in one shot: the toy world of Stanford's CS336, lecture 17 (spring 2025).

A prompt is n tokens below V, a response as many. The policy draws each position by itself, given
the prompt, so that its V**n responses can be enumerated and every expectation here is exact.

Axis letters: P prompts, G responses of one prompt, T positions, V vocabulary, R = V**T all
responses in lexicographic order, D width of the embedding.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

PROMPTS = ((1, 0, 2), (3, 2, 4), (1, 2, 3))  # the lecture's, all that it trains on
VOCABULARY = 5  # the largest token of PROMPTS and one more
WIDTH = 10

Tokens = Sequence[int]
Reward = Callable[[Tokens, Tokens], int]


def inclusion_ordering(prompt: Tokens, response: Tokens) -> int:
    """A point for each prompt token that is in the response, and for each pair in order.

        r = sum_i 1[x_i in y] + sum_t 1[y_t <= y_(t+1)],    at most 2n - 1

    The lecture's reward. A token that the prompt has twice counts twice though the response has it
    once: (0, 1, 2) scores as much for (1, 1, 2) as the sorted (1, 1, 2).
    """
    return sum(token in response for token in prompt) + _pairs_in_order(response)


def multiset_ordering(prompt: Tokens, response: Tokens) -> int:
    """inclusion_ordering without its hole: a token counts as often as both have it.

    r = sum_v min(#_x v, #_y v) + sum_t 1[y_t <= y_(t+1)], 2n - 1 for the sorted prompt alone.
    """
    shared = Counter(prompt) & Counter(response)
    return shared.total() + _pairs_in_order(response)


def position_match(prompt: Tokens, response: Tokens) -> int:
    """The lecture's other reward: positions with the sorted prompt's token, at most n."""
    return sum(a == b for a, b in zip(sorted(prompt), response, strict=True))


def exact(prompt: Tokens, response: Tokens) -> int:
    """1 for the sorted prompt, else 0."""
    return int(list(response) == sorted(prompt))


def _pairs_in_order(response: Tokens) -> int:
    return sum(a <= b for a, b in itertools.pairwise(response))


REWARDS: Mapping[str, Reward] = {
    "inclusion_ordering": inclusion_ordering,
    "multiset_ordering": multiset_ordering,
    "position_match": position_match,
    "exact": exact,
}


class LectureSorter(nn.Module):
    """The lecture's policy: logits_tv = e_v . (sum_s e(x_s) A_s) B_t, one matrix a position.

    `embedding` e is V x D, used at both ends; `encode` A and `decode` B are T x D x D. Drawn in
    this order from `generator`: e from N(0, 1), A and B from N(0, 1) / sqrt(D).
    """

    def __init__(
        self, *, vocabulary: int, width: int, length: int, generator: torch.Generator
    ) -> None:
        super().__init__()

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        self.embedding = nn.Parameter(normal(vocabulary, width))
        self.encode = nn.Parameter(normal(length, width, width) / math.sqrt(width))
        self.decode = nn.Parameter(normal(length, width, width) / math.sqrt(width))

    def forward(self, prompt_PT: Int[Tensor, "P T"]) -> Float[Tensor, "P T V"]:
        """Logits of every position of the response."""
        known_PTD = self.embedding[prompt_PT]
        summed_PD = torch.einsum("ptd,tde->pe", known_PTD, self.encode)
        wanted_PTD = torch.einsum("pe,ted->ptd", summed_PD, self.decode)
        return wanted_PTD @ self.embedding.T


def sample_responses(
    logits_PTV: Float[Tensor, "P T V"], *, count: int, generator: torch.Generator
) -> Int[Tensor, "P G T"]:
    """`count` responses of each prompt, every position drawn from its own softmax.

    The draws of one position follow one another in the stream, position after position, prompt
    after prompt; how many there are does not depend on the logits.
    """
    prompts, length, _ = logits_PTV.shape
    chance_NV = torch.softmax(logits_PTV.flatten(0, 1), dim=-1)
    drawn_NG = torch.multinomial(chance_NV, count, replacement=True, generator=generator)
    return drawn_NG.view(prompts, length, count).transpose(1, 2)


def response_logps(
    logits_PTV: Float[Tensor, "P T V"], response_PGT: Int[Tensor, "P G T"]
) -> Float[Tensor, "P G T"]:
    """log pi(y_t | x), nats. Position t scores token t: there is no shift in this policy."""
    logp_PTV = torch.log_softmax(logits_PTV, dim=-1)
    return logp_PTV.gather(2, response_PGT.transpose(1, 2)).transpose(1, 2)


def score(
    reward: Reward, prompt_PT: Int[Tensor, "P T"], response_PGT: Int[Tensor, "P G T"]
) -> Float[Tensor, "P G"]:
    """Rewards of responses, points, float64."""
    rows = zip(prompt_PT.tolist(), response_PGT.tolist(), strict=True)
    values = [[reward(prompt, response) for response in group] for prompt, group in rows]
    return torch.tensor(values, dtype=torch.float64)


def all_sequences(vocabulary: int, length: int) -> Int[Tensor, "R T"]:
    """Every sequence, lexicographic: sequence r is r written in base V."""
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length)))


def response_chances(
    logits_PTV: Float[Tensor, "P T V"], response_RT: Int[Tensor, "R T"]
) -> Float[Tensor, "P R"]:
    """pi(y | x) = prod_t pi(y_t | x) of every response, float64; each row sums to 1."""
    chance_PTV = torch.softmax(logits_PTV.double(), dim=-1)
    position_T = torch.arange(response_RT.shape[1])
    return chance_PTV[:, position_T, response_RT].prod(dim=-1)


def kl_per_prompt(
    logits_PTV: Float[Tensor, "P T V"], reference_PTV: Float[Tensor, "P T V"]
) -> Float[Tensor, " P"]:
    """KL(pi || reference) of whole responses: the sum over their independent positions, nats."""
    logp_PTV = torch.log_softmax(logits_PTV, dim=-1)
    gap_PTV = logp_PTV - torch.log_softmax(reference_PTV, dim=-1)
    return (logp_PTV.exp() * gap_PTV).sum(dim=(1, 2))


class Exam:
    """What a policy does on given prompts, by enumeration of its responses.

    Tables of the V**n responses are made once; `grade` costs one product with them.
    """

    def __init__(self, reward: Reward, prompts: Sequence[Tokens], *, vocabulary: int) -> None:
        self.prompt_PT = torch.tensor(prompts)
        self._response_RT = all_sequences(vocabulary, self.prompt_PT.shape[1])
        answer_P1T = self.prompt_PT.sort(dim=1).values[:, None]
        response_1RT = self._response_RT[None]
        self.sorted_PR: Bool[Tensor, "P R"] = (response_1RT == answer_P1T).all(dim=2)
        every_PRT = response_1RT.expand(len(self.prompt_PT), -1, -1)
        self.reward_PR = score(reward, self.prompt_PT, every_PRT)
        most_P1 = score(reward, self.prompt_PT, answer_P1T)
        self.hacked_PR: Bool[Tensor, "P R"] = (self.reward_PR == most_P1) & ~self.sorted_PR
        self._place_T = vocabulary ** torch.arange(self.prompt_PT.shape[1]).flip(0)

    def grade(self, logits_PTV: Float[Tensor, "P T V"]) -> dict[str, Float[Tensor, " P"]]:
        """Per prompt, float64, under the policy of these logits.

        Returns:
            reward: expected reward, points.
            exact: chance of the sorted prompt.
            hacked: chance of another response with the sorted prompt's reward.
            modal_reward: reward of the likeliest response (ties: the lowest token), points.
            entropy: of the response, nats.
        """
        chance_PR = response_chances(logits_PTV, self._response_RT)
        modal_P1 = (logits_PTV.argmax(dim=2) * self._place_T).sum(dim=1, keepdim=True)
        logp_PTV = torch.log_softmax(logits_PTV.double(), dim=-1)
        return {
            "reward": (chance_PR * self.reward_PR).sum(dim=1),
            "exact": (chance_PR * self.sorted_PR).sum(dim=1),
            "hacked": (chance_PR * self.hacked_PR).sum(dim=1),
            "modal_reward": self.reward_PR.gather(1, modal_P1).squeeze(1),
            "entropy": -(logp_PTV.exp() * logp_PTV).sum(dim=(1, 2)),
        }
