"""Profiles and recipes: what there is, and what asking for something else says."""

from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from typing import Any

import pytest
from reference import refuses

from ppcd.metrics.classifier import JUDGES
from ppcd.training.config import run_config
from ppcd.training.profiles import IMAGENET_IMAGES, PROFILES, Profile, get_profile
from ppcd.training.recipes import ALPHA, RECIPES, TEACHER, Recipe, check_alpha, get_recipe


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_can_be_trained(name: str) -> None:
    profile = get_profile(name)
    assert profile.name == name
    positive = {field.name for field in fields(Profile) if field.type in (int, float)}
    positive -= {"classifier_epochs"} if profile.judge == "efficientnet-lite0" else set()  # nothing is trained to judge
    assert len(positive) > 15 and all(getattr(profile, each) > 0 for each in positive)
    assert profile.judge in (None, *JUDGES)
    assert profile.resolution in (32, 64, 128) and 0 < profile.ema_decay < 1
    for budget in (profile.budget(teacher=False), profile.budget(teacher=True)):
        assert budget.ema_start < budget.iterations and budget.images == budget.batch_size * budget.accumulations
    assert profile.teacher_dim_z <= profile.dim_z  # the teacher sees the first entries of the student's noise
    assert profile.backbone in ("classifier", "efficientnet-lite0", "inception")


def test_imagenet128_has_the_papers_settings() -> None:
    """Section 4.2: 100 epochs, a batch of 128 and 2 accumulations; the teacher's are of its public checkpoint."""
    profile = get_profile("imagenet128")
    student, teacher = profile.budget(teacher=False), profile.budget(teacher=True)
    assert (student.batch_size, student.accumulations, student.ema_start) == (128, 2, 2_000)
    assert 0 <= student.iterations * student.images - 100 * IMAGENET_IMAGES < student.images
    assert (teacher.batch_size, teacher.accumulations, teacher.iterations) == (256, 8, 138_000)
    assert (profile.teacher_width, profile.student_width, profile.discriminator_width) == (96, 64, 64)
    assert (profile.teacher_dim_z, profile.dim_z, profile.resolution, profile.num_classes) == (120, 128, 128, 1000)
    assert profile.backbone == "inception" and profile.evaluation_samples == 50_000
    assert (profile.lr_g_scale, profile.lr_d_scale, profile.ema_decay) == (1, 1, 0.9999)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_consistent(name: str) -> None:
    recipe = get_recipe(name)
    assert recipe.name == name and recipe.title
    prunes = recipe.masked or recipe.narrow or (recipe.baseline is not None and recipe.baseline.kind in ("l1", "nas"))
    assert bool(prunes) == (recipe.alpha is not None)
    taught = recipe.distil or (recipe.baseline is not None and recipe.baseline.kind != "l1")
    taught |= recipe.start == "teacher" or recipe.lambda_pixel is not None or recipe.lambda_teacher_d is not None
    assert recipe.needs_teacher == taught
    assert recipe.baseline is None or not (recipe.masked or recipe.distil or recipe.two_step)
    assert not recipe.two_step or (recipe.masked and recipe.distil)
    assert not (recipe.name == TEACHER and recipe.needs_teacher)


def test_the_ablations_of_the_paper_lack_what_their_names_say() -> None:
    parts = {
        name: (recipe.masked, recipe.distil, recipe.two_step)
        for name, recipe in RECIPES.items()
        if name in ("ppcd", "ppcd-no-pp", "ppcd-no-cd", "ppcd-two-step")
    }
    assert parts == {
        "ppcd": (True, True, False),
        "ppcd-no-pp": (False, True, False),
        "ppcd-no-cd": (True, False, False),
        "ppcd-two-step": (True, True, True),
    }
    assert ALPHA == 0.7 and get_recipe("ppcd").lambda_pp == 0.01 and get_recipe("ppcd").lambda_cd == 1


def test_alpha_is_in_the_name_where_it_is_not_the_default() -> None:
    half = get_recipe("ppcd-a0.5")
    assert (half.name, half.alpha) == ("ppcd-a0.5", 0.5) and half == get_recipe("ppcd", 0.5)
    assert get_recipe("ppcd", 0.7) == get_recipe("ppcd-a0.7") == get_recipe("ppcd-a0.70") == get_recipe("ppcd")
    assert get_recipe("ppcd-no-cd-a0.5").name == get_recipe("ppcd-no-cd", 0.5).name == "ppcd-no-cd-a0.5"
    assert get_recipe("ppcd-two-step-a.6").name == "ppcd-two-step-a0.6"
    for name in ("biggan", "sagan", "ppcd-no-pp"):
        assert get_recipe(name, 0.5) == get_recipe(name)


def test_what_there_is_not_is_answered_with_what_there_is() -> None:
    refuses("expected one of: smoke, mnist", get_profile, "mnsit")
    for name in ("ppcd ", "PPCD", "ppcd-a", "", None, 3, "ppcd-b0.5", "-a0.5"):
        refuses("expected one of: biggan, sagan, ppcd", get_recipe, name)
    refuses("prunes nothing", get_recipe, "sagan-a0.5")
    for name in ("ppcd-a1", "ppcd-a0", "ppcd-a1.5", "ppcd-a0.5.5", "ppcd-a."):
        refuses("(0, 1)", get_recipe, name)


@pytest.mark.parametrize("alpha", [0, 1, -0.5, 1.5, True, "0.5", None, float("nan"), float("inf")])
def test_impossible_alphas_are_refused(alpha: Any) -> None:
    refuses("(0, 1)", check_alpha, alpha)
    assert check_alpha(0.5) == 0.5


def test_configuration_is_frozen_and_knows_its_keys() -> None:
    with pytest.raises(FrozenInstanceError):
        get_profile("smoke").batch_size = 4  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        get_recipe("ppcd").alpha = 0.5  # type: ignore[misc]
    with pytest.raises(TypeError):
        replace(get_profile("smoke"), batchsize=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Recipe("mine", "Mine", "sagan", lamda_cd=1.0)  # type: ignore[call-arg]


BAD_NAMES = ["../evil", "a/b", "..", "", "a b", ".hidden", "a.", "a..b", "-a", "ü", "a\n", None]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_a_folders_is_refused(name: Any) -> None:
    for given, what in ((get_profile("smoke"), "a profile"), (get_recipe("ppcd"), "a recipe")):
        refuses(f"{what} cannot be called {name!r}", partial(replace, given, name=name))


def test_names_of_ones_own() -> None:
    """Runs of two configurations of one name would share folders, and rows of tables."""
    profile, recipe = get_profile("smoke"), get_recipe("ppcd", 0.5)
    longer, heavier = replace(profile, iterations=30, flip=True), replace(recipe, lambda_cd=2.0)
    refuses("a profile 'smoke', and this one differs from it in flip, iterations", run_config, longer, "sagan", 0)
    refuses("a recipe 'ppcd-a0.5', and this one differs from it in lambda_cd", run_config, "smoke", heavier, 0)
    for name in ("own", "v1.2_own-a0.5"):
        own = run_config(replace(longer, name=name), replace(heavier, name=name), 0)
        assert own.directory.parent.parent.name == name and own.id.startswith(f"{name}-s0-")
    assert run_config(replace(profile), replace(recipe), 0) == run_config("smoke", "ppcd-a0.5", 0)
