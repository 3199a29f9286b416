"""Being stopped: Ctrl-C and SIGTERM end the work within a second or two, with one line that says how to go on.

Nothing is saved on the way out: files appear whole or not at all (`ppcd.paths.write_atomic`), so a run goes on from its
last checkpoint whatever ended it, SIGKILL and a power cut included.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any, Protocol

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE = 2.0  # seconds that a child process has for its own last line
TIED = "PPCD_TIED"  # in the environment of a child process whose standard input ends with its parent


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM, and what it stopped and how far that was ("" where that is not known yet)."""

    def __init__(self, what: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(what)
        self.what, self.number = what, number

    def _render_traceback_(self) -> list[str]:  # of IPython: one line in a notebook
        return [f"ppcd: {self.what or 'stopped'}; run the cell again to go on"]


@contextmanager
def describe_stop(what: Callable[[], str]) -> Iterator[None]:
    """Have an interrupt of the work inside say what was stopped, as `Stopped`; the innermost description counts."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if isinstance(stop, Stopped) and stop.what:
            raise
        raise Stopped(what(), getattr(stop, "number", signal.SIGINT)) from None


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped inside at the first SIGINT or SIGTERM.

    A SIGTERM after it changes nothing, since a parent often passes on its Ctrl-C as one; a second Ctrl-C ends the
    process at once.
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only there
        yield
        return
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is _leave else handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise Stopped(number=number)


def start_process(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
    """Start `python -m ppcd...` as a child process that ends when this one does, whatever ended this one.

    A process killed by SIGKILL cannot end its children, so each child reads a pipe that nothing is written to, and
    ends itself when the other end is gone. So do the processes that a launcher starts in turn.
    """
    environment = {**options.pop("env", os.environ), TIED: "1"}
    return subprocess.Popen(command, stdin=_lifeline(os.getpid()), env=environment, **options)


@cache
def _lifeline(process: int) -> int:
    """The reading end of a pipe whose other end only this process has. The cache is by process: a fork has its own."""
    return os.pipe()[0]


def _end_with_parent() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


class Child(Protocol):
    """What a child process, or a job elsewhere, has to be able to do."""

    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def end_processes(children: Iterable[Child]) -> None:
    """End child processes: SIGTERM to all, SIGKILL to those that are still there a moment later."""
    children = list(children)
    for child in children:
        child.terminate()
    until = time.monotonic() + PATIENCE
    for child in children:
        try:
            child.wait(timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    print("ppcd: stopped before anything was begun; the same command starts again", file=sys.stderr, flush=True)
    os._exit(128 + number)


def take_over() -> bool:
    """Called by a command line before its slow imports: from now on Ctrl-C and SIGTERM end it with one line.

    A process that `start_process` started ends with its parent from now on, and True is returned.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    for number in SIGNALS:
        signal.signal(number, _leave)
    tied = os.environ.pop(TIED, None) is not None  # what it starts itself has another standard input
    if tied:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    return tied
