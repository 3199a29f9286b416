"""The networks of BigGAN and SA-GAN: published sizes, PP-Res generators, initial weights, refusals."""

import copy
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from reference import largest_difference, noise_and_labels, parameters, refused
from torch import Tensor, nn

import ppcd
import ppcd.networks.discriminators
import ppcd.networks.generators
from ppcd.base import eval_mode
from ppcd.baselines.tinygan import FeatureDiscriminator
from ppcd.method import losses
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator

RESOLUTIONS = [32, 64, 128]
ARCHS = ["biggan", "sagan"]
BUILDERS = [build_generator, build_discriminator]
DIM_Z = {"biggan": 60, "sagan": 7}  # small; 60 is a multiple of 4, 5 and 6 chunks
CLASSES = 3


def tiny(arch: str = "sagan", resolution: int = 32) -> Generator:
    """A random generator with masks in float64 and evaluation mode."""
    generator = build_generator(arch, resolution, CLASSES, 1, masked=True, dim_z=DIM_Z[arch])
    return reference.randomise(generator.double(), 1).eval()


def inputs(generator: Generator) -> tuple[Tensor, Tensor]:
    return noise_and_labels(2, generator.dim_z, CLASSES, 0, torch.float64)


# ------------------------------------------------------------ the whole network


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("arch", ARCHS)
def test_a_masked_generator_computes_what_the_reference_describes(arch: str, resolution: int) -> None:
    """Those without masks are compared in tests/test_biggan_pytorch.py."""
    generator = tiny(arch, resolution)
    z, y = inputs(generator)
    with torch.no_grad():
        images, features = generator(z, y, return_features=True)
        expected, expected_features = reference.generator(generator.state_dict(), arch, resolution, z, y)
    assert largest_difference(images, expected) < 1e-10
    for feature, expected_feature in zip(features, expected_features, strict=True):
        assert largest_difference(feature, expected_feature) < 1e-9
    assert images.std(dim=(2, 3)).min() > 1e-3  # neither dead nor saturated: a mistake would be seen
    assert images.abs().median() < 0.99
    channels = [multiple for multiple in reference.G_CHANNELS[resolution][1:] for _ in (1, 2)]
    assert [mask.channels for mask in generator.masks().values()] == channels


@pytest.mark.parametrize(
    ("build", "arch", "options", "expected"),
    [
        (build_generator, "biggan", {}, 70_433_988),
        (build_generator, "sagan", {}, 42_017_412),
        # and in each block a transition of c x c + c and two masks of c: c = 1024, 512, 256, 128, 64
        (build_generator, "sagan", {"masked": True}, 42_017_412 + 1_396_736 + 3 * 1984),
        (build_discriminator, "biggan", {}, 87_982_370),
        (build_discriminator, "sagan", {}, 39_448_258),
    ],
)
def test_parameters_at_paper_scale(
    build: Any, arch: str, options: dict[str, bool], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (ppcd.networks.generators, ppcd.networks.discriminators):
        monkeypatch.setattr(module, "initialise", lambda *_: None)
    with torch.device("meta"):  # without memory for the weights
        network = build(arch, 128, 1000, **options)
    assert parameters(network) == expected
    if build is build_generator:
        assert network.config.width == {"biggan": 96, "sagan": 64}[arch]
        assert network.dim_z == {"biggan": 120, "sagan": 128}[arch]


# ------------------------------------------------------------ evaluation and training


@pytest.mark.parametrize("arch", ARCHS)
def test_training_reaches_every_parameter_and_evaluation_changes_nothing(arch: str) -> None:
    generator = tiny(arch, 64)
    discriminator = reference.randomise(build_discriminator(arch, 64, CLASSES, 2).double(), 0)
    z, y = inputs(generator)
    before = copy.deepcopy(generator.state_dict())
    generator(z, y)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    losses.generator_hinge(discriminator(generator.train()(z, y), y)).backward()
    changed = [name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])]
    kinds = {name.rsplit(".", 1)[-1] for name in changed}
    assert kinds == {"u", "running_mean", "running_var", "num_batches_tracked"}
    named = [*generator.named_parameters(), *discriminator.named_parameters()]
    without = [name for name, p in named if p.grad is None or p.grad.abs().max() == 0]
    # batch norm takes away what is the same everywhere, and with it the bias before it
    assert set(without) <= {f"blocks.{i}.conv1.bias" for i in range(4)}


# ------------------------------------------------------------ masks


@pytest.mark.parametrize("loss", ["hinge", "minimax"])
def test_the_gradients_of_both_losses_reach_masks_until_they_freeze(loss: str) -> None:
    generator = tiny().train()
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


