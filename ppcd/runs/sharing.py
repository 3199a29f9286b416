"""The first half of a training that several runs have in common, trained once.

A network that is trained and then pruned at several alphas is the same network until it is pruned. What is shared is
the checkpoint right before the pruning, under a name that holds everything it depends on; a run that goes on from it
ends with the same numbers as one that trained its first half itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ppcd import paths
from ppcd.locks import alone
from ppcd.records import canonical_hash
from ppcd.runs import provenance
from ppcd.runs.callbacks import Callback, HistoryLogger
from ppcd.runs.config import RunConfig
from ppcd.runs.directory import Run
from ppcd.runs.loop import fit
from ppcd.training.profiles import Profile
from ppcd.training.trainer import Trainer

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.csv"


def shared_root(profile: str | Profile) -> Path:
    """results/<profile>/shared: may be deleted at any time."""
    return paths.results(profile.name if isinstance(profile, Profile) else profile) / "shared"


def shares(config: RunConfig) -> bool:
    """Whether the first half of this run does not depend on its alpha."""
    recipe = config.recipe
    return recipe.baseline is not None and recipe.baseline.kind == "l1"


def shared_directory(config: RunConfig, device: str) -> Path:
    """Where the first half of this run is: named by its configuration without alpha, the code and the device."""
    without = replace(config, recipe=replace(config.recipe, alpha=None))
    commit, _ = provenance.git_state(paths.repository())
    key = canonical_hash({"config": without.resolved(), "commit": commit, "device": device})
    base = config.recipe.name.split("-a")[0]
    return shared_root(config.profile) / f"{base}-s{config.seed}-{key[:8]}"


def share_first_half(run: Run, trainer: Trainer, checkpoint: Path, every: int, watchers: Sequence[Callback]) -> None:
    """Put the checkpoint of the first half where the run will resume from it, trained now if nobody has.

    Does nothing for a run that has a checkpoint already or shares nothing, nor with uncommitted changes, which the
    name cannot tell apart. Another process that trains the same half is waited for.

    Args:
        run: the run, locked by the caller.
        trainer: a fresh trainer of it.
        checkpoint: the run's own, not there yet.
        every: iterations between two rows of the history.
        watchers: callbacks that show the progress.
    """
    if checkpoint.is_file() or not shares(run.config) or provenance.git_state(paths.repository())[1]:
        return
    directory = shared_directory(run.config, str(trainer.device))
    before = trainer.switch_at - 1  # the next step switches
    with alone(directory / ".lock", f"is training the first half of {run.config.id}, which other runs share"):
        paths.remove_leftovers(directory)
        if before > 0:
            fit(trainer, directory / CHECKPOINT, [HistoryLogger(directory, every), *watchers], stop_at=before)
            for name in (HISTORY, CHECKPOINT):  # the checkpoint last: it is what makes the run resumable
                run.write_file(name, (directory / name).read_bytes())
