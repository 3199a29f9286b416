"""Distill + NAS: one network that is many, the budget, the search, the losses, and resuming."""

import copy
import csv
from dataclasses import replace
from typing import Any

import pytest
import together
import torch
from reference import largest_difference, randomise, refused
from test_trainer import PROFILE, image_set, teacher_generator
from torch import Tensor

from ppcd.baselines.nas import NasTrainer
from ppcd.baselines.search import Candidate, check_budget, macs_budget, ranking, search
from ppcd.baselines.supernet import (
    Supernet,
    Widths,
    count_macs,
    draw_widths,
    extract,
    full_widths,
    make_supernet,
    search_space,
)
from ppcd.metrics.complexity import complexity
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.networks.layers import SpectralNorm
from ppcd.runs.train import train_run
from ppcd.training.config import run_config
from ppcd.training.methods import DistillNas
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe

METHOD = DistillNas(population=4, generations=2, samples=20, calibration=1)
FRACTIONS = METHOD.fractions
SMALL: Widths = (2, 3, 4, 1, 2, 4, 3)  # of 4 everywhere: layers of different widths
ALPHAS = (0.5, 0.6, 0.7, 0.8)


def whole(resolution: int = 32, width: int = 1, seed: int = 0) -> Supernet:
    """A network with random batch statistics, biases, embeddings and attention."""
    network = make_supernet(build_generator("sagan", resolution, 3, width, dim_z=8, seed=seed))
    randomise(network, seed)
    return network.eval()


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(5)), torch.arange(count) % 3


def drawn(config: GeneratorConfig, seed: int = 3) -> Widths:
    return draw_widths(search_space(config, FRACTIONS), torch.Generator().manual_seed(seed))


# ------------------------------------------------------------ one network that is many


