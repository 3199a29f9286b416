"""What the runs say to the questions of `paper.questions`: tables, sentences and figures (notebook 12)."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import sums
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.render import plain_markdown, write_number
from paper.artifacts.rows import kept_channels, score_names
from paper.claims.predicates import Quantity
from paper.claims.scores import MAPS
from paper.intervals import MOST_SEEDS, Contrast
from paper.questions import (
    ALL_SEEDS,
    EFFECT,
    FEW,
    FIRST_SEEDS,
    HINT,
    MORE_SEEDS,
    NONE,
    OPEN,
    Answer,
    Answers,
    Question,
    extended,
)
from paper.study import NOT_RUN, Record, Study, data_note, listed
from ppcd.method.ema import DECLARED
from ppcd.runs.score_curve import CURVE
from ppcd.training.recipes import get_recipe

KINDS = {EFFECT: "Effects", HINT: "Hints", NONE: "None seen", FEW: "Too few seeds yet", OPEN: "Not run"}
COLORS = {EFFECT: PALETTE[2], HINT: PALETTE[1], NONE: "0.45", FEW: "0.7", OPEN: "0.8"}
MARKERS = ("o", "s", "^", "D", "v")


# --- Questions ---


def answers_table(found: Answers) -> pd.DataFrame:
    """A row for each question: scores by seed, their differences and intervals, sizes, the verdict."""
    rows = []
    for question in found.inquiry.questions:
        sizes = {"channels kept": _channels, "#Par., MACs": _sizes}
        pairs = found.pairs(question, found.seeds)
        row = {"question": question.asks, "score": "FD" if question.score == "fd" else question.score}
        row |= _differences(found, question, found.first[question.name], found.seeds)
        row |= {
            name: "; ".join(dict.fromkeys(" against ".join(dict.fromkeys(map(of, pair))) for pair in pairs)) or "–"
            for name, of in sizes.items()
        }
        rows.append(row | _judged(found.first[question.name]))
    return pd.DataFrame(rows)


def more_table(found: Answers) -> pd.DataFrame:
    """A row for each question that is asked of more seeds: what all of them say, and each part of them by itself."""
    rows, first_verdicts = [], found.of(FIRST_SEEDS)
    for question in extended(found.study):
        one = found.more[question.name]
        parts = [found.answer(question, seeds).difference.mean for seeds in (FIRST_SEEDS, MORE_SEEDS)]
        row = {"question": question.asks, "seeds": listed(one.seeds), **_differences(found, question, one, ALL_SEEDS)}
        row["first seeds, new seeds"] = ", ".join(NOT_RUN if math.isnan(mean) else f"{mean:+.3g}" for mean in parts)
        rows.append(row | {"first verdict": first_verdicts[question.name].verdict} | _judged(one))
    return pd.DataFrame(rows)


def _differences(found: Answers, question: Question, one: Answer, seeds: Sequence[int]) -> dict[str, str]:
    """Scores by seed, their mean difference and its intervals, and the same of the last weights."""
    last = found.answer(question, seeds, "raw")
    by_seed = [" ↔ ".join(write_number(each, "number") for each in pair) for pair in one.scores.to_numpy()]
    return {
        "by seed": " · ".join(by_seed) or NOT_RUN,
        "mean difference": f"{one.difference.mean:+.3g} ({100 * one.share:+.0f}%)" if one.seeds else NOT_RUN,
        "95% interval": _interval(one.difference),
        "of the last weights": f"{last.difference.mean:+.3g} ({_interval(last.difference)})" if last.seeds else "–",
    }


def _interval(difference: Contrast) -> str:
    """`-31.1 to +12`."""
    low, high = difference.interval()
    return "–" if math.isinf(low) else f"{low:+.3g} to {high:+.3g}"


def _judged(one: Answer) -> dict[str, str]:
    """What a question came to: the corrected p value, how many seeds would decide an open one, the verdict."""
    p = "–" if math.isnan(one.corrected) else f"{one.corrected:.3f}"
    needed = "–" if not one.open else f"more than {MOST_SEEDS}" if one.needed is None else str(one.needed)
    return {"p, corrected": p, "seeds to decide": needed, "verdict": one.verdict}


def _channels(record: Record) -> str:
    return "/".join(map(str, kept_channels(record))) if record["masks"] else "all"


def _sizes(record: Record) -> str:
    return ", ".join(write_number(record["complexity"][key], "count") for key in ("params", "macs"))


def verdict(found: Answers) -> str:
    """What came out, in a sentence for each kind of answer, and of which data."""
    questions = found.inquiry.questions
    note = data_note(record for each in questions for pair in found.pairs(each, found.seeds) for record in pair)
    lines = [f"Profile {found.study.name}, seeds {listed(found.seeds)}" + (f", data: {note}." if note else "."), ""]
    for kind, said in KINDS.items():
        parts = []
        for question in questions:
            if (one := found.first[question.name]).verdict == kind:
                share = 100 * one.share
                way = f", {'better' if share < 0 else 'worse'}" if kind in (EFFECT, HINT) else ""  # low is good
                parts.append(question.asks + ("" if math.isnan(share) else f" ({share:+.0f}%{way})"))
        if parts:
            listing = "" if kind == OPEN else f": {'; '.join(parts)}"  # the table has those
            lines.append(f"- **{said}** ({len(parts)} of {len(questions)}){listing}.")
    return "\n".join(lines)


# --- Settings ---


def arms_table(found: Answers) -> pd.DataFrame:
    """A row for each setting: means and spreads over seeds of its scores, and how its maps follow the teacher's."""
    names = score_names(found.study.profile.backbone)
    shown = {  # score, weights -> heading
        ("fd", "ema"): names["fd"], ("fd", "raw"): "FD of the last weights", ("is", "ema"): names["is"],
        **{(key, "ema"): key for key in ("precision", "recall", "diversity")},
        ("accuracy", "ema"): "cond. accuracy", ("leakage", "ema"): "leakage",
        **dict(zip(((key, "ema") for key in MAPS), ("maps follow within classes", "between classes"), strict=True)),
    }  # fmt: skip
    rows = []
    for where, name in found.settings:
        runs, recipe = found.runs[where], get_recipe(name)
        records = runs.records(name, seeds=found.seeds)
        row = {
            "setting": recipe.title + ("" if where == found.study.name else f" ({where[len(found.study.name) + 1 :]})"),
            "alpha": "–" if recipe.alpha is None else f"{recipe.alpha:g}",
            "seeds": listed([record["seed"] for record in records]),
        }
        for (key, weights), heading in shown.items():
            values = runs.table([Quantity(name, key)], weights).loc[list(found.seeds)].iloc[:, 0]
            row[heading] = _mean(values.mean(), values.std())
        frozen = "; ".join(_frozen(record) for record in records if record["masks"])
        rows.append(row | {"layers frozen at (first to last, by seed)": frozen or "–"})
    return pd.DataFrame(rows)


