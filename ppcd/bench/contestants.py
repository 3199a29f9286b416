"""Who takes turns: contestants as plain values, so that the results say exactly what ran."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ppcd.base import PpcdError

Works = dict[str, Callable[[], object]]  # what a turn does, piece by piece; most have one piece
TURN = "turn"  # the name of the only piece


@dataclass(frozen=True)
class Contestant:
    """One way to do a piece of work.

    Attributes:
        name: unique in its group.
        label: for people.
        kind: "module:function" which makes `Works` of the settings.
        settings: plain values.
        threads: of torch and OpenMP.
        environment: variables beside those that are inherited.
    """

    name: str
    label: str
    kind: str
    settings: dict[str, Any]
    threads: int = 1
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pace:
    """How long it may take.

    Attributes:
        seconds: of a group; no further round begins behind them.
        fewest, most: rounds.
        warm_ups: turns that are not timed, of each contestant.
        turn: seconds that a turn lasts at least; shorter work is repeated, and the mean counts.
    """

    seconds: float = 60.0
    fewest: int = 3
    most: int = 15
    warm_ups: int = 2
    turn: float = 0.3

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most or self.warm_ups < 1:
            raise PpcdError(
                f"a bench needs at least one round and one turn to warm up; got {self.fewest} to {self.most} rounds, "
                f"{self.warm_ups} to warm up"
            )


QUICK = Pace(seconds=0.0, fewest=3, most=3, warm_ups=1, turn=0.0)


@dataclass(frozen=True)
class Group:
    """Contestants that are compared with each other.

    Attributes:
        scene: what all of them do.
        about: the scene in plain values: batch, threads and so on.
        images: that a turn makes or takes; None where that means nothing.
        baseline: name of the contestant that the others are compared with.
        contestants: in the order in which they are shown.
        pace: how long it may take.
    """

    scene: str
    about: dict[str, Any]
    images: int | None
    baseline: str
    contestants: tuple[Contestant, ...]
    pace: Pace
