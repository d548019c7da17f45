"""Whatever the two files hold, loading gives an experiment or one UserError."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

from rl.config import load_experiment, parse_value
from rl.config.claims import Claims
from rl.config.experiment import ExperimentConfig
from rl.config.run import RunConfig
from rl.config.schema import parse_yaml, validate
from rl.errors import UserError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**320)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["<<", "=", "none", "group_std", "eval/accuracy", "first", "policy"])
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
EXAMPLES = settings(max_examples=300, deadline=None)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every entry of nested data."""
    found = [path] if path else []
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            found += places(data[key], (*path, key))
    return found


def told(act: Callable[[], object]) -> str:
    """The message that `act` ends with; empty if it succeeds. Any other exception goes through."""
    try:
        act()
    except UserError as error:
        return str(error)
    return ""


@EXAMPLES
@given(st.dictionaries(st.text(max_size=8), NESTED, max_size=5))
def test_arbitrary_data(data: dict[str, Any]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    for model in (ExperimentConfig, Claims, RunConfig):
        message = told(lambda model=model: validate(model, parse_yaml(text, "x.yaml"), "x.yaml"))
        assert message.startswith("x.yaml: ")


@EXAMPLES
@given(st.text(max_size=60))
def test_arbitrary_text(text: str) -> None:
    message = told(lambda: parse_value(text))
    assert message == "" or message.startswith("override ")


@settings(EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_entry_replaced(random_files: Callable[[], Any], data: st.DataObject) -> None:
    files = random_files()
    part = data.draw(st.sampled_from([files.config, files.claims]))
    *parents, last = data.draw(st.sampled_from(places(part)))
    for key in parents:
        part = part[key]
    if data.draw(st.booleans()):
        part[last] = data.draw(NESTED)
    else:
        del part[last]
    message = told(files.load)
    assert message == "" or str(files.directory) in message or message.startswith("PROFILE: ")


@EXAMPLES
@given(
    path=st.text(max_size=12) | st.sampled_from(["steps", "optim", "optim.lr", "a.b"]),
    value=NESTED,
)
def test_one_override(written: Path, path: str, value: Any) -> None:
    message = told(lambda: load_experiment(written, "laptop", {path: value}))
    assert message == "" or message.startswith((f"{written}/config.yaml, ", "SET: "))
