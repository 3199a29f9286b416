"""The table and the picture that README.md begins with."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_runs import fake_run, smoke
from scipy import stats

from paper.artifacts import headline
from paper.artifacts.plotted import describe
from ppcd import paths

MNIST = paths.repository() / "results" / "mnist"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """mnist as it is committed, and `other`, which lacks SA-GAN and has one seed of PPCD-GAN."""
    other = tmp_path / "other"
    (other / "tables").mkdir(parents=True)
    (other / "runs").symlink_to(MNIST / "runs")
    for name in headline.TABLES:
        frame = pd.read_csv(MNIST / name, dtype=str, keep_default_na=False).set_index("recipe")
        frame.loc["sagan", "runs"] = "not run"
        frame.loc["ppcd", "runs"] = frame.loc["ppcd", "runs"].split("; ")[0]
        frame.to_csv(other / name)
    return [MNIST, other]


def cells(text: str) -> dict[str, dict[str, str]]:
    """Row -> heading -> cell of a Markdown table after a caption."""
    head, _, *body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


def test_each_system_has_its_mean_interval_and_size(folders: list[Path]) -> None:
    text = headline.markdown(folders)
    assert "mnist, seeds 0, 1, 2, 5000 samples" in text.split("\n")[0]
    table = cells(text)
    assert list(table) == list(headline.SYSTEMS.values())
    records = [json.loads((path / "run.json").read_text()) for path in sorted((MNIST / "runs").glob("biggan-s?-*"))]
    values = [record["metrics"]["ema"]["fd"] for record in records]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    row = table["Big-GAN (teacher)"]
    assert row["mnist: FD (classifier) ↓"] == f"{np.mean(values):.3f} ({low:.3f} to {high:.2f})"
    assert table["Distill + NAS"]["mnist: accuracy ↑"].endswith("to 100.0%)"), "an interval of accuracies ends at 1"
    assert "(" not in table["PPCD-GAN, alpha 0.7"]["other: FD (classifier) ↓"], "one seed has no interval"
    assert {cell for name, cell in table["SA-GAN, not pruned"].items() if name.startswith("other")} == {"not run"}


def test_teacher_and_student_are_drawn_for_the_same_noise() -> None:
    words = [panel["words"] for panel in describe(headline.figure(smoke()))["panels"]]
    assert all("not run" in each for each in words) and len(words) == 2
    fake_run("biggan")
    fake_run("ppcd")
    panels = describe(headline.figure(smoke()))["panels"]
    assert [len(panel["images"]) for panel in panels] == [1, 1]
    assert "parameters" in " ".join(panels[1]["words"])


def test_a_profile_without_tables_is_named(folders: list[Path]) -> None:
    for name in headline.TABLES:
        path = folders[1] / name
        path.write_text(path.read_text().splitlines()[0] + "\n")
    for folder in (folders[1], folders[1] / "nothing"):
        with pytest.raises(FileNotFoundError, match=folder.name):
            headline.markdown([folder])
