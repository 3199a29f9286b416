"""The training loop: what every loss does, pairing, resuming, and how it stops."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import together
import torch
import torch.nn.functional as F
from reference import largest_difference, refused
from torch import Tensor

from ppcd.base import PpcdError
from ppcd.data.images import ImageSet
from ppcd.method import losses
from ppcd.method.schedule import GradualSchedule
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import Generator, build_generator
from ppcd.runs.callbacks import Callback, TrainingState
from ppcd.runs.loop import NonFiniteLoss, fit, save_checkpoint
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import Recipe, get_recipe
from ppcd.training.trainer import Trainer

CLASSES = 3
TOTAL = 12
PROFILE = replace(
    get_profile("smoke"), num_classes=CLASSES, batch_size=4, iterations=TOTAL, teacher_iterations=8,
    student_width=1, discriminator_width=1, teacher_width=2, teacher_discriminator_width=1, dim_z=8, teacher_dim_z=8,
    flip=True, ema_start=2, best_samples=20,
)  # fmt: skip
REFERENCE = replace(PROFILE, average_age=None)  # the reference decay instead of a declared average
PAIRED = ("ppcd", "ppcd-no-cd", "ppcd-no-pp", "sagan", "l1-sagan", "tinygan")  # of which the last has other networks


def image_set(seed: int = 0, count: int = 10) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count) % CLASSES, ("a", "b", "c"), "noise", "0" * 64, "")


def teacher_generator(seed: int = 9) -> Generator:
    return build_generator("biggan", 32, CLASSES, width=2, dim_z=8, seed=seed).eval()


def trainer_of(recipe: str | Recipe, seed: int = 0, profile: Profile = PROFILE, **changes: Any) -> Trainer:
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    teacher = teacher_generator() if recipe.needs_teacher else None
    return together.make_trainer(profile, replace(recipe, **changes), seed, image_set(), teacher)


def plain(value: Any) -> Any:
    """Tensors as numbers, so that two states are compared with ==; float32 is exact in a Python float."""
    if isinstance(value, Tensor):
        return (str(value.dtype), list(value.shape), value.flatten().tolist())
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def everything(trainer: Trainer) -> dict[str, Any]:
    """All that the training depends on: weights, buffers, moments, masks, random generators. Not the clock."""
    state = trainer.state_dict()
    return plain({name: value for name, value in state.items() if name != "seconds"})


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


class Stop(Exception):
    pass


class StopAt(Callback):
    """Ends the training as a power failure would: no checkpoint is written."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_step(self, state: TrainingState) -> None:
        if state.iteration == self.iteration:
            raise Stop


class Record(Callback):
    """What the callbacks are told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.losses: list[dict[str, float]] = []
        self.phases: list[str] = []

    def on_start(self, state: TrainingState) -> None:
        self.events.append(("start", state.iteration))

    def on_step(self, state: TrainingState) -> None:
        self.events.append(("step", state.iteration))
        self.losses.append(state.loss_values())
        self.phases.append(state.phase)

    def on_checkpoint(self, state: TrainingState) -> None:
        self.events.append(("checkpoint", state.iteration))

    def on_end(self, state: TrainingState) -> None:
        self.events.append(("end", state.iteration))


# ------------------------------------------------------------ resuming equals not stopping


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The end of a training that was never stopped, for each recipe once."""
    ends: dict[str, dict[str, Any]] = {}

    def end_of(recipe: str) -> dict[str, Any]:
        if recipe not in ends:
            trainer = trainer_of(recipe)
            fit(trainer, tmp_path_factory.mktemp("straight") / "checkpoint.pt")
            assert trainer.iteration == trainer.total
            ends[recipe] = everything(trainer)
        return ends[recipe]

    return end_of


