"""Worlds: each makes its problems and the text that a base model learns them from."""

from collections.abc import Mapping

from rl.tasks.answer_first import AnswerFirst
from rl.tasks.chain_sum import ChainSum
from rl.tasks.copy import Copy
from rl.tasks.not_offensive import NotOffensive
from rl.tasks.parity import Parity
from rl.tasks.poem import Poem
from rl.tasks.sorting import Sorting, has_duplicates
from rl.tasks.tiny_programs import TinyPrograms
from rl.tasks.world import World

TASKS: Mapping[str, type[World]] = {
    "chain_sum": ChainSum,
    "answer_first": AnswerFirst,
    "sorting": Sorting,
    "copy": Copy,
    "parity": Parity,
    "poem": Poem,
    "not_offensive": NotOffensive,
    "tiny_programs": TinyPrograms,
}

__all__ = [
    "TASKS",
    "AnswerFirst",
    "ChainSum",
    "Copy",
    "NotOffensive",
    "Parity",
    "Poem",
    "Sorting",
    "TinyPrograms",
    "World",
    "has_duplicates",
]
