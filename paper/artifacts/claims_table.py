"""The claims of the paper as a table: in a terminal, for the README and for the report."""

import html as markup
from collections.abc import Sequence
from pathlib import Path

from paper import sums
from paper.artifacts.render import Html
from paper.artifacts.sources import Study
from paper.claims import CLAIMS, STATUSES, Outcome, PartOutcome, Status, number, spread_over, write_claims
from paper.claims.predicates import UNCHECKED, Part
from paper.intervals import MOST_SEEDS
from ppcd import paths

BY_DESIGN = "By design: of sizes and times alone, which architectures, widths and alpha decide and no training can."
MARKS: dict[Status, str] = {"reproduced": "+", "not reproduced": "-", "inconclusive": "?", "not run": " "}
COLOURS: dict[Status, str] = {
    "reproduced": "#1a7f37", "not reproduced": "#b42318", "inconclusive": "#8a5a00", "not run": "#6b6b6b",
}  # fmt: skip
EXPLAINED: tuple[Status, ...] = ("not reproduced", "inconclusive")


def counts(outcomes: Sequence[Outcome]) -> dict[Status, int]:
    """How many claims came to each status, all four named."""
    return {status: sum(outcome.status == status for outcome in outcomes) for status in STATUSES}


def counted(outcomes: Sequence[Outcome]) -> str:
    """`51 claims: 20 reproduced (5 by design), 3 not reproduced (0), 8 inconclusive (0), 20 not run (2)`."""
    said = [f"{n} {status} ({of}{' by design' * (not place)})" for place, (status, n, of) in enumerate(_rows(outcomes))]
    return f"{len(outcomes)} claims: " + ", ".join(said)


def _rows(outcomes: Sequence[Outcome]) -> list[tuple[Status, int, int]]:
    """Of each status how many claims, and how many of these are by design."""
    designed = counts([outcome for outcome in outcomes if outcome.claim.by_design])
    return [(status, n, designed[status]) for status, n in counts(outcomes).items()]


def _paper(part: Part) -> str:
    value = part.published()
    return "–" if value is None else number(value)


def text(outcomes: Sequence[Outcome], study: Study) -> str:
    """The list for a terminal: every claim with its status, below it each part with the paper's own number."""
    lines = [f"Claims of the paper: {study.line}", f"95% intervals over {spread_over(study)}", ""]
    for outcome in outcomes:
        designed = "  by design" * outcome.claim.by_design
        lines.append(f"{outcome.status:<14}  {outcome.claim.id:<23}  {outcome.claim.where}{designed}")
        lines += [f"  {MARKS[part.status]} {part.text}  (paper: {_paper(part.part)})" for part in outcome.parts]
        lines += [f"    {said}" for said in (*outcome.missing, outcome.remark, outcome.open) if said]
    lines += ["", counted(outcomes)]
    lines += [f"  {status}: {meaning}" for status, meaning in STATUSES.items()]
    return "\n".join([*lines, BY_DESIGN, "A part with + holds, with - does not, with ? may."])


def summary(outcomes: Sequence[Outcome], study: Study) -> Html:
    """How many claims came to which status, and what the statuses mean."""
    rows = "".join(
        f"<tr><td>{_status(status)}</td><td>{n}</td><td>{designed}</td>"
        f"<td style='text-align: left'>{markup.escape(STATUSES[status])}</td></tr>"
        for status, n, designed in _rows(outcomes)
    )
    line = f"{study.line}; 95% intervals over {spread_over(study)}. {BY_DESIGN}"
    headings = "".join(f"<th>{heading}</th>" for heading in ("status", "claims", "by design"))
    head = f"<thead><tr>{headings}<th style='text-align: left'>meaning</th></tr></thead>"
    return Html(f"<p>{markup.escape(line)}</p>\n<table>{head}<tbody>{rows}</tbody></table>")


