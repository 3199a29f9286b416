"""`python -m ppcd gpu-train`: pieces on several machines, what is carried between them, and what is refused."""

import io
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from reference import refused

from ppcd.base import PpcdError
from ppcd.networks.io import LAST_STATE, file_on_cpu, load_last_state
from ppcd.records import file_hash
from ppcd.runs import carried, gpu_train
from ppcd.runs.carried import AVERAGES, MANIFEST, NO_BEST, PARTS, SECOND_MOMENTS, STEPS, WEIGHTS
from ppcd.runs.directory import Run
from ppcd.runs.gpu_train import PLAN, main, needed, train_piece
from ppcd.runs.train import train_run
from ppcd.training.config import RunConfig, run_config
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe

Machine = Callable[[str], None]
SHORT = 1 / 6  # minutes of a piece: 10 seconds, and so many steps at most
GIVEN = ("--profile", "smoke", "--precision", "no", "--device", "cpu")


class Ticks:
    """A clock that goes on by a second whenever somebody looks at it."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def plan(quick: Any, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The first two runs, the teacher and what begins from its last state."""
    monkeypatch.setattr(gpu_train, "PLAN", PLAN[:2])
    return [run_config("smoke", recipe, 0) for recipe in PLAN[:2]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Go on at another machine: one with other results."""
    return lambda name: monkeypatch.setenv("PPCD_RESULTS", str(tmp_path / name))


@pytest.fixture(scope="module")
def piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine on which one piece was trained, a part of the teacher, and its folder."""
    made = tmp_path_factory.mktemp("piece")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(made / "first"))
        train_piece([run_config("smoke", recipe, 0) for recipe in PLAN[:2]], made / "folder", SHORT, clock=Ticks())
    return made


@pytest.fixture
def folder(piece: Path, plan: list[RunConfig], machine: Machine, tmp_path: Path) -> Path:
    """What the first piece left, at its machine."""
    shutil.copytree(piece, tmp_path, dirs_exist_ok=True)
    machine("first")
    return tmp_path / "folder"


def checkpoint_in(folder: Path) -> dict[str, Any]:
    """The last checkpoint in a folder, as it is carried."""
    manifest, stream = carried._read(folder)
    files = [file for entry in manifest["runs"] for file in entry["files"]]
    assert files[-1]["name"] == "checkpoint.pt"
    return torch.load(io.BytesIO(stream[-files[-1]["bytes"] :]), weights_only=True)


def test_the_plan_is_the_teacher_what_begins_from_it_and_its_students() -> None:
    recipes = [get_recipe(name) for name in PLAN]
    assert recipes[0].name == "biggan" and recipes[1].start == "teacher" and recipes[1].distil
    assert len(set(PLAN)) == len(PLAN) >= 5


