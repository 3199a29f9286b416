"""A training in pieces, on machines that are lent for minutes and keep nothing: `python -m ppcd gpu-train`.

Each piece takes up what the one before left in a folder, goes on with the plan until the minutes are over, and writes
the folder again, in as many megabytes as may be carried home (`ppcd.runs.carried`).
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.commands import run_options
from ppcd.errors import ArgumentParser, run_command
from ppcd.method.ema import AGES
from ppcd.networks.discriminators import Discriminator
from ppcd.networks.generators import Generator, GeneratorConfig
from ppcd.runs import carried, memory
from ppcd.runs.callbacks import Callback, ProgressBar, TrainingState
from ppcd.runs.directory import Run
from ppcd.runs.train import resolve_device, train_run
from ppcd.training.config import RunConfig, asked_profile, run_config
from ppcd.training.distributed import PRECISIONS
from ppcd.training.pruning import pruned_widths
from ppcd.training.recipes import TEACHER

PLAN = (TEACHER, "ppcd-teacher", "ppcd", "ppcd-no-cd", "l1-sagan", "ppcd-two-step")  # in this order
MINUTES, MEGABYTES = 9.0, 120.0
# What must be left: seconds, or that part of a piece if it is less. Before the clock there were the imports.
PACKING, STARTING, MEASURING = (30.0, 0.1), (60.0, 0.25), (180.0, 0.35)


class Piece(Callback):
    """Stops a training when the time is over, and writes the folder before what it made is measured.

    Args:
        clock: seconds from any moment on.
        keep: writes the folder.
    """

    def __init__(self, minutes: float, clock: Callable[[], float], keep: Callable[[], object]) -> None:
        self.seconds, self.clock, self.keep = 60 * minutes, clock, keep
        self.end = clock() + self.seconds

    def has(self, reserve: tuple[float, float]) -> bool:
        seconds, part = reserve
        return self.end - self.clock() > min(seconds, part * self.seconds)

    def on_step(self, state: TrainingState) -> None:
        state.stop = not self.has(PACKING)

    def on_checkpoint(self, state: TrainingState) -> None:
        if state.iteration == state.total:
            self.keep()
            state.stop = not self.has(MEASURING)


def train_piece(
    plan: Sequence[RunConfig],
    folder: Path,
    minutes: float = MINUTES,
    megabytes: float = MEGABYTES,
    device: str = "cpu",
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Go on with the plan for so many minutes; the folder's manifest, and `megabytes`.

    Raises:
        PpcdError: the folder is damaged or of another plan, or the megabytes are too few; nothing was trained then.
            Or a training cannot go on; the folder has been written then.
    """

    def keep() -> dict[str, Any]:
        return carried.write(plan, folder, megabytes)

    piece = Piece(minutes, clock, keep)
    carried.unpack(plan, folder)
    if (need := needed(plan)) > megabytes:
        raise PpcdError(
            f"{megabytes:g} megabytes are too few: with everything rounded that may be, a piece of this plan takes up "
            f"to {need:.1f} MB; give --megabytes {math.ceil(need)} or more"
        )
    with paths.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        for config in plan:
            if Run(config).state == "complete":
                continue
            if not piece.has(STARTING):
                break
            train_run(config, device=device, callbacks=[ProgressBar(config.id), piece])
            if Run(config).state != "complete":
                break
    except PpcdError:
        keep()
        raise
    return keep()


# How many megabytes there must be


TEXTS = 1.0  # megabytes of manifest, histories, order of the images and records, on the safe side
AROUND = 400  # bytes that a tensor takes besides its values


def needed(plan: Sequence[RunConfig]) -> float:
    """Megabytes of the folder when the rest of the plan needs most, with everything rounded that may be."""
    most, exact = 0.0, carried.has_taught(plan)
    for index, config in enumerate(plan):
        state, teacher = Run(config).state, config.teacher()
        if state == "complete":
            continue
        kept = sum(_size(_generator(each, True), each.recipe.name == TEACHER and not exact) for each in plan[:index])
        moving = (2 + _averages(config)) * _size(_generator(config)) + 2 * _size(_discriminator(config))
        if state == "absent" and config.recipe.needs_training_state and teacher:
            moving = max(moving, 2 * _size(_generator(teacher)) + 2 * _size(_discriminator(teacher)))
        most = max(most, (kept + moving) / carried.MEGABYTE + TEXTS)
    return most


