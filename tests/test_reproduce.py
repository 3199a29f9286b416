"""Several runs at once, their progress, and `make reproduce`."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runs import fake_run, smoke
from reference import refused

from paper import numbers
from paper.claims import CLAIMS
from paper.notebook import notebook_parameters
from paper.reproduce import FIRST, PAPER_SCALE, RECIPES, main, notebooks, of_other_data, plan, reproduce
from paper.study import Study
from paper.why import FIGURE4
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.runs.directory import Run
from ppcd.runs.pool import LOG, run_all, separate_processes
from ppcd.runs.train import main as train
from ppcd.seeds import parse_seeds, write_seeds
from ppcd.training.config import RunConfig, run_config
from ppcd.training.recipes import TEACHER, get_recipe


def refuse(message: str) -> None:
    raise PpcdError(message)


def config_of(recipe: str, seed: int = 0) -> RunConfig:
    return run_config("smoke", recipe, seed)


class Machine:
    """Stands in for the machine: child processes that train nothing, and time that flies.

    Attributes:
        outcomes: recipe -> (exit code, what it leaves in its log); a recipe that is not there completes its run.
        duration: how often a child is asked before it has ended.
        children: in the order of their starts; ended: ids in order; most: children at one time.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[int, str]] = {}
        self.duration: Callable[[str], int] = lambda recipe: 2
        self.children: list[Child] = []
        self.ended: list[str] = []
        self.most = 0
        self.now = 0.0

    @property
    def started(self) -> list[str]:
        return [child.config.id for child in self.children]

    def sleep(self, seconds: float) -> None:
        self.now += 60.0
        assert self.now < 60 * 1000, "this goes on for ever"

    def monotonic(self) -> float:
        return self.now

    def start(self, command: list[str], stdout: Any, stderr: int, env: dict[str, str]) -> "Child":
        self.children.append(Child(self, command, env))
        self.most = max(self.most, sum(child.returncode is None for child in self.children))
        return self.children[-1]


class Child:
    returncode: int | None = None
    terminated = False

    def __init__(self, machine: Machine, command: list[str], environment: dict[str, str]) -> None:
        self.machine, self.command, self.environment, self.asked = machine, command, environment, 0
        arguments = command[command.index("train") + 1 :]
        options = dict(zip(arguments[::2], arguments[1::2], strict=False))
        self.recipe, self.seed = options["--recipe"], int(options["--seed"])
        self.config = run_config(options["--profile"], self.recipe, self.seed, precision=options["--precision"])
        teacher = self.config.teacher()
        assert teacher is None or Run(teacher).state == "complete", "a student before its teacher"

    def poll(self) -> int | None:
        self.asked += 1
        progress = {"iteration": min(24, 12 * self.asked), "total": 24}
        self.config.directory.joinpath("progress.json").write_text(json.dumps(progress))
        if self.returncode is None and self.asked >= self.machine.duration(self.recipe):
            self.returncode, said = self.machine.outcomes.get(self.recipe, (0, "complete\n"))
            (self.config.directory / LOG).write_text(said)
            if self.returncode == 0:
                fake_run(self.recipe, self.seed)
            self.machine.ended.append(self.config.id)
        return self.returncode

    def terminate(self) -> None:
        self.terminated = True

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    result = Machine()
    monkeypatch.setattr("ppcd.runs.pool.start_process", result.start)
    clock = types.SimpleNamespace(sleep=result.sleep, monotonic=result.monotonic)
    monkeypatch.setattr("ppcd.runs.pool.time", clock)
    monkeypatch.setattr("ppcd.progress.time", clock)
    return result


def test_students_wait_for_their_teacher_and_nobody_else_does(machine: Machine) -> None:
    machine.duration = lambda recipe: 6 if recipe == TEACHER else 2
    configs = [config_of(name, seed) for seed in (0, 1) for name in ("ppcd", "sagan", "ppcd-no-cd")]
    runs = run_all(configs, workers=3)
    assert [run.directory for run in runs] == [config.directory for config in configs]
    assert all(run.state == "complete" for run in runs)
    assert len(machine.started) == len(set(machine.started)) == 8
    assert machine.most == 3  # every worker is used, and no more
    for seed in (0, 1):
        teacher, student = config_of(TEACHER, seed).id, config_of("ppcd", seed).id
        assert machine.ended.index(teacher) < machine.started.index(student)
    assert machine.ended.index(config_of("ppcd-no-cd", 0).id) < machine.ended.index(config_of(TEACHER, 0).id)


