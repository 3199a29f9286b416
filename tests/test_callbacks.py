"""What watches a training: state, progress in three places, history files, progress file."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from torch import nn

from ppcd import paths
from ppcd.method.masks import ChannelMask
from ppcd.runs.callbacks import Callback, HistoryLogger, ProgressBar, ProgressFile, TrainingState
from ppcd.runs.displays import (
    LogDisplay,
    NotebookDisplay,
    Snapshot,
    TerminalDisplay,
    choose_display,
    clock,
    pruned_text,
)
from ppcd.runs.history import HISTORY_COLUMNS, MASK_COLUMNS

LOSSES = {"loss_d": 1.25, "loss_adv": -0.5, "loss_cd": 0.125, "loss_pp": 8.0}


class Masked(nn.Module):
    """Two mask layers: 4 of 8 channels pruned and frozen, 1 of 4 pruned and open."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = ChannelMask(8), ChannelMask(4)
        self.first.freeze(torch.arange(8) < 4)
        self.second.weight.data = torch.tensor([-0.1, 0.1, 0.2, 0.3])


class Time:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def state_at(iteration: int, total: int = 200, masked: bool = True, **changes: Any) -> TrainingState:
    state = TrainingState(iteration, total, "train", seconds=iteration / 4, rate=256.0, images=128)
    state.losses = {name: torch.tensor(value) for name, value in LOSSES.items()}
    state.generator = Masked() if masked else nn.Linear(1, 1)
    state.lambdas = {"first": 0.5, "second": 2.0}
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def steps(state: TrainingState, watchers: list[Callback], until: int, time: Time | None = None) -> None:
    """A training in which every step takes half a second and fails nowhere."""
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


# The state


def test_the_state_reads_the_masks_and_the_losses() -> None:
    state = state_at(3)
    assert state.loss_values() == LOSSES
    assert state.masks == [("first", 0.5, True), ("second", 0.25, False)]
    assert state.pruned() == 5 / 12
    state.losses = {"loss_d": 2.0, "loss_adv": torch.tensor(1.5, dtype=torch.float64)}
    assert state.loss_values() == {"loss_d": 2.0, "loss_adv": 1.5}


def test_mask_rows_have_the_columns_of_the_file_and_quantiles_of_w() -> None:
    first, second = state_at(3).mask_rows()
    assert tuple(first) == tuple(second) == MASK_COLUMNS
    assert (first["iteration"], first["layer"], first["kept"], first["frozen"]) == (3, "first", 4, True)
    assert (second["lambda"], second["ratio"], second["kept"], second["frozen"]) == (2.0, 0.25, 3, False)
    quantiles = [second[name] for name in ("w_min", "w_q25", "w_median", "w_q75", "w_max")]
    assert quantiles == pytest.approx([-0.1, 0.05, 0.15, 0.225, 0.3])


def test_a_state_without_masks_or_generator_has_nothing_pruned() -> None:
    for state in (state_at(1, masked=False), TrainingState(0, 1, "train")):
        assert state.masks == [] and state.mask_rows() == [] and state.pruned() is None
    assert TrainingState(0, 1, "train").loss_values() == {}


# Texts


def test_texts_are_compact() -> None:
    masks = [("a", 0.5, True), ("b", 0.484, False), ("c", 0.0, False), ("d", 1.0, True)]
    assert pruned_text(masks) == "pruned .50* .48 .00 1.00*"
    assert pruned_text([]) == ""
    times = {None: "?", 0: "0:00", 62.4: "1:02", 3599.7: "1:00:00", 86400: "24:00:00"}
    assert [clock(seconds) for seconds in times] == list(times.values())


# Log files


def test_a_log_has_plain_lines_no_more_than_one_in_ten_seconds_or_five_percent() -> None:
    stream, time = io.StringIO(), Time()
    steps(state_at(0), [ProgressBar("ppcd-s0", display=LogDisplay(stream), clock=time)], 200, time)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()
    assert lines[0] == "ppcd-s0 started, at iteration 0 of 200"
    assert lines[1] == (
        "ppcd-s0 train  20/200 (10%)  256 images/s  loss_d 1.250  loss_adv -0.500  loss_cd 0.125  "
        "loss_pp 8.000  pruned .50* .25  1:30 left"
    )
    assert lines[-1].startswith("ppcd-s0 finished 200 iterations in 1:40  loss_d 1.250")
    assert len(lines) == 2 + 10  # 100 seconds, a line every 10


@pytest.mark.parametrize(("total", "expected"), [(2000, 12), (40000, 10)])  # 5% take 50 s; 1,000 s
def test_a_long_log_is_short_and_never_silent_for_minutes(total: int, expected: int) -> None:
    stream, time = io.StringIO(), Time()
    bar = ProgressBar(display=LogDisplay(stream), clock=time)
    steps(state_at(0, total, losses={}, generator=None), [bar], 1200, time)  # 10 minutes
    assert len(stream.getvalue().splitlines()) == 2 + expected


