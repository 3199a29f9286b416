"""How the progress of a training is shown: in a terminal, in a notebook, in a log file."""

import html
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from tqdm import tqdm


@dataclass(frozen=True)
class Snapshot:
    """What there is to show at one moment, as plain values."""

    title: str
    phase: str
    iteration: int  # steps done
    total: int
    rate: float  # images per second
    elapsed: float  # seconds since this process began
    left: float | None  # seconds to go, None while unknown
    losses: Mapping[str, float]
    masks: Sequence[tuple[str, float, bool]]  # (layer, pruned fraction, frozen)


class Display(Protocol):
    """One way of showing snapshots."""

    def due(self, now: float, iteration: int, total: int) -> bool:
        """Whether it is time to show another one; `now` in seconds of any steady clock."""

    def start(self, snapshot: Snapshot) -> None: ...

    def show(self, snapshot: Snapshot) -> None: ...

    def end(self, snapshot: Snapshot) -> None: ...


def clock(seconds: float | None) -> str:
    """Seconds as 1:02 or 1:02:03; "?" for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def losses_text(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in losses.items())


def pruned_text(masks: Sequence[tuple[str, float, bool]]) -> str:
    """Every layer's pruned fraction, first to last, with a * where it is frozen: "pruned .50* .48 .31"."""
    fractions = (f"{ratio:.2f}".removeprefix("0") + ("*" if frozen else "") for _, ratio, frozen in masks)
    return " ".join(["pruned", *fractions]) if masks else ""


def verdict(snapshot: Snapshot) -> str:
    """How it ended."""
    if snapshot.iteration >= snapshot.total:
        return f"finished {snapshot.total} iterations in {clock(snapshot.elapsed)}"
    return f"stopped at iteration {snapshot.iteration} of {snapshot.total} after {clock(snapshot.elapsed)}"


class Throttle:
    """Says yes at most once in `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._last = -math.inf

    def due(self, now: float) -> bool:
        if now - self._last < self.interval:
            return False
        self._last = now
        return True


class TerminalDisplay:
    """A tqdm bar, a line with the losses and, for masked generators, lines with every layer's fraction."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._throttle = Throttle(0.25)
        self._bars: list[Any] = []

    def due(self, now: float, iteration: int, total: int) -> bool:
        return self._throttle.due(now)

    def start(self, snapshot: Snapshot) -> None:
        bar = tqdm(
            total=snapshot.total,
            initial=snapshot.iteration,
            desc=snapshot.title,
            unit="it",
            file=self._stream,
            dynamic_ncols=True,
            position=0,
        )
        widest = "pruned" + " 1.00*" * len(snapshot.masks)
        rows = 1 + (len(self._wrapped(widest)) if snapshot.masks else 0)
        self._bars = [bar] + [
            tqdm(total=0, file=self._stream, bar_format="{desc}", position=row + 1, leave=True) for row in range(rows)
        ]
        self.show(snapshot)

    def show(self, snapshot: Snapshot) -> None:
        bar, *rows = self._bars
        bar.n = snapshot.iteration
        bar.set_description_str(f"{snapshot.title} {snapshot.phase}".strip(), refresh=False)
        bar.set_postfix_str(f"{snapshot.rate:.0f} images/s", refresh=False)
        bar.refresh()
        width = self._columns()
        texts = [losses_text(snapshot.losses)[:width], *self._wrapped(pruned_text(snapshot.masks))]
        for row, text in zip(rows, texts + [""] * len(rows), strict=False):
            row.set_description_str(text)

    def end(self, snapshot: Snapshot) -> None:
        self.show(snapshot)
        for bar in self._bars:
            bar.close()
        print(verdict(snapshot), file=self._stream, flush=True)

    def _columns(self) -> int:
        # One column stays free: a full line would wrap and shift the others.
        return shutil.get_terminal_size().columns - 1

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(text, self._columns(), subsequent_indent="       ")


