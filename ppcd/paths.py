"""Where things are kept. Everything is resolved from the repository, never from the working directory."""

import os
import tempfile
from pathlib import Path


def repository() -> Path:
    """The root of the checkout; the working directory when the package was installed without one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def _root(variable: str, default: str) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().resolve() if value else repository() / default


def results(profile: str) -> Path:
    """`results/<profile>`; the environment variable PPCD_RESULTS moves `results`."""
    return _root("PPCD_RESULTS", "results") / profile


def figures(profile: str) -> Path:
    """`figures/<profile>`; the environment variable PPCD_FIGURES moves `figures`."""
    return _root("PPCD_FIGURES", "figures") / profile


def cache() -> Path:
    """What can be made again at any time: downloads, prepared data, classifiers, reference statistics.

    The environment variable PPCD_CACHE moves it.
    """
    return _root("PPCD_CACHE", ".cache")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file so that nobody ever sees half of it: temporary name, fsync, rename."""
    data = content.encode() if isinstance(content, str) else content
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
