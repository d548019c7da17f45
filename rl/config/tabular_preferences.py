"""Settings of learning from preferences where every response is listed: many roads, one truth."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rl.config.base import OptimConfig
from rl.config.run import ProgramConfig
from rl.config.scalars import Fraction, NonNegative, PositiveFloat, PositiveInt
from rl.config.schema import Strict
from rl.config.surrogate_gradients import check_distinct
from rl.config.tabular import Count

MOST_TEXTS = 10**4  # of all prompts
MOST_N = 1000.0  # samples that the best is chosen from

OFFLINE = ("dpo", "dpo_mean", "ipo", "simpo")
SAMPLED = ("ppo", "rloo", "grpo")
WITH_REWARD = ("best_of_n", "online_dpo", *SAMPLED)


class TextWorldConfig(Strict):
    """Random language models over texts of up to `length` tokens, the first of `vocabulary` being
    the end of text, and a gold reward of mean 0 and spread 1 over the texts of each prompt.

    `spread`: standard deviation of the base policy's logits, 0 for even chances. `additive`: the
    share of the gold reward's variance that is a sum of one number a place and token, which can be
    told of a text that was never seen; the rest is a number a text. `quality`: the reference (the
    SFT policy) is the base policy times exp(quality * gold), as good as can be at its KL from the
    base; 0 is the base itself.
    """

    prompts: PositiveInt
    vocabulary: Annotated[int, Field(ge=2, le=100)]
    length: Annotated[int, Field(ge=1, le=10)]
    spread: NonNegative
    additive: Fraction
    quality: NonNegative

    @property
    def texts(self) -> int:
        """N: (V - 1)^(t - 1) end at place t, and (V - 1)^T do not end."""
        letters = self.vocabulary - 1
        return int(sum(letters**place for place in range(self.length)) + letters**self.length)


class CoverageConfig(Strict):
    """Pairs are made of the `share` of texts that come first by `first`: the `likeliest` under the
    reference, the `worst` by gold, or at `random`."""

    share: Annotated[float, Field(gt=0, le=1)]
    first: Literal["likeliest", "worst", "random"]


class PairsConfig(Strict):
    """`count` pairs a prompt from the reference, or (null) all pairs, each with its chance and with
    both labels, by theirs: infinitely many. A label is for the first with sigmoid(scale * gap), or
    (null) for the larger gold, and is then turned round at the rate `flip`."""

    count: Count | None
    coverage: CoverageConfig
    scale: PositiveFloat | None
    flip: Annotated[float, Field(ge=0, le=0.5)]


class RewardModelConfig(Strict):
    """Scores linear in `features` (rl.tabular.texts): one of each `response`, one of each `prefix`,
    as many as a policy has logits, or one of each `token` at a place, which cannot tell what is not
    additive; each prompt's own. `l2` is the ridge (rl.tabular.reward_model)."""

    features: Literal["response", "prefix", "token"]
    l2: PositiveFloat


class MethodConfig(Strict):
    """What is made of the pairs.

    `sft`: nothing. `best_of_n`: the exact law of the best of n by the reward. `dpo`, `dpo_mean`,
    `ipo`, `simpo`: rl.losses.preference on the pairs. `online_dpo`: DPO on all pairs of the policy
    as it is, labelled with the reward's chances. `ppo`: the clipped loss, with k1 in the reward and
    a critic that is exact; `rloo`: leave-one-out, with k1 in the reward; `grpo`: group mean and
    std, with k3 by token in the loss.

    `reward`: the learned reward, or gold; null where there is none. `gamma`: of simpo.
    `group_size`: responses a prompt and batch; in ppo null stands for all, weighted by their
    chances: with one epoch, the exact gradient of E[r] - beta KL. `epochs`: updates a batch.
    `clip`: how far a ratio may go from 1.
    """

    name: Literal[
        "sft",
        "best_of_n",
        "dpo",
        "dpo_mean",
        "ipo",
        "simpo",
        "online_dpo",
        "ppo",
        "rloo",
        "grpo",
    ]
    reward: Literal["learned", "gold"] | None
    gamma: NonNegative | None
    group_size: Count | None
    epochs: PositiveInt
    clip: Annotated[float, Field(gt=0, lt=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.name in WITH_REWARD) != (self.reward is not None):
            raise ValueError(
                f"reward: expected learned or gold for {', '.join(WITH_REWARD)}, and null for all "
                f"others, got {self.reward} for {self.name}"
            )
        if (self.name == "simpo") != (self.gamma is not None):
            raise ValueError(
                f"gamma: expected a number for simpo, and null for all others, got {self.gamma} "
                f"for {self.name}"
            )
        if self.name in ("rloo", "grpo") and (self.group_size is None or self.group_size == 1):
            raise ValueError(
                f"group_size: {self.name} compares the samples of a group; expected 2 or more, got "
                f"{self.group_size}"
            )
        if self.name not in SAMPLED and self.group_size is not None:
            raise ValueError(
                f"group_size: {self.name} draws no responses; expected null, got {self.group_size}"
            )
        if self.name not in ("ppo", "grpo") and self.epochs != 1:
            raise ValueError(
                f"epochs: only ppo and grpo reuse a batch; expected 1 for {self.name}, got "
                f"{self.epochs}"
            )
        return self


class TabularPreferencesConfig(ProgramConfig):
    """One policy for each of the `levels`, all trained in one run of `steps` batches, so that a run
    is a sweep, and every method has one of the same size.

    A level is the KL coefficient beta (tau of ipo; of simpo, the scale of its reward), or the n of
    best_of_n. `kls`: nats a response at which sweeps are compared; the largest bounds the area.
    """

    shown: ClassVar[str] = "loss"

    program: Literal["tabular_preferences"]
    world: TextWorldConfig
    pairs: PairsConfig
    reward_model: RewardModelConfig
    method: MethodConfig
    levels: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, max_length=100)]
    kls: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    optim: OptimConfig
    eval_every: PositiveInt

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_distinct("levels", self.levels)
        check_distinct("kls", self.kls)
        world = self.world
        # What is listed first includes texts with something after their end.
        if world.prompts * world.vocabulary**world.length > MOST_TEXTS:
            raise ValueError(
                f"world: {world.prompts} prompts x {world.vocabulary}^{world.length} texts are "
                f"more than {MOST_TEXTS}; choose a shorter length or a smaller vocabulary"
            )
        if world.texts < 3:
            raise ValueError("world: two texts have one pair; expected a longer length or more")
        whole = all(level == int(level) and level <= MOST_N for level in self.levels)
        if self.method.name == "best_of_n" and not whole:
            raise ValueError(
                f"levels: best_of_n chooses from whole numbers of samples, 1 to {MOST_N:.0f}, got "
                f"{self.levels}"
            )
        if self.optim.grad_clip:
            raise ValueError(
                "optim.grad_clip: one norm of all levels would tie them together; expected 0, got "
                f"{self.optim.grad_clip}"
            )
        self.check_table()
        return self
