"""Published problems and checkpoints made ready for a run, and looked over before there is one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from rl.config import (
    DecoderRunConfig,
    EngineConfig,
    ProblemSetConfig,
    PublishedBaseConfig,
    PublishedTaskConfig,
)
from rl.data import LoadedProblems, WordProblem, load_problems
from rl.errors import UserError
from rl.models import (
    Decoder,
    PublishedTokenizer,
    check_model,
    fetch,
    load_decoder,
    weights_sha256,
)
from rl.rewards import is_whole
from rl.rewards.maths import stated_answer
from rl.rewards.maths_judge import Judge
from rl.tasks.published import R1_ZERO_END, PublishedTask, chat_messages, r1_zero_prompt
from rl.types import Problem, Rollout

FORMS = {"chat": "boxed", "r1_zero": "r1_zero"}  # where rl.rewards.maths finds a stated answer
# Verdicts whose shares are logged; the rest are right or wrong.
COUNTED = ("no_answer", "unread", "too_long", "timeout", "memory")


@dataclass(frozen=True)
class Prepared:
    """Problems with whole prompts, the tokenizer that reads them, and where they came from;
    `told` says what was left out and why."""

    tokenizer: PublishedTokenizer
    train: list[Problem]
    heldout: list[Problem]
    sources: dict[str, str]
    told: list[str]


def prepare(config: DecoderRunConfig) -> Prepared:
    """All but weights and judge.

    Raises:
        UserError: checkpoint, tokenizer or data cannot be had here, do not fit each other or the
            configuration, or leave no problem.
    """
    task, base = _published(config)
    folder = fetch(base.name, base.revision)
    sizes = {"vocabulary": base.vocabulary, "context": base.context, **base.model.model_dump()}
    check_model(folder, base.name, sizes)
    chat = task.prompt == "chat"
    tokenizer = PublishedTokenizer(
        folder, base.name, chat=chat, end_text=None if chat else R1_ZERO_END
    )
    room = base.context - config.rollout.max_new_tokens
    told: list[str] = []
    loaded = {name: _load(task.name, getattr(task, name)) for name in ("heldout", "train")}
    problems = {}
    taken = {_text(problem.question) for problem in loaded["heldout"].problems}
    for name, found in loaded.items():
        told += [f"{name}: {line}" for report in found.reports for line in report.lines("problems")]
        asked = [p for p in found.problems if p.difficulty in task.difficulties]
        free = [p for p in asked if name == "heldout" or _text(p.question) not in taken]
        written = _written(free, tokenizer, chat=chat)
        problems[name] = [p for p in written if len(tokenizer.encode(p.prompt)) <= room]
        told.append(
            f"{name}: {len(problems[name])} problems taken; left out: "
            f"{len(found.problems) - len(asked)} of other difficulties, {len(asked) - len(free)} "
            f"that are held out, {len(free) - len(problems[name])} with prompts over {room} tokens"
        )
        if not problems[name]:
            raise UserError(
                f"task {task.name}: no problem is left in {name}; change task.difficulties or "
                f"rollout.max_new_tokens:\n  " + "\n  ".join(told)
            )
    sources = {name: found.source for name, found in loaded.items()}
    return Prepared(tokenizer, problems["train"], problems["heldout"], sources, told)


def load_published(config: DecoderRunConfig) -> tuple[Decoder, dict[str, Any]]:
    """The checkpoint, and what a manifest says of it and of the data. In bf16 where the engine
    computes in it, which keeps weights of its own in fp32 that start from these."""
    _, base = _published(config)
    folder = fetch(base.name, base.revision)
    facts = {
        "base_model": f"{base.name}@{base.revision}",
        "base_sha256": weights_sha256(folder, base.name),
        "data": prepare(config).sources,
    }
    return load_decoder(folder, dtype=_dtype(config.engine)), facts


def open_task(
    config: DecoderRunConfig,
) -> tuple[PublishedTask, PublishedTokenizer, Callable[[], None]]:
    """Task and tokenizer of a run, and what ends the judge that the task asks."""
    prepared = prepare(config)
    print("\n".join(prepared.told))
    task, _ = _published(config)
    judge = Judge(seconds=task.verify_seconds)

    # Score, outcome and verdict of one response are asked for apart.
    @lru_cache(maxsize=2**16)
    def verified(stated: str | None, answer: str) -> str:
        return str(judge.verify(stated, answer))

    def verdict(response: str, answer: str) -> str:
        return verified(stated_answer(response, form=FORMS[task.prompt]), answer)

    made = PublishedTask(
        train=prepared.train,
        heldout=prepared.heldout,
        verdict=verdict,
        marks=prepared.tokenizer.marks,
    )
    return made, prepared.tokenizer, judge.close


def verdict_of(task: PublishedTask, rollout: Rollout) -> str:
    """What became of a response: a verdict of the judge, or `truncated`, which it is not asked
    about, a special token inside included."""
    if not is_whole(task, rollout):
        return "truncated"
    return task.verdict(rollout.text, rollout.problem.answer)


def verdict_shares(where: str, verdicts: Sequence[str]) -> dict[str, float]:
    """Shares of the verdicts by which a response is worth nothing without having been found wrong,
    as metrics of `train` or `eval`."""
    counts = Counter(verdicts)
    return {f"{where}/verdict_{name}": counts[name] / len(verdicts) for name in COUNTED}


def _published(config: DecoderRunConfig) -> tuple[PublishedTaskConfig, PublishedBaseConfig]:
    found = config.published()
    if found is None:
        raise TypeError(f"{config.task.name}: not published")
    return found


def _load(kind: str, asked: ProblemSetConfig) -> LoadedProblems:
    return load_problems(
        asked.dataset,
        kind=kind,
        subsets=asked.subsets,
        split=asked.split,
        revision=asked.revision,
    )


def _text(question: str) -> str:
    """What makes two questions one."""
    return " ".join(question.split())


def _written(
    problems: Sequence[WordProblem], tokenizer: PublishedTokenizer, *, chat: bool
) -> list[Problem]:
    """With their prompts."""
    return [
        Problem(
            id=index,
            prompt=tokenizer.chat_prompt(chat_messages(problem.question))
            if chat
            else r1_zero_prompt(problem.question),
            answer=problem.answer,
            difficulty=problem.difficulty,
        )
        for index, problem in enumerate(problems)
    ]


def _dtype(engine: EngineConfig) -> torch.dtype:
    return torch.bfloat16 if engine.precision == "bf16" else torch.float32
