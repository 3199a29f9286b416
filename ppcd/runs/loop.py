"""The loop around the trainer's steps: resuming, watching, checkpoints, and stopping where going on is pointless."""

import io
import time
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from ppcd.base import PpcdError, TrainingStopped
from ppcd.networks.io import file_on_cpu
from ppcd.paths import write_atomic
from ppcd.runs.callbacks import Callback, TrainingState
from ppcd.training.trainer import Trainer

CHECKED_EVERY = 500  # iterations, in which several processes compare their weights


class NonFiniteLoss(TrainingStopped):
    """A loss was not finite; the last checkpoint is still good."""

    kind = "non-finite"


def save_checkpoint(trainer: Trainer, path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    write_atomic(path, buffer.getvalue())


def fit(
    trainer: Trainer,
    checkpoint: Path,
    callbacks: Iterable[Callback] = (),
    checkpoint_every: float = 60.0,
    stop_at: int | None = None,
) -> TrainingState:
    """Train to the end, from the checkpoint if there is one; where it stands then.

    Of several processes the first one saves and shows; all of them read the checkpoint.

    Args:
        checkpoint: file to resume from and to save to.
        checkpoint_every: seconds between two checkpoints.
        stop_at: stop (with a checkpoint) after this iteration.

    Raises:
        NonFiniteLoss: a loss is NaN or infinite; the last checkpoint is kept.
        PpcdError: the checkpoint cannot be read; processes that train together no longer agree, or do not see the
            same folder of results.
    """
    processes = trainer.processes
    watchers = list(callbacks) if processes.is_main else []
    if checkpoint.is_file():
        kept = file_on_cpu(checkpoint)
        try:
            trainer.load_state_dict(kept)
        except PpcdError as error:
            raise PpcdError(f"{checkpoint}: {error}; delete it to start the run anew") from None
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise PpcdError(
                f"{checkpoint} is not a checkpoint of this run ({said}); delete it to start the run anew"
            ) from None
    theirs = processes.agree(trainer.iteration)
    if trainer.iteration != theirs:
        raise PpcdError(
            f"the first process goes on from iteration {theirs}, this one from {trainer.iteration}: put the results "
            "where all machines see them (PPCD_RESULTS on a shared disk)"
        )
    end = trainer.total if stop_at is None else min(stop_at, trainer.total)
    state = TrainingState(trainer.iteration, trainer.total, trainer.phase, trainer.seconds)
    state.images, state.rule = trainer.budget.images, trainer.rule if trainer.phase != "distil" else None
    began, before = time.perf_counter(), trainer.seconds
    first, saved = trainer.iteration, began
    for watcher in watchers:
        watcher.on_start(state)
    try:
        while trainer.iteration < end:
            if state.stop:
                end = trainer.iteration + 1
            state.rule = trainer.rule if trainer.phase != "distil" else None
            current = trainer.step()
            now = time.perf_counter()

            # What the callbacks see
            trainer.seconds = before + now - began
            state.iteration, state.phase = trainer.iteration, trainer.phase
            state.losses, state.seconds = dict(current), trainer.seconds
            state.rate = (trainer.iteration - first) * state.images / max(now - began, 1e-9)

            # A loss or a network that is not finite ends the run before it is saved
            if trainer.iteration % 10 == 0 or trainer.iteration == end or now - saved > checkpoint_every:
                check_finite(trainer, current, checkpoint)
            if trainer.iteration % CHECKED_EVERY == 0 or trainer.iteration == end:
                processes.check_same(trainer.networks)
            for watcher in watchers:
                watcher.on_step(state)

            # Checkpoint
            if now - saved > checkpoint_every or trainer.iteration == end:
                trainer.last = state.loss_values()
                for watcher in watchers:
                    watcher.before_checkpoint(state)
                if processes.is_main:
                    save_checkpoint(trainer, checkpoint)
                saved = time.perf_counter()
                for watcher in watchers:
                    watcher.on_checkpoint(state)
    finally:
        for watcher in watchers:
            watcher.on_end(state)
    return state


def check_finite(trainer: Trainer, current: dict[str, Tensor], checkpoint: Path) -> None:
    """Raise NonFiniteLoss, naming what it is, if a loss or a network's weights are not finite."""
    values = {name: loss.float() for name, loss in current.items()}
    for name, network in trainer.networks.items():
        values[f"the {name}"] = torch.stack(torch._foreach_norm(list(network.parameters()))).sum()
    finite = torch.isfinite(torch.stack(list(values.values()))).tolist()
    if not all(finite):
        bad = ", ".join(name for name, good in zip(values, finite, strict=True) if not good)
        kept = f"the last good checkpoint is {checkpoint.name}" if checkpoint.is_file() else "no checkpoint yet"
        raise NonFiniteLoss(
            f"training stopped at iteration {trainer.iteration}: {bad} is not finite ({kept}); "
            "lower the learning rate or take another mask rule"
        )
