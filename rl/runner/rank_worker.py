"""One rank of a run that several do together; DeepSpeed's launcher starts it: see ranked.py.

Rank 0 takes jobs from the runner's process and passes them on; all do each of them, and rank 0
reports. Every rank of the runner's machine is connected with it, so that it learns which of them
ended, and each ends when the runner does.
"""

import argparse
import os
import signal
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Client, Connection

from rl.runner.worker import Job, job_error, load, output_to, run_job


def main() -> None:
    """Serve jobs until there are no more, or no runner."""
    options = argparse.ArgumentParser()
    options.add_argument("runner", help="the socket of the runner")
    options.add_argument("--devices", help="the GPUs that the runner may use; none if empty")
    chosen = options.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the runner, which stops its ranks
    if chosen.devices is not None:  # the launcher has numbered them from 0
        os.environ["CUDA_VISIBLE_DEVICES"] = chosen.devices
    runner = None
    if os.environ["CROSS_RANK"] == "0":  # the launcher's number of this machine
        runner = Client(chosen.runner)
        runner.send(int(os.environ["RANK"]))
    load()
    from rl import engine, ranks

    engine.join()
    try:
        while (job := ranks.agreed(_next(runner))) is not None:
            _do(job, runner)
    except (EOFError, ConnectionError):  # the runner was killed: what is logged is kept
        sys.exit(1)


def _next(runner: Connection | None) -> Job | None:
    """On rank 0 the next job, None for no more; the others are told it."""
    from rl import ranks

    if ranks.rank() or runner is None:
        return None
    job: Job | None = runner.recv()
    return job


def _do(job: Job, runner: Connection | None) -> None:
    """One job. One that raises is told with its traceback in the log; this rank then waits for its
    end, so that the launcher sees no other rank end than one that was killed."""
    from rl import ranks

    first = ranks.rank() == 0

    def report(step: int, value: float) -> None:
        if first and runner is not None:
            runner.send(("step", step, value))

    log_file = job.log_file
    if not first:
        log_file = log_file.with_name(f"{log_file.stem}-rank-{ranks.rank()}.txt")
    try:
        restore = output_to(log_file)
        run_job(job, report)
    except BrokenPipeError:
        raise
    except BaseException as error:
        if runner is not None:
            runner.send(("failed", job_error(error)))
            with suppress(OSError):  # the disk of the log may be full
                traceback.print_exc()
            with suppress(EOFError, OSError):
                runner.recv()
        raise
    restore()
    if first and runner is not None:
        runner.send(("done",))


if __name__ == "__main__":
    main()
