"""Cases take turns: each waits in a process of its own, and one at a time computes."""

import gc
import math
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from typing import Any

import torch

from paper.bench.cases import Case, Group
from paper.training_cost import peak_memory, reset_peak
from ppcd.base import PpcdError

CONTEXT = multiprocessing.get_context("spawn")
FAREWELL = 10.0  # seconds in which a process may end by itself
WARM_UPS = 2  # works that are not timed, before the first round
LONG = 5.0  # seconds: shorter work is done once before it is timed, since another case had the caches
MOST = 1000  # repetitions in a turn


class Measured:
    """A case in its process, from its description to its turns."""

    def __init__(self, case: Case, turn: float) -> None:
        self.case, self.turn = case, turn
        self.again, self.repeats = False, 1

    def build(self) -> dict[str, Any]:
        """Make the work and do it untimed: how long that took, and how often a turn repeats it."""
        self.work = self.case.make(self.case.settings)
        gc.collect()
        reset_peak("cpu")
        began = time.perf_counter()
        for _ in range(WARM_UPS):
            seconds = self._timed(1)
        self.repeats = min(MOST, max(1, math.ceil(self.turn / max(seconds, 1e-9))))
        self.again = seconds < LONG and self.turn > 0
        return {"warm_up": time.perf_counter() - began, "repeats": self.repeats}

    def go(self) -> dict[str, Any]:
        """A turn: seconds of the work, and the most bytes of memory that the process has had since it was made."""
        if self.again:
            self.work()
        return {"seconds": self._timed(self.repeats), "peak": peak_memory("cpu")}

    def _timed(self, repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            self.work()
        return (time.perf_counter() - began) / repeats


def serve(connection: Connection, case: Case, turn: float) -> None:
    """In the process of a case: answer what is asked, until the other end is closed."""
    torch.set_num_threads(case.threads)
    measured = Measured(case, turn)
    answers = {"build": measured.build, "go": measured.go}
    connection.send({})  # everything is imported
    with suppress(EOFError):
        while True:
            asked = connection.recv()
            try:
                answer = answers[asked]()
            except PpcdError as error:
                answer = {"error": str(error)}
            connection.send(answer)


class Worker:
    """The process of a case, seen from the bench."""

    def __init__(self, case: Case, turn: float) -> None:
        self.case = case
        self._connection, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=serve, args=(theirs, case, turn))
        self._process.start()
        theirs.close()

    def ask(self, what: str) -> dict[str, Any]:
        """Ask for "build" or "go" and wait for the answer of `Measured`.

        Raises:
            PpcdError: it failed or died; with its name.
        """
        with suppress(OSError):  # it has ended: `answer` says so
            self._connection.send(what)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next answer; raises as `ask`."""
        name = self.case.name
        try:
            answer: dict[str, Any] = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            status = self._process.exitcode or 0
            said = f"signal {-status}, out of memory?" if status < 0 else f"status {status}"
            raise PpcdError(f"case {name} ended: {said}") from None
        if "error" in answer:
            raise PpcdError(f"case {name} failed: {answer['error']}")
        return answer

    def close(self) -> None:
        """Let it end; one that computes is stopped."""
        self._connection.close()
        self._process.join(FAREWELL)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def take_turns(group: Group) -> dict[str, Any]:
    """All cases of a group, round after round, each once a round in an order that changes.

    Returns:
        scene, about, images, baseline, rounds, and cases [{name, label, settings, threads, warm_up, repeats, seconds
        (a value a round), peak (bytes), and what `derived` adds}].

    Raises:
        PpcdError: a case failed or died.
    """
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for case in group.cases:
            workers[case.name] = Worker(case, group.turn)
            stack.callback(workers[case.name].close)
        for worker in workers.values():
            worker.answer()
        built = {name: worker.ask("build") for name, worker in workers.items()}
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        for index in range(group.rounds):
            for name in in_turn(list(workers), index):
                turns[name].append(workers[name].ask("go"))
    cases = [
        {
            "name": case.name,
            "label": case.label,
            "settings": case.settings,
            "threads": case.threads,
            **built[case.name],
            "seconds": [each["seconds"] for each in turns[case.name]],
            "peak": turns[case.name][-1]["peak"],
        }
        for case in group.cases
    ]
    about = {"scene": group.scene, "about": group.about, "images": group.images, "baseline": group.baseline}
    return derived({**about, "rounds": group.rounds, "cases": cases})


def in_turn(names: list[str], index: int) -> list[str]:
    """The order of a round: each begins one case later, and every second goes backwards."""
    first = index % len(names)
    order = names[first:] + names[:first]
    return order[::-1] if index % 2 else order


def derived(group: dict[str, Any]) -> dict[str, Any]:
    """The group with what follows from the seconds of each case.

    Adds median (seconds), images_per_second, and ratio: how many times faster than the baseline within a round.
    """
    (baseline,) = [each["seconds"] for each in group["cases"] if each["name"] == group["baseline"]]
    cases = []
    for each in group["cases"]:
        median = statistics.median(each["seconds"])
        ratio = spread([base / own for base, own in zip(baseline, each["seconds"], strict=True)])
        cases.append({**each, "median": median, "ratio": ratio, "images_per_second": group["images"] / median})
    return {**group, "cases": cases}


def spread(values: Sequence[float]) -> dict[str, float]:
    """median, lowest, highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
