"""CITATION.cff, READMEs and notebooks, as the report quotes them."""

import re
from pathlib import Path

from analysis.citation import bibtex, plain_text, read_citation
from analysis.prose import html, read_captions, read_prose, read_section
from tests.report_parts import Page, words

ROOT = Path(__file__).resolve().parents[2]


def test_links_of_prose(tmp_path: Path) -> None:
    said = "[paper](https://arxiv.org/abs/1) [log](../../LOG.md) [part](#part) <b>bold</b>"
    assert html(said) == (
        '<p><a href="https://arxiv.org/abs/1">paper</a> log part &lt;b&gt;bold&lt;/b&gt;</p>'
    )
    readme = tmp_path / "README.md"
    readme.write_text(
        "# Title\n\nPassage.\n\n## Arms\n\n| a | b |\n| - | - |\n| 1 | 2 |\n\n## Result\n\n"
        "<!-- claims:begin -->\ngenerated\n<!-- claims:end -->\n\nIn words.\n\n## After\n\nMore.\n"
    )
    prose = read_prose(readme)
    assert prose.result == "<p>In words.</p>"
    assert "generated" not in prose.description
    assert re.findall(r"<h\d>[^<]*", prose.description) == ["<h4>Arms", "<h4>After"]
    assert "<td>2</td>" in prose.description
    assert read_prose(tmp_path / "gone.md").description == ""


def test_the_page_of_this_repository_says_how_to_read_it() -> None:
    said = words(Page(str(read_section(ROOT / "README.md", "How to read a verdict"))).text)
    for outcome in ("reproduced", "contradicted", "inconclusive", "incomplete"):
        assert outcome in said
    assert "Overrides" not in said


def test_this_repositorys_figures_all_have_a_heading() -> None:
    folders = sorted((ROOT / "analysis" / "figures").glob("exp_*"))
    assert folders
    for folder in folders:
        captions = read_captions(ROOT / "analysis" / f"{folder.name}.ipynb")
        assert {path.stem for path in folder.iterdir()} == set(captions)
        assert all(caption.title and caption.text for caption in captions.values())


def test_citation_in_words_and_in_bibtex(tmp_path: Path) -> None:
    file = tmp_path / "CITATION.cff"
    file.write_text(
        "title: 'A & B: 100% of x_1'\nversion: 1.0\ndate-released: 2026-01-31\ndoi: 10.1/x_y\n"
        "authors: [{family-names: Doe, given-names: Jo}, {name: The Group}]\n"
    )
    citation = read_citation(file)
    assert plain_text(citation) == (
        "Doe, Jo and The Group (2026). A & B: 100% of x_1 (version 1.0). https://doi.org/10.1/x_y"
    )
    assert bibtex(citation) == (
        "@misc{a-2026,\n"
        "  author = {Doe, Jo and {The Group}},\n"
        "  title  = {{A \\& B: 100\\% of x\\_1}},\n"
        "  year   = {2026},\n"
        "  note   = {Version 1.0},\n"
        "  doi    = {10.1/x_y},\n"
        "}"
    )
