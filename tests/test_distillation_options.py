"""Options of the distillation beyond the paper: L_CD kept from the masks, and noise that enters every block."""

from dataclasses import replace

import together
import torch
from reference import largest_difference, noise_and_labels
from torch import Tensor

from ppcd.networks.generators import build_generator
from ppcd.training.recipes import Recipe, get_recipe
from ppcd.training.trainer import Trainer


def trainer_of(recipe: Recipe) -> Trainer:
    teacher = build_generator("biggan", 32, 10, 2, dim_z=16, seed=5)
    return together.make_trainer(together.PROFILE, recipe, 0, together.images(), teacher)


def gradients(recipe: Recipe) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the masks without L_PP, and of the other weights, in the first step of G."""
    trainer = trainer_of(recipe)
    trainer.generator.train()
    found: dict[str, Tensor] = {}
    assert trainer.rule is not None
    trainer.rule.backward = lambda: found.update(of_masks(trainer)) or torch.zeros(())  # type: ignore[method-assign, func-returns-value]
    trainer.discriminator.requires_grad_(False)
    trainer.generator_step()
    others = {name: parameter.grad for name, parameter in trainer.generator.named_parameters() if "mask" not in name}
    return found, others


def of_masks(trainer: Trainer) -> dict[str, Tensor]:
    return {name: mask.weight.grad.clone() for name, mask in trainer.generator.masks().items()}


def test_masks_kept_apart_move_as_without_the_distillation(double: None) -> None:
    """And everything else as with it."""
    apart, whole = get_recipe("ppcd-cd10-apart"), get_recipe("ppcd-cd10")
    masks, weights = gradients(apart)
    masks_with, weights_with = gradients(whole)
    masks_without, weights_without = gradients(replace(whole, lambda_cd=0.0))
    for name, gradient in masks.items():
        assert largest_difference(gradient, masks_without[name]) < 1e-10
    assert any(largest_difference(masks_with[name], masks_without[name]) > 1e-6 for name in masks)
    for name, gradient in weights.items():
        assert largest_difference(gradient, weights_with[name]) < 1e-10
    assert any(largest_difference(weights_with[name], weights_without[name]) > 1e-6 for name in weights)


def test_masks_kept_apart_train_to_the_end() -> None:
    """Also once some are frozen, and behind the switch of the two-step variant."""
    for recipe in (get_recipe("ppcd-cd10-apart"), replace(get_recipe("ppcd-two-step"), masks_distil=False)):
        trainer = trainer_of(recipe)
        for _ in range(trainer.total):
            trainer.step()
        assert all(mask.frozen for mask in trainer.generator.masks().values())


def test_pixels_and_features_are_of_one_pass_of_the_teacher() -> None:
    """The same losses as with either alone."""
    whole = get_recipe("ppcd")
    recipes = [replace(whole, lambda_pixel=10.0), whole, get_recipe("ppcd-pixels")]
    parts, passes = [], []
    for trainer in map(trainer_of, recipes):
        trainer.teacher.generator.register_forward_hook(lambda *_: passes.append(1))
        trainer.generator.eval()
        z, y = trainer.draw()
        trainer.generator_loss(z, y)  # the first one measures statistics of classes
        passes.clear()
        parts.append(trainer.generator_loss(z, y)[1])
        assert len(passes) == 1
    assert torch.equal(parts[0]["loss_cd"], parts[1]["loss_cd"]) and parts[1]["loss_cd"] > 0
    assert torch.equal(parts[0]["loss_pixel"], parts[2]["loss_pixel"]) and parts[2]["loss_pixel"] > 0


def test_noise_enters_every_block() -> None:
    """Each chunk of it changes the features from its own block on, and none before."""
    generator = build_generator("sagan-hier", 32, 4, 2, masked=True, dim_z=16, seed=0).eval()
    z, y = noise_and_labels(3, 16, 4, 1)
    with torch.no_grad():
        _, before = generator(z, y, return_features=True)
        for chunk in range(4):
            other = z.clone()
            other[:, 4 * chunk : 4 * chunk + 4] += 1
            _, after = generator(other, y, return_features=True)
            moved = [largest_difference(a, b) > 1e-6 for a, b in zip(before, after, strict=True)]
            assert moved == [block >= chunk - 1 for block in range(3)]
    _, plain = build_generator("sagan", 32, 4, 2, dim_z=16, seed=0).eval().conditions(z, y)
    assert all(torch.equal(condition, y) for condition in plain), "SA-GAN's own blocks see the class alone"
