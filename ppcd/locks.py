"""One process at a time works on something; the second one says that it waits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ppcd import paths
from ppcd.progress import say


@contextmanager
def alone(path: Path, what: str | None = None) -> Iterator[None]:
    """Within this context no other process is within that of the same lock.

    The system takes the lock from a process that ends, however it ends.

    Args:
        path: of the lock; its folder is made where it is missing.
        what: another process may be doing for minutes, so that waiting for it is told. None: it takes moments.
    """
    lock = FileLock(path)
    with paths.writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if what is not None:
                say(f"another process {what}; waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
