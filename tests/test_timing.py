"""Run times: taken in turns, read back with the right weights only, measured again when needed."""

import json
import statistics
from typing import Any

import pytest
from fake_runs import fake_run, smoke

from paper import timing
from paper.timing import ensure_runtime, main, measure_runtime, read_runtime, seconds_in_turns
from ppcd import paths
from ppcd.networks.generators import build_generator
from ppcd.records import Record


def test_networks_take_turns_with_batches_of_64() -> None:
    networks = {name: build_generator("sagan", 32, 10, 2, dim_z=4).eval() for name in "abc"}
    calls: list[tuple[str, int]] = []
    for name, network in networks.items():
        network.register_forward_hook(lambda _, given, __, name=name: calls.append((name, len(given[0]))))
    times = seconds_in_turns(networks, "cpu", rounds=2)
    assert calls == 2 * [(name, 64) for name in "aabbcc"], "each batch after one that is not timed"
    assert all(len(each) == 2 and min(each) > 0 for each in times.values())


def test_run_times_are_written_and_read_back() -> None:
    records = [fake_run("biggan"), fake_run("ppcd")]
    assert read_runtime(records[0]) is None
    whole = measure_runtime(records, rounds=3)
    path = paths.results("smoke") / "runtime.json"
    assert json.loads(path.read_text()) == whole
    settings = {"schema": 1, "threads": 1, "batch": 64, "rounds": 3, "gpu": None}
    assert settings.items() <= whole.items() and set(whole["runs"]) == {record["id"] for record in records}
    for record in records:
        timed = whole["runs"][record["id"]]
        assert timed["generator_sha256"] == record["files"]["generator.safetensors"]
        assert read_runtime(record) == {"cpu": statistics.median(timed["cpu"]), "gpu": None}


@pytest.mark.parametrize(("there", "instead"), [('256": "', '256": "1'), ('"threads": 1', '"threads": 2'), ("}", "")])
def test_run_times_of_other_weights_or_damaged_ones_are_not_read(there: str, instead: str) -> None:
    record = fake_run("ppcd")
    measure_runtime([record], rounds=1)
    path = paths.results("smoke") / "runtime.json"
    assert read_runtime(record) is not None
    path.write_text(path.read_text().replace(there, instead))
    assert read_runtime(record) is None


def test_it_is_measured_again_only_where_the_runs_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def count(records: list[Record], device: str) -> dict[str, Any]:
        measured.append([record["recipe"] for record in records])
        return measure_runtime(records, device, rounds=1)

    monkeypatch.setattr(timing, "measure_runtime", count)
    teacher, student = fake_run("biggan"), fake_run("ppcd")
    first = ensure_runtime(smoke(), [teacher])
    assert ensure_runtime(smoke(), [teacher]) == first and measured == [["biggan"]]
    both = ensure_runtime(smoke(), [teacher, student])
    assert ensure_runtime(smoke(), [student, teacher]) == both  # in whatever order
    student["files"]["generator.safetensors"] = "2" * 64  # as if it was trained again
    ensure_runtime(smoke(), [teacher, student])
    assert len(measured) == 3


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing.measure_runtime, "__defaults__", ("cpu", 1))
    assert main(["--profile", "smoke", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.strip() == "ppcd: profile smoke has no complete run of seeds 0; train one first"
    records = [fake_run("ppcd", seed=seed) for seed in (0, 1)]
    assert main(["--profile", "smoke", "--device", "cpu", "--seeds", "0"]) == 0
    assert read_runtime(records[0]) is not None and read_runtime(records[1]) is None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith(records[0]["id"]) and lines[0].endswith("ms per batch of 64")
