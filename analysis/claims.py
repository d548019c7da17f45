"""The command that says what the evidence says.

    python -m analysis.claims show | promote | seal | readme

It runs in the repository's root: experiments/, runs/ and README.md are found from there.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from analysis.table import experiment_result, readme_table, renewed, terminal
from analysis.verdicts import Verdict, judge
from rl.config import (
    config_digest,
    find_experiment,
    load_experiment,
    parse_overrides,
    program_config,
)
from rl.errors import UserError, exit_status
from rl.evidence import (
    RUNS as RUNS_FILE,
    VERDICTS,
    Evidence,
    evidence_faults,
    has_evidence,
    read_evidence,
    read_runs,
    seal,
)
from rl.files import read_json, write_json
from rl.promotion import promote

EXPERIMENTS = Path("experiments")
RUNS = Path("runs")
README = Path("README.md")
PROMOTED_PROFILE = "laptop"

# Another processor may round a sum's last bits the other way; an edited number differs by more.
RELATIVE, ABSOLUTE = 1e-6, 1e-9
AGAIN = "delete it and run `python -m analysis.claims readme` to have it computed again"


def verdicts_of(evidence: Evidence, directory: Path) -> list[Verdict]:
    """Judge `evidence` by the claims.yaml that stands in the experiment's directory now."""
    return judge(evidence, load_experiment(directory, evidence.plan["profile"]).claims)


