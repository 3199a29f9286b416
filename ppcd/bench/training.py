"""Training steps: each optimisation alone, all together, and what pruning saves while it trains."""

import os
import shutil
from dataclasses import asdict, replace
from typing import Any

import torch

from paper.bench.contestants import QUICK, TURN, Contestant, Group, Pace, Works
from ppcd.base import seeded
from ppcd.data.images import ImageSet, image_hash
from ppcd.method.masks import channels_to_prune
from ppcd.networks.compute import COMPILERS, EXACT, FAST, STRAIGHTFORWARD, Forms
from ppcd.networks.generators import build_generator
from ppcd.runs.config import memory
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import ALPHA, TEACHER, get_recipe
from ppcd.training.trainer import Trainer

PAIR, PRUNING = "pair", "pruning"  # scenes
WIDTH, DIM_Z, BATCH = 32, 80, 32  # of the pair
THREADS = 2  # of the pair; runs train with one
SMALL = "cifar10-lite"  # whose joint PPCD-GAN shows what pruning saves
WIDER = 32  # of a student that is most of its step; that of SMALL is a small part
STRAIGHT, ALLOCATOR, TOGETHER = "straightforward", "allocator", "together"
NO_COMPILER = "not run: no C++ compiler"
NOT_ASKED = "not run: left out by --no-compile"


def synthetic(profile: Profile, count: int, seed: int = 0) -> ImageSet:
    """Random images of the profile's size, the classes taking turns: a step costs the same."""
    noise = seeded(seed)
    shape = (count, 3, profile.resolution, profile.resolution)
    images = torch.randint(256, shape, generator=noise, dtype=torch.uint8)
    labels = torch.arange(count) % profile.num_classes
    classes = tuple(map(str, range(profile.num_classes)))
    return ImageSet(images, labels, classes, "random", image_hash(images, labels), "random images")


def pair_trainer(settings: dict[str, Any], forms: Forms) -> Trainer:
    """The 32 px BigGAN pair. Settings: width, dim_z, batch, seed, precision."""
    width = settings["width"]
    profile = replace(
        get_profile(SMALL), teacher_width=width, teacher_discriminator_width=width, teacher_dim_z=settings["dim_z"],
        batch_size=settings["batch"], flip=False, ema_start=0,
    )  # fmt: skip
    data = synthetic(profile, 4 * settings["batch"], settings["seed"])
    recipe, seed = get_recipe(TEACHER), settings["seed"]
    return Trainer(profile, recipe, seed, data, None, "cpu", precision=settings["precision"], forms=forms)


def pair(settings: dict[str, Any]) -> Works:
    """A turn: one iteration of the pair. Settings: as `pair_trainer`, forms, keep_freed."""
    trainer = pair_trainer(settings, Forms(**settings["forms"]))
    if settings["keep_freed"]:
        memory.keep_freed()
    return {TURN: trainer.step}


