"""What must not move: the resolved configuration, and so the id, of every run that came with the repository."""

import json
from pathlib import Path

import pytest

from ppcd import paths
from ppcd.profiles import get_profile
from ppcd.recipes import get_recipe
from ppcd.runs import RunConfig

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
