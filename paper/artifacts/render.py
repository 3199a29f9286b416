"""A table of numbers as CSV, Markdown, LaTeX and HTML: the same frame, the same ranking.

A frame has one row per model. For a column with key `is` it has `is` (mean over seeds, or NaN), `is sd`
(standard deviation, NaN for one seed) and, where the paper has the number, `paper is`, whose place is in
`paper table` and `paper row`. A column that shows factors has `is factor`: how many times smaller than BigGAN's.
`status` says `complete`, `not run`, how many seeds there are, or `–` of real images; `reference` marks rows that
stand apart and are not ranked.
"""

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from paper import numbers
from paper.study import NO_MODEL, NOT_RUN

Notation = Literal["markdown", "latex", "html"]
WIDE = 12  # columns; a table with more is scaled to the width of the text in LaTeX
OTHERS = "others' fid"  # the column of what reproductions of the baselines report (`numbers.REPRODUCED_FID`)


class Html(str):
    """Text that a notebook shows as HTML."""


@dataclass(frozen=True)
class Column:
    """One column: its key in the frame, its heading, which direction is better, and how it is written."""

    key: str
    heading: str
    better: Literal["high", "low"] | None = None
    style: Literal["number", "count", "percent", "seconds", "text"] = "number"
    paper: str | None = None  # the paper's column, shown after ours
    factor: bool = False  # whether the reduction against BigGAN follows in brackets
    missing: str = "n/a"  # what a complete run says that has no such number
    ranked_from: tuple[str, float] | None = None  # a key, and the number of it from which a row is ranked


def write_number(value: float, style: str) -> str:
    """A number as tables show it: 12.34, 0.312, 59.3k, 97.1%; seconds with three digits, 0.0460."""
    if style == "seconds":
        return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:.0f}"
    if style == "percent":
        return f"{100 * value:.1f}%"
    if style == "count":
        for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.3g}{unit}"
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _write_spread(spread: float, value: float, style: str) -> str:
    """The spread of a number, with as many decimals as the number itself is shown with."""
    if style == "number":
        return f"{spread:.{2 if abs(value) >= 1 else 3}f}"
    if style == "seconds":
        return f"{spread:.{len(write_number(value, style).partition('.')[2])}f}"
    return write_number(spread, style)


def ranks(frame: pd.DataFrame, column: Column) -> dict[int, int]:
    """Position of a row -> 1 (best) or 2 (second) among the ranked rows; numbers that look equal share their rank."""
    if column.better is None:
        return {}
    ranked = ~frame["reference"].astype(bool) & frame[column.key].notna()
    if column.ranked_from is not None:
        key, least = column.ranked_from
        ranked &= frame[key] >= least
    values = frame[column.key].reset_index(drop=True)[ranked.to_numpy()].sort_values(ascending=column.better == "low")
    texts = values.map(lambda value: write_number(value, column.style))
    best = texts.unique().tolist()[:2]
    return {
        place: best.index(text) + 1 for place, text in zip(texts.index.tolist(), texts, strict=True) if text in best
    }


def _mark(text: str, rank: int | None, notation: Notation) -> str:
    best, second = {
        "markdown": ("**{}**", "<ins>{}</ins>"),
        "latex": (r"\textbf{{{}}}", r"\underline{{{}}}"),
        "html": ("<strong>{}</strong>", "<ins>{}</ins>"),
    }[notation]
    return {1: best, 2: second}.get(rank or 0, "{}").format(text)


def plain(text: str, notation: Notation) -> str:
    """Headings and names in a notation: the paper's losses, arrows, and characters that mean something."""
    if notation != "latex":
        markdown = text.replace("|", r"\|").replace("*", r"\*")
        text = html.escape(text, quote=False) if notation == "html" else markdown
        return text.replace("L_PP", "L<sub>PP</sub>").replace("L_CD", "L<sub>CD</sub>")
    text = text.replace("%", r"\%").replace("#", r"\#").replace("&", r"\&").replace("±", r"$\pm$")
    text = re.sub(r"_(?!PP|CD)", r"\_", text).replace("×", r"$\times$")
    text = text.replace("L_PP", r"$\mathcal{L}_{\rm PP}$").replace("L_CD", r"$\mathcal{L}_{\rm CD}$")
    return text.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$").replace("·", r"$\cdot$")


