"""The same seed gives the same bytes: in fresh processes, and whatever is done to the global random streams."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ppcd.data.sets import load_data
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ("biggan", "ppcd-a0.5")
MAKE = f"""
from paper.artifacts import tables
from paper.study import Study
from ppcd.method import ema
from ppcd.metrics import evaluate as measures
from ppcd.runs import train
from ppcd.training.config import run_config

recompute = ema.recompute_batch_statistics
ema.recompute_batch_statistics = lambda *given: recompute(*given, 2, 8)  # seconds less
study = Study.of("smoke")
watchers = ()
if disturbed:
    disturber = Disturber()
    watchers = (disturber,)
    for name in ("trainer_class", "finish_generator", "sample_grid", "measure_complexity"):
        setattr(train, name, disturber.around(getattr(train, name)))
    measures.evaluate = disturber.around(measures.evaluate)
for recipe in {RECIPES}:
    train.train_run(run_config("smoke", recipe, 0), callbacks=watchers)
frame = tables.table3(study)
if disturbed:
    disturber.disturb()
tables.write(frame, study)
if disturbed:
    disturber.disturb()
    print(disturber.times)
"""
DISTURBER = """
import random
import numpy as np
import torch
from ppcd.runs.callbacks import Callback

def streams():
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()

class Disturber(Callback):
    # Sets every global seed to something else each time, and draws from every global stream. Before that it looks
    # whether anybody else has drawn since: then the streams stand elsewhere than it left them.

    def __init__(self):
        self.times, self.left = 0, streams()

    def disturb(self, *_):
        assert streams() == self.left, "something has drawn from a global stream, or set its seed"
        self.times += 1
        torch.manual_seed(self.times)
        np.random.seed(self.times + 1)
        random.seed(self.times + 2)
        torch.rand(self.times), np.random.rand(self.times), random.random()
        self.left = streams()

    on_start = on_step = on_end = disturb

    def around(self, function):
        def call(*arguments, **options):
            self.disturb()
            result = function(*arguments, **options)
            self.disturb()
            return result
        return call
"""
CLOCK = ("seconds", "images_per_second")  # columns of history.csv, and of what a run says of its training


# ------------------------------------------------------------ fresh processes


def start(folder: Path, disturbed: bool) -> subprocess.Popen[str]:
    """The smoke profile, its classifier too, in a process with folders and a cache of its own, which has the digits."""
    shutil.copytree(Path(os.environ["PPCD_CACHE"]) / "data", folder / "cache" / "data")
    own = {f"PPCD_{name}": str(folder / name.lower()) for name in ("RESULTS", "FIGURES", "CACHE")}
    # What Python's hashes of strings, and so the order of sets, are made with differs as well.
    environment = {**os.environ, **own, "PYTHONHASHSEED": str(1 + disturbed), "PYTHONPATH": str(ROOT)}
    script = f"disturbed = {disturbed}\n" + (DISTURBER if disturbed else "") + MAKE
    command = [sys.executable, "-c", script]
    return subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(folder: Path) -> dict[str, Any]:
    """Every file that is kept, by its name: what it holds but for the time that passed."""
    readers: dict[str, Callable[[bytes], Any]] = {"run.json": record, "history.csv": without_clock}
    whole: Callable[[bytes], Any] = bytes
    left_out = {"checkpoint.pt", ".lock", ".local"}  # a checkpoint, which nobody keeps, has the clock in it
    kept = [path for path in (folder / "results").rglob("*") if path.is_file() and path.name not in left_out]
    return {str(path.relative_to(folder)): readers.get(path.name, whole)(path.read_bytes()) for path in kept}


def record(content: bytes) -> dict[str, Any]:
    """run.json without times, and without the hashes of what has times in it."""
    found = json.loads(content)
    for name in ("started", "finished"):
        del found["provenance"][name]
    for name in CLOCK:
        del found["training"][name]
    del found["runtime"], found["sha256"], found["files"]["history.csv"]
    return found


def without_clock(content: bytes) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO(content.decode()))
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def test_two_fresh_processes_give_the_same_bytes_whatever_the_global_seeds(tmp_path: Path) -> None:
    """In the second process every global seed was changed again and again."""
    load_data("mnist", 32)
    folders = tmp_path / "plain", tmp_path / "disturbed"
    processes = [start(folder, folder.name == "disturbed") for folder in folders]
    ended = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert int(ended[1][0]) > 2 * get_profile("smoke").iterations  # it was disturbed at every step
    first, second = map(results, folders)
    for recipe in RECIPES:
        files = {name.rsplit("/", 1)[1] for name in first if f"/runs/{recipe}-s0-" in name}
        assert {"run.json", "history.csv", "generator.safetensors", "samples.png"} <= files
    assert {f"results/smoke/tables/table3.{kind}" for kind in ("csv", "md", "tex")} <= set(first)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# ------------------------------------------------------------ no use of them in the code

GLOBAL = re.compile(
    r"^\s*(import|from) random\b|np\.random\.(?!Generator)|numpy\.random|set_seed\(|ropout\(|DataLoader\(|"
    r"torch\.((cuda|random)\.)?(manual_seed|seed|set_rng_state)", re.MULTILINE,
)  # fmt: skip


def test_no_code_of_the_package_uses_a_global_stream() -> None:
    """Generators of numpy are made in one place, `ppcd/base.py`."""
    files = [path for name in ("ppcd", "paper") for path in (ROOT / name).rglob("*.py") if path.name != "base.py"]
    files += [path for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem != "11_your_own_gan"]  # a user's loop
    assert len(files) > 100
    assert [path.name for path in files if GLOBAL.search(path.read_text())] == []
