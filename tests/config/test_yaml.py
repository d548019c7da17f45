"""YAML by simple rules: JSON's numbers, no silent duplicates, no surprises from YAML 1.1."""

from typing import Any

import pytest

from rl.config import parse_overrides, parse_value
from rl.config.schema import parse_yaml
from rl.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1e3", 1000.0),
        ("3", 3),
        ("-0.5", -0.5),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-21", "2026-11-21"),
        ("'1e-4'", "1e-4"),
        ("[0.9, 0.95]", [0.9, 0.95]),
        ("{a: 1}", {"a": 1}),
        ("=", "="),
        ("a value with spaces", "a value with spaces"),
    ],
)
def test_values(text: str, value: Any) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text", ["[1", "a: b", "1\nb: 2", "'open", "\x00", "!!python/none", "{1: 2}"]
)
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"^SET: value "):
        parse_value(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr: 1\nlr: 2\n", "key 'lr' stands twice: keep one"),
        ("optim:\n  lr: 1\n  eps: 2\n  lr: 1\n", "key 'lr' stands twice: keep one"),
        ("solved: {2: 0.5}\n", "key 2 is not text: quote it"),
        ("true: 1\n", "key True is not text: quote it"),
        ("? [a]\n: 1\n", "is not text: quote it"),
        ("a: !!python/object:os.system 1\n", "could not determine a constructor"),
        ("a: *b\n", "undefined alias"),
        ("\tb: 1\n", "not readable as YAML"),
        ("text", "expected a mapping of keys to values, got 'text'"),
    ],
)
def test_text_that_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "config.yaml")
    assert str(caught.value).startswith("config.yaml: ")
    assert told in str(caught.value)


def test_the_line_is_told() -> None:
    with pytest.raises(UserError, match="line 4, column 3"):
        parse_yaml("a: 1\nb:\n  c: 1\n  c: 2\n", "x")


def test_anchors_and_merge_keys_work() -> None:
    text = "one: &one {lr: 1e-3, eps: 0}\ntwo:\n  <<: *one\n  eps: 1\n"
    assert parse_yaml(text, "x")["two"] == {"lr": 1e-3, "eps": 1}


def test_overrides() -> None:
    text = "optim.lr=1e-4  optim.betas=[0.9,0.95] task.name='a b' x=a=b y="
    assert parse_overrides(text) == {
        "optim.lr": 1e-4,
        "optim.betas": [0.9, 0.95],
        "task.name": "a b",
        "x": "a=b",
        "y": None,
    }
    assert parse_overrides("") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optim.lr", "SET: expected path=value, such as optim.lr=1e-4, got 'optim.lr'"),
        ("=3", "SET: expected path=value, such as optim.lr=1e-4, got '=3'"),
        ("a='b", 'SET: No closing quotation: "a=\'b"'),
        ("a=1 b=2 a=3", "SET: a stands twice: keep one"),
    ],
)
def test_overrides_that_are_refused(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_overrides(text)
    assert str(caught.value) == told
