"""Latency of generators: dense against slim, straightforward against what this project runs."""

import importlib
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paper.bench.contestants import QUICK, TURN, Contestant, Group, Pace, Works
from paper.size_model import KeptCost, count, kept_generator
from ppcd.base import seeded
from ppcd.export.inference import for_inference
from ppcd.export.onnx import export_onnx
from ppcd.method.slim import slim
from ppcd.networks.compute import STRAIGHTFORWARD
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.training.profiles import Profile, get_profile

KEPT_AT_PAPER_SCALE = 0.17  # what the paper's parameters at alpha 0.7 imply
KEPT = 0.3  # 1 - alpha
PAPER_SCALE, SMALL = "imagenet128", ("mnist", "cifar10-lite")
BATCHES = {PAPER_SCALE: (1, 8, 64), **dict.fromkeys(SMALL, (1, 64))}
THREADS = (1, 2)
MANY = 64  # images, from which at paper scale only three networks are timed, for the sake of memory
TEACHER = "teacher"  # the baseline
SLIM = "slim-inference"
FORMS = {
    "straightforward": "straightforward",
    "plain": "merged upsampling",
    "inference": "inference form",
    "onnx": "ONNX file in onnxruntime",
}


@dataclass(frozen=True)
class Network:
    """A generator of a profile with fresh weights, the spectral norm worked in.

    Attributes:
        kept: fraction of channels that every mask of PP-Res SA-GAN keeps; None: the plain architecture.
    """

    arch: str
    resolution: int
    num_classes: int
    width: int
    dim_z: int
    kept: float | None = None

    @staticmethod
    def teacher(profile: Profile) -> "Network":
        """The profile's BigGAN."""
        size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.teacher_dim_z)
        return Network("biggan", *size)

    @staticmethod
    def student(profile: Profile, kept: float | None = None) -> "Network":
        """The profile's SA-GAN, dense or as PP-Res student."""
        return Network("sagan", profile.resolution, profile.num_classes, profile.student_width, profile.dim_z, kept)

    def build(self, seed: int = 0) -> Generator:
        """In evaluation mode."""
        size = (self.resolution, self.num_classes, self.width)
        if self.kept is None:
            return slim(build_generator(self.arch, *size, dim_z=self.dim_z, seed=seed)).eval()
        return kept_generator(self.kept, *size, dim_z=self.dim_z, seed=seed).eval()

    def macs(self) -> int:
        """Of one image, in the straightforward form (`ppcd.metrics.complexity.CONVENTION`)."""
        return _macs(self)


@cache
def _macs(network: Network) -> int:
    size = (network.resolution, network.num_classes, network.width, network.dim_z)
    if network.kept is not None:
        return KeptCost.of(*size).at(network.kept).macs
    return count(GeneratorConfig(network.arch, *size, spectral_norm=False)).macs


def in_form(generator: Generator, form: str) -> nn.Module:
    """The generator as one of FORMS, no longer to be used itself; "onnx" is no module, see `draw`."""
    if form == "inference":
        return for_inference(generator, release=True)
    if form == "straightforward":
        STRAIGHTFORWARD.apply(generator)
    return generator


def draw(settings: dict[str, Any]) -> Works:
    """A turn: one batch of images. Settings: network (of `Network`), form, batch, seed."""
    network, batch, seed = Network(**settings["network"]), settings["batch"], settings["seed"]
    generator = network.build(seed)
    noise = seeded(seed)
    z = torch.randn(batch, network.dim_z, generator=noise)
    y = torch.randint(network.num_classes, (batch,), generator=noise)
    if settings["form"] == "onnx":
        session = _session(generator)
        inputs = {"z": z.numpy(), "y": y.numpy()}
        return {TURN: lambda: session.run(["images"], inputs)}
    drawn = in_form(generator, settings["form"])

    @torch.no_grad()
    def turn() -> None:
        drawn(z, y)

    return {TURN: turn}


def _session(generator: Generator) -> Any:
    """onnxruntime with the generator's ONNX file and torch's number of threads."""
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.onnx"
        export_onnx(generator, path)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def contestants(profile: Profile, batch: int, threads: int, quick: bool) -> tuple[Contestant, ...]:
    """The networks and forms that are timed at a profile."""
    full = profile.name == PAPER_SCALE
    kept = KEPT_AT_PAPER_SCALE if full else KEPT
    teacher, student = Network.teacher(profile), Network.student(profile)
    pruned = Network.student(profile, kept)
    dense, small = "BigGAN, dense", f"PPCD-GAN, {kept:g} kept"
    found = [
        (TEACHER, dense, teacher, "straightforward"),
        ("teacher-inference", dense, teacher, "inference"),
        ("student", "SA-GAN, dense", student, "straightforward"),
        ("slim", small, pruned, "plain"),
        (SLIM, small, pruned, "inference"),
        ("slim-onnx", small, pruned, "onnx"),
    ]
    if quick:
        found = [each for each in found if each[0] in (TEACHER, SLIM)]
    elif full and batch >= MANY:
        found = [each for each in found if each[0] in (TEACHER, "slim", SLIM)]
    elif not full:
        found = [each for each in found if each[0] not in ("teacher-inference", "slim-onnx")]
    return tuple(
        Contestant(
            name, f"{label}: {FORMS[form]}", f"{__name__}:draw",
            {"network": asdict(network), "form": form, "batch": batch, "seed": 0}, threads,
        )
        for name, label, network, form in found
    )  # fmt: skip


def groups(quick: bool, pace: Pace | None = None) -> list[Group]:
    """Every profile, batch and number of threads; quick: one, of tiny networks."""
    scenes = [(name, batch, threads) for name, batches in BATCHES.items() for batch in batches for threads in THREADS]
    if quick:
        scenes = [("smoke", 8, 1)]
    return [
        Group(
            name,
            {"batch": batch, "threads": threads},
            batch,
            TEACHER,
            contestants(get_profile(name), batch, threads, quick),
            pace or (QUICK if quick else Pace(60, most=11, warm_ups=1) if name == PAPER_SCALE else Pace(20)),
        )
        for name, batch, threads in scenes
    ]


def add_share(group: dict[str, Any]) -> None:
    """To each contestant of a measured group: its MACs, how many times fewer, and the share that became time.

    That share is the latency ratio over the MACs ratio, both against the dense teacher in straightforward form: 1 where
    n times fewer MACs take n times less time, and above where the form itself saves work.
    """
    macs = [Network(**each["settings"]["network"]).macs() for each in group["contestants"]]
    names = [each["name"] for each in group["contestants"]]
    dense = macs[names.index(group["baseline"])]
    for each, own in zip(group["contestants"], macs, strict=True):
        fewer = dense / own
        each |= {"macs": own, "macs_ratio": fewer, "share": each["ratio"]["median"] / fewer}
