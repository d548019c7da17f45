"""The benchmark: that all sides are given the same work, and that the table says what was timed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.speed import engine_text, ratio, share_of_peak, table
from analysis.speed_figures import OURS, flame, plot
from rl.bench import workload
from rl.bench.profile import profiled
from rl.bench.toy_step import TOYS, alone, compare, with_engine
from rl.bench.workload import Lengths, Timer

ROOT = Path(__file__).resolve().parent.parent


def test_flops_by_hand() -> None:
    """0.6M: 3 x (4 x 128^2 + 3 x 128 x 384) + 51 x 128 weights, 44 and 38 positions seen."""
    weights = 638_976 + 6_528
    assert workload.flops("0.6M") == {
        "sample": 2 * weights + 4 * 3 * 128 * 44,
        "train": 3 * (2 * weights + 4 * 3 * 128 * 38),
    }


def test_work_is_the_same_for_all_sides() -> None:
    assert workload.lengths("fixed") == [64] * 256
    uneven = workload.lengths("uneven")
    assert (min(uneven), max(uneven), len(uneven)) == (8, 64, 256)
    assert uneven != sorted(uneven)
    assert sum(uneven) == pytest.approx(36 * 256, rel=0.05)
    for work, flat in (("fixed", 0), ("uneven", 8)):
        rewards = torch.tensor(workload.rewards(work)).view(16, 16)
        assert int((rewards.amax(1) == rewards.amin(1)).sum()) == flat
    assert workload.prompts(1) == workload.prompts(1) != workload.prompts(2)
    assert {len(text) for text in workload.prompts(1)} == {workload.PROMPT_TOKENS}
    assert workload.tokenizer().size == 51


def test_lengths_force_the_end_there_and_nowhere_else() -> None:
    process = Lengths([2, 4], prompt_tokens=3, eos_id=1)
    for width, ends in ((3, (False, False)), (4, (True, False)), (6, (True, True))):
        scores = process(torch.zeros(2, width, dtype=torch.int64), torch.zeros(2, 5))
        probability = scores.softmax(-1)
        for row, end in enumerate(ends):
            assert float(probability[row, 1]) == (1.0 if end else 0.0)


def measured(sides: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Three rounds of made-up seconds: sampling and update of each side."""
    kinds = [("fixed", False), ("fixed", True), ("uneven", True), ("uneven", False)]
    steps = [
        {
            "size": "0.6M",
            "side": side,
            "work": work,
            "share_prompts": share,
            "round": number,
            "parts": {
                name: {"cpu": seconds * number, "wall": 2 * seconds * number}
                for name, seconds in (("sample", a), ("train", b), ("step", a + b))
            },
        }
        for number in (1, 2, 3)
        for side, (a, b) in sides.items()
        for work, share in kinds
    ]
    return {
        "date": "2026-01-01",
        "machine": {"cores": 2, "cpu": "CPU"},
        "versions": {"trl": "1"},
        "peak_gflops": [10.0, 20.0, 30.0],
        "bf16_peak_gflops": 1.0,
        "flops": {"0.6M": {"sample": 1e6, "train": 3e6}},
        "steps": steps,
        "startup_cpu": {"ours": [5.0]},
        "memory_mib": {"0.6M ours": 600.0, "0.6M trl": 900.0},
        "gradient_error": {"0.6M": 3e-7},
        "flat": {"0.6M": {"64": [100.0, 90.0, 95.0], "1024": [80.0, 76.0, 60.0]}},
        "toy_seed_s": 0.03,
    }


