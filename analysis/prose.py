"""Markdown that people wrote, as HTML that can do no harm; and where the prose is found.

Raw HTML in a source is shown as text, images are left out, and of the links only those to the web
stay: a page that is passed around has no files beside it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from analysis.table import BEGIN, END
from rl.errors import UserError
from rl.files import read_json

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
WEB = ("https://", "http://")
# A wide table scrolls in a box of its own, which the keyboard must be able to reach.
BOX = '<div class="box" role="region" aria-label="Table" tabindex="0"><table>\n'


@dataclass(frozen=True)
class Prose:
    """An experiment's README without its title and its generated table.

    Attributes:
        description: what stands before the result.
        result: what is said of the result in words; empty before there is one.
    """

    description: Markup
    result: Markup


@dataclass(frozen=True)
class Caption:
    """What the notebook says above a figure."""

    title: str
    text: Markup


def html(markdown: str, below: int = 3) -> Markup:
    """Markdown as HTML; its headings stand `below` levels under those of the page."""
    tokens = MARKDOWN.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + below)}"
        if token.children:
            token.children = list(_web_links(token.children))
    text = str(MARKDOWN.renderer.render(tokens, MARKDOWN.options, {}))
    text = text.replace("<table>\n", BOX).replace("</table>", "</table></div>")
    return Markup(text.strip())  # noqa: S704 - markdown-it escaped all text, see the module's head


def _web_links(tokens: Sequence[Token]) -> Iterator[Token]:
    """Links to files and anchors become their text."""
    dropped = False
    for token in tokens:
        if token.type == "link_open" and not str(token.attrs["href"]).startswith(WEB):
            dropped = True
        elif token.type == "link_close" and dropped:
            dropped = False
        else:
            yield token


def read_prose(path: Path) -> Prose:
    """The prose of an experiment's README; a missing one says nothing.

    Raises:
        UserError: not text.
    """
    text = re.sub(r"^# .*\n", "", _read(path)) if path.exists() else ""
    before, _, after = text.partition(BEGIN)
    words = after.partition(END)[2]
    if words or after:
        # The heading over the table goes with the table.
        before = re.sub(r"\n## [^\n]*\n\s*$", "\n", before)
    result, heading, rest = words.partition("\n## ")
    return Prose(html(before + heading + rest, below=2), html(result, below=2))


def read_section(path: Path, heading: str) -> Markup:
    """The section of a Markdown file under `## heading`; empty if there is none."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)",
        _read(path) if path.exists() else "",
        flags=re.MULTILINE | re.DOTALL,
    )
    return html(found[1]) if found else Markup()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None


def read_captions(notebook: Path) -> dict[str, Caption]:
    """By figure, in the notebook's order: the heading above it and the text of the last cell.

    A figure is found by what its cell shows, which analysis.plots.save names exp_NN/name.png.

    Raises:
        UserError: the notebook is damaged.
    """
    captions: dict[str, Caption] = {}
    title, text = "", ""
    try:
        cells = read_json(notebook)["cells"] if notebook.exists() else []
        for cell in cells:
            if cell["cell_type"] == "markdown":
                written = "".join(cell["source"])
                heading = re.match(r"#+ +(.*)\n*", written)
                title = heading[1].strip() if heading else title
                text = written[heading.end() :] if heading else written
            for output in cell.get("outputs", []):
                shown = "".join(output.get("data", {}).get("text/plain", ""))
                name = re.fullmatch(r"exp_\d\d/(.+)\.png", shown)
                if name:
                    captions[name[1]] = Caption(title, html(text))
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{notebook}: not a notebook; restore it from git") from None
    return captions
