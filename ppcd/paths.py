"""Where things are kept. Everything is resolved from the repository, never from the working directory."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppcd.base import PpcdError

# What one makes oneself, moved by PPCD_<name>. The repository's own results and figures are the reference.
ROOTS = {"RESULTS": "reproduction/results", "FIGURES": "reproduction/figures", "CACHE": ".cache"}
FULL = (errno.ENOSPC, errno.EDQUOT)


def repository() -> Path:
    """The root of the checkout; the working directory when the package was installed without one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def expanded(given: Path | str) -> Path:
    """A path as it was typed, with the home folder for `~`; one of a user who does not exist stays as it is."""
    return Path(os.path.expanduser(given))


def _root(name: str) -> Path:
    value = os.environ.get(f"PPCD_{name}")
    return expanded(value).resolve() if value else repository() / ROOTS[name]


def results(profile: str) -> Path:
    """One's own results of a profile: its runs, and what was measured and made of them."""
    return _root("RESULTS") / profile


def figures(profile: str) -> Path:
    """One's own figures of a profile."""
    return _root("FIGURES") / profile


def reference(profile: str) -> Path:
    """The results that the repository brings. They are read only, unless PPCD_RESULTS names them."""
    return repository() / "results" / profile


def reference_figures(profile: str) -> Path:
    """The figures that the repository brings."""
    return repository() / "figures" / profile


def kept(name: str) -> Path:
    """A file of results: one's own, or the reference's where one has none."""
    own = results(name)
    return own if own.is_file() else reference(name)


def source(own: Path, reference: Path) -> Path:
    """The folder of a profile that is read: one's own if it holds runs or the reference none, else the reference."""
    holds = [any(folder.glob("runs/*/run.json")) for folder in (own, reference)]
    return reference if holds == [False, True] else own


def cache() -> Path:
    """What can be made again at any time: downloads, prepared data, classifiers, reference statistics."""
    return _root("CACHE")


def images() -> str | None:
    """PPCD_DATA: where the images lie on this machine. A place, no setting of a run, which names its images itself."""
    return os.environ.get("PPCD_DATA")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line what keeps a file or a folder from being written.

    Raises:
        PpcdError: for an OSError: a full disk, a folder that is read-only.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        root = next((name for name in ROOTS if path.is_relative_to(_root(name))), None)
        elsewhere = f", or point PPCD_{root} at another folder" if root else ""
        advice = "make room" if error.errno in FULL else "make it writable"
        raise PpcdError(
            f"{path} cannot be written ({reason}); what is there is kept: {advice}{elsewhere}, and start again"
        ) from error


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that nobody ever sees half of it, not after a power cut either: temporary name, fsync, rename."""
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    with suppress(OSError):  # the folder's names too, where its file system can: renames stay in their order
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove what processes that were killed left of `write_atomic`; nobody may be writing these files."""
    for temporary in folder.glob(f".{name}.*.tmp"):
        temporary.unlink(missing_ok=True)
