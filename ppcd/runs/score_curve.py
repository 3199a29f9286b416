"""The score curve of a training and its best generator: scored ten times, the best by Fréchet distance is saved.

Every average of the weights that the trainer holds is scored with the same noise and gets a row in `quality.csv`; only
the declared one ("ema") can become the best generator. A score uses few samples, from other noise than the final
evaluation, so that choosing does not bias what is reported. While masks are open, or before a second phase, the
averages are scored as they are (`final` 0 in `quality.csv`) but not saved: the run will not deliver them, and they are
larger. After that they are scored as the run would deliver them if it ended now: slim, with batch statistics
recomputed.
"""

import copy
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ppcd.base import named_generator
from ppcd.data.sets import ImageSet
from ppcd.method.ema import DECLARED, finish_generator, recompute_batch_statistics
from ppcd.metrics.evaluate import frechet_and_inception
from ppcd.metrics.features import get_backbone
from ppcd.metrics.fidelity import reference_statistics
from ppcd.networks.generators import Generator
from ppcd.networks.io import save_generator
from ppcd.records import file_hash
from ppcd.runs.callbacks import Callback, TrainingState
from ppcd.runs.history import HistoryWriter
from ppcd.training.profiles import Profile
from ppcd.training.trainer import Trainer

log = logging.getLogger(__name__)

TIMES = 10  # that a training is scored
ROUND = 10  # iterations: scores are taken where the loop has just made sure that all numbers are finite
CURVE, BEST = "quality.csv", "best.safetensors"
COLUMNS = ("iteration", "average", "seconds", "fd", "is", "samples", "final")

Score = Callable[[Generator], tuple[float, float]]  # Fréchet distance and Inception score


def make_score(data: ImageSet, profile: Profile, samples: int, seed: int, device: torch.device) -> Score:
    """A function that scores generators in the profile's backbone, all with the same noise."""
    noise = named_generator(seed, "quality samples").initial_seed()

    def score(generator: Generator) -> tuple[float, float]:
        backbone = get_backbone(profile.backbone, data, classifier_epochs=profile.classifier_epochs, device=device)
        real = reference_statistics(data, backbone)
        distance, inception = frechet_and_inception(generator, backbone, real, samples, noise, device)
        return distance, inception[0]

    return score


class Best(Callback):
    """Writes `quality.csv` and `best.safetensors`; `trainer.notes["best"]` says which it is.

    A new best generator has a separate file until a checkpoint knows of it, so that a training that is killed goes on
    with the one of its checkpoint.

    Args:
        trainer: only `notes` of its state is changed.
        samples: that `score` takes, for the record.
    """

    _writer: HistoryWriter

    def __init__(self, trainer: Trainer, directory: Path, score: Score, samples: int) -> None:
        self.trainer, self.score, self.samples = trainer, score, samples
        self.path, self.new, self.curve = directory / BEST, directory / f"{BEST}.new", directory / CURVE
        parts = [trainer.total * part / TIMES for part in range(1, TIMES + 1)]
        self.points = {min(trainer.total, math.ceil(part / ROUND) * ROUND) for part in parts}

    def on_start(self, state: TrainingState) -> None:
        rows = self.trainer.notes.setdefault("quality", [])
        best = self.trainer.notes.setdefault("best", None)
        for path in (self.new, self.path):
            if best is not None and path.is_file() and file_hash(path) == best["sha256"]:
                path.replace(self.path)
                break
        else:
            self.path.unlink(missing_ok=True)
            self.trainer.notes["best"] = None
            if best is not None:
                log.warning("%s of iteration %d is gone; later ones are kept", self.path, best["iteration"])
        self.new.unlink(missing_ok=True)
        self._writer = HistoryWriter(self.curve, COLUMNS)
        self._writer.append(rows)

    def on_step(self, state: TrainingState) -> None:
        if state.iteration not in self.points:
            return
        trainer, rows = self.trainer, list[dict[str, Any]]()
        final = state.iteration == state.total or not trainer.changing  # it could be delivered; at the end it is
        for name, average in trainer.averages.items():
            # A copy: as the run would deliver it, or as it is with recomputed batch statistics
            generator = copy.deepcopy(average.generator)
            if final:
                generator = finish_generator(generator, trainer.seed)
            else:
                recompute_batch_statistics(generator, named_generator(trainer.seed, "batch statistics"))
            distance, inception = self.score(generator)
            values = {"iteration": state.iteration, "fd": distance, "is": inception, "samples": self.samples}
            rows.append({**values, "average": name, "seconds": state.seconds, "final": final})
            best = trainer.notes["best"]
            if name == DECLARED and final and math.isfinite(distance) and (best is None or distance < best["fd"]):
                save_generator(generator, self.new)
                about = {"backbone": trainer.profile.backbone, "file": BEST, "sha256": file_hash(self.new)}
                trainer.notes["best"] = values | about
        trainer.notes["quality"] += rows
        self._writer.append(rows)

    def on_checkpoint(self, state: TrainingState) -> None:
        if self.new.is_file():
            self.new.replace(self.path)
