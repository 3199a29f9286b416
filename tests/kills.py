"""What tests/test_stopping.py starts: one process that imports once, and forks a child for each thing that it tries.

`python tests/kills.py FOLDER` prints what came of it as JSON. A child does what `python -m ppcd train` does and
writes a table of it, at the smoke profile, with a checkpoint after every step. It is ended by SIGKILL from its own
hand, after a given number of Python's calls inside a given piece of the work, or from outside after a while.
"""

import errno
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import together
import torch
from PIL import Image
from safetensors.torch import load_file

import paper.reproduce
import ppcd.data.sets
import ppcd.method.ema
import ppcd.metrics.evaluate
import ppcd.runs.loop
import ppcd.runs.train
from paper import sums
from paper.artifacts import tables
from paper.study import Study
from ppcd import stopping
from ppcd.method.masks import ChannelMask
from ppcd.metrics.cache import read_entry
from ppcd.metrics.complexity import block_params
from ppcd.networks.io import DISCRIMINATOR, LAST, MOMENTS, file_on_cpu, load_generator
from ppcd.records import read_run
from ppcd.runs.directory import Run
from ppcd.runs.history import HistoryWriter
from ppcd.training.recipes import TEACHER
from ppcd.training.trainer import Trainer

KILLS = 50
COMMAND = ["--profile", "smoke", "--recipe", "ppcd", "--seed", "0", "--device", "cpu"]
READ_HALF = 98  # exit status of a child that reads a file under a temporary name
CLOCK = {"seconds", "images_per_second"}

# How often each piece of the work is killed, in the order in which a run comes to them.
PLAN = (
    ("data preparation", 3), ("writing a file", 3), ("the teacher's steps", 4), ("writing a file", 3),
    ("any moment", 3), ("joint training", 4), ("freezing a mask", 4), ("checkpoints", 3), ("histories", 3),
    ("any moment", 4), ("writing a file", 3), ("slimming", 3), ("evaluation", 2), ("completing a run", 2),
    ("tables", 3), ("writing a file", 3),
)  # fmt: skip
SOON = 60.0  # seconds that processes have to notice that their parent was killed
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)  # of "any moment", in turns; all but the last in a training
AT_WORK = re.compile("started at|resumed at|complete")
TIMES = {"writing a file": 4, "the teacher's steps": 2, "joint training": 2, "checkpoints": 2, "histories": 3}
WRITING = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34)  # a file that has no temporary name is open for the first two
CALLS = {"checkpoints": 3.5, "histories": 2.0, "tables": 3.0}  # at most so many, log 10; else 4


# ------------------------------------------------------------ what a child does


def work() -> int:
    """Data, teacher, student, evaluation, a table: the exit status of the command."""
    code = ppcd.runs.train.main(COMMAND)
    if code == 0:
        tables.write(tables.table3(Study.of("smoke")), Study.of("smoke"))
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
    fit, recompute = ppcd.runs.loop.fit, ppcd.method.ema.recompute_batch_statistics
    runtime = {"seconds_per_batch": 1.0, "batch": 64, "threads": 1, "repeats": 1}
    ppcd.data.sets._mnist_digits = digits
    ppcd.runs.train.fit = lambda *given: fit(*given, checkpoint_every=0.0)
    ppcd.method.ema.recompute_batch_statistics = lambda generator, noise: recompute(generator, noise, 2, 8)
    sizes = ("params", "macs", "params_dense", "macs_dense", "block_params", "block_params_dense")
    ppcd.runs.train.measure_complexity = lambda generator: dict.fromkeys(sizes, block_params(generator))
    ppcd.runs.train.measure_runtime = lambda generator, device: {"cpu": runtime, "gpu": None}

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".tmp") and arguments[2] & os.O_ACCMODE == os.O_RDONLY:
            os._exit(READ_HALF)

    sys.addaudithook(refuse)


