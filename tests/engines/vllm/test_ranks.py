"""Two ranks at ZeRO 3, each with vLLM in a process of its own, against one process."""

from pathlib import Path

import pytest

from rl.artifacts import read_lines
from tests.engines.vllm.models import SIZES
from tests.engines.vllm.test_runs import python
from tests.tiny import write_experiment

pytestmark = pytest.mark.engines

CLOSE = 1e-4  # relative; what another order of sums leaves of single precision after two steps


def test_ranks_with_vllm_do_the_run_of_one_process(tmp_path: Path) -> None:
    found = {}
    for ranks, stage in ((1, 0), (2, 3)):
        place = tmp_path / str(ranks)
        sizes = {f"base.model.{name}": size for name, size in SIZES.items()}
        write_experiment(place, {**sizes, "rollout.max_new_tokens": 14, "engine.zero_stage": stage})
        options = ["90", "--arms=plain", "--seeds=0", "--rollout=vllm", f"--gpus={ranks}"]
        python(place, "rl.cli", "run", *options)
        run = place / "runs/90-mini/laptop+rollout=vllm/plain/seed-0"
        found[ranks] = [line["values"] for line in read_lines(run / "metrics.jsonl")]
    for one, two in zip(found[1], found[2], strict=True):
        plain = {k: x for k, x in one.items() if not isinstance(x, dict) and "logp_gap" not in k}
        assert {k: two[k] for k in plain} == pytest.approx(plain, rel=CLOSE, abs=1e-7)
    assert any("train/update_norm" in values for values in found[2])