def html(outcomes: Sequence[Outcome], study: Study) -> Html:
    """The table for the report: sentence, reading, every part with its interval, the paper's number, the place."""
    headings = ("status", "what the paper says", "measured [95% interval], asked", "paper", "place")
    head = "".join(f"<th style='text-align: left'>{heading}</th>" for heading in headings)
    body = "\n".join(_html_row(outcome) for outcome in outcomes)
    caption = f"Claims of the paper: {study.line}. {counted(outcomes)}."
    return Html(
        f"<p>{markup.escape(caption)}</p>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def _status(status: Status) -> str:
    return f"<strong style='color: {COLOURS[status]}'>{status}</strong>"


def _html_row(outcome: Outcome) -> str:
    claim = outcome.claim
    said = (
        f"<p>“{_escaped(claim.sentence)}”</p><p><em>{_escaped(claim.id)}</em>: {_escaped(claim.reading)}. "
        f"Tolerance: {_escaped(claim.tolerance)}.</p>"
    )
    measured = "<br>".join(_html_part(part) for part in outcome.parts)
    if outcome.missing:
        measured = _escaped("; ".join(outcome.missing))
    for line in filter(None, [outcome.remark, outcome.open]):
        measured += f"<br>{_escaped(line)}"
    paper = "<br>".join(_paper(part) for part in claim.parts)
    status = _status(outcome.status) + "<br>by design" * claim.by_design
    cells = (status, said, f"<p>{measured}</p>", f"<p>{paper}</p>", f"<p>{_escaped(claim.where)}</p>")
    tops = "".join(f"<td style='vertical-align: top; text-align: left'>{cell}</td>" for cell in cells)
    return f"<tr>{tops}</tr>"


def _html_part(outcome: PartOutcome) -> str:
    colour = COLOURS[outcome.status]
    mark = {"+": "✓", "-": "✗"}.get(MARKS[outcome.status], "?")
    shown = f"<span style='color: {colour}'>{mark}</span> {_escaped(outcome.text)}"
    return f"<span style='white-space: nowrap'>{shown}</span>"  # one line, so that the paper's number stands beside


def _escaped(content: str) -> str:
    escaped = markup.escape(content, quote=False)
    return escaped.replace("L_PP", "L<sub>PP</sub>").replace("L_CD", "L<sub>CD</sub>")


def markdown(outcomes: Sequence[Outcome], study: Study) -> str:
    """How many claims came to which status, and which: short enough for a page of docs/."""
    lines = [f"Claims of the paper: {study.line}; 95% intervals over {spread_over(study)}. {BY_DESIGN}", ""]
    lines += ["| status | claims | by training | by design |", "| --- | ---: | --- | --- |"]
    for status, n in counts(outcomes).items():
        there = [outcome for outcome in outcomes if outcome.status == status]
        cells = []
        for designed in (False, True):
            names = [_with_seeds(outcome) for outcome in there if outcome.claim.by_design == designed]
            cells.append(f"{len(names)}: {', '.join(names)}" if names else "–")
        lines.append(f"| {status} | {n} | {' | '.join(cells)} |")
    if len(study.seeds) > 1:
        lines += [
            "",
            "In brackets: about how many seeds would decide an open claim, if mean and spread stay what they are.",
        ]
    return "\n".join(lines) + "\n"


def _with_seeds(outcome: Outcome) -> str:
    """`outperforms (12)`: an open claim and how many seeds would decide it; any other by its name."""
    if not outcome.open or any(part.seeds < 2 for part in outcome.parts):
        return outcome.claim.id
    return f"{outcome.claim.id} ({f'>{MOST_SEEDS}' if outcome.needed is None else outcome.needed})"


def write(outcomes: Sequence[Outcome], study: Study) -> list[Path]:
    """Write `results/<profile>/claims.json` and, short, `tables/claims.md`."""
    short = sums.write(paths.results(study.profile), "tables/claims.md", markdown(outcomes, study))
    return [write_claims(outcomes, study), short]


def explanations(outcomes: Sequence[Outcome], study: Study) -> str:
    """Why what did not hold did not hold, in Markdown: a note per claim that failed or is undecided.

    A claim that is reproduced, or not run, shows none, whatever was written once. One that is not reproduced and has
    none says so.
    """
    lines = []
    for outcome in outcomes:
        if outcome.status not in EXPLAINED:
            continue
        note = outcome.claim.notes.get(study.profile)
        if note is None and outcome.status == "not reproduced":
            note = "no reason has been found yet."
        if note is not None:
            lines.append(f"- **{outcome.claim.id}** ({outcome.status}): {note}")
    return "\n".join(lines) or "Nothing that was run failed."


def unchecked() -> Html:
    """The sentences that are no predicate over runs, with the reason."""
    rows = "\n".join(
        f"<tr><td style='text-align: left'><p>“{_escaped(entry.sentence)}”</p></td><td style='text-align: left'>"
        f"<p>{_escaped(entry.where)}</p></td><td style='text-align: left'><p>{_escaped(entry.reason)}</p></td></tr>"
        for entry in UNCHECKED
    )
    head = "".join(f"<th style='text-align: left'>{name}</th>" for name in ("what the paper says", "place", "why not"))
    caption = f"Beside the {len(CLAIMS)} claims, what the paper says that no run can decide."
    return Html(f"<p>{caption}</p>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>")
