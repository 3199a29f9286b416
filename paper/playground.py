"""What `00_playground` shows: images, sizes and speed of the generators of a profile, with controls.

Every picture is an ordinary output of the notebook, which the controls replace: without a live kernel, or without the
front end of ipywidgets, the pictures are still there.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import matplotlib
import pandas as pd
import torch
from IPython.display import HTML, Image, display
from ipywidgets import Dropdown, FloatSlider, HBox, IntSlider, Layout, Widget
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from torch import Tensor, nn

from paper.artifacts import figures
from paper.artifacts.interpolation import between_classes, slerp
from paper.artifacts.render import write_number
from ppcd.base import PpcdError
from ppcd.metrics.complexity import complexity
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.metrics.sampling import draw_noise, generate
from ppcd.networks.generators import Generator
from ppcd.networks.io import load_generator
from ppcd.records import GENERATOR, read_run, read_unsealed
from ppcd.training.config import runs_root
from ppcd.training.recipes import TEACHER

COLUMNS = 10  # at most; images in a row
STEPS = 9  # of an interpolation, both ends included
EVERY = "every class"
load = cache(load_generator)


def find_runs(profile: str, seed: int) -> dict[str, dict[str, Any]]:
    """Recipe -> the record of its complete run of this seed, the teacher first; the latest where there are several.

    Raises:
        PpcdError: no teacher, or no student, or a run that was changed.
    """
    folders = runs_root(profile).glob(f"*-s{seed}-????????")
    found = [read_run(each) for each in folders if (read_unsealed(each) or {}).get("status") == "complete"]
    found.sort(key=lambda record: (record["recipe"] != TEACHER, record["recipe"], record["provenance"]["finished"]))
    records = {record["recipe"]: record for record in found}
    if TEACHER not in records or len(records) == 1:
        raise PpcdError(
            f"profile {profile} has no teacher and student of seed {seed}; take profile mnist or cifar10-lite, seed 0, "
            f"which come with the repository, or train them: make reproduce PROFILE={profile} SEEDS={seed},"
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
    """Images in [0, 1]; the generator takes the first `dim_z` entries of the noise."""
    return generate(G, z[:, : G.dim_z].contiguous(), labels).float() / 255  # type: ignore[misc]


def between(
    G: nn.Module, ends: Float[Tensor, "2 noise"], start: int, end: int, steps: Float[Tensor, " step"]
) -> Float[Tensor, "step 3 h w"]:
    """Images in [0, 1] from one noise vector and class, t = 0, to the others, t = 1; see `paper.artifacts.interpolation`.

    Class embeddings are interpolated on the line, noise on the arc between the entries that the generator takes.
    """
    mixed, labels = between_classes(G, start, end, steps)
    first, last = ends[:, : G.dim_z]  # type: ignore[misc]
    return images(mixed, slerp(first, last, steps), labels)


class Playground:
    """The controls and what they draw; the student and the truncation are the same everywhere."""

    def __init__(self, profile: str, seed: int) -> None:
        self.profile, self.records = profile, find_runs(profile, seed)
        students = [recipe for recipe in self.records if recipe != TEACHER]
        classes = self.records[TEACHER]["config"]["profile"]["num_classes"]
        known = self.records[TEACHER]["data"]["classes"]
        self.names = known if isinstance(known, list) else [f"class {label}" for label in range(classes)]
        numbered = [(name, label) for label, name in enumerate(self.names)]
        first = "ppcd" if "ppcd" in students else students[0]
        self.student = Dropdown(options=students, value=first, description="student")
        self.truncation = _slider("truncation", 1.0, 0.05)
        self.label = Dropdown(options=[(EVERY, -1), *numbered], value=-1, description="class")
        self.noise = _seed("noise seed", 0)
        self.start = Dropdown(options=numbered, value=min(3, classes - 2), description="from class")
        self.end = Dropdown(options=numbered, value=min(8, classes - 1), description="to class")
        self.noises = _seed("from noise", 0), _seed("to noise", 0)
        self.t = _slider("t", 0.5, 0.0)

    def classes(self) -> None:
        """Show teacher and student above each other, a column a class, or one class with other noise in each column."""
        _panel(self._classes, [self.student, self.label, self.noise, self.truncation])

    def interpolation(self) -> None:
        """Show the way from one class and noise vector to others, and the image at t next to it."""
        _panel(self._between, [self.student, self.start, self.end, *self.noises, self.truncation, self.t])

    def sizes(self) -> None:
        """Show parameters, MACs and milliseconds, and how many channels each layer kept."""
        _panel(self._sizes, [self.student])

    def _pair(self) -> dict[str, Generator]:
        """Title -> generator of the teacher and the student."""
        pair = {"teacher": self.records[TEACHER], self.student.value: self.records[self.student.value]}
        return {title: load(runs_root(self.profile) / record["id"] / GENERATOR) for title, record in pair.items()}

    def _noise(self, G: Sequence[Generator], count: int, seed: int) -> Float[Tensor, "count noise"]:
        return truncate(draw_noise(count, max(each.dim_z for each in G), seed), self.truncation.value)

    def _line(self) -> str:
        """What stands below each picture."""
        return f"profile {self.profile} · seed {self.records[TEACHER]['seed']} · truncation {self.truncation.value:g}"

    def _classes(self) -> list[object]:
        pair, every = self._pair(), self.label.value < 0
        count = min(COLUMNS, len(self.names)) if every else COLUMNS
        labels = torch.arange(count) if every else torch.full((count,), self.label.value)
        z = self._noise([*pair.values()], 1 if every else count, self.noise.value).expand(count, -1)
        columns = self.names[:count] if every else [f"$z_{{{index + 1}}}$" for index in range(count)]
        made = torch.cat([images(G, z, labels) for G in pair.values()])
        what = "one noise vector" if every else f"class {self.names[self.label.value]}"
        return [_picture(f"{self._line()} · {what}, seed {self.noise.value}", (made, [*pair], columns))]

    def _between(self) -> list[object]:
        pair, (start, end) = self._pair(), (self.start.value, self.end.value)
        ends = torch.cat([self._noise([*pair.values()], 1, seed.value) for seed in self.noises])
        ways = torch.linspace(0, 1, STEPS, dtype=torch.float64), torch.tensor([self.t.value], dtype=torch.float64)
        strip, chosen = (torch.cat([between(G, ends, start, end, way) for G in pair.values()]) for way in ways)
        said = " to ".join(
            f"class {self.names[label]}, noise {seed.value}" for label, seed in zip((start, end), self.noises, strict=True)
        )
        steps = [f"{t:.3g}" for t in ways[0].tolist()]
        panels = (strip, [*pair], steps), (chosen, ["", ""], [f"t = {self.t.value:g}"])
        return [_picture(f"{self._line()} · {said}", *panels)]

    def _sizes(self) -> list[object]:
        rows = []
        for title, G in self._pair().items():
            size = complexity(G)
            alone, batch = (1000 * seconds_per_batch(G, batch=n, repeats=9)["seconds_per_batch"] / n for n in (1, 64))
            counted = {"parameters": size.params, "MACs": size.macs}
            shown = {name: write_number(count, "count") for name, count in counted.items()}
            rows.append({"": title, **shown, "ms alone": f"{alone:.2f}", "ms in a batch of 64": f"{batch:.3f}"})
        table = pd.DataFrame(rows).to_html(index=False, border=0)
        return [HTML(table), _encoded(_kept(self.records[self.student.value]), "kept channels of each layer")]


def _seed(name: str, value: int) -> IntSlider:
    return IntSlider(value, 0, 99, description=name, continuous_update=False)


def _slider(name: str, value: float, least: float) -> FloatSlider:
    return FloatSlider(value, min=least, max=1.0, step=0.05, description=name, continuous_update=False)


def _panel(draw: Callable[[], Sequence[object]], controls: Sequence[Widget]) -> None:
    """Show what is drawn, and the controls that draw it again in its place."""
    shown = [display(each, display_id=True) for each in draw()]

    def again(_: object) -> None:
        for handle, each in zip(shown, draw(), strict=True):
            handle.update(each)

    for control in controls:
        control.observe(again, "value")
    display(HBox(controls, layout=Layout(flex_flow="row wrap")))


def _encoded(figure: Figure, alt: str) -> Image:
    return Image(data=figures.encoded(figure), alt=alt)


def _picture(line: str, *panels: tuple[Tensor, Sequence[str], Sequence[str]]) -> Image:
    """Panels of images next to each other, each with the labels of its rows and columns; the line below."""
    widths = [len(columns) for _, _, columns in panels]
    with matplotlib.rc_context(figures.STYLE):
        figure = figures.new_figure(0.75 * sum(widths) + 1.2, 2.1)
        figure.set_layout_engine("compressed")  # panels of images have an aspect
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0], panels, strict=True):
            figures.show_tiles(axes, *panel)
        figure.supxlabel(line, fontsize=6, color="0.35", x=0.99, ha="right")
    return _encoded(figure, f"images of the teacher above those of the student; {line}")


def _kept(record: dict[str, Any]) -> Figure:
    """The channels that each layer had and kept."""
    with matplotlib.rc_context(figures.STYLE):
        figure, masks = figures.new_figure(6, 2), record["masks"]
        axes = figure.subplots()
        axes.set_title(f"{record['recipe']}: channels kept of each layer")
        if not masks:
            figures.not_run(axes, "nothing was pruned")
        layers = [mask["layer"].replace("blocks.", "block ").replace(".", "\n") for mask in masks]
        axes.bar(layers, [mask["channels"] for mask in masks], color="0.88")
        bars = axes.bar(layers, [mask["kept"] for mask in masks], color=figures.PALETTE[0])
        axes.bar_label(bars, [f"{mask['kept']} of {mask['channels']}" for mask in masks])
    return figure
