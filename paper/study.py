"""A study: a profile, seeds, and where its runs and products are; and the records (`run.json`) of its runs."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.commands import run_options
from ppcd.data.folders import some
from ppcd.data.sets import identity, is_name, without_count
from ppcd.errors import ArgumentParser
from ppcd.metrics.evaluate import is_free
from ppcd.networks.generators import Generator
from ppcd.networks.io import load_generator
from ppcd.records import GENERATOR, Record, read_run, read_stop, read_unsealed
from ppcd.runs.train import sample_grid
from ppcd.seeds import parse_seeds
from ppcd.training import methods
from ppcd.training.config import RunConfig, asked_profile, run_config
from ppcd.training.profiles import PROFILES, Profile, fitted, get_profile, with_classes
from ppcd.training.recipes import TEACHER, Recipe, check_alpha, get_recipe

NOT_RUN = "not run"
NOTED = {"id", "recipe", "seed", "data", "teacher", "files"}  # parts of a record that a note is made of
NO_MODEL = "–"  # what a row of real images says of runs, sizes and times
AnyRecord = TypeVar("AnyRecord", bound=dict[str, Any])


@dataclass(frozen=True)
class Study:
    """The runs that products are made of, and where both are; its line stands on every table and figure.

    Attributes:
        profile, seeds: of the runs.
        results, figures: the folders that all that is trained, measured and made goes to.
        fixed: the folder that runs are read from; None: results where it has runs, else the reference (`source`).
        alpha: of the recipes that prune; None: each recipe's default.
        images: the name of the images that the runs are of; None: those that PPCD_DATA names, or the data set's own.
        precision, teacher: as `run_config` has them.
    """

    profile: Profile
    seeds: tuple[int, ...]
    results: Path
    figures: Path
    fixed: Path | None = None
    alpha: float | None = None
    images: str | None = None
    precision: str = "no"
    teacher: str | None = None

    @classmethod
    def of(cls, profile: str | Profile, seeds: Iterable[int] = (0,)) -> "Study":
        """The study of one's own runs of a profile, with the precision and the teacher's file of the environment.

        Raises:
            PpcdError: unknown profile.
        """
        profile = profile if isinstance(profile, Profile) else get_profile(profile)
        return cls(profile, tuple(seeds), paths.results(profile.name), paths.figures(profile.name), **run_options())

    @classmethod
    def reference(cls, profile: str, seeds: Iterable[int] = (0,)) -> "Study":
        """The study of the runs that the repository brings, of the images that they saw.

        Raises:
            PpcdError: unknown profile.
        """
        folder = paths.reference(profile)
        found = cls(get_profile(profile), tuple(seeds), folder, paths.reference_figures(profile), folder)
        names = {without_count(record["data"]["identity"]) for record in found.unsealed() if record.keys() >= NOTED}
        try:
            here = identity(found.profile.dataset)
        except PpcdError:  # no folder of images is given, or one that is not there
            here = ""
        if len(names) != 1 or here in names or not is_name(*names):
            return found
        return replace(found, images=names.pop())

    @property
    def source(self) -> Path:
        """The folder that holds `runs`, and what was measured of them."""
        return self.fixed or paths.source(self.results, paths.reference(self.name))

    def with_alpha(self, alpha: float) -> "Study":
        """The same at another compression ratio threshold.

        Raises:
            PpcdError: impossible alpha.
        """
        return replace(self, alpha=check_alpha(alpha))

    def at(self, profile: str) -> "Study":
        """The study of another profile, in the folders next to these."""
        results, figures = self.results.with_name(profile), self.figures.with_name(profile)
        fixed = self.fixed and self.fixed.with_name(profile)
        found = self.profile if profile == self.name else get_profile(profile)
        return replace(self, profile=found, results=results, figures=figures, fixed=fixed)

    def into(self, folder: Path) -> "Study":
        """The same, with its products in another folder."""
        results, figures = (folder / part / self.name for part in ("results", "figures"))
        return replace(self, results=results, figures=figures, fixed=self.source)

    @property
    def first(self) -> "Study":
        """Its first seed alone."""
        return replace(self, seeds=self.seeds[:1])

    @property
    def name(self) -> str:
        """The profile's."""
        return self.profile.name

    @cached_property
    def fitted(self) -> Profile:
        """The profile with as many classes as the images have."""
        return fitted(self.profile, self.images)

    def config(self, recipe: str, seed: int) -> RunConfig:
        """The configuration of a run.

        Raises:
            PpcdError: unknown recipe, impossible seed.
        """
        return run_config(self.profile, recipe, seed, self.alpha, self.precision, self.teacher, self.images)

    def configs(self, recipes: Iterable[str]) -> list[RunConfig]:
        """The configurations of these recipes, seed by seed."""
        recipes = list(recipes)
        return [self.config(recipe, seed) for seed in self.seeds for recipe in recipes]

    def complete(self, configs: Iterable[RunConfig]) -> list[Record]:
        """The records of the complete runs among these, which may be of other profiles too.

        Raises:
            PpcdError: a run directory that was changed.
        """
        configs = list(configs)
        names = {config.profile.name for config in configs}
        sources = {name: (self if name == self.name else self.at(name)).source for name in names}
        folders = [sources[config.profile.name] / "runs" / config.id for config in configs]
        return [read_run(folder) for folder in folders if _is_complete(folder)]

    def record(self, recipe: str) -> Record | None:
        """The record of the first seed's run, or None when it is not complete."""
        return next(iter(self.first.records(recipe)), None)

    def records(self, recipe: str) -> list[Record]:
        """The records of the complete runs of a recipe."""
        return self.complete(self.configs([recipe]))

    def runs(self) -> list[Record]:
        """The records of all complete runs whose configuration is what profile and recipe say today, sorted by id.

        Raises:
            PpcdError: a run that is not what was written.
        """
        folders = [path.parent for path in sorted(self.source.glob("runs/*/run.json"))]
        records = [read_run(folder) for folder in folders if _is_complete(folder)]
        return [record for record in records if _is_current(record, self.profile)]

    def unsealed(self) -> list[dict[str, Any]]:
        """The records of all runs, unchecked. Whoever reads a run that was changed says what is wrong with it."""
        return _unsealed(self.source)

    @property
    def note(self) -> str:
        """What is to be known of the data of all its runs (`data_note`)."""
        return _note(self.source)

    @property
    def line(self) -> str:
        """For example `profile mnist · seeds 0, 1 · backbone classifier · alpha 0.5 · data: JPEG source`."""
        return _line(self.name, self.seeds, self.profile.backbone, self.alpha, self.note)