def as_json(evidence: Evidence, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The content of verdicts.json."""
    return {
        "experiment": evidence.plan["experiment"],
        "label": evidence.plan["label"],
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """The verdicts of a verdicts.json, by claim.

    Raises:
        UserError: damaged, or of another form than this version writes.
    """
    try:
        return {record["claim"]: Verdict(**record) for record in read_json(path)["verdicts"]}
    except (KeyError, TypeError):
        raise UserError(f"{path}: not a list of verdicts as written here; {AGAIN}") from None


def check_same(path: Path, written: dict[str, Verdict], fresh: Sequence[Verdict]) -> None:
    """verdicts.json says what its evidence says.

    Raises:
        UserError: the first disagreement, with both values.
    """
    if list(written) != [verdict.claim for verdict in fresh]:
        raise UserError(
            f"{path}: holds verdicts on {', '.join(written) or 'nothing'}, but claims.yaml states "
            f"{', '.join(v.claim for v in fresh)}; {AGAIN}"
        )
    for verdict in fresh:
        for field in fields(Verdict):
            old, new = getattr(written[verdict.claim], field.name), getattr(verdict, field.name)
            if not _same(old, new):
                raise UserError(
                    f"{path}: claim {verdict.claim}: {field.name} is {old!r}, but the metrics and "
                    f"claims.yaml beside it give {new!r}; {AGAIN}"
                )


def _same(old: object, new: object) -> bool:
    numbers = isinstance(old, float) and isinstance(new, float)
    if numbers:
        return math.isclose(old, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE)  # type: ignore[arg-type]
    return type(old) is type(new) and old == new


def label_of(directory: Path, profile: str, settings: str, rollout: str) -> str:
    """The run folder's name under `path=value path=value` overrides and another sampler, as
    `rl run` names it."""
    return load_experiment(directory, profile, parse_overrides(settings), rollout).label


def show(number: int, profile: str, settings: str, rollout: str, label: str | None) -> None:
    """Judge a run folder, write verdicts.json into it and print the table."""
    directory = find_experiment(number, EXPERIMENTS)
    root = RUNS / directory.name / (label or label_of(directory, profile, settings, rollout))
    evidence = read_runs(root)
    verdicts = verdicts_of(evidence, directory)
    write_json(root / "verdicts.json", as_json(evidence, verdicts))
    artifacts = directory / "artifacts"
    faults = evidence_faults(artifacts) if has_evidence(artifacts) else {}
    planned = len(evidence.planned())
    title = (
        f"{directory.name}, {evidence.plan['label']}: {planned - len(evidence.missing())} of "
        f"{planned} runs of {len(evidence.plan['arms'])} arms"
    )
    print(terminal(title, verdicts, _committed(artifacts, faults, verdicts)))
    for (arm, seed), fault in evidence.damaged.items():
        print(f"damaged: {arm} seed {seed}: {fault}")
    for fault in faults.values():
        print(f"committed evidence: {fault}")


def _committed(
    artifacts: Path, faults: Mapping[str, str], fresh: Sequence[Verdict]
) -> dict[str, str] | None:
    """The committed outcome of each claim; None where nothing is committed."""
    if faults:
        return {verdict.claim: "incomplete" for verdict in fresh}
    if not has_evidence(artifacts):
        return None
    return {claim: old.verdict for claim, old in read_verdicts(artifacts / VERDICTS).items()}


def promote_runs(number: int, force: bool) -> None:
    """Turn runs/NN-name/laptop into committed evidence, verdicts included."""
    directory = find_experiment(number, EXPERIMENTS)
    root = RUNS / directory.name / PROMOTED_PROFILE
    evidence = read_runs(root)
    verdicts = verdicts_of(evidence, directory)
    target = directory / "artifacts"
    digests = {
        arm: config_digest(program_config(settings, f"{root / 'plan.json'}: arm {arm}"))
        for arm, settings in evidence.plan["arms"].items()
    }
    promote(root, target, as_json(evidence, verdicts), digests, force)
    print(f"{target}: holds {len(evidence.manifests)} runs of {root} now; commit it")


def seal_evidence(number: int) -> None:
    """Give evidence that was promoted before there were hashes its own."""
    artifacts = find_experiment(number, EXPERIMENTS) / "artifacts"
    if "sha256" in read_json(artifacts / RUNS_FILE):
        raise UserError(
            f"{artifacts}: has its hashes; a file that is not what they say is for git to bring "
            f"back, or promote again"
        )
    seal(artifacts)
    print(f"{artifacts / RUNS_FILE}: holds the hashes of its files now; commit it")


def readme(check: bool) -> None:
    """Renew or check the tables of README.md and of each experiment's, from committed evidence.

    Raises:
        UserError: a verdicts.json that its evidence does not give; damaged evidence, whose claims
            are incomplete in the tables; with `check`, a verdicts.json that is missing, or a
            README that would change.
    """
    results: dict[str, Sequence[Verdict] | None] = {}
    pages: dict[Path, str] = {}
    spoilt = []
    for directory in sorted(EXPERIMENTS.glob("[0-9][0-9]-*")):
        artifacts = directory / "artifacts"
        page = directory / "README.md"
        if not has_evidence(artifacts):
            results[directory.name] = None
            pages[page] = "Not yet run."
            continue
        evidence = read_evidence(artifacts)
        verdicts = results[directory.name] = verdicts_of(evidence, directory)
        pages[page] = experiment_result(evidence.manifests, verdicts)
        if evidence.spoilt:
            spoilt.append(evidence.spoilt)
        else:
            _renew_verdicts(artifacts, evidence, verdicts, check)
    if check and spoilt:
        raise UserError("; ".join(spoilt))
    pages[README] = readme_table(results)
    changed = [str(page) for page, table in pages.items() if _renew(page, table, check)]
    if spoilt:
        raise UserError(f"incomplete in the tables: {'; '.join(spoilt)}")
    print(f"renewed: {', '.join(changed)}" if changed else "verdicts agree with the artifacts")


def _renew_verdicts(
    artifacts: Path, evidence: Evidence, verdicts: Sequence[Verdict], check: bool
) -> None:
    """Compare verdicts.json with what its evidence gives, or write it where it was deleted."""
    file = artifacts / VERDICTS
    if file.exists():
        check_same(file, read_verdicts(file), verdicts)
        if VERDICTS in evidence.faults:
            raise UserError(evidence.faults[VERDICTS])
    elif check:
        raise UserError(f"{file}: missing; run `python -m analysis.claims readme`")
    else:  # cut off between the two, the file is there and its hash is another: that is told
        write_json(file, as_json(evidence, verdicts))
        seal(artifacts)


def _renew(page: Path, table: str, check: bool) -> bool:
    """Bring the page's table up to date, or only check it; was there anything to do?"""
    if not page.exists():
        raise UserError(f"{page}: no such file; run this in the root of the repository")
    old = page.read_text(encoding="utf-8")
    new = renewed(old, table, str(page))
    if check and new != old:
        raise UserError(
            f"{page}: its table of verdicts is not what the artifacts give; run "
            f"`python -m analysis.claims readme` and commit the result"
        )
    if new != old:
        page.write_text(new, encoding="utf-8")
    return new != old


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.claims", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("show", help="verdicts of a run folder")
    one.add_argument("number", type=int, metavar="NN")
    one.add_argument("--profile", default=PROMOTED_PROFILE)
    one.add_argument("--set", default="", help="the path=value overrides that the runs had")
    one.add_argument("--rollout", default="", help="the sampler that the runs had")
    one.add_argument("--label", help="the run folder's name, instead of the three above")
    two = commands.add_parser("promote", help="turn the laptop runs into committed evidence")
    two.add_argument("number", type=int, metavar="NN")
    two.add_argument("--force", action="store_true", help="replace evidence that is there")
    four = commands.add_parser("seal", help="add hashes to evidence promoted without")
    four.add_argument("number", type=int, metavar="NN")
    three = commands.add_parser("readme", help="renew the table of verdicts in README.md")
    three.add_argument("--check", action="store_true", help="change nothing; fail if it differs")
    given = parser.parse_args(arguments)
    run = {
        "show": lambda: show(given.number, given.profile, given.set, given.rollout, given.label),
        "promote": lambda: promote_runs(given.number, given.force),
        "seal": lambda: seal_evidence(given.number),
        "readme": lambda: readme(given.check),
    }
    return exit_status(run[given.command])


if __name__ == "__main__":
    sys.exit(main())
