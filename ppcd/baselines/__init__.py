"""The compared methods. Each is the trainer of `ppcd.trainer` with other losses or another second half."""

from ppcd.baselines.l1 import L1Trainer
from ppcd.baselines.nas import NasTrainer
from ppcd.baselines.output import OutputTrainer
from ppcd.baselines.tinygan import TinyGanTrainer
from ppcd.checkpoints import LastState
from ppcd.data import ImageSet
from ppcd.forms import Forms
from ppcd.generators import Generator
from ppcd.processes import ALONE, Processes
from ppcd.profiles import Profile
from ppcd.recipes import Recipe
from ppcd.trainer import Trainer

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
    """The trainer of a recipe. Arguments and errors as `ppcd.trainer.Trainer`."""
    kind = Trainer if recipe.baseline is None else TRAINERS[recipe.baseline.kind]
    return kind(profile, recipe, seed, data, teacher, device, processes, precision, forms, origin)
