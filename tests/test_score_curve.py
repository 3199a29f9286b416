"""The best generator by Fréchet distance: which it is, and that it survives whatever happens to the training."""

import csv
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import refused
from test_health import PROFILE, SMOKE, trainer_of
from test_trainer import Stop, StopAt, everything

from ppcd.networks.generators import Generator
from ppcd.networks.io import load_generator
from ppcd.records import file_hash
from ppcd.runs.callbacks import Callback, TrainingState
from ppcd.runs.loop import fit
from ppcd.runs.score_curve import Best, make_score
from ppcd.runs.train import train_run
from ppcd.training.config import run_config
from ppcd.training.trainer import Trainer

SHORT = replace(PROFILE, iterations=30)
pytestmark = pytest.mark.usefixtures("few_batches")


def light(generator: Generator) -> tuple[float, float]:
    """In place of a Fréchet distance: of some images, how light they are."""
    z = torch.randn(4, generator.dim_z, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = generator.eval()(z, torch.arange(4) % generator.num_classes)
    return images.abs().mean().item(), 1.0


def fixed(*distances: float) -> Callable[[Generator], tuple[float, float]]:
    """These scores, one after the other."""
    left = list(distances)
    return lambda generator: (left.pop(0), 2.0)


def best_at_20(trainer: Trainer) -> Callable[[Generator], tuple[float, float]]:
    """A distance with its minimum there, and a score that depends on every weight."""
    return lambda generator: (abs(trainer.iteration - 20.0), light(generator)[0])


def best_of(trainer: Trainer, directory: Path, score: Any = light) -> Best:
    return Best(trainer, directory, score, samples=4)


def curve(directory: Path) -> list[dict[str, str]]:
    with (directory / "quality.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# ------------------------------------------------------------ which is kept


def test_the_best_of_the_declared_average_is_kept_besides_the_last(tmp_path: Path) -> None:
    """A smaller distance of another average does not make it the best: the declared one is the run's."""
    trainer = trainer_of("sagan", replace(PROFILE, best_samples=20))
    seen: list[dict[str, torch.Tensor]] = []
    distances = [9.0, 5.0, math.nan, 3.0, 3.0, 7.0]

    def score(generator: Generator) -> tuple[float, float]:
        seen.append(generator.state_dict())
        scored, other = divmod(len(seen) - 1, len(trainer.averages))
        return 1.0 if other else distances[scored], 2.0

    fit(trainer, tmp_path / "checkpoint.pt", [best_of(trainer, tmp_path, score)])
    about = trainer.notes["best"]
    assert {name: about[name] for name in ("iteration", "fd", "is", "samples", "file")} == {
        "iteration": 40, "fd": 3.0, "is": 2.0, "samples": 4, "file": "best.safetensors"
    }  # fmt: skip
    assert about["backbone"] == "classifier" and about["sha256"] == file_hash(tmp_path / "best.safetensors")
    rows, names = curve(tmp_path), ["ema", "1%", "2.5%", "10%"]
    assert [(row["iteration"], row["average"]) for row in rows] == [
        (str(iteration), name) for iteration in range(10, 61, 10) for name in names
    ]
    assert [row["fd"] for row in rows[::4]] == ["9", "5", "", "3", "3", "7"]
    kept = load_generator(tmp_path / "best.safetensors").state_dict()
    assert all(torch.equal(kept[name], value) for name, value in seen[12].items())
    assert not torch.equal(seen[12]["linear.weight"], seen[13]["linear.weight"])
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "best.safetensors", "quality.csv"}


@pytest.mark.parametrize("recipe", ["ppcd-no-cd", "l1-sagan"])
def test_what_the_run_cannot_deliver_is_scored_but_not_kept(recipe: str, tmp_path: Path) -> None:
    """Open masks, a phase before the pruning: larger networks, which a small distance does not make the best."""
    trainer, widths = trainer_of(recipe, SHORT), []
    if trainer.rule is not None:  # which would freeze before the first score
        step = trainer.rule.step
        trainer.rule.step = lambda iteration: step(iteration) if iteration > 14 else None  # type: ignore[method-assign]

    def score(generator: Generator) -> tuple[float, float]:
        widths.append(generator.config.hidden)
        return float(len(widths)), 2.0  # the first would be the best

    fit(trainer, tmp_path / "checkpoint.pt", [best_of(trainer, tmp_path, score)])
    finals = [row["iteration"] for row in curve(tmp_path) if row["final"] == "1"]
    assert finals == ["20", "30"] and trainer.notes["best"]["iteration"] == 20
    assert widths == [None] + [((1, 1),) * 3] * 2
    assert load_generator(tmp_path / "best.safetensors").config.hidden == ((1, 1),) * 3


# ------------------------------------------------------------ the training is left alone, and may be killed


class StopAtCheckpoint(StopAt):
    """Ends the training right after a checkpoint was written."""

    def on_step(self, state: TrainingState) -> None:
        pass

    def on_checkpoint(self, state: TrainingState) -> None:
        super().on_step(state)


@pytest.fixture(scope="module")
def straight(
    few_batches: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], bytes, list[dict[str, str]]]:
    """The end of a training that was never stopped."""
    directory, trainer = tmp_path_factory.mktemp("straight"), trainer_of("ppcd-no-cd", SHORT)
    fit(trainer, directory / "checkpoint.pt", [best_of(trainer, directory, best_at_20(trainer))])
    return finished(trainer, directory)


