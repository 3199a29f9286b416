"""What the runs say to the questions of `paper.questions`, as tables and figures (notebook 12)."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import sums
from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, save, sign
from paper.artifacts.render import plain_markdown, write_number
from paper.artifacts.rows import kept_channels, score_names
from paper.artifacts.sources import (
    NOT_RUN,
    Record,
    Study,
    common_protocol,
    data_note,
    directory,
    find_records,
    listed,
)
from paper.attention_agreement import mean_within, read_agreement
from paper.generations import read_generations
from paper.intervals import MOST_SEEDS
from paper.questions import (
    EFFECT,
    EXTENDED,
    FEW,
    FIRST_SEEDS,
    HINT,
    MORE_SEEDS,
    NONE,
    OPEN,
    PRIMARY,
    PROFILES_OF_EVIDENCE,
    QUESTIONS,
    WEIGHTS,
    Answer,
    Question,
    answer,
    corrected,
    extended,
    extension,
    recipes,
)
from ppcd import paths
from ppcd.method.ema import DECLARED
from ppcd.runs.score_curve import CURVE
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import TEACHER, get_recipe

ALL_SEEDS = (*FIRST_SEEDS, *MORE_SEEDS)
COLORS = {EFFECT: PALETTE[2], HINT: PALETTE[1], NONE: "0.45", FEW: "0.7", OPEN: "0.8"}
MARKERS = ("o", "s", "^", "D", "v")
SCORES = ("fd", "is", "precision", "recall", "diversity", "accuracy")


def has_questions(profile: str) -> bool:
    """Whether the questions are asked at this profile: at those of natural images that have small noise beside them."""
    return get_profile(profile).name in PROFILES_OF_EVIDENCE


def has_more(profile: str, seeds: Sequence[int]) -> bool:
    """Whether what is asked of more seeds is shown: beside the first three, as it is trained."""
    return bool(extension(profile, seeds))


# --- Answers ---


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


def all_pairs(profile: str, seeds: Sequence[int]) -> dict[str, list[tuple[Record, Record]]]:
    """`pairs` of every question, by its name; to be asked for once, since reading the runs takes the time."""
    return {question.name: pairs(question, profile, seeds) for question in QUESTIONS}


def judged(there: Mapping[str, Sequence[tuple[Record, Record]]]) -> dict[str, Answer]:
    """What `all_pairs` say, by the questions' names, the primary ones corrected for their number."""
    return corrected({question.name: answered(question, there[question.name]) for question in QUESTIONS}, PRIMARY)


def answers(profile: str, seeds: Sequence[int]) -> dict[str, Answer]:
    """`judged` of the runs of these seeds."""
    return judged(all_pairs(profile, seeds))


