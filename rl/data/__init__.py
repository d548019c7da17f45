"""Preferences: those of people, read from public layouts, and synthetic ones whose gold reward is
known; and published problems with their answers. Whatever is left out is counted under its reason.
"""

from rl.data.coverage import best_share, covered_chances, is_covered
from rl.data.encode import Encoded, EncodedPair, Encoder, encode_pairs, encode_scored
from rl.data.labels import (
    Labelling,
    Labels,
    draw_labels,
    first_chances,
    share_against_gold,
    unflipped_chances,
)
from rl.data.lengths import LengthRules, length_rules
from rl.data.load import Loaded, load_preferences
from rl.data.problems import LoadedProblems, WordProblem, load_problems
from rl.data.report import FaultyRows, ReadReport, read_rows
from rl.data.schemas import SCHEMAS, Fault, FaultyRowError, Schema
from rl.data.source import VARIABLE, data_directory
from rl.data.split import split_by_prompt
from rl.data.synthetic import ListedPairs, Synthetic, listed_preferences, synthetic_preferences

__all__ = [
    "SCHEMAS",
    "VARIABLE",
    "Encoded",
    "EncodedPair",
    "Encoder",
    "Fault",
    "FaultyRowError",
    "FaultyRows",
    "Labelling",
    "Labels",
    "LengthRules",
    "ListedPairs",
    "Loaded",
    "LoadedProblems",
    "ReadReport",
    "Schema",
    "Synthetic",
    "WordProblem",
    "best_share",
    "covered_chances",
    "data_directory",
    "draw_labels",
    "encode_pairs",
    "encode_scored",
    "first_chances",
    "is_covered",
    "length_rules",
    "listed_preferences",
    "load_preferences",
    "load_problems",
    "read_rows",
    "share_against_gold",
    "split_by_prompt",
    "synthetic_preferences",
    "unflipped_chances",
]