def test_ratios_and_shares_are_those_of_the_rounds() -> None:
    data = measured({"ours": (1.0, 2.0), "trl": (2.0, 7.0), "transformers": (1.5, 3.0)})
    trl = ("trl", "fixed", False)
    assert ratio(data, "0.6M", trl, OURS, "step") == [3.0, 3.0, 3.0]
    assert ratio(data, "0.6M", trl, OURS, "sample", "wall") == [2.0, 2.0, 2.0]
    assert ratio(data, "0.6M", ("vllm", "fixed", False), OURS, "sample") == []
    # 256 x 64 tokens of 1e6 operations in 2 s, of 20 x 10^9 a second.
    assert share_of_peak(data, "0.6M", OURS, "sample") == pytest.approx(256 * 64 / 2 * 1e6 / 2e10)
    text = table(data)
    assert "| same work | GRPO step against TRL | 3.00 x (3.00 to 3.00; wall 3.00) |" in text
    assert "95, 76 (spread 20%)" in text
    assert "vLLM" not in text
    assert "600 MiB" in text


def test_profile_adds_up_and_is_drawn(tmp_path: Path) -> None:
    def run() -> None:
        timer, x = Timer(), torch.rand(300, 300)
        with timer.part("step"):
            for _ in range(3):
                with timer.part("sample"):
                    x @ x

    found = profiled(run)
    tree = found["tree"]
    (sample,) = tree["children"]
    assert (tree["name"], sample["name"]) == ("step", "sample")
    assert 0 < sum(child["seconds"] for child in sample["children"]) <= sample["seconds"]
    assert sample["seconds"] <= tree["seconds"]
    assert {o["name"]: o["calls"] for o in found["operations"]}["aten::mm"] == 3
    data = measured({"ours": (1.0, 2.0), "trl": (2.0, 7.0), "transformers": (1.5, 3.0)})
    data["profile"] = {"size": "0.6M", **found}
    for draw, name in ((plot, "bench.png"), (flame, "profile.png")):
        draw(data, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5_000


def test_a_side_serves_steps_and_uneven_gradients_are_exact(tmp_path: Path) -> None:
    workload.write_model(tmp_path / "model", "0.6M")
    commands = [["gradient_error"], ["step", "uneven", True]]
    done = subprocess.run(
        [sys.executable, "-m", "rl.bench.worker", "ours", str(tmp_path / "model")],
        cwd=ROOT,
        input="".join(json.dumps(command) + "\n" for command in commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    started, error, step = [json.loads(line) for line in done.stdout.splitlines()]
    assert started["startup_cpu"] > 0
    assert 0 < error["parts"]["relative"] < 1e-6
    parts = step["parts"]
    assert parts["step"]["cpu"] >= parts["sample"]["cpu"] + parts["train"]["cpu"]


def test_without_trl_bench_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rl.bench import main

    monkeypatch.setitem(main.PYTHONS, "trl", tmp_path / "none")
    monkeypatch.setattr(sys, "argv", ["bench", "--quick", "--out", str(tmp_path / "out.json")])
    assert main.main() == 2
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("name", [name for name, _ in TOYS])
def test_both_sides_of_a_toy_take_the_same_steps(name: str) -> None:
    make = dict(TOYS)[name]
    (ours, loss), (theirs, _) = make(), make()
    before = torch.cat([p.detach().flatten().clone() for p in ours.parameters()])
    sides = with_engine(ours, loss, 3), alone(theirs, loss)
    for update in sides:
        for _ in range(3):
            update()
    after, beside = (
        torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (ours, theirs)
    )
    assert float((after - before).abs().max()) > 1e-4
    torch.testing.assert_close(after, beside, rtol=0, atol=1e-6)


def test_a_toys_updates_are_timed_round_by_round() -> None:
    found = compare(dict(TOYS)["two-state bandit, 4 episodes"], rounds=2, updates=3)
    assert set(found) == {"engine", "adamw"}
    assert all(len(times) == 2 and min(times) > 0 for times in found.values())


def test_what_a_toys_update_costs_is_told_in_microseconds() -> None:
    data = {
        "date": "2026-01-02",
        "machine": {"cpu": "a CPU"},
        "toys": {"bandit": {"engine": [0.002, 0.001, 0.009], "adamw": [0.0005, 0.0004, 0.0006]}},
    }
    assert "bandit 2,000 against 500 microseconds (2026-01-02, a CPU)" in engine_text(data)
