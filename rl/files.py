"""Files that survive: whole or not there, locked against a second writer, faults by name."""

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rl.errors import UserError

CHECKPOINT_SECONDS = 20.0
WRITING = 0.05  # the share of a job's time that its checkpoints may take
_PARTIAL = ".partial"
SHORT = Path("/tmp")  # noqa: S108 - for a folder of this user's alone
SOCKET_PATH = 107  # bytes, at most


def write_json(path: Path, data: Any) -> None:
    """Replace `path` atomically: a reader sees the old file or the new one, whole."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    with named(temporary):
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def folder_named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is not set, or empty.

    Raises:
        UserError: it names no folder.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    if not Path(named).is_dir():
        raise UserError(f"{variable}: expected a folder, got {named!r}; name one, or unset it")
    return Path(named)


def read_json(path: Path) -> Any:
    """Read one JSON file; a damaged one is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); restore it or run again") from None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the system refuses while `path` is written becomes one message.

    Raises:
        UserError: disk full, no permission and the like, with the file's name.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); what was logged before is "
            f"kept. Make room or give permission, then the same command goes on from there"
        ) from None


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a folder that appears whole or not; an old one makes room at the end.

    Whatever ends this before, nothing is left of it.

    Raises:
        UserError: it could not be written.
    """
    partial = target.with_suffix(_PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with named(target):
            partial.mkdir(parents=True)
            _fill(partial, write)
            for path in (p for p in partial.rglob("*") if p.is_file()):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    """torch says RuntimeError where the disk is full, and others do elsewhere: who is right is
    found by writing.

    Raises:
        OSError: the disk is full.
    """
    try:
        write(folder)
    except RuntimeError:
        (folder / "room").write_bytes(bytes(2**20))
        raise


def folder_for_sockets(prefix: str, *, longest: int) -> Path:
    """A new folder, this user's alone: in TMPDIR, or in /tmp where the path of a socket in it,
    whose name has up to `longest` bytes, would be too long.

    Raises:
        UserError: there is no place for it.
    """
    with named(Path("TMPDIR")):
        place = Path(tempfile.gettempdir())
    if len(os.fsencode(place / f"{prefix}12345678")) + 1 + longest > SOCKET_PATH:
        place = SHORT
    with named(place):
        return Path(tempfile.mkdtemp(prefix=prefix, dir=place))


def packed(directory: Path) -> dict[str, bytes]:
    """A folder's files by their names in it, to be sent elsewhere."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def unpack(files: Mapping[str, bytes], directory: Path) -> None:
    """Write what `packed` gave into a folder."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)


class LineLog:
    """JSON lines, appended. A line is in the file whole or not at all, also on a full disk; only
    a kill can leave a cut last line."""

    def __init__(self, path: Path, *, keep: int) -> None:
        """Open to append after the first `keep` bytes; the rest is of steps to be done again."""
        self.path = path
        with named(path):
            self._file = path.open("ab", buffering=0)
            self._file.truncate(keep)
            self._file.seek(keep)
        self.bytes = keep

    def append(self, record: dict[str, Any]) -> None:
        """Write one line.

        Raises:
            UserError: the system refused; the file ends with the last whole line.
        """
        line = (json.dumps(record) + "\n").encode()
        with named(self.path):
            try:
                left = line
                while left:
                    left = left[self._file.write(left) or 0 :]
            except OSError:
                self._file.truncate(self.bytes)
                raise
        self.bytes += len(line)

    def sync(self) -> None:
        """Have it on the disk, also if the power fails now."""
        with named(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more lines."""
        self._file.close()


class Checkpoints:
    """Numbered checkpoint folders of one job. The last whole one counts; older ones are deleted."""

    def __init__(self, directory: Path, *, every_s: float = CHECKPOINT_SECONDS) -> None:
        """`every_s`: seconds of work between two, more where writing one would take over WRITING of
        the time; 0 keeps one every step. When they are made changes no number, only how much is
        done again after a kill."""
        self._directory = directory
        self._every_s = every_s
        self._took = 0.0  # to write the last
        self._last = time.monotonic()

    def last(self) -> Path | None:
        """The folder to go on from."""
        found = sorted(self._directory.glob("step-*"))
        whole = [path for path in found if path.suffix != _PARTIAL]
        return whole[-1] if whole else None

    def due(self) -> bool:
        """Is the last one old enough?"""
        pause = max(self._every_s, self._took / WRITING) if self._every_s else 0.0
        return time.monotonic() - self._last >= pause

    def keep(self, step: int, write: Callable[[Path], None]) -> None:
        """Have `write` fill a folder, which then counts: it appears whole or not.

        Raises:
            UserError: it could not be written; the one before still counts.
        """
        target = self._directory / f"step-{step:09d}"
        start = time.monotonic()
        write_folder(target, write)
        for path in self._directory.glob("step-*"):
            if path != target:
                shutil.rmtree(path)
        self._last = time.monotonic()
        self._took = self._last - start

    def clear(self) -> None:
        """Delete them all."""
        shutil.rmtree(self._directory, ignore_errors=True)


def lock(directory: Path, *, busy: str | None = None) -> int:
    """Make `directory` and hold it against other processes until this one ends.

    Args:
        directory: what is held.
        busy: the error if another process holds it; None waits instead.

    Returns:
        A file descriptor, to be closed to let go.

    Raises:
        UserError: `busy`, or the directory cannot be made.
    """
    with named(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(str(busy)) from None
    return descriptor