@pytest.mark.parametrize(
    ("recipe", "stop"),
    [
        ("ppcd", 3), ("ppcd", 5), ("ppcd", 10),  # before, while and after the masks freeze
        ("ppcd-two-step", 2), ("ppcd-two-step", 6), ("ppcd-two-step", 9),  # before, at, after the switch
        ("biggan", 3), ("sngan", 4), ("tinygan", 4), ("tinygan", 7), ("distill-only", 6),
        ("l1-sagan", 2), ("l1-sagan", 6), ("l1-biggan-a0.5", 7),  # before and after the filters go
        ("distill-nas", 5), ("distill-nas", 6),  # right before the search, and right after it
    ],
)  # fmt: skip
def test_resuming_equals_not_stopping(
    recipe: str, stop: int, tmp_path: Path, straight: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: weights, average, optimisers, masks, noise, order of the data, last losses."""
    monkeypatch.setattr("ppcd.baselines.nas.frechet_score", lambda *_: lambda widths: float(sum(widths)))
    checkpoint = tmp_path / "checkpoint.pt"
    first = trainer_of(recipe)
    fit(first, checkpoint, stop_at=stop)
    assert first.iteration == stop
    torch.manual_seed(12345)
    resumed = trainer_of(recipe)
    fit(resumed, checkpoint)
    assert resumed.iteration == resumed.total and resumed.seconds > first.seconds > 0
    found = everything(resumed)
    assert found.keys() == straight(recipe).keys()
    for part, value in straight(recipe).items():
        assert found[part] == value, part


# ------------------------------------------------------------ randomness and pairing


def test_recipes_of_one_seed_are_paired() -> None:
    """The same initial weights where both have them, the same images, labels and noise in the same order."""
    trainers = [trainer_of(recipe) for recipe in PAIRED]
    generators = [weights(trainer.generator) for trainer in trainers[:-1]]
    discriminators = [weights(trainer.discriminator) for trainer in trainers[:-1]]
    for generator in generators[1:]:  # the others have no weights that PPCD-GAN lacks
        assert {"linear.weight", "blocks.2.conv2.weight", "blocks.0.bn1.gain.weight"} <= generator.keys()
        assert all(torch.equal(value, generators[0][name]) for name, value in generator.items())
    assert all(plain(discriminator) == plain(discriminators[0]) for discriminator in discriminators[1:])
    states = []
    for _ in range(7):  # past the freezing of the masks, and over the end of two epochs
        following = [[trainer.noise.get_state(), trainer.sampler.state_dict()] for trainer in trainers]
        states += [plain(state) for state in following]
        assert states[-len(PAIRED) :] == [states[-1]] * len(PAIRED)
        for trainer in trainers:
            trainer.step()
    assert states[0] != states[-1]  # and it is not one batch for ever
    drawn = [plain([trainer.draw(), next(trainer.sampler)]) for trainer in trainers]
    assert drawn[1:] == drawn[:-1]
    other = trainer_of("ppcd", seed=1)
    assert not torch.equal(generators[0]["linear.weight"], other.generator.linear.weight)
    assert not torch.equal(discriminators[0]["linear.weight"], other.discriminator.linear.weight)
    assert plain(other.noise.get_state()) != states[0][0] and plain(other.sampler.state_dict()) != states[0][1]


def test_labels_come_as_often_as_in_the_data() -> None:
    trainer = trainer_of("sagan", profile=replace(PROFILE, batch_size=500))
    drawn = torch.cat([trainer.draw()[1] for _ in range(4)]).bincount(minlength=CLASSES) / 2000
    assert largest_difference(drawn, torch.tensor([0.4, 0.3, 0.3])) < 0.03  # 4, 3, 3 of the ten images
    assert largest_difference(drawn, torch.tensor([1 / 3] * 3)) > 0.03  # the broken case: all alike


# ------------------------------------------------------------ what a step does


def stepped(recipe: str, steps: int = 1, profile: Profile = PROFILE, **changes: Any) -> Trainer:
    trainer = trainer_of(recipe, profile=profile, **changes)
    for _ in range(steps):
        trainer.step()
    return trainer


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_generators_gradient_is_that_of_eq_8(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """L_ADV + lambda_cd L_CD on the networks as they are in G's step, by another way through autograd."""
    trainer = trainer_of("ppcd", lambda_cd=weight)
    moment: dict[str, Any] = {}
    step_d, draw = trainer.optimizer_d.step, trainer.draw

    def after_d() -> None:
        step_d()
        moment["networks"] = copy.deepcopy((trainer.generator, trainer.discriminator))

    def remember() -> tuple[Tensor, Tensor]:
        moment["drawn"] = draw()
        return moment["drawn"]

    monkeypatch.setattr(trainer.optimizer_d, "step", after_d)
    monkeypatch.setattr(trainer, "draw", remember)
    said = trainer.step()
    generator, discriminator = moment["networks"]
    z, y = moment["drawn"]
    assert trainer.teacher is not None
    fakes, features = generator(z, y, return_features=True)
    l_adv = -discriminator(fakes, y).mean()
    l_cd = losses.class_aware_distillation(trainer.teacher.features(z, y), features[1:])
    names = [name for name, _ in generator.named_parameters() if "mask" not in name]
    expected = torch.autograd.grad(l_adv + weight * l_cd, [generator.get_parameter(name) for name in names])
    assert said["loss_adv"].item() == pytest.approx(l_adv.item(), rel=1e-5)
    assert said["loss_cd"].item() == pytest.approx(l_cd.item(), rel=1e-5)
    assert not any(value.requires_grad for value in said.values())
    for name, right in zip(names, expected, strict=True):
        found = trainer.generator.get_parameter(name).grad
        assert largest_difference(found, right) <= 1e-4 * right.abs().max() + 1e-9, name


def test_the_teacher_is_left_as_it_was() -> None:
    teacher = teacher_generator()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    trainer = together.make_trainer(PROFILE, get_recipe("ppcd"), 0, image_set(), teacher)
    for _ in range(3):
        assert trainer.step()["loss_cd"] > 0
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not teacher.training and all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("adversarial", ["hinge", "minimax"])
def test_the_adversarial_loss_is_chosen_by_the_recipe(adversarial: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the formulas, on the scores that D gave: first of real and fake images, then of fake ones."""
    trainer = trainer_of("sagan", adversarial=adversarial)
    scores: list[Tensor] = []
    trainer.discriminator.register_forward_hook(lambda _, __, output: scores.append(output.detach().double()))
    said = trainer.step()
    (real, fake), again = scores[0].split(4), scores[1]
    formulas = {
        "hinge": (F.relu(1 - real).mean() + F.relu(1 + fake).mean(), -again.mean()),
        "minimax": (
            -torch.log(torch.sigmoid(real)).mean() - torch.log(1 - torch.sigmoid(fake)).mean(),
            torch.log(1 - torch.sigmoid(again)).mean(),
        ),
    }
    loss_d, loss_g = formulas.pop(adversarial)
    assert said["loss_d"].item() == pytest.approx(loss_d.item(), rel=1e-4)
    assert said["loss_adv"].item() == pytest.approx(loss_g.item(), rel=1e-4, abs=1e-6)
    ((other_d, other_g),) = formulas.values()
    assert abs(said["loss_d"] - other_d) > 1e-2 and abs(said["loss_adv"] - other_g) > 1e-2


def in_evaluation(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch statistics and power iterations stand still, so that a batch is the sum of its images."""
    for network in (trainer.generator.eval(), trainer.discriminator.eval()):
        monkeypatch.setattr(network, "train", lambda: None)


def test_accumulated_gradients_are_those_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of 2 against one of 4. Only where nothing depends on the batch: in training the batch norms
    of G see smaller batches, and the spectral norms take a power iteration more."""
    whole = trainer_of("ppcd")
    pieces = trainer_of("ppcd", profile=replace(PROFILE, batch_size=2, accumulations=2))
    noise = [whole.draw() for _ in range(2)]
    real = next(whole.sampler)
    halves = [(z[part], y[part]) for z, y in noise for part in (slice(0, 2), slice(2, 4))]
    monkeypatch.setattr(whole, "draw", iter(noise).__next__)
    monkeypatch.setattr(pieces, "draw", iter(halves).__next__)
    whole.sampler = iter([real])  # type: ignore[assignment]
    pieces.sampler = iter([(real[0][:2], real[1][:2]), (real[0][2:], real[1][2:])])  # type: ignore[assignment]
    said = []
    for trainer in (whole, pieces):
        in_evaluation(trainer, monkeypatch)
        said.append(trainer.step())
    for name, value in said[0].items():
        assert said[1][name].item() == pytest.approx(value.item(), rel=1e-4), name
    for networks in ((whole.discriminator, pieces.discriminator), (whole.generator, pieces.generator)):
        for (name, mine), theirs in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
            if mine.grad is not None:
                assert largest_difference(mine.grad, theirs.grad) < 1e-3 * mine.grad.abs().max() + 1e-7, name
                if name.endswith("conv1.weight"):  # the broken case: sums where means are asked for
                    assert largest_difference(mine.grad, 2 * theirs.grad) > 0.1 * mine.grad.abs().max()


def test_every_average_has_the_masks_of_the_trained_network() -> None:
    """While they close, and in the same step in which they freeze."""
    trainer = trainer_of("ppcd")
    while not all(mask.frozen for mask in trainer.generator.masks().values()):
        trainer.step()
        for average in trainer.averages.values():
            mine, theirs = average.generator.masks().values(), trainer.generator.masks().values()
            for ours, mask in zip(mine, theirs, strict=True):
                assert ours.frozen == mask.frozen and torch.equal(ours.values(), mask.values())


@pytest.mark.parametrize("recipe", ["biggan", "sagan", "sngan", "tinygan", "distill-nas"])
def test_a_declared_average_is_the_same_for_every_method(recipe: str) -> None:
    """Its age is a fraction of the method's own training; SN-GAN and Tiny-GAN, whose sources keep none, have it too."""
    profile = replace(PROFILE, student_width=2, dim_z=16)
    trainer = together.make_trainer(profile, get_recipe(recipe), 0, image_set(), teacher_generator())
    for name, age in {"ema": 0.05, "1%": 0.01, "2.5%": 0.025, "10%": 0.1}.items():
        average = trainer.averages[name]
        assert average.decay / (1 - average.decay) == pytest.approx(age * trainer.total)
        assert average.warm_up and average.start == 0
        for key, value in trainer.generator.state_dict().items():
            assert torch.equal(average.generator.state_dict()[key], value), key
    assert len(trainer.averages) == 4 and trainer.ema is trainer.averages["ema"]
    trainer.step()
    last = trainer.generator.state_dict()
    for name, average in trainer.averages.items():
        begun = average.generator.state_dict()
        assert any(not torch.equal(begun[each], value) for each, value in last.items()), name


def test_averages_that_nothing_scores_are_not_kept() -> None:
    assert list(trainer_of("sagan", profile=replace(PROFILE, best_samples=None)).averages) == ["ema"]


def test_learning_rates_are_the_reference_ones_times_the_profiles() -> None:
    profile = replace(PROFILE, lr_g_scale=3.0, lr_d_scale=2.0)
    for recipe, eps in (("biggan", 1e-6), ("sagan", 1e-8), ("ppcd", 1e-8)):
        trainer = trainer_of(recipe, profile=profile)
        (g,), (d,) = trainer.optimizer_g.param_groups, trainer.optimizer_d.param_groups
        assert (g["lr"], d["lr"]) == (pytest.approx(3e-4), pytest.approx(8e-4))
        assert g["betas"] == d["betas"] == (0.0, 0.999)
        assert g["eps"] == d["eps"] == eps


# ------------------------------------------------------------ the two-step variant


def test_two_step_prunes_first_and_distils_then(tmp_path: Path) -> None:
    trainer, record = trainer_of("ppcd-two-step"), Record()
    begun = trainer.generator
    fit(trainer, tmp_path / "checkpoint.pt", [record])
    half = trainer.switch_at
    assert trainer.total == trainer_of("ppcd").total == len(record.losses)  # the same budget
    assert half == GradualSchedule().last(TOTAL)
    assert record.phases == ["prune"] * (half - 1) + ["distil"] * (TOTAL - half + 1)
    for iteration, said in enumerate(record.losses):
        assert (said["loss_cd"] > 0) == (iteration >= half), iteration
        assert (said["loss_pp"] > 0) == (iteration < half), iteration
    assert all(mask.frozen for mask in begun.masks().values())
    assert trainer.generator.masks() == {} and trainer.generator is not begun
    report = trainer.report_masks()
    assert [each["layer"] for each in report] == list(begun.masks())
    hidden = [channels for pair in trainer.generator.config.hidden or () for channels in pair]
    assert [each["kept"] for each in report] == hidden
    assert all(each["frozen_at"] == half for each in report)
    for average in trainer.averages.values():  # they begin again; their age is of the whole training
        assert average.start == half and average.generator.config == trainer.generator.config
    assert trainer.ema.decay == pytest.approx(0.05 * TOTAL / (1 + 0.05 * TOTAL))
    trainer = trainer_of("ppcd-two-step", profile=REFERENCE)
    fit(trainer, tmp_path / "reference.pt")
    assert trainer.ema.start == half + PROFILE.ema_start


def test_the_slim_network_starts_where_the_masked_one_ended() -> None:
    """At evaluation the same images; and its spectral norms, optimiser and average begin anew."""
    trainer = stepped("ppcd-two-step", GradualSchedule().last(TOTAL) - 1)
    masked, heard = trainer.generator, []
    slimming = trainer.switch

    def listen() -> None:
        heard.append(copy.deepcopy(trainer.generator))
        slimming()

    trainer.switch = listen  # type: ignore[method-assign]
    trainer.step()
    assert trainer.generator is not masked
    z, y = trainer_of("ppcd-two-step", seed=5).draw()
    with torch.no_grad():
        before, after = heard[0].eval()(z, y), trainer.generator.eval()(z, y)
    assert largest_difference(before, after) < 1e-4
    assert trainer.optimizer_g.state == {}
    start = weights(trainer.generator)
    trainer.step()
    moved = {name for name, value in weights(trainer.generator).items() if not torch.equal(value, start[name])}
    assert {"linear.weight", "blocks.1.conv2.weight", "blocks.1.transition.weight"} <= moved


def test_joint_recipes_do_all_at_once() -> None:
    for recipe, distils, prunes in (
        ("ppcd", True, True), ("ppcd-no-cd", False, True), ("ppcd-no-pp", True, False), ("sagan", False, False),
        ("biggan", False, False),
    ):  # fmt: skip
        trainer = trainer_of(recipe)
        said = trainer.step()
        assert (trainer.phase, bool(said["loss_cd"] > 0), bool(said["loss_pp"] > 0)) == ("train", distils, prunes)
        assert (trainer.teacher is not None, trainer.rule is not None) == (distils, prunes)
        assert bool(trainer.generator.masks()) == prunes
        assert bool(trainer.report_masks()) == prunes


# ------------------------------------------------------------ stopping, callbacks, errors


class Poison(Callback):
    """After a checkpoint, something in the networks is not a number any more."""

    def __init__(self, parameter: Tensor, iteration: int = 0) -> None:
        self.parameter, self.iteration = parameter, iteration

    def on_checkpoint(self, state: TrainingState) -> None:
        if state.iteration >= self.iteration:
            self.parameter.data.fill_(torch.nan)


@pytest.mark.parametrize(("network", "loss"), [("discriminator", "loss_d"), ("generator", "loss_adv")])
def test_a_loss_that_is_not_finite_ends_the_training(network: str, loss: str, tmp_path: Path) -> None:
    """With one line that names it; the checkpoint before it stays, and the training can go on from there."""
    checkpoint, record = tmp_path / "checkpoint.pt", Record()
    trainer = trainer_of("ppcd")
    poison = Poison(getattr(trainer, network).linear.weight, iteration=5)
    with pytest.raises(NonFiniteLoss) as caught:
        fit(trainer, checkpoint, [record, poison], checkpoint_every=0.0)
    message = str(caught.value)
    assert isinstance(caught.value, PpcdError) and "\n" not in message
    assert "iteration 6" in message and loss in message and "checkpoint.pt" in message
    assert record.events[-2:] == [("checkpoint", 5), ("end", 5 + 1)]  # and it is not among what is logged
    state = torch.load(checkpoint, weights_only=True)
    assert state["iteration"] == 5
    networks = [state["generator"], state["discriminator"], *(each["generator"] for each in state["averages"].values())]
    assert len(networks) == 6 and all(value.isfinite().all() for each in networks for value in each.values())
    again = trainer_of("ppcd")
    fit(again, checkpoint)
    assert again.iteration == TOTAL


def test_without_a_checkpoint_the_message_says_so(tmp_path: Path) -> None:
    trainer = trainer_of("sagan")
    trainer.discriminator.linear.weight.data.fill_(torch.inf)
    with pytest.raises(NonFiniteLoss, match="no checkpoint yet"):
        fit(trainer, tmp_path / "checkpoint.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_networks_that_are_not_finite_are_never_saved(network: str, tmp_path: Path) -> None:
    """A gradient that is not finite spoils the weights in a step whose losses were fine."""
    checkpoint, trainer = tmp_path / "checkpoint.pt", trainer_of("sagan")
    optimizer = trainer.optimizer_g if network == "generator" else trainer.optimizer_d
    step, weight = optimizer.step, getattr(trainer, network).linear.weight

    def spoiled() -> None:
        if trainer.iteration == TOTAL - 1:
            weight.grad.fill_(torch.nan)
        step()

    optimizer.step = spoiled  # type: ignore[method-assign]
    save_checkpoint(trainer, checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(NonFiniteLoss, match=f"iteration {TOTAL}: .*{network}"):
        fit(trainer, checkpoint)
    assert checkpoint.read_bytes() == before


def test_callbacks_hear_of_everything_in_order(tmp_path: Path) -> None:
    record = Record()
    fit(trainer_of("ppcd"), tmp_path / "checkpoint.pt", [record], checkpoint_every=1e9)
    steps = [("step", iteration) for iteration in range(1, TOTAL + 1)]
    assert record.events == [("start", 0), *steps, ("checkpoint", TOTAL), ("end", TOTAL)]
    assert all(set(said) == {"loss_d", "loss_adv", "loss_cd", "loss_pp"} for said in record.losses)


def test_what_does_not_fit_is_refused() -> None:
    recipe = get_recipe("ppcd")

    def build(teacher: Generator | None) -> Trainer:
        return together.make_trainer(PROFILE, recipe, 0, image_set(), teacher)

    with refused("'ppcd'", "needs a trained teacher"):
        build(None)
    with refused("5 classes", str(CLASSES)):
        build(build_generator("biggan", 32, 5, width=1, dim_z=8))
    with refused("64 px", "32 px"):
        build(build_generator("biggan", 64, CLASSES, width=1, dim_z=5))
    with refused("16 noise entries", "8"):
        build(build_generator("biggan", 32, CLASSES, width=1, dim_z=16))


def test_the_recipes_normalisation_is_used() -> None:
    kinds = {}
    for normalisation in ("teacher", "statistics", "none"):
        trainer = trainer_of("ppcd", normalisation=normalisation)
        assert isinstance(trainer.teacher, Teacher) and trainer.teacher.normalisation == normalisation
        kinds[normalisation] = trainer.step()["loss_cd"].item()
    assert len(set(kinds.values())) == 3