def test_children_get_a_command_that_trains_the_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each child has one thread, and no images that its digits are not made of: the command would refuse them."""
    monkeypatch.setenv("PPCD_DATA", "images")
    config = run_config("smoke", "ppcd-no-cd-a0.55", 7, precision="bf16")
    run_all([config], device="cpu", workers=1)
    (child,) = machine.children
    assert "PPCD_DATA" not in child.environment and child.environment["OMP_NUM_THREADS"] == "1"
    monkeypatch.delenv("PPCD_DATA")
    capsys.readouterr()
    assert train([*child.command[4:], "--dry-run"]) == 0
    assert config.hash in capsys.readouterr().out


def test_several_processes_may_train_each_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side are as many runs as their processes fill the cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)), raising=False)
    run_all([config_of("sagan", seed) for seed in range(5)], processes=2)
    assert machine.most == 3
    assert all("--num_processes 2 " in " ".join(child.command) for child in machine.children)


def test_runs_of_the_reference_are_copied_or_trained_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [Run(config_of(TEACHER)), Run(config_of("ppcd"))]
    for recipe in (TEACHER, "ppcd"):
        fake_run(recipe)
    given[0].write_file("log.txt", "of whoever trained it")
    shutil.move(paths.results("smoke").parent, tmp_path / "reference")
    monkeypatch.setattr(paths, "reference", (tmp_path / "reference").__truediv__)
    fake_run("sagan")
    configs = [config_of("ppcd"), config_of("sagan")]
    run_all(configs, workers=2, retrain=False)
    own = paths.results("smoke")
    assert machine.started == []
    assert capsys.readouterr().err == f"2 runs of the reference were copied to {own}\n"
    assert all(run.state == "complete" and not run.trained_here for run in given)
    assert not (given[0].directory / "log.txt").exists()
    run_all(configs, workers=2, retrain=False)
    assert machine.started == [] and capsys.readouterr().err == ""  # complete runs are left alone
    run_all(configs, workers=2, retrain=True)
    assert machine.started == [run.config.id for run in given]
    assert all(run.trained_here for run in given)
    run_all(configs, workers=2, retrain=True)
    assert len(machine.started) == 2  # once on a machine


def test_a_failing_teacher_blocks_its_students_only(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.outcomes[TEACHER] = (2, "started\nsome warning\nppcd: loss_d is not finite\n")
    configs = [config_of("ppcd"), config_of("ppcd-no-pp"), config_of("sagan"), config_of("ppcd-no-cd")]
    teacher = config_of(TEACHER)
    why = f"loss_d is not finite (see {teacher.directory / LOG})"
    blocked = [f"{student.id}: its teacher {teacher.id} failed" for student in configs[:2]]
    with refused(f"{teacher.id}: {why}", *blocked) as caught:
        run_all(configs, workers=2)
    assert [Run(config).state for config in configs] == ["absent", "absent", "complete", "complete"]
    assert "sagan" not in str(caught.value)
    lines = capsys.readouterr().err.splitlines()
    assert f"{teacher.id} failed: {why}" in lines and f"{configs[2].id} complete" in lines


LAUNCHER = "ppcd: a batch of 8 cannot be shared by 3 processes\nFailures:\n<NO_OTHER>\n====\n"


def test_a_failing_student_leaves_the_others_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.outcomes["ppcd"] = (1, "Traceback (most recent call last):\n  ...\nRuntimeError: no space left\n")
    machine.outcomes["ppcd-no-cd"] = (1, "")
    machine.outcomes["sngan"] = (-9, "sngan 12/24 (50%)\n")
    machine.outcomes["tinygan"] = (1, LAUNCHER)
    configs = [config_of(name) for name in ("ppcd", "ppcd-no-pp", "ppcd-no-cd", "sagan", "sngan", "tinygan")]
    said = ("RuntimeError: no space left", "it ended without a word", "signal 9", "cannot be shared by 3 processes")
    with refused(*said, "; ") as caught:
        run_all(configs, workers=2)
    assert "====" not in str(caught.value), "what the launcher adds"
    assert [Run(config).state == "complete" for config in configs] == [False, True, False, True, False, False]
    monkeypatch.setattr("ppcd.runs.pool.ROOM", 2**63)
    with refused("the disk is full"):
        run_all([config_of("ppcd-no-cd")], workers=1)
    machine.outcomes.clear()
    run_all(configs, workers=2)  # the same command goes on
    assert all(Run(config).state == "complete" for config in configs)


def test_an_interrupt_ends_the_children(machine: Machine) -> None:
    asked = itertools.count()

    def interrupted(recipe: str) -> int:
        if next(asked) == 3:
            raise KeyboardInterrupt
        return 100

    machine.duration = interrupted
    configs = [config_of("sagan", seed) for seed in range(3)]
    with pytest.raises(KeyboardInterrupt):
        run_all(configs, workers=2)
    assert [child.terminated for child in machine.children] == [True, True]


def test_what_interrupts_the_block_ends_the_processes() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), separate_processes() as processes:
        pid = processes.submit(os.getpid).result()
        processes.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 120
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_processes_end_when_their_parent_is_killed() -> None:
    """Even in the middle of their work, as after an out-of-memory kill of the parent."""
    code = (
        "import os, sys, time\nfrom ppcd.runs.pool import separate_processes\n"
        "if __name__ == '__main__':\n"
        "    with separate_processes() as processes:\n"
        "        print(processes.submit(os.getpid).result(), flush=True)\n"
        "        processes.submit(time.sleep, 600).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.05)


def test_a_log_reads_well(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole lines, no control characters, from what is to be done to what was done."""
    machine.duration = lambda recipe: 3
    run_all([config_of("ppcd")], workers=1)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith("\n")
    teacher, student = config_of(TEACHER).id, config_of("ppcd").id
    assert captured.err.startswith(f"to train: {teacher}, {student}\n{teacher} started\n")
    assert f"{teacher} complete\n" in captured.err and f"{student} complete\n" in captured.err
    percents = [int(percent) for percent in re.findall(r" of 2 runs: .*?(\d+)%", captured.err)]
    assert len(percents) > 2 and percents == sorted(percents) and percents[-1] == 100
    assert not re.search(r"[\r\x1b]|None|nan|Traceback", captured.err)


