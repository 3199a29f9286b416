"""Training steps: each optimisation alone, all together, and what pruning saves while it trains."""

import os
import shutil
from dataclasses import asdict, replace
from typing import Any

import torch

from paper.bench.runner import Case, Group, Work
from ppcd.networks.compute import EXACT, FAST, STRAIGHTFORWARD, ComputeOptions
from ppcd.runs import memory
from ppcd.runs.trials import trial_trainer
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import ALPHA, TEACHER

PAIR, PRUNING = "pair", "pruning"  # scenes
WIDTH, DIM_Z, BATCH = 32, 80, 32  # of the pair
THREADS = 2  # of the pair; runs train with one
SMALL = "cifar10-lite"  # whose joint PPCD-GAN shows what pruning saves
WIDER = 32  # of a student that is most of its step; that of SMALL is a small part
STRAIGHT, ALLOCATOR, TOGETHER = "straightforward", "allocator", "together"


def step(settings: dict[str, Any]) -> Work:
    """One training iteration.

    Settings: profile, changes (of its fields), recipe, seed, forms, precision, keep_freed (whether the allocator keeps
    what is freed), frozen (whether all masks are, at alpha).
    """
    profile = replace(get_profile(settings["profile"]), **settings["changes"])
    trainer = trial_trainer(
        profile, settings["recipe"], torch.arange(4 * profile.batch_size) % profile.num_classes, seed=settings["seed"],
        precision=settings["precision"], forms=ComputeOptions(**settings["forms"]), frozen=settings["frozen"],
    )  # fmt: skip
    if settings["keep_freed"]:
        memory.keep_freed()
    return trainer.step


def _case(name: str, label: str, common: dict[str, Any], forms: ComputeOptions, **settings: Any) -> Case:
    plain = {"seed": 0, "precision": "no", "keep_freed": False, "frozen": False}
    return Case(name, label, step, {**common, **plain, "forms": asdict(forms), **settings})


def pair_cases(quick: bool) -> tuple[Case, ...]:
    """The straightforward form, each switch alone on top of it, and all together; quick: two of them.

    Without a C++ compiler those with torch.compile are left out.
    """
    width, batch = (4, 4) if quick else (WIDTH, BATCH)
    changes = {"teacher_width": width, "teacher_discriminator_width": width, "teacher_dim_z": DIM_Z}
    changes |= {"batch_size": batch, "flip": False, "ema_start": 0}
    common = {"profile": SMALL, "changes": changes, "recipe": TEACHER}
    alone, fast = STRAIGHTFORWARD, replace(FAST, shrink=False)  # the pair has no masks
    bf16, keep = {"precision": "bf16"}, {"keep_freed": True}
    found: list[tuple[str, str, ComputeOptions, dict[str, Any]]] = [
        (STRAIGHT, "straightforward", alone, {}),
        ("merged", "merged convolutions", replace(alone, merged=True), {}),
        ("boxed", "merged and boxed", replace(alone, merged=True, boxed=True), {}),
        ("channels-last", "channels-last layout", replace(alone, channels_last=True), {}),
        ("fused", "fused Adam", replace(alone, fused=True), {}),
        (ALLOCATOR, "allocator keeps memory", alone, keep),
        ("bf16", "bf16 autocast", alone, bf16),
        ("compiled", "torch.compile", replace(alone, compiled=True), {}),
        (TOGETHER, "all, float32", fast, keep),
        ("together-compiled", "all and torch.compile", replace(fast, compiled=True), keep),
        ("together-bf16", "all and bf16", fast, keep | bf16),
        ("together-compiled-bf16", "all, torch.compile, bf16", replace(fast, compiled=True), keep | bf16),
    ]
    compiler = bool(os.environ.get("CXX")) or any(map(shutil.which, ("g++", "clang++")))
    return tuple(
        _case(name, label, common, forms, **settings)
        for name, label, forms, settings in found
        if (compiler or not forms.compiled) and (not quick or name in (STRAIGHT, TOGETHER))
    )


def pruning_cases(profile: str, width: int) -> tuple[Case, ...]:
    """Joint PPCD-GAN with its masks open and frozen, in four forms."""
    changes = {"student_width": width, "iterations": max(get_profile(profile).iterations, 10_000)}  # no mask closes
    common = {"profile": profile, "changes": changes, "recipe": "ppcd"}
    forms = {
        "straightforward": ("straightforward", STRAIGHTFORWARD),
        "exact": ("exact forms", EXACT),
        "fast-whole": ("fast forms, all channels", replace(FAST, shrink=False)),
        "fast": ("fast forms, kept channels", FAST),
    }
    return tuple(
        _case(f"{state}-{name}", f"masks {state}: {label}", common, form, frozen=state == "frozen")
        for state in ("open", "frozen")
        for name, (label, form) in forms.items()
    )


def groups(quick: bool) -> list[Group]:
    """The pair, and joint PPCD-GAN with the student of its profile and with a wider one; quick: without the latter."""
    cases = pair_cases(quick)
    changes = cases[0].settings["changes"]
    batch, width = changes["batch_size"], changes["teacher_width"]
    about = {"batch": batch, "threads": 1 if quick else THREADS, "width": width, "resolution": 32}
    found = [Group(PAIR, about, STRAIGHT, cases, 3 if quick else 9, 0.0 if quick else 2.0)]
    small = get_profile("smoke" if quick else SMALL)
    for width in (small.student_width,) if quick else (small.student_width, WIDER):
        about = {"batch": small.batch_size, "threads": 1, "profile": small.name, "width": width, "alpha": ALPHA}
        cases, rounds, turn = pruning_cases(small.name, width), 3 if quick else 9, 0.0 if quick else 0.3
        found.append(Group(PRUNING, about, "open-straightforward", cases, rounds, turn))
    return found
