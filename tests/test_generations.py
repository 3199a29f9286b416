"""Ten generations of every run: what is measured, what is read back, and what is not."""

import json
from typing import Any

import pytest
from fake_runs import fake_generations, fake_run, smoke

from paper.generations import SEEDS, ensure_generations, measure_generations, read_generations
from ppcd.base import PpcdError
from ppcd.runs.directory import Run
from ppcd.training.config import run_config


def test_ten_generations_are_measured_and_read_back() -> None:
    record = fake_run("ppcd")
    assert read_generations(record) is None
    found = measure_generations(smoke(), record)
    assert read_generations(record) == found
    assert [each["seed"] for each in found["generations"]] == list(SEEDS) == found["protocol"]["seeds"]
    assert {"samples": 20, "backbone": "classifier"}.items() <= found["protocol"].items()
    for name in ("is", "fd", "diversity", "leakage"):  # an untrained generator's accuracy can be the same
        assert len({each[name] for each in found["generations"]}) > 1, name
    assert all(0 <= each["accuracy"] <= 1 for each in found["generations"])
    assert measure_generations(smoke(), record)["generations"] == found["generations"]
    assert Run(run_config("smoke", "ppcd", 0)).read() == record, "the file is no part of the run's seal"


OTHER = [{"generator_sha256": "1" * 64}, {"schema": 2}, {"protocol": {"samples": 10}}, {"protocol": {"reference": "x"}}]


@pytest.mark.parametrize("change", OTHER)
def test_generations_of_other_weights_or_another_protocol_are_not_read(change: dict[str, Any]) -> None:
    record = fake_run("ppcd")
    path = fake_generations(record)
    whole = json.loads(path.read_text())
    assert read_generations(record) == whole
    protocol = {"protocol": whole["protocol"] | change.get("protocol", {})}
    path.write_text(json.dumps(whole | change | protocol))
    assert read_generations(record) is None
    path.write_text("{")
    assert read_generations(record) is None


def test_what_is_missing_is_measured_in_processes_and_what_is_there_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    there, absent = fake_run("biggan"), fake_run("ppcd")
    whole = json.loads(fake_generations(there).read_text())
    runs = [there, absent]
    found = ensure_generations(smoke(), runs, workers=2)
    assert [each["run"] for each in found] == [there["id"], absent["id"]]
    assert found[0] == whole
    assert found[1] == read_generations(absent)
    assert "100%" in (last := capfd.readouterr().err.strip().splitlines()[-1]) and "1/1" in last
    assert ensure_generations(smoke(), runs) == found  # at once: nothing is missing
    assert capfd.readouterr().err == ""


def test_generations_of_a_changed_run_are_not_measured() -> None:
    record = fake_run("ppcd")
    (record.directory / "generator.safetensors").write_bytes(b"")
    with pytest.raises(PpcdError, match="was changed"):
        measure_generations(smoke(), record)
