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
from multiprocessing import Pipe
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from rl.artifacts import run_directory, run_fault, run_status
from rl.errors import UserError
from rl.files import lock, named, packed, unpack, write_folder
from rl.runner.base_models import base_directory
from rl.runner.provenance import PACKAGE, unlike, versions
from rl.runner.ray_node import NodeRunner
from rl.runner.schedule import THREAD_VARIABLES
from rl.runner.worker import Job

RESTARTS = 2  # of a run whose node was lost
CHECK_S = 10.0  # how often the nodes are looked at while a run says nothing
REACH_S = 10.0  # a machine takes to answer
ANSWER_S = 120.0  # a node takes to start a process and say what it has
HUB = ("HF_HUB_OFFLINE",)
OWN = ("RL_DATA_DIR", "RL_MODEL_DIR")  # each node has these in a place of its own
HOW = "`ray start --head` starts one on this machine, for RAY=auto"


class Cluster:
    """A Ray cluster that this process has joined.

    A run takes a CPU; where nodes have GPUs, a CPU and a GPU of such a node, as it would use this
    machine's. `slots` is how many runs that makes at a time.
    """

    def __init__(self, ray: Any) -> None:
        """`ray`: the module, connected.

        Raises:
            UserError: no node has room for a run, or nodes have other versions of packages.
        """
        self.ray = ray
        nodes = ray.nodes()
        self._gpus = int(any(room(node, gpus=1) for node in nodes))
        self.slots = sum(room(node, gpus=self._gpus) for node in nodes)
        if not self.slots:
            raise UserError("RAY: expected nodes that offer CPUs, got none; add a node")
        self._versions = versions()
        self._check_versions([node for node in nodes if room(node, gpus=self._gpus)])
        self._bases: dict[Path, Any] = {}

    def hire(self) -> "RayWorker":
        """A worker, on whichever node has room."""
        return RayWorker(self)

    def actor(self) -> Any:
        """A new actor; it waits for room on a node."""
        options = {"num_cpus": 1, "num_gpus": self._gpus, "max_restarts": 0}
        return self.ray.remote(NodeRunner).options(**options).remote(self._versions)

    def has_room(self) -> bool:
        """Is a node left that a run could be on?"""
        return any(room(node, gpus=self._gpus) for node in self.ray.nodes())

    def base(self, job: Job) -> list[Any]:
        """A reference to the files of the job's base model in the object store, if it has one."""
        made = job.spec.config.base_model()
        if made is None:
            return []
        directory = base_directory(job.cache, made)
        if directory not in self._bases:
            self._bases[directory] = self.ray.put(packed(directory))
        return [self._bases[directory]]

    def _check_versions(self, nodes: Sequence[Mapping[str, Any]]) -> None:
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
        try:
            every = self.ray.get(answers, timeout=ANSWER_S)
        except self.ray.exceptions.RayError as error:
            raise UserError(f"RAY: a node cannot work: {_last_line(error)}") from None
        told = [
            f"\n  {node['NodeManagerAddress']}: {difference}"
            for node, found in zip(nodes, every, strict=True)
            if (difference := unlike(self._versions, found))
        ]
        if told:
            raise UserError(
                "RAY: expected nodes with this machine's packages; `make setup-ray` there from the "
                f"same commit, and start Ray from its .venv-ray:{''.join(told)}"
            )


def _last_line(error: Exception) -> str:
    """Of Ray's long texts, what happened."""
    return str(error).strip().splitlines()[-1]


def room(node: Mapping[str, Any], *, gpus: int) -> int:
    """How many runs that take a CPU and so many GPUs a node of ray.nodes() has room for."""
    has = node["Resources"] if node["Alive"] else {}
    kinds = ("CPU", "GPU") if gpus else ("CPU",)
    return int(min(has.get(kind, 0) for kind in kinds))


