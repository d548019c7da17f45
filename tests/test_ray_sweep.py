"""What a sweep over Ray does on the driver, without Ray: addresses, room, runs put in place."""

import math
import socket
import sys
from pathlib import Path

import pytest

from rl.artifacts import run_directory, run_fault, run_status
from rl.cli import main
from rl.config import RunSpec
from rl.errors import UserError
from rl.files import packed
from rl.runner.provenance import unlike
from rl.runner.ray_cluster import address_of, room, variables
from rl.runner.ray_worker import put_in_place
from rl.runner.worker import Job
from tests.small_runs import write_run
from tests.tiny import run_config, write_experiment


def node(*, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"Alive": alive, "Resources": resources}


def test_room_is_whole_cpus_or_gpus_of_living_nodes() -> None:
    assert room(node(CPU=4.0, memory=1e9), gpus=0) == 4
    assert room(node(CPU=2.5), gpus=0) == 2
    assert room(node(CPU=8.0, GPU=2.0), gpus=1) == 2
    assert room(node(CPU=1.0, GPU=2.0), gpus=1) == 1
    assert room(node(CPU=8.0), gpus=1) == 0
    assert room(node(memory=1e9), gpus=0) == 0
    assert room(node(alive=False, CPU=4.0), gpus=0) == 0


def test_versions_that_differ_are_named() -> None:
    ours = {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"}
    assert unlike(ours, {**ours, "scipy": "1"}) == ""
    theirs = {"python": "3.11.7", "torch": "2.12.0"}
    assert unlike(ours, theirs) == "torch 2.12.0 instead of 2.13.0, numpy None instead of 2.4.6"


@pytest.mark.parametrize(
    "address", ["local", "host", "host:", ":6379", "http://host:6379", "host:port", "ray://host"]
)
def test_an_address_of_no_known_form_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="RAY: expected auto, host:port or ray://host:port, got"):
        address_of(address)


def test_an_address_is_taken_where_somebody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of("auto") == "auto"
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"
        assert address_of(there) == there
        assert address_of(f"ray://{there}") == f"ray://{there}"
        monkeypatch.setenv("RAY_ADDRESS", there)
        assert address_of("auto") == there
    for address in (there, f"ray://{there}", "127.0.0.1:99999"):
        with pytest.raises(UserError, match=r"nobody answers at .* `ray start --head` starts one"):
            address_of(address)


def test_nodes_get_this_machines_settings_but_for_where_data_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RL_DATA_DIR", "RL_SOMETHING", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "ELSE"):
        monkeypatch.setenv(name, "7")
    found = variables()
    assert {name: found.get(name) for name in ("RL_SOMETHING", "HF_HUB_OFFLINE")} == {
        "RL_SOMETHING": "7",
        "HF_HUB_OFFLINE": "7",
    }
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("1", "1")
    assert not {"RL_DATA_DIR", "ELSE"} & set(found)


def test_without_ray_the_command_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_experiment(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", "90", "--ray", "auto"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        "error: RAY: expected a Python with Ray, got one without; `make setup-ray` adds it\n",
    )
    assert not (tmp_path / "runs").exists()


def test_a_run_from_a_node_takes_the_place_of_a_cut_one_whole(tmp_path: Path) -> None:
    sent = packed(write_run(tmp_path / "node", "none", 1))
    assert set(sent) == {"manifest.json", "metrics.jsonl", "samples.jsonl"}
    job = Job(RunSpec("none", 1, run_config()), tmp_path / "here", tmp_path, {}, math.inf)
    there = run_directory(job.root, "none", 1)
    write_run(job.root, "none", 1, finish=False)
    (there / "checkpoints").mkdir()
    (there / "checkpoints/old").touch()
    cut = packed(there)
    short = {**sent, "metrics.jsonl": sent["metrics.jsonl"][:-1]}
    for broken in (short, cut, {**sent, "manifest.json": b"{"}):
        with pytest.raises(UserError, match="did not come whole from its node"):
            put_in_place(job, broken)
        assert packed(there) == cut
    put_in_place(job, sent)
    assert packed(there) == sent
    assert (run_status(there), run_fault(there)) == ("complete", "")
    assert [path.name for path in there.parent.iterdir()] == ["seed-1"]
