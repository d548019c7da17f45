"""Settings of the program lecture_sorting: the toy world of CS336's lecture 17, and its repairs."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import OptimConfig
from rl.config.run import ProgramConfig
from rl.config.scalars import NonNegative, PositiveInt
from rl.config.schema import Strict
from rl.config.update import AdvantageConfig

MOST_RESPONSES = 1000  # all of them are enumerated, for as many prompts

Token = Annotated[int, Field(ge=0, lt=MOST_RESPONSES)]


class SortingWorldConfig(Strict):
    """Prompts to train on, of one length, and the policy: `width` of its embedding.

    All other prompts of the vocabulary are held out.
    """

    vocabulary: Annotated[int, Field(ge=2, le=MOST_RESPONSES)]
    width: PositiveInt
    prompts: Annotated[
        tuple[Annotated[tuple[Token, ...], Field(min_length=1)], ...], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        lengths = {len(prompt) for prompt in self.prompts}
        if len(lengths) > 1 or len(set(self.prompts)) < len(self.prompts):
            raise ValueError(
                f"world.prompts: expected distinct prompts of one length, got {self.prompts}"
            )
        largest = max(token for prompt in self.prompts for token in prompt)
        if largest >= self.vocabulary:
            raise ValueError(
                f"world.prompts: expected tokens below world.vocabulary {self.vocabulary}, got "
                f"{largest}"
            )
        length = lengths.pop()
        if length > 20 or self.vocabulary**length > MOST_RESPONSES:
            raise ValueError(
                f"world: every response is enumerated; expected vocabulary ** length of at most "
                f"{MOST_RESPONSES}, got {self.vocabulary} ** {length}"
            )
        trained_on = sum(len(set(prompt)) == length for prompt in self.prompts)
        if math.perm(self.vocabulary, length) <= trained_on:
            raise ValueError(
                f"world: no prompt of distinct tokens is left to hold out; expected a larger "
                f"vocabulary or fewer prompts, got {self.vocabulary} and {len(self.prompts)}"
            )
        return self


class SortingLossConfig(Strict):
    """`naive`: -A log pi. `ratio_of_logs`: the lecture's ratio log pi / log pi_old, a fault.
    `importance`: its repair, pi / pi_old. `clip` bounds a ratio (the lecture: .01); null does not.
    """

    name: Literal["naive", "ratio_of_logs", "importance"]
    clip: Annotated[float, Field(gt=0, lt=1)] | None

    @model_validator(mode="after")
    def _has_a_ratio(self) -> Self:
        if self.name == "naive" and self.clip is not None:
            raise ValueError(
                f"loss.clip: naive has no ratio to clip; expected null, got {self.clip}"
            )
        return self


class SortingPenaltyConfig(Strict):
    """`coefficient` times an estimate of KL(pi || reference), added to the loss.

    The reference is the policy as it was at the last multiple of `refresh_every` epochs (the
    lecture: 10), or with null the untrained one. k1, k2 and k3 are estimates from the responses
    (rl.worlds.lecture_losses.kl_penalty); `exact` is the divergence itself, by enumeration.
    """

    coefficient: NonNegative
    estimator: Literal["k1", "k2", "k3", "exact"]
    refresh_every: PositiveInt | None


class LectureSortingConfig(ProgramConfig):
    """One run; a step is an epoch: `responses` are drawn for each prompt, then `inner_steps`
    updates made on them.

    `stream`: `derived` names every random number by what it is for. `global` draws weights and
    responses from one stream, as torch.manual_seed(seed) would: what the lecture's own digits need.
    """

    program: Literal["lecture_sorting"]
    world: SortingWorldConfig
    stream: Literal["global", "derived"]
    responses: PositiveInt
    inner_steps: PositiveInt
    reward: Literal["inclusion_ordering", "multiset_ordering", "position_match", "exact"]
    advantage: AdvantageConfig
    loss: SortingLossConfig
    kl: SortingPenaltyConfig
    optim: OptimConfig
    eval_every: PositiveInt

    @model_validator(mode="after")
    def _fits(self) -> Self:
        compares = self.advantage.baseline in ("group_mean", "leave_one_out")
        if self.responses == 1 and (compares or self.advantage.scale == "group_std"):
            raise ValueError(
                "responses: a group of one has nothing to be compared with; expected 2 or more "
                "for a group baseline or group_std, got 1"
            )
        engine = self.engine
        if engine.zero_stage or engine.precision != "fp32" or engine.compile:
            raise ValueError(
                "engine: a policy of some hundred weights; expected zero_stage 0, precision fp32 "
                f"and compile false, got {engine.zero_stage}, {engine.precision} and "
                f"{str(engine.compile).lower()}"
            )
        return self