# ------------------------------------------------------------ initial weights


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("arch", ARCHS)
def test_initial_weights_depend_on_the_seed_only(build: Any, arch: str) -> None:
    torch.manual_seed(1)
    first = build(arch, 32, CLASSES, 2, seed=3).state_dict()
    before = torch.random.get_rng_state()
    second = build(arch, 32, CLASSES, 2, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = build(arch, 32, CLASSES, 2, seed=4).state_dict()
    weights = [name for name in first if name.endswith(".weight") and name != "output_norm.weight"]
    assert not any(torch.equal(first[name], other[name]) for name in weights)
    if build is build_generator:
        masked = build(arch, 32, CLASSES, 2, masked=True, seed=3).state_dict()
        assert all(torch.equal(value, masked[name]) for name, value in first.items())


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


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("arch", ARCHS)
def test_initial_values(build: Any, arch: str) -> None:
    network = build(arch, 64, CLASSES, 2, seed=1)
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            continue
        if arch == "biggan":
            singular = torch.linalg.svdvals(layer.weight.detach().flatten(1))
            assert largest_difference(singular, torch.ones_like(singular)) < 1e-4  # orthogonal
        else:
            bound = (6 / (layer.weight[0, 0].numel() * sum(layer.weight.shape[:2]))) ** 0.5
            assert 0.7 * bound < layer.weight.abs().max() <= bound  # xavier uniform
    if build is build_generator:
        assert network.attention.gamma.item() == 0
        assert torch.equal(network.output_norm.weight, torch.ones(4))


# ------------------------------------------------------------ configuration and refusals


SAGAN = {"arch": "sagan", "resolution": 32, "num_classes": 3, "width": 1, "dim_z": 4}


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"arch": "vqgan"}, ["'vqgan'", "biggan, sagan"]),
        ({"resolution": 16}, ["32, 64, 128", "got 16"]),
        ({"dim_z": 4.0}, ["dim_z of sagan", "positive multiple of 1", "got 4.0"]),
        ({"arch": "biggan", "dim_z": 6}, ["dim_z of biggan", "multiple of 4", "got 6"]),
        ({"width": "1"}, ["width must be a positive integer", "'1'"]),
        ({"hidden": [[1, 1]]}, ["at 32 px there are 4 channels and 3 pairs of hidden ones", "and ((1, 1),)"]),
        ({"transition": True, "hidden": [[1, 1], [1, 0], [1, 1]]}, ["all positive", "(1, 0)"]),
        ({"transition": False, "hidden": [[2, 1]] * 3}, ["whose second is the block's output unless", "(2, 1)"]),
        ({"channels": [8, 0, 8, 8]}, ["all positive", "got (8, 0, 8, 8)"]),
        ({"channels": [8, 8, 8]}, ["there are 4 channels", "got (8, 8, 8)"]),
    ],
)
def test_an_impossible_configuration_is_refused(values: dict[str, object], parts: list[str]) -> None:
    GeneratorConfig.from_dict(SAGAN)
    with refused(*parts):
        GeneratorConfig.from_dict({**SAGAN, **values})


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("value", [0, 2.0, "3", True])
def test_impossible_numbers_are_refused(build: Any, value: Any) -> None:
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
        (lambda x: (x.tolist(), Y), "list and [2] of torch.int64"),
        (lambda x: (x, Y.tolist()), "of torch.float32 and list"),
        (lambda x: (x, Y.float()), "and [2] of torch.float32"),
        (lambda x: (x, Y[:1]), "and [1] of torch.int64"),
        (lambda x: (x, Y + 1), "labels from 1 to 3"),
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


def test_a_grey_generator_has_three_equal_channels_also_slim_and_from_a_file(tmp_path: Path) -> None:
    G = build_generator("sagan", 32, 10, 4, masked=True, dim_z=16, grey=True)
    for mask in G.masks().values():
        mask.freeze(torch.arange(mask.channels) % 2 == 0)
    z, y = torch.randn(3, 16), torch.arange(3)
    with eval_mode(G):
        images = G(z, y)
    assert images.shape == (3, 3, 32, 32) and torch.equal(images[:, 0], images[:, 2])
    small = ppcd.slim(G)
    ppcd.save_generator(small, tmp_path / "g.safetensors")
    assert torch.allclose(ppcd.load_generator(tmp_path / "g.safetensors")(z, y), images, atol=1e-4)
    plain = build_generator("sagan", 32, 10, 4, masked=True, dim_z=16)
    difference = ppcd.complexity(plain).params - ppcd.complexity(G).params
    assert difference == 2 * (9 * 16 + 1)  # two of the last convolution's filters
    assert "grey" not in plain.config.to_dict()