class RayWorker:
    """See Worker: an actor, and a thread that passes on what it tells. Where its node or process is
    lost, the next actor starts the run again."""

    def __init__(self, cluster: Cluster) -> None:
        self.connection, self._told = Pipe(duplex=False)
        self._cluster = cluster
        self._actor = cluster.actor()
        self._ended = False
        self._change = Lock()  # of the two above

    def give(self, job: Job) -> None:
        """See Worker."""
        self._job = job
        base = self._cluster.base(job)
        self._thread = Thread(target=self._pass_on, args=(job, base), daemon=True)
        self._thread.start()

    def hear(self) -> tuple[Any, ...]:
        """See Worker. A run that is done is in its place then."""
        try:
            kind, *rest = self.connection.recv()
        except EOFError:
            return "failed", "the connection to the cluster was lost; see above"
        if kind == "step":
            return kind, *rest
        log, result = rest
        try:
            with named(self._job.log_file):
                self._job.log_file.parent.mkdir(parents=True, exist_ok=True)
                self._job.log_file.write_bytes(log)
            if kind == "failed":
                return kind, result
            put_in_place(self._job, result)
        except UserError as error:
            return "failed", str(error)
        return ("done",)

    def dismiss(self) -> None:
        """See Worker."""
        self.connection.close()
        with self._change:
            self._ended = True
            self._cluster.ray.kill(self._actor)
        self._thread.join()

    def kill(self) -> None:
        """See Worker."""
        self.dismiss()

    def _pass_on(self, job: Job, base: list[Any]) -> None:
        """In the thread: a job from its start to its end."""
        try:
            self._told.send(self._outcome(job, base))
        except BrokenPipeError:  # dismissed
            return
        except BaseException:
            self._told.close()  # which the scheduler hears
            raise

    def _outcome(self, job: Job, base: list[Any]) -> tuple[Any, ...]:
        """Pass on the steps; returns the last message."""
        for _ in range(RESTARTS + 1):
            try:
                return self._follow(job, base)
            except UserError as error:
                return "failed", b"", str(error)
            except self._cluster.ray.exceptions.RayError as error:
                why = _last_line(error)
            with self._change:
                if self._ended:
                    break
                self._cluster.ray.kill(self._actor)  # if it is only out of reach
                self._actor = self._cluster.actor()
        return "failed", b"", f"lost {RESTARTS + 1} times with its node or process; the last: {why}"

    def _follow(self, job: Job, base: list[Any]) -> tuple[Any, ...]:
        self._await(self._actor.start.remote(job, base))
        while True:
            for message in self._await(self._actor.messages.remote()):
                if message[0] != "step":
                    return tuple(message)
                self._told.send(message)

    def _await(self, answer: Any) -> Any:
        """The actor's answer, which may take long: it may have to wait for room.

        Raises:
            UserError: no node is left.
        """
        while not self._cluster.ray.wait([answer], timeout=CHECK_S)[0]:
            if not self._cluster.has_room():
                raise UserError(
                    "no node of the cluster is left; add one and give the command again"
                )
        return self._cluster.ray.get(answer)


def put_in_place(job: Job, files: Mapping[str, bytes]) -> None:
    """Write a run that came from a node where a local worker would have written it, at once.

    Raises:
        UserError: it cannot be written, or did not come whole.
    """
    directory = run_directory(job.root, job.spec.arm, job.spec.seed)

    def write(folder: Path) -> None:
        unpack(files, folder)
        if run_status(folder) != "complete" or run_fault(folder):
            raise UserError(f"{directory}: did not come whole from its node; run again")

    held = lock(directory)  # a local worker may outlive its parent by a step
    try:
        write_folder(directory, write)
    finally:
        os.close(held)


@contextmanager
def joined(asked: str) -> Iterator[Cluster]:
    """The cluster that RAY names, for as long as this lasts; no actor of ours stays after it.

    Args:
        asked: `auto` for the one that RAY_ADDRESS names or that runs on this machine; else
            host:port or ray://host:port.

    Raises:
        UserError: Ray is not installed, there is no such cluster, or it is lost.
    """
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
        yield Cluster(ray)
    except ConnectionError as error:
        raise UserError(
            f"RAY={asked}: the cluster was lost ({error}); with one that runs, the same command "
            "goes on with the runs that are left"
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
    form = re.fullmatch(r"(?:ray://)?([\w.-]+):(\d{1,5})", address)
    if form is None:
        raise UserError(f"RAY: expected auto, host:port or ray://host:port, got {address!r}; {HOW}")
    try:
        socket.create_connection((form[1], int(form[2])), timeout=REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"RAY={asked}: nobody answers at {address} ({error}); {HOW}") from None
    return address


def variables() -> dict[str, str]:
    """Of this machine's environment what nodes are to have too."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("RL_")}
    hub = {name: os.environ[name] for name in HUB if name in os.environ}
    threads = dict.fromkeys(THREAD_VARIABLES, "1")
    return {name: value for name, value in (ours | hub | threads).items() if name not in OWN}
