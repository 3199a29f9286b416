"""What the runs say to the questions of `paper.questions`, as tables and in words (notebook 12)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from paper import sums
from paper.artifacts import evidence_figures
from paper.artifacts.figures import save
from paper.artifacts.render import plain_markdown, write_number
from paper.artifacts.rows import kept_channels, score_names
from paper.artifacts.sources import NOT_RUN, Record, Study, data_note, listed
from paper.claims.predicates import Quantity
from paper.claims.scores import MAPS, measured
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
    PRIMARY,
    QUESTIONS,
    Answer,
    Answers,
    Question,
    extended,
)
from ppcd import paths
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe

SCORES = ("fd", "is", "precision", "recall", "diversity", "accuracy", "leakage")
KINDS = {EFFECT: "Effects", HINT: "Hints", NONE: "None seen", FEW: "Too few seeds yet", OPEN: "Not run"}


# --- Questions: as numbers, and to be read ---


def answers_frame(found: Answers) -> pd.DataFrame:
    """A row for each question: both settings, their scores by seed, the differences, the interval, the verdict."""
    rows = []
    for question in QUESTIONS:
        there = found.pairs(question, found.seeds)
        own = {"channels kept": _channels(there), "#Par., MACs": _sizes(there), "primary": question.name in PRIMARY}
        rows.append(_row(found, question, found.first[question.name], found.seeds, found.seeds, own))
    return pd.DataFrame(rows)


def more_frame(found: Answers) -> pd.DataFrame:
    """A row for each question that is asked of more seeds: what all of them say, and each part of them by itself."""
    rows, first_verdicts = [], found.of(FIRST_SEEDS)
    for question in extended():
        within = [[measured(record, "within") for record in pair] for pair in found.pairs(question, ALL_SEEDS)]
        agreement = pd.DataFrame(within, columns=["treatment", "control"], dtype=float).mean()
        own = {
            "mean difference of the first": found.answer(question, FIRST_SEEDS).difference.mean,
            "mean difference of the new": found.answer(question, MORE_SEEDS).difference.mean,
            "maps follow": agreement["treatment"],
            "maps of the control follow": agreement["control"],
            "verdict of the first": first_verdicts[question.name].verdict,
        }
        rows.append(_row(found, question, found.more[question.name], FIRST_SEEDS, ALL_SEEDS, own))
    return pd.DataFrame(rows).drop(columns=["profile", "score"])


def _row(
    found: Answers,
    question: Question,
    one: Answer,
    asked: Sequence[int],
    seeds: Sequence[int],
    own: Mapping[str, object],
) -> dict[str, object]:
    """A question's row: its settings, scores and differences, the columns that one table has alone, the verdict."""
    last = found.answer(question, seeds, "raw")
    (low, high), (last_low, last_high) = one.difference.interval(), last.difference.interval()
    return {
        "question": question.name,
        "asks": question.asks,
        "profile": question.profile(found.profile),
        "treatment": question.treatment,
        "control": question.control,
        "score": question.score,
        "asked seeds": listed(asked),
        "seeds": listed(one.seeds),
        "treatment by seed": _joined(one.scores["treatment"]),
        "control by seed": _joined(one.scores["control"]),
        "mean difference": one.difference.mean,
        "low": low,
        "high": high,
        "share of control": one.share,
        "last weights by seed": _joined(last.scores["treatment"]),
        "their control by seed": _joined(last.scores["control"]),
        "their mean difference": last.difference.mean,
        "their low": last_low,
        "their high": last_high,
        **own,
        "corrected p": one.corrected,
        "seeds to decide": _needed(one),
        "verdict": one.verdict,
        "data note": data_note(record for pair in found.pairs(question, seeds) for record in pair),
    }


def _joined(scores: pd.Series) -> str:
    return "; ".join(f"{value:.6g}" for value in scores)


def _needed(one: Answer) -> str:
    """How many seeds would decide an open question; nothing for any other."""
    return "" if not one.open else f"more than {MOST_SEEDS}" if one.needed is None else str(one.needed)


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
        found.append(" against ".join(dict.fromkeys(kept)))
    return "; ".join(dict.fromkeys(found))


def answers_table(found: Answers) -> pd.DataFrame:
    """`answers_frame` to be read."""
    rows = []
    for question, one in zip(QUESTIONS, found.first.values(), strict=True):
        last, there = found.answer(question, found.seeds, "raw"), found.pairs(question, found.seeds)
        score = {"question": question.asks, "score": "FD" if question.score == "fd" else question.score}
        sizes = {"channels kept": _channels(there) or "–", "#Par., MACs": _sizes(there) or "–"}
        rows.append({**score, **_shown(one, last), **sizes, **_judged(one)})
    return pd.DataFrame(rows)


def more_table(found: Answers) -> pd.DataFrame:
    """`more_frame` to be read."""
    rows, first_verdicts = [], found.of(FIRST_SEEDS)
    for question in extended():
        one, last = found.more[question.name], found.answer(question, ALL_SEEDS, "raw")
        parts = [found.answer(question, seeds).difference.mean for seeds in (FIRST_SEEDS, MORE_SEEDS)]
        asked = {"question": question.asks, "seeds": listed(one.seeds)}
        first = {
            "first seeds, new seeds": ", ".join(NOT_RUN if math.isnan(mean) else f"{mean:+.3g}" for mean in parts),
            "first verdict": first_verdicts[question.name].verdict,
        }
        rows.append({**asked, **_shown(one, last), **first, **_judged(one)})
    return pd.DataFrame(rows)


def _judged(one: Answer) -> dict[str, str]:
    """What a question came to: the corrected p value, how many seeds would decide, the verdict."""
    p = "–" if math.isnan(one.corrected) else f"{one.corrected:.3f}"
    return {"p, corrected": p, "seeds to decide": _needed(one) or "–", "verdict": one.verdict}


