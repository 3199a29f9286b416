"""Where a recipe starts, how it selects channels, and what guides it."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import together
import torch
from reference import largest_difference, refused
from test_trainer import CLASSES, PROFILE, image_set, teacher_generator

from ppcd.method import losses
from ppcd.method.masks import channels_to_prune
from ppcd.method.slim import slim
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.io import LastState
from ppcd.training.config import run_config
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import RECIPES, Recipe, get_recipe
from ppcd.training.trainer import Trainer

WIDER = replace(PROFILE, student_width=4, teacher_width=4, iterations=24)


def inputs(generator: Generator, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(1)
    return torch.randn(count, generator.dim_z, generator=noise), torch.arange(count) % generator.num_classes


def images(generator: Generator) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(generator).eval()(*inputs(generator))


def origin(width: int = 4) -> LastState:
    """As if the teacher had been trained for some steps: its spectral norms and statistics have moved."""
    generator = build_generator("biggan", 32, CLASSES, width=width, dim_z=8, seed=3)
    for _ in range(5):
        generator.train()(*inputs(generator))
    return LastState(generator, build_discriminator("biggan", 32, CLASSES, width=1, seed=3), {})


def trainer_of(recipe: str | Recipe, seed: int = 0, **changes: Any) -> Trainer:
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    recipe = replace(recipe, **changes)
    teacher = teacher_generator() if recipe.needs_teacher else None
    given = origin() if recipe.needs_training_state else None
    return together.make_trainer(WIDER, recipe, seed, image_set(), teacher, origin=given)


def finished(trainer: Trainer) -> Trainer:
    for _ in range(trainer.total - trainer.iteration):
        trainer.step()
    return trainer


# ------------------------------------------------------------ PP-Res in a trained network


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("arch", ["biggan", "sagan", "sagan-shared"])
def test_pp_res_blocks_are_inserted_without_a_change_of_the_images(arch: str, resolution: int) -> None:
    generator = build_generator(arch, resolution, CLASSES, width=4, dim_z=30, seed=1) if resolution == 64 else (
        build_generator(arch, resolution, CLASSES, width=4, dim_z=8, seed=1)
    )  # fmt: skip
    generator.train()(*inputs(generator))
    inserted = generator.make_prunable()
    assert len(inserted.masks()) == 2 * len(generator.blocks)
    assert largest_difference(images(inserted), images(generator)) < 1e-4
    with torch.no_grad():  # a transition that is not the identity is seen
        inserted.residual_blocks()[0].transition.weight.mul_(torch.tensor([[-1.0]] + [[1.0]] * 15)[..., None, None][:1])
    assert largest_difference(images(inserted), images(generator)) > 1e-4


# ------------------------------------------------------------ start


def test_a_student_that_starts_from_the_teacher_is_the_teacher() -> None:
    given = origin()
    generator, discriminator = given.generator, given.discriminator
    trainer = together.make_trainer(WIDER, get_recipe("ppcd-teacher"), 0, image_set(), teacher_generator(),
                      origin=given)  # fmt: skip
    assert largest_difference(images(trainer.generator), images(generator)) < 1e-4
    assert largest_difference(images(trainer.ema.generator), images(generator)) < 1e-4
    assert trainer.discriminator is not discriminator
    for name, value in discriminator.state_dict().items():
        assert torch.equal(trainer.discriminator.state_dict()[name], value)
    assert trainer.total == WIDER.iterations  # the students' budget, the teacher's size

    before = images(generator)
    finished(trainer)
    assert torch.equal(images(generator), before)  # what was given is left alone
    kept = {(mask.channels, int(mask.kept.sum())) for mask in trainer.generator.masks().values()}
    assert kept == {(16, 16 - channels_to_prune(16, 0.7))}
    slimmed = slim(trainer.generator)
    assert largest_difference(images(slimmed), images(trainer.generator)) < 1e-4


def test_without_the_teachers_last_state_there_is_no_such_start() -> None:
    recipe = get_recipe("ppcd-teacher-no-cd")
    with refused("ppcd-teacher-no-cd", "discriminator"):
        together.make_trainer(WIDER, recipe, 0, image_set(), teacher_generator())


# ------------------------------------------------------------ select


def test_controls_close_as_many_channels_at_the_same_times() -> None:
    runs = {name: finished(trainer_of(name)) for name in ("ppcd", "ppcd-random", "ppcd-l1")}
    reports = {
        name: [(row["layer"], row["kept"], row["frozen_at"]) for row in trainer.report_masks()]
        for name, trainer in runs.items()
    }
    assert reports["ppcd"] == reports["ppcd-random"] == reports["ppcd-l1"]
    kept = {name: [mask.kept.tolist() for mask in t.generator.masks().values()] for name, t in runs.items()}
    assert kept["ppcd"] != kept["ppcd-random"] != kept["ppcd-l1"] != kept["ppcd"]
    other = finished(trainer_of("ppcd-random", seed=1))
    assert [mask.kept.tolist() for mask in other.generator.masks().values()] != kept["ppcd-random"]


def test_the_l1_norm_takes_the_smallest_filters_of_the_convolution_before_the_mask() -> None:
    trainer = trainer_of("ppcd-l1", alpha=0.05)  # one channel of 16
    for block in trainer.generator.residual_blocks():
        with torch.no_grad():
            block.conv1.weight[3] *= 1e-3
            block.conv2.weight[5] *= 1e-3
    trainer = finished(trainer)
    for name, mask in trainer.generator.masks().items():
        assert (~mask.kept).nonzero().flatten().tolist() == [3 if name.endswith("mask1") else 5]


def test_selection_by_other_means_needs_the_gradual_rule() -> None:
    with refused("profile own: channels are selected by 'random' under the rule 'gradual' alone"):
        run_config(replace(get_profile("smoke"), name="own", default_mask_rule="scheduled"), "ppcd-random", 0)


def test_a_network_that_is_narrow_from_the_start_is_what_pruning_leaves() -> None:
    narrow, pruned = trainer_of("ppcd-narrow"), finished(trainer_of("ppcd"))
    ours, theirs = (slim(each.generator).state_dict() for each in (narrow, pruned))
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    assert narrow.rule is None and not narrow.generator.masks()
    finished(narrow)


# ------------------------------------------------------------ guides


def test_the_teachers_pixels_guide() -> None:
    trainer = trainer_of("ppcd-pixels")
    z, y = inputs(trainer.generator)
    trainer.generator.eval()
    loss, parts = trainer.generator_loss(z, y)
    expected = (trainer.generator(z, y) - trainer.teacher.generator(z, y)).abs().mean()
    assert torch.allclose(parts["loss_pixel"], expected) and expected > 0
    assert torch.allclose(loss, parts["loss_adv"] + 10 * expected)
    trainer.step()


def test_the_teachers_discriminator_guides_and_stays_frozen() -> None:
    trainer = trainer_of("ppcd-teacher-d", distil=False)
    before = copy.deepcopy(trainer.teacher_discriminator.state_dict())
    trainer.generator.eval()
    trainer.discriminator.eval()
    z, y = inputs(trainer.generator)
    loss, parts = trainer.generator_loss(z, y)
    with torch.no_grad():
        expected = losses.generator_hinge(origin().discriminator.eval()(trainer.generator(z, y), y))
    assert torch.allclose(loss - parts["loss_adv"], 0.1 * expected, atol=1e-5)
    trainer.step()
    after = trainer.teacher_discriminator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(parameter.requires_grad for parameter in trainer.teacher_discriminator.parameters())


# ------------------------------------------------------------ declarations


@pytest.mark.parametrize(
    "changes",
    [
        {"start": "middle"},
        {"select": "largest"},
        {"size": "huge"},
        {"budget": "endless"},
        {"mask_rule": "cosine"},
        {"start": "teacher"},
        {"masked": False, "select": "l1"},
        {"narrow": True},
        {"masked": False, "narrow": True, "alpha": None},
    ],
    ids=str,
)
def test_an_impossible_declaration_is_refused(changes: dict[str, Any]) -> None:
    with refused():
        replace(get_recipe("ppcd"), **changes)


def test_size_and_budget_are_two_properties() -> None:
    profile = get_profile("cifar10-lite")
    small = run_config(profile, "biggan-small", 0).resolved()["profile"]
    assert (small["student_width"], small["iterations"], small["teacher_width"]) == (6, 4000, None)
    started = run_config(profile, "ppcd-teacher", 0).resolved()["profile"]
    assert (started["teacher_width"], started["iterations"], started["student_width"]) == (10, 4000, None)
    long = replace(get_recipe("biggan-small"), budget="teacher", name="biggan-small-long")
    assert run_config(profile, long, 0).resolved()["profile"]["teacher_iterations"] == 8000


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.needs_training_state])
def test_a_recipe_that_needs_the_teachers_end_has_its_teacher_in_its_hash(name: str) -> None:
    config = run_config("smoke", name, 0)
    assert config.resolved()["teacher"] == config.teacher().hash


def test_sagan_with_one_class_embedding_differs_from_the_one_with_noise_in_the_noise_alone() -> None:
    shared, noisy = (build_generator(arch, 32, CLASSES, width=2, dim_z=8) for arch in ("sagan-shared", "sagan-hier"))
    assert set(shared.state_dict()) == set(noisy.state_dict())
    z, y = inputs(shared)
    _, conditions = shared.conditions(z, y)
    _, others = shared.conditions(z + 1, y)
    assert all(torch.equal(a, b) for a, b in zip(conditions, others, strict=True))
    _, conditions = noisy.conditions(z, y)
    _, others = noisy.conditions(z + 1, y)
    assert not any(torch.equal(a, b) for a, b in zip(conditions, others, strict=True))
