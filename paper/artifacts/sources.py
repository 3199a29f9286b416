"""The complete runs that artifacts are made of: a study, and their records (`run.json`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.commands import run_options
from ppcd.data.folders import some
from ppcd.metrics.evaluate import is_free
from ppcd.networks.generators import Generator
from ppcd.networks.io import load_generator
from ppcd.records import GENERATOR, read_unsealed
from ppcd.runs.directory import Run
from ppcd.runs.train import sample_grid
from ppcd.training.config import run_config, runs_root
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import TEACHER, check_alpha

Record = dict[str, Any]  # a run.json, schema 1
NOT_RUN = "not run"
NOTED = {"id", "recipe", "seed", "data", "teacher", "files"}  # parts of a record that a note is made of
NO_MODEL = "–"  # what a row of real images says of runs, sizes and times


def find_record(profile: str, recipe: str, seed: int, alpha: float | None = None) -> Record | None:
    """The record of a run, or None when it is not complete.

    Raises:
        PpcdError: unknown profile or recipe, impossible seed or alpha, or a run directory that was changed.
    """
    run = Run(run_config(profile, recipe, seed, alpha, **run_options()))
    return run.read() if run.state == "complete" else None


def find_records(profile: str, recipe: str, seeds: Sequence[int], alpha: float | None = None) -> list[Record]:
    """The records of the complete runs among those of several seeds."""
    found = [find_record(profile, recipe, seed, alpha) for seed in seeds]
    return [record for record in found if record is not None]


def directory(record: Record) -> Path:
    """The directory of the run that the record is of."""
    return paths.results(record["profile"]) / "runs" / record["id"]


def read_csv(record: Record, name: str) -> pd.DataFrame:
    """A log of the run, `history.csv` or `masks.csv`.

    Raises:
        PpcdError: the run has no such log.
    """
    path = directory(record) / name
    if not path.is_file():
        raise PpcdError(f"run {record['id']} has no {name}; it was not masked, or its directory is not whole")
    return pd.read_csv(path)


def second_half(history: pd.DataFrame) -> pd.DataFrame:
    """The rows of a log from the second half of its training."""
    return history.loc[history["iteration"] > history["iteration"].max() / 2]


def generator_of(record: Record) -> Generator:
    """The slim EMA generator of a run, in evaluation mode."""
    return load_generator(directory(record) / "generator.safetensors")


def samples(record: Record) -> Path:
    """The sample grid of a run, made from its generator where the repository does not hold it."""
    path = directory(record) / "samples.png"
    if not path.is_file():
        paths.write_atomic(path, sample_grid(generator_of(record), record["seed"], "cpu"))
    return path


def alpha_of(record: Record) -> float | None:
    """The compression ratio threshold of a run, None where nothing was pruned."""
    return record["config"]["recipe"]["alpha"]


def common_protocol(records: Sequence[Record]) -> dict[str, Any]:
    """The measurement protocol that all the records share; {} for no records.

    The seed of the noise may differ, and so may the weights of networks that were trained for measuring
    (`*_sha256`, on another machine): see `own_networks`.

    Raises:
        PpcdError: the records were measured in different ways and must not stand in one table.
    """
    protocols = [record["metrics"]["protocol"] for record in records]
    for record, protocol in zip(records, protocols, strict=True):
        for key in sorted(set(protocol) | set(protocols[0])):
            if not is_free(key) and protocol.get(key) != protocols[0].get(key):
                raise PpcdError(
                    f"run {record['id']} was measured with {key} {protocol.get(key)!r} and run "
                    f"{records[0]['id']} with {protocols[0].get(key)!r}; they cannot stand in one table"
                )
    return protocols[0] if protocols else {}


def own_networks(records: Sequence[Record]) -> int:
    """How many different copies of the backbone (trained on different machines) measured these records."""
    return len({record["metrics"]["protocol"].get("backbone_sha256") for record in records})


def of_another_teacher(records: Iterable[Record]) -> list[Record]:
    """The students among these runs whose teacher is another copy of the same run: one came with the repository and
    one was trained here, for example. The copy that counts is the one among these runs, or else the first student's.
    """
    records = list(records)
    copies = {record["id"]: record["files"][GENERATOR] for record in records if record["recipe"] == TEACHER}
    found = []
    for record in records:
        if teacher := record["teacher"]:
            digest = teacher["generator_sha256"]
            if copies.setdefault(teacher["id"], digest) != digest:
                found.append(record)
    return found


def data_note(records: Iterable[Record]) -> str:
    """What is to be known of what these runs learned from: "JPEG source" for example, and which students learned from
    another copy of a teacher; "" where nothing is."""
    records = list(records)
    notes = dict.fromkeys(note for record in records if (note := record["data"].get("note")))
    if students := of_another_teacher(records):
        seeds: dict[str, list[int]] = {}
        for record in students:
            seeds.setdefault(record["recipe"], []).append(record["seed"])
        named = [f"{recipe} (seed{'s' * (len(of) > 1)} {listed(of)})" for recipe, of in seeds.items()]
        notes[f"another copy of the teacher taught {some(named)}"] = None
    return "; ".join(notes)


def data_notes(profile: str) -> str:
    """The same of all runs of a profile. Whoever reads a run that was changed says what is wrong with it."""
    found = map(read_unsealed, sorted(runs_root(profile).iterdir()) if runs_root(profile).is_dir() else ())
    return data_note(record for record in found if record is not None and record.keys() >= NOTED)


@dataclass(frozen=True)
class Study:
    """The runs that a product is made of; its line stands on every table and figure.

    Raises:
        PpcdError: unknown profile or impossible alpha.
    """

    profile: str
    seeds: Sequence[int]
    alpha: float | None = None  # of the recipes that prune; None: each recipe's default

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(self.seeds))
        get_profile(self.profile)
        if self.alpha is not None:
            check_alpha(self.alpha)

    @property
    def settings(self) -> Profile:
        return get_profile(self.profile)

    @property
    def backbone(self) -> str:
        return self.settings.backbone

    def record(self, recipe: str) -> Record | None:
        """The record of the first seed's run, or None when it is not complete."""
        return find_record(self.profile, recipe, self.seeds[0], self.alpha)

    def records(self, recipe: str) -> list[Record]:
        """The records of the complete runs."""
        return find_records(self.profile, recipe, self.seeds, self.alpha)

    @property
    def line(self) -> str:
        """For example `profile mnist · seeds 0, 1 · backbone classifier · alpha 0.5 · data: JPEG source`."""
        parts = [f"profile {self.profile}", f"seed{'s' * (len(self.seeds) != 1)} {listed(self.seeds)}"]
        parts.append(f"backbone {self.backbone}")
        if self.alpha is not None:
            parts.append(f"alpha {self.alpha:g}")
        if note := data_notes(self.profile):
            parts.append(f"data: {note}")
        return " · ".join(parts)


def listed(seeds: Sequence[int]) -> str:
    """`0, 1, 2`; `none` for no seeds."""
    return ", ".join(map(str, seeds)) or "none"


def alpha_suffix(alpha: float, default: float) -> str:
    """What keeps a product for another alpha from overwriting the paper's: `` or `-a0.6`."""
    return "" if alpha == default else f"-a{alpha:g}"
