"""Verdicts for people: a table for the terminal and the generated table of README.md."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.rules import RULES
from analysis.verdicts import Verdict
from rl.errors import UserError

LARGEST = 700.0  # exp of more than about 709 is no float
BEGIN = "<!-- claims:begin -->"
END = "<!-- claims:end -->"
OUTCOMES = ("reproduced", "contradicted", "inconclusive", "incomplete")
OVERVIEW_HEADER = ("Experiment", "Claims", *OUTCOMES)
PRIMARY = (
    "The primary claims; each experiment's README has the secondary ones and the controls too."
)
RESULT_HEADER = (
    *("Claim", "Verdict", "Effect, interval"),
    *("Smallest effect of the claim", "Detectable"),
)
README_HEADER = ("Experiment", "Claim", "Verdict", "Effect", "p (Holm)", "Seeds", "Detectable")
HEADER = (
    "claim",
    "verdict",
    "committed",
    "effect",
    "interval",
    "p (Holm)",
    "n",
    "seed SD",
    "detectable",
)


def number(value: float | None) -> str:
    """Three significant digits; a dash where there is no number."""
    return "-" if value is None else f"{value:.3g}"


def size(verdict: Verdict, value: float | None) -> str:
    """An effect, or what is compared with it; where effects are logarithms, the ratio itself."""
    if value is None or not RULES[verdict.kind].ratio:
        return number(value)
    return number(math.exp(value) if value < LARGEST else math.inf)


def effect_text(verdict: Verdict) -> str:
    """The effect; a ratio with its name, since 1 and not 0 is none."""
    named = RULES[verdict.kind].ratio if verdict.effect is not None else ""
    return f"{named} {size(verdict, verdict.effect)}".strip()


def p_text(value: float | None) -> str:
    """A p value as papers print it."""
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def interval_text(verdict: Verdict) -> str:
    """The interval with its coverage. The range over seeds of an exact claim or an enumeration has
    none."""
    if verdict.low is None or verdict.high is None:
        return "-"
    ends = f"[{size(verdict, verdict.low)}, {size(verdict, verdict.high)}]"
    return ends if verdict.level is None else f"{ends} at {100 * verdict.level:.3g}%"


def marks(verdict: Verdict) -> list[str]:
    """The notes in a word each."""
    said = (("post hoc", verdict.post_hoc), ("underpowered", verdict.underpowered))
    return [mark for mark, on in said if on]


def notes(verdict: Verdict) -> list[str]:
    """What a reader must know beside the verdict, a sentence each."""
    found = []
    if verdict.reason:
        found.append(f"incomplete: {verdict.reason}")
    if verdict.post_hoc:
        found.append("post hoc: the claim was written or changed after these runs started")
    if verdict.underpowered:
        found.append(
            f"underpowered: with these seeds the test sees {size(verdict, verdict.detectable)} "
            f"or more (80% power), the claim speaks of {size(verdict, verdict.threshold)}"
        )
    return found


def terminal(title: str, verdicts: Sequence[Verdict], committed: Mapping[str, str] | None) -> str:
    """Every claim with its verdict, the committed one beside it; notes on lines of their own.

    Args:
        title: what was run, for the first line.
        verdicts: fresh ones.
        committed: the outcomes in artifacts/, by claim; None if there are none.
    """
    rows = [HEADER]
    for v in verdicts:
        rows.append(
            (
                v.claim,
                v.verdict + (" (post hoc)" if v.post_hoc else ""),
                "none yet" if committed is None else committed.get(v.claim, "not there"),
                effect_text(v),
                interval_text(v),
                p_text(v.p_holm),
                str(v.n),
                size(v, v.seed_sd),
                size(v, v.detectable),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    out = [title, "", lines[0]]
    for verdict, line in zip(verdicts, lines[1:], strict=True):
        out += [line, f"    {verdict.text} ({verdict.role}; {verdict.source})"]
        out += [f"    {note}" for note in notes(verdict)]
    counts = Counter(verdict.verdict for verdict in verdicts)
    legend = "p (Holm) is of the hypothesis that a reproduced claim refutes."
    return "\n".join([*out, "", ", ".join(f"{n} {name}" for name, n in counts.items()), legend])


def experiment_result(manifests: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> str:
    """The generated result of an experiment's README: what ran, then the verdict on every claim."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    counted = ", ".join(f"{n} {name}" for name, n in counts.items())
    if not manifests:  # damaged: the claims tell
        return "\n".join([f"{len(verdicts)} claims: {counted}.", "", _result_table(verdicts)])
    hours = sum(m["seconds"] for m in manifests) / 3600
    where = sorted({f"{m['machine']['cpu']}, {m['machine']['cores']} cores" for m in manifests})
    commits = sorted({str(m["commit"])[:7] for m in manifests})
    ran = f"From {len(manifests)} runs of commit {', '.join(commits)} on {'; '.join(where)}"
    first = f"{len(verdicts)} claims: {counted}. {ran}: {hours:.2g} hours of run time in all."
    return "\n".join([first, "", _result_table(verdicts)])


