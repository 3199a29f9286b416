"""`make why`: from a number in a table back to its runs, and to the command that makes them again."""

import json
import re
import shlex
from typing import Any

import pytest
from fake_runs import PROVENANCE, TEACHER, fake_generations, fake_run, smoke

from paper import why
from paper.artifacts import tables
from paper.why import COLUMNS, FIGURE4, find_cell
from ppcd import paths
from ppcd.runs.train import main as train
from ppcd.training.config import run_config


def told(cell: str, seeds: tuple[int, ...] = (0,)) -> str:
    return why.describe(find_cell(cell, smoke(*seeds)))


def refused(cell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert why.main(["--cell", cell, "--profile", "smoke"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_the_value_of_every_cell_is_the_tables() -> None:
    for seed in (0, 1):
        for index, recipe in enumerate(("biggan", "tinygan", "ppcd", "distill-only", "ppcd-a0.5", "ppcd-no-pp")):
            fake_run(recipe, seed, params=1000 * (index + 1), seconds=0.01 * (index + 1), **{"is": 5.0 + index + seed})
    for table, make in why.MAKERS.items():
        frame = make(smoke(0, 1))
        lines = re.sub(r"\*\*|</?ins>", "", tables.markdown(frame)).splitlines()
        head, _, *body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
        ours = [
            place for place, heading in enumerate(head) if place > 1 and not heading.startswith(("paper's", "others'"))
        ]
        seen = set()
        for recipe, line in zip(frame["recipe"], body, strict=True):
            shown = [find_cell(f"{table}.{recipe}.{column}", smoke(0, 1)).shown for column in COLUMNS[table]]
            assert sorted(shown) == sorted(line[place] for place in ours)
            seen.add(shown[0])
        assert len(seen) > 2, "different rows have different values"


def test_exactly_the_runs_of_the_cell_are_told_with_their_values() -> None:
    for recipe in ("biggan", "ppcd", "ppcd-a0.5", "distill-only"):
        for seed, score in ((0, 4.25), (1, 100.0), (2, 5.75)):
            fake_run(recipe, seed, **{"is": score})
    rows = {"table1.ppcd": "ppcd", "table3.ppcd": "ppcd-a0.5", "table3.ppcd-a0.5": "ppcd-a0.5"}
    for row, recipe in (rows | {"table2.distill-only": "distill-only", "table1.biggan": "biggan"}).items():
        text = told(f"{row}.is", (0, 2))
        runs = re.findall(r"^run (\S+)$", text, re.MULTILINE)
        assert runs == [run_config("smoke", recipe, seed).id for seed in (0, 2)]
        assert re.findall(r"^  value +(\S+)$", text, re.MULTILINE) == ["4.25", "5.75"]
        assert text.splitlines()[0].endswith(".is = 5.00 ± 1.06")
    assert find_cell("table1.ppcd.fd", smoke()) == find_cell("table1.ppcd.fid", smoke())


def test_everything_that_decided_the_value_is_told() -> None:
    fake_run("biggan")
    record = fake_run("ppcd")
    text = told("table1.ppcd.fid")
    said = [record["id"], "seed 0", PROVENANCE["commit"] + " (clean)", "torch 2.14.1", record["config_hash"]]
    said += [record["data"]["identity"], record["data"]["sha256"], TEACHER["id"], TEACHER["generator_sha256"]]
    said += [record["files"]["generator.safetensors"] + ", the same on disk", "12.76 (ImageNet 128x128"]
    said += ["device cpu (processor a processor (AVX2), ", "backbone classifier", "samples 100"]
    assert [each for each in said if each not in " ".join(text.split())] == []
    settings = dict(re.findall(r"^    (\S+) = (.*)$", text, re.MULTILINE))
    assert json.loads(settings["recipe.alpha"]) == 0.7 and json.loads(settings["profile.batch_size"]) > 0
    assert "null" not in settings.values() and "profile.teacher_width" not in settings
    assert "teacher none needed" in " ".join(told("table1.biggan.fid").split())


def test_commit_and_device_of_the_run_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def told_with(**changes: Any) -> str:
        monkeypatch.setattr("fake_runs.PROVENANCE", PROVENANCE | changes)
        fake_run("ppcd")
        return told("table1.ppcd.fid")

    assert f"{PROVENANCE['commit']} (dirty" in told_with(dirty=True)
    unknown = told_with(commit=None, dirty=None)
    assert "unknown: it was not made in a git repository" in unknown and "git checkout" not in unknown
    assert told_with().rstrip().endswith("--seed 0 --device cpu")
    assert told_with(device="NVIDIA H100 80GB HBM3").rstrip().endswith("--seed 0 --device cuda")


def test_the_command_makes_that_very_run(capsys: pytest.CaptureFixture[str]) -> None:
    record = fake_run("ppcd-a0.5", seed=3)
    text = told("table3.ppcd.fid", (3,))
    shown = re.search(rf"    git checkout {PROVENANCE['commit']}\n    .* PPCD_RESULTS=.* -m ppcd train (.*)", text)
    assert shown and train([*shlex.split(shown[1]), "--dry-run"]) == 0
    assert record["id"] in capsys.readouterr().out


def test_a_changed_generator_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    record = fake_run("ppcd")
    cell = find_cell("table1.ppcd.fid", smoke())
    assert "the same on disk" in why.describe(cell) and "ANOTHER" not in why.describe(cell)
    path = record.directory / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert "ANOTHER FILE ON DISK" in why.describe(cell), "changed behind our back"
    assert "generator.safetensors was changed after the run wrote it" in refused("table1.ppcd.fid", capsys)


def test_a_cell_that_was_not_run_says_what_would_make_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert why.main(["--cell", "table2.distill-nas.is", "--profile", "smoke", "--seeds", "0 4"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("table2.distill-nas.is = not run\n")
    for seed in (0, 4):
        assert f"run {run_config('smoke', 'distill-nas', seed).id}: not run" in text
        assert f".venv/bin/python -m ppcd train --profile smoke --recipe distill-nas --seed {seed}\n" in text + "\n"
    fake_run("ppcd")
    on_gpu = told("table1.ppcd.gpu")
    assert on_gpu.startswith("table1.ppcd.gpu = not run\n") and "python -m paper timing --profile smoke" in on_gpu


def test_a_wrong_cell_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("", "ppcd"):
        line = refused(wrong, capsys)
        assert all(table in line for table in (*COLUMNS, "claims")), wrong
    for wrong in ("table1.ppcd.kept", "table1.distill-nas.fid", "table1.ppcd", "table1", "table1.ppcd-a0.5.fid"):
        line = refused(wrong, capsys)
        assert all(name in line for name in ("biggan", "sagan", "sngan", "tinygan", "ppcd", *COLUMNS["table1"])), wrong
    assert all(row in refused("fig4.ppcd-a0.9.fid", capsys) for row in FIGURE4)
    example = re.search(r"CELL=(\S+)", refused("table2.x.y", capsys))
    assert example and find_cell(example[1], smoke()).shown == "not run", "the example is a cell"


def test_a_point_of_figure_4_is_the_mean_of_its_generations() -> None:
    assert told("fig4.l1-biggan-a0.5.fid").startswith("fig4.l1-biggan-a0.5.fid = not run\n")
    first, second = fake_run("l1-biggan-a0.5", 0), fake_run("l1-biggan-a0.5", 1)
    unmeasured = told("fig4.l1-biggan-a0.5.fid")
    assert "= not run" in unmeasured and 'make reproduce PROFILE=smoke SEEDS="0" REUSE=1 does it' in unmeasured
    fake_generations(first, fd=[10.0 + step for step in range(10)])
    fake_generations(second, fd=[20.0 + step for step in range(10)])
    text = told("fig4.l1-biggan-a0.5.fid", (0, 1))
    assert text.startswith("fig4.l1-biggan-a0.5.fid = 19.50\n")
    assert "14.5, the mean of 10 11 12" in text and "24.5, the mean of 20 21 22" in text


def test_a_claim_has_the_runs_that_it_was_judged_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert "make claims PROFILE=smoke" in refused("claims.beats-sagan", capsys)
    record = fake_run("ppcd")
    fake_run("biggan")
    claim = {
        "id": "beats-sagan", "sentence": "PPCD-GAN beats SA-GAN.", "where": "section 4.3", "status": "not run",
        "measured": "", "runs": [record["id"]], "recipes": ["ppcd", "sagan"], "seeds": [0],
    }  # fmt: skip
    paths.write_atomic(paths.results("smoke") / "claims.json", json.dumps([claim]))
    text = told("claims.beats-sagan")
    assert text.startswith("claims.beats-sagan = not run\n") and "PPCD-GAN beats SA-GAN." in text
    assert re.findall(r"^run (\S+)$", text, re.MULTILINE) == [record["id"]]
    assert f"run {run_config('smoke', 'sagan', 0).id}: not run" in text
    assert "judged for other seeds" not in text and "judged for other seeds" in told("claims.beats-sagan", (0, 1))
    assert "beats-sagan" in refused("claims.x", capsys)
