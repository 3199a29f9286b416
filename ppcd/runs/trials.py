"""What speed is measured with: trainers of random images, whose steps cost as much as with real ones, and the networks
of Table 1."""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Int64
from torch import Tensor

from ppcd.base import seeded
from ppcd.data.images import ImageSet, image_hash
from ppcd.method.masks import channels_to_prune
from ppcd.networks.compute import ComputeOptions
from ppcd.networks.generators import Generator, GeneratorConfig
from ppcd.networks.initialisation import initialise
from ppcd.training.config import RunConfig
from ppcd.training.methods import TinyGan
from ppcd.training.profiles import Profile
from ppcd.training.recipes import ALPHA, TEACHER, get_recipe
from ppcd.training.trainer import Trainer

MASKED = "ppcd-masked"


def network_configs(profile: Profile) -> dict[str, GeneratorConfig]:
    """The networks of Table 1 at the profile's size, in its order, without the slim ones.

    The plain ones as one would run them, spectral norm worked into the weights; PP-Res SA-GAN dense with its masks
    and its spectral norm, as it is in training.
    """
    student = (profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)
    teacher = (profile.resolution, profile.num_classes, profile.teacher_width, profile.teacher_dim_z)
    tiny = max(1, round(profile.student_width * TinyGan().width))
    plain = partial(GeneratorConfig, spectral_norm=False)
    return {
        "biggan": plain("biggan", *teacher),
        "sagan": plain("sagan", *student),
        "sngan": plain("sngan", *student),
        "tinygan": replace(plain("tinygan", *student), width=tiny),
        MASKED: GeneratorConfig("sagan", *student, masked=True, transition=True),
    }


def random_images(profile: Profile, labels: Int64[Tensor, " n"], seed: int = 0) -> ImageSet:
    """Random images of the profile's size in place of its data."""
    shape = (len(labels), 3, profile.resolution, profile.resolution)
    images = torch.randint(256, shape, generator=seeded(seed), dtype=torch.uint8)
    classes = tuple(map(str, range(profile.num_classes)))
    return ImageSet(images, labels, classes, "random", image_hash(images, labels), "random images")


def trial_trainer(
    profile: Profile,
    recipe: str,
    labels: Int64[Tensor, " n"],
    *,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "no",
    forms: ComputeOptions | None = None,
    frozen: bool = False,
) -> Trainer:
    """The trainer of a teacher or of PPCD-GAN, on random images with these labels.

    The teacher of PPCD-GAN has fresh weights, by a draw that is quick at any size.

    Args:
        frozen: whether all masks are, at alpha.
    """
    teacher, data = None, random_images(profile, labels, seed)
    config = RunConfig(profile, get_recipe(recipe), seed, data.identity, precision)
    if config.recipe.needs_teacher:
        size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.teacher_dim_z)
        teacher = Generator(GeneratorConfig(TEACHER, *size))
        initialise(teacher, "xavier", seed, "generator")
    trainer = Trainer(config, data, teacher, device, forms=forms)
    if frozen:
        for mask in trainer.generator.masks().values():
            places = torch.arange(mask.channels, device=mask.kept.device)
            mask.freeze(places >= channels_to_prune(mask.channels, ALPHA))
        trainer.ema.follow_masks(trainer.generator)
    return trainer


def stand_still(trainer: Trainer) -> None:
    """Let each step have the same noise, labels and real images, which stay where they are in memory."""
    drawn, real = trainer.draw(), trainer.real_batch()
    trainer.draw, trainer.real_batch = (lambda: drawn), (lambda: real)  # type: ignore[method-assign]
