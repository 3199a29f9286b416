"""Runs: profile x recipe x seed, named by a hash of all that decides the result, each in its directory."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data import sets as data
from ppcd.data.folders import some
from ppcd.metrics.classifier import check_judge
from ppcd.metrics.sampling import fewest_of_each, fewest_samples
from ppcd.networks.generators import ARCHITECTURES, GeneratorConfig, check_network
from ppcd.records import canonical_hash
from ppcd.seeds import MOST_SEED
from ppcd.training import methods, pretrained
from ppcd.training.distributed import check_precision
from ppcd.training.profiles import PROFILES, Profile, get_profile, with_classes
from ppcd.training.recipes import TEACHER, Recipe, check_alpha, get_recipe

METHOD_VERSION = 1  # raised when a change of the training or evaluation code changes results

# What a run does not depend on: texts, and what the identity of the data or the resolved recipe says already.
UNUSED = {"name", "title", "purpose", "images_per_class", "default_mask_rule"}
TEACHER_SIZE = {"teacher_width", "teacher_discriminator_width", "teacher_dim_z"}
TEACHER_BUDGET = {"teacher_iterations", "teacher_batch_size", "teacher_accumulations", "teacher_ema_start"}
STUDENT_SIZE = {"student_width", "discriminator_width", "dim_z"}
STUDENT_BUDGET = {"iterations"}
REFERENCE_AVERAGE = {"ema_decay", "ema_start", "teacher_ema_start"}  # where no `average_age` is declared
# Left out where they are None: configurations that do not use them keep the hash that they had.
OPTIONAL = {each.name for kind in (Profile, Recipe) for each in fields(kind) if each.default is None}
OPTIONAL -= {"alpha", "mask_rule"}


@dataclass(frozen=True)
class RunConfig:
    """All that decides a run's result. Where it runs (device, threads, processes) is provenance and no part of it."""

    profile: Profile
    recipe: Recipe
    seed: int
    data_identity: str  # data.identity
    precision: str = "no"  # of forward passes in training: "no" (float32) or "bf16"
    pretrained: str | None = None  # pretrained.identity; None: the teacher is trained here
    teacher_file: Path | None = field(default=None, compare=False)  # where that one is on this machine

    @property
    def adopted(self) -> bool:
        """Whether it is a teacher that was trained elsewhere: it is measured and kept, not trained."""
        return self.recipe.name == TEACHER and self.pretrained is not None

    def resolved(self) -> dict[str, Any]:
        """The configuration as plain values. None: cannot matter for this recipe.

        A recipe that distils has the hash of its teacher in it; the teacher has the same profile and seed.
        """
        recipe, teacher = self.recipe, self.teacher()
        unused = STUDENT_SIZE if recipe.teacher_size else TEACHER_SIZE
        unused = unused | (STUDENT_BUDGET if recipe.teacher_budget else TEACHER_BUDGET)
        unused |= set() if self.profile.average_age is None else REFERENCE_AVERAGE
        unused |= set() if recipe.masked else {"mask_rule", "lambda_pp"}
        unused |= set() if recipe.prunes else {"alpha"}
        unused |= set() if recipe.distil else {"lambda_cd", "normalisation", "masks_distil"}
        resolved = {
            "method": METHOD_VERSION,
            "seed": self.seed,
            "data": self.data_identity,
            "profile": _plain(self.profile, unused),
            "recipe": _plain(replace(recipe, mask_rule=self.mask_rule), unused),
            "teacher": teacher.hash if teacher else None,
        }
        if self.precision != "no":
            resolved["precision"] = self.precision
        if self.takes_file:
            resolved["pretrained"] = self.pretrained
        return resolved

    @property
    def mask_rule(self) -> str:
        """The recipe's, or else the profile's."""
        return self.recipe.mask_rule or self.profile.default_mask_rule

    @property
    def iterations(self) -> int:
        """Of its training; 0 where nothing is trained."""
        return 0 if self.adopted else self.profile.budget(self.recipe.teacher_budget).iterations

    @cached_property
    def hash(self) -> str:
        """SHA-256 (64 hex) of the resolved configuration."""
        return canonical_hash(self.resolved())

    @property
    def id(self) -> str:
        return f"{self.recipe.name}-s{self.seed}-{self.hash[:8]}"

    @property
    def directory(self) -> Path:
        return runs_root(self.profile) / self.id

    def teacher(self) -> "RunConfig | None":
        """The run whose generator this one distils; None where it needs none."""
        return replace(self, recipe=get_recipe(TEACHER)) if self.recipe.needs_teacher else None

    @property
    def trained_recipes(self) -> list[Recipe]:
        """Its own and its teacher's, as far as they are trained here."""
        return [each.recipe for each in (self, self.teacher()) if each is not None and not each.adopted]

    @property
    def takes_file(self) -> bool:
        """Whether a teacher that was trained elsewhere was given and has an effect on this run."""
        return self.pretrained is not None and (self.adopted or self.recipe.needs_teacher)

    def load_data(self, source: str | None = None) -> data.ImageSet:
        """The images of this run; `source` as `run_config` had it in `images`."""
        profile = self.profile
        images = data.load_data(
            profile.dataset, profile.resolution, source=source, images_per_class=profile.images_per_class
        )
        if images.identity != self.data_identity:
            raise PpcdError(
                f"run {self.id} is of {self.data_identity}, but the data are now {images.identity}; "
                "give the images that it was asked for with (PPCD_DATA)"
            )
        sizes = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
        _check_images(self, dict(zip(images.classes, sizes, strict=True)))
        return images


