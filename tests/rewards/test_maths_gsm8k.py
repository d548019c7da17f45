"""All references of GSM8K are right as they stand, and the next number is wrong."""

import json
import os
from pathlib import Path

import pytest

from rl.rewards.maths import Verdict, reference_answer
from rl.rewards.maths_judge import Judge


@pytest.mark.skipif("RL_DATA_DIR" not in os.environ, reason="RL_DATA_DIR names no folder with data")
def test_references_of_gsm8k() -> None:
    folder = Path(os.environ["RL_DATA_DIR"])
    parts = [folder / f"gsm8k_{part}.jsonl" for part in ("train", "test")]
    if not all(part.exists() for part in parts):
        pytest.skip(f"{folder} has no gsm8k_train.jsonl and gsm8k_test.jsonl")
    lines = [line for part in parts for line in part.read_text("utf-8").splitlines()]
    references = [reference_answer(json.loads(line)["answer"], dataset="gsm8k") for line in lines]
    assert len(references) == 8792
    wholes = [int(reference.replace(",", "")) for reference in references]
    with Judge(seconds=1.0) as judge:
        for stated, verdict in (
            (references, Verdict.RIGHT),
            ([f"\\${whole:,}.00" for whole in wholes], Verdict.RIGHT),
            ([str(whole + 1) for whole in wholes], Verdict.WRONG),
            ([f"{whole or 1}0" for whole in wholes], Verdict.WRONG),
        ):
            assert set(map(judge.verify, stated, references)) == {verdict}
        assert judge._algebra is None  # none of it takes algebra
