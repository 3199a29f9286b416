"""Profiles: what data, how big, how long. The same code and notebooks run at every one of them."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ppcd.base import PpcdError
from ppcd.data.sets import DATASETS, class_sizes
from ppcd.metrics.classifier import BACKBONES, JUDGED_CLASSES, JUDGES, NATURAL, PUBLISHED
from ppcd.metrics.sampling import fewest_samples
from ppcd.networks.generators import CHANNELS
from ppcd.training import toml
from ppcd.training.fields import check_fields

IMAGENET_IMAGES = 1_281_167  # of the training set
MASK_RULES = ("gradual", "scheduled", "paper-adam", "paper-sgd")
CHOICES = {
    "dataset": DATASETS, "resolution": tuple(CHANNELS), "backbone": BACKBONES, "judge": JUDGES,
    "default_mask_rule": MASK_RULES,
}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """What one training gets. An iteration is a step of G, of `batch_size` x `accumulations` images."""

    batch_size: int
    accumulations: int
    iterations: int
    ema_start: int

    @property
    def images(self) -> int:  # of an iteration
        return self.batch_size * self.accumulations


def check_name(name: str, what: str) -> str:
    """The name, which a folder will have."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*", name, re.ASCII):
        raise PpcdError(
            f"{what} cannot be called {name!r}: a folder gets its name; take letters, digits, - and _ (and . inside)"
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One budget. Widths multiply the architecture tables (`ppcd.networks.generators.CHANNELS`)."""

    name: str
    purpose: str
    # data
    dataset: str  # "mnist", "cifar10" or "imagenet"
    resolution: int
    num_classes: int  # a folder of images has its own: see `fitted`
    images_per_class: int | None = None  # None: all
    flip: bool = False  # random horizontal flips
    # networks
    teacher_width: int
    teacher_discriminator_width: int
    student_width: int
    discriminator_width: int
    teacher_dim_z: int  # the teacher sees the first teacher_dim_z entries of the student's noise
    dim_z: int
    # training
    batch_size: int  # of all processes together
    accumulations: int = 1
    teacher_iterations: int
    iterations: int  # of every other recipe
    lr_g_scale: float = 1.0  # multiplies the reference learning rate of G
    lr_d_scale: float = 1.0  # and of D
    ema_decay: float
    ema_start: int
    # measurement
    backbone: str  # "classifier", "efficientnet-lite0" or "inception"
    evaluation_samples: int
    classifier_epochs: int
    # where a profile needs more: None is what stands above
    teacher_batch_size: int | None = None
    teacher_accumulations: int | None = None
    teacher_ema_start: int | None = None
    fast: bool | None = None  # frozen channels leave the computation, fused optimisers: the same but for rounding
    best_samples: int | None = None  # scored at every tenth of the training, to keep the best generator as well
    average_age: float | None = None  # mean age of the average / iterations, in place of ema_decay and ema_start
    grey: bool | None = None  # generators whose three channels are equal, for images without colour
    judge: str | None = None  # of the labels, one of ppcd.metrics.classifier.JUDGES; None: a small classifier
    default_mask_rule: str = "gradual"  # of recipes that name none

    def __post_init__(self) -> None:
        check_name(self.name, "a profile")
        check_fields(self, CHOICES)

    def budget(self, teacher: bool) -> Budget:
        """Of the teacher, or of any other training."""
        batch, pieces, start = self.batch_size, self.accumulations, self.ema_start
        if not teacher:
            return Budget(batch, pieces, self.iterations, start)
        start = start if self.teacher_ema_start is None else self.teacher_ema_start
        batch, pieces = self.teacher_batch_size or batch, self.teacher_accumulations or pieces
        return Budget(batch, pieces, self.teacher_iterations, start)


SMOKE = Profile(
    name="smoke",
    purpose="seconds per run: for tests, says nothing about quality",
    dataset="mnist",
    resolution=32,
    num_classes=10,
    images_per_class=20,
    teacher_width=2,
    teacher_discriminator_width=2,
    student_width=2,
    discriminator_width=2,
    teacher_dim_z=16,
    dim_z=16,
    batch_size=8,
    teacher_iterations=12,
    iterations=24,
    ema_decay=0.9,
    ema_start=2,
    backbone="classifier",
    evaluation_samples=100,
    classifier_epochs=2,
    average_age=0.05,
)

MNIST = Profile(
    name="mnist",
    purpose="real training in minutes on two CPU cores, offline",
    dataset="mnist",
    resolution=32,
    num_classes=10,
    teacher_width=8,
    teacher_discriminator_width=8,
    student_width=4,
    discriminator_width=8,
    teacher_dim_z=32,
    dim_z=32,
    batch_size=32,
    teacher_iterations=2000,
    iterations=2000,
    lr_g_scale=3.0,
    lr_d_scale=6.0,
    ema_decay=0.99,
    ema_start=100,
    backbone="classifier",
    evaluation_samples=5000,
    classifier_epochs=8,
    fast=True,
    average_age=0.05,
    grey=True,
)

CIFAR10_LITE = Profile(
    name="cifar10-lite",
    purpose="natural images at widths that two CPU cores train in hours",
    dataset="cifar10",
    resolution=32,
    num_classes=10,
    flip=True,
    teacher_width=10,
    teacher_discriminator_width=8,
    student_width=6,
    discriminator_width=6,
    teacher_dim_z=80,
    dim_z=80,
    batch_size=32,
    teacher_iterations=8000,
    iterations=4000,
    lr_g_scale=4.0,
    lr_d_scale=2.0,
    ema_decay=0.999,
    ema_start=500,
    backbone="efficientnet-lite0",
    evaluation_samples=5000,
    classifier_epochs=16,
    fast=True,
    best_samples=500,
    judge="natural-classifier",
    default_mask_rule="scheduled",  # of its committed runs
)

LONG = replace(
    CIFAR10_LITE,
    name="cifar10-long",
    purpose="cifar10-lite with twice the iterations, one discriminator for all, a declared average and gradual masks",
    discriminator_width=8,
    iterations=8000,
    average_age=0.05,
    default_mask_rule="gradual",
)

SMALL_NOISE = replace(
    CIFAR10_LITE,
    name="cifar10-lite-z24",
    purpose="cifar10-lite with few noise entries, for questions of paper.questions",
    teacher_dim_z=24,
    dim_z=24,
)

CIFAR10 = replace(
    CIFAR10_LITE,
    name="cifar10",
    purpose="the reference widths on one GPU",
    teacher_width=96,
    teacher_discriminator_width=96,
    student_width=64,
    discriminator_width=64,
    dim_z=128,
    batch_size=64,
    teacher_iterations=100_000,
    iterations=50_000,
    lr_g_scale=1.0,
    lr_d_scale=1.0,
    ema_decay=0.9999,
    ema_start=1000,
    evaluation_samples=50_000,
    best_samples=5000,
    default_mask_rule="gradual",
)

IMAGENET = replace(
    CIFAR10,
    name="imagenet128",
    purpose="the paper's own: ImageNet at 128 px, for GPUs and days",
    dataset="imagenet",
    resolution=128,
    num_classes=1000,
    flip=False,
    teacher_dim_z=120,
    batch_size=128,
    accumulations=2,
    teacher_iterations=138_000,  # of the public checkpoint that the paper's authors took
    iterations=math.ceil(100 * IMAGENET_IMAGES / (128 * 2)),  # 100 epochs
    ema_start=2_000,
    backbone="inception",
    classifier_epochs=0,
    teacher_batch_size=256,
    teacher_accumulations=8,
    teacher_ema_start=20_000,
    judge="efficientnet-lite0",
)

PROFILES = {each.name: each for each in (SMOKE, MNIST, CIFAR10_LITE, LONG, SMALL_NOISE, CIFAR10, IMAGENET)}
BUILT_IN = frozenset(PROFILES)


def get_profile(name: str) -> Profile:
    """The profile of that name, one of PROFILES; or that in a TOML file, which this process then knows by its name.

    Raises:
        PpcdError: unknown profile, or a file that holds none.
    """
    if toml.is_file(name):
        profile = toml.read(name, Profile, get_profile, "purpose")
        if profile.name in BUILT_IN:
            raise PpcdError(f"{name}: {profile.name!r} is a profile of this project; give yours another name")
        PROFILES[profile.name] = profile
        return profile
    if name not in PROFILES:
        raise PpcdError(f"unknown profile {name!r}; expected one of: {', '.join(PROFILES)}; or a file, *{toml.SUFFIX}")
    return PROFILES[name]


def asked(profile: Profile) -> str:
    """What another process is asked for with, to get this profile."""
    return profile.name if profile.name in BUILT_IN else toml.hand_over(profile)


def typed(name: str) -> str:
    """A profile as people give it on a command line: its name, or that of their file."""
    return name if name in BUILT_IN else name + toml.SUFFIX


def fitted(profile: Profile, images: Path | str | None = None) -> Profile:
    """The profile with as many classes as its images have: any folder of class folders fits any profile of folders.

    Runs do it themselves (`run_config`). With another name, a folder becomes a separate profile:
    `fitted(replace(get_profile("cifar10-lite"), name="flowers"), "path/to/flowers")`.

    Args:
        images: the folder; None: the one that PPCD_DATA names, or the data set's own images. Where PPCD_DATA names
            images that are not on this machine, the number of classes stays the profile's.
    """
    sizes = class_sizes(profile.dataset, profile.resolution, source=images, images_per_class=profile.images_per_class)
    return profile if sizes is None else with_classes(profile, len(sizes))


def with_classes(profile: Profile, num_classes: int) -> Profile:
    """The profile for images of so many classes, and what follows: the metrics need two samples of each class at least,
    and a judge that knows ImageNet's classes gives way to a classifier that the images train."""
    if num_classes == profile.num_classes:
        return profile
    least, best = fewest_samples(num_classes), profile.best_samples
    judge, epochs = profile.judge, profile.classifier_epochs
    if judge == PUBLISHED and num_classes != JUDGED_CLASSES:
        judge, epochs = NATURAL, epochs or CIFAR10_LITE.classifier_epochs
    samples, best = max(profile.evaluation_samples, least), None if best is None else max(best, least)
    return replace(
        profile, num_classes=num_classes, evaluation_samples=samples, best_samples=best, judge=judge,
        classifier_epochs=epochs,
    )  # fmt: skip
