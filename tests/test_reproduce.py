"""Several runs at once, their progress, and `make reproduce`."""

import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import fake_run
from reference import refused

import paper.notebook
import paper.reproduce
import ppcd.base
import ppcd.progress
import ppcd.runs.pool
import ppcd.runs.train
import ppcd.training.config
from paper import numbers
from paper.artifacts import report
from paper.claims import CLAIMS
from paper.notebook import notebook_parameters
from paper.reproduce import (
    PAPER_SCALE,
    RECIPES,
    TRAINED_AGAIN,
    main,
    notebooks,
    of_other_data,
    plan,
    reproduce,
)
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.runs.directory import Run
from ppcd.runs.pool import LOG, run_all, separate_processes
from ppcd.seeds import parse_seeds, write_seeds
from ppcd.training.config import RunConfig, run_config
from ppcd.training.recipes import TEACHER, get_recipe


def config_of(recipe: str, seed: int = 0) -> RunConfig:
    return run_config("smoke", recipe, seed)


class Machine:
    """Stands in for the machine: child processes that train nothing, and time that flies.

    Attributes:
        outcomes: recipe -> (exit code, what it leaves in its log); a recipe that is not there completes its run.
        duration: how often a child is asked before it has ended.
        started, ended, terminated: ids in order; alive: those running; most: of them at one time.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, tuple[int, str]] = {}
        self.duration: Callable[[str], int] = lambda recipe: 2
        self.started: list[str] = []
        self.ended: list[str] = []
        self.alive: list[str] = []
        self.terminated: list[str] = []
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.most = 0
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 5
        self.now += 60.0
        assert self.now < 60 * 1000, "this goes on for ever"

    def monotonic(self) -> float:
        return self.now

    def start(self, command: list[str], stdout: Any, stderr: int, env: dict[str, str]) -> "Child":
        assert stderr == subprocess.STDOUT and stdout.writable()
        self.commands.append(command)
        self.environments.append(env)
        return Child(self, command)


class Child:
    returncode: int | None = None

    def __init__(self, machine: Machine, command: list[str]) -> None:
        self.machine, self.asked = machine, 0
        arguments = command[command.index("train") + 1 :]
        options = dict(zip(arguments[::2], arguments[1::2], strict=False))
        self.recipe, self.seed = options["--recipe"], int(options["--seed"])
        self.config = run_config(options["--profile"], self.recipe, self.seed, precision=options["--precision"])
        teacher = self.config.teacher()
        assert teacher is None or Run(teacher).state == "complete", "a student before its teacher"
        assert Run(self.config).state != "complete", "a complete run is trained"
        machine.started.append(self.config.id)
        machine.alive.append(self.config.id)
        machine.most = max(machine.most, len(machine.alive))

    def poll(self) -> int | None:
        self.asked += 1
        total = 24
        progress = {"iteration": min(total, 12 * self.asked), "total": total}
        self.config.directory.joinpath("progress.json").write_text(json.dumps(progress))
        if self.returncode is None and self.asked >= self.machine.duration(self.recipe):
            self._end()
        return self.returncode

    def _end(self) -> None:
        code, said = self.machine.outcomes.get(self.recipe, (0, "complete\n"))
        (self.config.directory / LOG).write_text(said)
        if code == 0:
            fake_run(self.recipe, self.seed)
        self.returncode = code
        self.machine.alive.remove(self.config.id)
        self.machine.ended.append(self.config.id)

    def terminate(self) -> None:
        self.machine.terminated.append(self.config.id)

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    result = Machine()
    monkeypatch.setattr(ppcd.runs.pool, "start_process", result.start)
    clock = types.SimpleNamespace(sleep=result.sleep, monotonic=result.monotonic)
    monkeypatch.setattr(ppcd.runs.pool, "time", clock)
    monkeypatch.setattr(ppcd.progress, "time", clock)
    return result


# ------------------------------------------------------------ which runs, and in which order


def test_students_wait_for_their_teacher_and_nobody_else_does(machine: Machine) -> None:
    machine.duration = lambda recipe: 6 if recipe == TEACHER else 2
    configs = [config_of(name, seed) for seed in (0, 1) for name in ("ppcd", "sagan", "ppcd-no-cd")]
    runs = run_all(configs, workers=3)
    assert [run.directory for run in runs] == [config.directory for config in configs]
    assert all(run.state == "complete" for run in runs)
    assert machine.started[:3] == [config_of(TEACHER, 0).id, config_of(TEACHER, 1).id, config_of("sagan", 0).id]
    assert len(machine.started) == len(set(machine.started)) == 8
    assert machine.most == 3  # every worker is used, and no more
    for seed in (0, 1):
        teacher, student = config_of(TEACHER, seed).id, config_of("ppcd", seed).id
        assert machine.ended.index(teacher) < machine.started.index(student)
    assert machine.ended.index(config_of("ppcd-no-cd", 0).id) < machine.ended.index(config_of(TEACHER, 0).id)


def test_children_get_a_command_that_trains_the_run(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything but images and teacher is an argument; each child has one thread, and its output goes into its log.

    Images that its digits are not made of are none of its business: the command would refuse them.
    """
    monkeypatch.setenv("PPCD_DATA", "images")
    config = run_config("smoke", "ppcd-no-cd-a0.55", 7, precision="bf16")
    run_all([config], device="cpu", workers=1)
    (command,), (environment,) = machine.commands, machine.environments
    assert command[1:4] == ["-m", "ppcd", "train"] and "PPCD_DATA" not in environment
    monkeypatch.delenv("PPCD_DATA")
    assert environment["OMP_NUM_THREADS"] == "1" and environment["PPCD_RESULTS"] == str(tmp_path / "results")
    assert (config.directory / "log.txt").read_text() == "complete\n"
    capsys.readouterr()
    assert ppcd.runs.train.main([*command[4:], "--dry-run"]) == 0
    assert config.hash in capsys.readouterr().out