@pytest.mark.parametrize(("resolution", "width"), [(32, 1), (64, 2), (128, 2)])
@pytest.mark.parametrize("for_training", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_a_sub_network_is_the_extracted_generator(resolution: int, width: int, for_training: bool, full: bool) -> None:
    network = whole(resolution, width)
    network.widths = full_widths(network.config) if full else drawn(network.config)
    extracted = extract(network, network.widths, for_training=for_training)
    assert type(extracted) is Generator
    assert largest_difference(extracted(*batch()), network(*batch())) < 2e-5
    assert extracted.config.channels == network.widths[::2]
    kept = [(block.conv1.out_channels, block.conv2.out_channels) for block in extracted.residual_blocks()]
    assert [channels for pair in kept for channels in pair] == list(network.widths[1:])
    assert any(isinstance(layer, SpectralNorm) for layer in extracted.modules()) is for_training

    network.train()  # the same batch statistics too
    assert largest_difference(extracted.train()(*batch()), network(*batch())) < (1e-3 if for_training else 2e-5)


# ------------------------------------------------------------ the space and its cost


@pytest.mark.parametrize(("resolution", "width"), [(32, 1), (64, 2), (128, 2)])
def test_macs_are_those_of_the_extracted_network(resolution: int, width: int) -> None:
    network = whole(resolution, width)
    for widths in (full_widths(network.config), drawn(network.config, 1), drawn(network.config, 2)):
        assert complexity(extract(network, widths)).macs == count_macs(network.config, widths)


def test_the_budget_is_that_of_ppcd_gan() -> None:
    """At width 4 and alpha .7, 4 of 16 channels are left in every layer."""
    config = build_generator("sagan", 32, 10, 4, dim_z=32).config
    slim = Generator(replace(config, transition=True, hidden=((4, 4),) * 3, spectral_norm=False))
    assert macs_budget(config, 0.7) == complexity(slim).macs
    budgets = [macs_budget(config, alpha) for alpha in ALPHAS]
    assert budgets == sorted(budgets, reverse=True) and len(set(budgets)) == len(ALPHAS)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("profile", ["smoke", "mnist", "cifar10-lite", "cifar10"])
def test_every_profile_can_meet_its_budget(profile: str, alpha: float) -> None:
    known = get_profile(profile)
    config = GeneratorConfig("sagan", known.resolution, known.num_classes, known.student_width, known.dim_z)
    check_budget(config, DistillNas(), macs_budget(config, alpha))


def test_a_budget_that_nothing_meets_is_refused_before_training() -> None:
    config = GeneratorConfig("sagan", 32, 3, 1, 8)
    smallest = count_macs(config, (1,) * 7)
    check_budget(config, METHOD, smallest)
    with refused("budget", str(smallest - 1), str(smallest)):
        check_budget(config, METHOD, smallest - 1)
    full = replace(METHOD, fractions=(1.0,))
    with refused("budget", str(count_macs(config, full_widths(config)))):
        trainer_of(method=full)


# ------------------------------------------------------------ the search

CONFIG = GeneratorConfig("sagan", 32, 3, 4, 8)
EVOLUTION = replace(METHOD, population=8, generations=4)


def evolve(seed: int = 0, **changes: Any) -> list[Candidate]:
    """The score is the distance to six channels everywhere."""
    generator = torch.Generator().manual_seed(seed)

    def score(widths: Widths) -> float:
        return float(sum(abs(channels - 6) for channels in widths))

    return search(CONFIG, replace(EVOLUTION, **changes), macs_budget(CONFIG, 0.7), score, generator)


def test_candidates_meet_the_budget_and_are_new() -> None:
    found, budget = evolve(), macs_budget(CONFIG, 0.7)
    assert len(found) == EVOLUTION.population * EVOLUTION.generations
    assert len({each.widths for each in found}) == len(found)
    assert all(each.macs == count_macs(CONFIG, each.widths) <= budget for each in found)
    space = search_space(CONFIG, FRACTIONS)
    assert all(channels in options for each in found for channels, options in zip(each.widths, space, strict=True))
    generator = torch.Generator().manual_seed(0)
    free = [count_macs(CONFIG, draw_widths(space, generator)) for _ in range(50)]
    assert max(free) > budget  # without the budget there would be others


def test_evolution_finds_more_than_chance() -> None:
    """Five seeds: the best of four generations against the best of as many random ones."""
    pairs = [(evolve(seed), evolve(seed, population=32, generations=1)) for seed in range(5)]
    best = [(ranking(bred)[0].distance, ranking(random)[0].distance) for bred, random in pairs]
    assert sum(bred for bred, _ in best) < sum(random for _, random in best)


def test_a_tight_budget_still_ends() -> None:
    """Only the smallest sub-network fits: draws are narrowed to it."""
    smallest = tuple(options[0] for options in search_space(CONFIG, FRACTIONS))
    budget = count_macs(CONFIG, smallest)
    generator = torch.Generator().manual_seed(0)
    settings = replace(EVOLUTION, population=1, generations=2)
    assert [each.widths for each in search(CONFIG, settings, budget, lambda _: 1.0, generator)] == [smallest]


# ------------------------------------------------------------ training


def trainer_of(method: DistillNas = METHOD) -> NasTrainer:
    recipe = replace(get_recipe("distill-nas"), baseline=method)
    return together.make_trainer(PROFILE, recipe, 0, image_set(count=30), teacher_generator())


def test_the_loss_is_the_sum_of_its_parts() -> None:
    """Against loops over images, channels and pixels."""
    trainer = trainer_of(method=replace(METHOD, gan=0.5, recon=3.0, distill=2.0))
    supernet, teacher = trainer.generator, trainer.teacher
    assert isinstance(supernet, Supernet) and teacher is not None and trainer.discriminator is not None
    supernet.widths = SMALL
    network, discriminator = copy.deepcopy(supernet), copy.deepcopy(trainer.discriminator)  # vectors of the norm move
    z, y = trainer.draw()
    loss, parts = trainer.generator_loss(z, y)

    with torch.no_grad():
        images, ours = network(z, y, return_features=True)
        wanted, theirs = teacher.generator(z, y, return_features=True)
        scores = discriminator(images, y)
    recon = sum(abs(a - b) for a, b in zip(images.flatten().tolist(), wanted.flatten().tolist(), strict=True))
    distance = 0.0
    for layer, o_s, o_t in zip(trainer.remappings.layers, ours, theirs, strict=True):
        assert layer.bias is not None
        weight, bias = layer.weight.detach(), layer.bias.detach()
        mapped = torch.einsum("oc,bchw->bohw", weight[:, : o_s.shape[1], 0, 0], o_s) + bias[:, None, None]
        distance += float((mapped - o_t).square().sum()) / o_t.numel()
    values = {name: part.item() for name, part in parts.items()}
    assert values == pytest.approx({
        "loss_adv": -float(scores.sum()) / len(y), "loss_pixel": recon / images.numel(), "loss_feature": distance,
    }, rel=1e-3, abs=1e-5)  # fmt: skip
    total = 0.5 * values["loss_adv"] + 3 * values["loss_pixel"] + 2 * values["loss_feature"]
    assert loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.usefixtures("quick")
def test_a_run_trains_searches_and_tunes_what_it_found() -> None:
    """The smoke profile: of the candidates that meet the budget the one of the smallest distance is kept."""
    config = run_config("smoke", "distill-nas", 0)
    run = train_run(replace(config, recipe=replace(config.recipe, baseline=METHOD)), callbacks=[])
    record = run.read()
    with run.path("search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == METHOD.population * METHOD.generations
    assert all(int(row["macs"]) <= int(row["budget"]) for row in rows)
    (chosen,) = [row for row in rows if row["chosen"] == "True"]
    assert float(chosen["fd"]) == min(float(row["fd"]) for row in rows)
    assert record["complexity"]["macs"] == int(chosen["macs"])
    assert [row["kept"] for row in record["masks"]] == [int(each) for each in chosen["widths"].split()]
