"""Frames for the notebooks, figures on disk, and every notebook executed on made-up evidence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import figures, load, plots
from analysis.claims import main as claims_main
from rl.errors import UserError
from rl.evidence import COLUMNS, Evidence


def table(values: dict[tuple[str, int, int], float], metric: str = "eval/accuracy") -> Evidence:
    """Evidence from (arm, seed, step) -> value of one metric without levels."""
    rows = [(arm, seed, step, metric, np.nan, x) for (arm, seed, step), x in values.items()]
    arms = {arm: {"steps": 32} for arm, _, _ in values}
    return Evidence({"arms": arms, "seeds": [0, 1]}, [], pd.DataFrame(rows, columns=COLUMNS), [])


TWO = table(
    {
        ("a", 0, 0): 1.0,
        ("a", 1, 0): 3.0,
        ("b", 0, 0): 10.0,
        ("b", 1, 0): 12.0,
        ("a", 0, 8): 2.0,
        ("b", 0, 8): 5.0,
    }
)


def test_bands() -> None:
    """Two seeds, 1 and 3: mean 2, standard error 1, t_{.975,1} = tan(.475 pi) = 12.706."""
    got = load.curve(TWO, "eval/accuracy", ["a"])
    assert got["mean"].tolist() == [2.0, 2.0]
    assert got["n"].tolist() == [2, 1]
    assert got["low"].tolist() == pytest.approx([-10.7062, np.nan], abs=1e-4, nan_ok=True)
    assert got["high"].tolist() == pytest.approx([14.7062, np.nan], abs=1e-4, nan_ok=True)


def test_differences_and_ratios_are_paired() -> None:
    assert load.differences(TWO, "eval/accuracy", "b", "a")["mean"].tolist() == [9.0, 3.0]
    assert load.ratios(TWO, "eval/accuracy", "b", "a")["mean"].tolist() == [7.0, 2.5]


def test_the_largest_gap_is_over_all_seeds_and_steps() -> None:
    assert load.largest_gap(TWO, "eval/accuracy", "a", "b") == 9.0  # 9, 9 and 3, of either sign
    assert load.largest_gap(TWO, "eval/accuracy", "a", "a") == 0.0
    apart = table({("a", 0, 0): 0.0, ("b", 0, 1): 1.0})
    with pytest.raises(UserError, match="no eval/accuracy of a and b at the same seed and step"):
        load.largest_gap(apart, "eval/accuracy", "a", "b")


def test_completions_stand_side_by_side() -> None:
    samples = [
        {
            "arm": arm,
            "seed": seed,
            "step": step,
            "difficulty": d,
            "problem_id": 9 - d,
            "prompt": f"p{d}",
            "answer": f"a{d}",
            "text": f"{arm}{seed}{step}{d}",
        }
        for arm in ("a", "b")
        for seed in (0, 1)
        for step in (0, 8)
        for d in (3, 2)
    ]
    found = replace(TWO, samples=samples)
    got = load.side_by_side(found, ["b", "a"], 1)
    assert got.columns.tolist() == ["difficulty", "prompt", "answer", "b", "a"]
    assert got.to_numpy().tolist() == [
        [2, "p2", "a2", "b182", "a182"],
        [3, "p3", "a3", "b183", "a183"],
    ]
    with pytest.raises(UserError, match="no samples in the evidence of a, seed 7"):
        load.side_by_side(found, ["a"], 7)


def test_a_ratio_to_nothing_is_left_out() -> None:
    found = table({("a", 0, 0): 0.0, ("b", 0, 0): 1.0, ("a", 0, 1): 2.0, ("b", 0, 1): 1.0})
    assert load.ratios(found, "eval/accuracy", "b", "a")["step"].tolist() == [1]


def test_windows() -> None:
    found = table({("a", 0, step): 0.0 for step in (0, 4, 8, 12, 16, 28, 32)})
    assert load.window(found, "eval/accuracy", (0.125, 0.375)) == (4, 12)
    assert load.window(found, "eval/accuracy", (0.75, 1.0)) == (28, 32)
    with pytest.raises(UserError, match=r"no eval/accuracy is logged from 0\.6 to 0\.7"):
        load.window(found, "eval/accuracy", (0.6, 0.7))


def test_medians_of_the_first_steps() -> None:
    values = {("a", 0, step): float(x) for step, x in enumerate([5, 1, 4, 100])}
    got = load.medians(table(values, "train/grad_norm"), "train/grad_norm", ["a"], 3)
    assert got["value"].tolist() == [4.0]


def test_a_metric_that_an_arm_lacks_is_named() -> None:
    with pytest.raises(UserError, match="no train/loss in the evidence of a"):
        load.curve(TWO, "train/loss", ["a"])


def test_samples_side_by_side(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_EVIDENCE", str(made / "experiments"))
    got = load.sample_pairs(load.evidence(3), "none", 0)
    assert got["difficulty"].tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert got["start reward"].tolist() == [0.0] * 7
    assert got["end reward"].tolist() == [1.0] * 7
    assert (got["end text"].str[-1] == got["answer"]).all()
    with pytest.raises(UserError, match="no samples in the evidence of none, seed 99"):
        load.sample_pairs(load.evidence(3), "none", 99)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.3, 0.5, 0.52, 0.54], [0.3, 0.42, 0.52, 0.62]),
        ([0.5, 0.58, 0.6], [0.46, 0.56, 0.66]),
    ],
)
def test_labels_are_spread(positions: list[float], expected: list[float]) -> None:
    assert plots.spread(positions, 0.1) == pytest.approx(expected)


def test_a_figure_is_the_same_bytes_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("one", "two"):
        monkeypatch.setenv("RL_FIGURES", str(tmp_path / name))
        bands = load.curve(TWO, "eval/accuracy", ["a", "b"])
        figure = plots.learning_curves(bands, ["a", "b"], "a", "accuracy")
        saved = plots.save(figure, 3, "curves")
        found.append((saved.png.read_bytes(), saved.png.with_suffix(".svg").read_bytes()))
    assert found[0] == found[1]
    assert found[0][0].startswith(b"\x89PNG")
    assert b"<dc:date>" not in found[0][1]
    assert str(saved) == "exp_03/curves.png"


@pytest.mark.notebook
def test_notebook_03_executes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.setenv("RL_EVIDENCE", str(tmp_path / "repository" / "experiments"))
    monkeypatch.setenv("RL_FIGURES", str(tmp_path / "figures"))
    assert claims_main(["promote", "3", "--force"]) == 0
    capfd.readouterr()
    assert figures.main(["3", "--output", str(tmp_path)]) == 0
    # The kernel's own warnings would show up here as well.
    assert capfd.readouterr() == ("exp_03.ipynb: executed\n", "")
    cells = json.loads((tmp_path / "exp_03.ipynb").read_text())["cells"]
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} == {"execute_result"}
    assert not any("execution" in cell["metadata"] for cell in cells)
    pictures = sorted(path.name for path in (tmp_path / "figures" / "exp_03").iterdir())
    shown = [out for out in outputs if "image/png" in out["data"]]
    assert len(pictures) == 2 * len(shown) == 14
    assert {path.split(".")[1] for path in pictures} == {"png", "svg"}


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("number", "pictures"),
    [
        pytest.param(1, 15, marks=pytest.mark.slow),
        pytest.param(2, 7, marks=pytest.mark.slow),
        (4, 4),
        pytest.param(5, 10, marks=pytest.mark.slow),
        pytest.param(6, 14, marks=pytest.mark.slow),
        pytest.param(7, 11, marks=pytest.mark.slow),
        pytest.param(8, 12, marks=pytest.mark.slow),
        pytest.param(10, 18, marks=pytest.mark.slow),
        pytest.param(9, 8, marks=pytest.mark.slow),
    ],
)
def test_a_notebook_draws_the_committed_figures(
    number: int,
    pictures: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = f"exp_{number:02d}"
    monkeypatch.setenv("RL_FIGURES", str(tmp_path / "figures"))
    assert figures.main([str(number), "--output", str(tmp_path)]) == 0
    assert capfd.readouterr() == (f"{name}.ipynb: executed\n", "")
    drawn, committed = (
        sorted(path.name for path in (folder / name).iterdir())
        for folder in (tmp_path / "figures", plots.FIGURES)
    )
    assert drawn == committed
    assert len(drawn) == 2 * pictures
    cells = json.loads((tmp_path / f"{name}.ipynb").read_text())["cells"]
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    assert {out["output_type"] for out in outputs} == {"execute_result"}
    assert len([out for out in outputs if "image/png" in out["data"]]) == pictures


def test_without_evidence_a_notebook_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = [path.stem[4:] for path in sorted(figures.NOTEBOOKS.glob("exp_*.ipynb"))]
    for number in numbers:
        (tmp_path / f"{number}-name").mkdir()
    monkeypatch.setenv("RL_EVIDENCE", str(tmp_path))
    assert figures.main(["--output", str(tmp_path)]) == 0
    told = (f"exp_{n}.ipynb: skipped, no committed evidence yet\n" for n in numbers)
    assert capsys.readouterr() == ("".join(told), "")
    assert not list(tmp_path.glob("*.ipynb"))


def test_an_unknown_notebook_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert figures.main(["98"]) == 2
    assert capsys.readouterr() == ("", "error: exp_98.ipynb: no such notebook in analysis/\n")


@pytest.mark.notebook
def test_a_failing_cell_is_told_in_one_message(tmp_path: Path) -> None:
    book = {
        "cells": [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "text"},
            {
                "cell_type": "code",
                "id": "b",
                "metadata": {},
                "source": "1 / 0",
                "execution_count": None,
                "outputs": [],
            },
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    source, target = tmp_path / "broken.ipynb", tmp_path / "out.ipynb"
    source.write_text(json.dumps(book))
    with pytest.raises(UserError, match=r"^broken.ipynb: cell 2: ZeroDivisionError: division by"):
        figures.execute(source, target)
    assert not target.exists()
    source.write_text("no notebook")
    with pytest.raises(UserError, match=r"broken.ipynb: not a notebook"):
        figures.execute(source, target)
