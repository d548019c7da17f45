"""Executes the notebooks headless and writes them back: python -m analysis.figures [NN ...]

The same evidence gives the same bytes: times, kernel versions and anything else that changes from
run to run are left out. The notebooks themselves write the figures (analysis.plots.save).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.reader import NotJSONError
from traitlets.config import Config

from analysis.load import ROOT, artifacts
from rl.errors import UserError, exit_status
from rl.evidence import has_evidence

NOTEBOOKS = Path(__file__).resolve().parent
CELL_SECONDS = 300


def notebook(number: int) -> Path:
    """The notebook of an experiment."""
    path = NOTEBOOKS / f"exp_{number:02d}.ipynb"
    if not path.exists():
        raise UserError(f"{path.name}: no such notebook in {NOTEBOOKS.name}/")
    return path


def execute(source: Path, target: Path) -> None:
    """Run all cells of `source` in the repository's root and write it with its outputs.

    Raises:
        UserError: a cell that fails or hangs, by its number and its error, or a damaged notebook.
    """
    try:
        book = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    except NotJSONError:
        raise UserError(f"{source.name}: not a notebook; restore it") from None
    try:
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(
                book,
                timeout=CELL_SECONDS,
                kernel_name="python3",
                record_timing=False,
                resources={"metadata": {"path": str(ROOT)}},
                # Sockets in a private folder: no port that another user of the machine could read.
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
            )
            # A user's IPython start-up files must not reach into the figures.
            client.execute(env={**os.environ, "IPYTHONDIR": folder})
    except CellExecutionError as error:
        number = _failed(book)
        raise UserError(f"{source.name}: cell {number}: {error.ename}: {error.evalue}") from None
    except CellTimeoutError:
        raise UserError(f"{source.name}: a cell took over {CELL_SECONDS} s") from None
    except DeadKernelError:
        raise UserError(f"{source.name}: its kernel died; is there memory enough?") from None
    for cell in book.cells:
        cell.metadata.pop("execution", None)
    book.metadata = {"kernelspec": book.metadata.get("kernelspec", {})}
    text = nbformat.writes(book).rstrip("\n") + "\n"  # type: ignore[no-untyped-call]
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def _failed(book: nbformat.NotebookNode) -> int:
    """The place, from 1, of the first cell that put out an error."""
    return next(
        place
        for place, cell in enumerate(book.cells, start=1)
        if any(out.output_type == "error" for out in cell.get("outputs", []))
    )


def render(numbers: Sequence[int], folder: Path | None) -> None:
    """Execute the notebooks of these experiments, or of all; one without evidence is skipped."""
    found = [int(path.stem[4:]) for path in sorted(NOTEBOOKS.glob("exp_[0-9][0-9].ipynb"))]
    for number in numbers or found:
        source = notebook(number)
        if not has_evidence(artifacts(number)):
            print(f"{source.name}: skipped, no committed evidence yet")
            continue
        execute(source, folder / source.name if folder else source)
        print(f"{source.name}: executed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, metavar="NN", help="default: all")
    parser.add_argument("--output", type=Path, help="folder for the notebooks; default: in place")
    given = parser.parse_args(arguments)
    return exit_status(lambda: render(given.numbers, given.output))


if __name__ == "__main__":
    sys.exit(main())
