"""Generators: the reference networks of BigGAN and SA-GAN, and PP-Res generators."""

import copy
import json
from typing import Any

import pytest
import reference
import torch
from reference import largest_difference, noise_and_labels, parameters, refused
from torch import Tensor, nn

import ppcd.networks.discriminators
import ppcd.networks.generators
from ppcd.baselines.tinygan import FeatureDiscriminator
from ppcd.method import losses
from ppcd.method.masks import ChannelMask
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.networks.layers import SpectralNorm

RESOLUTIONS = [32, 64, 128]
ARCHS = ["biggan", "sagan"]
BLOCKS = {32: 3, 64: 4, 128: 5}
DIM_Z = {"biggan": 60, "sagan": 7}  # small; 60 is a multiple of 4, 5 and 6 chunks
CLASSES = 3


def tiny(arch: str = "sagan", resolution: int = 32, masked: bool = False, width: int = 1, seed: int = 0) -> Generator:
    """A random generator in float64 and evaluation mode."""
    generator = build_generator(arch, resolution, CLASSES, width, masked, dim_z=DIM_Z[arch])
    return reference.randomise(generator.double(), seed).eval()


def inputs(generator: Generator, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    return noise_and_labels(batch, generator.dim_z, CLASSES, seed, torch.float64)


# ------------------------------------------------------------ the whole network


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_generator_computes_what_the_reference_describes(arch: str, resolution: int, masked: bool) -> None:
    generator = tiny(arch, resolution, masked, seed=1)
    z, y = inputs(generator)
    with torch.no_grad():
        images, features = generator(z, y, return_features=True)
        expected, expected_features = reference.generator(generator.state_dict(), arch, resolution, z, y)
    assert largest_difference(images, expected) < 1e-10
    assert len(features) == len(expected_features) == BLOCKS[resolution]
    for feature, expected_feature in zip(features, expected_features, strict=True):
        assert largest_difference(feature, expected_feature) < 1e-9
    assert images.std(dim=(2, 3)).min() > 1e-3  # neither dead nor saturated: a mistake would be seen
    assert images.abs().median() < 0.99


@pytest.fixture
def shapes_only(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Networks of paper scale without memory for their weights."""
    for module in (ppcd.networks.generators, ppcd.networks.discriminators):
        monkeypatch.setattr(module, "initialise", lambda *_: None)
    return torch.device("meta")


@pytest.mark.parametrize(
    ("arch", "masked", "expected"),
    [
        ("biggan", False, 70_433_988),
        ("sagan", False, 42_017_412),
        # and in each block a transition of c x c + c and two masks of c: c = 1024, 512, 256, 128, 64
        ("sagan", True, 42_017_412 + 1_396_736 + 3 * 1984),
    ],
)
def test_parameters_at_paper_scale(shapes_only: torch.device, arch: str, masked: bool, expected: int) -> None:
    with shapes_only:
        generator = build_generator(arch, 128, 1000, masked=masked)
    assert parameters(generator) == expected
    assert generator.config.width == {"biggan": 96, "sagan": 64}[arch]
    assert generator.dim_z == {"biggan": 120, "sagan": 128}[arch]


# ------------------------------------------------------------ evaluation and training


@pytest.mark.parametrize("arch", ARCHS)
def test_evaluation_changes_no_state_and_training_does(arch: str) -> None:
    generator = tiny(arch, 64, masked=True)
    before = copy.deepcopy(generator.state_dict())
    generator(*inputs(generator))
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    generator.train()(*inputs(generator))
    changed = {
        name.rsplit(".", 1)[-1]
        for name, value in generator.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed == {"u", "running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.parametrize("arch", ARCHS)
def test_every_parameter_gets_a_gradient(arch: str) -> None:
    generator = tiny(arch, 64, masked=True).train()
    discriminator = build_discriminator("sagan", 64, CLASSES, 1).double()
    z, y = inputs(generator)
    losses.generator_hinge(discriminator(generator(z, y), y)).backward()
    without = [name for name, p in generator.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # batch norm takes away what is the same everywhere, and with it the bias before it
    assert set(without) <= {f"blocks.{i}.conv1.bias" for i in range(4)}


# ------------------------------------------------------------ masks


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_masks_of_a_generator(resolution: int) -> None:
    generator = build_generator("sagan", resolution, CLASSES, 2, masked=True)
    masks = generator.masks()
    n = BLOCKS[resolution]
    assert list(masks) == [f"blocks.{i}.mask{k}" for i in range(n) for k in (1, 2)]
    channels = [2 * multiple for multiple in reference.G_CHANNELS[resolution][1:] for _ in (1, 2)]
    assert [mask.channels for mask in masks.values()] == channels
    assert all(isinstance(mask, ChannelMask) and not mask.frozen for mask in masks.values())
    assert build_generator("sagan", resolution, CLASSES, 2).masks() == {}


@pytest.mark.parametrize("loss", ["hinge", "minimax"])
def test_the_gradients_of_both_losses_reach_masks_until_they_freeze(loss: str) -> None:
    generator = tiny("sagan", 32, masked=True).train()
    discriminator = reference.randomise(build_discriminator("sagan", 32, CLASSES, 1).double(), 0)
    z, y = inputs(generator)

    def backward() -> None:
        generator.zero_grad()
        losses.ADVERSARIAL[loss][1](discriminator(generator(z, y), y)).backward()

    masks = list(generator.masks().values())
    _, features = generator(z, y, return_features=True)
    losses.class_aware_distillation([feature.detach() + 1 for feature in features], features).backward()
    assert all(mask.weight.grad.abs().max() > 0 for mask in masks)
    backward()
    assert all(mask.weight.grad.abs().min() > 0 for mask in masks)
    masks[2].freeze(torch.tensor([True, False, True, True]))
    backward()
    assert masks[2].weight.grad is None
    assert all(mask.weight.grad.abs().max() > 0 for index, mask in enumerate(masks) if index != 2)
    assert generator.blocks[1].conv1.weight.grad.abs().sum() > 0


def test_frozen_masks_survive_state_dict_and_deepcopy() -> None:
    generator = tiny("sagan", 32, masked=True)
    generator.blocks[0].mask1.freeze(torch.tensor([True, False, False, True]))
    z, y = inputs(generator)
    expected = generator(z, y)
    loaded = build_generator("sagan", 32, CLASSES, 1, masked=True, dim_z=generator.dim_z).double().eval()
    loaded.load_state_dict(generator.state_dict())
    for other in (loaded, copy.deepcopy(generator)):
        assert [mask.frozen for mask in other.masks().values()] == [True, *[False] * 5]
        assert torch.equal(other(z, y), expected)
    loaded.blocks[0].mask1.load_state_dict(ChannelMask(4).state_dict())
    assert not torch.equal(loaded(z, y), expected)


# ------------------------------------------------------------ initial weights


def test_a_masked_generator_starts_as_the_plain_one_where_both_have_weights() -> None:
    plain = build_generator("sagan", 32, CLASSES, 2, seed=5).state_dict()
    masked = build_generator("sagan", 32, CLASSES, 2, masked=True, seed=5).state_dict()
    assert set(plain) < set(masked)
    assert all(torch.equal(value, masked[name]) for name, value in plain.items())
    other = build_generator("sagan", 32, CLASSES, 2, seed=6).state_dict()
    weights = [name for name in plain if name.endswith(".weight") and name != "output_norm.weight"]
    assert not any(torch.equal(plain[name], other[name]) for name in weights)


@pytest.mark.parametrize("arch", ARCHS)
def test_initial_weights_and_the_global_seed_do_not_touch_each_other(arch: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_generator(arch, 32, CLASSES, 1, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    build_discriminator(arch, 32, CLASSES, 2)
    second = build_generator(arch, 32, CLASSES, 1, seed=3).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_no_two_layers_start_from_the_same_weights() -> None:
    """Not within a generator, and not in the discriminator of the same seed."""
    generator = build_generator("sagan", 32, CLASSES, 2, masked=True)
    discriminator = build_discriminator("sagan", 32, CLASSES, 2)
    weights = [
        layer.weight.detach().flatten()
        for network in (generator, discriminator)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)
    ]
    starts = [tuple((weight / weight.abs().max())[:8].tolist()) for weight in weights]
    assert len(set(starts)) == len(starts)


def test_initial_values() -> None:
    biggan, sagan = (build_generator(arch, 64, CLASSES, 2, seed=1) for arch in ARCHS)
    for layer in biggan.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            matrix = layer.weight.detach().flatten(1)
            singular = torch.linalg.svdvals(matrix)
            assert largest_difference(singular, torch.ones_like(singular)) < 1e-4  # orthogonal
    for layer in sagan.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            rows, columns = layer.weight.shape[:2]
            field = layer.weight[0, 0].numel()
            bound = (6 / (field * (rows + columns))) ** 0.5
            assert 0.7 * bound < layer.weight.abs().max() <= bound  # xavier uniform
    for generator in (biggan, sagan):
        assert generator.attention.gamma.item() == 0
        assert torch.equal(generator.output_norm.weight, torch.ones(4))
        for module in generator.modules():
            if isinstance(module, SpectralNorm):
                assert module.u.abs().min() > 0
                assert module.scale.item() == 1


# ------------------------------------------------------------ configuration and refusals


def test_a_configuration_survives_json() -> None:
    config = GeneratorConfig("sagan", 32, 3, 2, 8, transition=True, hidden=((1, 2), (3, 4), (5, 6)))
    assert GeneratorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    generator = build_generator("biggan", 64, 4, 1, masked=True, dim_z=10)
    assert GeneratorConfig.from_dict(json.loads(json.dumps(generator.config.to_dict()))) == generator.config


SAGAN = {"arch": "sagan", "resolution": 32, "num_classes": 3, "width": 1, "dim_z": 4}


@pytest.mark.parametrize("values", [{**SAGAN, "widht": 2}, {"arch": "sagan"}, {"hidden": [1, 2]}, [], None])
def test_another_configuration_is_refused(values: Any) -> None:
    with refused("not the configuration of a generator"):
        GeneratorConfig.from_dict(values)


SAGAN = {"arch": "sagan", "resolution": 32, "num_classes": 3, "width": 1, "dim_z": 4}


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"arch": "vqgan"}, ["'vqgan'", "biggan, sagan"]),
        ({"resolution": 16}, ["32, 64, 128", "got 16"]),
        ({"resolution": 32.0}, ["32, 64, 128", "got 32.0"]),
        ({"dim_z": 4.0}, ["dim_z of sagan", "positive multiple of 1", "got 4.0"]),
        ({"arch": "biggan", "dim_z": 6}, ["dim_z of biggan", "multiple of 4", "got 6"]),
        ({"hidden": [[1, 1]]}, ["hidden must be 3 pairs", "((1, 1),)"]),
        ({"hidden": [[1, 1], [1, 0], [1, 1]]}, ["at least one channel", "(1, 0)"]),
    ],
)
def test_an_impossible_configuration_is_refused(values: dict[str, object], parts: list[str]) -> None:
    GeneratorConfig.from_dict(SAGAN)
    with refused(*parts):
        GeneratorConfig.from_dict({**SAGAN, **values})


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
@pytest.mark.parametrize("value", [0, 2.0, "3", True])
def test_unknown_networks_and_impossible_numbers_are_refused(build: Any, value: Any) -> None:
    with refused("'bigan'", "biggan, sagan"):
        build("bigan", 32, 3)
    with refused("num_classes must be a positive integer", f"got {value!r}"):
        build("sagan", 32, value, 1)
    with refused("width must be a positive integer", f"got {value!r}"):
        build("sagan", 32, 3, value)


G_TAKES = "this generator takes z [batch, 60] of torch.float32 and y [batch] of torch.int64, labels from 0 to 2; got "
D_TAKES = G_TAKES.replace("generator takes z [batch, 60]", "discriminator takes images [batch, 3, 32, 32]")
NETWORKS: list[tuple[Any, Tensor, str]] = [
    (build_generator("biggan", 32, CLASSES, 1, dim_z=60).eval(), torch.zeros(2, 60), G_TAKES),
    (build_generator("sagan", 32, CLASSES, 1, dim_z=60, masked=True).eval(), torch.zeros(2, 60), G_TAKES),
    (build_discriminator("sagan", 32, CLASSES, 1).eval(), torch.zeros(2, 3, 32, 32), D_TAKES),
    (FeatureDiscriminator(32, CLASSES, 1).eval(), torch.zeros(2, 3, 32, 32), D_TAKES),
]
Y = torch.tensor([0, CLASSES - 1])


@pytest.mark.parametrize(("network", "x", "takes"), NETWORKS)
@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda x: (x[:, 1:], Y), "[2, "),
        (lambda x: (x.double(), Y), "of torch.float64 and [2] of torch.int64"),
        (lambda x: (x.byte(), Y), "of torch.uint8 and [2] of torch.int64"),
        (lambda x: (x.tolist(), Y), "list and [2] of torch.int64"),
        (lambda x: (x, Y.tolist()), "of torch.float32 and list"),
        (lambda x: (x, Y.numpy()), "of torch.float32 and ndarray"),
        (lambda x: (x, Y.float()), "and [2] of torch.float32"),
        (lambda x: (x, Y[:1]), "and [1] of torch.int64"),
        (lambda x: (x, Y + 1), "labels from 1 to 3"),
        (lambda x: (x, Y - 1), "labels from -1 to 1"),
    ],
)
def test_inputs_of_other_types_shapes_and_classes_are_refused(
    network: nn.Module, x: Tensor, takes: str, change: Any, got: str
) -> None:
    network(x, Y.int())
    with refused(takes, got):
        network(*change(x))


@pytest.mark.parametrize(("network", "x", "takes"), NETWORKS)
def test_inputs_follow_the_type_of_the_weights(network: nn.Module, x: Tensor, takes: str) -> None:
    half = copy.deepcopy(network).bfloat16()
    half(x.bfloat16(), Y)
    with refused("of torch.bfloat16 and y", "(after .float() it takes ", " of torch.float32)"):
        half(x, Y)
    with torch.autocast("cpu", torch.bfloat16):
        network(x.bfloat16(), Y)