def test_the_plan_covers_every_table_figure_and_claim() -> None:
    """Every row of the three tables, every point of Figure 4 and every claim has its runs, and nothing is in vain."""
    ablation = {get_recipe(recipe, numbers.TABLE3_ALPHA).name for recipe in numbers.TABLE3_ROWS}
    curves = {get_recipe(*point).name for point in FIGURE4.values()}
    claimed = {recipe for claim in CLAIMS for recipe in claim.recipes}
    needed = {TEACHER, *ablation, *curves, *numbers.TABLE1_ROWS, *numbers.TABLE2_ROWS}
    assert claimed - needed == {"ppcd-no-cd"}  # left out for the sake of time
    assert needed == set(RECIPES) and len(RECIPES) == len(set(RECIPES))
    assert [config.recipe.name for config in plan(smoke())] == list(RECIPES)
    assert {TEACHER, *ablation} < set(FIRST) and len(FIRST) < len(RECIPES) / 3


@pytest.mark.parametrize("profile", ["mnist", "cifar10-lite"])
def test_the_notebooks_take_their_parameters_and_train_nothing(profile: str) -> None:
    assert "08_paper_scale" not in dict(notebooks(Study.of(profile, [3, 4])))  # nothing was measured that it could show
    paths.write_atomic(paths.results(PAPER_SCALE) / "paper_scale.json", "{}")
    listed = dict(notebooks(Study.of(profile, [3, 4])))
    for name, given in listed.items():
        known = notebook_parameters(paths.repository() / "notebooks" / f"{name}.ipynb")
        assert set(given) <= set(known)
        assert given.get("train_missing") is (False if "train_missing" in known else None)
        assert (given["profile"], given["seed"]) == (PAPER_SCALE if name == "08_paper_scale" else profile, 3)
    assert listed["08_paper_scale"]["measure"] == "never"
    assert dict(notebooks(Study.of(PAPER_SCALE)))["08_paper_scale"]["measure"] == "missing"
    assert listed["03_ablation"]["alpha"] == numbers.TABLE3_ALPHA
    assert listed["09_report"]["seeds"] == [3, 4] and list(listed)[-1] == "09_report"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What reproduce asks for, by name; nothing is done."""
    asked: list[tuple[Any, ...]] = []

    wanted = ("run_all", "ensure_generations", "ensure_real_images", "ensure_runtime")
    places = [f"paper.reproduce.{name}" for name in wanted]
    report = "paper.artifacts.report"
    for place in [*places, "paper.notebook.execute", f"{report}.build_report", f"{report}.build_tabs"]:
        name = place.rpartition(".")[2]
        monkeypatch.setattr(place, lambda *given, name=name, **named: asked.append((name, *given, named)))
    return asked


def test_reproduce_trains_then_executes_then_reports(
    steps: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce(smoke(0, 1), device="cpu")
    build = ["execute"] * len(notebooks(smoke())) + ["build_report"]
    measured = ["ensure_generations", "ensure_real_images", "ensure_runtime"]
    assert [name for name, *_ in steps] == ["run_all", *measured, *build]
    assert steps[0][1] == plan(smoke(0, 1))
    target = paths.results("smoke") / "notebooks"
    assert [step[2] for step in steps[4:-1]] == [target / f"{name}.ipynb" for name, _ in notebooks(smoke())]
    assert steps[-1][1:3] == (target / "09_report.ipynb", smoke(0, 1))
    assert str(paths.results("smoke") / "tables") in capsys.readouterr().out
    steps.clear()
    reproduce(smoke(), report_only=True)
    assert [name for name, *_ in steps] == build


def test_the_ablation_is_shown_while_others_train(
    steps: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, after the last of its runs that had to be trained; where the notebook fails, the trainings go on."""
    fake_run("biggan", 0)
    for fails in (False, True):
        reproduce(smoke(0, 1), device="cpu")
        runs, when_done = plan(smoke(0, 1)), steps[0][-1]["when_done"]
        steps.clear()
        if fails:
            monkeypatch.setattr("paper.notebook.execute", lambda *given: refuse("the notebook failed"))
        for count, config in enumerate(runs):
            if config.recipe.name != TEACHER or config.seed != 0:
                when_done(config)
            assert [step[2].name for step in steps] == ["03_ablation.ipynb"] * (
                count + 1 >= 2 * len(FIRST) and not fails
            )
        steps.clear()
    assert capsys.readouterr().err.count("the notebook failed") == 1


