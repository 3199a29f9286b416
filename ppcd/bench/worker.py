"""A contestant's process: `python -m paper.bench.worker`. It does nothing but what it is told, line by line.

The first line that it reads describes the contestant, "build" makes it and takes the turns that are not timed, "go" is
a turn; every line has one answer, in JSON. It ends with its input.
"""

import gc
import importlib
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paper.bench.contestants import Contestant, Works
from paper.training_cost import peak_memory, reset_peak
from ppcd.errors import run_command

LONG = 5.0  # seconds: shorter work is done once before it is timed, since others had the caches
MOST = 1000  # repetitions in a turn


def resident_memory(field: str = "VmRSS") -> int:
    """Bytes of this process that are in memory now; where the system does not say, those that were at most.

    Args:
        field: of Linux's status: "VmRSS", or "RssAnon" for what is not a mapped file, which processes share.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields[field].split()[0]) * 1024
    return peak_memory("cpu")


@dataclass
class Worker:
    """The contestant, from its description to its turns.

    Attributes:
        warm_ups, turn: of `paper.bench.contestants.Pace`.
    """

    contestant: Contestant
    warm_ups: int
    turn: float

    def __post_init__(self) -> None:
        torch.set_num_threads(self.contestant.threads)
        module, _, function = self.contestant.kind.partition(":")
        self._make = getattr(importlib.import_module(module), function)
        self.works: Works = {}
        self.repeats: dict[str, int] = {}
        self.again: dict[str, bool] = {}  # whether a piece is done once before it is timed

    def build(self) -> dict[str, Any]:
        """Make the contestant and take its first turns; how long these took, and what a turn repeats."""
        self.works = self._make(self.contestant.settings)
        gc.collect()
        building = peak_memory("cpu")
        reset_peak("cpu")
        began, last = time.perf_counter(), dict.fromkeys(self.works, 0.0)
        for _ in range(self.warm_ups):
            last = {name: self._timed(name, 1) for name in self.works}
        for name, seconds in last.items():
            self.repeats[name] = min(MOST, max(1, math.ceil(self.turn / max(seconds, 1e-9))))
            self.again[name] = 0 < seconds < LONG and self.turn > 0
        took = time.perf_counter() - began
        return {"warm_up": took, "repeats": self.repeats, "building": building, **self.memory()}

    def go(self) -> dict[str, Any]:
        """A turn: seconds of each piece."""
        found = {}
        for name in self.works:
            if self.again[name]:
                self.works[name]()
            found[name] = self._timed(name, self.repeats[name])
        return {"seconds": found, **self.memory()}

    @staticmethod
    def memory() -> dict[str, int]:
        """Bytes: resident now, of these its own (not shared), and resident at most since the contestant was made."""
        return {"resident": resident_memory(), "own": resident_memory("RssAnon"), "peak": peak_memory("cpu")}

    def _timed(self, name: str, repeats: int) -> float:
        work, began = self.works[name], time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - began) / repeats


def serve() -> None:
    """Answer until the input ends.

    Raises:
        PpcdError: of the contestant; the reader sees the process end and its last line.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    asked = json.loads(sys.stdin.readline())
    worker = Worker(Contestant(**asked["contestant"]), asked["warm_ups"], asked["turn"])
    print(json.dumps({"idle": resident_memory()}), file=answers)
    for line in sys.stdin:
        print(json.dumps(worker.build() if line.strip() == "build" else worker.go()), file=answers)


if __name__ == "__main__":
    sys.exit(run_command(serve, "a contestant ends with its bench"))
