"""One process at a time works in a folder; who comes second is told who is there, and waits."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ppcd import paths
from ppcd.base import PpcdError

log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, what: str, wait: bool = True) -> Iterator[None]:
    """Keep other processes out of a folder, which is made where it is missing.

    The system takes the lock from a process that ends, however it ends.

    Args:
        folder: the folder.
        what: is worked on in it; for the message.
        wait: for a process that is there already.

    Raises:
        PpcdError: another process is there, and `wait` is False; or the folder cannot be written.
    """
    lock, owner = FileLock(folder / ".lock"), folder / ".lock-pid"
    try:
        with paths.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                message = f"{what} is being worked on by process {_read_owner(owner)}"
                if not wait:
                    raise PpcdError(f"{message}; wait for it or stop it") from None
                log.warning("%s; waiting for it", message)
                lock.acquire()
        paths.write_atomic(owner, f"{os.getpid()}\n")
        try:
            yield
        finally:
            owner.unlink(missing_ok=True)
    finally:
        lock.release()


@contextmanager
def alone(path: Path, what: str | None = None) -> Iterator[None]:
    """Within this context no other process is within that of the same lock; who comes second waits.

    Args:
        path: of the lock; its folder is made where it is missing.
        what: another process may be doing for minutes: who waits for it says so. None: it takes moments.

    Raises:
        PpcdError: the folder cannot be written.
    """
    lock = FileLock(path)
    with paths.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if what is not None:
                log.warning("another process %s; waiting for it", what)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read_owner(path: Path) -> str:
    """The number of the process that has the lock, which it writes right behind taking it.

    Until then the file is missing, or of one that was killed here.
    """
    owner = "unknown"
    for _ in range(20):
        with suppress(FileNotFoundError):
            owner = path.read_text().strip()
        if _is_alive(owner):
            break
        time.sleep(0.05)
    return owner


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True
