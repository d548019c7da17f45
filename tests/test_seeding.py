"""rl.seeding: named streams, rows that depend on their own seed alone."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from rl.seeding import derive, uniforms

SEEDS = st.integers(0, 2**63 - 1)


def test_derive_is_pinned():
    # printf '["rollout", 0, 1, 2, 3]' | b2sum --length=64, and without the numbers. Another
    # encoding would change every run of every experiment.
    assert derive("rollout", 0, 1, 2, 3) == 0xC1DB91C2F78F0FD8 >> 1
    assert derive("rollout") == 0x9430C615320552EF >> 1


def test_derive_keeps_streams_and_parts_apart():
    keys = [
        ("a",),
        ("a", 1, 23),
        ("a", 12, 3),
        ("a", 123),
        ("a", -1),
        ("a", 1),
        ("a1",),
        ("a, 1",),
        ('a", 1',),
        ("b", 1),
        ("a", 1, 0),
        ("a", 0, 1),
    ]
    assert len({derive(*key) for key in keys}) == len(keys)


@given(st.text("ab\"',[]\\é\n"), st.lists(st.integers()))
def test_derive_fits_a_signed_64_bit_integer(stream, parts):
    assert 0 <= derive(stream, *parts) < 2**63


def test_derive_uses_all_63_bits():
    together = 0
    for part in range(64):
        together |= derive("bits", part)
    assert together == 2**63 - 1


def test_derive_takes_numpy_integers_and_refuses_floats():
    assert derive("a", np.int64(7)) == derive("a", 7)
    assert derive("a", True) == derive("a", 1)
    with pytest.raises(TypeError):
        derive("a", 1.5)


@given(st.lists(SEEDS, min_size=1, max_size=5), st.integers(0, 9))
def test_each_row_is_the_philox_stream_of_its_own_seed(seeds, count):
    drawn = uniforms(seeds, count)
    assert drawn.shape == (len(seeds), count)
    assert drawn.dtype == np.float64
    for row, seed in zip(drawn, seeds, strict=True):
        fresh = np.random.Generator(np.random.Philox(key=seed))
        np.testing.assert_array_equal(row, fresh.random(count))


@given(st.lists(SEEDS, min_size=1, max_size=5), st.integers(0, 9), st.integers(0, 9))
def test_the_first_numbers_do_not_depend_on_count(seeds, short, more):
    np.testing.assert_array_equal(uniforms(seeds, short), uniforms(seeds, short + more)[:, :short])


def test_uniforms_are_pinned():
    expected = [
        [0.011546754286331562, 0.24154919656271812],
        [0.9258067163090251, 0.18157025027346085],
    ]
    assert uniforms([0, 2**63 - 1], 2).tolist() == expected


def test_uniforms_fill_the_unit_interval():
    drawn = uniforms([derive("spread", row) for row in range(1000)], 24)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    # 24,000 numbers: a tenth of them in each tenth, within 5 standard deviations (46 each).
    counts = np.histogram(drawn, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 2400).max() < 5 * 46.5


def test_uniforms_of_no_seed_are_empty():
    assert uniforms([], 3).shape == (0, 3)


@pytest.mark.parametrize(("seeds", "count"), [([-1], 2), ([2**64], 2), ([1], -1)])
def test_uniforms_refuse_what_has_no_stream(seeds, count):
    with pytest.raises(ValueError, match="uniforms: expected"):
        uniforms(seeds, count)
