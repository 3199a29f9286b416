"""What watches a training: state, progress bar, history files, progress file."""

import csv
import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from ppcd.method.masks import ChannelMask
from ppcd.method.schedule import GradualRule
from ppcd.runs.callbacks import Callback, HistoryLogger, ProgressBar, ProgressFile, TrainingState
from ppcd.runs.history import HISTORY_COLUMNS, MASK_COLUMNS

LOSSES = {"loss_d": 1.25, "loss_adv": -0.5, "loss_cd": 0.125, "loss_pp": 8.0}


def mask_rule() -> GradualRule:
    """Two mask layers: 4 of 8 channels pruned and frozen, 1 of 4 pruned and open."""
    first, second = ChannelMask(8), ChannelMask(4)
    rule = GradualRule({"first": first, "second": second}, 0.5, 200)
    rule.lambdas = {"first": 0.5, "second": 2.0}
    rule.closed_at = {"first": {7: 2, 5: 3, 4: 5, 6: 5}, "second": {0: 4}}
    first.freeze(torch.arange(8) < 4)
    second.weight.data = torch.tensor([-0.1, 0.1, 0.2, 0.3])
    return rule


class Time:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def state_at(iteration: int, total: int = 200, masked: bool = True, **changes: Any) -> TrainingState:
    state = TrainingState(iteration, total, "train", seconds=iteration / 4, rate=256.0, images=128)
    state.losses = {name: torch.tensor(value) for name, value in LOSSES.items()}
    state.rule = mask_rule() if masked else None
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def steps(state: TrainingState, watchers: list[Callback], until: int, time: Time | None = None) -> None:
    """A training in which every step takes half a second."""
    for watcher in watchers:
        watcher.on_start(state)
    while state.iteration < until:
        state.iteration += 1
        state.seconds = state.iteration / 4
        if time:
            time.now += 0.5
        for watcher in watchers:
            watcher.on_step(state)
    for watcher in watchers:
        watcher.on_end(state)


