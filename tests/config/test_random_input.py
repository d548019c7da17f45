"""Whatever the two files and the command line hold, the outcome is a parse or one UserError.

`make test-slow` tries the same laws on some ten thousand examples.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from rl.config import load_experiment, parse_overrides
from rl.config.claims import Claims
from rl.config.experiment import ExperimentConfig
from rl.config.run import RunConfig
from rl.config.schema import parse_yaml, validate
from rl.errors import UserError
from tests.config import laws
from tests.config.conftest import small_experiment
from tests.config.spoiled import NESTED, Raw


def _drop_raw(value: Any) -> Any:
    """As data, without the texts that are to be written as they stand."""
    if isinstance(value, dict):
        return {key: _drop_raw(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_drop_raw(part) for part in value]
    return str(value) if isinstance(value, Raw) else value


DATA = NESTED.map(_drop_raw)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=8), DATA, max_size=5))
def test_arbitrary_data(data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    for model in (ExperimentConfig, Claims, RunConfig):
        with pytest.raises(UserError) as caught:
            validate(model, parse_yaml(text, "x.yaml"), "x.yaml")
        laws.check_message(str(caught.value), ("x.yaml: ",))


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_arbitrary_text(text: str) -> None:
    assert laws.outcome(lambda: parse_overrides(text), Path()) in ("parsed", "SET")


@settings(max_examples=60)
@given(path=st.text(max_size=12) | st.sampled_from(["steps", "optim.lr", "a.b"]), value=DATA)
def test_one_override(written: Path, path: str, value: Any) -> None:
    seen = laws.outcome(lambda: load_experiment(written, "laptop", {path: value}), written)
    assert seen in ("parsed", "config.yaml", "SET")


def test_spoiled_entries(files: Any) -> None:
    seen = laws.spoiled_entries(files.directory, 120, files.config, files.claims)
    assert min(seen[name] for name in ("parsed", "config.yaml", "claims.yaml")) > 0, seen


def test_spoiled_bytes(files: Any) -> None:
    seen = laws.spoiled_bytes(files.directory, 120, files.config, files.claims)
    assert min(seen[name] for name in ("parsed", "config.yaml", "claims.yaml")) > 0, seen


def test_valid_experiments(tmp_path: Path) -> None:
    assert laws.valid(tmp_path / "03-small", 15)["parsed"] >= 15


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiments").mkdir()
    files = small_experiment(tmp_path / "experiments")
    files.load()
    seen = laws.commands(files.directory, 80, monkeypatch)
    assert min(seen[name] for name in ("parsed", "SET", "SEEDS", "ARMS", "JOBS")) > 0, seen
