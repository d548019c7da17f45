"""Settings of program `reward_model`: a score learned from preferences."""

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from rl.config.base import BaseConfig, TaskConfig, check_seen
from rl.config.learned import Gold, RewardFitConfig, SampledPairsConfig
from rl.config.reward import REWARDS_OF
from rl.config.run import BaseModelConfig, ProgramConfig
from rl.config.scalars import PositiveInt
from rl.config.schema import Strict


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


class RewardModelConfig(RewardFitConfig, ProgramConfig):
    """One run: `steps` updates, judged on held-out pairs every `eval_every` and after training."""

    shown: ClassVar[str] = "loss"
    shared: ClassVar[bool] = True

    program: Literal["reward_model"]
    data: Annotated[SampledPairsConfig | PublishedPairsConfig, Field(discriminator="name")]
    task: TaskConfig | None
    base: BaseConfig | None
    eval_every: PositiveInt

    def base_model(self) -> BaseModelConfig | None:
        """See ProgramConfig."""
        if self.task is None or self.base is None:
            return None
        return BaseModelConfig(task=self.task, base=self.base, engine=self.engine)

    @model_validator(mode="after")
    def _fits(self) -> Self:
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
