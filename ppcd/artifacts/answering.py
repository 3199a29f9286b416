"""What the runs say to each question of `paper.questions`: scores, differences, verdicts, and those of more seeds."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from paper.artifacts.render import write_number
from paper.artifacts.rows import kept_channels
from paper.artifacts.sources import NOT_RUN, Record, common_protocol, data_note, find_records, listed
from paper.attention_agreement import mean_within, read_following
from paper.generations import read_generations
from paper.intervals import MOST_SEEDS
from paper.questions import (
    EXTENDED,
    FEW,
    FIRST_SEEDS,
    MORE_SEEDS,
    PRIMARY,
    QUESTIONS,
    Answer,
    Question,
    answer,
    corrected,
    extended,
)

ALL_SEEDS = (*FIRST_SEEDS, *MORE_SEEDS)


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
                **_differences(found, answered(question, there, "raw")),
                "channels kept": _channels(there),
                "#Par., MACs": _sizes(there),
                "primary": question.name in PRIMARY,
                "corrected p": found.corrected,
                "seeds to decide": _needed(found),
                "verdict": found.verdict,
                "data note": data_note(record for pair in there for record in pair),
            }
        )
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
        rows.append(
            {
                "question": question.name,
                "asks": question.asks,
                "treatment": question.treatment,
                "control": question.control,
                "asked seeds": listed(FIRST_SEEDS),
                "seeds": listed(found.seeds),
                **_differences(found, answered(question, there, "raw")),
                "mean difference of the first": first.mean,
                "mean difference of the new": new.mean,
                "maps follow": _follow([pair[0] for pair in there]),
                "maps of the control follow": _follow([pair[1] for pair in there]),
                "verdict of the first": first_verdicts[question.name].verdict,
                "corrected p": found.corrected,
                "seeds to decide": _needed(found),
                "verdict": found.verdict,
                "data note": data_note(record for pair in there for record in pair),
            }
        )
    return pd.DataFrame(rows)


def _differences(found: Answer, last: Answer) -> dict[str, object]:
    """The columns of paired scores: of the averaged weights, and of the last ones."""
    return {
        "treatment by seed": "; ".join(f"{value:.6g}" for value in found.treatment),
        "control by seed": "; ".join(f"{value:.6g}" for value in found.control),
        "mean difference": found.mean,
        "low": found.low,
        "high": found.high,
        "share of control": found.mean / float(np.mean(found.control)) if found.seeds else math.nan,
        "last weights by seed": "; ".join(f"{value:.6g}" for value in last.treatment),
        "their control by seed": "; ".join(f"{value:.6g}" for value in last.control),
        "their mean difference": last.mean,
        "their low": last.low,
        "their high": last.high,
    }


def _follow(records: Sequence[Record]) -> float:
    """How well the maps of these runs follow their teachers' within a class, in the mean; NaN where not measured."""
    found = [mean_within(blocks) for record in records if (blocks := read_following(record)) is not None]
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
