"""show, promote and readme, on a copy of the made-up repository."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.claims import main
from rl.evidence import read_evidence, seal

ARTIFACTS = Path("experiments/03-std-scaling/artifacts")
RUNS = Path("runs/03-std-scaling/laptop")
CLAIMS = Path("experiments/03-std-scaling/claims.yaml")


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy, and the place where the commands run."""
    shutil.copytree(made, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


def strict_json(path: Path) -> Any:
    """Read JSON that has no NaN and no infinity in it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{path}: {word} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one message of a command that must fail, without a traceback."""
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.usefixtures("root")
def test_show_prints_and_writes(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(ARTIFACTS)
    assert main(["show", "3"]) == 0
    out = capsys.readouterr().out
    assert "03-std-scaling, laptop: 60 of 60 runs of 15 arms" in out
    assert "none yet" in out
    assert "Training raises held-out accuracy (control; none: a check of the set-up)" in out
    written = strict_json(RUNS / "verdicts.json")
    assert [v["claim"] for v in written["verdicts"]] == ["faster-on-hard", "learns", "norm-scales"]
    assert [v["verdict"] for v in written["verdicts"]][1:] == ["reproduced", "reproduced"]
    assert written["label"] == "laptop"


@pytest.mark.usefixtures("root")
def test_show_puts_the_committed_verdict_beside(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "3", "--force"]) == 0
    committed = strict_json(ARTIFACTS / "verdicts.json")
    committed["verdicts"][1]["verdict"] = "contradicted"
    del committed["verdicts"][2]
    (ARTIFACTS / "verdicts.json").write_text(json.dumps(committed))
    seal(ARTIFACTS)
    capsys.readouterr()
    assert main(["show", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    learns = next(line for line in lines if line.startswith("learns"))
    norm = next(line for line in lines if line.startswith("norm-scales"))
    assert learns.split()[1:3] == ["reproduced", "contradicted"]
    assert norm.split()[1:4] == ["reproduced", "not", "there"]


@pytest.mark.usefixtures("root")
def test_show_says_what_is_underpowered_and_incomplete(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(RUNS / "none_x10" / "seed-2")
    CLAIMS.write_text(CLAIMS.read_text().replace("min_effect: 0.02", "min_effect: 0.001"))
    assert main(["show", "3"]) == 0
    out = capsys.readouterr().out
    assert "59 of 60 runs" in out
    assert "incomplete: no complete run of none_x10 seed 2" in out
    assert "underpowered: with these seeds the test sees" in out
    assert "the claim speaks of 0.001" in out
    assert "faster-on-hard  " in out
    assert "(post hoc)" in out


@pytest.mark.usefixtures("root")
def test_show_names_a_damaged_run_and_judges_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    log = RUNS / "none_x10" / "seed-2" / "metrics.jsonl"
    log.write_bytes(log.read_bytes() + b"{}\n")
    single = RUNS / "single_none" / "seed-0" / "metrics.jsonl"  # of no claim here
    single.unlink()
    assert main(["show", "3"]) == 0
    out = capsys.readouterr().out
    assert "58 of 60 runs" in out
    assert f"incomplete: no complete run of none_x10 seed 2 ({log}: expected " in out
    assert f"\ndamaged: single_none seed 0: {single}: missing; run the experiment again" in out
    kinds = {v["claim"]: v["verdict"] for v in strict_json(RUNS / "verdicts.json")["verdicts"]}
    assert kinds["norm-scales"] == "incomplete"
    assert kinds["learns"] == "reproduced"


@pytest.mark.usefixtures("root")
def test_show_without_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "run the experiment first" in fails(capsys, "show", "3", "--profile", "smoke")
    assert "laptop+a=1" in fails(capsys, "show", "3", "--label", "laptop+a=1")
    assert "known: 03-std-scaling" in fails(capsys, "show", "4")
    assert "laptop+steps=2: no runs" in fails(capsys, "show", "3", "--set", "steps=2")
    assert "SET: No closing quotation" in fails(capsys, "show", "3", "--set", "steps='2")
    assert "SET: no setting 'step'" in fails(capsys, "show", "3", "--set", "step=2")


@pytest.mark.usefixtures("root")
def test_show_finds_the_folder_of_overridden_runs(capsys: pytest.CaptureFixture[str]) -> None:
    RUNS.rename(RUNS.with_name("laptop+steps=2+optim.lr=0.0001"))
    assert main(["show", "03", "--profile", "laptop", "--set", "steps=2 optim.lr=1e-4"]) == 0
    assert "60 of 60 runs" in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_promote_writes_verdicts_and_refuses_to_replace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(ARTIFACTS)
    assert main(["promote", "3"]) == 0
    files = sorted(path.name for path in ARTIFACTS.iterdir())
    assert files == ["metrics.parquet", "runs.json", "samples.jsonl", "verdicts.json"]
    assert "evidence is there already" in fails(capsys, "promote", "3")
    assert main(["promote", "3", "--force"]) == 0


@pytest.mark.usefixtures("root")
def test_promote_refuses_an_incomplete_run(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(RUNS / "none" / "seed-0")
    assert "none seed 0" in fails(capsys, "promote", "3", "--force")


@pytest.mark.usefixtures("root")
def test_readme_is_renewed_and_then_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    Path("experiments/04-length").mkdir()
    shutil.copy("README.md", "experiments/04-length/README.md")
    message = fails(capsys, "readme", "--check")
    assert "verdicts.json: missing" in message
    assert main(["readme"]) == 0
    assert main(["readme", "--check"]) == 0
    text = Path("README.md").read_text()
    assert text.startswith("# Title\n\n<!-- claims:begin -->\n| Experiment |")
    assert text.endswith("<!-- claims:end -->\n\nThe end.\n")
    assert "| [04-length](experiments/04-length/README.md) | not yet run |" in text
    page = (ARTIFACTS.parent / "README.md").read_text()
    assert "the first gradient \\| without scaling" in page
    assert "| **reproduced** | 0 [0, 0] |" in page
    assert "Not yet run." in Path("experiments/04-length/README.md").read_text()


@pytest.mark.usefixtures("root")
def test_the_page_of_an_experiment_has_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    page = ARTIFACTS.parent / "README.md"
    assert main(["readme"]) == 0
    text = page.read_text()
    assert text.startswith("# Title\n\n<!-- claims:begin -->\n3 claims: ")
    assert "From 60 runs of commit " in text
    assert ": 1 hours of run time in all." in text  # 60 runs of 60 s
    assert "`norm-scales` | **reproduced** | 0 [0, 0] |" in text
    page.write_text(text.replace("From 60 runs", "From 61 runs"))
    assert f"{page}: its table of verdicts is not" in fails(capsys, "readme", "--check")
    assert main(["readme"]) == 0
    assert page.read_text() == text


@pytest.fixture
def renewed(root: Path) -> Path:
    """The copy, with README.md and verdicts.json as the evidence gives them."""
    assert main(["readme"]) == 0
    return root


@pytest.mark.usefixtures("renewed")
def test_an_edited_number_in_the_readme_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    old = Path("README.md").read_text()
    effect = strict_json(ARTIFACTS / "verdicts.json")["verdicts"][0]["effect"]
    assert f"{effect:.3g} [" in old
    Path("README.md").write_text(old.replace(f"{effect:.3g} [", f"{2 * effect:.3g} ["))
    assert "is not what the artifacts give" in fails(capsys, "readme", "--check")
    assert main(["readme"]) == 0
    assert Path("README.md").read_text() == old


@pytest.mark.usefixtures("renewed")
@pytest.mark.parametrize(
    ("field", "value"),
    [("effect", 0.5), ("verdict", "contradicted"), ("n", 5), ("p", None), ("text", "better")],
)
@pytest.mark.parametrize("check", [["--check"], []])
def test_an_edited_verdict_is_found(
    capsys: pytest.CaptureFixture[str], field: str, value: Any, check: list[str]
) -> None:
    file = ARTIFACTS / "verdicts.json"
    edited = strict_json(file)
    edited["verdicts"][1][field] = value
    file.write_text(json.dumps(edited))
    message = fails(capsys, "readme", *check)
    assert f"claim learns: {field} is {value!r}, but" in message


@pytest.mark.usefixtures("renewed")
def test_an_edited_metric_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(ARTIFACTS / "metrics.parquet")
    chosen = (table["arm"] == "none") & (table["metric"] == "eval/accuracy")
    table.loc[chosen, "value"] *= 1.001
    table.to_parquet(ARTIFACTS / "metrics.parquet", index=False)
    assert "metrics.parquet: expected sha256" in fails(capsys, "readme", "--check")
    seal(ARTIFACTS)  # with hashes that go with it, the verdicts do not
    assert "claim learns: effect is" in fails(capsys, "readme", "--check")


@pytest.mark.usefixtures("renewed")
@pytest.mark.parametrize("damage", ["{", "{}", '{"verdicts": [{"claim": "learns"}]}'])
def test_a_damaged_verdict_file_is_named(capsys: pytest.CaptureFixture[str], damage: str) -> None:
    (ARTIFACTS / "verdicts.json").write_text(damage)
    assert "artifacts/verdicts.json: " in fails(capsys, "readme")


@pytest.mark.usefixtures("renewed")
def test_a_claim_changed_after_the_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It disagrees with what was committed; computed again, the table marks it, and it alone."""
    CLAIMS.write_text(CLAIMS.read_text().replace("Training raises", "Training always raises"))
    assert "claim learns: text is 'Training raises" in fails(capsys, "readme")
    (ARTIFACTS / "verdicts.json").unlink()
    assert main(["readme"]) == 0
    page = (ARTIFACTS.parent / "README.md").read_text()
    marked = [line for line in page.splitlines() if "post hoc" in line]
    assert len(marked) == 1
    assert "Training always raises" in marked[0]
    assert read_evidence(ARTIFACTS).faults == {}
    assert main(["readme", "--check"]) == 0


@pytest.mark.usefixtures("renewed")
def test_another_set_of_claims_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    CLAIMS.write_text(CLAIMS.read_text().replace("id: learns", "id: learns-fast"))
    message = fails(capsys, "readme", "--check")
    assert "holds verdicts on faster-on-hard, learns, norm-scales" in message
    assert "states faster-on-hard, learns-fast, norm-scales" in message


@pytest.mark.usefixtures("renewed")
@pytest.mark.parametrize(
    "text", ["# No markers\n", "<!-- claims:end -->\n<!-- claims:begin -->\n", ""]
)
def test_a_readme_without_its_markers(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Path("README.md").write_text(text)
    assert "README.md: expected one line <!-- claims:begin -->" in fails(capsys, "readme")
    assert Path("README.md").read_text() == text


@pytest.mark.usefixtures("renewed")
def test_no_readme(capsys: pytest.CaptureFixture[str]) -> None:
    Path("README.md").unlink()
    assert "no such file" in fails(capsys, "readme")
