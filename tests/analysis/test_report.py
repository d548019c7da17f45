"""The report as text: what it says, what it embeds, and that nothing in it can act or load."""

import base64
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from analysis import report
from analysis.citation import bibtex, plain_text, read_citation
from analysis.claims import main as claims_main
from analysis.table import frame_rows
from rl.errors import UserError
from rl.evidence import seal
from tests.report_parts import (
    CITATION,
    EXPERIMENT,
    HOSTILE,
    NAME,
    PNG,
    SVG,
    Page,
    add_figures,
    add_notebook,
    add_planned,
    replace,
    verdicts,
    words,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def judged(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up repository with its verdicts and a citation. Read only."""
    root = tmp_path_factory.mktemp("judged") / "repository"
    shutil.copytree(made, root, ignore=shutil.ignore_patterns("runs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert claims_main(["readme"]) == 0
    (root / "CITATION.cff").write_text(CITATION)
    return root


@pytest.fixture
def repository(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one's own, to stand in."""
    shutil.copytree(judged, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


# --- what it says ---------------------------------------------------------------------------------


def test_every_claim_with_its_numbers_as_the_other_tables_print_them(repository: Path) -> None:
    text = words(Page(report.page(repository)).text)
    found = verdicts(repository)
    assert {v.kind for v in found} == {"interaction", "trend", "exact"}
    for verdict, shown in zip(found, frame_rows(found), strict=True):
        said = f"{verdict.text} {verdict.role}; {verdict.source}"
        numbers = f"{shown['effect']} {shown['interval']} {shown['p (Holm)']} {verdict.n}"
        assert re.search(
            f"{re.escape(said)} .{verdict.verdict}.* {re.escape(numbers)} "
            f"{re.escape(shown['detectable'])}",
            text,
        ), said
        assert f"Seed SD{shown['seed SD']}" in text


def test_counts_are_of_the_verdicts(repository: Path) -> None:
    add_planned(repository)
    found = verdicts(repository)
    page = Page(report.page(repository))
    rows = [row["data-verdict"] for row in page.all("tr") if "data-verdict" in row]
    assert rows == [*(v.verdict for v in found), "not yet run"]
    buttons = [b["data-filter"] for b in page.all("button") if "data-filter" in b]
    assert buttons == ["", *report.VERDICTS]
    counts = report.counted(
        [report.section(repository, p) for p in sorted(Path("experiments").iterdir())]
    )
    assert counts == {name: rows.count(name) for name in report.VERDICTS}
    assert sum(counts.values()) == len(rows)


def test_a_changed_claim_is_marked_and_explained(repository: Path) -> None:
    assert "post hoc" not in Page(report.page(repository)).text
    replace(repository / EXPERIMENT / "claims.yaml", "min_effect: 0.02", "min_effect: 0.5")
    (repository / EXPERIMENT / "artifacts" / "verdicts.json").unlink()
    assert claims_main(["readme"]) == 0
    text = words(Page(report.page(repository)).text)
    assert text.count("post hoc") == 3  # in the table, at the claim and in its note
    assert "post hoc: the claim was written or changed after these runs started" in text
    assert "smallest effect0.5" in text.lower()


KINDS = """
alpha: 0.05
claims:
  - id: comes-first
    role: primary
    text: It comes to an accuracy of .8 first
    source: a paper
    kind: log_rank
    treatment: group_std
    control: none
    measure: {metric: eval/accuracy, steps: all}
    reaches: 0.8
    event: at_least
    direction: greater
    min_effect: 1.5
  - id: less-norm
    role: primary
    text: The gradient is smaller
    source: a paper
    kind: variance_ratio
    treatment: none
    control: group_std
    measure: {metric: train/grad_norm, steps: all}
    direction: less
    min_effect: 1.25
  - id: more-often
    role: primary
    text: It comes there more often
    source: a paper
    kind: mcnemar
    treatment: group_std
    control: none
    measure: {metric: eval/accuracy, steps: last}
    reaches: 0.8
    direction: greater
    min_effect: 0.1
  - id: same-weight
    role: control
    text: The same weight
    source: arithmetic
    kind: enumeration
    treatment: weight_none
    control: weight_none_g64
    measure: {metric: weight/curve, steps: first}
    tolerance: 0.25
"""


def test_effects_are_named_by_their_kind(repository: Path) -> None:
    (repository / EXPERIMENT / "claims.yaml").write_text(KINDS)
    (repository / EXPERIMENT / "artifacts" / "verdicts.json").unlink()
    assert claims_main(["readme"]) == 0
    found = verdicts(repository)
    text = words(Page(report.page(repository)).text)
    shown = frame_rows(found)
    for verdict, row, name, least in zip(
        found,
        shown,
        (
            "Hazard ratio, interval",
            "Ratio, interval",
            "Share of discordant pairs less 1/2, interval",
            "Largest deviation, range",
        ),
        ("Smallest effect1.5", "Smallest effect1.25", "Smallest effect0.1", "Tolerance0.25"),
        strict=True,
    ):
        assert verdict.verdict != "incomplete"
        assert f"Role, kind{verdict.role}, {verdict.kind.replace('_', ' ')}" in text
        assert f"{name}{row['effect']}" in text
        assert least in text
    assert shown[1]["effect"] == f"ratio {math.exp(found[1].effect or 0):.3g}"
    assert "log rank (greater)" in text


def test_runs_and_their_origin(repository: Path) -> None:
    text = words(Page(report.page(repository)).text)
    runs = json.loads((repository / EXPERIMENT / "artifacts/runs.json").read_text())["runs"]
    assert f"{len(runs)} runs of commit 0000000: {60 * len(runs):,} seconds in all" in text
    assert f"{600_000 * len(runs):,} tokens sampled" in text
    assert "cpu a processor" in text
    assert "torch 2.13.0" in text
    assert text.count("600,000") == len(runs)
    assert text.count("b" * 16) == len(runs)
    assert f"commit {'0' * 40}" in text
    assert runs[0]["claims_sha256"] in text


def test_an_experiment_without_evidence_is_not_yet_run(repository: Path) -> None:
    add_planned(repository, "Does it?")
    page = Page(report.page(repository))
    text = words(page.text)
    assert "98-planned Does it? ○not yet run - - - -" in text
    assert re.search(
        r"98-planned Does it\? ○not yet run: 3 claims to be tested, with 60 runs of 15 arms", text
    )
    assert {"id": "98-planned--learns", "class": "not-yet-run"} in page.all("li")


def test_no_experiments_at_all(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "CITATION.cff").write_text(CITATION)
    assert "No experiments yet" in report.page(tmp_path)


# --- figures --------------------------------------------------------------------------------------


def test_every_figure_is_embedded_once_in_the_notebooks_order(repository: Path) -> None:
    add_figures(repository, curves__png=PNG, curves__svg=SVG, left_over__png=PNG, dots__svg=SVG)
    add_notebook(
        repository,
        ("markdown", "# Experiment\n\nIntroduction."),
        ("markdown", "## The dots\n\nWhat `a dot` is."),
        ("code", "exp_03/dots.png"),
        ("markdown", "## The curves\n"),
        ("code", "a table"),
        ("markdown", "Under the same heading."),
        ("code", "exp_03/curves.png"),
        ("code", "exp_03/gone.png"),
    )
    page = Page(report.page(repository))
    images = page.all("img")
    svg, png = (base64.b64encode(content).decode() for content in (SVG, PNG))
    assert [image["src"] for image in images] == [
        f"data:image/svg+xml;base64,{svg}",
        f"data:image/svg+xml;base64,{svg}",
        f"data:image/png;base64,{png}",
    ]
    assert [image["alt"] for image in images] == [
        f"The dots (figure dots of experiment {NAME})",
        f"The curves (figure curves of experiment {NAME})",
        f"Left over (figure left-over of experiment {NAME})",
    ]
    text = words(page.text)
    assert "Figure 1. The dots What a dot is." in text
    assert "Figure 2. The curves Under the same heading." in text


def test_without_figures_the_page_has_none(repository: Path) -> None:
    assert not (repository / "analysis").exists()
    page = Page(report.page(repository))
    assert page.all("figure") == []
    assert page.all("img") == []


# --- what it must not do --------------------------------------------------------------------------


def assert_harmless(page: Page) -> None:
    """One script and one style, ours; nothing that acts, nothing that loads."""
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert page.raw["script"] == (report.TEMPLATES / "report.js").read_text()
    assert page.raw["style"] == (report.TEMPLATES / "report.css").read_text()
    assert not re.search(r"url\(|@import", page.raw["style"])
    assert {tag for tag, _ in page.elements}.isdisjoint({"iframe", "object", "embed", "base"})
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert attributes.get("src", "data:").startswith("data:")
        allowed = {"a": ("#", "https://", "http://"), "link": ("data:",)}.get(tag, ())
        assert "href" not in attributes or attributes["href"].startswith(allowed)
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    digest = base64.b64encode(hashlib.sha256(page.raw["script"].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{digest}'" in policy


def test_what_people_wrote_is_shown_and_does_nothing(repository: Path) -> None:
    directory = repository / EXPERIMENT
    claims = directory / "claims.yaml"
    replace(claims, "text: Training raises held-out accuracy", f"text: {json.dumps(HOSTILE)}")
    replace(claims, '"2503.20783 section 3.1"', json.dumps(HOSTILE))
    (directory / "artifacts" / "verdicts.json").unlink()
    assert claims_main(["readme"]) == 0
    add_planned(repository, HOSTILE)
    link = "[here](javascript:x=1) [there](//evil.example) ![picture](http://evil.example/x.png)"
    replace(directory / "README.md", "The end.", f"{HOSTILE}\n\n{link}\n\n<script>x=1</script>")
    runs = directory / "artifacts" / "runs.json"
    for old in ("a processor", "b" * 16, "0" * 40):
        replace(runs, json.dumps(old), json.dumps(HOSTILE))
    seal(runs.parent)
    add_figures(repository, dots__svg=SVG)
    add_notebook(repository, ("markdown", f"# {HOSTILE}\n\n{HOSTILE}"), ("code", "exp_03/dots.png"))
    page = Page(report.page(repository))
    assert_harmless(page)
    assert len(page.all("img")) == 1
    assert page.all("img")[0]["alt"].startswith(HOSTILE)
    # Question, source and text in table and section, machine, commit, prose, caption and more.
    assert words(page.text).count(words(HOSTILE)) > 10


def test_this_repositorys_page_loads_nothing() -> None:
    page = Page(report.page(ROOT))
    assert_harmless(page)
    drawn = {path.with_suffix("") for path in (ROOT / "analysis" / "figures").glob("exp_*/*")}
    assert len(page.all("img")) == len(drawn) > 0
    assert all(image["alt"] for image in page.all("img"))


# --- the same bytes -------------------------------------------------------------------------------


def test_the_same_evidence_gives_the_same_bytes(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here and in a process of its own, with files made later and names hashed otherwise."""
    add_figures(repository, b__svg=SVG, a__svg=SVG, c__png=PNG)
    assert report.main([]) == 0
    assert capsys.readouterr() == ("report/index.html\n", "")
    other = tmp_path / "other"
    shutil.copytree(repository, other, copy_function=shutil.copyfile)
    ended = subprocess.run(
        [sys.executable, "-m", "analysis.report", "--output", "new/page.html"],
        cwd=other,
        env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "new/page.html\n", "")
    one = (repository / "report" / "index.html").read_bytes()
    assert (other / "new" / "page.html").read_bytes() == one
    assert b"\r" not in one


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "old", "new", "told"),
    [
        ("CITATION.cff", "title: A title", "", "CITATION.cff: 1 fault(s)\n  title: missing"),
        ("CITATION.cff", "2026-01-31", "January", "date-released: string should match"),
        ("CITATION.cff", "{name: The authors}", "{alias: x}", "an author with `name` or"),
        ("CITATION.cff", "[{", "[", "CITATION.cff: not readable as YAML"),
        (f"{EXPERIMENT}/artifacts/runs.json", '"plan"', '"plans"', "as promoted, got sha256"),
        (f"{EXPERIMENT}/artifacts/verdicts.json", '"n": 4', '"n": 5', "n is 5, but the metrics"),
        (f"{EXPERIMENT}/config.yaml", '"question"', '"questions"', "questions: unknown key"),
    ],
)
def test_a_fault_is_one_message(
    repository: Path, capsys: pytest.CaptureFixture[str], path: str, old: str, new: str, told: str
) -> None:
    replace(repository / path, old, new)
    assert report.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert path in said.err
    assert told in said.err
    assert not (repository / "report").exists()


def test_a_run_without_its_seconds_is_named(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promoted so, with hashes that agree."""
    runs = repository / EXPERIMENT / "artifacts" / "runs.json"
    replace(runs, '"seconds"', '"s"')
    seal(runs.parent)
    assert report.main([]) == 2
    assert "artifacts/runs.json: run 1: seconds is None" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("CITATION.cff", "CITATION.cff: no such file"),
        (f"{EXPERIMENT}/artifacts/verdicts.json", "run `python -m analysis.claims readme`"),
        ("experiments", "run this in the root of the repository"),
    ],
)
def test_what_is_missing_is_named(
    repository: Path, capsys: pytest.CaptureFixture[str], path: str, told: str
) -> None:
    (repository / path).rename(repository / "elsewhere")
    assert report.main([]) == 2
    assert told in capsys.readouterr().err


def test_damaged_pictures_notebooks_and_pages_are_named(repository: Path) -> None:
    add_figures(repository, dots__svg=b"")
    with pytest.raises(UserError, match=r"dots.svg: empty; run `make figures`"):
        report.page(repository)
    notebook = repository / "analysis" / "exp_03.ipynb"
    for damaged, told in (("{", "damaged"), ('{"cells": [1]}', "not a notebook")):
        notebook.write_text(damaged)
        with pytest.raises(UserError, match=told):
            report.page(repository)
    (repository / EXPERIMENT / "README.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"README.md: cannot be read as text"):
        report.page(repository)


@pytest.mark.usefixtures("repository")
def test_a_place_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--output", "README.md/page.html"]) == 2
    assert "README.md/page.html: cannot be written" in capsys.readouterr().err


# --- how to cite ----------------------------------------------------------------------------------


def test_this_repositorys_citation_is_on_its_page() -> None:
    citation = read_citation(ROOT / "CITATION.cff")
    text = Page(report.page(ROOT)).text
    assert plain_text(citation) in text
    assert bibtex(citation) in text


# --- as a package ---------------------------------------------------------------------------------


def test_templates_are_installed_with_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["analysis"]
    packed = {path for pattern in patterns for path in (ROOT / "analysis").glob(pattern)}
    assert {path.name for path in packed} == {
        *("report.html", "experiment.html", "report.css", "report.js"),
    }
