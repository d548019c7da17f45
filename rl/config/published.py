"""Published checkpoints and problem sets: the models and the mathematics of papers."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from rl.config.base import BaseConfig, DecoderConfig, TaskConfig
from rl.config.scalars import PositiveFloat, PositiveInt
from rl.config.schema import Strict

HubName = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
# What a problem's difficulty can be, by the task: steps of calculation, or the data set's level.
DIFFICULTIES = {"gsm8k": range(1, 9), "math": range(1, 6)}


class ProblemSetConfig(Strict):
    """One split of a data set on the hub, `revision` its commit there; in RL_DATA_DIR files are
    taken as they are. Of `subsets` all are read, one after the other; empty where it has none."""

    dataset: HubName
    revision: Revision
    subsets: tuple[str, ...]
    split: str


class PublishedTaskConfig(Strict):
    """Problems in words with an answer that math-verify can compare.

    The difficulty of `gsm8k` is the number of calculations that its solution marks with <<...>>,
    from 1 up to 8, which stands for more as well; that of `math` is its level, 1 to 5. Problems of
    other than `difficulties` are left out.

    `prompt`: `chat`, the checkpoint's own chat template, which asks for a \\boxed{} answer; or
    `r1_zero`, a text with <think> and <answer> tags (rl.tasks.published). An answer is compared for
    `verify_seconds` at most; after that it is worth 0 and counted as a timeout.
    """

    name: Literal["gsm8k", "math"]
    prompt: Literal["chat", "r1_zero"]
    difficulties: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    train: ProblemSetConfig
    heldout: ProblemSetConfig
    verify_seconds: PositiveFloat

    @model_validator(mode="after")
    def _difficulties(self) -> Self:
        known = DIFFICULTIES[self.name]
        if len(set(self.difficulties)) < len(self.difficulties) or set(self.difficulties) - {
            *known
        }:
            raise ValueError(
                f"task.difficulties: expected distinct ones from {known[0]} to {known[-1]} for "
                f"{self.name}, got {self.difficulties}"
            )
        return self


class PublishedBaseConfig(Strict):
    """A checkpoint on the hub, `revision` its commit there (rl.models.published).

    `model`, `vocabulary` and `context`, the tokens of prompt and response at most, repeat what its
    config.json says, so that memory can be worked out without it; they are compared.
    """

    name: HubName
    revision: Revision
    model: DecoderConfig
    vocabulary: PositiveInt
    context: PositiveInt


def _published(kind: type[BaseModel], mark: str) -> Discriminator:
    """Tells the two by a key that only the published one has. Tags in brackets are of no setting,
    and messages leave them out."""

    def tag(data: Any) -> str:
        found = isinstance(data, kind) or (isinstance(data, dict) and mark in data)
        return "(published)" if found else "(generated)"

    return Discriminator(tag)


AnyTaskConfig = Annotated[
    Annotated[TaskConfig, Tag("(generated)")] | Annotated[PublishedTaskConfig, Tag("(published)")],
    _published(PublishedTaskConfig, "prompt"),
]
AnyBaseConfig = Annotated[
    Annotated[BaseConfig, Tag("(generated)")] | Annotated[PublishedBaseConfig, Tag("(published)")],
    _published(PublishedBaseConfig, "revision"),
]
