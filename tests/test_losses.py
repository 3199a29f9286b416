"""Eqs. 2 and 4-8, hinge and minimax, against loops over the paper's formulas."""

import math

import pytest
import reference
import torch
from reference import refused
from torch import Tensor

from ppcd.method import losses
from ppcd.method.masks import ChannelMask


def features(seed: int, channels: int, size: int = 3, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, size, size, generator=generator, dtype=torch.float64)


def teacher_and_student(seed: int, blocks: int) -> tuple[list[Tensor], list[Tensor]]:
    """Features of `blocks` blocks at 2, 4, ... pixels; the student has fewer channels (C^S < C^T)."""
    teacher = [features(seed + k, channels=5 - k, size=2 * (k + 1)) for k in range(blocks)]
    student = [features(seed + 100 + k, channels=3 - k % 2, size=2 * (k + 1)) for k in range(blocks)]
    return teacher, student


def scores(seed: int, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_attention_map_sums_squares_over_channels(seed: int) -> None:
    o = features(seed, channels=4, size=5)
    maps = losses.attention_map(o)
    assert maps.shape == (3, 5, 5)
    for image in range(3):
        expected = torch.tensor(reference.attention_map(o[image]), dtype=torch.float64)
        assert reference.largest_difference(maps[image], expected) < 1e-12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_class_aware_distillation_is_eqs_4_and_6(seed: int, blocks: int) -> None:
    teacher, student = teacher_and_student(seed, blocks)
    loss = losses.class_aware_distillation(teacher, student)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(reference.class_aware_distillation(teacher, student), abs=1e-12)


def test_wrong_readings_of_eqs_4_and_6_are_told_apart() -> None:
    teacher, student = teacher_and_student(seed=7, blocks=3)
    loss = losses.class_aware_distillation(teacher, student).item()
    assert abs(loss - reference.class_aware_distillation(teacher, student, power=1)) > 1e-2
    assert abs(loss - reference.class_aware_distillation(teacher, student, normalise=False)) > 1e-2
    one_by_one = [
        reference.attention_distance(t[i], s[i]) for t, s in zip(teacher, student, strict=True) for i in range(3)
    ]
    squares = sum(distance**2 for distance in one_by_one) / len(one_by_one)
    assert abs(loss - squares) > 1e-2  # a squared norm
    assert abs(loss - math.sqrt(squares)) > 1e-3  # one norm over the whole batch


def test_equal_features_and_maps_of_zeros_have_finite_gradients() -> None:
    teacher, _ = teacher_and_student(seed=0, blocks=2)
    for student, expected in ((teacher, 0), ([torch.zeros_like(o) for o in teacher], 1)):
        student = [o.clone().requires_grad_() for o in student]
        loss = losses.class_aware_distillation(teacher, student)
        loss.backward()
        assert loss.item() == pytest.approx(expected, abs=0)
        assert all(torch.isfinite(o.grad).all() for o in student)


def test_a_channel_of_zeros_equals_a_removed_one() -> None:
    """Section 3.3: summing along all feature maps ignores the contributions of removed channels."""
    teacher, student = teacher_and_student(seed=0, blocks=1)
    pruned = student[0].clone()
    pruned[:, 1] = 0
    removed = pruned[:, [0, 2]]
    with_zeros = losses.class_aware_distillation(teacher, [pruned])
    assert with_zeros.item() == losses.class_aware_distillation(teacher, [removed]).item()
    assert abs(with_zeros.item() - losses.class_aware_distillation(teacher, student).item()) > 1e-3


def test_features_that_do_not_belong_together_are_refused() -> None:
    o = features(0, 2)
    for teacher, student in ((0, 0), (2, 1), (1, 2)):
        with refused("as many teacher as student features", f"{teacher} and {student}"):
            losses.class_aware_distillation([o] * teacher, [o] * student)
    for shape in ((3, 2, 4, 3), (3, 2, 3, 4), (2, 2, 3, 3), (1, 2, 3, 3)):
        with refused("features 1 differ", "(3, 2, 3, 3)", str(shape)):
            losses.class_aware_distillation([o, o], [o, torch.zeros(shape, dtype=torch.float64)])
    with refused("at least one mask", "none"):
        losses.progressive_pruning([])


def masks_of(seed: int, channels: list[int]) -> list[ChannelMask]:
    generator = torch.Generator().manual_seed(seed)
    masks = []
    for n in channels:
        mask = ChannelMask(n).double()
        with torch.no_grad():
            mask.weight.copy_(torch.randn(n, generator=generator, dtype=torch.float64))
        masks.append(mask)
    return masks


@pytest.mark.parametrize("seed", range(3))
def test_progressive_pruning_is_eq_5(seed: int) -> None:
    masks = masks_of(seed, [4, 7, 2, 5])  # N = 2 blocks, 2N masks
    w = [mask.weight.tolist() for mask in masks]
    loss = losses.progressive_pruning(masks)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(reference.progressive_pruning(w), abs=1e-12)


def test_weights_multiply_the_terms_of_their_masks() -> None:
    masks = masks_of(0, [4, 7, 2])
    weights = [0.0, 2.0, 0.5]
    w = [mask.weight.tolist() for mask in masks]
    expected = sum(weight * reference.l1_to_minus_one(w_k) for weight, w_k in zip(weights, w, strict=True)) / 3
    assert losses.progressive_pruning(masks, weights).item() == pytest.approx(expected, abs=1e-12)


def test_frozen_masks_are_constants_of_the_loss() -> None:
    masks = masks_of(0, [4, 7])
    before = losses.progressive_pruning(masks).item()
    masks[0].freeze(torch.tensor([True, False, True, False]))
    loss = losses.progressive_pruning(masks)
    assert loss.item() == before
    loss.backward()
    assert masks[0].weight.grad is None
    assert masks[1].weight.grad.abs().tolist() == [0.5] * 7


@pytest.mark.parametrize("seed", range(4))
def test_minimax_is_eq_7_and_hinge(seed: int) -> None:
    real, fake = scores(seed, 5), scores(seed + 100, 8)
    value = reference.minimax_value(real.tolist(), fake.tolist())
    assert losses.discriminator_minimax(real, fake).item() == pytest.approx(-value, abs=1e-12)
    expected = reference.minimax_generator(fake.tolist())
    assert losses.generator_minimax(fake).item() == pytest.approx(expected, abs=1e-12)
    expected = reference.hinge_discriminator(real.tolist(), fake.tolist())
    assert losses.discriminator_hinge(real, fake).item() == pytest.approx(expected, abs=1e-12)
    assert losses.generator_hinge(fake).item() == pytest.approx(-sum(fake.tolist()) / 8, abs=1e-12)


@pytest.mark.parametrize("kind", ["hinge", "minimax"])
def test_adversarial_losses_pull_the_right_way_and_are_finite(kind: str) -> None:
    """Descending on D's loss raises real and lowers fake scores, descending on G's raises fake ones."""
    d_loss, g_loss = losses.ADVERSARIAL[kind]
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    d_loss(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()
    fake.grad = None
    g_loss(fake).backward()
    assert (fake.grad < 0).all()
    extreme = torch.tensor([-1e4, 1e4])
    assert torch.isfinite(d_loss(extreme, extreme)) and torch.isfinite(g_loss(extreme))


def test_total_is_eq_8() -> None:
    terms = [torch.tensor(value, requires_grad=True) for value in (2.0, 3.0, 500.0)]
    total = losses.total(*terms, lambda_cd=7.0, lambda_pp=0.01)
    assert total.item() == pytest.approx(0.01 * 500 + 7 * 3 + 2)
    total.backward()
    assert [term.grad.item() for term in terms] == pytest.approx([1.0, 7.0, 0.01])