def test_pieces_on_many_machines_end_with_the_bits_of_one_training(
    quick: Any, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = replace(get_profile("smoke"), name="shorter", teacher_iterations=6, iterations=12)
    plan, folder = [run_config(shorter, recipe, 0) for recipe in PLAN[:2]], tmp_path / "folder"
    machine("straight")
    for config in plan:
        train_run(config, callbacks=[])
    straight = [(Run(config).read(), pd.read_csv(Run(config).path("history.csv"))) for config in plan]

    monkeypatch.setattr(carried, "PART", 100_000)
    states: list[dict[str, Any]] = []
    while not states or [each["state"] for each in states[-1].values()] != ["complete", "complete"]:
        machine(f"machine {len(states)}")
        moved = folder.replace(tmp_path / f"home {len(states)}") if folder.is_dir() else folder
        manifest = train_piece(plan, moved, SHORT, clock=Ticks())
        folder = moved
        assert len(manifest["parts"]) > 1 and max(path.stat().st_size for path in folder.glob(PARTS)) <= 100_000
        assert sum(path.stat().st_size for path in folder.iterdir()) / 1e6 == pytest.approx(manifest["megabytes"])
        assert {path.suffix for path in folder.iterdir()} == {".json", ".part"}
        states.append({each["id"]: each for each in manifest["runs"]})
        if states[-1][list(states[-1])[-1]]["state"] == "partial":
            moments = checkpoint_in(folder)["optimizer_g"]["state"].values()
            assert moments and all(set(each) == {"step", "exp_avg_sq"} for each in moments)
    assert len(states) >= 3

    # The teacher's training had ended in the first piece, and was measured in the second
    first = states[0][plan[0].id]
    assert (first["state"], first["iteration"], first["total"]) == ("partial", 6, 6)
    assert states[1][plan[0].id]["state"] == "complete" and states[1][plan[0].id]["fd"] == 1.0
    for config, (record, history) in zip(plan, straight, strict=True):
        found = Run(config).read()
        assert found["files"][carried.GENERATOR] == record["files"][carried.GENERATOR]
        assert found["training"]["last"] == record["training"]["last"] and found["teacher"] == record["teacher"]
        assert found["masks"] == record["masks"] and Run(config).trained_here
        again = pd.read_csv(Run(config).path("history.csv"))
        assert again["loss_adv"].tolist() == history["loss_adv"].tolist()
        pieces = found["provenance"]["carried"]
        assert [each["iteration"] for each in pieces] == [
            entry["iteration"] for state in states if (entry := state.get(config.id)) and entry["state"] == "partial"
        ]
        assert pieces and all(each["changed"] == [] for each in pieces)

    # The student's record names the teacher's weights, which are not rounded any more
    assert carried.write(plan, folder, 0)["runs"][0]["changed"] == []


def test_what_is_too_large_is_rounded_in_this_order(
    folder: Path, plan: list[RunConfig], machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the training goes on from it to its end; its record says what was rounded when."""
    kept = file_on_cpu(Run(plan[0]).path("checkpoint.pt"))
    size, seen = carried.write(plan, folder, math.inf)["megabytes"], list[list[str]]()
    while len(seen) < 3:
        manifest = carried.write(plan, folder, size - 0.001)
        assert manifest["megabytes"] < size - 0.001
        size = manifest["megabytes"]
        seen.append(manifest["runs"][0]["changed"])
    assert seen == [[SECOND_MOMENTS], [SECOND_MOMENTS, AVERAGES], [SECOND_MOMENTS, AVERAGES, WEIGHTS]]
    said = f"{plan[0].id}: to fit into {size + 0.001:g} MB".rsplit(" ", 2)[0]
    assert said in capsys.readouterr().err.splitlines()[-1]

    machine("second")
    carried.unpack(plan, folder)
    taken = file_on_cpu(Run(plan[0]).path("checkpoint.pt"))
    for name in ("linear.weight", "blocks.0.conv1.weight"):
        before, after = kept["generator"][name], taken["generator"][name]
        assert after.dtype == torch.float32 and torch.equal(after, before.bfloat16().float())
        assert not torch.equal(after, before)
    assert torch.equal(taken["generator"]["linear.bias"], kept["generator"]["linear.bias"])
    assert torch.equal(taken["noise"], kept["noise"])
    train_piece(plan[:1], folder, 60)
    carries = Run(plan[0]).read()["provenance"]["carried"]
    assert carries == [{"iteration": kept["iteration"], "changed": seen[-1]}]


def test_a_complete_teacher_is_rounded_with_its_last_state(
    folder: Path, plan: list[RunConfig], machine: Machine
) -> None:
    train_run(plan[0], callbacks=[])
    before = Run(plan[0]).read()
    (entry,) = carried.write(plan, folder, 0)["runs"]
    assert entry["changed"] == [SECOND_MOMENTS, AVERAGES, WEIGHTS]
    assert {file["name"] for file in entry["files"]} == {"run.json", "history.csv", carried.GENERATOR, *LAST_STATE}

    machine("second")
    carried.unpack(plan, folder)
    after = Run(plan[0]).read()  # its hashes are those of the rounded files
    assert after["provenance"]["carried"] == [{"iteration": 12, "changed": entry["changed"]}]
    differing = {name for name, digest in after["files"].items() if before["files"][name] != digest}
    assert differing == {carried.GENERATOR, *LAST_STATE}
    weights = load_last_state(plan[0].directory).generator.linear.weight
    assert weights.dtype == torch.float32 and torch.equal(weights, weights.bfloat16().float())

    # The second run begins from the last state, which is not carried any more from then on
    manifest = train_piece(plan, folder, SHORT, clock=Ticks())
    assert manifest["runs"][1]["state"] == "partial"
    assert not {file["name"] for file in manifest["runs"][0]["files"]} & {*LAST_STATE}


def test_the_best_generator_is_carried_where_there_is_room(folder: Path, plan: list[RunConfig]) -> None:
    run = Run(plan[0])
    state = file_on_cpu(run.path("checkpoint.pt"))
    run.write_file("best.safetensors", bytes(50_000))
    state["watched"]["best"] = {"sha256": file_hash(run.path("best.safetensors"))}  # type: ignore[index]
    torch.save(state, run.path("checkpoint.pt"))
    manifest = carried.write(plan, folder, math.inf)
    assert "best.safetensors" in {file["name"] for file in manifest["runs"][0]["files"]}
    manifest = carried.write(plan, folder, manifest["megabytes"] - 0.02)
    assert manifest["runs"][0]["changed"] == [NO_BEST] == [STEPS[0]]
    assert "best.safetensors" not in {file["name"] for file in manifest["runs"][0]["files"]}
    assert checkpoint_in(folder)["watched"]["best"] is None


def test_the_megabytes_that_are_needed_are_known_before(folder: Path, plan: list[RunConfig]) -> None:
    """What a checkpoint takes, a little more on the safe side, and a reserve for texts."""
    (entry,) = carried.write(plan, folder, 0)["runs"]
    expected = needed(plan[:1]) - gpu_train.TEXTS
    assert 0.8 * expected < entry["files"][-1]["bytes"] / 1e6 < expected
    assert needed(plan) > needed(plan[:1])


def cut(folder: Path) -> None:
    path = next(folder.glob(PARTS))
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def edited(folder: Path) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    content["runs"][0]["files"][0]["bytes"] += 1
    (folder / MANIFEST).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        (cut, (), r".part is damaged; copy the folder again, or give another --carry to start afresh"),
        (lambda folder: next(folder.glob(PARTS)).unlink(), (), r".part is missing; copy the folder again"),
        (lambda folder: (folder / MANIFEST).unlink(), (), f"{MANIFEST} is missing; copy the folder again"),
        (edited, (), f"{MANIFEST} is damaged; copy the folder again"),
        (None, ("--seed", "1"), "is of profile smoke, seed 0, precision no; this is profile smoke, seed 1, precision"),
        (None, ("--profile", "mnist"), "is of profile smoke, seed 0, precision no; this is profile mnist, seed 0"),
        (None, ("--precision", "bf16"), "this is profile smoke, seed 0, precision bf16: give another --carry"),
        (None, ("--megabytes", "0.9"), "0.9 megabytes are too few: with everything rounded that may be, a piece of"),
        (None, ("--minutes", "0"), "--minutes takes a positive number; got 0"),
    ],
)
def test_what_cannot_be_taken_up_is_one_line_and_nothing_is_trained(
    change: Any,
    given: tuple[str, ...],
    said: str,
    folder: Path,
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine("second")
    if change is not None:
        change(folder)
    monkeypatch.setattr(gpu_train, "train_run", lambda *_, **__: pytest.fail("something is trained"))
    capsys.readouterr()
    assert main([*GIVEN, "--carry", str(folder), *given]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ppcd: ") and said in line
    if "megabytes" not in said:
        assert not (tmp_path / "second").exists()


def test_the_further_one_counts(folder: Path, plan: list[RunConfig], machine: Machine, tmp_path: Path) -> None:
    def reached() -> object:
        return file_on_cpu(Run(plan[0]).path("checkpoint.pt"))["iteration"]

    early = shutil.copytree(folder, tmp_path / "early")
    train_piece(plan, folder, 1 / 15, clock=Ticks())
    later = reached()
    carried.unpack(plan, early)
    assert reached() == later
    machine("second")
    carried.unpack(plan, early)
    assert reached() != later
    carried.unpack(plan, folder)
    assert reached() == later and Run(plan[0]).state == "partial"


def test_a_training_that_fails_takes_nothing_with_it_and_a_finished_plan_says_so(
    plan: list[RunConfig],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine("first")
    carry = ("--carry", str(tmp_path / "folder"))

    def fails(config: RunConfig, **options: Any) -> Run:
        if config is not plan[0]:
            raise PpcdError("a loss is not finite")
        return train_run(config, **options)

    with monkeypatch.context() as patch:
        patch.setattr(gpu_train, "train_run", fails)
        with refused("a loss is not finite"):
            train_piece(plan, tmp_path / "folder", 60)
    machine("second")
    assert main([*GIVEN, *carry, "--minutes", "1e-9"]) == 0  # no time: nothing is begun
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and said[0].startswith("gpu-train on cpu: profile smoke, seed 0, precision no; ")
    assert said[2].split()[:4] == [plan[0].id, "12", "12", "1.00"] and said[2].endswith("complete run and last state")
    assert said[3].split() == [plan[1].id, "0", "24", "–", "–", "nothing"]

    monkeypatch.setattr(gpu_train, "train_run", lambda *_, **__: pytest.fail("something is trained"))
    monkeypatch.setattr(gpu_train, "PLAN", PLAN[:1])
    machine("third")
    assert main([*GIVEN, *carry]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("the plan is complete: its runs are in ") and said[3].endswith("complete run")
