"""The compared methods that cut the network or narrow it: l1-norm pruning, output distillation, SN-GAN."""

import pytest
import torch
from reference import largest_difference, noise_and_labels
from test_trainer import REFERENCE, TOTAL, trainer_of
from torch import Tensor

from ppcd.baselines.channels import select_channels
from ppcd.baselines.l1 import l1_norms, most_important, prune_filters
from ppcd.baselines.output import student_width
from ppcd.method.masks import channels_to_prune
from ppcd.method.slim import slim
from ppcd.metrics.complexity import complexity
from ppcd.networks.generators import Generator, build_generator
from ppcd.training.trainer import Trainer


def after(trainer: Trainer, steps: int) -> Trainer:
    for _ in range(steps):
        trainer.step()
    return trainer


def noise(generator: Generator) -> tuple[Tensor, Tensor]:
    return noise_and_labels(6, generator.dim_z, generator.num_classes, seed=1, dtype=torch.float64)


# ------------------------------------------------------------ selecting channels


@pytest.mark.parametrize(("arch", "resolution"), [("sagan", 32), ("biggan", 32), ("sagan", 64), ("sngan", 64)])
@pytest.mark.parametrize("for_training", [False, True])
def test_keeping_every_channel_changes_nothing(arch: str, resolution: int, for_training: bool) -> None:
    """At 64 px self-attention is on the way; its gamma is set, or it would not count."""
    dim_z = 20 if arch == "biggan" else 8
    generator = build_generator(arch, resolution, 3, width=1, dim_z=dim_z).double().eval()
    if generator.attention is not None:
        generator.attention.gamma.data.fill_(0.7)  # type: ignore[union-attr, operator]
    blocks = generator.residual_blocks()
    ports = [torch.arange(blocks[0].conv1.in_channels), *(torch.arange(b.conv_sc.out_channels) for b in blocks)]
    kept = select_channels(
        generator, ports, [torch.arange(b.conv1.out_channels) for b in blocks], for_training=for_training
    )
    z, y = noise(generator)
    with torch.no_grad():
        assert largest_difference(kept(z, y), generator(z, y)) < 1e-10


def test_a_channel_that_is_zero_everywhere_may_go() -> None:
    """conv1's first filter and its CBN, and the first channel of a block's output, made zero: the images stay."""
    generator = build_generator("sagan", 32, 3, width=2, dim_z=8).double().eval()
    first, second, last = generator.residual_blocks()
    with torch.no_grad():
        second.bn2.gain.weight[:, 0] = -1.0  # type: ignore[operator, union-attr, index]
        second.bn2.bias.weight[:, 0] = 0.0  # type: ignore[operator, union-attr, index]
        for conv in (second.conv2, second.conv_sc):
            conv.bias[0] = 0.0  # type: ignore[index]
            conv.weight[0] = 0.0
        last.bn1.gain.weight[:, 0] = -1.0  # type: ignore[operator, union-attr, index]
        last.bn1.bias.weight[:, 0] = 0.0  # type: ignore[operator, union-attr, index]
    every = torch.arange(8)
    rest = every[1:]
    hidden = [every, rest, every]
    kept = select_channels(generator, [every, every, rest, every], hidden)
    z, y = noise(generator)
    with torch.no_grad():
        wanted = generator(z, y)
        assert largest_difference(kept(z, y), wanted) < 1e-10
        wrong = select_channels(generator, [every, rest, every, every], hidden)  # another port, which is in use
        assert largest_difference(wrong(z, y), wanted) > 1e-6
    assert kept.config.channels == (8, 8, 7, 8) and kept.config.hidden == ((8, 8), (7, 7), (8, 8))
    assert first.conv1.out_channels == 8


# ------------------------------------------------------------ l1-norm pruning


@pytest.mark.parametrize("alpha", [0.5, 0.6, 0.7, 0.8])
def test_the_filters_of_the_smallest_norms_go(alpha: float) -> None:
    """The norm of a filter is the sum of its absolute weights."""
    conv = torch.nn.Conv2d(2, 10, 3)
    norms = l1_norms(conv)
    naive = [sum(abs(value) for value in conv.weight[index].flatten().tolist()) for index in range(10)]
    assert norms.tolist() == pytest.approx(naive, abs=1e-5)
    kept = most_important(norms, alpha)
    assert len(kept) == 10 - channels_to_prune(10, alpha) and kept.tolist() == sorted(kept.tolist())
    gone = sorted(set(range(10)) - set(kept.tolist()))
    assert norms[kept].min() > norms[gone].max()