def test_several_processes_may_train_each_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate starts them; side by side are so many runs as their processes fill the cores."""
    monkeypatch.setattr(ppcd.base.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    run_all([config_of("sagan", seed) for seed in range(5)], processes=2)
    assert machine.most == 3
    for command in machine.commands:
        assert command[command.index("launch") :][:4] == ["launch", "--multi_gpu", "--num_processes", "2"]
        start = command.index("-m", 3)
        assert command[start + 1 : start + 3] == ["ppcd", "train"]
    with refused("at least one process", "0"):
        run_all([config_of("sagan", 9)], processes=0)


def test_what_the_launcher_adds_does_not_hide_what_went_wrong(machine: Machine) -> None:
    said = "ppcd: a batch of 8 cannot be shared by 3 processes; take one of: 1, 2, 4, 8\nFailures:\n<NO_OTHER>\n====\n"
    machine.outcomes = {"sagan": (1, said)}
    with refused("a batch of 8 cannot be shared by 3 processes") as caught:
        run_all([config_of("sagan")], processes=3)
    assert "====" not in str(caught.value)


def test_complete_runs_are_not_trained_again(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in (TEACHER, "ppcd"):
        fake_run(recipe)
    before = {path: path.stat().st_mtime_ns for path in config_of("ppcd").directory.iterdir()}
    (run,) = run_all([config_of("ppcd")], workers=1)
    assert run.state == "complete" and machine.started == []
    assert {path: path.stat().st_mtime_ns for path in run.directory.iterdir()} == before
    assert capsys.readouterr().err == ""  # nothing to show
    run_all([config_of("ppcd"), config_of("sagan")], workers=1)
    assert machine.started == [config_of("sagan").id]


def test_only_what_came_with_the_repository_is_trained_again(machine: Machine) -> None:
    for recipe in (TEACHER, "ppcd", "sagan"):
        fake_run(recipe)
    given = [Run(config_of(TEACHER)), Run(config_of("ppcd"))]  # as a clone has them
    for run in given:
        run.path(".local").unlink()
        run.write_file("samples.png", b"from the repository")
    configs = [config_of("ppcd"), config_of("sagan")]
    run_all(configs, workers=2, retrain=False)
    assert machine.started == []
    run_all(configs, workers=2, retrain=True)
    assert machine.started == [run.config.id for run in given]
    for run in given:
        assert run.trained_here and run.path("samples.png").read_bytes() != b"from the repository"
    run_all(configs, workers=2, retrain=True)
    assert len(machine.started) == 2  # once on a machine


# ------------------------------------------------------------ failures


def test_a_failing_teacher_blocks_its_students_only(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.outcomes[TEACHER] = (2, "started\nsome warning\nppcd: loss_d is not finite\n")
    configs = [config_of("ppcd"), config_of("ppcd-no-pp"), config_of("sagan"), config_of("ppcd-no-cd")]
    with pytest.raises(PpcdError) as caught:
        run_all(configs, workers=2)
    assert [Run(config).state for config in configs] == ["absent", "absent", "complete", "complete"]
    message = str(caught.value)
    assert "\n" not in message
    teacher = config_of(TEACHER)
    assert f"{teacher.id}: loss_d is not finite (see {teacher.directory / 'log.txt'})" in message
    for student in configs[:2]:
        assert message.count(f"{student.id}: its teacher {teacher.id} failed") == 1
        assert student.id not in machine.started
    assert "sagan" not in message
    lines = capsys.readouterr().err.splitlines()
    assert f"{teacher.id} failed: loss_d is not finite (see {teacher.directory / 'log.txt'})" in lines
    assert f"{configs[2].id} complete" in lines


def test_a_failing_student_leaves_the_others_alone(machine: Machine) -> None:
    machine.outcomes["ppcd"] = (1, "Traceback (most recent call last):\n  ...\nRuntimeError: no space left\n")
    machine.outcomes["ppcd-no-cd"] = (1, "")
    machine.outcomes["sngan"] = (-9, "sngan 12/24 (50%)\n")
    configs = [config_of(name) for name in ("ppcd", "ppcd-no-pp", "ppcd-no-cd", "sagan", "sngan")]
    with refused("RuntimeError: no space left", "it ended without a word", "signal 9", "; "):
        run_all(configs, workers=2)
    assert [Run(config).state for config in configs] == ["absent", "complete", "absent", "complete", "absent"]
    machine.outcomes.clear()
    run_all(configs, workers=2)  # the same command goes on
    assert len(machine.started) == 1 + 5 + 3
    assert all(Run(config).state == "complete" for config in configs)


def test_a_child_that_could_not_even_say_that_the_disk_is_full(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.outcomes["sagan"] = (2, "")
    monkeypatch.setattr(ppcd.runs.pool, "ROOM", 2**63)
    with refused("the disk is full"):
        run_all([config_of("sagan")], workers=1)


def test_waiting_for_children_works_nothing_out_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long they take, and however many runs wait for them."""
    counts, real = [], ppcd.training.config.canonical_hash
    monkeypatch.setattr(ppcd.training.config, "canonical_hash", lambda values: counts.append(1) or real(values))
    calls = []
    for seed, asked in ((0, 2), (1, 40)):
        machine.duration = lambda recipe, asked=asked: asked  # type: ignore[misc]
        counts.clear()
        run_all([config_of(recipe, seed) for recipe in ("ppcd", "ppcd-no-pp")], workers=1)
        calls.append(len(counts))
    assert calls[0] == calls[1] > 0


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
    assert machine.terminated == [configs[0].id, configs[1].id] == machine.started


