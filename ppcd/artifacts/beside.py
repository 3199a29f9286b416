"""README's first table: Tables 1 and 2 of several profiles beside each other, from their files.

What the profiles were measured with differs, so each score has a column of its own for each of them, and nothing is
compared across columns.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ppcd import paper
from ppcd.artifacts import render, rows
from ppcd.artifacts.render import Column
from ppcd.artifacts.sources import NO_MODEL, NOT_RUN
from ppcd.recipes import TEACHER

FILES = ("tables/table1.csv", "tables/table2.csv")
WORDS = [NOT_RUN, NO_MODEL, "n/a"]  # what stands in a CSV file where there is no number
TEXTS = {"seeds": str, "asked seeds": str}
SHARED = ["model", "recipe", "reference", "paper table", "paper row", "paper fd", "paper params"]
KEYS = ("fd", "accuracy", "params")


def read(results: Path) -> pd.DataFrame:
    """The rows of Tables 1 and 2 of a profile, each system once, real images last.

    Args:
        results: folder of the profile's results.

    Raises:
        FileNotFoundError: it has no such tables.
    """
    tables = [pd.read_csv(results / name, na_values=WORDS, keep_default_na=False, dtype=TEXTS) for name in FILES]
    frame = pd.concat(tables, ignore_index=True).drop_duplicates("model")
    frame["reference"] = frame["reference"].astype(bool)
    frame["params factor"] = frame.loc[frame["recipe"] == TEACHER, "params"].iloc[0] / frame["params"]
    return frame.sort_values("reference", kind="stable").reset_index(drop=True)


def table(folders: Sequence[Path]) -> pd.DataFrame:
    """A row for each system; of each profile its Fréchet distance, conditional accuracy and parameters.

    Args:
        folders: of the profiles' results.

    Raises:
        FileNotFoundError: one of them has no Table 1 or 2.
    """
    frames = {folder.name: read(folder) for folder in folders}
    first = next(iter(frames.values()))
    frame, status, seeds = first[SHARED].copy(), {}, {}
    for profile, each in frames.items():
        found = each.set_index("model").reindex(first["model"]).reset_index(drop=True)
        for name in (*KEYS, *(f"{key} sd" for key in KEYS), "params factor"):
            frame[f"{profile} {name}"] = pd.to_numeric(found[name])
        status[profile], seeds[profile] = found["status"].fillna(NOT_RUN), found["seeds"].fillna("none")
    last = list(frames)[-1]
    for key in ("fd", "params"):
        frame[f"paper {last} {key}"] = frame[f"paper {key}"]
    frame["seeds"] = [_seeds(dict(zip(seeds, each, strict=True))) for each in zip(*seeds.values(), strict=True)]
    frame.loc[frame["model"] == rows.REAL, "seeds"] = NO_MODEL
    frame["status"] = [
        NO_MODEL if model == rows.REAL else NOT_RUN if set(said) == {NOT_RUN} else "complete"
        for model, said in zip(frame["model"], zip(*status.values(), strict=True), strict=True)
    ]
    frame.attrs["captions"] = [rows.settings_line(each).replace(" (mean ± standard deviation over seeds)", "")
                               for each in frames.values()]  # fmt: skip
    frame.attrs["backbones"] = {profile: str(each["backbone"].iloc[0]) for profile, each in frames.items()}
    return frame


def _seeds(by_profile: dict[str, str]) -> str:
    """`0, 1, 2`, or which of them each profile has."""
    said = list(dict.fromkeys(by_profile.values()))
    return said[0] if len(said) == 1 else "; ".join(f"{profile} {each}" for profile, each in by_profile.items())


def columns(frame: pd.DataFrame) -> list[Column]:
    """Profiles beside each other under each score, the paper's number behind them."""
    backbones: dict[str, str] = frame.attrs["backbones"]
    last = list(backbones)[-1]

    def column(profile: str, key: str, heading: str, better: str, **more: object) -> Column:
        return Column(f"{profile} {key}", heading, better, missing=NOT_RUN, **more)  # type: ignore[arg-type]

    return [
        *(
            column(
                profile, "fd", f"{profile}: {rows.score_names(backbone)['fd']} ↓", "low",
                paper="FID" if profile == last else None,
            )
            for profile, backbone in backbones.items()
        ),
        *(
            column(profile, "accuracy", f"{profile}: conditional accuracy ↑", "high", style="percent")
            for profile in backbones
        ),
        *(
            column(
                profile, "params", f"{profile}: #Par. ↓", "low", style="count", factor=True,
                paper="#Par." if profile == last else None,
            )
            for profile in backbones
        ),
    ]  # fmt: skip


def markdown(folders: Sequence[Path]) -> str:
    """The table in Markdown, caption first.

    Raises:
        FileNotFoundError: a profile has no Table 1 or 2.
    """
    frame = table(folders)
    settings = "; ".join(frame.attrs["captions"])
    caption = (
        f"The systems of Tables 1 and 2 at {len(folders)} profiles, mean ± standard deviation over seeds: {settings}. "
        "Best in bold, second underlined. In brackets: how many times less than Big-GAN. "
        f"Paper's numbers: {paper.SETTING}, alpha {paper.TABLE1_ALPHA:g}."
    )
    return render.markdown(frame, columns(frame), caption)
