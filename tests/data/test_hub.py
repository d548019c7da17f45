"""Data from the hub: the pinned commit or none, whatever lies in the cache."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

datasets = pytest.importorskip("datasets")

from rl.data import load_preferences, load_problems  # noqa: E402
from rl.errors import UserError  # noqa: E402
from tests.hub import Hub, go_offline, serving, use_cache  # noqa: E402

PINNED, OTHER = "7" * 40, "1" * 40
DIALOGUE = "\n\nHuman: one plus one?\n\nAssistant: {}"
PAIRS = [{"chosen": DIALOGUE.format(2), "rejected": DIALOGUE.format(3)}] * 2


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With GSM8K of one problem, whose answer is 5, and two pairs of HH."""
    monkeypatch.delenv("RL_DATA_DIR", raising=False)
    root = tmp_path / "hub" / "datasets"
    write(root / "openai/gsm8k/main/train.jsonl", [problem(5)])
    write(root / "Anthropic/hh-rlhf/harmless-base/test.jsonl", PAIRS)
    card = {"config_name": "main", "data_files": [{"split": "train", "path": "main/train.jsonl"}]}
    text = f"---\nconfigs: {json.dumps([card])}\n---\n"
    (root / "openai/gsm8k/README.md").write_text(text, encoding="utf-8")
    with serving(Hub(tmp_path / "hub", PINNED), monkeypatch, cache=tmp_path / "cache") as made:
        yield made


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty cache, and no network."""
    monkeypatch.delenv("RL_DATA_DIR", raising=False)
    use_cache(tmp_path / "cache", monkeypatch)
    go_offline(monkeypatch)
    return tmp_path


def problem(answer: int) -> dict[str, str]:
    return {"question": "How many?", "answer": f"#### {answer}"}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def cache_gsm8k(folder: Path, commit: str, answer: int, *, written: float) -> None:
    """As `datasets` caches it, last changed at `written`."""
    from datasets.packaged_modules.json.json import Json

    rows = write(folder / f"{commit}.jsonl", [problem(answer)])
    made = Json(
        dataset_name="gsm8k",
        config_name="main",
        data_files={"train": [str(rows)]},
        cache_dir=str(folder / "made"),
    )
    home = Path(datasets.config.HF_DATASETS_CACHE) / "openai___gsm8k" / "main" / "0.0.0" / commit
    made.download_and_prepare(str(home))
    os.utime(home, (written, written))


def gsm8k(revision: str = PINNED, *, split: str = "train") -> tuple[list[str], str]:
    found = load_problems(
        "openai/gsm8k", kind="gsm8k", subsets=["main"], split=split, revision=revision
    )
    return [p.answer for p in found.problems], found.source


def harmless(*, source: str = f"Anthropic/hh-rlhf {PINNED} harmless-base test") -> list[str]:
    found = load_preferences(
        "Anthropic/hh-rlhf", schema="hh", subset="harmless-base", split="test", revision=PINNED
    )
    assert found.source.startswith(source)
    return [pair.chosen for pair in found.preferences]


def test_the_hub_is_asked_for_the_pinned_commit(hub: Hub) -> None:
    assert gsm8k() == (["5"], f"openai/gsm8k {PINNED} main train")
    assert harmless() == [" 2", " 2"]
    assert any(f"gsm8k/resolve/{PINNED}/main/train.jsonl" in path for path in hub.asked)
    assert all(PINNED in path for path in hub.asked if "/datasets/" in path)
    with pytest.raises(UserError, match=f"gsm8k: the hub did not give train at {OTHER} \\(Data"):
        gsm8k(OTHER)
    with pytest.raises(
        UserError, match=r'ValueError: Unknown split "dev".*Go online, or set RL_DA'
    ):
        gsm8k(split="dev")


def test_the_hub_and_a_folder_give_the_same(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from_hub = harmless()
    monkeypatch.setenv("RL_DATA_DIR", str(hub.folder / "datasets"))
    assert harmless(source="Anthropic/hh-rlhf/harmless-base/test.jsonl sha256") == from_hub


def test_what_was_fetched_is_there_without_the_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gsm8k()
    go_offline(monkeypatch)
    hub.asked.clear()
    assert gsm8k() == first
    assert hub.asked == []


def test_another_commit_in_the_cache_is_not_taken(offline: Path) -> None:
    cache_gsm8k(offline, OTHER, 2, written=1e9)
    with pytest.raises(UserError) as caught:
        gsm8k()
    message = str(caught.value)
    assert message.startswith(f"openai/gsm8k: the hub did not give train at {PINNED} (ValueError: ")
    assert message.endswith("Go online, or set RL_DATA_DIR to a folder that holds it")
    assert "\n" not in message


@pytest.mark.parametrize("newer", [PINNED, OTHER])
def test_of_two_commits_in_the_cache_the_pinned_one_is_taken(offline: Path, newer: str) -> None:
    for commit, answer in ((PINNED, 1), (OTHER, 2)):
        cache_gsm8k(offline, commit, answer, written=2e9 if commit == newer else 1e9)
    assert gsm8k() == (["1"], f"openai/gsm8k {PINNED} main train")
    assert gsm8k(OTHER) == (["2"], f"openai/gsm8k {OTHER} main train")


def test_a_hub_that_breaks_off_is_one_message(hub: Hub) -> None:
    hub.answers = False
    with pytest.raises(UserError, match=r"at 7+ \(RemoteProtocolError: .*\)\. Go online, or set"):
        gsm8k()


def test_without_hub_and_cache_one_message(offline: Path) -> None:
    assert offline.is_dir()
    with pytest.raises(UserError, match=r"at 7+ \(ConnectionError: .*\)\. Go online, or set RL_DA"):
        harmless()
