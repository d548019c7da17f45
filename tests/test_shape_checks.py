"""The import hook of conftest.py is in force, and plain Python gets the functions' own errors."""

import inspect
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from rl.advantages import advantages
from rl.exact import expected_weight
from rl.gae import gae
from rl.kl import kl_penalty
from rl.logprobs import token_logps
from rl.losses import aggregate, gap_weights, policy_loss, ratio_shares
from rl.losses.reward import bradley_terry, calibration, direct_assessment
from rl.losses.value import explained_variance, value_loss
from rl.masks import last_tokens
from rl.token_rewards import penalised_where_unended, replaced_where_unended, token_rewards
from rl.whitening import whiten

GROUP = {"baseline": "group_mean", "scale": "none", "ddof": 1, "eps": 0.0}
CLIP = {"clip_low": 0.2, "clip_high": 0.2}
CLIPPED = {"name": "clipped", **CLIP}
K1 = {"estimator": "k1", "level": "token"}
ROWS = torch.zeros(2, 3)
EVERY = torch.ones(2, 3, dtype=torch.bool)
GAE = {"discount": 1.0, "trace": 1.0, "value_after_B": None}
WHITE = {"ddof": 0, "eps": 0.0, "shift_mean": True}
PLAIN = {"clip": None, "value_old_BT": None}
CLIPPED_VALUE = {"clip": 0.2, "value_old_BT": ROWS[:1]}
TWO = torch.zeros(2)
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
            lambda: policy_loss(ROWS, ROWS, torch.zeros(3), EVERY, **CLIPPED), id="policy_loss"
        ),
        pytest.param(
            lambda: ratio_shares(ROWS, ROWS, torch.zeros(2), ROWS, **CLIP), id="ratio_shares"
        ),
        pytest.param(lambda: kl_penalty(ROWS, ROWS, ROWS, **K1), id="kl_penalty"),
        pytest.param(lambda: gae(ROWS, ROWS[:, :2], EVERY, **GAE), id="gae"),
        pytest.param(lambda: whiten(ROWS, ROWS, **WHITE), id="whiten"),
        pytest.param(lambda: value_loss(ROWS, ROWS, ROWS, **PLAIN), id="value_loss"),
        pytest.param(lambda: bradley_terry(TWO, ROWS, margin_B=None), id="bradley_terry"),
        pytest.param(lambda: token_rewards(ROWS, ROWS, EVERY, coefficient=0.1), id="rewards"),
        pytest.param(lambda: last_tokens(ROWS), id="last_tokens"),
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
        (policy_loss, (ROWS, ROWS, torch.zeros(3), EVERY), CLIPPED, "advantage \\[B\\]"),
        (policy_loss, (ROWS, ROWS[:, :1], torch.zeros(2), EVERY), CLIPPED, "advantage \\[B\\]"),
        (policy_loss, (ROWS[0], ROWS[0], torch.zeros(3), EVERY[0]), CLIPPED, "advantage \\[B\\]"),
        (policy_loss, (ROWS, ROWS, torch.zeros(2), EVERY[:, :2]), CLIPPED, "bool mask"),
        (policy_loss, (ROWS, ROWS, torch.zeros(2), ROWS), CLIPPED, "bool mask"),
        (ratio_shares, (ROWS, ROWS, torch.zeros(2), ROWS), CLIP, "bool mask"),
        (ratio_shares, (ROWS, ROWS, torch.zeros(2), EVERY[:, :2]), CLIP, "bool mask"),
        (gap_weights, (ROWS, ROWS[:, :1], EVERY), {"cap": 2.0}, "mask of one shape"),
        (gap_weights, (ROWS, ROWS, EVERY[:1]), {"cap": 2.0}, "mask of one shape"),
        (gap_weights, (ROWS, ROWS, ROWS), {"cap": 2.0}, "a bool mask"),
        (kl_penalty, (ROWS, ROWS[:, :1], EVERY), K1, "mask of one shape"),
        (kl_penalty, (ROWS[0], ROWS[0], EVERY[0]), K1, "mask of one shape"),
        (kl_penalty, (ROWS, ROWS, EVERY[:1]), K1, "mask of one shape"),
        (kl_penalty, (ROWS, ROWS, EVERY), {**K1, "logp_old_BT": ROWS[:1]}, "mask of one shape"),
        (kl_penalty, (ROWS, ROWS, ROWS), K1, "a bool mask"),
        (gae, (ROWS, ROWS[:, :2], EVERY), GAE, "mask of one shape"),
        (gae, (ROWS, ROWS, EVERY[:1]), GAE, "mask of one shape"),
        (gae, (ROWS[0], ROWS[0], EVERY[0]), GAE, "mask of one shape"),
        (gae, (ROWS, ROWS, ROWS), GAE, "a bool mask"),
        (gae, (ROWS, ROWS, EVERY), {**GAE, "value_after_B": ROWS}, "value_after_B: expected"),
        (whiten, (ROWS, EVERY[:1]), WHITE, "bool mask of one shape"),
        (whiten, (ROWS[0], EVERY[0]), WHITE, "bool mask of one shape"),
        (whiten, (ROWS, ROWS), WHITE, "bool mask of one shape"),
        (value_loss, (ROWS, ROWS[:1], EVERY), PLAIN, "mask of one shape"),
        (value_loss, (ROWS, ROWS, EVERY[:1]), PLAIN, "mask of one shape"),
        (value_loss, (ROWS, ROWS, ROWS), PLAIN, "a bool mask"),
        (value_loss, (ROWS, ROWS, EVERY), CLIPPED_VALUE, "value_old_BT: expected shape"),
        (explained_variance, (ROWS, ROWS[:1], EVERY), {}, "mask of one shape"),
        (bradley_terry, (TWO, TWO[:1]), {"margin_B": None}, "of one shape"),
        (bradley_terry, (TWO, TWO), {"margin_B": ROWS}, "of one shape"),
        (direct_assessment, (TWO, TWO), {}, "bool labels of one shape"),
        (direct_assessment, (TWO, EVERY), {}, "bool labels of one shape"),
        (calibration, (TWO, TWO[:1]), {"bins": 2, "lowest": 0.0}, "of one shape"),
        (token_rewards, (ROWS, ROWS, EVERY), {"coefficient": 0.1}, "expected a score"),
        (token_rewards, (TWO, ROWS, EVERY[:1]), {"coefficient": 0.1}, "expected a score"),
        (token_rewards, (TWO, ROWS, ROWS), {"coefficient": 0.1}, "expected a score"),
        (replaced_where_unended, (TWO, TWO), {"value": -1.0}, "bool flags"),
        (penalised_where_unended, (TWO, EVERY), {"penalty": 1.0}, "bool flags"),
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
