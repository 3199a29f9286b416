"""Runs of the reference that are reused: copied, with what was measured of them, to one's own results."""

import json
import os
import shutil
from pathlib import Path

from ppcd import paths
from ppcd.locks import alone
from ppcd.progress import say
from ppcd.records import GENERATOR, file_hash
from ppcd.runs.directory import CHECKPOINT
from ppcd.training.config import RunConfig

MEASURED = ("*.json", "*.safetensors")  # of a profile, next to its runs
MADE = "claims.json"  # of the runs, not measured
LEFT_OUT = shutil.ignore_patterns(".*", CHECKPOINT, "log.txt", "progress.json")  # of whoever trained the reference


def copy_reference(profile: str, but: str | None = None, more: bool = False) -> None:
    """Copy the complete runs of the reference that one's own results lack, and say so in one line.

    Runs get their place when all of them are copied, so that none is ever there in part. Runs of students whose
    teacher is here with other weights are left out.

    Args:
        but: the id of a run that is to be trained here, and is left out with its students.
        more: also where own runs have been begun; otherwise nothing is copied there.
    """
    own, reference = paths.results(profile), paths.reference(profile)
    if own == reference or not (reference / "runs").is_dir() or ((own / "runs").is_dir() and not more):
        return
    with paths.writing(own), alone(own / ".copying.lock"):
        if (own / "runs").is_dir() and not more:
            return
        staged = own / ".copying"
        shutil.rmtree(staged, ignore_errors=True)  # of a process that was killed
        there = sorted(path.parent for path in (reference / "runs").glob("*/run.json"))
        wanted = [folder for folder in there if _is_wanted(folder, own / "runs", but)]
        for folder in wanted:
            shutil.copytree(folder, staged / "runs" / folder.name, ignore=LEFT_OUT)
        if not wanted:
            return
        for path in (path for pattern in MEASURED for path in reference.glob(pattern)):
            if path.name != MADE and not (own / path.name).exists():
                paths.write_atomic(own / path.name, path.read_bytes())
        if (own / "runs").is_dir():
            for folder in (staged / "runs").iterdir():
                os.replace(folder, own / "runs" / folder.name)
            shutil.rmtree(staged)
        else:
            os.replace(staged / "runs", own / "runs")
            staged.rmdir()
    left = f", all but {but}, which is trained here" if but else ""
    say(f"{len(wanted)} runs of the reference were copied to {own}{left}")


def _is_wanted(folder: Path, runs: Path, but: str | None) -> bool:
    record = json.loads((folder / "run.json").read_text())
    teacher = record.get("teacher") or {}
    taught_by = runs / teacher.get("id", "none")
    if record["status"] != "complete" or (runs / folder.name).exists() or but in (folder.name, teacher.get("id")):
        return False
    weights = taught_by / GENERATOR
    same = weights.is_file() and file_hash(weights) == teacher["generator_sha256"]
    return same or not taught_by.exists()


def has_reference(config: RunConfig) -> bool:
    """Whether the reference has the run complete."""
    return (paths.reference(config.profile.name) / "runs" / config.id / "run.json").is_file()
