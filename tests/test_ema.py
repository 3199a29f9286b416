"""The average of a generator's weights, and its batch statistics measured again."""

import copy

import pytest
import torch
from reference import largest_difference, randomise
from torch import Tensor, nn

from ppcd.base import named_generator
from ppcd.method.ema import DECLARED, Ema, make_averages, recompute_batch_statistics
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.layers import ClassConditionalBatchNorm

CLASSES, DIM_Z = 3, 4
DECAY = 0.8


def student(masked: bool = True) -> Generator:
    return build_generator("sagan", 32, CLASSES, width=1, masked=masked, dim_z=DIM_Z)


# ------------------------------------------------------------ the average


def test_the_average_is_the_formula() -> None:
    """From iteration `start` on a <- decay a + (1 - decay) w; before, and for masks and buffers, a = w."""
    generator = student()
    copied = {f"{name}.weight" for name in generator.masks()} | {name for name, _ in generator.named_buffers()}
    assert {"blocks.0.mask1.weight", "blocks.0.conv1.u", "blocks.0.bn1.running_mean"} <= copied
    ema, start = Ema(generator, DECAY, start=2), 2
    expected: dict[str, Tensor] = {}
    for iteration in range(6):
        randomise(generator, iteration)
        ema.update(generator, iteration)
        for name, value in generator.state_dict().items():
            new = value.detach().double()
            averaged = iteration >= start and name not in copied
            expected[name] = DECAY * expected[name] + (1 - DECAY) * new if averaged else new
    found = ema.generator.state_dict()
    assert all(largest_difference(found[name].double(), value) < 1e-6 for name, value in expected.items())
    assert largest_difference(found["linear.weight"], generator.linear.weight) > 0.1  # it does lag


# ------------------------------------------------------------ averages of a declared age


def track(ema: Ema, values: list[float]) -> float:
    """One weight of the average after the original had these values, one an iteration from its start on."""
    generator = student()
    for iteration, value in enumerate(values, ema.start):
        generator.linear.weight.data.fill_(value)
        ema.update(generator, iteration)
    return float(ema.generator.linear.weight[0, 0])


@pytest.mark.parametrize("name", ["1%", "2.5%", "ema", "10%"])
def test_the_mean_age_is_what_the_name_says(name: str) -> None:
    """An average of weights that grow by 1 an iteration lags by its mean age, at the end of the training."""
    total, ages = 400, {"1%": 0.01, "2.5%": 0.025, "ema": 0.05, "10%": 0.1}
    averages = make_averages(student(), 0.05, total, 0, others=True)
    lag = total - track(averages[name], [float(value) for value in range(1, total + 1)])
    assert lag == pytest.approx(ages[name] * total, rel=0.01 if name != "10%" else 0.05)  # a warm-up of 90%


def test_an_average_does_not_hold_the_initial_weights() -> None:
    """Each starts as a copy; of the initial values a thousandth is left after ten iterations, whatever the decay."""
    averages = make_averages(student(), 0.05, 1000, 7, others=True)
    for average in averages.values():
        assert torch.equal(average.generator.linear.weight, student().linear.weight)
        average.generator.linear.weight.fill_(1e3)
        assert abs(track(average, [0.0] * 10)) < 1
        assert average.start == 7 and average.decay_at(6) == 0
    slow = Ema(student(), averages[DECLARED].decay, start=7)  # the broken case: no warm-up
    slow.generator.linear.weight.fill_(1e3)
    assert track(slow, [0.0] * 10) > 500


# ------------------------------------------------------------ batch statistics


def inputs_of_norms(generator: Generator, batches: list[tuple[Tensor, Tensor]]) -> dict[str, list[Tensor]]:
    """What each batch norm gets to see, batch for batch, in training mode."""
    kinds = (ClassConditionalBatchNorm, nn.BatchNorm2d)
    norms = {name: module for name, module in generator.named_modules() if isinstance(module, kinds)}
    seen: dict[str, list[Tensor]] = {name: [] for name in norms}
    for name, norm in norms.items():
        norm.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0].detach()))
    with torch.no_grad():
        for z, y in batches:
            generator.train()(z, y)
    return seen


@pytest.mark.parametrize("masked", [False, True])
def test_statistics_are_the_plain_averages_over_the_batches(masked: bool) -> None:
    """The same noise drawn again, and each batch's mean and unbiased variance averaged by hand."""
    generator = randomise(student(masked), 0)
    copied = copy.deepcopy(generator)
    recompute_batch_statistics(generator, named_generator(5, "statistics"), batches=4, batch_size=6)
    for (name, value), original in zip(generator.named_parameters(), copied.parameters(), strict=True):
        assert torch.equal(value, original), name
    noise = named_generator(5, "statistics")
    batches = []
    for _ in range(4):
        z = torch.randn(6, DIM_Z, generator=noise)
        batches.append((z, torch.randint(CLASSES, (6,), generator=noise)))
    for name, seen in inputs_of_norms(copied, batches).items():
        channels = [batch.transpose(0, 1).flatten(1).double() for batch in seen]
        mean = sum(each.mean(dim=1) for each in channels) / 4
        var = sum(each.var(dim=1, correction=1) for each in channels) / 4
        norm = generator.get_submodule(name)
        scale = max(1.0, float(var.max()))
        assert largest_difference(norm.running_mean.double(), mean) < 1e-4 * scale, name
        assert largest_difference(norm.running_var.double(), var) < 1e-4 * scale, name
        last_only = channels[-1].mean(dim=1)
        assert largest_difference(mean, last_only) > 1e-3 * scale  # the broken case: the last batch's
