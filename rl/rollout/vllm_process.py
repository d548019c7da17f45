"""vLLM in a process of its own: python -m rl.rollout.vllm_process FD FOLDER, and who talks to it.

What is asked and what is sampled go through a pipe, weights through a file in memory.
"""

import os
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe, active_children
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from rl.errors import UserError
from rl.files import folder_for_sockets
from rl.rollout.vllm_engine import Asked, VllmEngine, VllmSettings
from rl.types import Completion

MEMORY = Path("/dev/shm")  # noqa: S108  # files there never touch a disk
LAST_LINES = 15  # of what a process that ended had printed
ENDS_IN = 10.0  # seconds that a process has to end by itself, which takes it a fraction of one
UUID = 36  # characters, which name the engine's sockets
# What a launcher of ranks says of a group that the process is not in.
_OF_RANKS = (
    *("RANK", "WORLD_SIZE", "CROSS_RANK", "CROSS_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("LOCAL_RANK", "LOCAL_SIZE", "LOCAL_WORLD_SIZE"),
)


class DeadEngineError(Exception):
    """The engine is gone, with what it was doing. The text says how it ended."""


class VllmWorker:
    """An engine in another process, with random weights until `load`.

    It ends within seconds of this one, however that ends, with the engine's own processes and its
    TMPDIR. What it prints is kept, and told if it dies.
    """

    def __init__(self, architecture: str, settings: VllmSettings) -> None:
        """As VllmEngine.

        Raises:
            UserError: what VllmEngine raises, or it did not come up.
        """
        self._connection, there = Pipe()
        self._printed = TemporaryFile()  # noqa: SIM115  # closed with the process
        self._folder = own_folder()
        # Not a child of multiprocessing, which those of a run's process may not have.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rl.rollout.vllm_process", str(there.fileno()), self._folder],
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # ^C, or a kill of the group, is for the run: this one follows
            env={**_environment(), "TMPDIR": str(self._folder)},
        )
        there.close()
        try:
            self._ask("start", architecture, settings)
        except DeadEngineError as died:
            self.close()
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
        # A file without a name, which goes with the last process that has it open.
        with TemporaryFile(dir=_roomy(state)) as file:
            torch.save({name: tensor.detach().cpu() for name, tensor in state.items()}, file)
            file.flush()
            self._ask("load", f"/proc/{os.getpid()}/fd/{file.fileno()}")

    def generate(self, asked: Asked) -> list[Completion]:
        """See VllmEngine, and `load`."""
        completions: list[Completion] = self._ask("generate", asked)
        return completions

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        try:
            self._process.wait(ENDS_IN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        clear(self._folder)  # where it could not, as it was killed
        self._printed.close()

    def _ask(self, *command: Any) -> Any:
        try:
            self._connection.send(command)
            kind, answer = self._connection.recv()
        except (EOFError, OSError):  # OSError also where it died in the middle of an answer
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


def own_folder() -> Path:
    """A new one, for the files and sockets of an engine."""
    return folder_for_sockets("rl-vllm-", longest=UUID)


def clear(folder: Path) -> None:
    """Remove it, and what the engine's processes share in memory under names of files in it."""
    for group in folder.glob("vllm_dist_*"):
        for shared in MEMORY.glob(f"{group.name}*"):
            shared.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Of the process: without the ranks' group, and of their GPUs with this rank's alone."""
    own = {name: value for name, value in os.environ.items() if name not in _OF_RANKS}
    if "WORLD_SIZE" in os.environ and torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        cards = seen.split(",") if seen else [str(i) for i in range(torch.cuda.device_count())]
        own["CUDA_VISIBLE_DEVICES"] = cards[int(os.environ["LOCAL_RANK"])]
    # What is compiled is for the next one too, which has another TMPDIR.
    compiled = Path(gettempdir()) / f"torchinductor_{os.getuid()}"
    return {"TORCHINDUCTOR_CACHE_DIR": str(compiled), **own}


def _roomy(state: Mapping[str, Tensor]) -> Path:
    """Where a file of these weights has room: in memory if there is enough of it, also where
    several ranks write theirs at once."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    size *= int(os.environ.get("LOCAL_SIZE", "1"))
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 * size:
        return MEMORY
    return Path(gettempdir())


def serve(connection: Connection) -> None:
    """Answer until the other end is gone. What raises but a UserError ends the process."""
    engine: VllmEngine | None = None
    while True:
        try:
            name, *arguments = connection.recv()
        except (EOFError, OSError):
            return
        reply: tuple[str, Any] = ("done", None)
        try:
            if name == "start":
                engine = VllmEngine(*arguments)
            elif engine is None:
                raise RuntimeError(f"{name}: there is no engine yet")
            elif name == "load":
                engine.load(torch.load(arguments[0], mmap=True, weights_only=True))
            else:
                reply = ("done", engine.generate(*arguments))
        except UserError as error:
            reply = ("refused", str(error))
        with suppress(OSError):  # then there is nothing to receive either
            connection.send(reply)


def end_with(connection: Connection, folder: Path) -> None:
    """Wait until the other end is gone, then end this process wherever it is, those of its engine
    and `folder`."""
    hang_up = select.poll()
    hang_up.register(connection, 0)  # which is told unasked
    hang_up.poll()
    for child in active_children():
        child.kill()
    clear(folder)
    os._exit(0)


if __name__ == "__main__":
    run = Connection(int(sys.argv[1]))
    end = Thread(target=end_with, args=(run, Path(sys.argv[2])), daemon=True)
    end.start()
    torch.set_num_threads(1)
    serve(run)
    end.join()