@pytest.mark.parametrize(
    ("profile", "asked", "expected"),
    [("mnist", None, True), ("cifar10-lite", None, False), ("mnist", False, False), ("cifar10-lite", True, True)],
)
def test_only_profiles_of_minutes_are_trained_again(
    steps: list[tuple[Any, ...]], profile: str, asked: bool | None, expected: bool
) -> None:
    for seed in range(4):
        fake_run("ppcd", seed, profile)
    reproduce(Study.of(profile, [0, 1, 2]), device="cpu", retrain=asked)
    assert steps[0][-1]["retrain"] is expected
    assert {run["seed"] for run in steps[1][2]} == {0, 1, 2}, "none is measured that only a question asks for"


def test_the_reports_of_several_profiles_become_one_page(
    steps: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PPCD_DATA is for those whose images may be the user's own; where none may, it is refused."""
    monkeypatch.setenv("PPCD_DATA", "folder-0123456789ab")
    assert main(["--profile", "smoke cifar10-lite", "--seeds", "2", "--report-only"]) == 0
    assert [name for name, *_ in steps if name != "execute"] == ["build_report", "build_report", "build_tabs"]
    assert [(study.name, study.seeds) for study in steps[-1][1]] == [("smoke", (0, 1)), ("cifar10-lite", (0, 1))]
    steps.clear()
    for names, said in (("smoke mnist", "has no effect at profile smoke"), ("smoke imagenet", "unknown profile")):
        assert main(["--profile", names, "--report-only"]) == 2
        assert said in capsys.readouterr().err and steps == []


def test_runs_of_other_images_are_named_and_how_to_build_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_DATA", "folder-0123456789ab")
    fake_run("ppcd", profile="cifar10-lite")
    assert of_other_data(Study.of("cifar10-lite")) is None
    monkeypatch.delenv("PPCD_DATA")
    said = of_other_data(Study.of("cifar10-lite")) or ""
    assert "of the images folder-0123456789ab, and torchvision-cifar10 is asked for" in said
    assert "DATA=folder-0123456789ab builds from them" in said


@pytest.mark.parametrize(("text", "seeds"), [("0 1 2", [0, 1, 2]), (" 7,\t3 ", [7, 3]), ("3", [0, 1, 2]), ("7,", [7])])
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == parse_seeds(write_seeds(seeds)) == seeds


@pytest.mark.parametrize("text", ["", ",", "0 1 x", "-1", "1.5", "0 0", "²"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with refused("seeds must be different whole numbers", repr(text)):
        parse_seeds(text)


def test_a_dry_run_shows_the_plan_and_does_nothing(fresh_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "smoke", "--seeds", "0 1", "--dry-run"]) == 0
    captured, runs = capsys.readouterr(), plan(smoke(0, 1))
    assert [config.id for config in runs if config.hash not in captured.out] == [] and captured.err == ""
    assert captured.out.endswith(f"{len(runs)} runs: 0 complete, 0 begun, {len(runs)} not started\n")
    assert not any(path.is_file() for path in fresh_cache.parent.rglob("*"))


@pytest.mark.parametrize(
    ("option", "given"), [("--profile", "imagenet"), ("--seeds", "4294967296"), ("--device", "tpu")]
)
def test_an_error_of_use_is_one_line_and_exit_code_2(
    option: str, given: str, fresh_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--profile", "smoke", option, given]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ppcd: ") and captured.err.count("\n") == 1 and given in captured.err
    assert captured.out == "" and not any(path.is_file() for path in fresh_cache.parent.rglob("*"))


@pytest.mark.parametrize("content", ["[]", "{", '{"status": "complete", "config": 3}'])
def test_a_changed_run_does_not_stop_the_look_for_other_data(content: str) -> None:
    paths.write_atomic(paths.results("smoke") / "runs" / "biggan-s0-00000000" / "run.json", content)
    assert of_other_data(smoke()) is None
