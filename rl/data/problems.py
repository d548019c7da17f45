"""Published problems in words: a question, its final answer, and how difficult it is."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rl.data.report import ReadReport, read_each
from rl.data.schemas import Fault, FaultyRowError, Row, refuse, texts
from rl.data.source import open_source
from rl.errors import UserError
from rl.rewards.maths import reference_answer

CALCULATION = re.compile("<<.*?>>")
MOST_CALCULATIONS = 8  # of 8,792 solutions 3 have more
LEVELS = range(1, 6)


@dataclass(frozen=True)
class WordProblem:
    """One of them; `answer` as rl.rewards.maths compares it."""

    question: str
    answer: str
    difficulty: int


@dataclass(frozen=True)
class LoadedProblems:
    """Problems in the order of their rows, what was wrong with the others, a report for each
    subset, and where they came from (rl.data.source)."""

    problems: list[WordProblem]
    reports: list[ReadReport]
    source: str


def read_gsm8k(row: Row) -> WordProblem:
    """openai/gsm8k (2110.14168): `question` and `answer`, a solution whose calculations stand in
    <<...>> and whose last line is the answer after ####.

    The difficulty is the number of calculations, from 1 up to MOST_CALCULATIONS: a solution of one
    line may mark none.

    Raises:
        FaultyRowError: the row is no problem.
    """
    question, solution = texts(row, "question", "answer")
    difficulty = min(max(1, len(CALCULATION.findall(solution))), MOST_CALCULATIONS)
    return _checked(question, solution, difficulty, dataset="gsm8k")


def read_math(row: Row) -> WordProblem:
    """EleutherAI/hendrycks_math and HuggingFaceH4/MATH-500 (2103.03874): `problem`, `solution` with
    its answer in \\boxed{}, and `level`, "Level 3" in the one and 3 in the other.

    Raises:
        FaultyRowError: the row is no problem.
    """
    question, solution = texts(row, "problem", "solution")
    refuse("level" not in row, Fault.MISSING_KEY)
    level = str(row["level"]).removeprefix("Level ")
    refuse(level not in map(str, LEVELS), Fault.BAD_LEVEL)
    return _checked(question, solution, int(level), dataset="math")


# By the name of the task.
READERS: Mapping[str, Callable[[Row], WordProblem]] = {"gsm8k": read_gsm8k, "math": read_math}


def _checked(question: str, solution: str, difficulty: int, *, dataset: str) -> WordProblem:
    refuse(not question.strip(), Fault.EMPTY_QUESTION)
    try:
        answer = reference_answer(solution, dataset=dataset)
    except UserError:
        raise FaultyRowError(Fault.NO_ANSWER) from None
    return WordProblem(question.strip(), answer, difficulty)


def load_problems(
    name: str, *, kind: str, subsets: Sequence[str], split: str, revision: str
) -> LoadedProblems:
    """The problems of one split, of all `subsets` in their order.

    Args:
        name: on the hub, such as openai/gsm8k.
        kind: key of READERS.
        subsets: configurations of the data set; none where it has none. A file in RL_DATA_DIR that
            leaves the subset out of its name holds them all, and is read once.
        split, revision: see rl.data.source.open_source.

    Raises:
        UserError: what open_source refuses, or a subset without any whole problem.
    """
    problems: list[WordProblem] = []
    reports: list[ReadReport] = []
    sources: list[str] = []
    parts: Sequence[str | None] = subsets or [None]
    for subset in parts:
        source = open_source(
            name,
            subset=subset,
            split=split,
            revision=revision,
            subset_is="name",
            or_without_subset=True,
        )
        if source.told in sources:
            continue
        found, report = read_each(source.rows, READERS[kind])
        if not found:
            where = " ".join(filter(None, (name, subset, split)))
            raise UserError(
                f"{where}: expected problems of {kind}, but " + "; ".join(report.lines("problems"))
            )
        problems += [problem for _, problem in found]
        reports.append(report)
        sources.append(source.told)
    return LoadedProblems(problems, reports, "; ".join(sources))
