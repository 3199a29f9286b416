"""The directory of a run: what is in it, how far it is, and how it is completed."""

import json
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.locks import alone
from ppcd.records import TRAINED_HERE, Record, flatten, read_run, read_stop, write_record
from ppcd.training.config import RunConfig

FILES = ("generator.safetensors", "history.csv", "samples.png")
MASK_FILE, CHECKPOINT = "masks.csv", "checkpoint.pt"


class Run:
    """The directory of one run: <results>/<profile>/runs/<recipe>-s<seed>-<8 hex of the hash>/."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.directory = config.directory

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def state(self) -> str:
        """ "complete" (has run.json), "partial" (has a checkpoint to resume from) or "absent"."""
        if self.path("run.json").is_file() and self.stopped is None:
            return "complete"
        return "partial" if self.path(CHECKPOINT).is_file() else "absent"

    @property
    def stopped(self) -> dict[str, Any] | None:
        """iteration, kind and text of what ended the training before its end; None where nothing did."""
        return read_stop(self.directory)

    @property
    def trained_here(self) -> bool:
        """Whether it was trained here, rather than copied from the reference."""
        return self.path(TRAINED_HERE).is_file()

    def read(self) -> Record:
        """run.json, checked (`ppcd.records.read_run`)."""
        return read_run(self.directory)

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes out of the directory; look at `state` again once inside."""
        return alone(self.directory / ".lock", f"is working on run {self.config.id}")

    def write_file(self, name: str, content: bytes | str) -> None:
        """Write a file of the run atomically."""
        paths.write_atomic(self.path(name), content)

    def progress(self) -> dict[str, Any] | None:
        """progress.json of a run that is being trained or was interrupted, None where there is none that is whole."""
        try:
            found = json.loads(self.path("progress.json").read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def finish(self, record: dict[str, Any], extra: Sequence[str] = ()) -> Record:
        """Complete the run: write run.json, last and atomically, over files that are there already.

        Args:
            record: provenance, data, teacher, training, masks, complexity, metrics and runtime, besides warnings and
                best where there are some; numbers that are not finite become null.
            extra: names of files besides those that every run has.
        """
        config = self.config
        if record["data"]["identity"] != config.data_identity:
            raise ValueError(f"data {record['data']['identity']} in a run of {config.data_identity}")
        names = (*FILES, *((MASK_FILE,) if config.recipe.masked else ()), *extra)
        missing = [name for name in names if not self.path(name).is_file()]
        if missing:
            raise PpcdError(f"run {config.id} cannot be completed without {', '.join(missing)}")
        with paths.writing(self.directory):
            self.path(TRAINED_HERE).touch()  # first: a complete run without it is taken for a copy
        written = write_record(self.directory, self._identification("complete") | record, names)
        self.path("progress.json").unlink(missing_ok=True)
        return written

    def stop(self, iteration: int, kind: str, text: str, warnings: list[dict[str, Any]]) -> None:
        """Write a run.json that says where and why the training ended before its end; it can go on all the same."""
        found = {"iteration": iteration, "kind": kind, "text": text}
        write_record(self.directory, self._identification("stopped") | {"warnings": [*warnings, found]}, ())

    def resume(self) -> None:
        """The training goes on: a run.json of one that had stopped is gone."""
        if self.stopped is not None:
            self.path("run.json").unlink()

    def _identification(self, status: str) -> dict[str, Any]:
        config = self.config
        return {
            "id": config.id,
            "profile": config.profile.name,
            "recipe": config.recipe.name,
            "title": config.recipe.title,
            "seed": config.seed,
            "status": status,
            "config": config.resolved(),
            "config_hash": config.hash,
        }

    def describe(self) -> str:
        """What the run will do and how far it is, without doing it."""
        config, teacher = self.config, self.config.teacher()
        lines = [
            ("run", config.id),
            ("system", f"{config.recipe.title}, seed {config.seed}"),
            ("profile", f"{config.profile.name}: {config.profile.purpose}"),
            ("directory", str(config.directory)),
            ("state", _state(config)),
            ("teacher", f"{teacher.id}: {_state(teacher)}" if teacher else "none needed"),
            ("hash", config.hash),
        ]
        resolved = flatten(config.resolved())
        lines += [(f"  {key}", json.dumps(value)) for key, value in resolved.items() if value is not None]
        width = max(len(name) for name, _ in lines) + 2
        return "\n".join(f"{name:<{width}}{value}" for name, value in lines)

    def discard(self) -> None:
        """Delete the run; the lock stays.

        run.json goes first, so that at no moment it looks complete and is not; then the checkpoint, so that a run that
        is to be trained again is not resumed.
        """
        for name in ("run.json", CHECKPOINT):
            self.path(name).unlink(missing_ok=True)
        for path in self.directory.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith(".lock"):
                path.unlink(missing_ok=True)


def _state(config: RunConfig) -> str:
    run = Run(config)
    state = {"complete": "complete", "absent": "not started", "partial": "resumable"}[run.state]
    iteration, stop = (run.progress() or {}).get("checkpoint"), run.stopped
    if run.state == "partial" and iteration is not None:
        state = f"resumable at iteration {iteration}"
    return state if stop is None else f"{state}; {stop['text']}"
