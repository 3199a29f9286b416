"""What must not move: the resolved configuration, and so the id, of every run that came with the repository."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ppcd import paths
from ppcd.method.masks import channels_to_prune
from ppcd.method.schedule import GradualSchedule
from ppcd.training.config import RunConfig
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe

RECORDS = sorted((paths.repository() / "results").glob("*/runs/*/run.json"))


def test_there_are_committed_runs() -> None:
    assert len(RECORDS) > 100


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parents[2].name}/{path.parent.name}")
def test_names_lead_to_the_configuration_of_a_committed_run(path: Path) -> None:
    record = json.loads(path.read_text())
    config = RunConfig(
        get_profile(path.parents[2].name), get_recipe(record["recipe"]), record["seed"], record["data"]["identity"]
    )
    assert json.loads(json.dumps(config.resolved())) == record["config"]
    assert config.id == path.parent.name == record["id"]


def _is_gradual(path: Path) -> bool:
    return json.loads(path.read_text())["config"]["recipe"]["mask_rule"] == "gradual"


@pytest.mark.parametrize(
    "path", list(filter(_is_gradual, RECORDS)), ids=lambda path: f"{path.parents[2].name}/{path.parent.name}"
)
def test_channels_of_a_committed_run_closed_one_after_another(path: Path) -> None:
    """By the gradual rule: one channel of a layer in 1% of the training, on its schedule, none forced, in time."""
    record, history = json.loads(path.read_text()), pd.read_csv(path.with_name("masks.csv"))
    total, alpha = record["training"]["iterations"], record["config"]["recipe"]["alpha"]
    assert record["masks"]
    for mask in record["masks"]:
        goal = channels_to_prune(mask["channels"], alpha)
        rows = history[history["layer"] == mask["layer"]].set_index("iteration")["kept"]
        gone = (mask["channels"] - rows).reindex(range(total + 1)).ffill().fillna(0)
        step = (gone - gone.shift(total // 100).fillna(0)).max()
        assert step <= max(1, round(0.02 * mask["channels"]))
        asked = rows.index.map(lambda iteration, goal=goal: GradualSchedule().closed(goal, iteration / total))
        assert ((mask["channels"] - rows) - asked).abs().max() <= 1
        assert (mask["forced"], mask["rescued"]) == (0, 0) and mask["frozen_at"] <= 2 * total / 3
        assert mask["channels"] - mask["kept"] == goal


def _starts_from_the_teacher(path: Path) -> bool:
    return json.loads(path.read_text())["config"]["recipe"].get("start") == "teacher"


@pytest.mark.parametrize("path", list(filter(_starts_from_the_teacher, RECORDS)), ids=lambda path: path.parent.name)
def test_a_trained_network_does_not_break_while_its_channels_close(path: Path) -> None:
    """In the score curve the Fréchet distance stays within 1.5 times of the teacher's, measured in the same way."""
    teacher = path.parent.with_name(json.loads(path.read_text())["teacher"]["id"])
    before, after = (pd.read_csv(each / "quality.csv") for each in (teacher, path.parent))
    assert set(before["samples"]) == set(after["samples"])
    assert after["fd"].max() <= 1.5 * before["fd"].iloc[-1]
