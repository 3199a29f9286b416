"""Profiles: what data, how big, how long. The same code and notebooks run at every one of them."""

import math
from dataclasses import dataclass, replace

from ppcd.base import PpcdError

IMAGENET_IMAGES = 1_281_167  # of the training set


@dataclass(frozen=True)
class Budget:
    """What one training gets. An iteration is a step of G, of `batch_size` x `accumulations` images."""

    batch_size: int
    accumulations: int
    iterations: int
    ema_start: int

    @property
    def images(self) -> int:
        """Images an iteration."""
        return self.batch_size * self.accumulations


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One budget. Widths multiply the architecture tables (`ppcd.networks.generators.CHANNELS`)."""

    name: str
    purpose: str
    # data
    dataset: str  # "mnist", "cifar10" or "imagenet"
    resolution: int
    num_classes: int
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
    judge: str | None = (
        None  # of the labels, one of ppcd.metrics.evaluators.JUDGES; None: a small classifier of the data
    )
    default_mask_rule: str = "gradual"  # of recipes that name none

    def budget(self, teacher: bool) -> Budget:
        """Of the teacher, or of any other training."""
        batch, pieces, start = self.batch_size, self.accumulations, self.ema_start
        if not teacher:
            return Budget(batch, pieces, self.iterations, start)
        return Budget(
            self.teacher_batch_size or batch,
            self.teacher_accumulations or pieces,
            self.teacher_iterations,
            start if self.teacher_ema_start is None else self.teacher_ema_start,
        )


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
    teacher_iterations=1000,
    iterations=1000,
    lr_g_scale=10.0,
    lr_d_scale=2.5,
    ema_decay=0.99,
    ema_start=100,
    backbone="classifier",
    evaluation_samples=5000,
    classifier_epochs=8,
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

IMAGENET = Profile(
    name="imagenet128",
    purpose="the paper's own: ImageNet at 128 px, for GPUs and days",
    dataset="imagenet",
    resolution=128,
    num_classes=1000,
    teacher_width=96,
    teacher_discriminator_width=96,
    student_width=64,
    discriminator_width=64,
    teacher_dim_z=120,
    dim_z=128,
    batch_size=128,
    accumulations=2,
    teacher_iterations=138_000,  # of the public checkpoint that the paper's authors took
    iterations=math.ceil(100 * IMAGENET_IMAGES / (128 * 2)),  # 100 epochs
    ema_decay=0.9999,
    ema_start=2_000,
    backbone="inception",
    evaluation_samples=50_000,
    classifier_epochs=0,
    teacher_batch_size=256,
    teacher_accumulations=8,
    teacher_ema_start=20_000,
    fast=True,
    best_samples=5_000,
    judge="efficientnet-lite0",
)

PROFILES = {each.name: each for each in (SMOKE, MNIST, CIFAR10_LITE, SMALL_NOISE, CIFAR10, IMAGENET)}
BUILT_IN = frozenset(PROFILES)


def get_profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        PpcdError: there is none; the line lists those there are.
    """
    if name not in PROFILES:
        raise PpcdError(f"unknown profile {name!r}; expected one of: {', '.join(PROFILES)}")
    return PROFILES[name]


def register(profile: Profile) -> Profile:
    """Make a profile of a user's known by its name in this process, and return it.

    Raises:
        PpcdError: the name is that of a profile of this project.
    """
    if profile.name in BUILT_IN and profile != PROFILES[profile.name]:
        raise PpcdError(f"{profile.name!r} is a profile of this project; give yours another name")
    PROFILES[profile.name] = profile
    return profile
