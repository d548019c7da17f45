"""A sweep over a Ray cluster: the scheduler's workers are actors on its nodes.

The driver is this process. It sends the code, the jobs and the base models, and puts what comes
back in place under runs/, as runs of this machine would lie there. Nodes share no folder with it
and need the same packages alone.
"""

import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl.errors import UserError
from rl.files import packed
from rl.runner.base_models import base_directory
from rl.runner.provenance import PACKAGE, unlike, versions
from rl.runner.ray_node import NodeRunner
from rl.runner.schedule import THREAD_VARIABLES
from rl.runner.worker import Job

REACH_S = 10.0  # a machine takes to answer
ANSWER_S = 120.0  # a node takes to start a process and say what it has
HUB = ("HF_HUB_OFFLINE",)
OWN = ("RL_DATA_DIR", "RL_MODEL_DIR")  # each node has these in a place of its own
CLIENT = "ray://"
GOES_ON = "with one that is there, the same command goes on with the runs that are left"
HOW = "`ray start --head` starts one on this machine, for RAY=auto"


class Cluster:
    """A Ray cluster that this process has joined.

    A run takes a CPU; where nodes have GPUs, a CPU and a GPU of such a node, as it would use this
    machine's. `slots` is how many runs that makes at a time.
    """

    def __init__(self, ray: Any, *, head: str) -> None:
        """`ray`: the module, connected. `head`: host:port of who answers for the cluster.

        Raises:
            UserError: no node has room for a run, or nodes have other versions of packages.
        """
        self.ray = ray
        self._head = head
        self._versions = versions()
        nodes = ray.nodes()
        self._gpus = int(any(room(node, gpus=1) for node in nodes))
        there = self._check_versions([node for node in nodes if room(node, gpus=self._gpus)])
        self.slots = sum(room(node, gpus=self._gpus) for node in there)
        if not self.slots:
            raise UserError("RAY: expected nodes that offer CPUs, got none; add a node")
        self._bases: dict[Path, Any] = {}

    def actor(self) -> Any:
        """A new actor; it waits for room on a node.

        Raises:
            UserError: the cluster is lost, or no node is left.
        """
        self.check()
        options = {"num_cpus": 1, "num_gpus": self._gpus, "max_restarts": 0}
        return self.ray.remote(NodeRunner).options(**options).remote(self._versions)

    def end(self, actor: Any) -> None:
        """Stop an actor at once, whatever it does; with its cluster it is lost anyway."""
        if not self._fault():
            self.ray.kill(actor)

    def check(self) -> None:
        """The cluster is there still, with a node that a run could be on.

        Raises:
            UserError: the cluster is lost, or no node is left.
        """
        if fault := self._fault():
            raise UserError(f"RAY: the cluster was lost ({fault}); {GOES_ON}")
        if not any(room(node, gpus=self._gpus) for node in self.ray.nodes()):
            raise UserError(f"RAY: no node of the cluster is left; {GOES_ON}")

    def _fault(self) -> str:
        """Why the cluster is lost; empty if it is not. Ray itself, asked for anything then, waits
        for a minute and ends this process."""
        if not self.ray.is_initialized():
            return "Ray has left it"
        try:
            reach(self._head)
        except OSError as error:
            return f"nobody answers at {self._head}: {error}"
        return ""

    def base(self, job: Job) -> list[Any]:
        """A reference to the files of the job's base model in the object store, if it has one."""
        made = job.spec.config.base_model()
        if made is None:
            return []
        directory = base_directory(job.cache, made)
        if directory not in self._bases:
            self._bases[directory] = self.ray.put(packed(directory))
        return [self._bases[directory]]

    def _check_versions(self, nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those of the nodes that answer. Ray lists a node that is lost for a while longer."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        def installed(names: Sequence[str]) -> dict[str, str]:
            """Inside, so that it travels as it is and needs nothing of the node but Python."""
            import importlib.metadata
            import platform

            found = {"python": platform.python_version()}
            for name in names:
                try:
                    found[name] = importlib.metadata.version(name)
                except importlib.metadata.PackageNotFoundError:
                    found[name] = "missing"
            return found

        ask = self.ray.remote(installed)
        names = [name for name in self._versions if name != "python"]
        answers = [
            ask.options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(names)
            for node in nodes
        ]
        there, told = [], []
        for node, answer in zip(nodes, answers, strict=True):
            try:
                found = self.ray.get(answer, timeout=ANSWER_S)
            except (self.ray.exceptions.TaskUnschedulableError, self.ray.exceptions.NodeDiedError):
                continue
            except self.ray.exceptions.RayError as error:
                raise UserError(
                    f"RAY: node {node['NodeManagerAddress']} cannot work: {last_line(error)}; mend "
                    f"it or stop Ray there (`ray stop`), then the same command goes on"
                ) from None
            there.append(node)
            if difference := unlike(self._versions, found):
                told.append(f"\n  {node['NodeManagerAddress']}: {difference}")
        if told:
            raise UserError(
                "RAY: expected nodes with this machine's packages; `make setup-ray` there from the "
                f"same commit, and start Ray from its .venv-ray:{''.join(told)}"
            )
        return there


def last_line(error: Exception) -> str:
    """Of Ray's long texts, what happened."""
    return str(error).strip().splitlines()[-1]


def room(node: Mapping[str, Any], *, gpus: int) -> int:
    """How many runs that take a CPU and so many GPUs a node of ray.nodes() has room for."""
    has = node["Resources"] if node["Alive"] else {}
    kinds = ("CPU", "GPU") if gpus else ("CPU",)
    return int(min(has.get(kind, 0) for kind in kinds))


@contextmanager
def joined(asked: str) -> Iterator[Cluster]:
    """The cluster that RAY names, for as long as this lasts; no actor of ours stays after it.

    Args:
        asked: `auto` for the one that RAY_ADDRESS names or that runs on this machine; else
            host:port or ray://host:port.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or it is lost.
    """
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # no new cluster where this one is lost
    try:
        import ray
    except ImportError:
        raise UserError(
            "RAY: expected a Python with Ray, got one without; `make setup-ray` adds it"
        ) from None
    address = address_of(asked)
    with tempfile.TemporaryDirectory() as staged:
        # As a working directory and not by py_modules: those come after the path of the driver's
        # checkout, where a node may hold one of another commit.
        code = Path(staged) / PACKAGE.name
        shutil.copytree(PACKAGE, code, ignore=shutil.ignore_patterns("__pycache__"))
        environment = {"working_dir": staged, "env_vars": variables()}
        try:
            ray.init(
                address=address,
                runtime_env=environment,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(f"RAY={asked}: {' '.join(str(error).split())}; {HOW}") from None
        except SystemExit:  # Ray's own way out where the cluster that it knows of is gone
            raise UserError(f"RAY={asked}: the cluster does not answer; {HOW}") from None
    try:
        yield Cluster(ray, head=head_of(address, ray))
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise UserError(
            f"RAY={asked}: the cluster was lost ({last_line(error)}); {GOES_ON}"
        ) from None
    finally:
        ray.shutdown()


def address_of(asked: str) -> str:
    """What Ray is to connect to, if somebody answers there: Ray itself would wait for minutes.

    Raises:
        UserError: of no known form, or nobody answers.
    """
    address = (os.environ.get("RAY_ADDRESS") or asked) if asked == "auto" else asked
    if address == "auto":
        return address
    form = re.fullmatch(r"(?:ray://)?([\w.-]+:\d{1,5})", address)
    if form is None:
        raise UserError(f"RAY: expected auto, host:port or ray://host:port, got {address!r}; {HOW}")
    try:
        reach(form[1])
    except (OSError, OverflowError) as error:
        raise UserError(f"RAY={asked}: nobody answers at {address} ({error}); {HOW}") from None
    return address


def head_of(address: str, ray: Any) -> str:
    """host:port of who answers for the cluster that was joined at `address`."""
    if address.startswith(CLIENT):
        return address.removeprefix(CLIENT)
    return str(ray.get_runtime_context().gcs_address)


def reach(address: str) -> None:
    """Connect to host:port, and no more.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S).close()


def variables() -> dict[str, str]:
    """Of this machine's environment what nodes are to have too."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("RL_")}
    hub = {name: os.environ[name] for name in HUB if name in os.environ}
    threads = dict.fromkeys(THREAD_VARIABLES, "1")
    return {name: value for name, value in (ours | hub | threads).items() if name not in OWN}
