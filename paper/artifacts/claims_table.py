"""The claims of the paper as a table: in a terminal (`make claims`), for docs/ and for the report."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from paper import sums
from paper.artifacts.render import plain, plain_markdown
from paper.claims.checking import (
    STATUSES,
    Outcome,
    Status,
    check_claims,
    number,
    spread_over,
    write_claims,
)  # fmt: skip
from paper.claims.predicates import CLAIMS, UNCHECKED
from paper.intervals import MOST_SEEDS
from paper.study import Study, asked_study, study_parser
from ppcd.errors import run_command

BY_DESIGN = "By design: of sizes and times alone, which architectures, widths and alpha decide and no training can."
MARKS: dict[Status, str] = {"reproduced": "✓", "not reproduced": "✗", "inconclusive": "?", "not run": " "}


def counts(outcomes: Sequence[Outcome]) -> dict[Status, int]:
    """How many claims came to each status, all four named."""
    return {status: sum(outcome.status == status for outcome in outcomes) for status in STATUSES}


def counted(outcomes: Sequence[Outcome]) -> str:
    """`51 claims: 20 reproduced (5 by design), 3 not reproduced (0), 8 inconclusive (0), 20 not run (2)`."""
    designed = counts([outcome for outcome in outcomes if outcome.claim.by_design])
    said = [f"{n} {status} ({designed[status]})" for status, n in counts(outcomes).items()]
    return f"{len(outcomes)} claims: " + ", ".join(said).replace(")", " by design)", 1)


def _lines(outcome: Outcome) -> list[str]:
    """Each part with the paper's own number, and what else is to be known."""
    lines = []
    for each in outcome.parts:
        printed = each.part.published()
        lines.append(f"{MARKS[each.status]} {each.text} (paper: {'–' if printed is None else number(printed)})")
    return [*lines, *filter(None, (*outcome.missing, outcome.remark, outcome.open))]


def text(outcomes: Sequence[Outcome], study: Study) -> str:
    """The list for a terminal: every claim with its status and its lines."""
    lines = [f"Claims of the paper: {study.line}", f"95% intervals over {spread_over(study)}", ""]
    for outcome in outcomes:
        designed = "  by design" * outcome.claim.by_design
        lines.append(f"{outcome.status:<14}  {outcome.claim.id:<23}  {outcome.claim.where}{designed}")
        lines += [f"  {line}" for line in _lines(outcome)]
    lines += ["", counted(outcomes), *(f"  {status}: {meaning}" for status, meaning in STATUSES.items())]
    return "\n".join([*lines, BY_DESIGN, "A part with ✓ holds, with ✗ does not, with ? may."])


def table(outcomes: Sequence[Outcome], study: Study) -> str:
    """The table for the report, in Markdown: sentence, reading, every part with its interval, the place."""
    rows = []
    for outcome in outcomes:
        claim = outcome.claim
        reading = f"{claim.id}: {claim.reading}. Tolerance: {claim.tolerance}."
        rows.append({
            "status": outcome.status + "<br>by design" * claim.by_design,
            "what the paper says": f"“{claim.sentence}”<br>{reading}",
            "measured [95% interval], asked (the paper's number)": "<br>".join(_lines(outcome)),
            "place": claim.where,
        })  # fmt: skip
    meanings = "\n".join(f"- {status}: {meaning}" for status, meaning in STATUSES.items())
    return f"Claims of the paper: {study.line}. {counted(outcomes)}.\n\n{meanings}\n\n{_sentences(rows)}"


def unchecked() -> str:
    """The sentences that are no predicate over runs, with the reason."""
    rows = [
        {"what the paper says": f"“{each.sentence}”", "place": each.where, "why not": each.reason} for each in UNCHECKED
    ]
    return f"Besides the {len(CLAIMS)} claims, what the paper says that no run can decide.\n\n{_sentences(rows)}"


def _sentences(rows: Sequence[dict[str, str]]) -> str:
    return plain_markdown(pd.DataFrame(rows).map(partial(plain, notation="markdown")))


def markdown(outcomes: Sequence[Outcome], study: Study) -> str:
    """How many claims came to which status, and which: short enough for a page of docs/."""
    rows = []
    for status, n in counts(outcomes).items():
        row = {"status": status, "claims": str(n)}
        for heading, designed in (("by training", False), ("by design", True)):
            of = [each for each in outcomes if (each.status, each.claim.by_design) == (status, designed)]
            row[heading] = f"{len(of)}: {', '.join(map(_with_seeds, of))}" if of else "–"
        rows.append(row)
    caption = f"Claims of the paper: {study.line}; 95% intervals over {spread_over(study)}. {BY_DESIGN}"
    note = "In brackets: about how many seeds would decide an open claim, if mean and spread stay what they are."
    table = plain_markdown(pd.DataFrame(rows), ["---", "---:", "---", "---"])
    return f"{caption}\n\n{table}\n" + f"\n{note}\n" * (len(study.seeds) > 1)


def _with_seeds(outcome: Outcome) -> str:
    """`outperforms (12)`: an open claim and how many seeds would decide it; any other by its name."""
    if not outcome.open or any(part.seeds < 2 for part in outcome.parts):
        return outcome.claim.id
    return f"{outcome.claim.id} ({f'>{MOST_SEEDS}' if outcome.needed is None else outcome.needed})"


def write(outcomes: Sequence[Outcome], study: Study) -> list[Path]:
    """Write `claims.json` and, short, `tables/claims.md`."""
    short = sums.write(study.results, "tables/claims.md", markdown(outcomes, study))
    return [write_claims(outcomes, study), short]


def explanations(outcomes: Sequence[Outcome], study: Study) -> str:
    """Why what did not hold did not hold, in Markdown: a note per claim that failed or is undecided.

    A claim that is reproduced, or not run, shows none, whatever was written once. One that is not reproduced and has
    none says so.
    """
    unknown = {"not reproduced": "no reason has been found yet."}
    noted = [
        (outcome, outcome.claim.notes.get(study.name, unknown.get(outcome.status)))
        for outcome in outcomes
        if outcome.status in ("not reproduced", "inconclusive")
    ]
    lines = [f"- **{outcome.claim.id}** ({outcome.status}): {note}" for outcome, note in noted if note]
    return "\n".join(lines) or "Nothing that was run failed."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 whatever the claims came to, 2 with one line on standard error for a mistake of use."""
    parser = study_parser("claims", "Each claim of the paper, against the runs that are there.")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    study = asked_study(options)
    outcomes = check_claims(study)
    written = write(outcomes, study)
    print(text(outcomes, study))
    print("\nwritten: " + ", ".join(map(str, written)))