def cell(row: pd.Series, column: Column, rank: int | None = None, notation: Notation = "markdown") -> str:
    """Our number as the table shows it: rank, spread over seeds and factor where there are any."""
    return " ".join(_parts(row, column, rank, notation))


def _parts(row: pd.Series, column: Column, rank: int | None, notation: Notation) -> list[str]:
    """Our number, then its spread and its factor where there are any."""
    value = row[column.key]
    if row["status"] == NOT_RUN:
        return [NOT_RUN]
    if column.style == "text":
        return [plain(str(value), notation)]
    if pd.isna(value):
        return [NO_MODEL if row["status"] == NO_MODEL else column.missing]
    parts = [_mark(plain(write_number(value, column.style), notation), rank, notation)]
    spread = row.get(f"{column.key} sd", math.nan)
    if not pd.isna(spread) and not (column.style == "count" and spread == 0):
        parts.append(plain("± " + _write_spread(spread, value, column.style), notation))
    if column.factor:
        factor = row[f"{column.key} factor"]
        parts.append("(n/a)" if pd.isna(factor) else plain(f"({factor:.1f}×)", notation))
    return parts


def paper_cell(row: pd.Series, column: Column, notation: Notation = "markdown") -> str:
    """The paper's number as the paper prints it, its factor only where ours has one."""
    if column.paper is None or pd.isna(row[f"paper {column.key}"]):
        return "–"
    printed = numbers.published(int(row["paper table"]), row["paper row"], column.paper).text
    return plain(printed.replace("x)", "×)") if column.factor else printed.split(" (")[0], notation)


def grid(frame: pd.DataFrame, columns: Sequence[Column], notation: Notation) -> list[list[str]]:
    """Headings and cells as text, the paper's number after ours."""
    headings = ["Model", "seeds"]
    for column in columns:
        headings += [column.heading] + ([f"paper's {column.paper}"] if column.paper else [])
    ranked = {column.key: ranks(frame, column) for column in columns}
    body = []
    for position, (_, row) in enumerate(frame.iterrows()):
        name = f"{row['model']} (reference)" if row["reference"] else str(row["model"])
        cells = [plain(name, notation), NOT_RUN if row["status"] == NOT_RUN else str(row["seeds"])]
        for column in columns:
            cells.append(cell(row, column, ranked[column.key].get(position), notation))
            if column.paper:
                cells.append(paper_cell(row, column, notation))
        body.append(cells)
    return [[plain(heading, notation) for heading in headings], *body]


def markdown(frame: pd.DataFrame, columns: Sequence[Column], caption: str) -> str:
    """The table in Markdown: best bold, second underlined."""
    head, *body = grid(frame, columns, "markdown")
    rules = ["---", "---"] + ["---:"] * (len(head) - 2)
    return f"{plain(caption, 'markdown')}\n\n{plain_markdown(pd.DataFrame(body, columns=head), rules)}\n"


