"""Problems of published data sets, as a task: in words, with answers that a judge compares.

What is read from the hub, and the judge itself, are handed over (rl.trainers.published).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from rl.errors import UserError
from rl.types import Problem

ASKED = "Please reason step by step, and put your final answer within \\boxed{}."
# 2503.20783, appendix A, template 1, after table 1 of 2501.12948. The prompt ends with the tag that
# opens the reasoning, and the response begins inside it.
R1_ZERO = (
    "A conversation between User and Assistant. The User asks a question, and the Assistant solves "
    "it. The Assistant first thinks about the reasoning process in the mind and then provides the "
    "User with the answer. The reasoning process is enclosed within <think> </think> and answer is "
    "enclosed within <answer> </answer> tags, respectively, i.e., <think> reasoning process here "
    "</think> <answer> answer here </answer>.\nUser: {question}\nAssistant: <think>"
)
R1_ZERO_END = "</answer>"  # ends the response, and is part of it


def r1_zero_prompt(question: str) -> str:
    """The whole prompt, to be continued."""
    return R1_ZERO.replace("{question}", question)


def chat_messages(question: str) -> list[dict[str, str]]:
    """What a checkpoint's chat template is filled with (the Qwen-Math template of 2503.20783)."""
    return [{"role": "system", "content": ASKED}, {"role": "user", "content": question}]


@dataclass(frozen=True)
class PublishedTask:
    """Training problems and held-out ones, whose prompts are whole; none is in both.

    `verdict` says how (response, answer) compare, `right` being one of its words. `marks` are the
    names of special tokens, which no text has in it.
    """

    train: Sequence[Problem]
    heldout: Sequence[Problem]
    verdict: Callable[[str, str], str]
    marks: tuple[str, ...]

    @property
    def difficulties(self) -> tuple[int, ...]:
        """Those of the held-out problems, ascending."""
        return tuple(sorted({problem.difficulty for problem in self.heldout}))

    def is_text(self, response: str) -> bool:
        """Whether no special token is named in it."""
        return not any(mark in response for mark in self.marks)

    def train_problems(self, count: int, seed: int) -> list[Problem]:
        """`count` independent draws, each problem as likely as any other: difficulties come as
        often as the data set has them. `id` is the position in the draw."""
        rng = Random(seed)
        drawn = (rng.choice(self.train) for _ in range(count))
        return [replace(problem, id=index) for index, problem in enumerate(drawn)]

    def heldout_problems(self, per_difficulty: int, seed: int) -> list[Problem]:
        """Distinct held-out problems, `per_difficulty` or all there are, of each difficulty.

        Raises:
            UserError: there are none.
        """
        if not self.heldout:
            raise UserError("task: no held-out problem is left; choose other task.difficulties")
        rng = Random(seed)
        problems: list[Problem] = []
        for difficulty in self.difficulties:
            found = [p for p in self.heldout if p.difficulty == difficulty]
            rng.shuffle(found)
            for problem in found[:per_difficulty]:
                problems.append(replace(problem, id=len(problems)))
        return problems

    def check(self, problem: Problem, response: str, *, every_step: bool) -> bool:
        """Is the stated answer right? Nothing is known of the steps before it.

        Raises:
            ValueError: every step was asked for.
        """
        if every_step:
            raise ValueError("published problems: no step can be checked, the answer alone")
        return self.verdict(response, problem.answer) == "right"