def line_of(record: Record) -> str:
    """The line of a study of this run alone."""
    backbone = record["config"]["profile"]["backbone"]
    return _line(record["profile"], [record["seed"]], backbone, alpha_of(record), _note(record.source))


def _line(profile: str, seeds: Sequence[int], backbone: str, alpha: float | None, note: str) -> str:
    parts = [f"profile {profile}", f"seed{'s' * (len(seeds) != 1)} {listed(seeds)}", f"backbone {backbone}"]
    if alpha is not None:
        parts.append(f"alpha {alpha:g}")
    return " · ".join([*parts, f"data: {note}"] if note else parts)


def _unsealed(source: Path) -> list[dict[str, Any]]:
    return [record for record in map(read_unsealed, sorted(source.glob("runs/*"))) if record is not None]


def _note(source: Path) -> str:
    return data_note(record for record in _unsealed(source) if record.keys() >= NOTED)


def study_parser(command: str, description: str) -> ArgumentParser:
    """The parser of a command line that is asked for a study."""
    parser = ArgumentParser(prog=f"python -m paper {command}", description=description)
    parser.add_argument("--profile", default="mnist", help=f"{', '.join(PROFILES)}, or a TOML file")
    parser.add_argument("--seeds", default="0", help='how many ("3"), or which ("0 1 2", "7,")')
    return parser


def asked_study(options: argparse.Namespace) -> Study:
    """The study that a command line was asked for.

    Raises:
        PpcdError: unknown profile, impossible seeds, or a PPCD_DATA that has no effect.
    """
    return Study.of(asked_profile(options.profile), parse_seeds(options.seeds))


def _is_complete(folder: Path) -> bool:
    return (folder / "run.json").is_file() and read_stop(folder) is None


def _is_current(record: Record, profile: Profile) -> bool:
    try:
        recipe = get_recipe(record["recipe"])
    except PpcdError:  # a recipe of the user's own: only the profile and the method can be compared
        try:
            values = {name: value for name, value in record["config"]["recipe"].items() if value is not None}
            baseline = methods.parse(values.pop("baseline", None))
            recipe = Recipe(record["recipe"], record["title"], **values, baseline=baseline)
        except (TypeError, PpcdError):
            return False
    written = record["config"]
    config = RunConfig(
        with_classes(profile, written["profile"]["num_classes"]),
        recipe,
        record["seed"],
        record["data"]["identity"],
        written.get("precision", "no"),
        written.get("pretrained"),
    )
    return config.hash == record["config_hash"]


def read_csv(record: Record, name: str) -> pd.DataFrame:
    """A log of the run, `history.csv` or `masks.csv`.

    Raises:
        PpcdError: the run has no such log.
    """
    path = record.directory / name
    if not path.is_file():
        raise PpcdError(f"run {record['id']} has no {name}; it was not masked, or its directory is not whole")
    return pd.read_csv(path)


def second_half(history: pd.DataFrame) -> pd.DataFrame:
    """The rows of a log from the second half of its training."""
    return history.loc[history["iteration"] > history["iteration"].max() / 2]


def generator_of(record: Record) -> Generator:
    """The slim EMA generator of a run, in evaluation mode."""
    return load_generator(record.directory / GENERATOR)


def samples(record: Record) -> Path:
    """The sample grid of a run, made from its generator and cached where the run's directory does not hold it."""
    path = record.directory / "samples.png"
    if not path.is_file():
        path = paths.cache() / "samples" / f"{record['files'][GENERATOR]}.png"
    if not path.is_file():
        paths.write_atomic(path, sample_grid(generator_of(record), record["seed"], "cpu"))
    return path


def alpha_of(record: Record) -> float | None:
    """The compression ratio threshold of a run, None where nothing was pruned."""
    return record["config"]["recipe"]["alpha"]


def common_protocol(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
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


def of_another_teacher(records: Iterable[AnyRecord]) -> list[AnyRecord]:
    """The students among these runs whose teacher is another copy of the same run: one of the reference
    and one trained here, for example. The copy that counts is the one among these runs, or else the first student's.
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


def data_note(records: Iterable[dict[str, Any]]) -> str:
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


def listed(seeds: Sequence[int]) -> str:
    """`0, 1, 2`; `none` for no seeds."""
    return ", ".join(map(str, seeds)) or "none"


def alpha_suffix(alpha: float, default: float) -> str:
    """What keeps a product for another alpha from overwriting the paper's: `` or `-a0.6`."""
    return "" if alpha == default else f"-a{alpha:g}"
