"""What watches a training: progress bar, history files, progress file. The loop itself logs nothing.

A GPU works behind Python's back; turning one of its tensors into a number makes Python wait. So losses stay
tensors in the state and become numbers only when a callback shows or writes them.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppcd import paths
from ppcd.method.masks import ChannelMask
from ppcd.progress import Progress
from ppcd.runs.history import HISTORY_COLUMNS, MASK_COLUMNS, QUANTILES, HistoryWriter, Value
from ppcd.runs.provenance import utc_now

Clock = Callable[[], float]


@dataclass
class TrainingState:
    """Where a training stands; the trainer changes it, callbacks read it."""

    iteration: int  # steps done
    total: int
    phase: str  # "train"; "prune" and "distil" in two-step training
    seconds: float = 0.0  # of training, those before a resumption included
    rate: float = 0.0  # images per second, since this process began
    images: int = 0  # of one step
    losses: Mapping[str, Tensor | float] = field(default_factory=dict)  # loss_d, loss_adv, loss_cd, loss_pp
    generator: nn.Module | None = None
    lambdas: Mapping[str, float] = field(default_factory=dict)  # lambda (eq. 5) of each mask layer now
    closed_at: Mapping[str, Mapping[int, int]] = field(default_factory=dict)  # layer -> channel -> iteration

    def loss_values(self) -> dict[str, float]:
        """The losses as numbers; waits for the device once."""
        if not self.losses:
            return {}
        values = [torch.as_tensor(value).detach().float() for value in self.losses.values()]
        device = next((value.device for value in values if value.device.type != "cpu"), "cpu")
        return dict(zip(self.losses, torch.stack([value.to(device) for value in values]).tolist(), strict=True))

    @property
    def masks(self) -> list[tuple[str, float, bool]]:
        """(layer, pruned fraction c/n, frozen) of every mask layer, first to last; waits for the device."""
        return [(name, mask.pruned_ratio(), mask.frozen) for name, mask in self._masks().items()]

    def mask_rows(self, after: int = 0) -> list[dict[str, Value]]:
        """One row of masks.csv per mask layer, with quantiles of its w; waits for the device.

        Args:
            after: the iteration of the row before. `closed` lists the channels that closed since, first to last.
        """
        rows: list[dict[str, Value]] = []
        for name, mask in self._masks().items():
            ratio = mask.pruned_ratio()
            levels = torch.tensor(list(QUANTILES.values()))
            quantiles = torch.quantile(mask.weight.detach().float().cpu(), levels).tolist()
            closed = [
                str(channel) for channel, at in self.closed_at.get(name, {}).items() if after < at <= self.iteration
            ]
            rows.append(
                {
                    "iteration": self.iteration,
                    "layer": name,
                    "lambda": self.lambdas.get(name),
                    "ratio": ratio,
                    "kept": mask.channels - round(ratio * mask.channels),
                    "frozen": mask.frozen,
                    **dict(zip(QUANTILES, quantiles, strict=True)),
                    "closed": " ".join(closed),
                }
            )
        return rows

    def pruned(self) -> float | None:
        """Pruned channels / channels of all mask layers; None without masks. Waits for the device."""
        masks = self._masks().values()
        channels = sum(mask.channels for mask in masks)
        return sum(mask.pruned_ratio() * mask.channels for mask in masks) / channels if channels else None

    def _masks(self) -> dict[str, ChannelMask]:
        named = self.generator.named_modules() if self.generator is not None else ()
        return {name: module for name, module in named if isinstance(module, ChannelMask)}


class Callback:
    """Called by the trainer. `on_end` is called whatever happened: iteration < total means stopped."""

    def on_start(self, state: TrainingState) -> None:
        """Before the first step; state.iteration > 0 means resumed."""

    def on_step(self, state: TrainingState) -> None:
        """After every step."""

    def before_checkpoint(self, state: TrainingState) -> None:
        """Before a checkpoint is written: what belongs to it must be on the disk by then."""

    def on_checkpoint(self, state: TrainingState) -> None:
        """After a checkpoint was written."""

    def on_end(self, state: TrainingState) -> None:
        """After the last step, or the one that failed."""


class ProgressBar(Callback):
    """Shows iterations, the time left, images per second, the losses and each mask layer's pruned fraction.

    Args:
        title: what is trained.
    """

    _progress: Progress

    def __init__(self, title: str = "") -> None:
        self.title = title

    def on_start(self, state: TrainingState) -> None:
        self._progress = Progress(state.total, state.iteration)
        begun = "resumed" if state.iteration else "started"
        self._progress.say(f"{self.title} {begun} at iteration {state.iteration} of {state.total}".strip())

    def on_step(self, state: TrainingState) -> None:
        if self._progress.due():
            self._show(state)

    def on_end(self, state: TrainingState) -> None:
        self._show(state)
        self._progress.close()

    def _show(self, state: TrainingState) -> None:
        losses = [f"{name.removeprefix('loss_')} {value:.2f}" for name, value in state.loss_values().items()]
        pruned = [f"{ratio:.0%}{'*' if frozen else ''}" for _, ratio, frozen in state.masks]  # * where it is final
        details = [f"{state.rate:.0f} images/s", *losses, *([f"pruned {' '.join(pruned)}"] if pruned else [])]
        self._progress.show(state.iteration, f"{self.title} {state.phase}".strip(), ", ".join(details))


class HistoryLogger(Callback):
    """Writes history.csv and, for masked generators, masks.csv: every `every` iterations and at the last one.

    A resumed run goes on in the same files; rows behind its checkpoint are dropped first. Images per second are those
    since the last row: the history shows how a training speeds up as channels freeze and leave it.
    """

    def __init__(self, directory: Path, every: int) -> None:
        self.directory, self.every = directory, every
        self._history: HistoryWriter | None = None
        self._masks: HistoryWriter | None = None
        self._last = (0, 0.0)  # iteration and seconds of the last row

    def on_start(self, state: TrainingState) -> None:
        self._last = (state.iteration, state.seconds)
        resumed = state.iteration or None
        self._history = HistoryWriter(self.directory / "history.csv", HISTORY_COLUMNS, resumed)
        masks = self.directory / "masks.csv"
        if state.masks or (resumed and masks.is_file()):  # the second step of two has no masks any more
            self._masks = HistoryWriter(masks, MASK_COLUMNS, resumed)

    def on_step(self, state: TrainingState) -> None:
        if state.iteration % self.every and state.iteration != state.total:
            return
        if self._history is not None:
            self._history.append([self._row(state)])
        if self._masks is not None:
            self._masks.append(state.mask_rows((state.iteration - 1) // self.every * self.every))

    def before_checkpoint(self, state: TrainingState) -> None:
        for writer in (self._history, self._masks):
            if writer is not None:
                writer.sync()

    def _row(self, state: TrainingState) -> dict[str, Value]:
        iteration, seconds = self._last
        self._last = (state.iteration, state.seconds)
        return {
            "iteration": state.iteration,
            "phase": state.phase,
            "seconds": state.seconds,
            "images_per_second": (state.iteration - iteration) * state.images / max(state.seconds - seconds, 1e-9),
            "pruned": state.pruned(),
            **state.loss_values(),
        }


class ProgressFile(Callback):
    """Keeps progress.json for other processes: at most one write per `interval` seconds.

    iteration, total, phase, rate (images/s), eta (seconds), losses, masks ([layer, pruned fraction, frozen]),
    checkpoint (the iteration of the last one, None before the first), updated (UTC).
    """

    def __init__(self, directory: Path, interval: float = 1.0, clock: Clock = time.monotonic) -> None:
        self.path, self.clock = directory / "progress.json", clock
        self.interval = interval
        self._written = 0.0
        self._began, self._first = 0.0, 0  # the clock and the iteration at the start of this process
        self._checkpoint: int | None = None

    def on_start(self, state: TrainingState) -> None:
        self._began, self._first = self.clock(), state.iteration
        self._checkpoint = state.iteration or None
        self._write(state)

    def on_step(self, state: TrainingState) -> None:
        if self.clock() - self._written >= self.interval:
            self._write(state)

    def on_checkpoint(self, state: TrainingState) -> None:
        self._checkpoint = state.iteration
        self._write(state)

    def on_end(self, state: TrainingState) -> None:
        self._write(state)

    def _write(self, state: TrainingState) -> None:
        self._written = self.clock()
        losses, done = state.loss_values(), state.iteration - self._first
        content: dict[str, Any] = {
            "iteration": state.iteration,
            "total": state.total,
            "phase": state.phase,
            "rate": state.rate,
            "eta": (self._written - self._began) / done * (state.total - state.iteration) if done else None,
            "losses": {name: value if isfinite(value) else None for name, value in losses.items()},
            "masks": state.masks,
            "checkpoint": self._checkpoint,
            "updated": utc_now(),
        }
        paths.write_atomic(self.path, json.dumps(content) + "\n")