class NotebookDisplay:
    """A cell output that is replaced about twice a second; what stays in the file is its last state."""

    def __init__(self) -> None:
        self._throttle = Throttle(0.5)
        self._handle: Any = None

    def due(self, now: float, iteration: int, total: int) -> bool:
        return self._throttle.due(now)

    def start(self, snapshot: Snapshot) -> None:
        from IPython.display import display

        self._handle = display(self._bundle(snapshot, self._pace(snapshot)), raw=True, display_id=True)

    def show(self, snapshot: Snapshot) -> None:
        self._handle.update(self._bundle(snapshot, self._pace(snapshot)), raw=True)

    def end(self, snapshot: Snapshot) -> None:
        self._handle.update(self._bundle(snapshot, verdict(snapshot)), raw=True)

    @staticmethod
    def _pace(snapshot: Snapshot) -> str:
        return f"iteration {snapshot.iteration} of {snapshot.total}, {clock(snapshot.left)} left"

    @staticmethod
    def _bundle(snapshot: Snapshot, status: str) -> dict[str, str]:
        """The same in HTML and, for front ends and converters without it, in plain text."""
        head = f"{snapshot.title} {snapshot.phase}".strip()
        pace = f"{status}, {snapshot.rate:.0f} images/s"
        lines = [losses_text(snapshot.losses), pruned_text(snapshot.masks)]
        plain = "\n".join([f"{head}: {pace}", *filter(None, lines)])
        done = 100 * snapshot.iteration / max(snapshot.total, 1)
        layers = ", ".join(layer for layer, _, _ in snapshot.masks)
        body = "".join(
            f'<div title="{html.escape(layers)}">{html.escape(line)}</div>' if line.startswith("pruned")
            else f"<div>{html.escape(line)}</div>"
            for line in filter(None, lines)
        )  # fmt: skip
        bar = (
            '<div style="max-width:40em;height:6px;margin:4px 0;background:rgba(128,128,128,.25)">'
            f'<div style="width:{done:.1f}%;height:100%;background:#4878d0"></div></div>'
        )
        text = f"<div><b>{html.escape(head)}</b> {html.escape(pace)}</div>{bar}{body}"
        return {
            "text/plain": plain,
            "text/html": f'<div style="font-family:monospace;line-height:1.5">{text}</div>',
        }


class LogDisplay:
    """Plain lines: at most one in 10 seconds, and one for every 5% of the way or every minute."""

    def __init__(self, stream: TextIO, interval: float = 10, longest: float = 60) -> None:
        self._stream = stream
        self._interval, self._longest = interval, longest
        self._last = -math.inf
        self._last_iteration = 0

    def due(self, now: float, iteration: int, total: int) -> bool:
        if self._last == -math.inf:  # the line of the start counts
            self._last, self._last_iteration = now, iteration
        waited, went = now - self._last, (iteration - self._last_iteration) / max(total, 1)
        if waited < self._interval or (went < 0.05 and waited < self._longest):
            return False
        self._last, self._last_iteration = now, iteration
        return True

    def start(self, snapshot: Snapshot) -> None:
        verb = "resumed at" if snapshot.iteration else "started, at"
        self._print(f"{snapshot.title} {verb} iteration {snapshot.iteration} of {snapshot.total}".strip())

    def show(self, snapshot: Snapshot) -> None:
        percent = 100 * snapshot.iteration / max(snapshot.total, 1)
        parts = [
            f"{snapshot.title} {snapshot.phase}".strip(),
            f"{snapshot.iteration}/{snapshot.total} ({percent:.0f}%)",
            f"{snapshot.rate:.0f} images/s",
            losses_text(snapshot.losses),
            pruned_text(snapshot.masks),
            f"{clock(snapshot.left)} left",
        ]
        self._print("  ".join(filter(None, parts)))

    def end(self, snapshot: Snapshot) -> None:
        parts = [losses_text(snapshot.losses), pruned_text(snapshot.masks)]
        self._print("  ".join(filter(None, [f"{snapshot.title} {verdict(snapshot)}".strip(), *parts])))

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def choose_display(stream: TextIO) -> Display:
    """What suits where this process writes: a notebook's kernel, a terminal, or anything else."""
    if _in_notebook():
        return NotebookDisplay()
    return TerminalDisplay(stream) if stream.isatty() else LogDisplay(stream)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")
