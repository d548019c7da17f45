"""What no estimate of a distance may depend on, and what holds for any log-probabilities."""

import pytest
import torch
from hypothesis import given, strategies as st

from rl.kl import ESTIMATORS, LEVELS, kl_penalty
from rl.losses import AGGREGATES, aggregate


@st.composite
def batches(draw):
    """Log-probabilities of rows of uneven length, some empty."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    width = max(*lengths, 1) + draw(st.integers(0, 2))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    logp, ref, old = (
        -torch.rand(len(lengths), width, dtype=torch.float64, generator=random) * 3
        for _ in range(3)
    )
    return {
        "logp": logp,
        "ref": ref,
        "old": old if draw(st.booleans()) else None,
        "mask": torch.arange(width)[None] < torch.tensor(lengths)[:, None],
        "estimator": draw(st.sampled_from(sorted(ESTIMATORS))),
        "level": draw(st.sampled_from(LEVELS)),
    }


def penalty_and_gradient(batch, mode, splits=None):
    """Of the whole batch, in parts of `splits` rows."""
    logp, mask, old = batch["logp"].clone().requires_grad_(), batch["mask"], batch["old"]
    total = torch.zeros((), dtype=torch.float64)
    for rows in torch.arange(len(logp)).split(splits or len(logp)):
        value = kl_penalty(
            logp[rows],
            batch["ref"][rows],
            mask[rows],
            estimator=batch["estimator"],
            level=batch["level"],
            logp_old_BT=None if old is None else old[rows],
        )
        totals = {"sequences": len(logp), "tokens": int(mask.sum()), "max_length": 7}
        part = aggregate(value, mask[rows], mode=mode, **totals)
        part.backward()
        total += part.detach()
    return total, logp.grad


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@given(batches(), st.sampled_from(sorted(AGGREGATES)), st.integers(1, 4), st.randoms())
def test_micro_batches_row_order_and_padding(batch, mode, size, random):
    value, gradient = penalty_and_gradient(batch, mode)
    order = torch.tensor(random.sample(range(len(gradient)), len(gradient)))
    junk = torch.full((len(order), size), float("nan"), dtype=torch.float64)
    moved = {
        name: torch.cat([part, junk.bool() & False if name == "mask" else junk], dim=1)[order]
        if isinstance(part, torch.Tensor)
        else part
        for name, part in batch.items()
    }
    moved_value, moved_gradient = penalty_and_gradient(moved, mode, splits=size)
    close(moved_value, value)
    close(moved_gradient[:, :-size], gradient[order])
    assert not moved_gradient[:, -size:].any()


@given(batches())
def test_k1_is_the_same_by_token_and_by_sequence(batch):
    logp, ref, mask = batch["logp"], batch["ref"], batch["mask"]
    token, sequence = (
        kl_penalty(logp, ref, mask, estimator="k1", level=level).sum(dim=1) for level in LEVELS
    )
    close(token, sequence)
    close(token, ((logp - ref) * mask).sum(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(d=st.floats(-80, 80))
def test_k2_and_k3_are_never_negative(dtype, d):
    exact = torch.tensor([d], dtype=dtype)
    for name in ("k2", "k3"):
        assert float(ESTIMATORS[name](exact)) >= 0
