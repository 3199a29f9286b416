"""What `00_playground` shows: images, sizes and speed of the generators of a profile, with controls.

Every picture is an ordinary output of the notebook, which the controls replace: without a live kernel, or without the
front end of ipywidgets, the pictures are still there.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import matplotlib
import pandas as pd
import torch
from IPython.display import HTML, Image, display
from ipywidgets import Dropdown, FloatSlider, HBox, IntSlider, Layout, Widget
from jaxtyping import Float, Int64
from torch import Tensor, nn

from paper.artifacts import figures
from paper.artifacts.interpolation import between_classes, slerp
from paper.artifacts.render import write_number
from paper.study import Study, generator_of
from ppcd.base import PpcdError
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.metrics.sampling import draw_noise, generate
from ppcd.networks.generators import Generator
from ppcd.records import Record
from ppcd.runs.train import train_run
from ppcd.training.profiles import typed
from ppcd.training.recipes import TEACHER

COLUMNS = 10  # at most; images in a row
STEPS = 9  # of an interpolation, both ends included
WIDTH = 256  # entries of a noise vector, of which each generator takes the first
EVERY = -1  # instead of one class
slider = partial(FloatSlider, max=1.0, step=0.05, continuous_update=False)
seeds = partial(IntSlider, 0, 0, 99, continuous_update=False)


def find_runs(study: Study) -> dict[str, Record]:
    """Recipe -> the record of its run of the study's first seed, the teacher first; the latest where there are several.

    Runs of the smoke profile do not come with the repository and take seconds: its teacher and student are trained.

    Raises:
        PpcdError: no teacher, or no student, or a run that was changed.
    """
    profile, seed = study.name, study.seeds[0]
    if profile == "smoke":
        train_run(study.config("ppcd", seed))
    found = [record for record in study.runs() if record["seed"] == seed]
    found.sort(key=lambda record: (record["recipe"] != TEACHER, record["recipe"], record["provenance"]["finished"]))
    records = {record["recipe"]: record for record in found}
    if TEACHER not in records or len(records) == 1:
        raise PpcdError(
            f"profile {profile} has no teacher and student of seed {seed}; take profile mnist or cifar10-lite and seed "
            f'0, which come with the repository, or train them: make reproduce PROFILE={typed(profile)} SEEDS="{seed},"'
        )
    return records


def truncate(z: Float[Tensor, "batch noise"], share: float) -> Float[Tensor, "batch noise"]:
    """Noise of the normal distribution truncated to its central share of the probability; 1 changes nothing.

    An entry keeps its rank: the share's quantile takes the place of the whole distribution's. That is the distribution
    of BigGAN's truncation trick, which draws again what is beyond a threshold, but moves steadily with the share.
    """
    if share == 1:
        return z
    return torch.special.ndtri(0.5 + share * (torch.special.ndtr(z.double()) - 0.5)).to(z.dtype)


def images(G: nn.Module, z: Float[Tensor, "n noise"], labels: Int64[Tensor, " n"]) -> Float[Tensor, "n 3 h w"]:
    """Images in [0, 1]; the noise may have more entries than the generator takes."""
    return generate(G, z[:, : G.dim_z].contiguous(), labels).float() / 255


def between(
    G: nn.Module, ends: Float[Tensor, "2 noise"], start: int, end: int, steps: Float[Tensor, " step"]
) -> Float[Tensor, "step 3 h w"]:
    """Images in [0, 1] from one noise vector and class, t = 0, to the others, t = 1.

    Class embeddings are interpolated on the line, noise on the arc between the entries that the generator takes.
    """
    mixed, labels = between_classes(G, start, end, steps)
    first, last = ends[:, : G.dim_z]
    return images(mixed, slerp(first, last, steps), labels)


class Playground:
    """The controls and what they draw; the student and the truncation are the same everywhere."""

    def __init__(self, study: Study) -> None:
        self.records = find_runs(study)
        self.generators = {recipe: generator_of(record) for recipe, record in self.records.items()}
        self.line = f"profile {study.name} · seed {study.seeds[0]}"  # stands below each picture
        students = [recipe for recipe in self.records if recipe != TEACHER]
        self.names = list(map(str, self.records[TEACHER]["data"]["classes"]))
        classes = [(name, label) for label, name in enumerate(self.names)]
        self.student = Dropdown(options=students, value="ppcd" if "ppcd" in students else students[0])
        self.truncation, self.t = slider(1.0, min=0.05), slider(0.5)
        self.label, self.noise = Dropdown(options=[("every class", EVERY), *classes], value=EVERY), seeds()
        self.start, self.end = (Dropdown(options=classes, value=min(each, len(classes) - 1)) for each in (3, 8))
        self.first, self.last = seeds(), seeds()  # the noise of the ends

    def classes(self) -> None:
        """Show the teacher above the student, a class in each column, or one class with other noise in each."""

        def draw() -> list[Image]:
            (rows, pair), label, noise = self._pair(), self.label.value, self.noise.value
            every = label == EVERY
            labels = torch.arange(len(self.names))[:COLUMNS] if every else torch.full((COLUMNS,), label)
            z = self._noise(1, noise).expand(len(labels), -1) if every else self._noise(COLUMNS, noise)
            made = torch.cat([images(G, z, labels) for G in pair])
            columns = [self.names[label] for label in labels.tolist()]
            return [self._picture(f"{self.label.label}, noise {noise}", (made, rows, columns))]

        _panel(draw, student=self.student, class_=self.label, noise_seed=self.noise, truncation=self.truncation)

    def interpolation(self) -> None:
        """Show the way from one class and noise vector to others, and the images at t next to it."""

        def draw() -> list[Image]:
            (rows, pair), labels, way = self._pair(), (self.start.value, self.end.value), torch.linspace(0, 1, STEPS)
            ends = torch.cat([self._noise(1, seed.value) for seed in (self.first, self.last)])
            strip, at_t = (
                torch.cat([between(G, ends, *labels, steps) for G in pair])
                for steps in (way, torch.tensor([self.t.value]))
            )
            said = f"class {self.start.label}, noise {self.first.value} to {self.end.label}, {self.last.value}"
            titles = [f"{t:.3g}" for t in way.tolist()]
            return [self._picture(said, (strip, rows, titles), (at_t, ["", ""], [f"t = {self.t.value:g}"]))]

        ends = {"from_class": self.start, "from_noise": self.first, "to_class": self.end, "to_noise": self.last}
        _panel(draw, **ends, t=self.t, truncation=self.truncation, student=self.student)

    def sizes(self) -> None:
        """Show parameters, MACs and milliseconds, and how many channels each layer kept."""

        def draw() -> list[object]:
            sizes = [self.records[recipe]["complexity"] for recipe in (TEACHER, self.student.value)]
            titles, pair = self._pair()
            columns = {
                "": titles,
                "parameters": [write_number(size["params"], "count") for size in sizes],
                "MACs": [write_number(size["macs"], "count") for size in sizes],
                "ms, alone": [milliseconds(G, 1) for G in pair],
                "ms, in a batch of 64": [milliseconds(G, 64) for G in pair],
            }
            table = pd.DataFrame(columns).to_html(index=False, border=0, float_format="{:.3g}".format)
            return [HTML(table), kept_channels(self.records[self.student.value])]

        _panel(draw, student=self.student)

    def _pair(self) -> tuple[list[str], list[Generator]]:
        """Titles and generators of the teacher and the student."""
        student = self.student.value
        return ["teacher", student], [self.generators[TEACHER], self.generators[student]]

    def _noise(self, count: int, seed: int) -> Float[Tensor, "count noise"]:
        return truncate(draw_noise(count, WIDTH, seed), self.truncation.value)

    def _picture(self, said: str, *panels: tuple[Tensor, Sequence[str], Sequence[str]]) -> Image:
        """Panels of images next to each other, each with the labels of its rows and its columns."""
        line = f"{self.line} · truncation {self.truncation.value:g} · {said}"
        widths = [figures.tiled(made[: len(columns)], len(columns)).shape[1] for made, _, columns in panels]
        with matplotlib.rc_context(figures.STYLE):
            figure = figures.new_figure(8.5, 2.1)
            figure.set_layout_engine("compressed")  # panels of images have an aspect
            grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)
            for axes, panel in zip(grid.flat, panels, strict=True):
                figures.show_tiles(axes, *panel)
            figure.supxlabel(line, fontsize=6, color="0.35", x=0.99, ha="right")
        return Image(data=figures.encoded(figure), alt=f"images of the teacher above those of the student: {line}")


@cache
def milliseconds(G: Generator, batch: int) -> float:
    """Milliseconds an image, made in batches of this size on the CPU."""
    return 1000 * seconds_per_batch(G, batch=batch)["seconds_per_batch"] / batch


def kept_channels(record: dict[str, Any]) -> Image:
    """A chart of the channels that each layer of a run had and kept."""
    title, masks = f"{record['recipe']}: channels that each layer kept", record["masks"]
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(7.0, 1.8)
        axes = figure.subplots()
        axes.set_title(title)
        if not masks:
            figures.not_run(axes, "nothing was pruned")
        layers = [mask["layer"].replace("blocks.", "block ").replace(".", "\n") for mask in masks]
        axes.bar(layers, [mask["channels"] for mask in masks], color="0.88")
        bars = axes.bar(layers, [mask["kept"] for mask in masks], color=figures.PALETTE[0])
        axes.bar_label(bars, [f"{mask['kept']} of {mask['channels']}" for mask in masks])
    return Image(data=figures.encoded(figure), alt=title)


def _panel(draw: Callable[[], Sequence[object]], **controls: Widget) -> None:
    """Show what is drawn, and below it the controls by their names, which draw it again in its place."""
    shown = [display(each, display_id=True) for each in draw()]

    def again(_: object) -> None:
        for handle, each in zip(shown, draw(), strict=True):
            handle.update(each)

    for name, control in controls.items():
        control.description = name.strip("_").replace("_", " ")
        control.observe(again, "value")
    display(HBox([*controls.values()], layout=Layout(flex_flow="row wrap")))
