"""README's first table: Tables 1 and 2 of several profiles beside each other, from their files.

What the profiles were measured with differs, so each score has a column of its own for each of them, and nothing is
compared across columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from paper import numbers as paper
from paper.artifacts import comparison, render, rows
from paper.artifacts.render import Column
from paper.artifacts.sources import NO_MODEL, NOT_RUN
from ppcd.training.recipes import TEACHER

FILES = ("tables/table1.csv", "tables/table2.csv")
SHARED = ["model", "recipe", "reference", "paper table", "paper row", "paper fd", "paper params"]
KEYS = ("fd", "accuracy", "params")


def read(results: Path) -> pd.DataFrame:
    """The rows of Tables 1 and 2 of a profile, each system once, real images last.

    Args:
        results: folder of the profile's results.

    Raises:
        FileNotFoundError: it has no such tables.
    """
    tables = [render.read_csv(results / name) for name in FILES]
    frame = pd.concat(tables, ignore_index=True).drop_duplicates("model")
    frame["params factor"] = frame.loc[frame["recipe"] == TEACHER, "params"].iloc[0] / frame["params"]
    return frame.sort_values("reference", kind="stable").reset_index(drop=True)


def table(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each system; of each profile its Fréchet distance, conditional accuracy and parameters.

    Args:
        frames: profile -> what `read` returned; the first one says which systems there are, in which order.
    """
    first, last = next(iter(frames.values())), list(frames)[-1]
    frame, status, seeds = first[SHARED].copy(), {}, {}
    for profile, each in frames.items():
        found = each.set_index("model").reindex(first["model"]).reset_index(drop=True)
        for name in (*KEYS, *(f"{key} sd" for key in KEYS), "params factor"):
            frame[f"{profile} {name}"] = pd.to_numeric(found[name])
        status[profile], seeds[profile] = found["status"].fillna(NOT_RUN), found["seeds"].fillna("none")
    for key in ("fd", "params"):
        frame[f"paper {last} {key}"] = frame[f"paper {key}"]
    frame["seeds"] = [_seeds(dict(zip(seeds, each, strict=True))) for each in zip(*seeds.values(), strict=True)]
    frame["status"] = [NOT_RUN if set(said) == {NOT_RUN} else "complete" for said in zip(*status.values(), strict=True)]
    frame.loc[frame["model"] == rows.REAL, ["seeds", "status"]] = NO_MODEL
    return frame


def _seeds(by_profile: dict[str, str]) -> str:
    """`0, 1, 2`, or which of them each profile has."""
    said = list(dict.fromkeys(by_profile.values()))
    return said[0] if len(said) == 1 else "; ".join(f"{profile} {each}" for profile, each in by_profile.items())


def columns(frames: Mapping[str, pd.DataFrame]) -> list[Column]:
    """Those of Table 1, profiles beside each other under each score, the paper's number behind them."""
    found, last = [], list(frames)[-1]
    for key in KEYS:
        for profile, each in frames.items():
            own = next(column for column in comparison.columns(each) if column.key == key)
            one = replace(own, key=f"{profile} {key}", heading=f"{profile}: {own.heading}", missing=NOT_RUN)
            found.append(one if profile == last else replace(one, paper=None))
    return found


def markdown(folders: Sequence[Path]) -> str:
    """The table in Markdown, caption first.

    Args:
        folders: of the profiles' results.

    Raises:
        FileNotFoundError: a profile has no Table 1 or 2.
    """
    frames = {folder.name: read(folder) for folder in folders}
    settings = "; ".join(rows.settings_line(each, spread=False) for each in frames.values())
    caption = (
        f"The systems of Tables 1 and 2 at {len(folders)} profiles, mean ± standard deviation over seeds: {settings}. "
        "Best in bold, second underlined. In brackets: how many times less than Big-GAN. "
        f"Paper's numbers: {paper.SETTING}, alpha {paper.TABLE1_ALPHA:g}."
    )
    return render.markdown(table(frames), columns(frames), caption)
