"""Preferences: those of people, read from public layouts, and synthetic ones whose gold reward is
known. Whatever is left out is counted under its reason."""

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
from rl.data.load import VARIABLE, Loaded, data_directory, load_preferences
from rl.data.report import FaultyRows, ReadReport, read_rows
from rl.data.schemas import SCHEMAS, Fault, FaultyRowError, Schema
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
    "ReadReport",
    "Schema",
    "Synthetic",
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
    "read_rows",
    "share_against_gold",
    "split_by_prompt",
    "synthetic_preferences",
    "unflipped_chances",
]
