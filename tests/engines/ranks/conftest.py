"""Two ranks over gloo, started once and given many cases."""

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import pytest

Cases = Callable[..., list[Any]]
RANKS = 2
PATIENCE_S = 240.0  # with what takes seconds on a machine that is not busy


def serve(connection: Connection, rank: int, port: int) -> None:
    """One rank: does what it is told together with the other, until told to stop."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(RANKS),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    from rl import engine

    engine.join()
    while (asked := connection.recv()) is not None:
        do, args, named = asked
        try:
            connection.send((True, do(*args, **named)))
        except BaseException:
            connection.send((False, traceback.format_exc()))
            raise


@pytest.fixture(scope="session")
def on_two_ranks() -> Iterator[Cases]:
    """Calls a function of a module on both ranks; gives what each returned."""
    context = get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours, processes = [], []
    for rank in range(RANKS):
        here, there = context.Pipe()
        processes.append(context.Process(target=serve, args=(there, rank, port), daemon=True))
        processes[-1].start()
        there.close()
        ours.append(here)

    def call(do: Callable[..., Any], *args: Any, **named: Any) -> list[Any]:
        for connection in ours:
            connection.send((do, args, named))
        answers = [connection.recv() for connection in ours]
        for went_well, found in answers:
            assert went_well, found
        return [found for _, found in answers]

    yield call
    for connection in ours:
        connection.send(None)
    for process in processes:
        process.join(timeout=PATIENCE_S)
        assert process.exitcode == 0
