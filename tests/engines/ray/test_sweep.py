"""A sweep over two nodes: the local runner's artifacts, through kills of the driver and a node."""

import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rl.artifacts import LOGS, run_fault, run_status
from rl.files import read_json
from tests.engines.ray.conftest import SIGNALS, Machines, cluster, place, sweep
from tests.engines.ray.nodes import until

pytestmark = pytest.mark.engines

LABEL = Path("runs/90-mini/laptop")
TIMES = {"started", "seconds", "tokens_per_s"}


def runs(root: Path, *arms: str) -> list[Path]:
    return [root / LABEL / arm / f"seed-{seed}" for arm in arms for seed in (0, 1)]


def facts(run: Path) -> dict[str, Any]:
    return {k: v for k, v in read_json(run / "manifest.json").items() if k not in TIMES}


def assert_as_local(local: Path, root: Path, *arms: str) -> None:
    """Bitwise, and in place of a local run: nothing else lies there."""
    for one, other in zip(runs(local, *arms), runs(root, *arms), strict=True):
        assert run_status(other) == "complete"
        assert run_fault(other) == ""
        assert sorted(path.name for path in other.iterdir()) == sorted([*LOGS, "manifest.json"])
        for name in LOGS:
            assert (one / name).read_bytes() == (other / name).read_bytes()
            assert (one / name).stat().st_size > 100
        assert facts(one) == facts(other)


def node_of(run: Path) -> str:
    """As the run's log begins."""
    log = run.parent.parent / "logs" / f"{run.parent.name}-{run.name}.txt"
    (told,) = re.findall(r"^node \S+ (\w+)$", log.read_text(), flags=re.MULTILINE)
    return str(told)


