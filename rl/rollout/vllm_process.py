"""vLLM in a process of its own: python -m rl.rollout.vllm_process FD, and who talks to it.

What is asked and what is sampled go through a pipe, weights through a file in memory.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rl.errors import UserError
from rl.rollout.vllm_engine import Asked, VllmEngine, VllmSettings
from rl.types import Completion

MEMORY = Path("/dev/shm")  # noqa: S108  # files there never touch a disk
LAST_LINES = 15  # of what a process that ended had printed
# What a launcher of ranks says of a group that the process is not in.
_OF_RANKS = (
    *("RANK", "WORLD_SIZE", "CROSS_RANK", "CROSS_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE"),
)


class DeadEngineError(Exception):
    """The engine is gone, with what it was doing. The text says how it ended."""


class VllmWorker:
    """An engine in another process, with random weights until `load`.

    It ends with this one, however that ends. What it prints is kept, and told if it dies.
    """

    def __init__(self, architecture: str, settings: VllmSettings) -> None:
        """As VllmEngine.

        Raises:
            UserError: what VllmEngine raises, or it did not come up.
        """
        self._connection, there = Pipe()
        self._printed = TemporaryFile()  # noqa: SIM115  # closed with the process
        # Not a child of multiprocessing, which those of a run's process may not have.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rl.rollout.vllm_process", str(there.fileno())],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
        there.close()
        try:
            self._ask("start", architecture, settings)
        except DeadEngineError as died:
            raise UserError(f"vLLM did not start: {died}") from None
        except UserError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See VllmEngine.

        Raises:
            DeadEngineError: the process ended, whatever of.
        """
        with TemporaryDirectory(prefix="rl-vllm-", dir=_roomy(state)) as folder:
            path = Path(folder) / "weights.safetensors"
            save_file(_each_its_own(state), path)
            self._ask("load", str(path))

    def generate(self, asked: Asked) -> list[Completion]:
        """See VllmEngine, and `load`."""
        completions: list[Completion] = self._ask("generate", asked)
        return completions

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()
        self._printed.close()

    def _ask(self, *command: Any) -> Any:
        try:
            self._connection.send(command)
            kind, answer = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            status = self._process.wait()
            raise DeadEngineError(
                f"its process ended with exit code {status}{self._tail()}"
            ) from None
        if kind == "refused":
            raise UserError(answer)
        return answer

    def _tail(self) -> str:
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n  {line}" for line in lines)


def _environment() -> dict[str, str]:
    """Of the process: without the ranks' group, and of their GPUs with this rank's alone."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_RANKS}
    if "WORLD_SIZE" in os.environ and torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        cards = seen.split(",") if seen else [str(i) for i in range(torch.cuda.device_count())]
        own["CUDA_VISIBLE_DEVICES"] = cards[int(os.environ["LOCAL_RANK"])]
    return own


def _roomy(state: Mapping[str, Tensor]) -> Path:
    """Where a file of these weights has room: in memory if there is enough of it, also where
    several ranks write theirs at once."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    size *= int(os.environ.get("LOCAL_SIZE", "1"))
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 * size:
        return MEMORY
    return Path(gettempdir())


def _each_its_own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU and with memory of its own, as the file wants it: tied weights stand twice."""
    own: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in state.items():
        here = tensor.detach().cpu().contiguous()
        own[name] = here.clone() if here.data_ptr() in taken else here
        taken.add(here.data_ptr())
    return own


def serve(connection: Connection) -> None:
    """Answer until the other end is gone. What raises but a UserError ends the process."""
    engine: VllmEngine | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            name, *arguments = connection.recv()
            try:
                if name == "start":
                    engine, answer = VllmEngine(*arguments), None
                elif engine is None:
                    raise RuntimeError(f"{name}: there is no engine yet")
                elif name == "load":
                    engine.load(load_file(arguments[0]))
                    answer = None
                else:
                    answer = engine.generate(*arguments)
            except UserError as error:
                connection.send(("refused", str(error)))
                continue
            connection.send(("done", answer))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, whose end is this one's
    torch.set_num_threads(1)
    serve(Connection(int(sys.argv[1])))