def finished(trainer: Trainer, directory: Path) -> tuple[dict[str, Any], bytes, list[dict[str, str]]]:
    state = everything(trainer)
    for row in state["watched"]["quality"]:
        del row["seconds"]
    return state, (directory / "best.safetensors").read_bytes(), curve(directory)


@pytest.mark.parametrize(
    ("saved", "kill"), [(15, StopAt(25)), (15, StopAtCheckpoint(20)), (None, StopAt(22))]
)  # fmt: skip
def test_a_training_that_was_killed_keeps_the_same_best(
    saved: int | None, kill: StopAt, straight: Any, tmp_path: Path
) -> None:
    """Before and after it was found; after a checkpoint that knows of a file which has not got its name yet."""

    def train(*watchers: Callback, stop_at: int | None = None) -> Trainer:
        trainer = trainer_of("ppcd-no-cd", SHORT)
        watchers = (*watchers, best_of(trainer, tmp_path, best_at_20(trainer)))
        fit(trainer, tmp_path / "checkpoint.pt", watchers, stop_at=stop_at)
        return trainer

    if saved is not None:
        train(stop_at=saved)
    with pytest.raises(Stop):
        train(kill, stop_at=kill.iteration)
    assert (tmp_path / "best.safetensors.new").is_file()
    assert finished(train(), tmp_path) == straight
    assert not (tmp_path / "best.safetensors.new").exists()


def test_what_is_not_of_the_checkpoint_is_not_taken_for_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A best generator that was changed while the training stood."""
    trainer = trainer_of("sagan")
    fit(trainer, tmp_path / "checkpoint.pt", [best_of(trainer, tmp_path, fixed(2.0))], stop_at=15)
    (tmp_path / "best.safetensors").write_bytes(b"something else")
    trainer = trainer_of("sagan")
    with caplog.at_level(logging.WARNING):
        fit(trainer, tmp_path / "checkpoint.pt", [best_of(trainer, tmp_path, fixed(4.0))], stop_at=25)
    assert "best.safetensors of iteration 10 is gone" in caplog.text
    assert (trainer.notes["best"]["iteration"], trainer.notes["best"]["fd"]) == (20, 4.0)
    assert [row["fd"] for row in curve(tmp_path)] == ["2", "4"]
    load_generator(tmp_path / "best.safetensors")


# ------------------------------------------------------------ a whole run


def test_a_run_keeps_its_best_and_says_so() -> None:
    """Real scores: of the last generator what its file scores again, under noise that is not the evaluation's."""
    profile = replace(SMOKE, name="own", best_samples=20, iterations=12, student_width=1, discriminator_width=1)
    run = train_run(run_config(profile, "ppcd-no-cd", 0), callbacks=[])
    record = run.read()
    assert {"quality.csv", "best.safetensors"} <= set(record["files"]) and isinstance(record["warnings"], list)
    rows = curve(run.directory)
    assert [(row["iteration"], row["average"], row["samples"], row["final"]) for row in rows] == [
        (iteration, average, "20", "1") for iteration in ("10", "12") for average in ("ema", "1%", "2.5%", "10%")
    ]
    assert len({row["fd"] for row in rows}) > 4 and set(record["metrics"]) == {"protocol", "ema", "raw"}
    rows = [row for row in rows if row["average"] == "ema"]
    best = min(rows, key=lambda row: float(row["fd"]))
    assert record["best"]["iteration"] == int(best["iteration"])
    assert record["best"]["fd"] == pytest.approx(float(best["fd"]), rel=1e-5)
    assert record["best"]["sha256"] == record["files"]["best.safetensors"]
    score = make_score(run.config.load_data(), profile, 20, 0, torch.device("cpu"))
    again = score(load_generator(run.path("generator.safetensors")))
    assert again == pytest.approx([float(rows[-1]["fd"]), float(rows[-1]["is"])], rel=1e-5)
    other = make_score(run.config.load_data(), profile, 20, 1, torch.device("cpu"))
    assert other(load_generator(run.path("generator.safetensors"))) != again


def test_too_few_samples_are_refused_before_the_training() -> None:
    with refused("at least 20 samples", "got 19"):
        run_config(replace(SMOKE, name="own", best_samples=19), "sagan", 0)
