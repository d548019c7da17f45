"""Is the committed evidence whole, and does it give the committed verdicts?

    python -m analysis.verify NN

It runs in the repository's root and trains nothing; `rl verify` runs a committed run again. The
exit status is 0 if all that was checked agrees, 1 if something does not, 2 for bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.claims import EXPERIMENTS, RUNS, check_same, read_verdicts, verdicts_of
from analysis.verdicts import Verdict
from rl.config import by_path, find_experiment
from rl.errors import UserError, exit_status
from rl.evidence import FILES, VERDICTS, Evidence, read_evidence, read_runs


def verify(number: int) -> bool:
    """Check hashes and verdicts, print what was found; does all agree?

    Raises:
        UserError: no such experiment, or no evidence of it.
    """
    directory = find_experiment(number, EXPERIMENTS)
    artifacts = directory / "artifacts"
    evidence = read_evidence(artifacts)
    if evidence.faults:
        print("\n".join(evidence.faults.values()))
        return False
    print(f"{artifacts}: {len(FILES)} files as promoted, by their hashes")
    verdicts = verdicts_of(evidence, directory)
    try:
        check_same(artifacts / VERDICTS, read_verdicts(artifacts / VERDICTS), verdicts)
    except UserError as error:
        print(error)
        return False
    print(f"{artifacts / VERDICTS}: {len(verdicts)} verdicts as the evidence gives them")
    return _same_in_runs(evidence, verdicts, directory)


def _same_in_runs(committed: Evidence, verdicts: Sequence[Verdict], directory: Path) -> bool:
    """Claim by claim against a whole run of yours, if there is one; what cannot be compared is no
    disagreement."""
    root = RUNS / directory.name / committed.plan["label"]
    whole = f"`make exp-{directory.name[:2]}` makes one to compare all verdicts with"
    if not (root / "plan.json").exists():
        print(f"{root}: no runs of your own; {whole}")
        return True
    mine = read_runs(root)
    then, now = (by_path(evidence.plan["arms"]) for evidence in (committed, mine))
    same = then.items() <= now.items() and mine.plan["overrides"] == committed.plan["overrides"]
    if not same or mine.planned() != committed.planned():
        print(f"{root}: runs of other settings than committed; {whole}, with FRESH=1")
        return True
    if mine.missing():
        print(f"{root}: not a complete run, {len(mine.missing())} runs are missing; {whole}")
        return True
    if newer := sorted({path.partition(".")[2] for path in now.keys() - then.keys()}):
        print(f"not compared, as the evidence is older than these settings: {', '.join(newer)}")
    fresh = {v.claim: v.verdict for v in verdicts_of(mine, directory)}
    other = [v for v in verdicts if fresh[v.claim] != v.verdict]
    for v in other:
        print(f"claim {v.claim}: committed {v.verdict}, in {root} {fresh[v.claim]}")
    if not other:
        print(f"{root}: verdict-equal for the whole experiment, {len(verdicts)} claims")
    return not other


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m analysis.verify")
    parser.add_argument("number", type=int, metavar="NN")
    given = parser.parse_args(arguments)
    return exit_status(lambda: 0 if verify(given.number) else 1)


if __name__ == "__main__":
    sys.exit(main())
