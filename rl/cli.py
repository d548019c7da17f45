"""`rl run`, `rl verify`, `rl tune` and `rl needs`: what stands behind `make exp-NN`,
`make verify-NN`, `make tune-NN` and `make needs`."""

import argparse
import math
import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType

from rl.config import (
    find_experiment,
    load_experiment,
    parse_overrides,
)
from rl.errors import UserError, exit_status
from rl.files import CHECKPOINT_SECONDS


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0 if all went well, 2 for bad input, and 1 if a run failed
    or is not what the evidence says; 128 and the signal's number if Ctrl-C or a termination
    stopped it."""
    options = _parser().parse_args(arguments)
    commands = {"run": _run, "verify": _verify, "tune": _tune, "needs": _needs}
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return exit_status(lambda: commands[options.command](options))
    except KeyboardInterrupt as stop:
        print("\nstopped; the same command goes on with the runs that are left", file=sys.stderr)
        return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)


class Terminated(KeyboardInterrupt):
    """What a batch system or `kill` asks for: as Ctrl-C, so that no process of ours stays."""


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls it
    raise Terminated


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rl", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train every arm and seed of an experiment")
    run.add_argument("number", help="the experiment, such as 03")
    run.add_argument("--profile", default="laptop")
    run.add_argument("--seeds", default="", help="comma-separated; all that are planned if empty")
    run.add_argument("--arms", default="", help="comma-separated; all that are planned if empty")
    run.add_argument("--jobs", default="", help="at a time; one a core, or all Ray has, if empty")
    run.add_argument("--gpus", default="", help="ranks that share each run (on each host)")
    run.add_argument("--hostfile", default="", help="lines `host slots=N`: the ranks' hosts")
    run.add_argument("--set", default="", help="path=value overrides, separated by spaces")
    run.add_argument("--rollout", default="", help="local, vllm or vllm_worker; who samples")
    run.add_argument("--fresh", action="store_true", help="set complete runs aside, start anew")
    run.add_argument(
        "--checkpoint-seconds",
        default=str(CHECKPOINT_SECONDS),
        help="between two checkpoints of a run; 0 makes one every step",
    )
    run.add_argument(
        "--ray",
        default="",
        metavar="ADDRESS",
        help="a Ray cluster to run on: auto, host:port or ray://host:port",
    )
    verify = commands.add_parser("verify", help="run one committed run again and compare")
    verify.add_argument("number", help="the experiment, such as 03")
    verify.add_argument("--arm", default="", help="the first of the evidence if empty")
    verify.add_argument("--seed", default="", help="the first of the evidence if empty")
    tuning = commands.add_parser("tune", help="run an experiment's grids again, on pilot seeds")
    tuning.add_argument("number", help="the experiment, such as 10")
    tuning.add_argument("--profile", default="laptop")
    tuning.add_argument("--jobs", default="", help="processes; one a core if empty")
    commands.add_parser("needs", help="what the larger profiles need of a GPU, worked out")
    for command in (run, verify, tuning):
        command.add_argument("--runs", type=Path, default=Path("runs"))
    return parser


def _run(options: argparse.Namespace) -> int:
    from rl.runner import run_experiment
    from rl.runner.launch import find_ranks

    directory = find_experiment(_integer("experiment", options.number))
    experiment = load_experiment(
        directory, options.profile, parse_overrides(options.set), options.rollout
    )
    arms = _words(options.arms) or None
    start = partial(
        run_experiment,
        experiment,
        runs=options.runs,
        arms=arms,
        seeds=[_integer("SEEDS", word) for word in _words(options.seeds)] or None,
        fresh=options.fresh,
        checkpoint_seconds=_seconds(options.checkpoint_seconds),
        launch=find_ranks(options.gpus, options.hostfile),
    )
    given = _given_jobs(options)
    by_vllm = any(spec.config.by_vllm for spec in experiment.select(arms, None))
    if options.ray:
        _check_ray(options, by_vllm=by_vllm)
    elif by_vllm:
        from rl.rollout import check_installed

        check_installed()  # before anything is trained
    if not options.ray:
        return 0 if start(jobs=_jobs(given)) else 1
    from rl.runner.ray_cluster import joined
    from rl.runner.ray_worker import RayWorker

    with joined(options.ray) as cluster:
        signal.signal(signal.SIGTERM, _terminate)  # Ray has put a handler of its own there
        jobs = cluster.slots if given is None else min(given, cluster.slots)
        return 0 if start(jobs=jobs, hire=partial(RayWorker, cluster)) else 1


def _verify(options: argparse.Namespace) -> int:
    from rl.evidence import read_evidence
    from rl.runner.again import verify_run

    directory = find_experiment(_integer("experiment", options.number))
    committed = read_evidence(directory / "artifacts")
    if committed.faults:
        print("\n".join(committed.faults.values()))
        return 1
    experiment = load_experiment(directory, committed.plan["profile"])
    agrees = verify_run(
        experiment, committed, runs=options.runs, arm=options.arm, seed=options.seed
    )
    return 0 if agrees else 1


def _tune(options: argparse.Namespace) -> int:
    from rl.runner.tuning import tune

    number = _integer("experiment", options.number)
    jobs = _jobs(_given_jobs(options))
    done = tune(number, profile=options.profile, runs=options.runs, jobs=jobs)
    return 0 if done else 1


def _needs(options: argparse.Namespace) -> int:  # noqa: ARG001 - all commands are called alike
    from rl.runner.needs import table

    print(table())
    return 0


def _check_ray(options: argparse.Namespace, *, by_vllm: bool) -> None:
    if options.gpus or options.hostfile:
        raise UserError(
            "RAY: spreads runs over nodes, and GPUS and HOSTFILE one run over ranks; got both, "
            "give one of them"
        )
    if by_vllm:
        raise UserError(
            "RAY: its nodes have no vLLM; expected ROLLOUT=local with it, or GPUS in its place"
        )


def _given_jobs(options: argparse.Namespace) -> int | None:
    return _integer("JOBS", options.jobs) if options.jobs else None


def _jobs(given: int | None) -> int:
    """As given; else one a GPU, or without GPUs one a core that this process may use."""
    from rl.runner.workers import visible_gpus

    if given is not None:
        return given
    return len(visible_gpus()) or len(os.sched_getaffinity(0))


def _words(text: str) -> list[str]:
    return [word for word in text.replace(",", " ").split() if word]


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{name}: expected a whole number, got {text!r}") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise UserError(f"--checkpoint-seconds: expected a number from 0 up, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main())
