"""Ten thousand pairs of files and some command lines: an experiment or one message, each time."""

from pathlib import Path

import pytest

from tests.config import laws
from tests.config.conftest import small_experiment

pytestmark = pytest.mark.slow

ENTRIES, BYTES, VALID, COMMANDS = 3600, 6100, 300, 800
FILES = ("config.yaml", "claims.yaml")


def test_the_files_are_ten_thousand() -> None:
    assert ENTRIES + BYTES + VALID >= 10_000


def test_spoiled_entries(tmp_path: Path) -> None:
    files = small_experiment(tmp_path)
    seen = laws.spoiled_entries(files.directory, ENTRIES, files.config, files.claims)
    assert seen.total() >= ENTRIES
    assert min(seen[name] for name in ("parsed", *FILES)) >= ENTRIES // 50, seen


def test_spoiled_bytes(tmp_path: Path) -> None:
    files = small_experiment(tmp_path)
    seen = laws.spoiled_bytes(files.directory, BYTES, files.config, files.claims)
    assert seen.total() >= BYTES
    assert min(seen[name] for name in ("parsed", *FILES)) >= BYTES // 50, seen


def test_valid_experiments(tmp_path: Path) -> None:
    assert laws.valid(tmp_path / "03-small", VALID)["parsed"] >= VALID


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    files = small_experiment(tmp_path / "experiments")
    files.load()
    seen = laws.commands(files.directory, COMMANDS, monkeypatch)
    named = ("parsed", "SET", "SEEDS", "ARMS", "JOBS", "PROFILE")
    assert min(seen[name] for name in named) >= COMMANDS // 50, seen
