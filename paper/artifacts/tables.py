"""Tables 1, 2 and 3 of the paper from our runs, the paper's numbers next to them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from paper import numbers
from paper.artifacts import render, rows
from paper.artifacts.render import OTHERS, Column, Html
from paper.artifacts.rows import DEVICES, run_times
from paper.study import NO_MODEL, NOT_RUN, Record, Study, alpha_suffix
from ppcd.training.recipes import RECIPES, TEACHER

LEAST_RECALL = 0.02  # images that are all alike may lie where the real ones do: precision alone says little then
PRECISION = Column("precision", "precision ↑", "high", ranked_from=("recall", LEAST_RECALL))


@dataclass(frozen=True)
class Table:
    """One of the paper's tables."""

    title: str
    models: Mapping[str, str]  # recipe -> name of the row; the paper's, except the reference's
    alpha: float  # of the rows that prune
    columns: tuple[str, ...]  # what is shown of ours
    published: tuple[str, ...]  # what the paper's table has
    note: str
    reference: str | None = None  # recipe of the row that is not ranked; the paper has it in its Table 1


QUALITY = ("is", "fd", "precision", "recall", "accuracy", "diversity")
TABLES = {
    1: Table(
        title="Table 1, quantitative comparison with the state of the art",
        models=numbers.TABLE1_ROWS,
        alpha=numbers.TABLE1_ALPHA,
        columns=("is", "fd", OTHERS, *QUALITY[2:], "params", "macs", "gpu", "cpu"),
        published=("is", "fd", "diversity", "params", "macs", "gpu", "cpu"),
        note="In brackets: how many times less than Big-GAN.",
    ),
    2: Table(
        title="Table 2, quantitative comparison with other methods that compress GANs",
        models=numbers.TABLE2_ROWS,
        alpha=numbers.TABLE2_ALPHA,
        columns=(*QUALITY, "params", "gpu", "cpu"),
        published=("is", "fd", "diversity", "params", "gpu"),
        note="Distill + NAS chose its sub-network by the Fréchet distance in the backbone that judges it here, on "
        "other noise.",
    ),
    3: Table(
        title="Table 3, comparison of ablation models",
        models=numbers.TABLE3_ROWS | {TEACHER: RECIPES[TEACHER].title},
        alpha=numbers.TABLE3_ALPHA,
        columns=("is", "fd", "params", "precision", "recall", "accuracy", "diversity", "kept"),
        published=("is", "fd", "params"),
        note="",
        reference=TEACHER,
    ),
}


def table1(study: Study) -> pd.DataFrame:
    """Table 1: Big-GAN, SA-GAN, SN-GAN, Tiny-GAN and PPCD-GAN; quality, complexity, run time.

    Every number is the mean over the seeds that are complete; a row without runs has status `not run`. Columns
    `paper ...` are the paper's, `... factor` how many times smaller a number is than Big-GAN's (NaN without a run
    of it).

    Raises:
        PpcdError: runs that were measured in different ways.
    """
    frame = _table(1, study.with_alpha(numbers.TABLE1_ALPHA))
    biggan = frame[frame["recipe"] == TEACHER].iloc[0]
    for key in rows.SIZES:
        frame[f"{key} factor"] = biggan[key] / frame[key]
    return frame


def table2(study: Study) -> pd.DataFrame:
    """Table 2: distillation with NAS, distillation alone, and PPCD-GAN. See `table1`; factors are not in it."""
    return _table(2, study.with_alpha(numbers.TABLE2_ALPHA))


def table3(study: Study, alpha: float = numbers.TABLE3_ALPHA) -> pd.DataFrame:
    """Table 3: the ablation, four rows in the paper's order, then the teacher as a reference. See `table1`.

    Raises:
        PpcdError: impossible alpha, or runs that were measured in different ways.
    """
    return _table(3, study.with_alpha(alpha))


def find_all(table: int, study: Study) -> dict[str, list[Record]]:
    """The records of a table: recipe -> those of the seeds that are complete."""
    return {recipe: study.records(recipe) for recipe in TABLES[table].models}


def _table(number: int, study: Study) -> pd.DataFrame:
    table, found = TABLES[number], find_all(number, study)
    everything = [record for records in found.values() for record in records]
    times = {device: run_times(everything, device) for device in DEVICES if device in table.columns}
    models = []
    for recipe, model in table.models.items():
        is_reference = recipe == table.reference
        row = rows.model_row(model, recipe, found[recipe], study.seeds, is_reference)
        seconds = {device: [timed.seconds[each["id"]] for each in found[recipe]] for device, timed in times.items()}
        row |= rows.statistics(pd.DataFrame(seconds, dtype=float))
        place = (1, numbers.TABLE1_ROWS[recipe]) if is_reference else (number, model)
        models.append(row | rows.paper_numbers(*place, table.published))
    frame = rows.assemble(number, models, study, everything)
    for device, timed in times.items():
        frame[f"{device} timing"], frame[f"{device} device"] = timed.source, timed.device
    if OTHERS in table.columns:
        frame[OTHERS] = frame["model"].map(numbers.REPRODUCED_FID).fillna(NO_MODEL)
    return frame