def pruning(settings: dict[str, Any]) -> Works:
    """A turn: one step of joint PPCD-GAN.

    Settings: profile, width (of the student), seed, forms, frozen (whether all masks are, at alpha).
    """
    profile, seed = replace(get_profile(settings["profile"]), student_width=settings["width"]), settings["seed"]
    size = (profile.resolution, profile.num_classes, profile.teacher_width)
    teacher = build_generator(TEACHER, *size, dim_z=profile.teacher_dim_z, seed=seed)
    data, forms = synthetic(profile, 4 * profile.batch_size, seed), Forms(**settings["forms"])
    profile = replace(profile, iterations=max(profile.iterations, 10_000))  # no mask closes while it is timed
    trainer = Trainer(profile, get_recipe("ppcd"), seed, data, teacher, "cpu", forms=forms)
    if settings["frozen"]:
        for mask in trainer.generator.masks().values():
            gone = channels_to_prune(mask.channels, ALPHA)
            mask.freeze(torch.arange(mask.channels) >= gone)
        trainer.ema.follow_masks(trainer.generator)
    return {TURN: trainer.step}


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler."""
    return bool(os.environ.get("CXX")) or any(map(shutil.which, COMPILERS))


def pair_contestants(quick: bool, compiled: bool) -> tuple[Contestant, ...]:
    """The straightforward form, each switch alone on top of it, and all together; quick: two of them."""
    alone = STRAIGHTFORWARD
    fast = replace(FAST, shrink=False)  # the pair has no masks
    found: list[tuple[str, str, Forms, str, bool, dict[str, str]]] = [
        (STRAIGHT, "straightforward", alone, "no", False, {}),
        ("merged", "merged convolutions", replace(alone, merged=True), "no", False, {}),
        ("boxed", "merged and boxed", replace(alone, merged=True, boxed=True), "no", False, {}),
        ("filtered", "half of the products", replace(alone, filtered=True), "no", False, {}),
        ("channels-last", "channels-last layout", replace(alone, channels_last=True), "no", False, {}),
        ("fused", "fused Adam", replace(alone, fused=True), "no", False, {}),
        (ALLOCATOR, "allocator keeps memory", alone, "no", True, {}),
        ("allocator-pages", "the same, huge pages", alone, "no", False, memory.ENVIRONMENT),
        ("bf16", "bf16 autocast", alone, "bf16", False, {}),
        ("compiled", "torch.compile", replace(alone, compiled=True), "no", False, {}),
        (TOGETHER, "all, float32", fast, "no", True, {}),
        ("together-compiled", "all and torch.compile", replace(fast, compiled=True), "no", True, {}),
        ("together-bf16", "all and bf16", fast, "bf16", True, {}),
        ("together-compiled-bf16", "all, torch.compile, bf16", replace(fast, compiled=True), "bf16", True, {}),
    ]
    if quick:
        found = [each for each in found if each[0] in (STRAIGHT, TOGETHER)]
    size = {"width": 4 if quick else WIDTH, "dim_z": DIM_Z, "batch": 4 if quick else BATCH, "seed": 0}
    return tuple(
        Contestant(
            name, label, f"{__name__}:pair",
            {**size, "forms": asdict(forms), "precision": precision, "keep_freed": keep}, 1 if quick else THREADS,
            dict(environment),
        )
        for name, label, forms, precision, keep, environment in found
        if compiled or not forms.compiled
    )  # fmt: skip


def pruning_contestants(profile: str, width: int, quick: bool) -> tuple[Contestant, ...]:
    """Joint PPCD-GAN with its masks open and frozen, in four forms; quick: two contestants."""
    forms = {
        "straightforward": STRAIGHTFORWARD,
        "exact": EXACT,
        "fast-whole": replace(FAST, shrink=False),
        "fast": FAST,
    }
    labels = {
        "straightforward": "straightforward",
        "exact": "exact forms",
        "fast-whole": "fast forms, all channels",
        "fast": "fast forms, kept channels",
    }
    found = [(state, form) for state in ("open", "frozen") for form in forms]
    found = [("open", "straightforward"), ("frozen", "fast")] if quick else found
    return tuple(
        Contestant(
            f"{state}-{form}", f"masks {state}: {labels[form]}", f"{__name__}:pruning",
            {"profile": profile, "width": width, "seed": 0, "forms": asdict(forms[form]), "frozen": state == "frozen"},
        )
        for state, form in found
    )  # fmt: skip


def groups(quick: bool, pace: Pace | None = None, compiled: bool = True) -> list[Group]:
    """The pair, and joint PPCD-GAN with the student of its profile and with a wider one; quick: without the latter."""
    pair = pair_contestants(quick, compiled and has_compiler())
    pace = pace or (QUICK if quick else None)
    batch = pair[0].settings["batch"]
    about = {"batch": batch, "threads": pair[0].threads, "width": pair[0].settings["width"], "resolution": 32}
    found = [Group(PAIR, about, batch, STRAIGHT, pair, pace or Pace(420, fewest=5, most=9, turn=2.0))]
    small = get_profile("smoke" if quick else SMALL)
    for width in (small.student_width,) if quick else (small.student_width, WIDER):
        pruned = pruning_contestants(small.name, width, quick)
        about = {"batch": small.batch_size, "threads": 1, "profile": small.name, "width": width, "alpha": ALPHA}
        own = pace or Pace(100, fewest=7)
        found.append(Group(PRUNING, about, small.batch_size, "open-straightforward", pruned, own))
    return found


def left_out(quick: bool, compiled: bool = True) -> dict[str, str]:
    """Contestants that do not run, and why."""
    if compiled and has_compiler():
        return {}
    everyone = {each.name for each in pair_contestants(quick, True)}
    missing = sorted(everyone - {each.name for each in pair_contestants(quick, False)})
    return dict.fromkeys(missing, NO_COMPILER if compiled else NOT_ASKED)
