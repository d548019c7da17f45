"""An experiment as arms x seeds of runs, in processes of their own."""

from rl.runner.schedule import run_experiment

__all__ = ["run_experiment"]
