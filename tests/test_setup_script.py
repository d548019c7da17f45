"""tools/setup.sh with stand-ins for Python and pip: order, stamp, environment, missing tools."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# `-m venv` makes an environment of this same script; `-m pip` writes down what it was asked and
# with which settings, and ends as PIP_ENDS says; anything else is for the real Python.
STAND_IN = """#!/bin/sh
case "$*" in
*"-m venv"*)
    case "$*" in *--clear*) rm -rf .venv ;; esac
    mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*"-m pip"*)
    echo "$*" >>pip.log
    env | grep -E "^(PIP|PYTHON)" | sort >settings.log
    case "$*" in *"$STOP_AT"*) exit 1 ;; esac ;;
*) exec {real} "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up reads, under a path with spaces."""
    folder = tmp_path / "a fresh clone"
    (folder / "tools").mkdir(parents=True)
    for name in ("setup.sh", "pip_settings.sh"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    shutil.copy(ROOT / "Makefile", folder)
    lines = "# a comment\ntorch==2.13.0\nnumpy==2.4.6\nscipy==1.17.1\n"
    (folder / "requirements.txt").write_text(lines)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3.11"
    python.write_text(STAND_IN.format(real=f"'{sys.executable}'"))
    python.chmod(0o755)
    return folder


def set_up(checkout: Path, stop_at: str = "nothing", **settings: str) -> tuple[int, str]:
    """`make setup` with the stand-in first in PATH; returns status and standard output."""
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["make", "-s", "setup"],
        cwd=checkout,
        env={"PATH": path, "STOP_AT": stop_at, "HOME": "/nowhere", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def asked(checkout: Path) -> list[str]:
    """What pip was asked since the last call."""
    log = checkout / "pip.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [line.partition("--quiet --quiet ")[2] or line for line in lines]


def test_torch_comes_first_then_the_rest_then_this_checkout(checkout: Path) -> None:
    status, said = set_up(checkout)
    assert status == 0
    assert asked(checkout) == [
        "install torch==2.13.0",
        "install -r requirements.txt",
        "install --no-deps --no-build-isolation --editable .",
        "-I -m pip check",
    ]
    assert "3/4 installing 2 other pinned packages" in said
    assert (checkout / ".venv/.stamp").exists()


def test_a_second_call_does_nothing(checkout: Path) -> None:
    set_up(checkout)
    asked(checkout)
    assert set_up(checkout) == (0, "")
    os.utime(checkout / "requirements.txt", (4e9, 4e9))  # newer, with the same content
    assert set_up(checkout) == (0, "")
    assert asked(checkout) == []


def test_other_pins_make_another_environment(checkout: Path) -> None:
    set_up(checkout)
    asked(checkout)
    (checkout / ".venv/left-over").touch()
    with (checkout / "requirements.txt").open("a") as file:
        file.write("pandas==3.1.1\n")
    os.utime(checkout / "requirements.txt", (4e9, 4e9))
    status, said = set_up(checkout)
    assert (status, "3/4 installing 3 other" in said) == (0, True)
    assert len(asked(checkout)) == 4
    assert not (checkout / ".venv/left-over").exists()


@pytest.mark.parametrize("stop_at", ["install torch", "install -r", "--editable", "pip check"])
def test_a_set_up_that_stops_leaves_no_stamp(checkout: Path, stop_at: str) -> None:
    status, _ = set_up(checkout, stop_at)
    assert status != 0
    assert not (checkout / ".venv/.stamp").exists()
    asked(checkout)
    assert set_up(checkout)[0] == 0
    assert len(asked(checkout)) == 4


def test_the_callers_settings_stay_outside_but_for_where_packages_come_from(checkout: Path) -> None:
    of_python = {"PYTHONPATH": "/x", "PYTHONHOME": "/x", "PYTHONOPTIMIZE": "2", "PYTHON": "python2"}
    of_pip = {"PIP_USER": "1", "PIP_TARGET": "/x", "PIP_NO_DEPS": "1", "PIP_CONSTRAINT": "/x"}
    kept = {"PIP_FIND_LINKS": "/wheels", "PIP_CERT": "/cert", "PIP_RETRIES": "9"}
    status, _ = set_up(checkout, **of_python, **of_pip, **kept)
    assert status == 0
    settings = dict(
        line.split("=", 1) for line in (checkout / "settings.log").read_text().splitlines()
    )
    ours = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}
    assert settings == {"PYTHON": "", "PYTHONNOUSERSITE": "1", **ours, **kept}


def test_reading_the_settings_touches_no_name_of_a_script(tmp_path: Path) -> None:
    script = "name=mine; source tools/pip_settings.sh; echo $name ${PIP_TARGET:-unset}"
    ended = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PIP_TARGET": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "mine unset\n"


def bare_tools(folder: Path, *names: str) -> str:
    """A PATH with these tools and nothing else."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return str(folder)


def fake_python(folder: Path, *, venv: bool) -> None:
    """Says that it is 3.11, and has the venv module or not."""
    script = folder / "python3.11"
    refuse = "" if venv else 'case "$*" in *ensurepip*) exit 1 ;; esac\n'
    script.write_text(f"#!/bin/sh\n{refuse}exit 0\n")
    script.chmod(0o755)


@pytest.mark.parametrize(
    ("tools", "python", "told"),
    [
        (["gcc", "git"], None, "Python 3.11 is missing; on Debian: apt-get install python3.11"),
        (["git"], True, "gcc is missing; on Debian: apt-get install gcc"),
        (["gcc"], True, "git is missing; on Debian: apt-get install git"),
        (["gcc", "git"], False, "venv module is missing; on Debian: apt-get install python3.11-ve"),
    ],
)
def test_a_missing_tool_is_named(
    checkout: Path, tmp_path: Path, tools: list[str], python: bool | None, told: str
) -> None:
    path = bare_tools(tmp_path / "bare", "bash", "sh", "dirname", "grep", *tools)
    if python is not None:
        fake_python(tmp_path / "bare", venv=python)
    ended = subprocess.run(
        [f"{path}/bash", "tools/setup.sh"],
        cwd=checkout,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    (message,) = ended.stderr.splitlines()
    assert told in message
    assert not (checkout / ".venv").exists()


def test_another_python_is_refused(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["bash", ROOT / "tools/setup.sh"],
        env={**os.environ, "PYTHON": str(tmp_path / "python2")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "is not a working Python 3.11; name one that is" in ended.stderr
