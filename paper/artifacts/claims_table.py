"""The claims of the paper as a table: in a terminal (`make claims`), for docs/ and for the report."""

import argparse
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from paper import sums
from paper.artifacts.render import Html, plain, plain_markdown, runs_anchor
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


def table(outcomes: Sequence[Outcome], study: Study) -> Html:
    """The table for the report: a line for each claim that unfolds, those that are decided first.

    In the fold are the reading, every part with its interval and the paper's number, why the claim does not hold or is
    open, and the runs. Last come the sentences that no run can decide.
    """
    groups = []
    for status, meaning in STATUSES.items():
        some = sorted((each for each in outcomes if each.status == status), key=lambda each: each.claim.by_design)
        if some:
            head = f"<strong>{status}</strong>: {len(some)}. <small>{_capital(meaning)}.</small>"
            groups.append(_group(head, [_row(outcome, study) for outcome in some]))
    head = f"<strong>no run can decide</strong>: {len(UNCHECKED)}, besides the {len(CLAIMS)} claims"
    why = [_unfolding("", each.sentence, [f"Why not: {each.reason}."], each.where) for each in UNCHECKED]
    groups.append(_group(head, why))
    columns = "".join(f'<th scope="col">{name}</th>' for name in ("The paper says", "Place", "Seeds to decide"))
    shown = f'<table class="claims">\n<thead><tr>{columns}</tr></thead>\n{"".join(groups)}</table>'
    note = f"{study.line}; 95% intervals over {spread_over(study)}. {BY_DESIGN} A part with ✓ holds, with ✗ does not, "
    note += (
        "with ? may. Seeds to decide: about how many would decide an open claim, if mean and spread stay as they are."
    )
    return Html(f'{shown}\n<p class="note">{plain(_capital(note), "html")}</p>')


def _group(head: str, rows: Sequence[str]) -> str:
    return f'<tbody><tr><th scope="colgroup" colspan="3">{head}</th></tr>\n{"".join(rows)}</tbody>\n'


def _row(outcome: Outcome, study: Study) -> str:
    claim = outcome.claim
    folded = [f"Read as: {claim.reading}. Tolerance: {claim.tolerance}.", *_lines(outcome)]
    if outcome.status in ("not reproduced", "inconclusive"):
        unknown = {"not reproduced": "no reason has been found yet."}
        folded += [f"Why: {why}" for why in [claim.notes.get(study.name, unknown.get(outcome.status))] if why]
    runs = dict.fromkeys(f'<a href="#{runs_anchor(run)}">{run.rpartition("-s")[0]}</a>' for run in outcome.runs)
    needed = _seeds_needed(outcome)
    return _unfolding(claim.id, claim.sentence, folded, claim.where, claim.by_design, needed, runs)


def _unfolding(
    name: str, sentence: str, folded: Sequence[str], where: str, designed: bool = False, needed: str = "",
    runs: Iterable[str] = (),
) -> str:  # fmt: skip
    """A row whose first cell is a sentence that unfolds."""
    title = f"<b>{name}</b> " + "<small>by design</small> " * designed if name else ""
    lines = [re.sub("`([^`]*)`", r"<code>\1</code>", plain(each, "html")) for each in folded]
    lines += [f"Runs: {', '.join(runs)}"] if runs else []
    inside = f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"
    said = f"<details><summary>{title}“{plain(sentence, 'html')}”</summary>{inside}</details>"
    anchor = f' id="claim-{name}"' if name else ""
    return f"<tr{anchor}><td>{said}</td><td>{where}</td><td>{html.escape(needed)}</td></tr>\n"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


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
    return outcome.claim.id + (f" ({needed})" if (needed := _seeds_needed(outcome)) else "")


def _seeds_needed(outcome: Outcome) -> str:
    """`12` or `>50` seeds; nothing of a claim that is decided, or that one seed cannot decide."""
    if not outcome.open or any(part.seeds < 2 for part in outcome.parts):
        return ""
    return f">{MOST_SEEDS}" if outcome.needed is None else str(outcome.needed)


def write(outcomes: Sequence[Outcome], study: Study) -> list[Path]:
    """Write `claims.json` and, short, `tables/claims.md`."""
    short = sums.write(study.results, "tables/claims.md", markdown(outcomes, study))
    return [write_claims(outcomes, study), short]


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
