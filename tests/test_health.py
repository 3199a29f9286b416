"""What is noticed of a training that goes wrong, where it is named, and where it ends the training."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_trainer
import together
import torch
from reference import refused
from test_trainer import everything, image_set, teacher_generator
from torch import Tensor

import ppcd.method.ema
import ppcd.runs.health
import ppcd.runs.train
from paper.study import Study
from ppcd.records import read_run
from ppcd.runs.callbacks import TrainingState
from ppcd.runs.directory import Run
from ppcd.runs.health import HealthCheck, Standstill
from ppcd.runs.loop import fit
from ppcd.runs.score_curve import Best
from ppcd.runs.train import main, train_run
from ppcd.training.config import run_config
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import Recipe, get_recipe
from ppcd.training.trainer import Trainer

SMOKE = get_profile("smoke")
PROFILE = replace(test_trainer.PROFILE, iterations=60, teacher_iterations=60, flip=False, best_samples=None)


def trainer_of(recipe: str | Recipe, profile: Profile = PROFILE, **changes: Any) -> Trainer:
    recipe = replace(get_recipe(recipe) if isinstance(recipe, str) else recipe, **changes)
    teacher = teacher_generator() if recipe.needs_teacher else None
    return together.make_trainer(profile, recipe, 0, image_set(), teacher)


def kinds(trainer: Trainer) -> list[str]:
    return [warning["kind"] for warning in trainer.notes["warnings"]]


class Course:
    """A training of 1,000 iterations without steps: the watch is told of losses, and looks at the networks."""

    def __init__(self, recipe: str = "sagan") -> None:
        self.trainer = trainer_of(recipe, replace(PROFILE, iterations=1000))
        self.watch = HealthCheck(self.trainer, "own-s0-0")
        self.state = TrainingState(0, 1000, "train")
        self.watch.on_start(self.state)

    def blind(self, blind: bool) -> None:
        """From here on the generator does not see its noise, or sees it again."""
        generator = self.trainer.generator
        forward = type(generator).forward
        generator.forward = lambda z, y, _: forward(generator, z * (not blind), y)

    def go(self, until: int, loss_d: Callable[[int], float] = lambda iteration: 1.0) -> list[dict[str, Any]]:
        while self.state.iteration < until:
            self.state.iteration += 1
            self.trainer.iteration = self.state.iteration
            self.trainer.generator.linear.bias.data += 1e-6  # a step moves something
            self.state.losses = {"loss_d": torch.tensor(loss_d(self.state.iteration))}
            self.watch.on_step(self.state)
        return self.trainer.notes["warnings"]


# ------------------------------------------------------------ looking changes nothing


@pytest.mark.parametrize("recipe", ["ppcd", "distill-nas"])
def test_a_watched_training_is_the_same_to_the_bit(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppcd.baselines.nas.frechet_score", lambda *_: lambda widths: float(sum(widths)))
    profile, ends = replace(PROFILE, iterations=12), []
    for watched in (False, True):
        trainer = trainer_of(recipe, profile)
        best = Best(trainer, tmp_path, lambda generator: (1.0, 1.0), samples=4)
        watchers = [HealthCheck(trainer, "own"), best] if watched else []
        before = torch.get_rng_state()
        fit(trainer, tmp_path / f"{watched}.pt", watchers)
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(everything(trainer) | {"watched": None})
    assert ends[0] == ends[1]


# ------------------------------------------------------------ a collapsed generator


def test_a_generator_whose_samples_are_all_alike_is_noticed_and_so_is_its_recovery(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    course = Course()
    assert course.go(100) == []
    course.blind(True)
    assert course.go(160) == []  # not for long enough
    (warning,) = course.go(180)
    assert warning["iteration"] == 180 and warning["kind"] == "collapsed" and "until" not in warning
    assert "differ by 0.0% of what real images differ by" in warning["text"]
    assert course.go(300) == [warning]  # once
    course.blind(False)
    assert course.go(400) == [warning | {"until": 320}]
    assert caplog.messages == [f"own-s0-0, iteration 180: {warning['text']}"]  # on which to act; the rest informs
    assert capsys.readouterr().err == "own-s0-0, iteration 320: no longer so (collapsed)\n"


# ------------------------------------------------------------ a discriminator that has won


def test_a_discriminator_that_has_won_is_noticed_but_the_training_goes_on() -> None:
    """It may lose what it won, and win again."""
    course = Course()
    course.go(300)
    assert course.go(400, lambda iteration: 0.0) == []
    (warning,) = course.go(420, lambda iteration: 0.0)
    assert (warning["iteration"], warning["kind"]) == (420, "discriminator")
    assert "has won: its loss was 0 in 60% of the last 200 steps" in warning["text"]
    found = course.go(1000, lambda iteration: float(520 < iteration <= 700))
    assert [(each["iteration"], each.get("until")) for each in found] == [(420, 620), (820, None)]


def test_a_method_without_a_discriminator_has_none_that_wins() -> None:
    assert Course("distill-only").go(400, lambda iteration: 0.0) == []


# ------------------------------------------------------------ where nothing can change any more


def dead(recipe: str | Recipe = "sagan", profile: Profile = PROFILE, **changes: Any) -> Trainer:
    """Every pixel is 1 exactly, where the slope of tanh is 0; D has won, and knows it by far."""
    trainer = trainer_of(recipe, profile, **changes)
    trainer.generator.output_conv.bias.data.fill_(1e3)

    class Margin(torch.nn.Module):
        def forward(self, images: Tensor, y: Tensor) -> Tensor:
            return self.win * (0.9 - images.mean((1, 2, 3))) + self.weight * (self.win == 0)

        def __init__(self) -> None:
            super().__init__()
            self.win, self.weight = 1e3, torch.nn.Parameter(torch.tensor(3.0))

    trainer.discriminator = Margin()
    trainer.optimizer_d = torch.optim.Adam(trainer.discriminator.parameters(), lr=1e-3, betas=(0.0, 0.999))
    return trainer


def watched_fit(trainer: Trainer, checkpoint: Path, stop_at: int | None = None) -> None:
    fit(trainer, checkpoint, [HealthCheck(trainer, "own")], stop_at=stop_at)


def test_a_training_in_which_nothing_can_change_ends_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    trainer, checkpoint = dead(), tmp_path / "checkpoint.pt"
    with refused("training stopped at iteration 30: since iteration 20", "no weight has moved", "checkpoint is kept"):
        watched_fit(trainer, checkpoint)
    assert kinds(trainer) == ["collapsed", "discriminator"]
    whole = trainer.notes["warnings"]

    # Stopped before, and gone on: the same
    first = dead()
    watched_fit(first, checkpoint, stop_at=13)
    kept = checkpoint.read_bytes()
    again = dead()
    with pytest.raises(Standstill) as raised:
        watched_fit(again, checkpoint)
    assert str(raised.value).startswith("training stopped at iteration 30: since iteration 20")
    assert again.notes["warnings"] == whole and checkpoint.read_bytes() == kept


@pytest.mark.parametrize("change", ["a gradient of D", "an open mask", "a second phase"])
def test_a_training_in_which_something_can_change_goes_on(change: str, tmp_path: Path) -> None:
    """The end would come at iteration 30, at 40 of the longer one whose second phase begins at 60."""
    recipe = {"an open mask": "ppcd-no-cd", "a second phase": "l1-sagan"}.get(change, "sagan")
    changes = {"mask_rule": "paper-sgd", "alpha": 0.9} if change == "an open mask" else {}
    trainer = dead(recipe, replace(PROFILE, iterations=120) if change == "a second phase" else PROFILE, **changes)
    if change == "a gradient of D":
        trainer.discriminator.win = 0.0
    end = 45 if change == "a second phase" else 35
    fit(trainer, tmp_path / "checkpoint.pt", [HealthCheck(trainer, "own")], stop_at=end)
    assert trainer.iteration == end
    assert not any(mask.frozen for mask in trainer.generator.masks().values())


# ------------------------------------------------------------ in the log and in run.json


@pytest.fixture
def blows_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """From iteration 15 on the loss of D is not a number; undone by the test."""
    step = Trainer.step

    def broken(trainer: Trainer) -> dict[str, Tensor]:
        found = step(trainer)
        return found | {"loss_d": found["loss_d"] * torch.nan} if trainer.iteration >= 15 else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", broken)
        yield patch


def test_a_training_that_ends_before_its_end_says_so_in_run_json(
    quick: list[Any], blows_up: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config("smoke", "sagan", 0)
    run = Run(config)
    assert main(["--profile", "smoke", "--recipe", "sagan", "--device", "cpu"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ppcd: training stopped at iteration 20: loss_d is not finite")
    record = json.loads(run.path("run.json").read_text())
    assert (record["status"], record["id"], record["config"]) == ("stopped", config.id, config.resolved())
    assert record["warnings"][-1] == run.stopped
    assert run.stopped == {"iteration": 20, "kind": "non-finite", "text": line.removeprefix("ppcd: ")}

    # It is no complete run to anybody
    assert run.state == "absent" and Study.of("smoke").runs() == []
    with refused("is not complete: training stopped at iteration 20", "train it again"):
        read_run(run.directory)
    assert "training stopped at iteration 20" in Run(config).describe()

    # It can go on, and says when it is complete what was noticed
    blows_up.undo()
    blows_up.setattr(ppcd.runs.health, "WON", 1e9)  # every loss counts as 0
    train_run(config, callbacks=[])
    assert run.state == "complete" and run.stopped is None and run.read()["status"] == "complete"
    assert [each["id"] for each in Study.of("smoke").runs()] == [config.id]
    assert "discriminator" in [each["kind"] for each in run.read()["warnings"]]