def run_config(
    profile: str | Profile,
    recipe: str | Recipe,
    seed: int,
    alpha: float | None = None,
    precision: str = "no",
    teacher: Path | str | None = None,
    images: str | None = None,
) -> RunConfig:
    """The configuration of a run, every part of it checked: also whether images, networks and metrics fit together.

    The number of classes is that of the images, whatever the profile says (`profiles.fitted`). What the environment
    asks of all runs, commands and notebooks pass on (`ppcd.commands.run_options`).

    Args:
        alpha: for a recipe given by name, instead of its default.
        precision: of the training's forward passes, "no" or "bf16".
        teacher: the file of a teacher that was trained elsewhere (`ppcd.training.pretrained`).
        images: folder or name of the images; None: PPCD_DATA (a place, no setting), or the data set's own.

    Raises:
        PpcdError: one line that says what was expected.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise PpcdError(f"seed must be an integer from 0 to {MOST_SEED}; got {seed!r}")
    if alpha is not None:
        check_alpha(alpha)
    if not isinstance(profile, Profile):
        profile = get_profile(str(profile))
    if not isinstance(recipe, Recipe):
        recipe = get_recipe(recipe, alpha)
    elif alpha not in (None, recipe.alpha):
        raise PpcdError(f"alpha {alpha} was given beside a recipe object, whose alpha is {recipe.alpha}; set it there")
    known = PROFILES.get(profile.name)
    _refuse_borrowed(profile, known and with_classes(known, profile.num_classes))
    ours: Recipe | None = None
    with suppress(PpcdError):
        ours = get_recipe(recipe.name)
    _refuse_borrowed(recipe, ours)
    few = profile.images_per_class
    identity = data.identity(profile.dataset, images, images_per_class=few)
    sizes = data.class_sizes(profile.dataset, profile.resolution, source=images, images_per_class=few)
    if sizes is not None:
        profile = with_classes(profile, len(sizes))
    file = pretrained.find(teacher)
    config = RunConfig(profile, recipe, seed, identity, check_precision(precision), pretrained.identity(file), file)
    try:
        _check_sizes(config)
        if sizes is not None:
            _check_images(config, sizes)
    except PpcdError as error:
        raise PpcdError(f"profile {profile.name}: {error}") from None
    return config


def _check_sizes(config: RunConfig) -> None:
    """Refuse networks that cannot be built or pruned so, and metrics that cannot measure them."""
    profile, least = config.profile, fewest_samples(config.profile.num_classes)
    if config.recipe.select is not None and config.mask_rule != "gradual":
        raise PpcdError(f"channels are selected by {config.recipe.select!r} under the rule 'gradual' alone")
    for recipe in config.trained_recipes:
        width, width_of_d, dim_z = profile.student_width, profile.discriminator_width, profile.dim_z
        if recipe.teacher_size:
            width, width_of_d = profile.teacher_width, profile.teacher_discriminator_width
            dim_z = profile.teacher_dim_z
        arch, images = recipe.generator, (profile.resolution, profile.num_classes)
        check_network(arch, ARCHITECTURES, *images, width_of_d)
        prunes, norm = recipe.masked or bool(recipe.narrow), ARCHITECTURES[arch].spectral_norm
        GeneratorConfig(arch, *images, width, dim_z, prunes, spectral_norm=norm).check()
        if recipe.needs_teacher and config.pretrained is None and profile.teacher_dim_z > profile.dim_z:
            raise PpcdError(
                f"the teacher takes {profile.teacher_dim_z} noise entries, more than the student's {profile.dim_z}"
            )
    if profile.judge is not None:
        check_judge(profile.judge, profile.num_classes)
    for name in ("evaluation_samples", "best_samples"):
        samples = getattr(profile, name)
        if samples is not None and samples < least:
            raise PpcdError(
                f"the metrics need at least {least} samples of {profile.num_classes} classes; "
                f"got {samples}: raise {name}"
            )


def _check_images(config: RunConfig, sizes: Mapping[str, int]) -> None:
    """Refuse images that are too few to be trained with or measured: half of them are compared with the others."""
    profile, least, total = config.profile, 2 * fewest_of_each(len(sizes)), sum(sizes.values())
    where = data.source_folder(profile.dataset) or config.data_identity
    if few := [f"{name} ({size})" for name, size in sizes.items() if size < least]:
        cut = profile.images_per_class is not None and profile.images_per_class < least
        way = "raise images_per_class" if cut else "add some, or remove these folders"
        raise PpcdError(
            f"with {len(sizes)} classes the metrics need at least {least} images of each; "
            f"{where} has fewer of {some(few)}: {way}"
        )
    batch = max([profile.budget(each.teacher_budget).batch_size for each in config.trained_recipes], default=0)
    if total < batch:
        raise PpcdError(f"a batch has {batch} images, and {where} only {total}: add some, or take a smaller batch_size")


def _refuse_borrowed(given: Profile | Recipe, known: Profile | Recipe | None) -> None:
    """Two configurations of one name would share folders and rows of tables."""
    if known is not None and given != known:
        kind = type(given).__name__.lower()
        other = [each.name for each in fields(known) if getattr(given, each.name) != getattr(known, each.name)]
        raise PpcdError(
            f"ppcd has a {kind} {given.name!r}, and this one differs from it in {', '.join(other)}; give yours its "
            f"own name: replace({kind}, name=...)"
        )


def asked_profile(name: str) -> Profile:
    """The profile that a command or a notebook was asked for; refuses one on which PPCD_DATA, if set, has no effect."""
    profile = get_profile(name)
    if not takes_images(profile) and paths.images():
        others = ", ".join(each.name for each in PROFILES.values() if takes_images(each))
        raise PpcdError(
            f"PPCD_DATA (make: DATA=) has no effect at profile {name}, whose images come with a package; unset it, or "
            f"take one of the profiles {others}"
        )
    return profile


def takes_images(profile: Profile) -> bool:
    """Whether its images may be the user's own."""
    return profile.dataset != "mnist"


def runs_root(profile: str | Profile) -> Path:
    """Where the runs of a profile are trained."""
    return paths.results(profile.name if isinstance(profile, Profile) else profile) / "runs"


def _plain(config: Profile | Recipe, unused: set[str]) -> dict[str, Any]:
    """A dataclass as a dictionary; integers in float fields become floats, so that 1 and 1.0 hash alike."""
    values: dict[str, Any] = {}
    for each in fields(config):
        value: Any = None if each.name in unused else getattr(config, each.name)
        if each.name in UNUSED or (each.name in OPTIONAL and value is None):
            continue
        if each.name == "baseline":
            value = methods.describe(value)
        is_float = float in (each.type, *get_args(each.type))
        values[each.name] = float(value) if is_float and value is not None else value
    return values
