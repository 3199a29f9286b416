"""How far trainings bring L_CD between its values for an equal student and for flat maps, under each normalisation."""

import copy

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from paper.artifacts.figures import PALETTE, STYLE, new_figure, not_run, sign
from paper.study import Record, Study, generator_of, read_csv
from ppcd.base import seeded
from ppcd.method.distillation import Distillation
from ppcd.method.losses import class_aware_distillation
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import Generator
from ppcd.training.recipes import RECIPES, TEACHER

DISTILLED = (
    "ppcd", "ppcd-gradual", "ppcd-cd3", "ppcd-cd10", "ppcd-cd30", "ppcd-raw", "ppcd-cd10-raw", "ppcd-both",
    "ppcd-cd10-both",
)  # fmt: skip
SAMPLES = 200
NOTE = "grey: from a student equal to its teacher (lower end) to a student whose maps are flat (upper end)"


@torch.no_grad()
def equal_and_flat(generator: Generator, normalisation: str, seed: int = 0) -> tuple[float, float]:
    """L_CD of a teacher for itself, and of a student whose maps are flat, over SAMPLES images of all classes."""
    student, teacher = copy.deepcopy(generator).eval(), Teacher(generator, normalisation)
    z = torch.randn(SAMPLES, generator.dim_z, generator=seeded(seed))
    y = torch.arange(SAMPLES) % generator.num_classes
    equal = Distillation(student, teacher, teacher.blocks)(z, y)
    wanted = teacher.features(z, y)
    return equal.item(), class_aware_distillation(wanted, [torch.ones_like(each) for each in wanted]).item()


def reached(record: Record) -> float:
    """L_CD at the end of a training: the mean of the last tenth of its logged values."""
    values = read_csv(record, "history.csv")["loss_cd"].dropna().to_numpy(dtype=float)
    return float(np.mean(values[-max(1, len(values) // 10) :]))


def figure(study: Study) -> Figure:
    """A column for each recipe that distils and has runs: its range of L_CD, and what each seed reached."""
    teacher = study.record(TEACHER)
    found = {name: records for name in DISTILLED if (records := study.records(name))}
    with matplotlib.rc_context(STYLE):
        drawn = new_figure(1.6 + 0.85 * max(3, len(found)), 2.8)
        axes = drawn.subplots()
        if teacher is None or not found:
            not_run(axes)
            return drawn
        for place, (name, records) in enumerate(found.items()):
            low, high = equal_and_flat(generator_of(teacher), RECIPES[name].normalisation)
            axes.bar(place, high - low, bottom=low, width=0.6, color="0.88")
            axes.hlines([low, high], place - 0.3, place + 0.3, color="0.4", linewidth=1)
            axes.plot([place] * len(records), list(map(reached, records)), "o", color=PALETTE[0], markersize=4)
        axes.set_xticks(range(len(found)), found, rotation=20, ha="right")
        axes.set_ylim(bottom=-0.02)
        axes.set_ylabel(r"$\mathcal{L}_{\rm CD}$ (eq. 6)")
        axes.grid(axis="x", visible=False)
        sign(drawn, study.line, NOTE)
    return drawn
