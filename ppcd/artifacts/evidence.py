"""Notebook 12: what the runs say to the questions of `ppcd.evidence`, as tables and figures."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppcd import paths, sums
from ppcd.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from ppcd.artifacts.render import plain_markdown, write_number
from ppcd.artifacts.rows import kept_channels, score_names
from ppcd.artifacts.sources import NOT_RUN, Context, Record, common_protocol, data_note, directory, find_records, listed
from ppcd.evidence import EFFECT, FEW, HINT, NONE, OPEN, QUESTIONS, WEIGHTS, Answer, Question, answer, recipes
from ppcd.following import mean_within, read_following
from ppcd.generations import read_generations
from ppcd.profiles import get_profile
from ppcd.quality import CURVE
from ppcd.recipes import TEACHER, get_recipe

COLORS = {EFFECT: PALETTE[2], HINT: PALETTE[1], NONE: "0.45", FEW: "0.7", OPEN: "0.8"}
MARKERS = ("o", "s", "^", "D", "v")
SCORES = ("fd", "is", "precision", "recall", "diversity", "accuracy")


def score_of(record: Record, score: str, weights: str = "ema") -> float | None:
    """A score of the averaged generator, or of its last weights ("raw"), or the leakage over its generations.

    None: it was not measured; of the last weights there are no generations.
    """
    if score != "leakage":
        measured = record["metrics"][weights]  # an adopted teacher has no last weights
        return None if measured is None else float(measured[score])
    found = read_generations(record) if weights == "ema" else None
    return None if found is None else float(np.mean([each["leakage"] for each in found["generations"]]))


def pairs(question: Question, profile: str, seeds: Sequence[int]) -> list[tuple[Record, Record]]:
    """The records of treatment and control, of the seeds with which both are complete.

    Raises:
        PpcdError: they were measured in different ways.
    """
    arms = [find_records(question.profile(profile), name, seeds) for name in (question.treatment, question.control)]
    common_protocol([record for records in arms for record in records])
    by_seed = [{record["seed"]: record for record in records} for records in arms]
    return [(by_seed[0][seed], by_seed[1][seed]) for seed in seeds if all(seed in each for each in by_seed)]


def answered(question: Question, there: Sequence[tuple[Record, Record]], weights: str = "ema") -> Answer:
    """What these pairs of runs say to a question; "raw": by their last weights, by which nothing is decided."""
    scores = []
    for treatment, control in there:
        values = [score_of(record, question.score, weights) for record in (treatment, control)]
        if values[0] is not None and values[1] is not None:
            scores.append((treatment["seed"], values[0], values[1]))
    return answer(scores)


def answers(profile: str, seeds: Sequence[int]) -> dict[str, Answer]:
    """By the questions' names."""
    return {question.name: answered(question, pairs(question, profile, seeds)) for question in QUESTIONS}