def _shown(one: Answer, last: Answer) -> dict[str, str]:
    """Scores by seed, their mean difference and its intervals, and the same of the last weights."""
    scores = [map(write_number, one.scores[arm], ["number"] * len(one.seeds)) for arm in ("treatment", "control")]
    of_last = f"{last.difference.mean:+.3g} ({_interval(last.difference)})" if last.seeds else "–"
    return {
        "by seed": " · ".join(map("{} ↔ {}".format, *scores)) or NOT_RUN,
        "mean difference": f"{one.difference.mean:+.3g} ({100 * one.share:+.0f}%)" if one.seeds else NOT_RUN,
        "95% interval": _interval(one.difference),
        "of the last weights": of_last,
    }


def _interval(difference: Contrast) -> str:
    """`-31.1 to +12`."""
    low, high = difference.interval()
    return "–" if math.isinf(low) else f"{low:+.3g} to {high:+.3g}"


# --- Settings ---


def arms_frame(found: Answers) -> pd.DataFrame:
    """A row for each setting: means and spreads over seeds of its scores, and how its maps follow the teacher's."""
    rows = []
    for where, name in found.settings:
        runs = found.runs[where]
        records = runs.records(name, seeds=found.seeds)
        row: dict[str, object] = {
            "setting": get_recipe(name).title,
            "recipe": name,
            "alpha": get_recipe(name).alpha,
            "profile": where,
            "asked seeds": listed(found.seeds),
            "seeds": listed([record["seed"] for record in records]),
            "runs": "; ".join(record["id"] for record in records) or NOT_RUN,
            "layers frozen at": "; ".join(_frozen(record) for record in records if record["masks"]),
            "data note": data_note(records),
        }
        scores = runs.table(Quantity(name, key) for key in SCORES)
        last = runs.table([Quantity(name, "fd")], "raw").rename(columns={"fd": "last fd"})
        maps = runs.table(Quantity(name, key) for key in MAPS)
        table = pd.concat([scores, last, maps], axis="columns").loc[list(found.seeds)].droplevel(0, axis="columns")
        for score in table:
            row |= {str(score): table[score].mean(), f"{score} sd": table[score].std()}
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


def arms_table(found: Answers) -> pd.DataFrame:
    """`arms_frame` to be read."""
    names, frame = score_names(get_profile(found.profile).backbone), arms_frame(found)
    shown = {
        "fd": names["fd"], "last fd": "FD of the last weights", "is": names["is"], "precision": "precision",
        "recall": "recall", "diversity": "diversity", "accuracy": "cond. accuracy", "leakage": "leakage",
        "within": "maps follow within classes", "between": "between classes",
    }  # fmt: skip
    suffix = frame["profile"].map(lambda name: "" if name == found.profile else f" ({name[len(found.profile) + 1 :]})")
    alpha = frame["alpha"].map(lambda value: "–" if pd.isna(value) else f"{value:g}")
    table = pd.DataFrame({"setting": frame["setting"] + suffix, "alpha": alpha, "seeds": frame["seeds"]})
    for score, heading in shown.items():
        table[heading] = [_mean(*pair) for pair in zip(frame[score], frame[f"{score} sd"], strict=True)]
    table["layers frozen at (first to last, by seed)"] = frame["layers frozen at"].replace("", "–")
    return table


def _mean(value: float, spread: float) -> str:
    if math.isnan(value):
        return "–"
    text = write_number(value, "number")
    return text if math.isnan(spread) else f"{text} ± {write_number(spread, 'number')}"


# --- Files, the verdict in words ---


def write(profile: str, seeds: Sequence[int]) -> list[Path]:
    """Write the tables evidence, evidence_settings and, with the first seeds, evidence_more (CSV, Markdown), and the
    figures evidence and evidence_curves."""
    found = Answers(profile, seeds)
    asked, every = (Study(found.profile, each).line for each in (found.seeds, ALL_SEEDS))
    tables = {
        "evidence": (answers_frame(found), verdict(found), answers_table(found)),
        "evidence_settings": (arms_frame(found), asked, arms_table(found)),
    }
    if found.has_more:
        tables["evidence_more"] = (more_frame(found), every, more_table(found))
    folder, written = paths.results(found.profile), []
    for name, (frame, caption, table) in tables.items():
        written.append(sums.write(folder, f"tables/{name}.csv", frame.to_csv(index=False, lineterminator="\n")))
        written.append(sums.write(folder, f"tables/{name}.md", f"{caption}\n\n{plain_markdown(table)}\n"))
    written += save(evidence_figures.answers_figure(found), found.profile, "evidence")
    return written + save(evidence_figures.curves_figure(found), found.profile, "evidence_curves")


def verdict(found: Answers) -> str:
    """What came out, in a sentence for each kind of answer, and of which data."""
    pairs = [pair for question in QUESTIONS for pair in found.pairs(question, found.seeds)]
    note = data_note(record for pair in pairs for record in pair)
    lines = [f"Profile {found.profile}, seeds {listed(found.seeds)}" + (f", data: {note}." if note else "."), ""]
    for kind, said in KINDS.items():
        parts = []
        for question in QUESTIONS:
            if (one := found.first[question.name]).verdict == kind:
                share = 100 * one.share
                way = f", {'better' if share < 0 else 'worse'}" if kind in (EFFECT, HINT) else ""  # low is good
                parts.append(question.asks + ("" if math.isnan(share) else f" ({share:+.0f}%{way})"))
        if parts:
            listing = "" if kind == OPEN else f": {'; '.join(parts)}"  # the table has those
            lines.append(f"- **{said}** ({len(parts)} of {len(QUESTIONS)}){listing}.")
    return "\n".join(lines)