def _frozen(record: Record) -> str:
    """The iterations at which the first and the last masked layer of a run froze.

    A layer that froze early had more of the training left to recover in, so runs whose layers froze at other times
    differ in this too.
    """
    frozen = [mask["frozen_at"] for mask in record["masks"]]
    known = [at for at in frozen if at is not None]
    if not known:
        return "never"
    return f"{min(known)} to {max(known) if len(known) == len(frozen) else 'never'}"


def _mean(value: float, spread: float) -> str:
    if math.isnan(value):
        return "–"
    text = write_number(value, "number")
    return text if math.isnan(spread) else f"{text} ± {write_number(spread, 'number')}"


# --- Figures ---


def answers_figure(found: Answers) -> Figure:
    """Every question's paired differences, as shares of the control's mean: seeds, their mean, the 95% t interval.

    Below them those questions that are asked of more seeds, with all of these.
    """
    asked = found.inquiry.questions
    rows = [(each.asks + " (leakage)" * (each.score != "fd"), found.first[each.name]) for each in asked]
    if found.has_more:
        rows += [(f"{each.asks}, {len(ALL_SEEDS)} seeds", found.more[each.name]) for each in extended(found.study)]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 0.9 + 0.26 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color="0.3", linewidth=1)
        for place, (_, one) in enumerate(rows):
            if not one.seeds:
                axes.text(0, place, f" {NOT_RUN}", va="center", color="0.5", fontsize=7)
                continue
            control, color = float(np.mean(one.scores["control"])), COLORS[one.verdict]
            values, (low, high) = one.difference.values, one.difference.interval()
            axes.plot([100 * each / control for each in values], [place] * len(values), "|", color=color)
            if math.isfinite(low):
                axes.plot([100 * low / control, 100 * high / control], [place, place], color=color)
            axes.plot(100 * one.difference.mean / control, place, "o", color=color, markersize=4)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="treatment less control, % of the control; left: better")
        _limit(axes)
        note = "points: means; strokes: seeds; lines: 95% t intervals of paired differences; "
        note += "green: effect, orange: hint, grey: none seen, pale: too few seeds; intervals are not corrected"
        sign(figure, found.study.line, note)
    return figure


