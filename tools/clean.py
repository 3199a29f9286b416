"""Removes what can be made again: caches, and run directories that are not complete (`make clean`).

Complete runs, tables and figures stay, and so does a run that somebody is training at this moment.
"""

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHES = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints"}
KEEP = {".git", ".venv", ".cache"}


def caches(root: Path) -> list[Path]:
    """Every cache folder below root, those of the environment excepted."""
    found = []
    for folder, names, _ in os.walk(root):
        found += [Path(folder) / name for name in names if name in CACHES or name.endswith(".egg-info")]
        names[:] = [name for name in names if name not in CACHES | KEEP]
    return found


def complete(run: Path) -> bool:
    """Whether run.json is there and says so."""
    try:
        return json.loads((run / "run.json").read_text()).get("status") == "complete"
    except (OSError, ValueError):
        return False


def locked(run: Path) -> bool:
    """Whether a living process holds the run's lock."""
    try:
        with (run / ".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def partial_runs(root: Path) -> list[Path]:
    """Run directories that were begun, are not complete, and are not being trained."""
    places = ("reproduction/results", "results")
    runs = (path for place in places for path in root.glob(f"{place}/*/runs/*") if path.is_dir())
    return [run for run in runs if not complete(run) and not locked(run)]


def main() -> None:
    for run in partial_runs(ROOT):
        print(f"clean: partial run {run.relative_to(ROOT)}")
        shutil.rmtree(run)
    for cache in caches(ROOT):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(cache)


if __name__ == "__main__":
    main()
