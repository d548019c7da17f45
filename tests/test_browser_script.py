"""tools/browser.sh with stand-ins for apt-get, sudo and id: what it asks for, and as whom."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "tools" / "browser.sh"
UPDATE = "apt-get update"
INSTALL = "apt-get install --yes --no-install-recommends chromium"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """All that the script can see: no Chromium, apt-get or sudo yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("env", "tail"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def stand_in(tools: Path, name: str, program: str) -> None:
    (tools / name).write_text(f"#!/bin/sh\n{program}\n")
    (tools / name).chmod(0o755)


def run(tools: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(shutil.which("bash")), str(SCRIPT)],
        env={"PATH": str(tools), "LOG": str(tools.parent / "log")},
        capture_output=True,
        text=True,
        check=False,
    )


def asked(tools: Path) -> list[str]:
    log = tools.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


APT = 'echo "apt-get $*" >>"$LOG"; [ "$DEBIAN_FRONTEND" = noninteractive ] || exit 9'


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_a_browser_that_is_there_is_enough(tools: Path, name: str) -> None:
    stand_in(tools, name, "exit 1")
    stand_in(tools, "apt-get", APT)
    ended = run(tools)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert asked(tools) == []


def test_root_installs_it(tools: Path) -> None:
    stand_in(tools, "apt-get", APT)
    stand_in(tools, "id", "echo 0")
    ended = run(tools)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert asked(tools) == [UPDATE, INSTALL]


def test_sudo_without_a_password_will_do(tools: Path) -> None:
    stand_in(tools, "apt-get", APT)
    stand_in(tools, "id", "echo 1000")
    stand_in(tools, "sudo", '[ "$1" = -n ] && shift && echo as root >>"$LOG" && exec "$@"')
    stand_in(tools, "true", "exit 0")
    ended = run(tools)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert asked(tools) == ["as root", "as root", UPDATE, "as root", INSTALL]


def test_nobody_is_told_what_to_do(tools: Path) -> None:
    ended = run(tools)
    assert ended.returncode == 1
    assert "no apt-get to install it with; install chromium" in ended.stderr
    stand_in(tools, "apt-get", APT)
    stand_in(tools, "id", "echo 1000")
    ended = run(tools)
    assert ended.returncode == 1
    assert ended.stderr == "browser: no Chromium; as root: apt-get install chromium\n"
    assert asked(tools) == []


def test_a_failed_installation_is_shown(tools: Path) -> None:
    stand_in(tools, "apt-get", f'{APT}; echo "no space left" >&2; exit 100')
    stand_in(tools, "id", "echo 0")
    ended = run(tools)
    assert ended.returncode == 1
    assert ended.stderr == "no space left\nbrowser: apt-get update failed\n"
    assert asked(tools) == [UPDATE]