# ------------------------------------------------------------ functions in separate processes


def test_a_process_that_died_is_one_line() -> None:
    with refused("a process ended in the middle of its work"), separate_processes() as processes:
        processes.submit(os.kill, processes.submit(os.getpid).result(), signal.SIGKILL).result()


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


# ------------------------------------------------------------ their progress


def test_a_log_reads_well(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole lines, no control characters, from what is to be done to what was done."""
    machine.duration = lambda recipe: 3
    machine.outcomes["ppcd-no-cd"] = (2, "ppcd: no space left\n")
    configs = [config_of("ppcd"), config_of("ppcd-no-cd")]
    with pytest.raises(PpcdError):
        run_all(configs, workers=1)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith("\n")
    lines = captured.err.splitlines()
    teacher, student, other = config_of(TEACHER).id, configs[0].id, configs[1].id
    assert lines[0] == f"to train: {teacher}, {student}, {other}"
    assert [line for line in lines if line.endswith((" started", " complete")) or " failed: " in line] == [
        f"{teacher} started", f"{teacher} complete", f"{student} started", f"{student} complete",
        f"{other} started", f"{other} failed: no space left (see {configs[1].directory / 'log.txt'})",
    ]  # fmt: skip
    progress = [line for line in lines if " of 3 runs: " in line]
    percents = [int(line.split("%")[0].split()[-1]) for line in progress]
    assert len(progress) >= 3 and percents == sorted(percents) and percents[-1] == 100
    assert any("ppcd-s0 50%" in line for line in progress)
    assert not re.search(r"[\r\x1b]|None|nan|Traceback", captured.err)


# ------------------------------------------------------------ the plan of `make reproduce`


def test_the_plan_covers_every_table_figure_and_claim() -> None:
    """Every row of the three tables, every point of Figure 4 and every claim has its runs, and nothing is in vain."""
    ablation = {get_recipe(recipe, numbers.TABLE3_ALPHA).name for recipe in numbers.TABLE3_ROWS}
    curves = {
        get_recipe(recipe, alpha).name
        for recipe in ("ppcd", "ppcd-two-step", "l1-biggan", "l1-sagan")
        for alpha in (0.5, 0.6, 0.7, 0.8)
    }
    claimed = {recipe for claim in CLAIMS for recipe in claim.recipes}
    needed = {TEACHER, *ablation, *curves, *numbers.TABLE1_ROWS, *numbers.TABLE2_ROWS}
    assert claimed - needed == {"ppcd-no-cd"}  # left out for the sake of time
    assert needed == set(RECIPES) and len(RECIPES) == len(set(RECIPES))
    assert [config.recipe.name for config in plan("smoke", [0])] == list(RECIPES)


@pytest.mark.parametrize("profile", ["smoke", "mnist"])
def test_the_notebooks_are_there_and_take_their_parameters(profile: str) -> None:
    assert "08_paper_scale" not in dict(notebooks(profile, [3, 4]))  # nothing was measured that it could show
    paths.write_atomic(paths.results(PAPER_SCALE) / "paper_scale.json", "{}")
    listed = notebooks(profile, [3, 4])
    assert [name for name, _ in listed] == [
        "01_train", "02_evaluate", "03_ablation", "04_comparison", "05_compression_ratio", "06_interpolation",
        "07_failure_cases", "08_paper_scale", "09_report",
    ]  # fmt: skip
    for name, parameters in listed:
        path = paths.repository() / "notebooks" / f"{name}.ipynb"
        assert set(parameters) <= set(notebook_parameters(path))
        expected = PAPER_SCALE if name == "08_paper_scale" else profile
        assert (parameters["profile"], parameters["seed"]) == (expected, 3)
    assert dict(listed)["08_paper_scale"]["measure"] == "never"
    assert dict(notebooks(PAPER_SCALE, [0]))["08_paper_scale"]["measure"] == "missing"
    assert dict(listed)["03_ablation"]["alpha"] == numbers.TABLE3_ALPHA
    assert dict(listed)["09_report"]["seeds"] == [3, 4]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reproduce asks for; nothing is done."""
    asked: list[Any] = []

    def run_all_asked(configs: list[RunConfig], device: str, retrain: bool, processes: int) -> None:
        asked.append(("train", [config.id for config in configs], device, retrain))

    def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
        asked.append(("notebook", notebook.name, output, parameters))

    def build_report(notebook: Path, profile: str) -> Path:
        asked.append(("report", notebook, profile))
        return Path("report.html")

    def generations(profile: str, runs: list[RunConfig], device: str) -> None:
        asked.append(("generations", profile, [config.id for config in runs], device))

    def floor(profile: str, device: str) -> None:
        asked.append(("floor", profile, device))

    def runtime(profile: str, records: list[Any], device: str, again: bool) -> None:
        asked.append(("runtime", profile, device, again))

    monkeypatch.setattr(paper.reproduce, "run_all", run_all_asked)
    monkeypatch.setattr(paper.reproduce, "ensure_generations", generations)
    monkeypatch.setattr(paper.reproduce, "ensure_real_images", floor)
    monkeypatch.setattr(paper.reproduce, "ensure_runtime", runtime)
    monkeypatch.setattr(paper.notebook, "execute", execute)
    monkeypatch.setattr(report, "build_report", build_report)
    return asked


def test_reproduce_trains_then_executes_then_reports(steps: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    reproduce("smoke", [0, 1], device="cpu")
    kinds = [step[0] for step in steps]
    count = len(notebooks("smoke", [0]))
    assert kinds == ["train", "generations", "floor", "runtime", *["notebook"] * count, "report"]
    planned = [config.id for config in plan("smoke", [0, 1])]
    assert steps[:4] == [
        ("train", planned, "cpu", True), ("generations", "smoke", planned, "cpu"), ("floor", "smoke", "cpu"),
        ("runtime", "smoke", "cpu", True),
    ]  # fmt: skip
    target = paths.results("smoke") / "notebooks"
    assert [step[2] for step in steps[4:-1]] == [target / f"{name}.ipynb" for name, _ in notebooks("smoke", [0])]
    assert steps[-1] == ("report", target / "09_report.ipynb", "smoke")
    out = capsys.readouterr().out
    assert str(paths.results("smoke") / "tables") in out and "report.html" in out
    steps.clear()
    reproduce("smoke", [0], report_only=True)
    assert [step[0] for step in steps] == ["notebook"] * count + ["report"]


def test_only_profiles_of_minutes_are_trained_again(steps: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper.reproduce, "plan", lambda profile, seeds: [])
    assert TRAINED_AGAIN == ("smoke", "mnist")
    for profile, asked, expected in (
        ("smoke", None, True), ("mnist", None, True), ("cifar10-lite", None, False), ("cifar10", None, False),
        ("mnist", False, False), ("cifar10", True, True),
    ):  # fmt: skip
        steps.clear()
        reproduce(profile, [0], device="cpu", retrain=asked)
        assert steps[0][3] is expected, (profile, asked)


@pytest.mark.parametrize("profile", ["mnist", "cifar10-lite"])
def test_its_notebooks_train_nothing(profile: str) -> None:
    """What is missing was trained before them, or shall not be."""
    asked = dict(notebooks(profile, [0]))
    with_a_choice = {
        path.stem
        for path in (paths.repository() / "notebooks").glob("*.ipynb")
        if "train_missing" in notebook_parameters(path)
    }
    assert {"01_train", "03_ablation", "04_comparison", "05_compression_ratio"} <= with_a_choice
    assert {name for name, given in asked.items() if given.get("train_missing") is False} == with_a_choice & set(asked)


def test_runs_of_other_images_are_named_and_how_to_build_from_them(
    steps: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPCD_DATA", "folder-0123456789ab")
    fake_run("ppcd", profile="cifar10-lite")
    reproduce("cifar10-lite", [0], report_only=True)
    assert "is asked for" not in capsys.readouterr().err
    monkeypatch.delenv("PPCD_DATA")
    reproduce("cifar10-lite", [0], report_only=True)
    said = capsys.readouterr().err.splitlines()[0]
    assert "of the images folder-0123456789ab, and torchvision-cifar10 is asked for" in said
    assert "DATA=folder-0123456789ab builds from them" in said


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", [0]), ("0 1 2", [0, 1, 2]), (" 7,\t3 ", [7, 3]), ("3", [0, 1, 2]), ("1", [0]), ("7,", [7])],
)
def test_seeds_are_read(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds
    assert parse_seeds(write_seeds(seeds)) == seeds


@pytest.mark.parametrize("text", ["", ",", "0 1 x", "-1", "1.5", "0 0", "²"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with refused("seeds must be different whole numbers", repr(text)):
        parse_seeds(text)


# ------------------------------------------------------------ the command line


@pytest.fixture
def untouched(tmp_path: Path, fresh_cache: Path) -> Iterator[Path]:
    yield tmp_path
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_dry_run_shows_the_plan_and_does_nothing(untouched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "smoke", "--seeds", "0 1", "--dry-run"]) == 0
    captured, runs = capsys.readouterr(), plan("smoke", [0, 1])
    assert [config.id for config in runs if config.hash not in captured.out] == [] and captured.err == ""
    assert captured.out.endswith(f"{len(runs)} runs: 0 complete, 0 begun, {len(runs)} not started\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("--profile imagenet --dry-run", "unknown profile 'imagenet'"),
        ("--seeds zero", "seeds must be different whole numbers"),
        ("--seeds 4294967296", "4294967296"),
        ("--device tpu", "unknown device 'tpu'"),
    ],
)
def test_an_error_of_use_is_one_line_and_exit_code_2(
    arguments: str, part: str, untouched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--profile", "smoke", *shlex.split(arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("ppcd: ") and captured.err.count("\n") == 1 and part in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("content", ["[]", "{", '{"status": "complete", "config": 3}'])
def test_a_changed_run_does_not_stop_the_look_for_other_data(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPCD_RESULTS", str(tmp_path))
    directory = tmp_path / "smoke" / "runs" / "biggan-s0-00000000"
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(content)
    assert of_other_data("smoke") is None
