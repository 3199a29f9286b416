"""Tables 1 and 2 of the paper from our runs: PPCD-GAN among the state of the art and among compression methods."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from paper import numbers
from paper.artifacts import render, rows
from paper.artifacts.render import Column, Html
from paper.artifacts.runtimes import DEVICES, run_times
from paper.artifacts.sources import NOT_RUN, Record, Study, find_records
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import TEACHER

ROWS = {1: numbers.TABLE1_ROWS, 2: numbers.TABLE2_ROWS}
ALPHAS = {1: numbers.TABLE1_ALPHA, 2: numbers.TABLE2_ALPHA}
PUBLISHED = {  # what the paper's tables have
    1: ("is", "fd", "diversity", "params", "macs", "gpu", "cpu"),
    2: ("is", "fd", "diversity", "params", "gpu"),
}
TITLES = {
    1: "Table 1, quantitative comparison with the state of the art",
    2: "Table 2, quantitative comparison with other methods that compress GANs",
}
SELECTED = (
    "Distill + NAS chose its sub-network by the Fréchet distance in the backbone that judges it here, on other noise."
)


def table1(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """Table 1: Big-GAN, SA-GAN, SN-GAN, Tiny-GAN and PPCD-GAN; quality, complexity, run time.

    A build product of the run directories. Every number is the mean over the seeds that are complete; a row
    without runs has status `not run`. Columns `paper ...` are the paper's, `... factor` how many times smaller a
    number is than Big-GAN's (NaN without a run of it).

    Args:
        profile: name of a profile.
        seeds: which seeds to average over.

    Raises:
        PpcdError: unknown profile, or runs that were measured in different ways.
    """
    frame = _table(1, profile, seeds)
    biggan = frame[frame["recipe"] == TEACHER].iloc[0]
    for key in rows.SIZES:
        frame[f"{key} factor"] = biggan[key] / frame[key]
    return frame


def table2(profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    """Table 2: distillation with NAS, distillation alone, and PPCD-GAN. See `table1`; factors are not in it."""
    return _table(2, profile, seeds)


def find_all(table: int, profile: str, seeds: Sequence[int]) -> dict[str, list[Record]]:
    """The records behind Table 1 or 2: recipe -> those of the seeds that are complete."""
    return {recipe: find_records(profile, recipe, seeds, ALPHAS[table]) for recipe in ROWS[table]}


def _table(table: int, profile: str, seeds: Sequence[int]) -> pd.DataFrame:
    study = Study(get_profile(profile).name, tuple(seeds), ALPHAS[table])
    found = find_all(table, profile, seeds)
    everything = [record for records in found.values() for record in records]
    times = {device: run_times(everything, device) for device in DEVICES}
    models = []
    for recipe, model in ROWS[table].items():
        row = rows.model_row(model, recipe, found[recipe], seeds)
        for device, timed in times.items():
            row |= rows.statistics(device, [timed.seconds[record["id"]] for record in found[recipe]])
        models.append(row | rows.paper_numbers(table, model, PUBLISHED[table]))
    frame = rows.assemble([*models, *rows.floor_rows(table, study, everything)], study, everything)
    for device, timed in times.items():
        frame[f"{device} timing"], frame[f"{device} device"] = timed.source, timed.device
    return frame


def number(frame: pd.DataFrame) -> int:
    """Which table of the paper the frame is."""
    return int(frame["paper table"].iloc[0])


def columns(frame: pd.DataFrame) -> list[Column]:
    """The columns of Table 1 or 2 as they are shown; a time is `not run` where there was no such device."""
    names, first = rows.score_names(frame["backbone"].iloc[0]), number(frame) == 1
    sizes = [Column("params", "#Par. ↓", "low", "count", paper="#Par.", factor=first)]
    if first:
        sizes.append(Column("macs", "MACs ↓", "low", "count", paper="MACs", factor=True))
    return [
        Column("is", f"{names['is']} ↑", "high", paper="IS"),
        Column("fd", f"{names['fd']} ↓", "low", paper="FID"),
        rows.PRECISION,
        Column("recall", "recall ↑", "high"),
        Column("accuracy", "conditional accuracy ↑", "high", "percent"),
        Column("diversity", f"diversity ({frame['diversity distance'].iloc[0]}) ↑", "high", paper="LPIPS"),
        *sizes,
        Column("gpu", "GPU (s) ↓", "low", "seconds", paper="GPU", missing=NOT_RUN),
        Column("cpu", "CPU (s) ↓", "low", "seconds", paper="CPU" if first else None, missing=NOT_RUN),
    ]


def caption(frame: pd.DataFrame) -> str:
    """What our numbers were measured with, and what the paper's numbers beside them are of."""
    table = number(frame)
    factors = " In brackets: how many times less than Big-GAN." if table == 1 else f" {SELECTED}"
    alpha = ALPHAS[table]
    return (
        f"{TITLES[table]}: {rows.settings_line(frame)}. Best in bold, second underlined.{rows.PRECISION_LINE}{factors}"
        f"{rows.floor_line(frame)} "
        f"{times_line(frame)} Paper's numbers: {numbers.SETTING}, alpha {alpha:g}; {numbers.RUNTIME_SETTING}."
        f"{rows.mixed_line(frame)}"
    )


def times_line(frame: pd.DataFrame) -> str:
    """Where the run times come from: `Seconds per batch of 64: GPU not run; CPU AMD EPYC, 1 thread, ...`."""
    said = []
    for device in DEVICES:
        source, name = frame[f"{device} timing"].iloc[0], frame[f"{device} device"].iloc[0]
        said.append(f"{device.upper()} {name}" + ("" if source == NOT_RUN else f", {source}"))
    return f"Seconds per batch of 64: {'; '.join(said)}."


def markdown(frame: pd.DataFrame) -> str:
    """Table 1 or 2 in Markdown, caption first."""
    return render.markdown(frame, columns(frame), caption(frame))


def html(frame: pd.DataFrame) -> Html:
    """Table 1 or 2 for `notebook.show`."""
    return render.table_html(frame, columns(frame), caption(frame))


def write(frame: pd.DataFrame) -> list[Path]:
    """Write `results/<profile>/tables/table{1,2}.{csv,md,tex}`."""
    return rows.write(frame, f"table{number(frame)}", columns(frame), caption(frame))