def _result_table(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for v in verdicts:
        effect = f"{effect_text(v)} {interval_text(v)}" if v.effect is not None else "-"
        said = "; ".join([f"**{v.verdict}**", *notes(v)])
        claim = f"{v.text} ({v.role}; {v.source}) `{v.claim}`"
        rows.append((claim, said, effect, size(v, v.threshold), size(v, v.detectable)))
    return _markdown(RESULT_HEADER, rows)


def readme_table(results: Mapping[str, Sequence[Verdict] | None]) -> str:
    """The Markdown tables of all experiments: how their claims fared, then the primary claims.

    Args:
        results: verdicts by experiment name; None for one without committed evidence.
    """
    counted: list[Sequence[str]] = []
    primary: list[Sequence[str]] = []
    for name, verdicts in results.items():
        link = f"[{name}](experiments/{name}/README.md)"
        if verdicts is None:
            counted.append([link, "not yet run", *[""] * len(OUTCOMES)])
            continue
        fared = [str(verdict.verdict) for verdict in verdicts]
        counted.append([link, str(len(fared)), *(str(fared.count(o)) for o in OUTCOMES)])
        for v in verdicts:
            if v.role != "primary":
                continue
            said = f"**{v.verdict}**" + (f" ({', '.join(marks(v))})" if marks(v) else "")
            effect = f"{effect_text(v)} {interval_text(v)}" if v.effect is not None else "-"
            cells = [link, f"{v.text} ({v.source})", said, effect, p_text(v.p_holm)]
            primary.append([*cells, str(v.n), size(v, v.detectable)])
    tables = [_markdown(OVERVIEW_HEADER, counted)]
    if primary:
        tables += [PRIMARY, _markdown(README_HEADER, primary)]
    return "\n\n".join(tables)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in row)} |" for row in lines)


def _cell(text: str) -> str:
    """A bar or a line break would end the cell."""
    return " ".join(text.replace("|", "\\|").split())


def renewed(readme: str, table: str, source: str, *, begin: str = BEGIN, end: str = END) -> str:
    """The README with `table` between its two markers.

    Raises:
        UserError: the markers are not there once each, in order.
    """
    if (
        readme.count(begin) != 1
        or readme.count(end) != 1
        or readme.index(end) < readme.index(begin)
    ):
        raise UserError(f"{source}: expected one line {begin} and, after it, one line {end}")
    before, rest = readme.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def frame_rows(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The same content as rows for a data frame, for the notebooks."""
    return [
        {
            "claim": v.text,
            "role": v.role,
            "verdict": v.verdict + (" (post hoc)" if v.post_hoc else ""),
            "effect": effect_text(v),
            "interval": interval_text(v),
            "p (Holm)": p_text(v.p_holm),
            "seeds": v.n,
            "seed SD": size(v, v.seed_sd),
            "detectable": size(v, v.detectable),
            "notes": "; ".join(notes(v)),
        }
        for v in verdicts
    ]
