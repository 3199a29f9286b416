"""Runs of the reference that are reused: copied, with what was measured of them, to one's own results."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ppcd import paths
from ppcd.locks import alone
from ppcd.progress import say
from ppcd.records import GENERATOR, file_hash, read_unsealed
from ppcd.runs.directory import CHECKPOINT
from ppcd.training.config import RunConfig

MEASURED = ("*.json", "*.safetensors")  # of a profile, next to its runs
MADE = "claims.json"  # of the runs, not measured
LEFT_OUT = shutil.ignore_patterns(".*", CHECKPOINT, "log.txt", "progress.json")  # of whoever trained the reference


def reuse_reference(configs: Iterable[RunConfig], but: str | None = None, more: bool = False) -> None:
    """Copy the reference's runs of the profiles of these runs, where it has one of them or of their teachers.

    Args:
        but, more: as of `copy_reference`.
    """
    known = [each for config in configs for each in (config, config.teacher()) if each and has_reference(each)]
    for profile in dict.fromkeys(config.profile.name for config in known):
        copy_reference(profile, but, more)


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
    record = read_unsealed(folder) or {}
    if record.get("status") != "complete" or (runs / folder.name).exists() or folder.name == but:
        return False
    if (teacher := record["teacher"]) is None or not (taught_by := runs / teacher["id"]).exists():
        return teacher is None or teacher["id"] != but
    weights = taught_by / GENERATOR
    return weights.is_file() and file_hash(weights) == teacher["generator_sha256"]


def has_reference(config: RunConfig) -> bool:
    """Whether the reference has the run complete."""
    return (paths.reference(config.profile.name) / "runs" / config.id / "run.json").is_file()
