"""The import hook of conftest.py is in force, and plain Python gets the functions' own errors."""

import inspect
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from rl.advantages import advantages
from rl.exact import expected_weight
from rl.logprobs import token_logps
from rl.losses import LOSSES, aggregate, clip_fraction

GROUP = {"baseline": "group_mean", "scale": "none", "ddof": 1, "eps": 0.0}
CLIP = {"clip_low": 0.2, "clip_high": 0.2}
ROWS = torch.zeros(2, 3)
EVERY = torch.ones(2, 3, dtype=torch.bool)
TOTALS = {"mode": "token_mean", "sequences": 2, "tokens": 6}


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: advantages(torch.zeros(4), **GROUP), id="advantages"),
        pytest.param(
            lambda: token_logps(torch.zeros(2, 3, 5), torch.zeros(2, 4).long(), temperature=1.0),
            id="token_logps",
        ),
        pytest.param(lambda: aggregate(ROWS, EVERY[:, :2], **TOTALS), id="aggregate"),
        pytest.param(
            lambda: LOSSES["reinforce"](ROWS, ROWS, torch.zeros(3), **CLIP), id="reinforce"
        ),
        pytest.param(lambda: LOSSES["clipped"](ROWS, ROWS, torch.zeros(3), **CLIP), id="clipped"),
        pytest.param(
            lambda: clip_fraction(ROWS, ROWS, torch.zeros(2), ROWS, **CLIP), id="clip_fraction"
        ),
        pytest.param(
            lambda: expected_weight("0.5", group_size=2, advantage_fn=lambda r: r), id="exact"
        ),
    ],
)
def test_annotations_are_checked_under_pytest(call):
    with pytest.raises(TypeCheckError):
        call()


@pytest.mark.parametrize(
    ("function", "args", "options", "message"),
    [
        (advantages, (torch.zeros(4),), GROUP, "expected \\[prompts, samples\\]"),
        (advantages, (torch.zeros(2, 4).long(),), GROUP, "floating-point"),
        (
            token_logps,
            (torch.zeros(2, 3, 5), torch.zeros(2, 4).long()),
            {"temperature": 1.0},
            "expected logits",
        ),
        (
            token_logps,
            (torch.zeros(2, 3), torch.zeros(2, 3).long()),
            {"temperature": 1.0},
            "expected logits",
        ),
        (
            token_logps,
            (torch.zeros(2, 0, 5), torch.zeros(2, 0).long()),
            {"temperature": 1.0},
            "expected logits",
        ),
        (aggregate, (ROWS, EVERY[:, :2]), TOTALS, "one shape"),
        (aggregate, (ROWS[0], EVERY[0]), TOTALS, "one shape"),
        (aggregate, (ROWS, ROWS), TOTALS, "bool mask"),
        (LOSSES["reinforce"], (ROWS, ROWS, torch.zeros(3)), CLIP, "advantage \\[B\\]"),
        (LOSSES["clipped"], (ROWS, ROWS[:, :1], torch.zeros(2)), CLIP, "advantage \\[B\\]"),
        (LOSSES["clipped"], (ROWS[0], ROWS[0], torch.zeros(3)), CLIP, "advantage \\[B\\]"),
        (clip_fraction, (ROWS, ROWS, torch.zeros(2), ROWS), CLIP, "bool mask"),
        (clip_fraction, (ROWS, ROWS, torch.zeros(2), EVERY[:, :2]), CLIP, "bool mask"),
    ],
)
def test_without_the_hook_a_wrong_shape_is_a_value_error(function, args, options, message):
    plain = inspect.unwrap(function)
    assert plain is not function
    with pytest.raises(ValueError, match=message):
        plain(*args, **options)


def test_the_hook_covers_these_modules_and_no_others():
    import rl.seeding  # noqa: F401  # loaded, so that the next line can look at it

    assert not hasattr(sys.modules["rl.seeding"].derive, "__wrapped__")
