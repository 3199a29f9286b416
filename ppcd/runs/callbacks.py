"""What a training reports: progress bar, history files, progress file. The loop itself logs nothing.

A GPU works while Python goes on; turning one of its tensors into a number makes Python wait. So losses stay tensors
in the state and become numbers only when a callback shows or writes them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ppcd import paths
from ppcd.method.earlier_rules import MaskRule
from ppcd.method.schedule import GradualRule
from ppcd.progress import Progress, say
from ppcd.runs.history import HISTORY_COLUMNS, MASK_COLUMNS, QUANTILES, HistoryWriter, Value


@dataclass
class TrainingState:
    """Where a training stands; the loop changes it, callbacks read it. What is not a field waits for the device."""

    iteration: int  # steps done
    total: int
    phase: str  # "train"; "prune" and "distil" in two-step training
    seconds: float = 0.0  # of training, those before a resumption included
    rate: float = 0.0  # images per second, since this process began
    images: int = 0  # of one step
    losses: Mapping[str, Tensor | float] = field(default_factory=dict)  # loss_d, loss_adv, loss_cd, loss_pp
    rule: MaskRule | GradualRule | None = None  # of the masks that the last step had
    stop: bool = False  # a callback's wish, in a training by one process: one more step, a checkpoint, and no more

    def loss_values(self) -> dict[str, float]:
        """The losses as numbers, asked of the device at once."""
        if not self.losses:
            return {}
        values = [torch.as_tensor(value).detach().float() for value in self.losses.values()]
        device = next((value.device for value in values if value.device.type != "cpu"), "cpu")
        return dict(zip(self.losses, torch.stack([value.to(device) for value in values]).tolist(), strict=True))

    @property
    def masks(self) -> list[tuple[str, float, bool]]:
        """(layer, pruned fraction c/n, frozen) of every mask layer, first to last."""
        masks = self.rule.masks if self.rule else {}
        return [(name, mask.pruned_ratio(), mask.frozen) for name, mask in masks.items()]

    def mask_rows(self, after: int = 0) -> list[dict[str, Value]]:
        """One row of masks.csv per mask layer, with quantiles of its w.

        Args:
            after: the iteration of the row before. `closed` lists the channels that closed since, first to last.
        """
        if self.rule is None:
            return []
        rows: list[dict[str, Value]] = []
        levels = torch.tensor(QUANTILES)
        closed_at = self.rule.closed_at if isinstance(self.rule, GradualRule) else {}
        for name, mask in self.rule.masks.items():
            ratio = mask.pruned_ratio()
            quantiles = torch.quantile(mask.weight.detach().float().cpu(), levels).tolist()
            closed = [channel for channel, at in closed_at.get(name, {}).items() if after < at <= self.iteration]
            kept = mask.channels - round(ratio * mask.channels)
            row: list[Value] = [self.iteration, name, self.rule.lambdas[name], ratio, kept, mask.frozen, *quantiles]
            rows.append(dict(zip(MASK_COLUMNS, [*row, " ".join(map(str, closed))], strict=True)))
        return rows

    def pruned(self) -> float | None:
        """Pruned channels / channels of all mask layers; None without masks."""
        masks = self.rule.masks.values() if self.rule else ()
        channels = sum(mask.channels for mask in masks)
        return sum(mask.pruned_ratio() * mask.channels for mask in masks) / channels if channels else None


class Callback:
    """Called by the trainer. `on_end` is called whatever happened: iteration < total means stopped."""

    def on_start(self, state: TrainingState) -> None: ...  # before the first step; state.iteration > 0 means resumed
    def on_step(self, state: TrainingState) -> None: ...  # after every step
    def before_checkpoint(self, state: TrainingState) -> None: ...  # what belongs to it must be on the disk by then
    def on_checkpoint(self, state: TrainingState) -> None: ...  # after it was written
    def on_end(self, state: TrainingState) -> None: ...  # after the last step, or the one that failed


class ProgressBar(Callback):
    """Shows iterations, the time left, images per second, the losses and each mask layer's pruned fraction.

    Args:
        before, after: iterations of the training before or after it, which the bar and the time left also count.
    """

    _progress: Progress

    def __init__(self, title: str = "", before: int = 0, after: int = 0) -> None:
        self.title = f"{2 if before else 1} of 2: {title}" if before or after else title
        self.before, self.after = before, after

    def on_start(self, state: TrainingState) -> None:
        self._progress = Progress(self.before + state.total + self.after, self.before + state.iteration)
        begun = "resumed" if state.iteration else "started"
        say(f"{self.title} {begun} at iteration {state.iteration} of {state.total}".strip())

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
        self._progress.show(self.before + state.iteration, f"{self.title} {state.phase}".strip(), ", ".join(details))


class HistoryLogger(Callback):
    """Writes history.csv and, for masked generators, masks.csv: every `every` iterations and at the last one.

    masks.csv also has a row of the step that takes the masks out (two-step PPCD-GAN). A resumed run goes on in the same
    files; rows after its checkpoint are dropped first. Images per second are those since the last row: the history
    shows how a training speeds up as channels freeze and leave it.
    """

    _history: HistoryWriter
    _masks: HistoryWriter | None = None
    _last: tuple[int, float]  # iteration and seconds of the last row
    _phase: str

    def __init__(self, directory: Path, every: int) -> None:
        self.directory, self.every = directory, every

    def on_start(self, state: TrainingState) -> None:
        self._last, self._phase = (state.iteration, state.seconds), state.phase
        resumed = state.iteration or None
        self._history = HistoryWriter(self.directory / "history.csv", HISTORY_COLUMNS, resumed)
        if state.rule is not None:
            self._masks = HistoryWriter(self.directory / "masks.csv", MASK_COLUMNS, resumed)

    def on_step(self, state: TrainingState) -> None:
        due = state.iteration % self.every == 0 or state.iteration == state.total
        if due:
            iterations, seconds = state.iteration - self._last[0], state.seconds - self._last[1]
            row: dict[str, Value] = {name: getattr(state, name) for name in ("iteration", "phase", "seconds")}
            row["images_per_second"] = iterations * state.images / max(seconds, 1e-9)
            self._history.append([row | {"pruned": state.pruned(), **state.loss_values()}])
            self._last = (state.iteration, state.seconds)
        if self._masks is not None and (due or state.phase != self._phase):
            self._masks.append(state.mask_rows((state.iteration - 1) // self.every * self.every))
        self._phase = state.phase

    def before_checkpoint(self, state: TrainingState) -> None:
        self._history.sync()
        if self._masks is not None:
            self._masks.sync()


class ProgressFile(Callback):
    """Keeps progress.json for other processes, at most one write a second: iteration, total, and checkpoint, the
    iteration of the last one (None before the first).
    """

    _written = 0.0
    _checkpoint: int | None

    def __init__(self, directory: Path) -> None:
        self.path = directory / "progress.json"

    def on_start(self, state: TrainingState) -> None:
        self._checkpoint = state.iteration or None
        self._write(state)

    def on_step(self, state: TrainingState) -> None:
        if time.monotonic() - self._written >= 1:
            self._write(state)

    def on_checkpoint(self, state: TrainingState) -> None:
        self._checkpoint = state.iteration
        self._write(state)

    def on_end(self, state: TrainingState) -> None:
        self._write(state)

    def _write(self, state: TrainingState) -> None:
        self._written = time.monotonic()
        content = {"iteration": state.iteration, "total": state.total, "checkpoint": self._checkpoint}
        paths.write_atomic(self.path, json.dumps(content) + "\n")
