"""What tests/test_stopping.py starts: one process that imports once, and forks a child for each thing that it tries.

`python tests/kills.py FOLDER` prints what came of it as JSON. A child does what `python -m ppcd train` does and
writes a table of it, at the smoke profile, with a checkpoint after every step.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import load_file
from test_trainer import plain

import paper.reproduce
import ppcd.data.sets
import ppcd.runs.finished
import ppcd.runs.loop
import ppcd.runs.train
from paper.artifacts import tables
from ppcd import stopping
from ppcd.method.masks import ChannelMask
from ppcd.metrics.complexity import block_params
from ppcd.networks.io import file_on_cpu
from ppcd.records import read_run
from ppcd.runs.directory import Run
from ppcd.runs.history import HistoryWriter
from ppcd.training.config import run_config
from ppcd.training.recipes import TEACHER
from ppcd.training.trainer import Trainer

COMMAND = ["--profile", "smoke", "--recipe", "ppcd", "--seed", "0", "--device", "cpu"]
CLOCK = {"seconds", "images_per_second"}
SOON = 60.0  # seconds that processes have to notice that their parent was killed
PIECES = {  # of the work: where its function is, and the function's name
    "data preparation": (ppcd.data.sets, "_in_memory"),
    "a step": (Trainer, "step"),
    "a checkpoint": (ppcd.runs.loop, "save_checkpoint"),
    "freezing a mask": (ChannelMask, "freeze"),
    "a history": (HistoryWriter, "append"),
    "completing a run": (Run, "finish"),
    "a table": (tables, "write"),
}
FILE = "any file"  # a piece of the work that begins where a file is opened for writing
PLAN = (  # piece, how often it is killed, after how many calls at most (log 10): as a run comes to them
    ("data preparation", 2, 4), (FILE, 3, 1.5), ("a step", 1, 4), ("a checkpoint", 2, 3), ("completing a run", 2, 3),
    ("freezing a mask", 3, 4), ("a step", 2, 4), ("a checkpoint", 3, 3), ("a history", 2, 2), (FILE, 3, 1.5),
    ("completing a run", 3, 3), ("a table", 3, 3), (FILE, 3, 1.5),
)  # fmt: skip


# ------------------------------------------------------------ what a child does


def work() -> int:
    """Data, teacher, student, evaluation, a table: the exit status of the command."""
    code = ppcd.runs.train.main(COMMAND)
    if code == 0:
        tables.write(tables.table3("smoke", [0]))
    return code


def digits() -> dict[str, Any]:
    """Instead of those that take seconds to read."""
    drawn = np.random.default_rng(0)
    return {
        "images": drawn.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8),
        "labels": np.arange(200, dtype=np.int64) % 10,
        "classes": np.array([str(digit) for digit in range(10)]),
        "note": np.array(""),
    }


def prepare() -> None:
    """Once, for all children: a checkpoint after every step, and nothing measured that takes long or differs."""
    fit, recompute = ppcd.runs.loop.fit, ppcd.runs.finished.recompute_batch_statistics
    runtime = {"seconds_per_batch": 1.0, "batch": 64, "threads": 1, "repeats": 1}
    ppcd.data.sets._mnist_digits = digits
    ppcd.runs.train.fit = lambda *given: fit(*given, checkpoint_every=0.0)
    ppcd.runs.finished.recompute_batch_statistics = lambda generator, noise: recompute(generator, noise, 2, 8)
    sizes = ("params", "macs", "params_dense", "macs_dense", "block_params", "block_params_dense")
    ppcd.runs.train.measure_complexity = lambda generator: dict.fromkeys(sizes, block_params(generator))
    ppcd.runs.train.measure_runtime = lambda generator, device: {"cpu": runtime, "gpu": None}


def kill_within(place: Path, piece: str, entry: int, calls: int) -> None:
    """SIGKILL for this process `calls` of Python's calls and returns after this entry into a piece of its work."""
    entered, left = 0, calls

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def enter() -> None:
        nonlocal entered
        entered += 1
        if entered == entry:
            sys.setprofile(count)

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | Path) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = Path(arguments[0])
            if place in path.parents and not path.name.startswith(".lock") and path.suffix != ".lock":
                enter()

    if piece == FILE:
        sys.addaudithook(opened)
        return
    where, name = PIECES[piece]
    function = getattr(where, name)

    def through(*given: Any, **named: Any) -> Any:
        enter()
        return function(*given, **named)

    setattr(where, name, through)


