"""Settings of program `reward_model`: a score learned from preferences."""

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from rl.config.base import BaseConfig, DecoderConfig, OptimConfig, TaskConfig, check_seen
from rl.config.run import REWARDS_OF, BaseModelConfig, ProgramConfig
from rl.config.scalars import PositiveFloat, PositiveInt, Seed
from rl.config.schema import Strict

# Rewards that only a response and its prompt decide, with nothing trained or run for them.
Gold = Literal["answer", "solution", "exact", "position", "inclusion_ordering", "multiset_ordering"]


class HeldoutPairsConfig(Strict):
    """`pairs_per_problem` pairs of each held-out prompt, the same for every arm and seed."""

    problems_per_difficulty: PositiveInt
    pairs_per_problem: PositiveInt
    seed: Seed


class SampledPairsConfig(Strict):
    """Pairs of responses that the base model writes at `temperature`, judged by the reward `gold`.

    `scale` and `flip` are the judge's (rl.data.Labelling): the chance to choose the first is
    sigmoid(scale * difference of gold), or with `hard` all or nothing, and a label is turned with
    the chance `flip`. Responses that are cut off or hold a special token are in no pair. A pair is
    drawn `attempts` times at most.
    """

    name: Literal["sampled"]
    gold: Gold
    temperature: PositiveFloat
    max_new_tokens: PositiveInt
    scale: PositiveFloat | Literal["hard"]
    flip: Annotated[float, Field(ge=0, le=0.5)]
    attempts: PositiveInt
    heldout: HeldoutPairsConfig


class PublishedPairsConfig(Strict):
    """A public data set of preferences (rl.data.load_preferences), from RL_DATA_DIR or the hub.

    Its prompts are in `folds` parts by their hashes, and part seed modulo `folds` is held out: over
    as many seeds in a row every pair is judged once, by a model that has not seen its dialogue.
    `revision` is the hub's; a file in RL_DATA_DIR is taken as it is.
    """

    name: Literal["published"]
    dataset: str
    layout: Literal["hh", "ultrafeedback", "tldr"]
    subset: str | None
    split: str
    revision: str
    folds: Annotated[int, Field(ge=2, le=1000)]


class EnsembleConfig(Strict):
    """`members` models, alike but for the weights they start with and the order of their batches;
    what they say together is the `mean` of their centred scores, or the `lowest`."""

    members: Annotated[int, Field(ge=1, le=64)]
    combine: Literal["mean", "lowest"]


class RewardModelConfig(ProgramConfig):
    """One run: `steps` updates of each member on `batch_pairs` of the `pairs` training pairs.

    `loss`: `bradley_terry`, -log sigma(r(y_w) - r(y_l)) of a pair, or `direct_assessment`, a
    classifier for which the preferred response of a pair is good and the other is not.

    With `scratch` null the model starts from the base model and reads its tokens; else from random
    weights of that size, and reads text, a token a byte: another tokenizer than the policy's. A
    sequence has `context` tokens at most, and a prompt is cut at its start to no fewer than
    `prompt_at_least`. Predicted preferences are compared with what came in `bins` bins, every
    `eval_every` steps and after training.
    """

    shown: ClassVar[str] = "loss"

    program: Literal["reward_model"]
    data: Annotated[SampledPairsConfig | PublishedPairsConfig, Field(discriminator="name")]
    task: TaskConfig | None
    base: BaseConfig | None
    scratch: DecoderConfig | None
    pairs: PositiveInt
    batch_pairs: PositiveInt
    context: Annotated[int, Field(ge=2, le=512)]
    prompt_at_least: PositiveInt
    loss: Literal["bradley_terry", "direct_assessment"]
    ensemble: EnsembleConfig
    optim: OptimConfig
    eval_every: PositiveInt
    bins: Annotated[int, Field(ge=1, le=100)]

    def base_model(self) -> BaseModelConfig | None:
        """See ProgramConfig."""
        if self.task is None or self.base is None:
            return None
        return BaseModelConfig(task=self.task, base=self.base, engine=self.engine)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_pairs > self.pairs:
            raise ValueError(
                f"batch_pairs: expected no more than the {self.pairs} training pairs (`pairs`), "
                f"got {self.batch_pairs}"
            )
        if self.prompt_at_least >= self.context:
            raise ValueError(
                f"prompt_at_least: expected fewer tokens than context {self.context}, which "
                f"leaves room for a response, got {self.prompt_at_least}"
            )
        if self.engine.precision != "fp32" or self.engine.compile or self.engine.zero_stage == 3:
            raise ValueError(
                "engine: scores are centred on whole weights in single precision; expected "
                "precision fp32, compile false and zero_stage 0, 1 or 2, got "
                f"{self.engine.precision}, {self.engine.compile} and {self.engine.zero_stage}"
            )
        return self

    @model_validator(mode="after")
    def _has_its_data(self) -> Self:
        if self.data.name == "published":
            if self.task is not None or self.base is not None or self.scratch is None:
                raise ValueError(
                    "data published: there is no task and no base model for it; expected task "
                    "null, base null and the settings of `scratch`"
                )
            return self
        if self.task is None or self.base is None:
            raise ValueError(
                "data sampled: pairs are of responses of a base model; expected the settings of "
                "`task` and `base`, got null"
            )
        check_seen(self.task, self.base)
        fitting = [name for name in REWARDS_OF[self.task.name] if name in get_args(Gold)]
        if self.data.gold not in fitting:
            raise ValueError(
                f"data.gold: {self.data.gold} says nothing of task {self.task.name}; expected one "
                f"of {', '.join(fitting) or 'none: choose another task'}"
            )
        return self
