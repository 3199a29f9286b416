"""The claims of the paper as a table: in a terminal, as a DataFrame, and for the report."""

import html as markup
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from paper import sums
from paper.artifacts.render import Html
from paper.artifacts.sources import Context
from paper.claims import CLAIMS, STATUSES, Outcome, PartOutcome, Status, number, spread_over, write_claims
from paper.claims.notes import NOTES
from paper.claims.predicates import Part
from paper.claims.unchecked import UNCHECKED
from paper.intervals import MOST_SEEDS
from ppcd import paths

WIDTH = 120  # of the text table
# Its columns: heading and width in characters, with two blanks between.
COLUMNS = (("status", 14), ("claim", 23), ("measured [95% interval], asked", 54), ("paper", 6), ("place", 15))
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


def _place(where: str) -> str:
    return where.replace("sections ", "").replace("section ", "")


def text(outcomes: Sequence[Outcome], context: Context) -> str:
    """The table for a terminal of 120 columns; every part of a claim on a line of its own."""
    spread = textwrap.wrap(f"95% intervals over {spread_over(context)}", WIDTH)
    lines = [f"Claims of the paper: {context.line}", *spread, ""]
    lines += _lines([[heading] for heading, _ in COLUMNS])
    lines.append("  ".join("-" * width for _, width in COLUMNS))
    for outcome in outcomes:
        lines += _text_rows(outcome)
    lines += ["", counted(outcomes)]
    lines += [f"  {status}: {meaning}" for status, meaning in STATUSES.items()]
    lines.append(BY_DESIGN)
    lines.append(
        "A part with + holds, with - does not, with ? may; 'paper' is the same number from the paper's tables."
    )
    return "\n".join(lines)


def _text_rows(outcome: Outcome) -> list[str]:
    measured_width = COLUMNS[2][1]
    measured: list[str] = []
    paper: list[str] = []
    for part in outcome.parts:
        wrapped = textwrap.wrap(f"{MARKS[part.status]} {part.text}", measured_width, subsequent_indent="    ")
        measured += wrapped
        paper += [_paper(part.part)] + [""] * (len(wrapped) - 1)
    for line in (*outcome.missing, *filter(None, [outcome.remark, outcome.open])):
        measured += textwrap.wrap(line, measured_width, subsequent_indent="    ")
    place = textwrap.wrap(_place(outcome.claim.where), COLUMNS[4][1])
    return _lines(
        [[outcome.status, *["by design"] * outcome.claim.by_design], [outcome.claim.id], measured, paper, place]
    )


def _lines(cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of one row, its cells side by side."""
    height = max(map(len, cells))
    rows = []
    for index in range(height):
        texts = [cell[index] if index < len(cell) else "" for cell in cells]
        padded = [shown.ljust(width) for shown, (_, width) in zip(texts, COLUMNS, strict=True)]
        rows.append("  ".join(padded).rstrip())
    return rows


def frame(outcomes: Sequence[Outcome], context: Context) -> pd.DataFrame:
    """One row per claim; `paper` is what the paper's own numbers come to, part by part."""
    return pd.DataFrame(
        {
            "status": outcome.status,
            "claim": outcome.claim.id,
            "by design": outcome.claim.by_design,
            "sentence": outcome.claim.sentence,
            "where": outcome.claim.where,
            "reading": outcome.claim.reading,
            "tolerance": outcome.claim.tolerance,
            "measured": outcome.measured,
            "paper": "; ".join(map(_paper, outcome.claim.parts)),
            "runs": "; ".join(outcome.runs) or "none",
            "profile": context.profile,
            "seeds": " ".join(map(str, context.seeds)),
            "backbone": context.backbone,
        }
        for outcome in outcomes
    )


def summary(outcomes: Sequence[Outcome], context: Context) -> Html:
    """How many claims came to which status, and what the statuses mean."""
    rows = "".join(
        f"<tr><td>{_status(status)}</td><td>{n}</td><td>{designed}</td>"
        f"<td style='text-align: left'>{markup.escape(STATUSES[status])}</td></tr>"
        for status, n, designed in _rows(outcomes)
    )
    line = f"{context.line}; 95% intervals over {spread_over(context)}. {BY_DESIGN}"
    headings = "".join(f"<th>{heading}</th>" for heading in ("status", "claims", "by design"))
    head = f"<thead><tr>{headings}<th style='text-align: left'>meaning</th></tr></thead>"
    return Html(f"<p>{markup.escape(line)}</p>\n<table>{head}<tbody>{rows}</tbody></table>")


def html(outcomes: Sequence[Outcome], context: Context) -> Html:
    """The table for the report: sentence, reading, every part with its interval, the paper's number, the place."""
    headings = ("status", "what the paper says", "measured [95% interval], asked", "paper", "place")
    head = "".join(f"<th style='text-align: left'>{heading}</th>" for heading in headings)
    body = "\n".join(_html_row(outcome) for outcome in outcomes)
    caption = f"Claims of the paper: {context.line}. {counted(outcomes)}."
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


def markdown(outcomes: Sequence[Outcome], context: Context) -> str:
    """How many claims came to which status, and which: short enough for a README."""
    lines = [f"Claims of the paper: {context.line}; 95% intervals over {spread_over(context)}. {BY_DESIGN}", ""]
    lines += ["| status | claims | by training | by design |", "| --- | ---: | --- | --- |"]
    for status, n in counts(outcomes).items():
        there = [outcome for outcome in outcomes if outcome.status == status]
        cells = []
        for designed in (False, True):
            names = [_with_seeds(outcome) for outcome in there if outcome.claim.by_design == designed]
            cells.append(f"{len(names)}: {', '.join(names)}" if names else "–")
        lines.append(f"| {status} | {n} | {' | '.join(cells)} |")
    if len(context.seeds) > 1:
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


def write(outcomes: Sequence[Outcome], context: Context) -> list[Path]:
    """Write `results/<profile>/claims.json` and, short, `tables/claims.md`."""
    short = sums.write(paths.results(context.profile), "tables/claims.md", markdown(outcomes, context))
    return [write_claims(outcomes, context), short]


def explanations(
    outcomes: Sequence[Outcome], context: Context, notes: Mapping[tuple[str, str], str] | None = None
) -> str:
    """Why what did not hold did not hold, in Markdown: a note per claim that failed or is undecided.

    A claim that is reproduced, or not run, shows none, whatever was written once. One that is not reproduced and has
    none says so.
    """
    written = NOTES if notes is None else notes
    lines = []
    for outcome in outcomes:
        if outcome.status not in EXPLAINED:
            continue
        note = written.get((context.profile, outcome.claim.id))
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
