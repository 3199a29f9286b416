"""Progress of several runs at once: a bar in a terminal, lines in a log, an output in a notebook."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ppcd.runs.displays import Throttle, _in_notebook, clock

if TYPE_CHECKING:
    from ppcd.runs.pool import Job


class Board:
    """Shows how far all jobs are together, and each that is running."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs, self.began = jobs, time.monotonic()
        self.work = sum(job.iterations for job in jobs)
        self.first: float | None = None
        self.kind = "notebook" if _in_notebook() else "terminal" if sys.stderr.isatty() else "log"
        self.throttle = Throttle({"notebook": 1.0, "terminal": 0.5, "log": 30.0}[self.kind])
        self.bar: Any = None
        self.handle: Any = None
        self.say(f"{len(jobs)} run{'s' * (len(jobs) > 1)} to train: {', '.join(job.config.id for job in jobs)}")
        if self.kind == "terminal":
            self.bar = tqdm(total=100, bar_format="{desc}{percentage:3.0f}%|{bar}|{postfix}", dynamic_ncols=True)

    def say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def started(self, job: Job) -> None:
        if self.kind == "log":
            self.say(f"{job.config.id} started")

    def finished(self, job: Job) -> None:
        self.say(f"{job.config.id} {'failed: ' + job.error if job.error else 'complete'}")

    def show(self, running: Sequence[Job]) -> None:
        """Show the present state, where it is time to."""
        if not self.throttle.due(time.monotonic()):
            return
        fraction = sum(job.iterations * job.fraction() for job in self.jobs) / self.work
        elapsed = time.monotonic() - self.began
        self.first = fraction if self.first is None else self.first
        gained = fraction - self.first  # what this process added: resumed work was there before
        left = elapsed * (1 - fraction) / gained if gained > 0.01 else None
        done = sum(job.done for job in self.jobs)
        each = ", ".join(f"{job.config.id.rsplit('-', 1)[0]} {100 * job.fraction():.0f}%" for job in running)
        summary = f"{done} of {len(self.jobs)} runs"
        if self.bar is not None:
            self.bar.n = 100 * fraction
            self.bar.set_description_str(f"{summary} ", refresh=False)
            self.bar.set_postfix_str(f"{clock(left)} left: {each}", refresh=False)
            self.bar.refresh()
            return
        line = f"{summary}, {100 * fraction:.0f}% of the training, about {clock(left)} left: {each}"
        if self.kind == "log":
            self.say(line)
        else:
            self._update(line)

    def _update(self, line: str) -> None:
        from IPython.display import display

        bundle = {"text/plain": line}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)

    def close(self) -> None:
        minutes = clock(time.monotonic() - self.began)
        if self.bar is not None:
            self.bar.close()
        if self.handle is not None:
            self._update(f"{sum(job.done for job in self.jobs)} of {len(self.jobs)} runs after {minutes}")
