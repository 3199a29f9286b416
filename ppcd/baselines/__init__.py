"""The compared methods. Each is the trainer of `ppcd.training.trainer` with other losses or another second half."""

from ppcd.baselines.l1 import L1Trainer
from ppcd.baselines.nas import NasTrainer
from ppcd.baselines.output import OutputTrainer
from ppcd.baselines.tinygan import TinyGanTrainer
from ppcd.data.sets import ImageSet
from ppcd.networks.compute import Forms
from ppcd.networks.generators import Generator
from ppcd.networks.io import LastState
from ppcd.training.distributed import ALONE, Processes
from ppcd.training.profiles import Profile
from ppcd.training.recipes import Recipe
from ppcd.training.trainer import Trainer

TRAINERS: dict[str, type[Trainer]] = {
    "l1": L1Trainer,
    "output": OutputTrainer,
    "tinygan": TinyGanTrainer,
    "nas": NasTrainer,
}


def make_trainer(
    profile: Profile,
    recipe: Recipe,
    seed: int,
    data: ImageSet,
    teacher: Generator | None,
    device: str,
    processes: Processes = ALONE,
    precision: str = "no",
    forms: Forms | None = None,
    origin: LastState | None = None,
) -> Trainer:
    """The trainer of a recipe. Arguments and errors as `ppcd.training.trainer.Trainer`."""
    kind = Trainer if recipe.baseline is None else TRAINERS[recipe.baseline.kind]
    return kind(profile, recipe, seed, data, teacher, device, processes, precision, forms, origin)
