"""Rollouts into padded batches and micro-batches."""

from itertools import pairwise

import torch
from hypothesis import given, strategies as st

from rl.trainers.parts import length_buckets, pad_right
from rl.trainers.rollouts import collate
from rl.types import Completion, Problem, Rollout
from tests.tiny import tokenizer

TOKENS = tokenizer()


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    size=st.integers(1, 400),
)
def test_length_buckets_are_a_partition_by_length(lengths: list[int], size: int) -> None:
    buckets = length_buckets(torch.tensor(lengths), size)
    assert sorted(torch.cat(buckets).tolist()) == list(range(len(lengths)))
    for bucket in buckets:
        assert len(bucket) == 1 or len(bucket) * max(lengths[i] for i in bucket) <= size
    for bucket, after in pairwise(buckets):  # none could have taken the next row as well
        assert (len(bucket) + 1) * lengths[after[0]] > size
    ordered = [lengths[i] for bucket in buckets for i in bucket.tolist()]
    assert ordered == sorted(lengths)


def test_collate_masks_from_lengths_though_the_pad_token_was_sampled() -> None:
    pad, eos = TOKENS.pad_id, TOKENS.eos_id
    problem = Problem(0, "", "", 0)
    rollouts = [
        Rollout(problem, 0, (pad, 5), Completion((pad, 4, pad), (-1.0, -2.0, -3.0), "length"), ""),
        Rollout(problem, 1, (6,), Completion((eos,), (-4.0,), "stop"), ""),
    ]
    batch = collate(rollouts, torch.tensor([0.5, -0.5], dtype=torch.float64), pad)
    assert batch.token_BT.tolist() == [[pad, 5, pad, 4, pad], [6, eos, pad, pad, pad]]
    assert batch.length_B.tolist() == [5, 2]
    assert batch.response_BT.tolist() == [
        [False, False, True, True, True],
        [False, True, False, False, False],
    ]
    assert batch.logp_sampler_BT.tolist() == [[0, 0, -1, -2, -3], [0, -4, 0, 0, 0]]
    assert batch.advantage_B.tolist() == [0.5, -0.5]
    cut = batch.rows(torch.tensor([1]))
    assert cut.token_BT.tolist() == [[6, eos]]
    assert cut.response_BT.tolist() == [[False, True]]
    assert pad_right([[1.0], [2.0, 3.0]], fill=9, dtype=torch.int64).tolist() == [[1, 9], [2, 3]]
