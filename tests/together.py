"""Trainers of small runs; and what each process of tests/test_processes.py does: train recipes for some steps.

`accelerate launch ... tests/together.py FOLDER` writes FOLDER/<process>.pt; `train` is also called in one process.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppcd.baselines import nas, trainer_class
from ppcd.data.sets import ImageSet
from ppcd.networks.generators import Generator, build_generator
from ppcd.training import distributed as processes
from ppcd.training.config import RunConfig
from ppcd.training.distributed import ALONE, Processes
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import Recipe, get_recipe
from ppcd.training.trainer import Trainer

RECIPES = ("ppcd", "ppcd-two-step", "tinygan", "distill-nas", "l1-sagan")
PROFILE = replace(get_profile("smoke"), accumulations=2, iterations=12, teacher_iterations=12, flip=True, ema_start=4)


def images() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (50, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(50) % 10, tuple("0123456789"), "noise", "0" * 64, "")


def make_trainer(
    profile: Profile,
    recipe: Recipe,
    seed: int,
    data: ImageSet,
    teacher: Generator | None = None,
    precision: str = "no",
    **options: Any,
) -> Trainer:
    """The trainer of a run with these images."""
    config = RunConfig(profile, recipe, seed, data.identity, precision)
    return trainer_class(recipe)(config, data, teacher, **options)


def leaves(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every number of nested lists and dictionaries, with its place."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from leaves(value, f"{name}.{key}")
    elif isinstance(state, int | float):
        yield name, torch.tensor(float(state))
    else:
        yield name, torch.tensor([ord(letter) for letter in str(state)])


def train(together: Processes = ALONE) -> dict[str, Any]:
    """Recipe -> losses of every step, and the state at the end; in double precision."""
    torch.set_num_threads(1)
    # Processes that would choose differently by themselves: the first one's choice must hold for all.
    nas.frechet_score = lambda *_: lambda widths: float(sum(widths) * (-1) ** together.index)
    found = {}
    for name in RECIPES:
        teacher = build_generator("biggan", 32, 10, 2, dim_z=16, seed=5)
        trainer = make_trainer(PROFILE, get_recipe(name), 0, images(), teacher, processes=together)
        steps = [{key: float(value) for key, value in trainer.step().items()} for _ in range(trainer.total)]
        together.check_same(trainer.networks)
        found[name] = {"losses": steps, "state": trainer.state_dict(), "masks": trainer.report_masks()}
    return found


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    together, _, _ = processes.join("cpu")
    torch.save(train(together), Path(sys.argv[1]) / f"{together.index}.pt")
    together.leave()