def answers_frame(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each question: both settings, their scores by seed, the differences, the interval, the verdict."""
    rows, by_name = [], all_pairs(profile, seeds)
    for question, found in zip(QUESTIONS, judged(by_name).values(), strict=True):
        there = by_name[question.name]
        own = {
            "channels kept": _channels(there),
            "#Par., MACs": _sizes(there),
            "primary": question.name in PRIMARY,
        }
        rows.append(_row(question, profile, seeds, found, there, own))
    return pd.DataFrame(rows)


def more_answers(profile: str) -> dict[str, Answer]:
    """Of all five seeds, by the names of the questions that are asked of them, corrected for their number; nothing is
    judged half-way."""
    found = {question.name: answered(question, pairs(question, profile, ALL_SEEDS)) for question in extended()}
    whole = {name: one if one.seeds in ((), ALL_SEEDS) else replace(one, verdict=FEW) for name, one in found.items()}
    return corrected(whole, EXTENDED)


def more_frame(profile: str) -> pd.DataFrame:
    """A row for each question that is asked of more seeds: what all of them say, and each part of them by itself."""
    rows, first_verdicts = [], answers(profile, FIRST_SEEDS)
    for question, found in zip(extended(), more_answers(profile).values(), strict=True):
        there = pairs(question, profile, ALL_SEEDS)
        first, new = (
            answered(question, [pair for pair in there if pair[0]["seed"] in part])
            for part in (FIRST_SEEDS, MORE_SEEDS)
        )
        own = {
            "mean difference of the first": first.mean,
            "mean difference of the new": new.mean,
            "maps follow": _follow([pair[0] for pair in there]),
            "maps of the control follow": _follow([pair[1] for pair in there]),
            "verdict of the first": first_verdicts[question.name].verdict,
        }
        rows.append(_row(question, profile, FIRST_SEEDS, found, there, own))
    return pd.DataFrame(rows).drop(columns=["profile", "score"])


def _row(
    question: Question,
    profile: str,
    asked: Sequence[int],
    found: Answer,
    there: Sequence[tuple[Record, Record]],
    own: Mapping[str, object],
) -> dict[str, object]:
    """A question's row: its settings, scores and differences, the columns that one table has alone, the verdict."""
    last = answered(question, there, "raw")
    return {
        "question": question.name,
        "asks": question.asks,
        "profile": question.profile(profile),
        "treatment": question.treatment,
        "control": question.control,
        "score": question.score,
        "asked seeds": listed(asked),
        "seeds": listed(found.seeds),
        "treatment by seed": _joined(found.treatment),
        "control by seed": _joined(found.control),
        "mean difference": found.mean,
        "low": found.low,
        "high": found.high,
        "share of control": found.mean / float(np.mean(found.control)) if found.seeds else math.nan,
        "last weights by seed": _joined(last.treatment),
        "their control by seed": _joined(last.control),
        "their mean difference": last.mean,
        "their low": last.low,
        "their high": last.high,
        **own,
        "corrected p": found.corrected,
        "seeds to decide": _needed(found),
        "verdict": found.verdict,
        "data note": data_note(record for pair in there for record in pair),
    }


def _joined(scores: Sequence[float]) -> str:
    return "; ".join(f"{value:.6g}" for value in scores)


def _follow(records: Sequence[Record]) -> float:
    """How well the maps of these runs follow their teachers' within a class, in the mean; NaN where not measured."""
    found = [mean_within(blocks) for record in records if (blocks := read_agreement(record)) is not None]
    return float(np.mean(found)) if found else math.nan


def _needed(found: Answer) -> str:
    """How many seeds would decide an open question; nothing for any other."""
    return "" if not found.open else f"more than {MOST_SEEDS}" if found.needed is None else str(found.needed)


def _sizes(there: Sequence[tuple[Record, Record]]) -> str:
    """`41.9k, 4.36M against 36.5k, 1.57M`: parameters and MACs of treatment and control, once where they agree."""
    found = []
    for pair in there:
        sizes = [
            ", ".join(write_number(record["complexity"][key], "count") for key in ("params", "macs")) for record in pair
        ]
        found.append(" against ".join(dict.fromkeys(sizes)))
    return "; ".join(dict.fromkeys(found))


def _channels(there: Sequence[tuple[Record, Record]]) -> str:
    """Of treatment and control, where either prunes: how many channels of the pruned layers stay, by seed."""
    found = []
    for pair in there:
        kept = ["/".join(map(str, kept_channels(record))) if record["masks"] else "all" for record in pair]
        found.append(kept[0] if kept[0] == kept[1] else " against ".join(kept))
    return "; ".join(dict.fromkeys(found))


def answers_table(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """`answers_frame` to be read."""
    return pd.DataFrame(
        {
            "question": row["asks"],
            "score": row["score"].upper() if row["score"] == "fd" else row["score"],
            **_shown(row),
            "channels kept": row["channels kept"] or "–",
            "#Par., MACs": row["#Par., MACs"] or "–",
            **_judged(row),
        }
        for row in answers_frame(profile, seeds).to_dict("records")
    )


def more_table(profile: str) -> pd.DataFrame:
    """`more_frame` to be read."""
    parts = ("mean difference of the first", "mean difference of the new")
    return pd.DataFrame(
        {
            "question": row["asks"],
            "seeds": row["seeds"],
            **_shown(row),
            "first seeds, new seeds": ", ".join(_signed(row[each]) for each in parts),
            "first verdict": row["verdict of the first"],
            **_judged(row),
        }
        for row in more_frame(profile).to_dict("records")
    )


def _judged(row: dict[Hashable, Any]) -> dict[str, str]:
    """What a frame's row came to: the corrected p value, how many seeds would decide, the verdict."""
    p = row["corrected p"]
    return {
        "p, corrected": "–" if math.isnan(p) else f"{p:.3f}",
        "seeds to decide": row["seeds to decide"] or "–",
        "verdict": row["verdict"],
    }


def _signed(value: float) -> str:
    return NOT_RUN if math.isnan(value) else f"{value:+.3g}"


def _shown(row: dict[Hashable, Any]) -> dict[str, str]:
    """Scores by seed, their mean difference and its intervals, of a frame's row."""
    last = _interval(row["their low"], row["their high"], row["their mean difference"])
    if row["seeds"] == "none":
        return {"by seed": NOT_RUN, "mean difference": NOT_RUN, "95% interval": "–", "of the last weights": last}
    scores = _by_seed(row["treatment by seed"], row["control by seed"])
    return {
        "by seed": " · ".join(map("{} ↔ {}".format, *scores)),
        "mean difference": f"{row['mean difference']:+.3g} ({100 * row['share of control']:+.0f}%)",
        "95% interval": _interval(row["low"], row["high"]),
        "of the last weights": last,
    }


def _interval(low: float, high: float, mean: float | None = None) -> str:
    """`-31.1 to +12`; with the mean in front of it where one is given."""
    text = "–" if math.isinf(low) else f"{low:+.3g} to {high:+.3g}"
    return text if mean is None or math.isnan(mean) else f"{mean:+.3g} ({text})"


def _by_seed(*listed_scores: str) -> list[list[str]]:
    """Scores as the frame lists them, as the table shows them."""
    return [[write_number(float(value), "number") for value in each.split("; ")] for each in listed_scores]


# --- Settings ---


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
        following = [blocks for record in records if (blocks := read_agreement(record)) is not None]
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


# --- Figures, files, the verdict in words ---


def answers_figure(profile: str, seeds: Sequence[int]) -> Figure:
    """Every question's paired differences, as shares of the control's mean: seeds, their mean, the 95% t interval.

    Below them those questions that are asked of more seeds, with all of these.
    """
    found = answers(profile, seeds)
    names = {question.name: question.asks + (" (leakage)" * (question.score != "fd")) for question in QUESTIONS}
    rows = [(names[name], one) for name, one in found.items()]
    if has_more(profile, seeds):
        more = more_answers(profile)
        rows += [(f"{question.asks}, {len(ALL_SEEDS)} seeds", more[question.name]) for question in extended()]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(7.2, 0.9 + 0.26 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color="0.3", linewidth=1)
        for place, (_, one) in enumerate(rows):
            if not one.seeds:
                axes.text(0, place, f" {NOT_RUN}", va="center", color="0.5", fontsize=7)
                continue
            control = float(np.mean(one.control))
            color = COLORS[one.verdict]
            axes.plot([100 * each / control for each in one.differences], [place] * len(one.seeds), "|", color=color)
            if math.isfinite(one.low):
                axes.plot([100 * one.low / control, 100 * one.high / control], [place, place], color=color)
            axes.plot(100 * one.mean / control, place, "o", color=color, markersize=4)
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="treatment less control, % of the control; left: better")
        _bound(axes)
        note = "points: means; strokes: seeds; lines: 95% t intervals of paired differences; "
        note += "green: effect, orange: hint, grey: none seen, pale: too few seeds; intervals are not corrected"
        sign(figure, Study(profile, tuple(seeds)), note)
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
            curves = [_curve(path) for record in records if (path := directory(record) / CURVE).is_file()]
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
        sign(figure, Study(profile, tuple(seeds)), note)
    return figure


def _curve(path: Path) -> pd.DataFrame:
    """The score curve of a run's declared average; a run that keeps a single average may not name it."""
    curve = pd.read_csv(path)
    return curve[curve["average"] == DECLARED] if "average" in curve else curve


def _following(axes: Axes, profile: str, seeds: Sequence[int]) -> None:
    """How the maps follow the teacher's, against the weight of L_CD."""
    points = [
        (place, mean_within(blocks))
        for place, name in enumerate(WEIGHTS.values())
        for record in find_records(profile, name, seeds)
        if (blocks := read_agreement(record)) is not None
    ]
    if not points:
        not_run(axes)
        return
    axes.plot(*zip(*points, strict=True), "o", color=PALETTE[0], markersize=4, alpha=0.7)
    axes.set_xticks(range(len(WEIGHTS)), [f"{weight:g}" for weight in WEIGHTS])
    axes.set(xlabel="weight of L_CD", ylabel="correlation within classes", xlim=(-0.5, len(WEIGHTS) - 0.5))
    axes.set_ylim(min(0.0, *(value for _, value in points)) - 0.03, 1)


def write(profile: str, seeds: Sequence[int]) -> list[Path]:
    """Write the tables evidence, evidence_settings and, with the first seeds, evidence_more (CSV, Markdown), and the
    figures evidence and evidence_curves."""
    folder = paths.results(get_profile(profile).name)
    frames = {"evidence": answers_frame(profile, seeds), "evidence_settings": arms_frame(profile, seeds)}
    if has_more(profile, seeds):
        frames["evidence_more"] = more_frame(profile)
    written = [
        sums.write(folder, f"tables/{name}.csv", frame.to_csv(index=False, lineterminator="\n"))
        for name, frame in frames.items()
    ]
    texts = {
        "evidence": f"{verdict(profile, seeds)}\n\n{plain_markdown(answers_table(profile, seeds))}",
        "evidence_settings": f"{Study(profile, tuple(seeds)).line}\n\n{plain_markdown(arms_table(profile, seeds))}",
    }
    if has_more(profile, seeds):
        texts["evidence_more"] = f"{Study(profile, ALL_SEEDS).line}\n\n{plain_markdown(more_table(profile))}"
    written += [sums.write(folder, f"tables/{name}.md", f"{text}\n") for name, text in texts.items()]
    written += save(answers_figure(profile, seeds), profile, "evidence")
    return written + save(curves_figure(profile, seeds), profile, "evidence_curves")


def verdict(profile: str, seeds: Sequence[int]) -> str:
    """What came out, in a sentence for each kind of answer, and of which data."""
    there = all_pairs(profile, seeds)
    found = judged(there)
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


def verdict_or_why_not(profile: str, seeds: Sequence[int]) -> str:
    """`verdict`, or one line where a profile has no questions."""
    if has_questions(profile):
        return verdict(profile, seeds)
    return f"Not asked at this profile, but at {', '.join(PROFILES_OF_EVIDENCE)}."
