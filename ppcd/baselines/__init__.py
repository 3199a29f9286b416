"""The compared methods. Each is the trainer of `ppcd.training.trainer` with other losses or another second half."""

from ppcd.baselines.l1 import L1Trainer
from ppcd.baselines.nas import NasTrainer
from ppcd.baselines.output import OutputTrainer
from ppcd.baselines.tinygan import TinyGanTrainer
from ppcd.training.recipes import Recipe
from ppcd.training.trainer import Trainer

TRAINERS = {"l1": L1Trainer, "output": OutputTrainer, "tinygan": TinyGanTrainer, "nas": NasTrainer}


def trainer_class(recipe: Recipe) -> type[Trainer]:
    return Trainer if recipe.baseline is None else TRAINERS[recipe.baseline.kind]
