"""The small checkpoint and its data, written once."""

from pathlib import Path

import pytest

from tests.published.checkpoint import write_checkpoint, write_data


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for RL_MODEL_DIR, which nobody changes."""
    folder = tmp_path_factory.mktemp("models")
    write_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for RL_DATA_DIR, which nobody changes."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def here(models: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are what the variables name."""
    monkeypatch.setenv("RL_MODEL_DIR", str(models))
    monkeypatch.setenv("RL_DATA_DIR", str(data))
