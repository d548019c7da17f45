"""Lines, checkpoints and locks: whole or not there."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from rl import files
from rl.errors import UserError
from rl.files import Checkpoints, LineLog, lock, write_json
from tests.places import in_a_small_place


def test_lines_are_on_disk_at_once_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    log = LineLog(path, keep=0)
    log.append({"a": 1})
    log.append({"b": "ü"})
    assert path.read_bytes() == b'{"a": 1}\n{"b": "\\u00fc"}\n'
    assert log.bytes == len(path.read_bytes())
    log.close()
    again = LineLog(path, keep=9)
    assert path.read_bytes() == b'{"a": 1}\n'
    again.append({"c": 2})
    again.close()
    assert path.read_bytes() == b'{"a": 1}\n{"c": 2}\n'


FILL = """
import sys
from pathlib import Path
from rl.errors import UserError
from rl.files import LineLog, write_json
place = Path(sys.argv[1])
write_json(place / "old.json", {"kept": True})
log = LineLog(place / "x.jsonl", keep=0)
lines = 0
try:
    while lines < 10**6:
        log.append({"line": lines, "text": "x" * 300})
        lines += 1
except UserError as error:
    print(error)
ballast = place / "x.jsonl"
print(lines, ballast.read_bytes().count(b"\\n"), ballast.read_bytes().endswith(b"\\n"))
try:
    write_json(place / "old.json", {"long": "y" * 10**6})
except UserError as error:
    print(error)
print((place / "old.json").read_text().split())
(place / "old.json.tmp").unlink(missing_ok=True)
log.close()
lines = ballast.read_bytes().splitlines(keepends=True)
log = LineLog(place / "x.jsonl", keep=len(b"".join(lines[:10])))
log.append({"room": "again"})
print(ballast.read_text().splitlines()[-1], len(ballast.read_text().splitlines()))
"""


def test_a_full_disk_is_named_and_leaves_whole_lines() -> None:
    """A file system of 256 KiB, for real."""
    place, said = in_a_small_place("size=256k", [sys.executable, "-c", FILL])
    first, counts, second, old, last = said.splitlines()
    told = "cannot be written (No space left on device); what was logged before is kept."
    assert first.startswith(f"{place}/x.jsonl: {told}")
    assert second.startswith(f"{place}/old.json.tmp: {told}")
    lines, whole, ended = counts.split()
    assert lines == whole
    assert 256 * 1024 // 320 - 30 < int(lines) < 256 * 1024 // 315
    assert ended == "True"
    assert "".join(old.split("', '")) == "['{\"kept\":true}']"
    assert last == '{"room": "again"} 11'


def test_a_place_that_cannot_be_written_is_named() -> None:
    """A read-only file system: permissions alone do not stop root."""
    code = "import sys, pathlib, rl.files as f; f.lock(pathlib.Path(sys.argv[1]) / 'a')"
    place, said = in_a_small_place("size=64k,ro", [sys.executable, "-c", code])
    assert said.splitlines()[-1].startswith(
        f"rl.errors.UserError: {place}/a: cannot be written (Read-only file system); what was"
    )


FULL_FOLDER = """
import pathlib, sys, torch
from rl.files import write_folder
place = pathlib.Path(sys.argv[1])
try:
    write_folder(place / "x", lambda folder: torch.save(torch.ones(10**6), folder / "x.pt"))
finally:
    print(list(place.iterdir()))
"""


def test_torchs_word_for_a_full_disk_is_translated() -> None:
    place, said = in_a_small_place("size=256k", [sys.executable, "-c", FULL_FOLDER])
    told = f"rl.errors.UserError: {place}/x: cannot be written (No space left on device); what was"
    assert said.splitlines()[-1].startswith(told)
    assert "[]" in said.splitlines()


def test_checkpoints_come_whole_and_the_last_counts(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c", every_s=0)
    assert kept.last() is None
    assert kept.due()
    for step in (2, 10, 9999):
        kept.keep(step, lambda folder, step=step: write_json(folder / "x.json", step))
        assert [path.name for path in (tmp_path / "c").iterdir()] == [f"step-{step:09d}"]
        assert json.loads((kept.last() / "x.json").read_text()) == step  # type: ignore[operator]
    kept.clear()
    assert kept.last() is None


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, every_s=0)
    kept.keep(1, lambda folder: write_json(folder / "x.json", 1))

    def full(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"step-000000002: cannot be written \(No space left on"):
        kept.keep(2, full)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]

    def fails(error: BaseException, folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise error

    for error in (KeyboardInterrupt(), RuntimeError("there is room")):
        with pytest.raises(type(error)):
            kept.keep(3, partial(fails, error))
        assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    cut = tmp_path / "step-000000003.partial"  # as a kill leaves it
    cut.mkdir()
    assert kept.last() == tmp_path / "step-000000001"
    kept.keep(3, lambda folder: write_json(folder / "x.json", 3))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000003"]


def test_checkpoints_are_due_after_so_many_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: now[0])
    kept = Checkpoints(tmp_path, every_s=20)
    assert not kept.due()
    now[0] = 119.9
    assert not kept.due()
    now[0] = 120.0
    assert kept.due()
    kept.keep(1, lambda _: None)
    assert not kept.due()


def test_checkpoints_that_are_slow_to_write_are_further_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("rl.files.time.monotonic", lambda: now)

    def write(folder: Path) -> None:
        nonlocal now
        folder.mkdir(exist_ok=True)
        now += 6.0

    kept = Checkpoints(tmp_path, every_s=20)
    now = 20.0
    assert kept.due()
    kept.keep(1, write)  # until 26; at a share of .05 the next may come 120 s later
    now = 145.9
    assert not kept.due()
    now = 146.1
    assert kept.due()
    every = Checkpoints(tmp_path, every_s=0)
    every.keep(2, write)
    assert every.due()


HOLD = """
import sys
from pathlib import Path
from rl.files import lock
lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_keeps_others_out_until_its_holder_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=r"^taken$"):
        lock(tmp_path, busy="taken")
    holder.kill()
    holder.communicate()
    os.close(lock(tmp_path, busy="taken"))
    os.close(lock(tmp_path))
