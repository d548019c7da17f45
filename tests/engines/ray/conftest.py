"""One cluster of two nodes for all of these tests, and one sweep without it to compare with."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines.ray.nodes import Node, environment, free_ports, until
from tests.places import ROOT
from tests.tiny import write_experiment

ARMS = {
    "plain": {},
    "std": {"advantage.scale": "group_std"},
    "boom": {"optim.lr": 1e30},
    "long": {"steps": 80},
}


@dataclass(frozen=True)
class Machines:
    """The cluster. The first is its head."""

    nodes: list[Node]
    address: str
    client: str
    folder: Path

    def all_get_actors(self) -> None:
        """Wait until every node has an actor. However late the last comes, the others stand still
        until then, so that none of them can do all of the runs."""
        living = [node for node in self.nodes if node.process.is_running()]
        held: set[int] = set()

        def hold() -> bool:
            for number in {one for node in living for one in node.actors} - held:
                os.kill(number, signal.SIGSTOP)
                held.add(number)
            return all(node.actors for node in living)

        try:
            until(hold)
        finally:
            for number in held:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGCONT)

    def join(self, name: str, **variables: str) -> Node:
        """One more, whose processes have these variables too."""
        node = Node(self.folder / name, f"--address={self.address}", **variables)
        self.nodes.append(node)
        node.wait()
        return node


@contextmanager
def cluster(*options: str) -> Iterator[Machines]:
    """A head with these options, and whoever joins it."""
    # Sockets lie in these folders, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="rl-nodes-"))
    port, client, agent = free_ports(3)
    head = Node(
        folder / "1",
        *("--head", f"--port={port}", "--include-dashboard=false"),
        *(f"--ray-client-server-port={client}", f"--runtime-env-agent-port={agent}"),
        *options,
    )
    here = Machines([head], f"127.0.0.1:{port}", f"ray://127.0.0.1:{client}", folder)
    try:
        head.wait()
        yield here
    finally:
        for node in here.nodes:
            if node.process.is_running():
                node.kill()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def machines() -> Iterator[Machines]:
    """A head and a second node."""
    with cluster() as here:
        here.join("2")
        yield here


BEGUN: "list[subprocess.Popen[str]]" = []


@pytest.fixture(scope="session", autouse=True)
def _no_sweep_stays() -> Iterator[None]:
    """Also after a test that failed in the middle of one."""
    yield
    for process in BEGUN:
        with process:
            process.kill()


def sweep(root: Path, *options: str, **variables: str) -> "subprocess.Popen[str]":
    """`rl run` of the experiment at `root`, begun, with these variables too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rl.cli", "run", "90", *options],
        cwd=root,
        env=environment(root, PYTHONPATH=str(ROOT), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    BEGUN.append(process)
    return process


def place(root: Path, **changed: dict[str, Any]) -> Path:
    """An experiment: `boom` fails, `long` takes longer than the others. Arms can be changed."""
    directory = write_experiment(root)
    path = directory / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**config, "arms": ARMS | changed}, sort_keys=False))
    return root


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every run but the one that fails, by processes of this machine."""
    root = place(tmp_path_factory.mktemp("local"))
    process = sweep(root, "--arms", "plain,std,long", "--jobs", "2")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return root


INTERRUPTED = 130
SIGNALS = {signal.SIGINT: INTERRUPTED, signal.SIGKILL: -signal.SIGKILL}