def pieces() -> list[tuple[str, Any, str]]:
    """(piece of the work, where its function is, the function's name)."""
    return [
        ("data preparation", ppcd.data.sets, "_in_memory"),
        ("the teacher's steps", Trainer, "step"),
        ("joint training", Trainer, "step"),
        ("freezing a mask", ChannelMask, "freeze"),
        ("checkpoints", ppcd.runs.loop, "save_checkpoint"),
        ("histories", HistoryWriter, "append"),
        ("slimming", ppcd.runs.train, "finish_generator"),
        ("evaluation", ppcd.metrics.evaluate, "evaluate"),
        ("completing a run", Run, "finish"),
        ("tables", tables, "write"),
    ]


def belongs(piece: str, given: tuple[Any, ...]) -> bool:
    if given and isinstance(given[0], Trainer) and piece != "checkpoints":
        return (given[0].recipe.name == TEACHER) == (piece == "the teacher's steps")
    return True


def hooked(wrap: Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """Have every piece of the work go through `wrap(piece, function, arguments...)`."""
    for piece, where, name in pieces():
        function = getattr(where, name)

        def through(*given: Any, piece: str = piece, function: Any = function, **named: Any) -> Any:
            if belongs(piece, given):
                return wrap(piece, function, given, named)
            return function(*given, **named)

        setattr(where, name, through)


def kill_within(place: Path, piece: str, time_of: int, calls: int) -> None:
    """SIGKILL for this process `calls` of Python's calls and returns after the entry into a piece of its work.

    The piece "writing a file" begins where any file in `place` is opened for it.
    """
    entered, left = 0, calls

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def enter(name: str) -> None:
        nonlocal entered
        if name == piece:
            entered += 1
            if entered == time_of:
                sys.setprofile(count)

    def wrap(name: str, function: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        enter(name)
        return function(*given, **named)

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | Path) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            path = Path(arguments[0])
            if place in path.parents and not path.name.startswith(".lock") and path.suffix != ".lock":
                enter("writing a file")

    hooked(wrap)
    sys.addaudithook(opened)


# ------------------------------------------------------------ what lies on the disk


def kept_files(root: Path) -> list[Path]:
    """All but locks and files under temporary names."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(".lock")]
    return [path for path in files if path.suffix not in (".tmp", ".lock")]


def array_sizes(path: Path) -> list[int]:
    with np.load(path) as stored:
        return [stored[key].size for key in stored]


READERS: dict[str, Callable[[Path], Any]] = {
    "run.json": lambda path: read_run(path.parent),
    sums.FILE: lambda path: sums.read(path.parent),
    "generator.safetensors": load_generator,
    LAST: load_generator,
    DISCRIMINATOR: load_file,
    MOMENTS: load_file,
    ".local": lambda path: True,
    ".json": lambda path: json.loads(path.read_text()),
    ".pt": lambda path: file_on_cpu(path)["iteration"],
    ".safetensors": read_entry,  # of the cache, where each holds a hash of its content
    ".npz": array_sizes,
    ".png": lambda path: Image.open(path).convert("RGB"),
    **dict.fromkeys((".csv", ".md", ".tex"), lambda path: path.read_text().endswith("\n")),
}


def check_whole(root: Path) -> None:
    """Fail where a file is not whole: nothing but files under temporary names may be."""
    for path in kept_files(root):
        read = READERS[path.name if path.name in READERS else path.suffix]
        assert read(path), path


def as_bytes(state: Any) -> dict[str, Any]:
    """Every number of nested lists and dictionaries, by its place."""
    return {
        name: (value.dtype, value.shape, value.contiguous().view(-1).numpy().tobytes())
        for name, value in together.leaves(state)
    }


def content(path: Path) -> Any:
    """What a file holds, without times and provenance."""
    if path.suffix == ".pt":
        state = file_on_cpu(path)
        return as_bytes({name: value for name, value in state.items() if name not in ("seconds", "provenance")})
    if path.name == "history.csv":
        return pd.read_csv(path, dtype=str).drop(columns=list(CLOCK)).to_csv()
    if path.name == "run.json":
        record = json.loads(path.read_text())
        for name in ("sha256", "provenance"):
            del record[name]
        del record["files"]["history.csv"]
        return {**record, "training": {k: v for k, v in record["training"].items() if k not in CLOCK}}
    if path.suffix == ".safetensors" and path.name not in ("generator.safetensors", LAST, DISCRIMINATOR):
        entry = read_entry(path)
        return None if entry is None else (as_bytes(entry.tensors), entry.notes)
    return path.read_bytes()


def contents(root: Path) -> dict[str, Any]:
    return {str(path.relative_to(root)): content(path) for path in kept_files(root)}


def differences(first: Path, second: Path) -> list[str]:
    """The files that are not the same, or only in one of the two; and temporary ones that nobody removed."""
    one, two = contents(first), contents(second)
    left = [str(path) for path in second.rglob(".*.tmp") if path.parent.name != "tables"]
    return left + sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


# ------------------------------------------------------------ children


def child(place: Path, first: Callable[[], None] = lambda: None, task: Callable[[], int] = work) -> int:
    """Fork a process that looks at what lies in `place` and does the task there; its id. Its words go to `said`."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        said = os.open(said_by(place, os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.environ |= {f"PPCD_{name.upper()}": str(place / name) for name in ("results", "figures", "cache")}
        for number in stopping.SIGNALS:  # as they are while `python -m ppcd train` imports
            signal.signal(number, stopping._leave)
        torch.set_num_threads(1)
        if place.is_dir():
            check_whole(place)
        first()
        code = task()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def said_by(place: Path, pid: int) -> Path:
    return place.with_name(f"{place.name}.{pid}.txt")


def last_line(words: Path) -> str:
    return ["", *words.read_text().splitlines()][-1]


def ended(pid: int) -> int:
    """Wait for a child: its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def reference(folder: Path) -> Path:
    """A run that is never stopped."""
    place = folder / "straight"
    pid = child(place)
    assert ended(pid) == 0, said_by(place, pid).read_text()
    return place


# ------------------------------------------------------------ what is tried


def fifty_kills(folder: Path, straight: Path, midway: Path) -> dict[str, Any]:
    """Kill a run over and over, in every piece of its work; a run that came to its end makes room for the next.

    What is there in the middle of the joint training is kept in `midway`.
    """
    chance, killed, laps, wrong, lines, slowest = random.Random(0), dict[str, int](), 0, list[str](), list[str](), 0.0
    plan = [piece for piece, count in PLAN for _ in range(count)]
    turn = 0
    while sum(killed.values()) < KILLS or plan:
        piece = plan.pop(0) if plan else chance.choice([name for name, _ in PLAN])
        place = folder / f"lap{laps}"
        if piece == "checkpoints" and not midway.exists():
            shutil.copytree(place, midway)
        if piece == "any moment":
            number, turn = SIGNALS[turn % len(SIGNALS)], turn + 1
            pid = child(place)
            if number != signal.SIGKILL:
                words = said_by(place, pid)
                wait_for(lambda words=words: [words.is_file() and bool(AT_WORK.search(words.read_text()))])
            time.sleep(chance.uniform(0.0, 0.5))
            began = time.monotonic()
            os.kill(pid, number)
            code = ended(pid)
            if number != signal.SIGKILL and code == 128 + number:
                slowest = max(slowest, time.monotonic() - began)
                lines.append(said_by(place, pid).read_text().splitlines()[-1])
            stopped = code in (-number, 128 + number)
        else:
            count = chance.randint(1, TIMES.get(piece, 1))
            calls = round(10 ** chance.uniform(0, CALLS.get(piece, 4)))
            if piece == "writing a file":
                calls = chance.choice(WRITING)
            pid = child(place, lambda p=(place, piece, count, calls): kill_within(*p))
            code = ended(pid)
            stopped = code == -signal.SIGKILL
        if stopped:
            killed[piece] = killed.get(piece, 0) + 1
        elif code == 0:
            wrong += differences(straight, place)
            laps += 1
        else:
            raise SystemExit(f"{piece}, exit status {code}: {said_by(place, pid).read_text()[-3000:]}")
    place = folder / f"lap{laps}"
    pid = child(place)
    assert ended(pid) == 0, said_by(place, pid).read_text()
    return {
        "killed": killed,
        "laps": laps + 1,
        "wrong": wrong + differences(straight, place),
        "lines": lines,
        "slowest": slowest,
    }


def several_at_once(place: Path, straight: Path) -> dict[str, Any]:
    """Two processes start the same run; the one that works is killed, and a third waits for the second."""
    pids = [child(place), child(place)]
    first = pids[1 - late(place, pids)]
    os.kill(first, signal.SIGKILL)
    (second,) = (pid for pid in pids if pid != first)
    wait_for(lambda: ["resumed" in said_by(place, second).read_text()])
    third = child(place)
    late(place, [third])
    return {
        "pids": [first, second, third],
        "codes": [ended(pid) for pid in (first, second, third)],
        "said": [said_by(place, pid).read_text() for pid in (first, second, third)],
        "wrong": differences(straight, place),
    }


def late(place: Path, pids: list[int]) -> int:
    """Which of these children found another one at work."""
    words = [said_by(place, pid) for pid in pids]
    return wait_for(lambda: [path.is_file() and "waiting" in path.read_text() for path in words])


def wait_for(happened: Callable[[], list[bool]], seconds: float = 600.0) -> int:
    """Wait until one of several things happened: which."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(seen := happened()):
            return seen.index(True)
        time.sleep(0.02)
    raise SystemExit("nothing happened")


def stopped_with_workers(folder: Path) -> dict[str, Any]:
    """`make reproduce` with two runs, ended by a signal to itself alone while its processes work.

    After SIGKILL they end themselves: the last words of each are waited for.
    """
    found: dict[str, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        place = folder / number.name

        def reproduce() -> int:
            paper.reproduce.plan = lambda study: study.configs((TEACHER, "sagan"))
            return paper.reproduce.main(["--profile", "smoke", "--device", "cpu"])

        pid = child(place, task=reproduce)
        runs = place / "results/smoke/runs"
        wait_for(lambda runs=runs: [len(list(runs.glob("*/log.txt"))) == 2])
        time.sleep(0.5)
        began = time.monotonic()
        os.kill(pid, number)
        code = ended(pid)
        seconds = time.monotonic() - began
        found[number.name] = {"code": code, "seconds": seconds, "last": last_line(said_by(place, pid))}
        if number == signal.SIGKILL:  # it could end nobody
            logs = list(runs.glob("*/log.txt"))
            wait_for(lambda logs=logs: [all("stopped" in last_line(log) for log in logs)], SOON)
        else:
            found[number.name]["alive"] = alive(pid)
    return found


def alive(group: int) -> bool:
    """Whether there are processes of this group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def full_disk(place: Path, straight: Path) -> dict[str, Any]:
    """A run on a disk that is full, and again when there is room."""

    def fill() -> None:
        def fails(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        os.fsync = fails

    def tried(first: Callable[[], None]) -> dict[str, Any]:
        pid = child(place, first)
        return {"code": ended(pid), "said": said_by(place, pid).read_text().splitlines()}

    return {"full": tried(fill), "then": tried(lambda: None) | {"wrong": differences(straight, place)}}


if __name__ == "__main__":
    prepare()
    folder = Path(sys.argv[1]).resolve()
    straight, midway = reference(folder), folder / "midway"
    tried = {
        "kills": fifty_kills(folder, straight, midway),
        "together": several_at_once(shutil.copytree(midway, folder / "together"), straight),
        "workers": stopped_with_workers(folder),
        "disk": full_disk(shutil.copytree(midway, folder / "disk"), straight),
    }
    print(json.dumps(tried))