def test_a_log_says_where_it_resumed_and_stopped() -> None:
    stream = io.StringIO()
    steps(state_at(120), [ProgressBar("ppcd-s0", display=LogDisplay(stream), clock=Time())], 130)
    first, last = stream.getvalue().splitlines()
    assert first == "ppcd-s0 resumed at iteration 120 of 200"
    assert last.startswith("ppcd-s0 stopped at iteration 130 of 200")


def test_losses_become_numbers_only_when_they_are_shown() -> None:
    class Counting(TrainingState):
        looked = 0

        def loss_values(self) -> dict[str, float]:
            self.looked += 1
            return super().loss_values()

        @property
        def masks(self) -> list[tuple[str, float, bool]]:
            self.looked += 1
            return super().masks

    state = Counting(0, 1000, "train", losses={"loss_d": torch.tensor(1.0)}, generator=Masked())
    bar = ProgressBar(display=LogDisplay(io.StringIO()), clock=Time())
    bar.on_start(state)
    shown = state.looked
    for state.iteration in range(1, 1001):
        bar.on_step(state)
    assert state.looked == shown  # no time has passed
    bar.on_end(state)
    assert state.looked > shown


# Terminals


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """What stands on the screen after all that was written."""
        rows, row, column = [""], 0, 0
        for step, count, command in re.findall(r"([^\x1b])|\x1b\[(\d*)([A-K])", self.getvalue()):
            if command == "A":
                row -= int(count or 1)
            elif command == "K":
                rows[row] = rows[row][:column]
            elif step == "\r":
                column = 0
            elif step == "\n":
                row, column = row + 1, 0
                rows += [""] * (row + 1 - len(rows))
            else:
                rows[row] = f"{rows[row][:column]:<{column}}{step}{rows[row][column + 1 :]}"
                column += 1
        return [line.rstrip() for line in rows]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    yield stream


def test_a_terminal_shows_a_bar_the_losses_and_every_layer(terminal: Terminal) -> None:
    time = Time()
    steps(state_at(0, 20), [ProgressBar("ppcd-s0", display=TerminalDisplay(terminal), clock=time)], 20, time)
    bar, losses, pruned, verdict, *rest = terminal.screen()
    assert bar.startswith("ppcd-s0 train: 100%|") and "20/20" in bar and "256 images/s" in bar
    assert losses == "loss_d 1.250  loss_adv -0.500  loss_cd 0.125  loss_pp 8.000"
    assert pruned == "pruned .50* .25" and verdict == "finished 20 iterations in 0:10"
    assert rest == [""] and terminal.getvalue().count("pruned") > 10


def test_a_narrow_terminal_wraps_the_layers_and_shows_all(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    display = TerminalDisplay(terminal)
    masks = [(f"layer{index}", index / 20, index % 2 == 0) for index in range(20)]
    snapshot = Snapshot("ppcd-s0", "train", 5, 20, 256.0, 10.0, 30.0, LOSSES, masks)
    display.start(snapshot)
    display.end(snapshot)
    screen = terminal.screen()
    assert all(len(line) < 40 for line in screen[1:])
    everything = " ".join(" ".join(screen).split())
    assert pruned_text(masks) in everything and "stopped at iteration 5 of 20" in everything


def test_a_terminal_without_masks_has_no_line_for_them(terminal: Terminal) -> None:
    bar = ProgressBar("sagan-s0", display=TerminalDisplay(terminal), clock=Time())
    steps(state_at(0, 4, masked=False), [bar], 4)
    assert len(terminal.screen()) == 4 and "pruned" not in terminal.getvalue()


# Notebooks


def test_the_display_is_chosen_by_where_the_output_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_display(io.StringIO()), LogDisplay)
    assert isinstance(choose_display(Terminal()), TerminalDisplay)
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    assert isinstance(choose_display(Terminal()), NotebookDisplay)
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Terminal", (), {})())
    assert isinstance(choose_display(Terminal()), TerminalDisplay)


NOTEBOOK = """
from ppcd.runs.callbacks import ProgressBar, TrainingState
import torch
from ppcd.method.masks import ChannelMask

state = TrainingState(0, 4, "train", rate=256.0, generator=torch.nn.ModuleDict({"<mask>": ChannelMask(4)}))
bar = ProgressBar("ppcd & co")
bar.on_start(state)
for state.iteration in range(1, 5):
    state.losses = {"loss_d": torch.tensor(0.5 * state.iteration)}
    bar.on_step(state)
bar.on_end(state)
"""


