"""One HTML page of all committed evidence: python -m analysis.report [--output PATH]

It runs in the repository's root. The page needs no other file and no network, and the same
artifacts give the same bytes: no clock, no commit but those of the evidence.
"""

import argparse
import base64
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.citation import bibtex, plain_text, read_citation
from analysis.claims import PROMOTED_PROFILE, check_same, read_verdicts, verdicts_of
from analysis.load import machines
from analysis.prose import Caption, Prose, read_captions, read_prose, read_section
from analysis.rules import RULES, Outcome
from analysis.table import frame_rows, marks, notes, size
from analysis.verdicts import Verdict
from rl.config import Claim, Experiment, load_experiment
from rl.errors import UserError, exit_status
from rl.evidence import Evidence, has_evidence, read_evidence

OUTPUT = Path("report/index.html")
TEMPLATES = Path(__file__).resolve().parent / "templates"
NOT_RUN = "not yet run"
VERDICTS = (*get_args(Outcome), NOT_RUN)
# Beside colour and word, the third sign of a verdict.
SYMBOLS = dict(zip(VERDICTS, "✓✗?…○", strict=True))
TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
RUN_FACTS: dict[str, type | tuple[type, ...]] = {
    "arm": str,
    "seed": int,
    "commit": str,
    "claims_sha256": str,
    "seconds": (int, float),
    "tokens": (int, float),
    "machine": dict,
    "versions": dict,
}


@dataclass(frozen=True)
class Row:
    """A claim with its verdict; `shown` holds the numbers as the other tables print them."""

    claim: Claim
    verdict: Verdict
    shown: dict[str, Any]
    marks: list[str]
    notes: list[str]

    @property
    def threshold(self) -> str:
        return size(self.verdict, self.verdict.threshold)

    @property
    def threshold_name(self) -> str:
        """What the claim's kind calls its smallest effect: that, margin or tolerance."""
        return RULES[self.verdict.kind].threshold_name

    @property
    def effect_name(self) -> str:
        """What the claim's kind calls its effect and the interval of it."""
        return RULES[self.verdict.kind].effect_name


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, with what is said of it."""

    name: str
    uri: str
    caption: Caption


@dataclass(frozen=True)
class Section:
    """All that the page says of one experiment; without evidence, `rows` and `runs` are empty."""

    experiment: Experiment
    prose: Prose
    rows: list[Row]
    runs: list[dict[str, Any]]
    machines: list[dict[str, Any]]
    figures: list[Figure]

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def counts(self) -> dict[str, int]:
        counted = Counter(row.verdict.verdict for row in self.rows)
        return {name: counted[name] for name in get_args(Outcome) if counted[name]}

    @property
    def commits(self) -> list[str]:
        return sorted({run["commit"] for run in self.runs})

    @property
    def claims_sha256(self) -> list[str]:
        return sorted({run["claims_sha256"] for run in self.runs})


def section(root: Path, directory: Path) -> Section:
    """Read one experiment.

    Raises:
        UserError: a damaged file, or a verdicts.json that its evidence does not give.
    """
    artifacts = directory / "artifacts"
    prose = read_prose(directory / "README.md")
    if not has_evidence(artifacts):
        return Section(load_experiment(directory, PROMOTED_PROFILE), prose, [], [], [], [])
    evidence = read_evidence(artifacts)
    if evidence.spoilt:
        raise UserError(evidence.spoilt)
    experiment = load_experiment(directory, evidence.plan["profile"])
    return Section(
        experiment,
        prose,
        _rows(experiment, _verdicts(evidence, directory)),
        _runs(evidence, artifacts / "runs.json"),
        [{str(k): v for k, v in row.items()} for row in machines(evidence).to_dict("records")],
        _figures(root / "analysis", experiment.number),
    )


def _verdicts(evidence: Evidence, directory: Path) -> list[Verdict]:
    """Those of verdicts.json, which another machine may compute with other last bits."""
    file = directory / "artifacts" / "verdicts.json"
    if not file.exists():
        raise UserError(f"{file}: missing; run `python -m analysis.claims readme`")
    written = read_verdicts(file)
    check_same(file, written, verdicts_of(evidence, directory))
    return list(written.values())


def _rows(experiment: Experiment, verdicts: Sequence[Verdict]) -> list[Row]:
    return [
        Row(claim, verdict, shown, marks(verdict), notes(verdict))
        for claim, verdict, shown in zip(
            experiment.claims.claims, verdicts, frame_rows(verdicts), strict=True
        )
    ]


def _figures(analysis: Path, number: int) -> list[Figure]:
    """Every figure once, as SVG where there is one, in the notebook's order."""
    folder = analysis / "figures" / f"exp_{number:02d}"
    captions = read_captions(analysis / f"exp_{number:02d}.ipynb")
    files = {path.stem: path for kind in (".png", ".svg") for path in folder.glob(f"*{kind}")}
    order = [*(name for name in captions if name in files), *sorted(set(files) - set(captions))]
    return [
        Figure(
            name,
            _data_uri(files[name]),
            captions.get(name, Caption(name.replace("-", " ").capitalize(), Markup())),
        )
        for name in order
    ]


def _data_uri(path: Path) -> str:
    content = path.read_bytes()
    if not content:
        raise UserError(f"{path}: empty; run `make figures`")
    return f"data:{TYPES[path.suffix]};base64,{base64.b64encode(content).decode()}"


def counted(sections: Sequence[Section]) -> dict[str, int]:
    """Rows of the table by verdict, those without a row included."""
    total = Counter(dict.fromkeys(VERDICTS, 0))
    for one in sections:
        total.update(one.counts or {NOT_RUN: 1})
    return dict(total)


def page(root: Path) -> str:
    """The whole page, from the repository at `root`.

    Raises:
        UserError: input that is missing or damaged.
    """
    folder = root / "experiments"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run this in the root of the repository")
    sections = [section(root, path) for path in sorted(folder.glob("[0-9][0-9]-*"))]
    citation = read_citation(root / "CITATION.cff")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["whole"] = lambda value: f"{value:,.0f}"
    # Ours, not a reader's: these two files alone go in as they are.
    style, script = (
        Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704
        for name in ("report.css", "report.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        sections=sections,
        counts=counted(sections),
        symbols=SYMBOLS,
        ranks={name: rank for rank, name in enumerate(VERDICTS)},
        not_run=NOT_RUN,
        how_to_read=read_section(root / "README.md", "How to read a verdict"),
        citation=citation,
        cited=plain_text(citation),
        bibtex=bibtex(citation),
        style=style,
        script=script,
        script_sha256=digest,
    )


def write(root: Path, output: Path) -> None:
    """Write the page.

    Raises:
        UserError: bad input, or a path that cannot be written.
    """
    # A lone surrogate, which JSON can hold and UTF-8 cannot, becomes a character reference.
    content = page(root).encode("utf-8", errors="xmlcharrefreplace")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror})") from None
    print(output)


def _runs(evidence: Evidence, file: Path) -> list[dict[str, Any]]:
    """The manifests, each with what the page tells of it."""
    for place, run in enumerate(evidence.manifests, start=1):
        for fact, kind in RUN_FACTS.items():
            if not isinstance(run.get(fact), kind):
                raise UserError(
                    f"{file}: run {place}: {fact} is {run.get(fact)!r}; restore it from git"
                )
    return evidence.manifests


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="PATH")
    given = parser.parse_args(arguments)
    return exit_status(lambda: write(Path(), given.output))


if __name__ == "__main__":
    sys.exit(main())
