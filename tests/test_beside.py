"""README's first table: the systems of several profiles beside each other."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from paper.artifacts import beside
from ppcd import paths

MNIST = paths.repository() / "results" / "mnist"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """mnist as it is committed, and `other`, which lacks SN-GAN and has SA-GAN with one seed and a tenth of its FD."""
    made = []
    for name in ("mnist", "other"):
        (tmp_path / name / "tables").mkdir(parents=True)
        for file in beside.FILES:
            shutil.copy(MNIST / file, tmp_path / name / file)
        made.append(tmp_path / name)
    path = made[1] / beside.FILES[0]
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    scores = [name for name in frame.columns if re.match(r"(is|fd|accuracy|params|macs)\b", name)]
    frame.loc[frame["model"] == "SN-GAN", ["status", *scores]] = "not run"
    frame.loc[frame["model"] == "SN-GAN", "seeds"] = "none"
    one = frame["model"] == "SA-GAN"
    frame.loc[one, ["fd", "fd sd", "seeds", "status"]] = ["0.725", "n/a", "1", "1 of 3 seeds"]
    frame["backbone"] = "efficientnet-lite0"
    frame.to_csv(path, index=False)
    return made


def cells(text: str) -> dict[str, dict[str, str]]:
    """Row -> heading -> cell of a Markdown table behind a caption."""
    head, _, *body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


def test_each_system_has_its_scores_at_both_profiles(folders: list[Path]) -> None:
    table, own = cells(beside.markdown(folders)), cells((MNIST / "tables" / "table1.md").read_text())
    assert list(table) == [*list(own)[:-1], "Distill + NAS", "Distill only", "Real images (reference)"]
    assert table["SA-GAN"]["mnist: FD (classifier) ↓"] == "7.25 ± 3.54"
    assert table["SA-GAN"]["mnist: #Par. ↓"] == "25.6k (4.6×)"
    assert table["Distill + NAS"]["paper's #Par."] == "37M"
    assert table["Real images (reference)"]["seeds"] == "–"
    assert table["Real images (reference)"]["other: conditional accuracy ↑"] == "99.0%"


def test_scores_are_ranked_within_a_profile(folders: list[Path]) -> None:
    table = cells(beside.markdown(folders))
    assert table["SA-GAN"]["other: FD (efficientnet-lite0) ↓"] == "**0.725**"
    assert table["Big-GAN"]["other: FD (efficientnet-lite0) ↓"].startswith("<ins>4.45</ins>")
    assert table["Big-GAN"]["mnist: FD (classifier) ↓"].startswith("**4.45**")


def test_what_one_profile_lacks_is_said(folders: list[Path]) -> None:
    row = cells(beside.markdown(folders))["SN-GAN"]
    assert row["seeds"] == "mnist 0, 1, 2; other none"
    assert row["other: FD (efficientnet-lite0) ↓"] == row["other: #Par. ↓"] == "not run"
    assert row["mnist: conditional accuracy ↑"] == "92.0% ± 9.2%" and row["paper's FID"] == "27.62"
    assert cells(beside.markdown(folders))["SA-GAN"]["seeds"] == "mnist 0, 1, 2; other 1"


def test_a_system_that_nobody_ran_is_not_run(folders: list[Path]) -> None:
    row = cells(beside.markdown(folders[1:]))["SN-GAN"]
    assert row["seeds"] == "not run" and row["paper's FID"] == "27.62"


def test_the_caption_says_what_each_was_measured_with(folders: list[Path]) -> None:
    caption = beside.markdown(folders).split("\n")[0]
    assert "profile mnist, seeds 0, 1, 2, backbone classifier, 5000 samples" in caption
    assert "backbone efficientnet-lite0" in caption and "at 2 profiles" in caption


def test_a_profile_without_tables_is_named(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        beside.markdown([*folders, tmp_path / "nothing"])
