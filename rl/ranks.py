"""The processes that do one run together: which of them this one is, and what they tell each other.

Every rank takes the same steps on the same batch. Work that is cut into parts goes round robin, and
what came of the parts is then known to all, in the order of the parts, so that the ranks never
differ in what they know. One process alone is rank 0 of 1: nothing here costs it anything.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")

_rank, _world = 0, 1
_group: Any = None  # of processes, not of their devices; None is the default one
_NOTHING = object()


def join(backend: str) -> None:
    """Under a launcher meet its other ranks; else be one process alone, which needs no meeting
    point. A second call does nothing.

    What is told goes over gloo also where gradients go over NCCL. One process alone has gloo listen
    on a free port of the host's own address all the same; nothing connects to it.
    """
    global _rank, _world, _group
    import torch  # here, as those who only read what is on disk do without it
    import torch.distributed as dist
    from torch._C._distributed_c10d import HashStore

    if dist.is_initialized():
        return
    if "WORLD_SIZE" not in os.environ or "MASTER_ADDR" not in os.environ:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        return
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(backend)
    _rank, _world = dist.get_rank(), dist.get_world_size()
    if _world > 1 and backend != "gloo":
        _group = dist.new_group(backend="gloo")


def rank() -> int:
    """Which of them this is, from 0."""
    return _rank


def world() -> int:
    """How many they are."""
    return _world


def agreed(said: A) -> A:
    """What rank 0 says. All must call it."""
    if _world == 1:
        return said
    import torch.distributed as dist

    box = [said]
    dist.broadcast_object_list(box, src=0, group=_group)
    return box[0]


def gather(said: A) -> list[A]:
    """What each rank says, by rank. All must call it. Tensors come on this rank's own device."""
    if _world == 1:
        return [said]
    import torch.distributed as dist

    found: list[Any] = [None] * _world
    dist.all_gather_object(found, _packed(said), group=_group)
    return [_unpacked(packed) for packed in found]


def turns(parts: Iterable[A]) -> Iterator[tuple[A, bool]]:
    """This rank's share of `parts`, round robin, each with whether it counts.

    Every rank gets equally many, as some of what is done with a part is done by all at once. One
    that has none in the last round gets the first part again, which does not count.
    """
    if _world == 1:
        yield from ((part, True) for part in parts)
        return
    whole = list(parts)
    for first in range(0, len(whole), _world):
        place = first + _rank
        counts = place < len(whole)
        yield whole[place if counts else 0], counts


def in_order(mine: list[A]) -> list[A]:
    """What came of all parts, in their order; `mine` is what came of those of `turns` that count.
    All must call it."""
    if _world == 1:
        return mine
    rounds = zip_longest(*gather(mine), fillvalue=_NOTHING)
    return [x for x in chain.from_iterable(rounds) if x is not _NOTHING]  # type: ignore[misc]


def shared(parts: Iterable[A], work: Callable[[A], B]) -> list[B]:
    """`work` on every part, each done by one rank; what came of them, in their order, on all."""
    mine = []
    for part, counts in turns(parts):
        found = work(part)
        if counts:
            mine.append(found)
    return in_order(mine)


def _packed(said: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(said, buffer)
    return buffer.getvalue()


def _unpacked(packed: bytes) -> Any:
    import torch

    def here(storage: Any, location: str) -> Any:
        return storage if location == "cpu" else storage.cuda(int(os.environ["LOCAL_RANK"]))

    # From a process of this very run.
    return torch.load(io.BytesIO(packed), map_location=here, weights_only=False)
