"""Stopping: kills at fifty moments, signals, several processes at one run, a full disk, a read-only one."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from reference import refused

from ppcd import paths, stopping
from ppcd.errors import run_command
from ppcd.runs.directory import Run
from ppcd.runs.history import HistoryWriter
from ppcd.stopping import end_processes
from ppcd.training.config import run_config

TESTS = Path(__file__).resolve().parent
SOON = 5.0  # seconds; on a machine with nothing else to do it is a tenth of it


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/kills.py tried, and what came of it."""
    command = [sys.executable, str(TESTS / "kills.py"), str(tmp_path_factory.mktemp("kills"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


# ------------------------------------------------------------ killed


def test_fifty_kills_lose_nothing(tried: dict[str, Any]) -> None:
    """In every piece of the work; the end is that of the run that was never stopped, byte for byte.

    `tests/kills.py` compares everything but times and provenance: weights, optimisers, average, masks, random
    generators and order of the data (in the checkpoint), histories, records, pictures, tables, prepared data. Before
    each new start it makes sure that all files are whole; a child that reads one under a temporary name is a failure.
    """
    kills = tried["kills"]
    assert sum(kills["killed"].values()) >= 50 and kills["wrong"] == []
    assert set(kills["killed"]) == {
        "data preparation", "the teacher's steps", "joint training", "freezing a mask", "checkpoints", "histories",
        "slimming", "evaluation", "completing a run", "tables", "writing a file", "any moment",
    }  # fmt: skip


def test_a_signal_ends_a_training_soon_and_its_line_says_how_to_go_on(tried: dict[str, Any]) -> None:
    kills = tried["kills"]
    assert len(kills["lines"]) >= 3 and kills["slowest"] < SOON
    for line in kills["lines"]:
        assert line.startswith("ppcd: ") and "the same command" in line, line
    assert any("stopped at iteration" in line and "the last checkpoint is of" in line for line in kills["lines"])


def test_of_two_processes_one_works_and_the_other_waits(tried: dict[str, Any]) -> None:
    """And goes on from the checkpoint of the first, which was killed."""
    found = tried["together"]
    assert found["codes"] == [-signal.SIGKILL, 0, 0] and found["wrong"] == []
    assert all("another process is working on run ppcd-s0-" in said for said in found["said"][1:])
    assert "resumed at iteration" in found["said"][1]
    assert "resumed" not in found["said"][2] and "complete" in found["said"][2]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_reproduce_ends_with_its_workers(tried: dict[str, Any], name: str) -> None:
    """A signal to it alone, as `kill` sends it."""
    found = tried["workers"][name]
    assert found["code"] == 128 + signal.Signals[name] and found["seconds"] < SOON and not found["alive"]
    assert found["last"] == "ppcd: stopped with 0 of 2 runs trained; the same command goes on where it was"


def test_the_workers_of_a_killed_reproduce_end_themselves(tried: dict[str, Any]) -> None:
    """`tests/kills.py` waits for the last words of both trainings, and gives up where one goes on."""
    found = tried["workers"]["SIGKILL"]
    assert found["code"] == -signal.SIGKILL and not found["last"].startswith("ppcd: ")


def test_a_full_disk_is_one_line_and_loses_nothing(tried: dict[str, Any]) -> None:
    full, then = tried["disk"]["full"], tried["disk"]["then"]
    (line,) = [line for line in full["said"] if line.startswith("ppcd: ")]
    assert full["code"] == 2 and full["said"][-1] == line and "cannot be written (No space left on device)" in line
    assert "what is there is kept: make room" in line and "PPCD_RESULTS" in line
    assert then["code"] == 0 and then["wrong"] == [] and "resumed at iteration" in then["said"][0]


# ------------------------------------------------------------ signals


def status_of(command: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run_command(command, "the same command goes on")
    return code, capsys.readouterr().err


@pytest.fixture
def handlers() -> Iterator[None]:
    """Fails where the process hears signals otherwise than before."""
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    yield
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_a_parent_that_passes_on_the_interrupt_changes_nothing(
    handlers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in a terminal reaches both; the cleaning up is not cut off."""
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned.append(True)

    assert status_of(work, capsys) == (130, "ppcd: stopped; the same command goes on\n") and cleaned == [True]


def test_in_a_notebook_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shell = InteractiveShell()
    shell.run_cell(
        "from ppcd.stopping import describe_stop\n"
        "with describe_stop(lambda: 'run x was stopped at iteration 7 of 9 (the last checkpoint is of 6)'):\n"
        "    raise KeyboardInterrupt\n"
    )
    shown = capsys.readouterr()
    line = "ppcd: run x was stopped at iteration 7 of 9 (the last checkpoint is of 6); run the cell again to go on"
    assert (shown.out + shown.err).strip() == line


def test_a_command_that_is_still_importing_is_stopped_with_a_line() -> None:
    command = [sys.executable, "-m", "ppcd", "train", "--profile", "smoke"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while "torch" not in Path(f"/proc/{process.pid}/maps").read_text() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "ppcd: stopped before anything was begun; the same command starts again\n"


def test_children_that_do_not_listen_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE", 0.3)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        for code in (deaf, "print(flush=True); import time; time.sleep(60)")
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline()
    began = time.monotonic()
    end_processes(children)
    assert [child.returncode for child in children] == [-signal.SIGKILL, -signal.SIGTERM]
    assert time.monotonic() - began < SOON


# ------------------------------------------------------------ disks


def full(*_: Any, **__: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = paths.results("smoke") / "tables" / "table3.csv"
    paths.write_atomic(path, "old\n")
    for place in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, place, full)
            with refused("table3.csv cannot be written (No space left on device)", "make room", "PPCD_RESULTS"):
                paths.write_atomic(path, "new\n")
        assert path.read_text() == "old\n" and list(path.parent.iterdir()) == [path]
    with refused("file/below/x", "make it writable"):
        (tmp_path / "file").write_text("")
        paths.write_atomic(tmp_path / "file" / "below" / "x", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_history_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.csv", ("iteration", "loss_d"))
    writer.append([{"iteration": 1, "loss_d": 0.123456}])
    assert writer.path.read_text() == "iteration,loss_d\n1,0.123456\n"
    writer.path.unlink()
    writer.path.symlink_to("/dev/full")
    with refused("history.csv cannot be written", "make room"):
        writer.append([{"iteration": 2, "loss_d": 0.5}])


# ------------------------------------------------------------ folders that processes share


def test_a_run_is_not_taken_for_one_that_came_with_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed right after run.json, it would else be trained again by `make reproduce`."""
    run = Run(run_config("smoke", "sagan", 0))
    seen: list[bool] = []
    monkeypatch.setattr("ppcd.runs.directory.write_record", lambda *_: seen.append(run.trained_here) or {})
    for name in ("generator.safetensors", "history.csv", "samples.png", "checkpoint.pt", "progress.json"):
        run.write_file(name, b"")
    parts = dict.fromkeys(("provenance", "teacher", "training", "masks", "complexity", "metrics", "runtime"))
    run.finish({**parts, "data": {"identity": run.config.data_identity}})
    assert seen == [True]


def test_output_that_nobody_reads_any_more_is_one_line() -> None:
    """As with `| head -1`: no trace, neither of the command nor of the interpreter that ends."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "paper", "reproduce", "--profile", "smoke", "--dry-run"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    os.close(writer)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("ppcd: stopped, because nothing reads the output")
