"""What is measured: cases as plain values, so that the results say exactly what ran."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Work = Callable[[], object]  # what a case does in its turn


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
