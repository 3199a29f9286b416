"""Table 3 of the paper from our runs, the paper's numbers beside them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from paper import numbers
from paper.artifacts import render, rows
from paper.artifacts.render import Column
from paper.artifacts.rows import score_names
from paper.artifacts.sources import Study, alpha_suffix, find_records
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import RECIPES, TEACHER, check_alpha

PUBLISHED = ("is", "fd", "params")  # what the paper's table has


def table3(profile: str, seeds: Sequence[int], alpha: float = numbers.TABLE3_ALPHA) -> pd.DataFrame:
    """Table 3: the ablation, four rows in the paper's order, then the teacher as a reference.

    A build product of the run directories. Every number is the mean over the seeds that are complete; a row
    without runs has status `not run`. Columns `paper ...` are the paper's (the teacher's from its Table 1).

    Args:
        profile: name of a profile.
        seeds: which seeds to average over.
        alpha: compression ratio threshold of the pruned rows (eq. 3); the paper's table has 0.5.

    Raises:
        PpcdError: unknown profile, impossible alpha, or runs that were measured in different ways.
    """
    study = Study(get_profile(profile).name, tuple(seeds), check_alpha(alpha))
    found = {recipe: find_records(profile, recipe, seeds, alpha) for recipe in (*numbers.TABLE3_ROWS, TEACHER)}
    models = [
        rows.model_row(model, recipe, found[recipe], seeds) | rows.paper_numbers(3, model, PUBLISHED)
        for recipe, model in numbers.TABLE3_ROWS.items()
    ]
    teacher = rows.model_row(RECIPES[TEACHER].title, TEACHER, found[TEACHER], seeds, reference=True)
    models.append(teacher | rows.paper_numbers(1, "Big-GAN", PUBLISHED))
    everything = [record for records in found.values() for record in records]
    return rows.assemble([*models, *rows.floor_rows(3, study, everything)], study, everything)


def table3_columns(frame: pd.DataFrame) -> list[Column]:
    """The columns of Table 3 as they are shown."""
    names = score_names(frame["backbone"].iloc[0])
    return [
        Column("is", f"{names['is']} ↑", "high", paper="IS"),
        Column("fd", f"{names['fd']} ↓", "low", paper="FID"),
        Column("params", "#Par. ↓", "low", "count", paper="#Par."),
        rows.PRECISION,
        Column("recall", "recall ↑", "high"),
        Column("accuracy", "conditional accuracy ↑", "high", "percent"),
        Column("diversity", f"diversity ({frame['diversity distance'].iloc[0]}) ↑", "high"),
        Column("kept", "kept channels", style="text"),
    ]


def table3_caption(frame: pd.DataFrame) -> str:
    """Profile, seeds, backbone and alpha, and what the paper's numbers beside ours are of."""
    return (
        f"Table 3, comparison of ablation models: {rows.settings_line(frame)}. Best in bold, second "
        f"underlined; references are not ranked.{rows.PRECISION_LINE}{rows.floor_line(frame)} "
        f"Paper's numbers: {numbers.SETTING}, alpha {numbers.TABLE3_ALPHA:g}.{rows.mixed_line(frame)}"
    )


def markdown(frame: pd.DataFrame) -> str:
    """Table 3 in Markdown, caption first."""
    return render.markdown(frame, table3_columns(frame), table3_caption(frame))


def html(frame: pd.DataFrame) -> render.Html:
    """Table 3 for `notebook.show`."""
    return render.table_html(frame, table3_columns(frame), table3_caption(frame))


def write_table3(frame: pd.DataFrame) -> list[Path]:
    """Write `results/<profile>/tables/table3.{csv,md,tex}`; `table3-a0.6` where alpha is not the paper's."""
    name = "table3" + alpha_suffix(float(frame["alpha"].iloc[0]), numbers.TABLE3_ALPHA)
    return rows.write(frame, name, table3_columns(frame), table3_caption(frame))