def answers_frame(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each question: both settings, their scores by seed, the differences, the interval, the verdict."""
    rows = []
    for question in QUESTIONS:
        there = pairs(question, profile, seeds)
        found, last = answered(question, there), answered(question, there, "raw")
        control = float(np.mean(found.control)) if found.seeds else math.nan
        rows.append(
            {
                "question": question.name,
                "asks": question.asks,
                "profile": question.profile(profile),
                "treatment": question.treatment,
                "control": question.control,
                "score": question.score,
                "asked seeds": listed(seeds),
                "seeds": listed(found.seeds),
                "treatment by seed": "; ".join(f"{value:.6g}" for value in found.treatment),
                "control by seed": "; ".join(f"{value:.6g}" for value in found.control),
                "mean difference": found.mean,
                "low": found.low,
                "high": found.high,
                "share of control": found.mean / control if found.seeds else math.nan,
                "last weights by seed": "; ".join(f"{value:.6g}" for value in last.treatment),
                "their control by seed": "; ".join(f"{value:.6g}" for value in last.control),
                "their mean difference": last.mean,
                "their low": last.low,
                "their high": last.high,
                "channels kept": _channels(there),
                "verdict": found.verdict,
                "data note": data_note(record for pair in there for record in pair),
            }
        )
    return pd.DataFrame(rows)


def _channels(there: Sequence[tuple[Record, Record]]) -> str:
    """Of treatment and control, where either prunes: how many channels of the pruned layers stay, by seed."""
    found = []
    for pair in there:
        kept = ["/".join(map(str, kept_channels(record))) if record["masks"] else "all" for record in pair]
        found.append(kept[0] if kept[0] == kept[1] else " against ".join(kept))
    return "; ".join(dict.fromkeys(found))


def answers_table(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """`answers_frame` to be read."""
    rows = []
    for row in answers_frame(profile, seeds).to_dict("records"):
        ran = row["seeds"] != "none"
        scores = _by_seed(row["treatment by seed"], row["control by seed"]) if ran else [[], []]
        percent = f"{100 * row['share of control']:+.0f}%"
        rows.append(
            {
                "question": row["asks"],
                "score": row["score"].upper() if row["score"] == "fd" else row["score"],
                "by seed": " · ".join(map("{} ↔ {}".format, *scores)) or NOT_RUN,
                "mean difference": f"{row['mean difference']:+.3g} ({percent})" if ran else NOT_RUN,
                "95% interval": _interval(row["low"], row["high"]),
                "of the last weights": _interval(row["their low"], row["their high"], row["their mean difference"]),
                "channels kept": row["channels kept"] or "–",
                "verdict": row["verdict"],
            }
        )
    return pd.DataFrame(rows)


def _interval(low: float, high: float, mean: float | None = None) -> str:
    """`-31.1 to +12`; with the mean in front of it where one is given."""
    text = "–" if math.isnan(low) else f"{low:+.3g} to {high:+.3g}"
    return text if mean is None or math.isnan(mean) else f"{mean:+.3g} ({text})"


def _by_seed(*listed_scores: str) -> list[list[str]]:
    """Scores as the frame lists them, as the table shows them."""
    return [[write_number(float(value), "number") for value in each.split("; ")] for each in listed_scores]


def arms_frame(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each setting: means and spreads over seeds of its scores, and how its maps follow the teacher's."""
    rows = []
    for where, name in [
        *((each, TEACHER) for each in dict.fromkeys(where for where, _ in recipes(profile))),
        *recipes(profile),
    ]:
        records = find_records(where, name, seeds)
        row: dict[str, object] = {
            "setting": get_recipe(name).title,
            "recipe": name,
            "alpha": get_recipe(name).alpha,
            "profile": where,
            "asked seeds": listed(seeds),
            "seeds": listed([record["seed"] for record in records]),
            "runs": "; ".join(record["id"] for record in records) or NOT_RUN,
            "layers frozen at": "; ".join(_frozen(record) for record in records if record["masks"]),
            "data note": data_note(records),
        }
        measured = {score: [score_of(record, score) for record in records] for score in (*SCORES, "leakage")}
        measured["last fd"] = [score_of(record, "fd", "raw") for record in records]
        following = [blocks for record in records if (blocks := read_following(record)) is not None]
        measured["within"] = [mean_within(blocks) for blocks in following]
        measured["between"] = [float(np.mean([each["between"] for each in blocks])) for blocks in following]
        for score, values in measured.items():
            known = [value for value in values if value is not None]
            row[score] = float(np.mean(known)) if known else math.nan
            row[f"{score} sd"] = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
        rows.append(row)
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


def arms_table(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """`arms_frame` to be read."""
    names = score_names(get_profile(profile).backbone)
    shown = {
        "fd": names["fd"],
        "last fd": "FD of the last weights",
        "is": names["is"],
        "precision": "precision",
        "recall": "recall",
        "diversity": "diversity",
        "accuracy": "cond. accuracy",
        "leakage": "leakage",
        "within": "maps follow within classes",
        "between": "between classes",
    }
    rows = []
    for row in arms_frame(profile, seeds).to_dict("records"):
        small = "" if row["profile"] == profile else f" ({row['profile'].removeprefix(profile + '-')})"
        texts = {heading: _mean(row[score], row[f"{score} sd"]) for score, heading in shown.items()}
        frozen = {"layers frozen at (first to last, by seed)": row["layers frozen at"] or "–"}
        alpha = "–" if row["alpha"] is None or math.isnan(row["alpha"]) else f"{row['alpha']:g}"
        setting = {"setting": f"{row['setting']}{small}", "alpha": alpha, "seeds": row["seeds"]}
        rows.append({**setting, **texts, **frozen})
    return pd.DataFrame(rows)


def _mean(value: float, spread: float) -> str:
    if math.isnan(value):
        return "–"
    text = write_number(value, "number")
    return text if math.isnan(spread) else f"{text} ± {write_number(spread, 'number')}"


def answers_figure(profile: str, seeds: Sequence[int]) -> Figure:
    """Every question's paired differences, as shares of the control's mean: seeds, their mean, the 95% t interval."""
    found = answers(profile, seeds)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 0.9 + 0.26 * len(QUESTIONS))
        axes = figure.subplots()
        axes.axvline(0, color="0.3", linewidth=1)
        for place, question in enumerate(QUESTIONS):
            one = found[question.name]
            if not one.seeds:
                axes.text(0, place, f" {NOT_RUN}", va="center", color="0.5", fontsize=7)
                continue
            control = float(np.mean(one.control))
            color = COLORS[one.verdict]
            axes.plot([100 * each / control for each in one.differences], [place] * len(one.seeds), "|", color=color)
            if not math.isnan(one.low):
                axes.plot([100 * one.low / control, 100 * one.high / control], [place, place], color=color)
            axes.plot(100 * one.mean / control, place, "o", color=color, markersize=4)
        labels = [f"{question.asks}" + (" (leakage)" if question.score != "fd" else "") for question in QUESTIONS]
        axes.set_yticks(range(len(QUESTIONS)), labels)
        axes.set(ylim=(len(QUESTIONS) - 0.5, -0.5), xlabel="treatment less control, % of the control; left: better")
        _bound(axes)
        note = "points: means; strokes: seeds; lines: 95% t intervals of paired differences; "
        note += "green: effect, orange: hint, grey: none seen, pale: too few seeds"
        sign(figure, Context(profile, tuple(seeds)), note)
    return figure


def _bound(axes: Axes) -> None:
    """An interval of two or three seeds can be wider than everything else; the axis ends where means and seeds do."""
    points = [x for line in axes.lines[1:] if line.get_linestyle() == "None" for x in np.asarray(line.get_xdata())]
    if points:
        reach = 1.3 * max(abs(float(min(points))), abs(float(max(points))), 10.0)
        axes.set_xlim(-reach, reach)


def curves_figure(profile: str, seeds: Sequence[int]) -> Figure:
    """The Fréchet distance over the training by the weight of L_CD: seeds thin, their mean thick."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 3.0)
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        some = False
        for place, (weight, name) in enumerate(WEIGHTS.items()):
            records = find_records(profile, name, seeds)
            curves = [pd.read_csv(path) for record in records if (path := directory(record) / CURVE).is_file()]
            if not curves:
                continue
            some, color = True, PALETTE[place]
            for curve in curves:
                left.plot(curve["iteration"], curve["fd"], color=color, linewidth=0.6, alpha=0.5)
            mean = pd.concat(curves).groupby("iteration")["fd"].mean()
            label = f"{weight:g} L_CD" if weight else "without L_CD"
            left.plot(mean.index, mean, color=color, marker=MARKERS[place], markersize=3, label=label)
        if some:
            left.legend()
            left.set(xlabel="iteration", ylabel=f"FD of few samples ({get_profile(profile).backbone})")
        else:
            not_run(left)
        _following(right, profile, seeds)
        note = "left: averaged generator, masks still open in the first half; right: correlation of attention maps "
        note += "for the same noise, less the class means, mean of the blocks"
        sign(figure, Context(profile, tuple(seeds)), note)
    return figure


def _following(axes: Axes, profile: str, seeds: Sequence[int]) -> None:
    """How the maps follow the teacher's, against the weight of L_CD."""
    points = [
        (place, mean_within(blocks))
        for place, name in enumerate(WEIGHTS.values())
        for record in find_records(profile, name, seeds)
        if (blocks := read_following(record)) is not None
    ]
    if not points:
        not_run(axes)
        return
    axes.plot(*zip(*points, strict=True), "o", color=PALETTE[0], markersize=4, alpha=0.7)
    axes.set_xticks(range(len(WEIGHTS)), [f"{weight:g}" for weight in WEIGHTS])
    axes.set(xlabel="weight of L_CD", ylabel="correlation within classes", xlim=(-0.5, len(WEIGHTS) - 0.5))
    axes.set_ylim(min(0.0, *(value for _, value in points)) - 0.03, 1)


def write(profile: str, seeds: Sequence[int]) -> list[Path]:
    """Write the tables evidence and evidence_settings (CSV, Markdown), and the figures evidence and evidence_curves."""
    folder = paths.results(get_profile(profile).name)
    frames = {"evidence": answers_frame(profile, seeds), "evidence_settings": arms_frame(profile, seeds)}
    written = [
        sums.write(folder, f"tables/{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        for name, frame in frames.items()
    ]
    texts = {
        "evidence": f"{verdict(profile, seeds)}\n\n{plain_markdown(answers_table(profile, seeds))}",
        "evidence_settings": f"{Context(profile, tuple(seeds)).line}\n\n{plain_markdown(arms_table(profile, seeds))}",
    }
    written += [sums.write(folder, f"tables/{name}.md", f"{text}\n") for name, text in texts.items()]
    written += save(answers_figure(profile, seeds), profile, "evidence")
    return written + save(curves_figure(profile, seeds), profile, "evidence_curves")


def verdict(profile: str, seeds: Sequence[int]) -> str:
    """What came out, in a sentence for each kind of answer, and of which data."""
    there = {question: pairs(question, profile, seeds) for question in QUESTIONS}
    found = {question.name: answered(question, each) for question, each in there.items()}
    note = data_note(record for each in there.values() for pair in each for record in pair)
    lines = [f"Profile {profile}, seeds {listed(seeds)}" + (f", data: {note}." if note else "."), ""]
    for kind, said in (
        (EFFECT, "Effects"),
        (HINT, "Hints"),
        (NONE, "None seen"),
        (FEW, "Too few seeds yet"),
        (OPEN, "Not run"),
    ):
        names = [question for question in QUESTIONS if found[question.name].verdict == kind]
        parts = []
        for question in names:
            one = found[question.name]
            share = 100 * one.mean / float(np.mean(one.control)) if one.seeds else math.nan
            way = f", {'better' if share < 0 else 'worse'}" if kind in (EFFECT, HINT) else ""  # low scores are good
            parts.append(question.asks + ("" if math.isnan(share) else f" ({share:+.0f}%{way})"))
        if parts:
            listing = "" if kind == OPEN else f": {'; '.join(parts)}"  # the table has those
            lines.append(f"- **{said}** ({len(parts)} of {len(QUESTIONS)}){listing}.")
    return "\n".join(lines)
