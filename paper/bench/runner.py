"""Cases take turns: each has a separate process, and one at a time computes."""

import gc
import math
import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from ppcd.base import PpcdError
from ppcd.metrics.runtime import seconds
from ppcd.runs.memory import peak_memory, reset_peak
from ppcd.runs.pool import separate_processes

Work = Callable[[], object]  # what a case does in its turn

WARM_UPS = 2  # works that are not timed, before the first round
LONG = 5.0  # seconds: shorter work is done once before it is timed, since another case had the caches
MOST = 1000  # repetitions in a turn

_turns: list[Callable[[], dict[str, Any]]] = []  # in the process of a case: its turn


@dataclass(frozen=True)
class Case:
    """One way to do a piece of work.

    Attributes:
        name: unique in its group.
        label: for people.
        make: gets the settings and returns the work; a function of a module, which another process can import.
        settings: plain values.
    """

    name: str
    label: str
    make: Callable[[dict[str, Any]], Work]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Cases that are compared with each other.

    Attributes:
        scene: what all of them do.
        about: the scene in plain values: batch (images of a turn), threads (of torch) and so on.
        baseline: name of the case that the others are compared with.
        cases: in the order in which they are shown.
        rounds: turns of each case.
        turn: seconds that a turn lasts at least; shorter work is repeated, and the mean counts.
    """

    scene: str
    about: dict[str, Any]
    baseline: str
    cases: tuple[Case, ...]
    rounds: int
    turn: float


def build(case: Case, threads: int, turn: float) -> dict[str, Any]:
    """In the process of a case: make the work and do it untimed; how long that took, and how often a turn repeats it.

    A turn lasts at least `turn` seconds.
    """
    torch.set_num_threads(threads)
    work = case.make(case.settings)
    gc.collect()
    reset_peak("cpu")
    warm_up = seconds(work, WARM_UPS)
    repeats = min(MOST, max(1, math.ceil(turn / max(warm_up[-1], 1e-9))))
    first = int(warm_up[-1] < LONG and turn > 0)

    def go() -> dict[str, Any]:
        return {"seconds": statistics.fmean(seconds(work, repeats, first)), "peak": peak_memory("cpu")}

    _turns[:] = [go]
    return {"warm_up": sum(warm_up), "repeats": repeats}


def go() -> dict[str, Any]:
    """In the process of a case: a turn; seconds of the work, and the most bytes of memory since it was made."""
    return _turns[0]()


def take_turns(group: Group) -> dict[str, Any]:
    """All cases of a group, round after round, each once a round in an order that changes.

    Returns:
        scene, about, baseline, rounds, and cases [{name, label, settings, warm_up, repeats, seconds (a value a round),
        peak (bytes)}].
    """
    with ExitStack() as stack:
        processes = {case.name: stack.enter_context(separate_processes()) for case in group.cases}

        def ask(name: str, function: Callable[..., dict[str, Any]], *given: object) -> dict[str, Any]:
            try:
                return processes[name].submit(function, *given).result()
            except BrokenProcessPool:
                raise PpcdError(f"case {name} ended in the middle of its work; out of memory?") from None
            except PpcdError as error:
                raise PpcdError(f"case {name} failed: {error}") from None

        for started in [process.submit(os.getpid) for process in processes.values()]:
            started.result()
        threads = group.about["threads"]
        built = {case.name: ask(case.name, build, case, threads, group.turn) for case in group.cases}
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
        for index in range(group.rounds):
            for name in in_turn(list(processes), index):
                turns[name].append(ask(name, go))
    cases = [
        {
            "name": case.name,
            "label": case.label,
            "settings": case.settings,
            **built[case.name],
            "seconds": [each["seconds"] for each in turns[case.name]],
            "peak": turns[case.name][-1]["peak"],
        }
        for case in group.cases
    ]
    about = {"scene": group.scene, "about": group.about, "baseline": group.baseline, "rounds": group.rounds}
    return {**about, "cases": cases}


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
        median, ratio = statistics.median(each["seconds"]), times_faster(each["seconds"], baseline)
        cases.append({**each, "median": median, "ratio": ratio, "images_per_second": group["about"]["batch"] / median})
    return {**group, "cases": cases}


def times_faster(own: Sequence[float], baseline: Sequence[float]) -> dict[str, float]:
    """median, lowest and highest ratio of the rounds."""
    ratios = [base / each for base, each in zip(baseline, own, strict=True)]
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