# ------------------------------------------------------------ what lies on the disk


def content(path: Path) -> Any:
    """What a file holds, without times and provenance; fails where the file is not whole."""
    if path.suffix == ".pt":
        state = file_on_cpu(path)
        return plain({name: value for name, value in state.items() if name not in ("seconds", "provenance")})
    if path.suffix == ".safetensors":
        return plain(load_file(path))
    if path.suffix == ".npz":
        with np.load(path) as stored:
            return [(key, stored[key].tobytes()) for key in stored]
    if path.suffix == ".png":
        return np.asarray(Image.open(path)).tobytes()
    if path.name == "run.json":
        record = read_run(path.parent)
        parts = {name: part for name, part in record.items() if name not in ("sha256", "provenance")}
        parts["files"] = {name: digest for name, digest in record["files"].items() if name != "history.csv"}
        return parts | {"training": {k: v for k, v in record["training"].items() if k not in CLOCK}}
    if path.suffix == ".json":
        return json.loads(path.read_text())
    written = path.read_text()
    assert written.endswith("\n") or path.name == ".local", path
    if path.name == "history.csv":
        return pd.read_csv(path, dtype=str).drop(columns=list(CLOCK)).to_csv()
    return written


def contents(root: Path) -> dict[str, Any]:
    """All files but those under temporary names."""
    return {
        str(path.relative_to(root)): content(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock") and path.suffix not in (".lock", ".tmp")
    }


def differences(first: Path, second: Path) -> list[str]:
    """The files that are not the same, or only in one of the two; and temporary ones that nobody removed."""
    one, two = contents(first), contents(second)
    left = [str(path) for path in second.rglob(".*.tmp") if path.parent.name != "tables"]
    return left + sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


# ------------------------------------------------------------ children


def child(place: Path, first: Callable[[], None] = lambda: None, task: Callable[[], int] = work) -> int:
    """Fork a process that looks at what lies in `place` and does the task there; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        words = os.open(place.with_name(f"{place.name}.{os.getpid()}.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(words, 1)
        os.dup2(words, 2)
        os.environ |= {f"PPCD_{name.upper()}": str(place / name) for name in ("results", "figures", "cache")}
        for number in stopping.SIGNALS:  # as they are while `python -m ppcd train` imports
            signal.signal(number, stopping._leave)
        torch.set_num_threads(1)
        contents(place)
        first()
        code = task()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def said(place: Path, pid: int) -> str:
    """What a child said until now."""
    words = place.with_name(f"{place.name}.{pid}.txt")
    return words.read_text() if words.is_file() else ""


def last_line(words: str) -> str:
    return ["", *words.splitlines()][-1]


def ended(pid: int) -> int:
    """Wait for a child: its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_for(happened: Callable[[], object], seconds: float = 600.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise SystemExit("nothing happened")
        time.sleep(0.02)


def finish(place: Path, straight: Path | None = None) -> dict[str, Any]:
    """Work that nothing stops: what was said, and what differs from the work that was never stopped."""
    pid = child(place)
    assert ended(pid) == 0, said(place, pid)
    return {"said": said(place, pid), "wrong": differences(straight, place) if straight else []}


# ------------------------------------------------------------ what is tried


def many_kills(folder: Path, straight: Path) -> dict[str, Any]:
    """Kill a run over and over, in every piece of its work; a run that came to its end makes room for the next."""
    chance, killed, laps, wrong = random.Random(0), dict.fromkeys([*PIECES, FILE], 0), 0, list[str]()
    for piece, times, longest in PLAN:
        wanted = killed[piece] + times
        while killed[piece] < wanted:
            place = folder / f"lap{laps}"
            entry, calls = chance.randint(1, 4) if piece == FILE else 1, round(10 ** chance.uniform(0, longest))
            pid = child(place, partial(kill_within, place, piece, entry, calls))
            code = ended(pid)
            if code == -signal.SIGKILL:
                killed[piece] += 1
            elif code == 0:
                wrong += differences(straight, place)
                laps += 1
            else:
                raise SystemExit(f"{piece}, exit status {code}: {said(place, pid)[-3000:]}")
    return {"killed": killed, "wrong": wrong + finish(folder / f"lap{laps}", straight)["wrong"]}


def signalled(place: Path, straight: Path) -> dict[str, Any]:
    """A training that hears signals, and goes on after them."""
    found: dict[str, Any] = {}
    for number in stopping.SIGNALS:
        pid = child(place)
        wait_for(lambda pid=pid: "resumed at" in said(place, pid))
        began = time.monotonic()
        os.kill(pid, number)
        code = ended(pid)
        found[number.name] = {"code": code, "seconds": time.monotonic() - began, "last": last_line(said(place, pid))}
    return found | finish(place, straight)


def two_at_once(place: Path, straight: Path) -> dict[str, Any]:
    """Two processes start the same run; the one that works is killed."""
    pids = [child(place), child(place)]
    wait_for(lambda: any("waiting" in said(place, pid) for pid in pids))
    first, second = sorted(pids, key=lambda pid: "waiting" in said(place, pid))
    os.kill(first, signal.SIGKILL)
    codes = [ended(first), ended(second)]
    return {"codes": codes, "said": said(place, second), "wrong": differences(straight, place)}


def stopped_with_workers(folder: Path) -> dict[str, Any]:
    """`make reproduce` with two runs, ended by a signal to itself alone while its processes work.

    After SIGKILL they end themselves: the last words of each are waited for.
    """
    found: dict[str, Any] = {}
    for number in (signal.SIGINT, signal.SIGKILL):
        place = folder / number.name

        def reproduce() -> int:
            paper.reproduce.plan = lambda profile, seeds: [run_config(profile, each, 0) for each in (TEACHER, "sagan")]
            return paper.reproduce.main(["--profile", "smoke", "--device", "cpu"])

        pid = child(place, task=reproduce)
        runs = place / "results/smoke/runs"
        wait_for(lambda runs=runs: len(list(runs.glob("*/log.txt"))) == 2)
        time.sleep(0.5)
        began = time.monotonic()
        os.kill(pid, number)
        code = ended(pid)
        found[number.name] = {"code": code, "seconds": time.monotonic() - began, "last": last_line(said(place, pid))}
        if number == signal.SIGKILL:  # it could end nobody
            logs = list(runs.glob("*/log.txt"))
            wait_for(lambda logs=logs: all("stopped" in last_line(log.read_text()) for log in logs), SOON)
            continue
        with suppress(ProcessLookupError):
            os.killpg(pid, 0)
            raise SystemExit("there are processes left")
    return found


def full_disk(place: Path, straight: Path) -> dict[str, Any]:
    """A run on a disk that is full, and again when there is room."""

    def fill() -> None:
        def fails(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        os.fsync = fails

    pid = child(place, fill)
    return {"code": ended(pid), "full": said(place, pid).splitlines(), "then": finish(place, straight)}


if __name__ == "__main__":
    prepare()
    folder = Path(sys.argv[1]).resolve()
    straight, midway = folder / "straight", folder / "midway"
    finish(straight)
    ended(child(midway, partial(kill_within, midway, "freezing a mask", 1, 0)))
    tried = {
        "kills": many_kills(folder, straight),
        "signals": signalled(shutil.copytree(midway, folder / "signals"), straight),
        "together": two_at_once(shutil.copytree(midway, folder / "together"), straight),
        "workers": stopped_with_workers(folder),
        "disk": full_disk(shutil.copytree(midway, folder / "disk"), straight),
    }
    print(json.dumps(tried))
