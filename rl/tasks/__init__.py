"""Worlds: each makes its problems and the text that a base model learns them from."""

from collections.abc import Mapping

from rl.tasks.answer_first import AnswerFirst
from rl.tasks.chain_sum import ChainSum
from rl.tasks.tiny_programs import TinyPrograms

TASKS: Mapping[str, type[ChainSum]] = {"chain_sum": ChainSum, "answer_first": AnswerFirst}

__all__ = ["TASKS", "AnswerFirst", "ChainSum", "TinyPrograms"]