def test_a_notebook_keeps_one_output_that_reads_well() -> None:
    cell = nbformat.v4.new_code_cell(NOTEBOOK)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    resources = {"metadata": {"path": str(paths.repository())}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    (output,) = notebook.cells[0].outputs
    plain, rich = output["data"]["text/plain"], output["data"]["text/html"]
    assert plain.splitlines()[0].startswith("ppcd & co train: finished 4 iterations in 0:0")
    assert plain.splitlines()[1:] == ["loss_d 2.000", "pruned .00"]
    assert "ppcd &amp; co" in rich and "&lt;mask&gt;" in rich and "width:100.0%" in rich
    assert "loss_d 2.000" in rich and "pruned .00" in rich and "<script" not in rich


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
    assert [(row["iteration"], row["layer"]) for row in masks[:3]] == [
        ("4", "first"),
        ("4", "second"),
        ("8", "first"),
    ]
    assert (masks[0]["lambda"], masks[0]["frozen"], masks[1]["frozen"]) == ("0.5", "1", "0")


def test_history_shows_how_a_training_speeds_up(tmp_path: Path) -> None:
    """Images per second since the last row, and since the checkpoint behind a resumption."""
    state, logger = state_at(2, 8), HistoryLogger(tmp_path, every=2)
    logger.on_start(state)
    for state.iteration in range(3, 9):
        state.seconds += 1.0 if state.iteration <= 4 else 0.5
        logger.on_step(state)
    assert [row["images_per_second"] for row in rows_of(tmp_path / "history.csv")] == ["128", "256", "256"]


def test_history_of_a_generator_without_masks(tmp_path: Path) -> None:
    steps(state_at(0, 4, masked=False, losses={"loss_d": 1.0}), [HistoryLogger(tmp_path, every=1)], 4)
    assert not (tmp_path / "masks.csv").exists()
    row = rows_of(tmp_path / "history.csv")[-1]
    assert (row["loss_d"], row["loss_cd"], row["pruned"]) == ("1", "", "")


@pytest.mark.parametrize("checkpoint", [3, 4, 7])
def test_resuming_writes_the_same_history_as_not_stopping(tmp_path: Path, checkpoint: int) -> None:
    steps(state_at(0, 12), [HistoryLogger(tmp_path / "through", every=2)], 12)
    steps(state_at(0, 12), [HistoryLogger(tmp_path / "killed", every=2)], 8)
    with (tmp_path / "killed" / "masks.csv").open("a") as file:
        file.write("9,fir")
    steps(state_at(checkpoint, 12), [HistoryLogger(tmp_path / "killed", every=2)], 12)
    for name in ("history.csv", "masks.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "through" / name).read_bytes()


def test_starting_anew_forgets_the_old_history(tmp_path: Path) -> None:
    for _ in range(2):
        steps(state_at(0, 4), [HistoryLogger(tmp_path, every=2)], 4)
    assert len(rows_of(tmp_path / "history.csv")) == 2


def test_the_second_step_of_two_keeps_the_masks_of_the_first(tmp_path: Path) -> None:
    steps(state_at(0, 8), [HistoryLogger(tmp_path, every=1)], 4)
    pruned = (tmp_path / "masks.csv").read_bytes()
    steps(state_at(5, 8, masked=False, phase="distil"), [HistoryLogger(tmp_path, every=1)], 8)
    assert (tmp_path / "masks.csv").read_bytes() == pruned
    assert [row["phase"] for row in rows_of(tmp_path / "history.csv")] == ["train"] * 4 + ["distil"] * 3


# The progress file


def test_the_progress_file_is_written_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr("ppcd.paths.write_atomic", lambda _, content: written.append(json.loads(content)))
    time = Time()
    steps(state_at(0, 20), [ProgressFile(tmp_path, clock=time)], 20, time)  # 10 seconds
    assert [content["iteration"] for content in written] == [0, *range(2, 21, 2), 20]


def test_the_progress_file_says_how_far_and_how_long(tmp_path: Path) -> None:
    time, state = (
        Time(),
        state_at(0, 40, losses={"loss_d": torch.tensor(1.5), "loss_pp": torch.tensor(float("nan"))}),
    )
    watcher = ProgressFile(tmp_path, clock=time)
    watcher.on_start(state)
    first = json.loads((tmp_path / "progress.json").read_text())
    assert first["eta"] is None and first["checkpoint"] is None and first["iteration"] == 0
    state.iteration, time.now = 10, time.now + 5
    watcher.on_checkpoint(state)
    content = json.loads((tmp_path / "progress.json").read_text())
    assert (content["iteration"], content["total"], content["phase"], content["rate"]) == (
        10,
        40,
        "train",
        256.0,
    )
    assert (content["eta"], content["checkpoint"]) == (15.0, 10)
    assert content["losses"] == {"loss_d": 1.5, "loss_pp": None}
    assert content["masks"] == [["first", 0.5, True], ["second", 0.25, False]]
    state.iteration = 12
    watcher.on_end(state)
    content = json.loads((tmp_path / "progress.json").read_text())
    assert (content["iteration"], content["checkpoint"]) == (12, 10)


def test_a_callback_need_not_do_anything() -> None:
    steps(state_at(0, 2), [Callback()], 2)