def _averages(config: RunConfig) -> int:
    profile = config.profile
    several = profile.average_age is not None and profile.best_samples is not None
    return len({*AGES, profile.average_age}) if several else 1


def _size(network: nn.Module, narrow: bool = True) -> int:
    """Bytes of a network's values, its matrices in bf16 if `narrow`."""
    tensors = network.state_dict().values()
    sizes = (2 if narrow and carried.is_matrix(each) else each.element_size() for each in tensors)
    return sum(each.numel() * size + AROUND for each, size in zip(tensors, sizes, strict=True))


def _generator(config: RunConfig, finished: bool = False) -> Generator:
    """A generator of the shapes that the run's has while it trains or in the end, without values."""
    profile, recipe = config.profile, config.recipe
    width = profile.teacher_width if recipe.teacher_size else profile.student_width
    dim_z = profile.teacher_dim_z if recipe.teacher_size else profile.dim_z
    hidden = None
    if finished and recipe.alpha is not None:
        hidden = pruned_widths(profile.resolution, width, recipe.alpha)
    shape = GeneratorConfig(
        recipe.generator, profile.resolution, profile.num_classes, width, dim_z, recipe.masked and not finished,
        transition=recipe.masked, hidden=hidden, spectral_norm=not finished, grey=profile.grey,
    )  # fmt: skip
    with torch.device("meta"):
        return Generator(shape)


def _discriminator(config: RunConfig) -> Discriminator:
    profile, recipe = config.profile, config.recipe
    width = profile.teacher_discriminator_width if recipe.teacher_size else profile.discriminator_width
    with torch.device("meta"):
        return Discriminator(recipe.generator, profile.resolution, profile.num_classes, width)


# For people


def table(plan: Sequence[RunConfig], manifest: dict[str, Any], device: str, folder: Path, megabytes: float) -> str:
    """Each run of the plan: how far it is, its score, and what of it is carried."""
    first, width, entries = plan[0], max(len(config.id) for config in plan), {e["id"]: e for e in manifest["runs"]}
    lines = [
        f"gpu-train on {device}: profile {first.profile.name}, seed {first.seed}, precision {first.precision}; "
        f"{manifest['megabytes']:.1f} of {megabytes:g} MB in {folder}",
        f"  {'run':<{width}} {'iteration':>9} {'of':>9} {'FD':>8} {'MB':>7}  carried as",
    ]
    for config in plan:
        cells = ("0", str(config.iterations), "–", "–", "nothing")
        if entry := entries.get(config.id):
            size = sum(file["bytes"] for file in entry["files"]) / carried.MEGABYTE
            score = "–" if entry["fd"] is None else f"{entry['fd']:.2f}"
            what = "complete run" if entry["state"] == "complete" else "checkpoint"
            if any(file["name"] in carried.LAST_STATE for file in entry["files"]):
                what += " and last state"
            what = ", ".join([what, *entry["changed"]])
            cells = (str(entry["iteration"]), str(entry["total"]), score, f"{size:.1f}", what)
        lines.append("  {0:<{1}} {2:>9} {3:>9} {4:>8} {5:>7}  {6}".format(config.id, width, *cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    memory.keep_freed()
    parser = ArgumentParser(prog="python -m ppcd gpu-train", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="that this piece takes at most")
    parser.add_argument("--megabytes", type=float, default=MEGABYTES, help="that the folder takes at most")
    parser.add_argument("--carry", help="the folder between pieces (default: gpu-train in the cache)")
    parser.add_argument("--profile", default="cifar10")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", choices=PRECISIONS, help="of forward passes (default: bf16)")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the same command goes on")


def _command(options: argparse.Namespace) -> None:
    device = resolve_device(options.device)
    for name in ("minutes", "megabytes"):
        if not 0 < getattr(options, name) < math.inf:
            raise PpcdError(f"--{name} takes a positive number; got {getattr(options, name):g}")
    folder = paths.expanded(options.carry) if options.carry else paths.cache() / "gpu-train"
    asked = run_options() | {"precision": options.precision or os.environ.get("PPCD_PRECISION") or "bf16"}
    profile = asked_profile(options.profile)
    plan = [run_config(profile, recipe, options.seed, **asked) for recipe in PLAN]
    manifest = train_piece(plan, folder, options.minutes, options.megabytes, device)
    if all(Run(config).state == "complete" for config in plan):
        print(f"the plan is complete: its runs are in {plan[0].directory.parent}")
    print(table(plan, manifest, device, folder, options.megabytes))