def number_of(frame: pd.DataFrame) -> int:
    """Which table of the paper the frame is."""
    return int(frame["paper table"].iloc[0])


def columns(frame: pd.DataFrame) -> list[Column]:
    """The columns of a table as they are shown; a time is `not run` where there was no such device."""
    number, names = number_of(frame), rows.score_names(frame["backbone"].iloc[0])
    known = [
        Column("is", f"{names['is']} ↑", "high"),
        Column("fd", f"{names['fd']} ↓", "low"),
        Column(OTHERS, "others' FID", style="text"),
        PRECISION,
        Column("recall", "recall ↑", "high"),
        Column("accuracy", "conditional accuracy ↑", "high", "percent"),
        Column("diversity", f"diversity ({frame['diversity distance'].iloc[0]}) ↑", "high"),
        Column("params", "#Par. ↓", "low", "count", factor=number == 1),
        Column("macs", "MACs ↓", "low", "count", factor=number == 1),
        Column("gpu", "GPU (s) ↓", "low", "seconds", missing=NOT_RUN),
        Column("cpu", "CPU (s) ↓", "low", "seconds", missing=NOT_RUN),
        Column("kept", "kept channels", style="text"),
    ]
    by_key = {column.key: column for column in known}
    published = {key: rows.PAPER_COLUMNS[key] for key in TABLES[number].published}
    return [replace(by_key[key], paper=published.get(key)) for key in TABLES[number].columns]


def caption(frame: pd.DataFrame) -> str:
    """What our numbers were measured with, and what the paper's numbers next to them are of."""
    table, first = TABLES[number_of(frame)], frame.iloc[0]
    timed = [device for device in DEVICES if device in table.columns]
    sentences = [
        f"{table.title}: {_settings(frame)}.",
        f"Best in bold, second underlined{'; references are not ranked' if table.reference else ''}.",
        f"Precision is ranked where recall is at least {LEAST_RECALL:g}.",
        table.note,
    ]
    if "real images" in frame:
        counts = [f"{frame[key].dropna().iloc[0]:.0f}" for key in ("real images", "other real images")]
        measured = "{} of them measured as a generator's are, against the {} others".format(*counts)
        sentences.append(f"{rows.REAL}: {measured}.")
    if timed:
        said = (_timing(device, first[f"{device} device"], first[f"{device} timing"]) for device in timed)
        sentences.append(f"Seconds per batch of 64: {'; '.join(said)}.")
    runtime = f"; {numbers.RUNTIME_SETTING}" if timed else ""
    sentences.append(f"Paper's numbers: {numbers.SETTING}, alpha {table.alpha:g}{runtime}.")
    if OTHERS in table.columns:
        sentences.append(numbers.REPRODUCED)
    if (copies := int(first["copies of the backbone"])) > 1:
        sentences.append(f"Scores come from {copies} separately trained copies of the backbone.")
    return " ".join(filter(None, sentences))


def _settings(frame: pd.DataFrame) -> str:
    """Profile, seeds, backbone, samples, alpha and weights."""
    first = frame.iloc[0]
    seeds = first["asked seeds"]
    plural, spread = ("s", " (mean ± standard deviation over seeds)") if "," in seeds else ("", "")
    samples = "" if pd.isna(first["samples"]) else f", {first['samples']:.0f} samples"
    data = f", data: {first['data note']}" if "data note" in frame else ""
    return (
        f"profile {first['profile']}, seed{plural} {seeds}{spread}, "
        f"backbone {first['backbone']}{samples}, alpha {first['alpha']:g}, EMA weights{data}"
    )


def _timing(device: str, name: str, source: str) -> str:
    """`GPU not run`, or `CPU AMD EPYC, 1 thread, each network timed ...`."""
    return f"{device.upper()} {name}" + ("" if source == NOT_RUN else f", {source}")


def markdown(frame: pd.DataFrame) -> str:
    """A table in Markdown, caption first."""
    return render.markdown(frame, columns(frame), caption(frame))


def html(frame: pd.DataFrame, to_runs: bool = False) -> Html:
    """A table for `notebook.show`; in the report each number leads to its runs."""
    return render.table_html(frame, columns(frame), caption(frame), to_runs)


def write(frame: pd.DataFrame, study: Study) -> list[Path]:
    """Write `tables/table{1,2,3}.{csv,md,tex}`; `table3-a0.6` where alpha is not the paper's."""
    number = number_of(frame)
    name = f"table{number}" + alpha_suffix(float(frame["alpha"].iloc[0]), TABLES[number].alpha)
    return rows.write(study, frame, name, columns(frame), caption(frame))