@pytest.fixture(scope="module")
def swept(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All but `long`, by both nodes, and what was said. It was stopped twice before its end."""
    root = place(tmp_path_factory.mktemp("swept"))
    options = ("--arms", "plain,std,boom", "--ray", machines.address)
    for number, status in SIGNALS.items():
        process = sweep(root, *options)
        machines.all_get_actors()
        process.send_signal(number)
        process.communicate()
        assert process.returncode == status
        until(lambda: not any(node.actors for node in machines.nodes), "actors stay")
    process = sweep(root, *options)
    machines.all_get_actors()
    said, _ = process.communicate()
    assert process.returncode == 1, said
    return root, said


def test_both_nodes_do_runs_to_the_local_runs_artifacts(
    swept: tuple[Path, str], local: Path
) -> None:
    root, _ = swept
    assert_as_local(local, root, "plain", "std")
    assert len({node_of(run) for run in runs(root, "plain", "std")}) == 2
    assert not list((root / LABEL).rglob("*.partial"))


def test_a_run_that_raises_is_told_with_its_logs_end_and_harms_no_other(
    swept: tuple[Path, str],
) -> None:
    root, said = swept
    told = "FloatingPointError: gradient norm is nan; lower optim.lr or clip gradients\n"
    first, second = said.split("\nfailed: ")[1:]
    for seed, report in enumerate((first, second)):
        assert re.match(rf"boom seed {seed}: node \d+\.\d+\.\d+\.\d+: {re.escape(told)}", report)
        assert report.count(told) == 2  # and in its log
    assert {run_status(run) for run in runs(root, "boom")} == {"absent"}


@pytest.mark.usefixtures("swept")
def test_a_node_keeps_base_models(machines: Machines, local: Path) -> None:
    made = [path.name for path in (local / "runs/base-models").iterdir()]
    for node in machines.nodes:
        assert [path.name for path in node.temporary.glob("rl-*/base-models/*")] == made
        (copy,) = node.temporary.glob("rl-*/base-models/*")
        for path in (local / "runs/base-models" / made[0]).iterdir():
            assert (copy / path.name).read_bytes() == path.read_bytes()


def test_a_lost_node_costs_its_unfinished_run_alone(
    swept: tuple[Path, str], machines: Machines, local: Path
) -> None:
    root, _ = swept
    before = {run: (run / "manifest.json").stat().st_mtime_ns for run in runs(root, "plain", "std")}
    second = machines.nodes[1]
    options = ("--arms", "plain,std,long", "--ray", "auto")
    process = sweep(root, *options, RAY_ADDRESS=machines.address)
    machines.all_get_actors()
    until(lambda: second.logged("long/seed-0") + second.logged("long/seed-1") > 10)
    second.kill()
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "6 runs asked for, 4 complete already" in said
    assert_as_local(local, root, "plain", "std", "long")
    assert len({node_of(run) for run in runs(root, "long")}) == 1
    assert {run: (run / "manifest.json").stat().st_mtime_ns for run in before} == before


def test_a_lost_head_ends_the_sweep_and_all_reasons_are_told(local: Path, tmp_path: Path) -> None:
    """The run's own node is still there, and goes on to tell of its steps."""
    shutil.copytree(local / "runs/base-models", tmp_path / "runs/base-models")
    root = place(tmp_path, long={"steps": 100_000})
    with cluster("--num-cpus=0") as here:
        head, second = here.nodes[0], here.join("2")
        options = ("--arms", "plain,boom,long", "--seeds", "0", "--ray", here.address)
        process = sweep(root, *options)
        until(lambda: second.logged("long/seed-0") > 0)
        head.kill()
        said, _ = process.communicate()
    assert process.returncode == 1, said
    boom, long = said.rstrip().split("\nfailed: ")[1:]
    assert re.match(r"boom seed 0: node \S+: FloatingPointError: gradient norm is nan;", boom)
    assert re.fullmatch(
        r"long seed 0: RAY: the cluster was lost \(nobody answers at \S+:\d+: .*\); with one that "
        r"is there, the same command goes on with the runs that are left",
        long,
    )
    assert run_status(root / LABEL / "plain/seed-0") == "complete"
    assert run_status(root / LABEL / "long/seed-0") == "absent"


def test_a_node_that_cannot_work_is_named(tmp_path: Path) -> None:
    """Where code goes a file lies; in a cluster of its own, whose node has no code yet."""
    with cluster() as here:
        (files,) = here.folder.glob("1/ray/session_2*/runtime_resources/working_dir_files")
        files.rmdir()
        files.touch()
        process = sweep(place(tmp_path), "--ray", here.address)
        said, _ = process.communicate()
    assert process.returncode == 2, said
    assert re.fullmatch(
        r"error: RAY: node \d+\.\d+\.\d+\.\d+ cannot work: .*File exists.*; mend it "
        r"or stop Ray there \(`ray stop`\), then the same command goes on\n",
        said,
    )
    assert not (tmp_path / "runs").exists()


def test_a_node_that_was_lost_a_moment_ago_is_left_out(
    machines: Machines, local: Path, tmp_path: Path
) -> None:
    shutil.copytree(local / "runs/base-models", tmp_path / "runs/base-models")
    machines.join("3").kill()
    process = sweep(place(tmp_path), "--arms", "plain", "--seeds", "0", "--ray", machines.address)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert run_status(tmp_path / LABEL / "plain/seed-0") == "complete"


def test_a_run_that_is_lost_thrice_is_a_failed_run(
    machines: Machines, local: Path, tmp_path: Path
) -> None:
    """From outside the cluster. Its process is killed as soon as it has begun the run."""
    shutil.copytree(local / "runs/base-models", tmp_path / "runs/base-models")
    options = ("--arms", "plain,std", "--seeds", "0", "--jobs", "1", "--ray", machines.client)
    before = {start for node in machines.nodes for start in node.begun("plain", 0)}
    process = sweep(place(tmp_path), *options)
    killed: set[Path] = set()

    def ended() -> bool:
        for node in machines.nodes:
            new = node.begun("plain", 0) - before - killed
            for number in node.actors if new else ():
                with suppress(ProcessLookupError):  # of a child that has just ended
                    os.kill(number, signal.SIGKILL)
                killed.update(new)
        return process.poll() is not None

    until(ended)
    said, _ = process.communicate()
    assert process.returncode == 1, said
    assert len(killed) == 3
    (report,) = said.split("\nfailed: ")[1:]
    assert report.startswith("plain seed 0: lost 3 times with its node or process; the last: ")
    assert run_status(tmp_path / LABEL / "plain/seed-0") == "absent"
    assert run_status(tmp_path / LABEL / "std/seed-0") == "complete"


def test_nodes_with_other_packages_are_refused_before_anything_runs(
    machines: Machines, tmp_path: Path
) -> None:
    other = tmp_path / "packages" / "gymnasium-0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: gymnasium\nVersion: 0.1\n")
    machines.join("4", PYTHONPATH=str(other.parent))
    process = sweep(place(tmp_path), "--ray", machines.address)
    said, _ = process.communicate()
    assert process.returncode == 2
    assert re.search(r"\n  [\w.:]+: gymnasium 0\.1 instead of \d", said)
    assert "make setup-ray" in said
    assert not (tmp_path / "runs").exists()
