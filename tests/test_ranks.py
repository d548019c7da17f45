"""How work is dealt out to ranks: by hand, for every rank in turn. tests/engines/ranks/ has two."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rl import ranks
from rl.artifacts import SilentWriter
from rl.rollout import Request, SharedSampler
from rl.trainers.parts import length_buckets
from rl.types import Completion


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    monkeypatch.setattr(ranks, "_rank", rank)
    monkeypatch.setattr(ranks, "_world", world)


def test_one_process_alone_does_everything_in_its_turn() -> None:
    assert (ranks.rank(), ranks.world()) == (0, 1)
    turns = ranks.turns(iter("abc"))
    assert next(turns) == ("a", True)  # nothing is drawn before its turn
    assert list(turns) == [("b", True), ("c", True)]
    assert ranks.shared([3, 4], lambda x: x * x) == [9, 16]
    assert ranks.agreed("x") == "x"
    assert ranks.gather("x") == ["x"]


@pytest.mark.parametrize(
    ("parts", "world", "expected"),
    [
        ("abcde", 2, [["a+", "c+", "e+"], ["b+", "d+", "a-"]]),
        ("abcd", 2, [["a+", "c+"], ["b+", "d+"]]),
        ("a", 3, [["a+"], ["a-"], ["a-"]]),
        ("abcd", 3, [["a+", "d+"], ["b+", "a-"], ["c+", "a-"]]),
        ("", 2, [[], []]),
    ],
)
def test_every_rank_has_as_many_turns(
    parts: str, world: int, expected: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose turn does not count is marked -."""
    for rank in range(world):
        as_rank(monkeypatch, rank, world)
        turns = [part + ("+" if counts else "-") for part, counts in ranks.turns(parts)]
        assert turns == expected[rank]


def told(of_each: list[list[Any]]) -> Callable[[Any], list[Any]]:
    """In the place of `gather`."""
    return lambda _: of_each


def test_what_came_of_the_parts_is_put_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 0, 3)
    monkeypatch.setattr(ranks, "gather", told([["a", "d"], ["b"], ["c"]]))
    assert ranks.in_order(["a", "d"]) == ["a", "b", "c", "d"]
    monkeypatch.setattr(ranks, "gather", told([[None], [], []]))
    assert ranks.in_order([None]) == [None]


def test_what_is_packed_comes_out_the_same() -> None:
    said = [{"a": 1, 2: (torch.arange(3), None)}]
    [found] = ranks._unpacked(ranks._packed(said))
    assert found.keys() == said[0].keys()
    assert torch.equal(found[2][0], torch.arange(3))


class Counted:
    """A sampler whose completions name their seeds."""

    asked: list[int]

    def generate(self, requests: list[Request], **_: Any) -> list[Completion]:
        self.asked = [request.seed for request in requests]
        return [Completion((seed,), (0.0,), "stop") for seed in self.asked]

    def load_weights(self, state: Any) -> None:
        self.state = state


@pytest.mark.parametrize(("rank", "mine"), [(0, [0, 3]), (1, [1, 4]), (2, [2])])
def test_requests_are_dealt_out_to_samplers(
    rank: int, mine: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_rank(monkeypatch, rank, 3)
    done = [[Completion((s,), (0.0,), "stop") for s in share] for share in ([0, 3], [1, 4], [2])]
    monkeypatch.setattr(ranks, "gather", told(done))
    own = Counted()
    found = SharedSampler(own).generate(
        [Request((1,), seed) for seed in range(5)], temperature=1.0, max_new_tokens=1
    )
    assert own.asked == mine
    assert [completion.token_ids for completion in found] == [(s,) for s in range(5)]


def test_a_batch_is_cut_into_as_many_parts_as_there_are_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight rows of 5 tokens: 40, of which four ranks have 10 each."""
    length_B = torch.full((8,), 5)
    assert [len(pick) for pick in length_buckets(length_B, 1000)] == [8]
    as_rank(monkeypatch, 0, 4)
    assert [len(pick) for pick in length_buckets(length_B, 1000)] == [2, 2, 2, 2]
    assert [len(pick) for pick in length_buckets(length_B, 5)] == [1] * 8


def test_a_silent_log_saves_when_rank_0_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "agreed", lambda said: said)
    saved: list[Any] = []
    with SilentWriter() as log:
        log.keep(1, saved.append)
        log.log(0, {"no such name": 1.0})
        monkeypatch.setattr(ranks, "agreed", lambda _: "folder")
        log.keep(2, saved.append)
        log.finish({})
    assert saved == ["folder"]
    assert log.checkpoint is None
