"""Latency of generators: dense against slim, straightforward against what this project runs."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from paper.bench.runner import Case, Group, Work
from paper.paper_networks import build, count, kept_config
from ppcd.base import seeded
from ppcd.export.onnx import export_onnx, onnx_session
from ppcd.networks.compute import STRAIGHTFORWARD
from ppcd.networks.generators import GeneratorConfig
from ppcd.training.profiles import Profile, get_profile

KEPT_AT_PAPER_SCALE = 0.17  # what the paper's parameters at alpha 0.7 imply
KEPT = 0.3  # 1 - alpha
PAPER_SCALE = "imagenet128"
BATCHES = {PAPER_SCALE: (1, 8, 64), "mnist": (1, 64), "cifar10-lite": (1, 64)}
THREADS = (1, 2)
MANY = 64  # images, from which at paper scale fewer networks are timed, for the sake of memory
TEACHER, SLIM = "teacher", "slim-onnx"  # the baseline, and the fastest form
FORMS = {"straightforward": "straightforward", "plain": "merged upsampling", "onnx": "ONNX file in onnxruntime"}


def teacher(profile: Profile) -> GeneratorConfig:
    """The profile's BigGAN."""
    size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.teacher_dim_z)
    return GeneratorConfig("biggan", *size, spectral_norm=False)


def student(profile: Profile, kept: float | None = None) -> GeneratorConfig:
    """The profile's SA-GAN, dense, or slim where every mask of PP-Res keeps this fraction of its channels."""
    size = (profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)
    if kept is None:
        return GeneratorConfig("sagan", *size, spectral_norm=False)
    return kept_config(kept, *size)


@cache
def macs(config: GeneratorConfig) -> int:
    """Of one image, in the straightforward form (`ppcd.complexity`)."""
    return count(config).macs


def draw(settings: dict[str, Any]) -> Work:
    """One batch of images. Settings: network (of GeneratorConfig), form (one of FORMS), batch, seed."""
    batch, seed = settings["batch"], settings["seed"]
    generator, noise = build(GeneratorConfig.from_dict(settings["network"]), seed), seeded(seed)
    z = torch.randn(batch, generator.dim_z, generator=noise)
    y = torch.randint(generator.num_classes, (batch,), generator=noise)
    if settings["form"] == "onnx":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "generator.onnx"
            export_onnx(generator, path)
            session = onnx_session(path)
        return lambda: session.run(["images"], {"z": z.numpy(), "y": y.numpy()})
    if settings["form"] == "straightforward":
        STRAIGHTFORWARD.apply(generator)
    return torch.no_grad()(lambda: generator(z, y))


def cases(profile: Profile, batch: int) -> tuple[Case, ...]:
    """The networks and forms that are timed at a profile."""
    full = profile.name == PAPER_SCALE
    kept = KEPT_AT_PAPER_SCALE if full else KEPT
    dense, pruned = teacher(profile), student(profile, kept)
    small = f"PPCD-GAN, {kept:g} kept"
    found = [
        (TEACHER, "BigGAN, dense", dense, "straightforward"),
        ("teacher-onnx", "BigGAN, dense", dense, "onnx"),
        ("student", "SA-GAN, dense", student(profile), "straightforward"),
        ("slim", small, pruned, "plain"),
        (SLIM, small, pruned, "onnx"),
    ]
    left_out = ("teacher-onnx", "student") if full and batch >= MANY else ()
    return tuple(
        Case(
            name,
            f"{label}: {FORMS[form]}",
            draw,
            {"network": network.to_dict(), "form": form, "batch": batch, "seed": 0},
        )
        for name, label, network, form in found
        if name not in left_out
    )


def groups(quick: bool) -> list[Group]:
    """Every profile, batch and number of threads; quick: one, of tiny networks."""
    rounds = {1: 11, 8: 7, 64: 3}
    return [
        Group(
            name,
            {"batch": batch, "threads": threads},
            TEACHER,
            cases(get_profile(name), batch),
            3 if quick else rounds[batch] if name == PAPER_SCALE else 15,
            0.0 if quick else 0.3,
        )
        for name, batches in ({"smoke": (8,)} if quick else BATCHES).items()
        for batch in batches
        for threads in ((1,) if quick else THREADS)
    ]


def with_share(group: dict[str, Any]) -> dict[str, Any]:
    """The measured group with macs and macs_ratio (times fewer) of each case, and the share that became time.

    That share is the latency ratio over the MACs ratio, both against the dense teacher in straightforward form: 1 where
    n times fewer MACs take n times less time, and above where the form itself saves work.
    """
    counted = {each["name"]: macs(GeneratorConfig.from_dict(each["settings"]["network"])) for each in group["cases"]}
    cases = []
    for each in group["cases"]:
        own = counted[each["name"]]
        fewer = counted[group["baseline"]] / own
        cases.append({**each, "macs": own, "macs_ratio": fewer, "share": each["ratio"]["median"] / fewer})
    return {**group, "cases": cases}
