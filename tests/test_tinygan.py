"""Tiny-GAN: its networks, its losses against loops, and its training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import together
import torch
import torch.nn.functional as F
from reference import largest_difference, noise_and_labels
from test_trainer import CLASSES, REFERENCE, TOTAL, image_set, teacher_generator
from torch import Tensor, nn

import ppcd
from ppcd.baselines.tinygan import FeatureDiscriminator, TinyGanTrainer, learning_rate_factor, pixel_weight
from ppcd.method.ema import recompute_batch_statistics
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.layers import SpectralNorm
from ppcd.networks.resampling import straightforward
from ppcd.training.methods import TinyGan
from ppcd.training.recipes import get_recipe

PROFILE = replace(REFERENCE, student_width=4, discriminator_width=4)


def small(seed: int = 0) -> Generator:
    return build_generator("tinygan", 32, CLASSES, width=2, dim_z=8, seed=seed)


def trainer_of(seed: int = 0, **changes: Any) -> TinyGanTrainer:
    recipe = replace(get_recipe("tinygan"), baseline=replace(TinyGan(), **changes))
    return together.make_trainer(PROFILE, recipe, seed, image_set(), teacher_generator())


# ------------------------------------------------------------ networks


def test_size_and_cost_are_the_published_ones() -> None:
    """3.07M parameters and 0.44 G MACs (Table 1's 3.1M and 0.44G); half as many again of either would fail."""
    found = ppcd.complexity(build_generator("tinygan", 128, 1000))
    assert found.params == pytest.approx(3.07e6, rel=0.002)
    assert found.macs == pytest.approx(0.44e9, rel=0.02)
    fewer = ppcd.complexity(build_generator("tinygan", 128, 398))  # the authors' own: animals only
    assert found.params - fewer.params == (1000 - 398) * 128
    assert fewer.params != pytest.approx(3.07e6, rel=0.002)
    wider = ppcd.complexity(build_generator("tinygan", 128, 1000, width=33))
    assert wider.macs != pytest.approx(0.44e9, rel=0.02)


def test_block_is_the_one_of_the_paper() -> None:
    """Against the block written out with torch's own layers, at both forms of the skip."""
    block = small().blocks[0].double().eval()
    bn = block.bn1
    bn.running_mean.uniform_(-1, 1)
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    c = torch.randn(2, 128, dtype=torch.float64)

    def cbn(norm: nn.Module, x: Tensor) -> Tensor:
        h = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
        return h * (1 + norm.gain(c))[:, :, None, None] + norm.bias(c)[:, :, None, None]

    up = nn.Upsample(scale_factor=2, mode="bilinear")
    h = block.pointwise1(block.depthwise1(up(F.relu(cbn(block.bn1, x)))))
    h = block.pointwise2(block.depthwise2(F.relu(cbn(block.bn2, h))))
    expected = h + block.conv_sc(up(x))
    assert largest_difference(block(x, c), expected) < 1e-12
    with straightforward(block):
        assert largest_difference(block(x, c), expected) < 1e-12
    nearest = h + block.conv_sc(nn.Upsample(scale_factor=2)(x))
    assert largest_difference(block(x, c), nearest) > 1e-3
    assert block.depthwise1.groups == 8
    assert block.depthwise1.weight.shape == (8, 1, 3, 3)
    assert block.bn1.gain.bias is not None


def test_slimming_and_files_keep_the_images(tmp_path: Path) -> None:
    generator, (z, y) = small().eval(), noise_and_labels(5, 8, CLASSES, seed=1)
    recompute_batch_statistics(generator, torch.Generator().manual_seed(0), batches=2, batch_size=8)
    slim = ppcd.slim(generator)
    ppcd.save_generator(slim, tmp_path / "g.safetensors")
    loaded = ppcd.load_generator(tmp_path / "g.safetensors")
    with torch.no_grad():
        expected = generator(z, y)
        assert torch.equal(slim(z, y), expected)
        assert torch.equal(loaded(z, y), expected)
        slim.output_conv.weight.mul_(2)  # a copy: the original stays
        assert torch.equal(generator(z, y), expected)
    assert not torch.equal(small(seed=1).eval()(z, y), expected)


@pytest.mark.parametrize(("resolution", "channels"), [(128, [32, 64, 128, 256, 512]), (32, [32, 64, 128])])
def test_discriminator_ends_at_4x4(resolution: int, channels: list[int]) -> None:
    discriminator = FeatureDiscriminator(resolution, 10).eval()
    assert [layer.out_channels for layer in discriminator.layers] == channels
    images, y = torch.rand(2, 3, resolution, resolution), torch.tensor([4, 7])
    assert discriminator.features(images)[-1].shape[2:] == (4, 4)
    h = images
    for layer in discriminator.layers:
        h = layer(h)
        h = torch.where(h > 0, h, 0.01 * h)
    h = h.sum((2, 3))
    expected = discriminator.linear(h)[:, 0] + (discriminator.embed(y) * h).sum(1)
    assert largest_difference(discriminator(images, y), expected) < 1e-4
    learned = [each for each in discriminator.modules() if hasattr(each, "weight")]
    assert len(learned) == len(channels) + 2
    assert all(isinstance(each, SpectralNorm) for each in learned)


# ------------------------------------------------------------ losses and schedules


def test_pixel_weight_falls_to_zero() -> None:
    found = [pixel_weight(i, 3000, TinyGan()) for i in range(3000)]
    assert found[0] == found[99] == 0.2
    assert found[100] == pytest.approx(0.19)  # one step an epoch, of which there are thirty
    assert found[1500] == pytest.approx(0.05)
    assert found[1999] > 0
    assert not any(found[2000:])
    assert found == sorted(found, reverse=True)


def test_learning_rates_fall_from_two_fifths_on() -> None:
    found = [learning_rate_factor(i, 10, 0.4) for i in range(10)]
    assert found == pytest.approx([1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])
    trainer = trainer_of()
    rates = []
    for _ in range(TOTAL):
        trainer.step()
        assert trainer.optimizer_d is not None
        rates.append([trainer.optimizer_g.param_groups[0]["lr"], trainer.optimizer_d.param_groups[0]["lr"]])
    assert rates[0] == [2e-4, 2e-4]
    assert rates[-1] == pytest.approx([0, 0])
    assert 0 < rates[TOTAL // 2][0] < 2e-4


# ------------------------------------------------------------ training


def test_discriminator_loss_is_that_of_the_source() -> None:
    """Two hinge losses: the teacher's images as real, and a fifth of that on real images, labels those of the data."""
    trainer = trainer_of()
    twin = trainer_of()
    critic = twin.discriminator
    assert isinstance(critic, FeatureDiscriminator)
    for network in (twin.generator, critic):
        network.train()
    real, labels = next(twin.sampler)
    z, y = twin.draw()
    other, _ = twin.draw()
    with torch.no_grad():
        wanted = twin.teacher.generator(z, y)
        fakes, others = twin.generator(z, y), twin.generator(other, labels)
        scores = critic(torch.cat([wanted, fakes, real, others]), torch.cat([y, y, labels, labels])).tolist()
    loops = [
        sum(max(0.0, 1 - sign * s) for s in scores[4 * k : 4 * k + 4]) / 4 for k, sign in enumerate((1, -1, 1, -1))
    ]
    expected = loops[0] + loops[1] + 0.2 * (loops[2] + loops[3])
    trainer.generator.train()
    loss = trainer.discriminator_step()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() != pytest.approx(sum(loops), rel=1e-3)
    (pair,) = trainer.pairs
    assert torch.equal(pair.images, wanted)
    assert torch.equal(pair.real_labels, labels)


@pytest.mark.parametrize("iteration", [3, 4, 5, 9])
def test_generator_loss_is_that_of_the_source(iteration: int) -> None:
    """L1 with its weight, features, and in every fifth step the adversarial terms."""
    trainer, twin = trainer_of(), trainer_of()
    for each in (trainer, twin):
        each.generator.train()
        each.discriminator_step()
        each.iteration = iteration
        assert each.discriminator is not None
        each.discriminator.eval()  # the same power iteration however often it is asked
    (pair,), critic = twin.pairs, twin.discriminator
    assert isinstance(critic, FeatureDiscriminator)
    images = twin.generator(pair.z, pair.y)
    pixel = (images - pair.images).abs().mean()
    distance = torch.zeros(())
    for weight, w, f in zip((1 / 8, 1 / 4, 1), pair.features, critic.features(images), strict=True):
        distance = distance + weight * (w - f).abs().mean()
    plain = distance + max(0.0, 0.2 - 0.01 * (30 * iteration // TOTAL)) * pixel
    z = torch.randn(pair.z.shape, generator=twin.extra_noise)
    first = -critic(images, pair.y).mean()
    second = -critic(twin.generator(z, pair.real_labels), pair.real_labels).mean()
    adversarial = plain + 0.01 * first + 0.2 * 0.01 * second
    loss, parts = trainer.pair_loss(trainer.pairs[0])
    fifth = iteration in (4, 9)
    assert loss.item() == pytest.approx((adversarial if fifth else plain).item(), rel=1e-5)
    assert loss.item() != pytest.approx((plain if fifth else adversarial).item(), rel=1e-5)
    assert parts["loss_pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)
    assert parts["loss_adv"].item() == pytest.approx(first.item(), rel=1e-5)


def test_class_embedding_starts_as_the_teachers() -> None:
    trainer = trainer_of()
    taught = teacher_generator().shared
    assert taught is not None
    for generator in (trainer.generator, trainer.ema.generator):
        assert generator.shared is not None
        assert torch.equal(generator.shared.weight, taught.weight)
    assert not torch.equal(small().shared.weight, taught.weight)  # type: ignore[union-attr]


def test_the_teachers_images_are_learned() -> None:
    """The pixel distance to the teacher falls over a short training with an undecayed pixel term."""
    trainer = trainer_of(pixel=1.0, pixel_decay=0.0, lr_decay_from=0.9)
    trainer.settings = replace(trainer.settings, lr_g=2e-2, lr_d=2e-3)
    trainer.total = 40
    found = [trainer.step()["loss_pixel"].item() for _ in range(40)]
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