def _limit(axes: Axes) -> None:
    """An interval of two or three seeds can be wider than everything else; the axis ends where means and seeds do."""
    points = [x for line in axes.lines[1:] if line.get_linestyle() == "None" for x in np.asarray(line.get_xdata())]
    if points:
        reach = 1.3 * max(abs(float(min(points))), abs(float(max(points))), 10.0)
        axes.set_xlim(-reach, reach)


def curves_figure(found: Answers) -> Figure:
    """The Fréchet distance over the training by the weight of L_CD: seeds thin, their mean thick."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.0)
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        for place, (weight, name) in enumerate(found.inquiry.weights.items()):
            records = found.runs[found.study.name].records(name, seeds=found.seeds)
            curves = [_curve(path) for record in records if (path := record.directory / CURVE).is_file()]
            if not curves:
                continue
            color = PALETTE[place]
            for curve in curves:
                left.plot(curve["iteration"], curve["fd"], color=color, linewidth=0.6, alpha=0.5)
            mean = pd.concat(curves).groupby("iteration")["fd"].mean()
            label = f"{weight:g} L_CD" if weight else "without L_CD"
            left.plot(mean.index, mean, color=color, marker=MARKERS[place], markersize=3, label=label)
        if left.lines:
            left.legend()
            left.set(xlabel="iteration", ylabel=f"FD of few samples ({found.study.profile.backbone})")
        else:
            not_run(left)
        _agreement(right, found)
        note = "left: averaged generator, masks still open in the first half; right: correlation of attention maps "
        note += "for the same noise, less the class means, mean of the blocks"
        sign(figure, found.study.line, note)
    return figure


def _curve(path: Path) -> pd.DataFrame:
    """The score curve of a run's declared average; a run that keeps a single average may not name it."""
    curve = pd.read_csv(path)
    return curve[curve["average"] == DECLARED] if "average" in curve else curve


def _agreement(axes: Axes, found: Answers) -> None:
    """How the maps follow the teacher's, against the weight of L_CD."""
    weights = found.inquiry.weights
    table = found.runs[found.study.name].table(Quantity(name, "within") for name in weights.values())
    points = table.loc[list(found.seeds)].set_axis(range(len(weights)), axis="columns").unstack().dropna()
    if points.empty:
        not_run(axes)
        return
    axes.plot(points.index.get_level_values(0), points, "o", color=PALETTE[0], markersize=4, alpha=0.7)
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.set(xlabel="weight of L_CD", ylabel="correlation within classes", xlim=(-0.5, len(weights) - 0.5))
    axes.set_ylim(min(0.0, *points) - 0.03, 1)


# --- Files ---


def write(study: Study) -> list[Path]:
    """Write the tables evidence, evidence_settings and, with the first seeds, evidence_more (Markdown), and the
    figures evidence and evidence_curves."""
    found = Answers(study)
    asked, every = study.line, replace(study, seeds=ALL_SEEDS).line
    tables = {"evidence": (verdict(found), answers_table(found)), "evidence_settings": (asked, arms_table(found))}
    if found.has_more:
        tables["evidence_more"] = (every, more_table(found))
    written = [
        sums.write(study.results, f"tables/{name}.md", f"{caption}\n\n{plain_markdown(table)}\n")
        for name, (caption, table) in tables.items()
    ]
    written += save(answers_figure(found), study.figures, "evidence")
    return written + save(curves_figure(found), study.figures, "evidence_curves")
