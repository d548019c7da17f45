"""A made-up repository's other parts, for tests of the report; and its page, taken apart."""

import base64
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

from analysis.verdicts import Verdict

NAME = "03-std-scaling"
EXPERIMENT = Path("experiments") / NAME
HOSTILE = """</td></script><script>x=1</script><img src=x onerror="x=1">"'"""
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="2"></svg>\n'
CITATION = """
cff-version: 1.2.0
message: Cite it.
title: A title
authors: [{name: The authors}]
version: 0.1.0
date-released: 2026-01-31
"""


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text without style and script."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._in = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._in = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's name for it
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in ("style", "script"):
            self.raw[self._in] = self.raw.get(self._in, "") + data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def add_figures(root: Path, **files: bytes) -> None:
    folder = root / "analysis" / "figures" / "exp_03"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("__", ".").replace("_", "-")).write_bytes(content)


def add_notebook(root: Path, *cells: tuple[str, str]) -> None:
    """Cells of ("markdown", text), or ("code", what the cell shows)."""
    written = [
        {"cell_type": kind, "source": [text] if kind == "markdown" else [], "outputs": outputs}
        for kind, text in cells
        for outputs in [[{"data": {"text/plain": [text]}}] if kind == "code" else []]
    ]
    (root / "analysis").mkdir(exist_ok=True)
    (root / "analysis" / "exp_03.ipynb").write_text(json.dumps({"cells": written}))


def add_planned(root: Path, question: str = "Does it?") -> None:
    """Experiment 98, stated but not run."""
    directory = root / "experiments" / "98-planned"
    directory.mkdir()
    config = json.loads((root / EXPERIMENT / "config.yaml").read_text())
    config |= {"number": 98, "name": "planned", "question": question}
    (directory / "config.yaml").write_text(json.dumps(config))
    shutil.copy(root / EXPERIMENT / "claims.yaml", directory)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def verdicts(root: Path) -> list[Verdict]:
    records = json.loads((root / EXPERIMENT / "artifacts/verdicts.json").read_text())["verdicts"]
    return [Verdict(**record) for record in records]


def words(text: str) -> str:
    return " ".join(text.split())
