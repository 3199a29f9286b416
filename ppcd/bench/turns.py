"""Contestants take turns: each waits in a process of its own, and one at a time computes."""

import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from paper.bench.contestants import Contestant, Group, Pace
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.runs.config import memory

WORKER = (sys.executable, "-m", "paper.bench.worker")
PATIENCE = 3600.0  # seconds for one answer; torch.compile takes minutes
FAREWELL = 10.0  # seconds in which a contestant may end by itself


def environment_of(contestant: Contestant) -> dict[str, str]:
    """What its process inherits: everything but another contestant's allocator and number of threads."""
    inherited = {name: value for name, value in os.environ.items() if name not in memory.ENVIRONMENT}
    return inherited | {"OMP_NUM_THREADS": str(contestant.threads)} | contestant.environment


class Process:
    """A contestant that waits; see `paper.bench.worker` for what can be asked of it."""

    def __init__(self, contestant: Contestant, pace: Pace) -> None:
        self.contestant = contestant
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            WORKER,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            cwd=paths.repository(), env=environment_of(contestant),
        )  # fmt: skip
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._write(json.dumps({"contestant": asdict(contestant), "warm_ups": pace.warm_ups, "turn": pace.turn}))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # the end

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: `answer` says why

    def ask(self, line: str) -> dict[str, Any]:
        """Write a line and wait for its answer.

        Raises:
            PpcdError: it died, or does not answer; with its name and its last words.
        """
        self._write(line)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next answer; raises as `ask`."""
        name = self.contestant.name
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise PpcdError(f"contestant {name} has not answered for {PATIENCE:g} s") from None
        if not line:
            raise PpcdError(f"contestant {name} ended: {self._last_words()}")
        return dict(json.loads(line))

    def _last_words(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"signal {-status}, out of memory?"
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1].removeprefix("ppcd: ") if lines else f"status {status}, without a word"

    def close(self) -> None:
        """Let it end; one that computes is stopped."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=FAREWELL)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@dataclass
class Outcome:
    """What a contestant's turns took."""

    contestant: Contestant
    built: dict[str, Any]
    pieces: dict[str, list[float]]  # seconds, a value a round
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> list[float]:
        """Of all pieces together, a value a round."""
        return [sum(each) for each in zip(*self.pieces.values(), strict=True)]

    def to_dict(self, baseline: "Outcome", images: int | None) -> dict[str, Any]:
        """Plain values, for the results; ratio: how many times faster than the baseline, within a round."""
        seconds, repeats = self.seconds, self.built["repeats"]
        whole = {
            **asdict(self.contestant),
            "warm_up": self.built["warm_up"],
            "repeats": repeats if len(repeats) > 1 else next(iter(repeats.values())),
            "seconds": seconds,
            "memory": self.memory,
            **_derived(seconds, baseline.seconds, images),
        }
        if len(self.pieces) > 1:
            whole["pieces"] = {name: statistics.median(each) for name, each in self.pieces.items()}
        return whole


def again(group: dict[str, Any]) -> dict[str, Any]:
    """A measured group with what follows from its seconds computed again; pieces stay, whose rounds are not kept."""
    (baseline,) = [each["seconds"] for each in group["contestants"] if each["name"] == group["baseline"]]
    return group | {
        "contestants": [each | _derived(each["seconds"], baseline, group["images"]) for each in group["contestants"]]
    }


def _derived(seconds: list[float], baseline: list[float], images: int | None) -> dict[str, Any]:
    median = statistics.median(seconds)
    ratio = spread([base / own for base, own in zip(baseline, seconds, strict=True)])
    return {"median": median, "ratio": ratio} | ({} if images is None else {"images_per_second": images / median})


def spread(values: Sequence[float]) -> dict[str, float]:
    """median, lowest, highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def in_turn(names: list[str], rounds: int) -> list[str]:
    """The order of a round: each begins one contestant later, and every second goes backwards."""
    first = rounds % len(names)
    order = names[first:] + names[:first]
    return order[::-1] if rounds % 2 else order


def take_turns(group: Group) -> dict[str, Any]:
    """All contestants of a group, round after round, each once a round in an order that changes.

    Memory is in bytes: idle, of the process when it had imported what it needs; building, at most until the contestant
    was made; peak, at most in its turns; above, that less idle.

    Returns:
        scene, about, images, baseline, rounds, together (bytes that all processes had at once, at most, without the
        libraries that they share), contestants (`Outcome.to_dict`).

    Raises:
        PpcdError: a contestant died or does not answer.
    """
    with ExitStack() as stack:
        processes = {}
        for contestant in group.contestants:
            processes[contestant.name] = Process(contestant, group.pace)
            stack.callback(processes[contestant.name].close)
        idle = {name: process.answer()["idle"] for name, process in processes.items()}
        outcomes, last = {}, {}
        for name, process in processes.items():  # one after the other, so that nobody is warmed up beside another
            last[name] = built = process.ask("build")
            outcomes[name] = Outcome(process.contestant, built, {piece: [] for piece in built["repeats"]})
        rounds = 0
        end = time.monotonic() + group.pace.seconds
        while rounds < group.pace.fewest or (rounds < group.pace.most and time.monotonic() < end):
            for name in in_turn(list(processes), rounds):
                last[name] = processes[name].ask("go")
                for piece, seconds in last[name]["seconds"].items():
                    outcomes[name].pieces[piece].append(seconds)
            rounds += 1
    for name, outcome in outcomes.items():
        peak = last[name]["peak"]
        building = outcome.built["building"]
        outcome.memory = {"idle": idle[name], "building": building, "peak": peak, "above": max(0, peak - idle[name])}
    own = sum(each["own"] for each in last.values())
    baseline = outcomes[group.baseline]
    return {
        "scene": group.scene,
        "about": group.about,
        "images": group.images,
        "baseline": group.baseline,
        "rounds": rounds,
        "together": own + max(each["peak"] - each["resident"] for each in last.values()),
        "contestants": [outcome.to_dict(baseline, group.images) for outcome in outcomes.values()],
    }