def plain_markdown(frame: pd.DataFrame, rules: Sequence[str] | None = None) -> str:
    """A frame of texts as a Markdown table; `rules` align its columns, `---` or `---:`."""
    rows = [list(frame.columns), rules or ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def table_html(frame: pd.DataFrame, columns: Sequence[Column], caption: str, to_runs: bool = False) -> Html:
    """The table for a notebook or a page: a system's numbers, their spreads in a smaller line, the paper's below them.

    Args:
        columns: the scores that the paper begins with come first, sizes and times next; others' numbers have rows of
            their own.
        to_runs: link every number to its runs' place in the report (see `runs_link`).
    """
    shown = sorted((column for column in columns if column.key != OTHERS), key=_html_place)
    ranked = {column.key: ranks(frame, column) for column in columns}
    rows = [f'<tr><th scope="col">Model</th>{"".join(map(_heading, shown))}</tr>']
    for position, (_, row) in enumerate(frame.iterrows()):
        incomplete = "" if row["status"] in ("complete", NO_MODEL) else row["status"]
        more = _small("reference" if row["reference"] else "", incomplete)
        cells = []
        for column in shown:
            first, *rest = _parts(row, column, ranked[column.key].get(position), "html")
            linked = runs_link(first, row["runs"]) if to_runs and pd.notna(row[column.key]) else first
            cells.append(f"<td>{linked}{_small(*rest)}</td>")
        rows.append(f'<tr><th scope="row">{plain(row["model"], "html")}{more}</th>{"".join(cells)}</tr>')
        rows += [_other_row("paper", [paper_cell(row, column, "html").split(" ") for column in shown])]
        if row.get(OTHERS, NO_MODEL) != NO_MODEL:
            rows += [_other_row("others", [[row[OTHERS] if column.key == "fd" else ""] for column in shown])]
    head, *body = filter(None, rows)
    table = f'<table class="scores">\n<thead>{head}</thead>\n<tbody>\n{chr(10).join(body)}\n</tbody>\n</table>'
    return Html(f'{table}\n<p class="note">{plain(caption, "html")}</p>')


def _html_place(column: Column) -> int:
    """On a small screen the first columns are seen without scrolling."""
    return 0 if column.key in ("is", "fd") else 1 if column.style in ("count", "seconds") else 2


def _heading(column: Column) -> str:
    """`FD (classifier) ↓` with what is in brackets, a unit or a backbone, in a smaller line."""
    name, unit, arrow = re.fullmatch(r"(.*?)(?: \((.*)\))?( [↑↓])?", column.heading).groups(default="")  # type: ignore[union-attr]
    head = plain(name, "html") + arrow.replace(" ", "&nbsp;")
    return f'<th scope="col">{head}{_small(plain(unit, "html"))}</th>'


def _small(*texts: str) -> str:
    return "".join(f" <small>{text}</small>" for text in texts if text)


def _other_row(name: str, cells: Sequence[Sequence[str]]) -> str:
    """A row of others' numbers; nothing where they have none."""
    if all(cell[0] == NO_MODEL for cell in cells):
        return ""
    written = "".join(f"<td>{first}{_small(*rest)}</td>" for first, *rest in cells)
    return f'<tr class="others"><th scope="row">{name}</th>{written}</tr>'


def runs_link(text: str, runs: str) -> str:
    """A number that leads to its runs in the report, where `runs` are their ids as tables write them."""
    if runs in (NOT_RUN, NO_MODEL):
        return text
    return f'<a href="#{runs_anchor(runs.split("; ")[0])}">{text}</a>'


def linked_frame(frame: pd.DataFrame, column: str, runs: Sequence[str]) -> Html:
    """A frame as HTML in which each row's number of one column leads to its runs in the report."""
    shown = frame.map(lambda value: html.escape(str(value), quote=False))
    shown[column] = [runs_link(text, each) for text, each in zip(shown[column], runs, strict=True)]
    return Html(shown.to_html(index=False, escape=False, border=0))


def runs_anchor(run: str) -> str:
    """The place of the runs of a run's recipe: `runs-ppcd-a0.5`."""
    return f"runs-{run.rpartition('-s')[0]}"


def latex(frame: pd.DataFrame, columns: Sequence[Column], caption: str, label: str) -> str:
    """The table in LaTeX (booktabs, and graphicx for a wide one): best bold, second underlined, references apart."""
    head, *body = grid(frame, columns, "latex")
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{plain(caption, 'latex')}}}"]
    wide = len(head) > WIDE
    lines += [rf"\label{{{label}}}", *([r"\resizebox{\textwidth}{!}{%"] if wide else [])]
    lines += [rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}"]
    lines += [r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    previous = None
    for cells, reference in zip(body, frame["reference"], strict=True):
        if previous is not None and bool(reference) != previous:
            lines.append(r"\midrule")
        previous = bool(reference)
        lines.append(" & ".join(cells).replace("–", "--") + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}" + "}" * wide, r"\end{table}"]
    return "\n".join(lines) + "\n"


def csv(frame: pd.DataFrame, columns: Sequence[Column] = ()) -> str:
    """Every number in full; `not run` or `n/a` where there is none, never an empty cell."""
    written, missing = frame.astype(object), {column.key: column.missing for column in columns}
    for name in frame:
        none = frame["status"].where(frame["status"].isin([NOT_RUN, NO_MODEL]), missing.get(str(name), "n/a"))
        written[name] = written[name].where(frame[name].notna(), "n/a" if str(name).startswith("paper ") else none)
    return written.to_csv(index=False, lineterminator="\n")


def read_csv(path: Path) -> pd.DataFrame:
    """A table that `csv` wrote; NaN where it says that there is no number, seeds as text.

    Raises:
        FileNotFoundError: it is not there.
    """
    texts = {"seeds": str, "asked seeds": str}
    frame = pd.read_csv(path, na_values=[NOT_RUN, NO_MODEL, "n/a"], keep_default_na=False, dtype=texts)
    return frame.astype({"reference": bool})