def test_the_second_convolution_follows_the_shortcut() -> None:
    """Section 3.3 of Li et al.: both lose what is least important in the 1x1 convolution."""
    generator = build_generator("sagan", 32, 3, width=1, dim_z=8)
    block = generator.residual_blocks()[1]
    with torch.no_grad():
        block.conv_sc.weight.mul_(torch.tensor([10.0, 0.1, 10.0, 0.1])[:, None, None, None])
        block.conv2.weight.mul_(torch.tensor([0.1, 10.0, 0.1, 10.0])[:, None, None, None])
    pruned = prune_filters(generator, 0.3, for_training=True)
    kept = pruned.residual_blocks()[1]
    assert torch.equal(kept.conv_sc.bias, block.conv_sc.bias[[0, 2]])  # type: ignore[index]
    assert torch.equal(kept.conv2.bias, block.conv2.bias[[0, 2]])  # type: ignore[index]


@pytest.mark.parametrize("name", ["l1-sagan-a0.5", "l1-biggan"])
def test_all_methods_keep_the_same_number_of_channels_a_layer(name: str) -> None:
    trainer = trainer_of(name)
    after(trainer, trainer.total)
    alpha = trainer.recipe.alpha
    assert alpha is not None and trainer.phase == "finetune"
    assert len(trainer.mask_report) == 6
    for row in trainer.mask_report:
        assert row["kept"] == row["channels"] - channels_to_prune(row["channels"], alpha)
    small, whole = complexity(slim(trainer.generator.eval())), complexity(slim(trainer_of(name).generator.eval()))
    assert small.params < whole.params and small.macs < whole.macs


def test_before_the_pruning_it_is_the_plain_training() -> None:
    pruned, plain = after(trainer_of("l1-sagan"), TOTAL // 2 - 1), after(trainer_of("sagan"), TOTAL // 2 - 1)
    mine, theirs = pruned.generator.state_dict(), plain.generator.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


# ------------------------------------------------------------ output distillation


def test_the_narrow_student_at_paper_scale_is_as_large_as_the_papers() -> None:
    """The paper's row: 3.5M parameters."""
    student = build_generator("sagan", 128, 1000, width=student_width(64, 0.2))
    assert complexity(student).params / 1e6 == pytest.approx(3.5, abs=0.25)
    assert [student_width(width, 0.2) for width in (64, 4, 1)] == [13, 1, 1]


def test_output_distillation_is_the_mean_squared_error_of_the_pixels() -> None:
    trainer = trainer_of("distill-only")
    trainer.generator.eval()  # in training every forward pass moves the spectral norm's vectors on
    z, y = trainer.draw()
    loss, parts = trainer.generator_loss(z, y)
    assert trainer.teacher is not None
    with torch.no_grad():
        ours, wanted = trainer.generator(z, y), trainer.teacher.generator(z[:, : trainer.teacher.dim_z], y)
    pairs = zip(ours.flatten().tolist(), wanted.flatten().tolist(), strict=True)
    naive = [(a - b) ** 2 for a, b in pairs]
    assert loss.item() == pytest.approx(sum(naive) / len(naive), rel=1e-4)
    assert set(parts) == {"loss_pixel"}


def test_output_distillation_has_no_discriminator_and_sees_no_real_images() -> None:
    trainer = trainer_of("distill-only")
    before = repr(trainer.sampler.state_dict())
    taught = {name: value.clone() for name, value in trainer.teacher.generator.state_dict().items()}  # type: ignore[union-attr]
    after(trainer, 4)
    assert trainer.discriminator is None and trainer.optimizer_d is None
    assert repr(trainer.sampler.state_dict()) == before
    assert all(torch.equal(value, taught[name]) for name, value in trainer.teacher.generator.state_dict().items())  # type: ignore[union-attr]


# ------------------------------------------------------------ SN-GAN


def test_sngan_has_its_own_settings() -> None:
    trainer = trainer_of("sngan")
    group = trainer.optimizer_g.param_groups[0]
    assert group["betas"] == (0.0, 0.9) and group["lr"] == pytest.approx(2e-4)
    assert trainer.settings.discriminator_steps == 5
    counted: list[int] = []
    step = trainer.discriminator_step
    trainer.discriminator_step = lambda: counted.append(1) or step()  # type: ignore[method-assign]
    after(trainer, 2)
    assert len(counted) == 10


def test_sngan_is_its_last_weights_where_no_average_is_declared() -> None:
    trainer = after(trainer_of("sngan", profile=REFERENCE), TOTAL)
    average = dict(trainer.ema.generator.named_parameters())
    assert all(torch.equal(average[name], value) for name, value in trainer.generator.named_parameters())