# The bar


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock of the bar."""
    result = Time()
    monkeypatch.setattr("ppcd.progress.time", SimpleNamespace(monotonic=result))
    return result


def test_a_log_has_a_whole_line_every_30_seconds(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    steps(state_at(0), [ProgressBar("ppcd-s0")], 200, time)  # 100 seconds
    said = capsys.readouterr()
    assert said.out == "" and "\r" not in said.err and "\x1b" not in said.err and said.err.endswith("\n")
    begun, *lines = said.err.splitlines()
    assert begun == "ppcd-s0 started at iteration 0 of 200"
    assert [line.split("%")[0].split()[-1] for line in lines] == ["30", "60", "90", "100"]
    for part in ("ppcd-s0 train: ", "120/200", "256 images/s", "d 1.25, adv -0.50, cd", "pruned 50%* 25%"):
        assert part in lines[1]


def test_the_bar_of_a_student_counts_its_teacher_too(time: Time, capsys: pytest.CaptureFixture[str]) -> None:
    """The teacher's 200 iterations take 100 seconds: for the student's 600 there are 300 more."""
    steps(state_at(0), [ProgressBar("biggan-s0", after=600)], 200, time)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("1 of 2: biggan-s0 train:  25%|") and "200/800" in last
    steps(state_at(0, 600), [ProgressBar("ppcd-s0", before=200)], 60, time)
    begun, *_, last = capsys.readouterr().err.splitlines()
    assert begun == "2 of 2: ppcd-s0 started at iteration 0 of 600" and "260/800" in last
    steps(state_at(120), [ProgressBar("ppcd-s0")], 130)
    assert capsys.readouterr().err.startswith("ppcd-s0 resumed at iteration 120 of 200\n")


def test_information_goes_to_standard_output_in_a_notebook(
    time: Time, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook shows standard error in red."""
    monkeypatch.setitem(sys.modules, "ipykernel.zmqshell", ModuleType("ipykernel.zmqshell"))
    steps(state_at(0, 20), [ProgressBar("ppcd-s0")], 20, time)
    said = capsys.readouterr()
    assert said.err == "" and "ppcd-s0 started at" in said.out and "\rppcd-s0 train: 100%|" in said.out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_bar_that_is_overwritten(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    steps(state_at(0, 20), [ProgressBar("ppcd-s0")], 20, time)  # 10 seconds
    assert terminal.getvalue().count("\n") == 2 and terminal.getvalue().endswith("\n")
    states = terminal.getvalue().split("\r")
    assert 10 <= len([state for state in states if "images/s" in state]) <= 13  # every second, the start and the end
    assert states[-1].startswith("ppcd-s0 train: 100%|") and "20/20" in states[-1]


# History files


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_history_has_a_row_every_few_iterations_and_one_at_the_end(tmp_path: Path) -> None:
    steps(state_at(0, 11), [HistoryLogger(tmp_path, every=4)], 11)
    history, masks = rows_of(tmp_path / "history.csv"), rows_of(tmp_path / "masks.csv")
    assert tuple(history[0]) == HISTORY_COLUMNS and tuple(masks[0]) == MASK_COLUMNS
    assert [row["iteration"] for row in history] == ["4", "8", "11"]
    assert history[0] == {
        "iteration": "4", "phase": "train", "seconds": "1", "loss_d": "1.25", "loss_adv": "-0.5",
        "loss_cd": "0.125", "loss_pp": "8", "images_per_second": "512", "pruned": "0.416667",
        "loss_pixel": "", "loss_feature": "",
    }  # fmt: skip
    assert [(row["iteration"], row["layer"]) for row in masks[1:3]] == [("4", "second"), ("8", "first")]
    assert list(masks[1].values())[2:] == ["2", "0.25", "3", "0", "-0.1", "0.05", "0.15", "0.225", "0.3", "0"]


def test_a_training_without_masks_names_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watchers = [HistoryLogger(tmp_path, every=1), ProgressBar("sagan-s0")]
    steps(state_at(0, 4, masked=False, losses={"loss_d": 1.0}), watchers, 4)
    assert not (tmp_path / "masks.csv").exists() and "pruned" not in capsys.readouterr().err
    row = rows_of(tmp_path / "history.csv")[-1]
    assert (row["loss_d"], row["loss_cd"], row["pruned"]) == ("1", "", "")


@pytest.mark.parametrize("checkpoint", [0, 3, 4, 7])
def test_resuming_writes_the_same_history_as_not_stopping(tmp_path: Path, checkpoint: int) -> None:
    steps(state_at(0, 12), [HistoryLogger(tmp_path / "through", every=2)], 12)
    steps(state_at(0, 12), [HistoryLogger(tmp_path / "killed", every=2)], 8)
    with (tmp_path / "killed" / "masks.csv").open("a") as file:
        file.write("9,fir")
    steps(state_at(checkpoint, 12), [HistoryLogger(tmp_path / "killed", every=2)], 12)
    for name in ("history.csv", "masks.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()


def test_the_step_that_takes_the_masks_out_is_in_their_history(tmp_path: Path) -> None:
    """Two-step PPCD-GAN, also where no row is due; the second step, resumed or not, leaves masks.csv as it is."""
    logger, state = HistoryLogger(tmp_path, every=4), state_at(0, 8, phase="prune")
    logger.on_start(state)
    for state.iteration in range(1, 9):
        if state.iteration == 6:
            state.phase = "distil"
        elif state.iteration == 7:
            state.rule = None
        logger.on_step(state)
    rows = rows_of(tmp_path / "masks.csv")
    assert [(row["iteration"], row["layer"], row["closed"]) for row in rows] == [
        ("4", "first", "7 5"), ("4", "second", "0"), ("6", "first", "4 6"), ("6", "second", ""),
    ]  # fmt: skip
    pruned = (tmp_path / "masks.csv").read_bytes()
    steps(state_at(7, 8, masked=False, phase="distil"), [HistoryLogger(tmp_path, every=1)], 8)
    assert (tmp_path / "masks.csv").read_bytes() == pruned


# The progress file


def test_the_progress_file_says_how_far_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, clock = [], Time()
    monkeypatch.setattr("ppcd.runs.callbacks.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr("ppcd.paths.write_atomic", lambda _, content: written.append(json.loads(content)))
    file, state = ProgressFile(tmp_path), state_at(0, 20)
    steps(state, [file], 20, clock)  # 10 seconds
    assert [content["iteration"] for content in written] == [0, *range(2, 21, 2), 20]
    assert written[-1] == {"iteration": 20, "total": 20, "checkpoint": None}
    file.on_checkpoint(state)
    assert written[-1]["checkpoint"] == 20
