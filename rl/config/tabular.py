"""Settings of training a tabular policy, all of whose expectations are known."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import OptimConfig
from rl.config.gradient_covariance import Baseline, TreeSize
from rl.config.run import ProgramConfig
from rl.config.scalars import Fraction, PositiveFloat, PositiveInt
from rl.config.schema import Strict

# Listed responses, and contexts, of all prompts together.
MOST_ROWS = 10**6

Count = Annotated[int, Field(ge=1, le=10_000)]


class TreeConfig(TreeSize):
    """Full context: every prefix of every prompt has logits of its own. The policy starts at an
    `entropy` in nats a token, or with even chances (null). `rewards`: see rl.tabular.rewards."""

    name: Literal["tree"]
    entropy: PositiveFloat | None
    rewards: Literal["graded", "single", "likeliest", "normal"]

    def check_listed(self) -> None:
        """Whether the responses can be listed, and a policy can have the entropy.

        Raises:
            ValueError: one of them cannot.
        """
        if self.prompts * self.responses > MOST_ROWS:
            raise ValueError(
                f"world: {self.prompts} prompts x {self.responses} responses are more than "
                f"{MOST_ROWS}; choose a shorter length or a smaller vocabulary"
            )
        if self.entropy is not None:
            self.check_entropy(self.entropy)


class ChainConfig(Strict):
    """First-order context: `good` tokens in a ring and `lost` ones beside it. The policy starts
    with even chances; the reward is the share of right tokens."""

    name: Literal["chain"]
    prompts: Count
    good: Annotated[int, Field(ge=2, le=1000)]
    lost: Annotated[int, Field(ge=1, le=1000)]
    length: Count

    @property
    def responses(self) -> None:
        """Too many to list."""
        return None


class DataConfig(Strict):
    """`demonstrations` a prompt by one who slips with chance `noise` at every token and, with
    `gives_up`, writes no further after the first slip."""

    demonstrations: Count
    noise: Fraction
    gives_up: bool


class ObjectiveConfig(Strict):
    """What every update maximises.

    `mle`: the log-likelihood of the demonstrations; `sft_correct`: of those with the best reward;
    `sft_own`: of those of the policy's own fresh samples with the best reward; `reinforce`:
    advantage times log-likelihood of its own samples; `exact_pg`: the exact expected reward.
    `denominator`: a sum over kept responses is divided by the number of `all`, or of those `kept`.
    The first `mle_share` of the updates are by `mle` whatever the name.
    """

    name: Literal["mle", "sft_correct", "sft_own", "reinforce", "exact_pg"]
    denominator: Literal["all", "kept"]
    mle_share: Fraction


class TabularAdvantageConfig(Strict):
    """The baseline of `reinforce`; `constant` is what `constant` takes off. A `learned_value`
    starts at 0 and moves by `value_rate` of its distance to each new mean reward of its prompt."""

    baseline: Baseline
    constant: float
    value_rate: Fraction


class TabularConfig(ProgramConfig):
    """One run of `steps` updates; each samples `group_size` responses to every prompt, if any."""

    program: Literal["tabular"]
    world: Annotated[TreeConfig | ChainConfig, Field(discriminator="name")]
    data: DataConfig
    objective: ObjectiveConfig
    advantage: TabularAdvantageConfig
    group_size: Count
    optim: OptimConfig
    eval_every: PositiveInt

    @property
    def mle_steps(self) -> int:
        """How many updates are by `mle` before those of the objective."""
        return round(self.objective.mle_share * self.steps)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        world, baseline = self.world, self.advantage.baseline
        if isinstance(world, TreeConfig):
            world.check_listed()
        elif baseline == "optimal":
            raise ValueError(
                "advantage.baseline: the optimal one needs a list of all responses; expected "
                "another one in a chain, got optimal"
            )
        if self.group_size == 1 and baseline in ("group_mean", "leave_one_out"):
            raise ValueError(
                f"group_size: a group of one has nothing to be compared with; expected 2 or more "
                f"for {baseline}, got 1"
            )
        if not math.isclose(self.objective.mle_share * self.steps, self.mle_steps, rel_tol=1e-9):
            raise ValueError(
                f"objective.mle_share: expected a share that makes whole updates of steps = "
                f"{self.steps}, got {self.objective.mle_share}"
            )
        self.check_table()
        return self
