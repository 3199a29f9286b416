"""Training steps: each optimisation alone, all together, and what pruning saves while it trains."""

import os
import shutil
from dataclasses import asdict, replace
from typing import Any

import torch

from paper.bench.cases import Case, Group, Work
from paper.training_cost import random_images
from ppcd.data.sets import ImageSet
from ppcd.method.schedule import channels_to_prune
from ppcd.networks.compute import COMPILERS, EXACT, FAST, STRAIGHTFORWARD, Forms
from ppcd.networks.generators import build_generator
from ppcd.runs import memory
from ppcd.runs.config import RunConfig
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import ALPHA, TEACHER, get_recipe
from ppcd.training.trainer import Trainer

PAIR, PRUNING = "pair", "pruning"  # scenes
WIDTH, DIM_Z, BATCH = 32, 80, 32  # of the pair
THREADS = 2  # of the pair; runs train with one
SMALL = "cifar10-lite"  # whose joint PPCD-GAN shows what pruning saves
WIDER = 32  # of a student that is most of its step; that of SMALL is a small part
STRAIGHT, ALLOCATOR, TOGETHER = "straightforward", "allocator", "together"


def pair(settings: dict[str, Any]) -> Work:
    """One iteration of the 32 px BigGAN pair.

    Settings: width, dim_z, batch, seed, precision, forms, keep_freed (whether the allocator keeps what is freed).
    """
    width, seed = settings["width"], settings["seed"]
    profile = replace(
        get_profile(SMALL), teacher_width=width, teacher_discriminator_width=width, teacher_dim_z=settings["dim_z"],
        batch_size=settings["batch"], flip=False, ema_start=0,
    )  # fmt: skip
    data, forms = _images(profile, seed), Forms(**settings["forms"])
    config = RunConfig(profile, get_recipe(TEACHER), seed, data.identity, settings["precision"])
    trainer = Trainer(config, data, forms=forms)
    if settings["keep_freed"]:
        memory.keep_freed()
    return trainer.step


def pruning(settings: dict[str, Any]) -> Work:
    """One step of joint PPCD-GAN.

    Settings: profile, width (of the student), seed, forms, frozen (whether all masks are, at alpha).
    """
    profile, seed = replace(get_profile(settings["profile"]), student_width=settings["width"]), settings["seed"]
    size = (profile.resolution, profile.num_classes, profile.teacher_width)
    teacher = build_generator(TEACHER, *size, dim_z=profile.teacher_dim_z, seed=seed)
    data, forms = _images(profile, seed), Forms(**settings["forms"])
    profile = replace(profile, iterations=max(profile.iterations, 10_000))  # no mask closes while it is timed
    trainer = Trainer(RunConfig(profile, get_recipe("ppcd"), seed, data.identity), data, teacher, forms=forms)
    if settings["frozen"]:
        for mask in trainer.generator.masks().values():
            gone = channels_to_prune(mask.channels, ALPHA)
            mask.freeze(torch.arange(mask.channels) >= gone)
        trainer.ema.follow_masks(trainer.generator)
    return trainer.step


def _images(profile: Profile, seed: int) -> ImageSet:
    """Four batches, the classes taking turns."""
    return random_images(profile, torch.arange(4 * profile.batch_size) % profile.num_classes, seed)


def pair_cases(quick: bool) -> tuple[Case, ...]:
    """The straightforward form, each switch alone on top of it, and all together; quick: two of them.

    Without a C++ compiler those with torch.compile are left out.
    """
    alone, fast = STRAIGHTFORWARD, replace(FAST, shrink=False)  # the pair has no masks
    found: list[tuple[str, str, Forms, str, bool]] = [
        (STRAIGHT, "straightforward", alone, "no", False),
        ("merged", "merged convolutions", replace(alone, merged=True), "no", False),
        ("boxed", "merged and boxed", replace(alone, merged=True, boxed=True), "no", False),
        ("channels-last", "channels-last layout", replace(alone, channels_last=True), "no", False),
        ("fused", "fused Adam", replace(alone, fused=True), "no", False),
        (ALLOCATOR, "allocator keeps memory", alone, "no", True),
        ("bf16", "bf16 autocast", alone, "bf16", False),
        ("compiled", "torch.compile", replace(alone, compiled=True), "no", False),
        (TOGETHER, "all, float32", fast, "no", True),
        ("together-compiled", "all and torch.compile", replace(fast, compiled=True), "no", True),
        ("together-bf16", "all and bf16", fast, "bf16", True),
        ("together-compiled-bf16", "all, torch.compile, bf16", replace(fast, compiled=True), "bf16", True),
    ]
    if quick:
        found = [each for each in found if each[0] in (STRAIGHT, TOGETHER)]
    compiler = bool(os.environ.get("CXX")) or any(map(shutil.which, COMPILERS))
    size = {"width": 4 if quick else WIDTH, "dim_z": DIM_Z, "batch": 4 if quick else BATCH, "seed": 0}
    return tuple(
        Case(
            name,
            label,
            pair,
            {**size, "forms": asdict(forms), "precision": precision, "keep_freed": keep},
            1 if quick else THREADS,
        )
        for name, label, forms, precision, keep in found
        if compiler or not forms.compiled
    )


def pruning_cases(profile: str, width: int) -> tuple[Case, ...]:
    """Joint PPCD-GAN with its masks open and frozen, in four forms."""
    forms = {
        "straightforward": ("straightforward", STRAIGHTFORWARD),
        "exact": ("exact forms", EXACT),
        "fast-whole": ("fast forms, all channels", replace(FAST, shrink=False)),
        "fast": ("fast forms, kept channels", FAST),
    }
    return tuple(
        Case(
            f"{state}-{name}",
            f"masks {state}: {label}",
            pruning,
            {"profile": profile, "width": width, "seed": 0, "forms": asdict(form), "frozen": state == "frozen"},
        )
        for state in ("open", "frozen")
        for name, (label, form) in forms.items()
    )


def groups(quick: bool) -> list[Group]:
    """The pair, and joint PPCD-GAN with the student of its profile and with a wider one; quick: without the latter."""
    cases = pair_cases(quick)
    settings, rounds = cases[0].settings, 3 if quick else 9
    about = {"batch": settings["batch"], "threads": cases[0].threads, "width": settings["width"], "resolution": 32}
    found = [Group(PAIR, about, settings["batch"], STRAIGHT, cases, rounds, 0.0 if quick else 2.0)]
    small = get_profile("smoke" if quick else SMALL)
    for width in (small.student_width,) if quick else (small.student_width, WIDER):
        about = {"batch": small.batch_size, "threads": 1, "profile": small.name, "width": width, "alpha": ALPHA}
        cases = pruning_cases(small.name, width)
        turn = 0.0 if quick else 0.3
        found.append(Group(PRUNING, about, small.batch_size, "open-straightforward", cases, rounds, turn))
    return found
