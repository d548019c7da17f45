"""A checkpoint from the hub: whole before it is taken, and from the cache where no hub answers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from rl.errors import UserError
from rl.models import PublishedTokenizer, fetch, published
from tests.hub import Hub, go_offline, serving
from tests.published.checkpoint import NAME, REVISION, as_cache, change_json

GENERATION = "generation_config.json"
EOS, OTHER = 397, 398  # of config.json and tokenizer; of generation_config.json on this hub


@pytest.fixture
def hub(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """It has the small checkpoint, which generates to another EOS than its config.json says."""
    monkeypatch.delenv("RL_MODEL_DIR", raising=False)
    home = shutil.copytree(models / NAME, tmp_path / "hub" / "models" / NAME)
    change_json(home / GENERATION, eos_token_id=OTHER)
    with serving(Hub(tmp_path / "hub", REVISION), monkeypatch, cache=tmp_path / "cache") as made:
        forget()
        yield made
    forget()


def forget() -> None:
    """As a new process."""
    published._from_hub.cache_clear()


def cached(hub: Hub, *missing: str) -> Path:
    """The checkpoint as an earlier library left it in the cache, less some of its files."""
    snapshot = as_cache(hub.folder / "models" / NAME, Path(constants.HF_HUB_CACHE))
    for name in missing:
        (snapshot / name).unlink()
    return snapshot


def eos() -> int:
    return PublishedTokenizer(fetch(NAME, REVISION), NAME).eos_id


def test_what_the_cache_lacks_is_fetched(hub: Hub) -> None:
    snapshot = cached(hub, GENERATION, "chat_template.jinja")
    assert eos() == OTHER
    assert (snapshot / GENERATION).is_file()
    assert (snapshot / "chat_template.jinja").is_file()
    assert not any("model.safetensors" in path for path in hub.asked)


def test_what_is_whole_in_the_cache_is_not_asked_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(NAME, REVISION)
    asked = len(hub.asked)
    for step in ("online", "offline"):
        forget()
        assert eos() == OTHER
        assert len(hub.asked) == asked, step
        go_offline(monkeypatch)


@pytest.mark.parametrize("missing", [GENERATION, "tokenizer_config.json"])
def test_without_the_hub_a_part_of_a_checkpoint_is_not_taken(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    snapshot = cached(hub, missing)
    go_offline(monkeypatch)
    with pytest.raises(UserError) as caught:
        fetch(NAME, REVISION)
    assert str(caught.value) == f"{NAME}: no {missing} in {snapshot}; fetch the whole checkpoint"


def test_a_checkpoint_that_never_had_them_is_whole(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub says so, and what it said is kept."""
    (hub.folder / "models" / NAME / GENERATION).unlink()
    assert eos() == EOS
    forget()
    go_offline(monkeypatch)
    assert eos() == EOS


def test_a_folder_of_ones_own_may_lack_them(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_MODEL_DIR", str(hub.folder / "models"))
    (hub.folder / "models" / NAME / GENERATION).unlink()
    assert eos() == EOS
    assert hub.asked == []


def test_a_hub_that_breaks_off_leaves_the_cache(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried a few times, 23 seconds in all, and once in a process."""
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    hub.answers = False
    with pytest.raises(UserError, match=r"did not give .* \(RemoteProtocolError: .* go online, or"):
        fetch(NAME, REVISION)
    assert sum(waits) < 30
    snapshot = cached(hub)
    assert fetch(NAME, REVISION) == snapshot
    tries = len(waits)
    assert fetch(NAME, REVISION) == snapshot
    assert len(waits) == tries


def test_a_hub_that_does_not_know_it_is_told(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"revision f+ \(no such revision\)\. Correct base\.name"):
        fetch(NAME, "f" * 40)
    assert hub.asked
