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
from ppcd.method import losses
from ppcd.method.masks import ChannelMask
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.networks.layers import SelfAttention, SpectralNorm
from ppcd.networks.resampling import straightforward

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


def modules_of(network: nn.Module, kind: type) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, kind)]


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


@pytest.mark.parametrize("arch", ARCHS)
def test_the_straightforward_form_is_the_same_generator(arch: str) -> None:
    """Convolutions merged with the change of size (the default), or after it as in the reference code."""
    generator = tiny(arch, 32, masked=True)
    z, y = inputs(generator)
    with straightforward(generator):
        expected = generator(z, y)
    assert largest_difference(generator(z, y), expected) < 1e-12


@pytest.mark.parametrize("arch", ARCHS)
def test_one_more_power_iteration_gives_other_images(arch: str) -> None:
    """The tolerance of the test above tells the rule of the reference code from one that is nearly right."""
    generator = tiny(arch, 32)
    z, y = inputs(generator)
    state = generator.state_dict()
    images, _ = reference.generator(state, arch, 32, z, y)
    for name in [name for name in state if name.endswith(".u")]:
        weight = state[name.removesuffix("u") + "weight"]
        _, u_next, _ = reference.spectral_norm(weight, state[name], reference.EPS[arch])
        state[name] = torch.tensor([u_next], dtype=torch.float64)
    assert largest_difference(images, reference.generator(state, arch, 32, z, y)[0]) > 1e-2


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_parameters_are_those_counted_on_paper(arch: str, resolution: int, masked: bool) -> None:
    generator = build_generator(arch, resolution, CLASSES, 2, masked, dim_z=DIM_Z[arch])
    expected = reference.generator_parameters(
        arch, resolution, CLASSES, 2, DIM_Z[arch], transition=masked, masks=masked
    )
    assert parameters(generator) == expected


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


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_images_and_features(arch: str, resolution: int) -> None:
    generator = tiny(arch, resolution, masked=True, width=2)
    z, y = inputs(generator, batch=2)
    images, features = generator(z, y, return_features=True)
    assert images.shape == (2, 3, resolution, resolution)
    assert images.abs().max() <= 1
    channels = [2 * multiple for multiple in reference.G_CHANNELS[resolution][1:]]
    sizes = [8 * 2**i for i in range(BLOCKS[resolution])]
    assert [tuple(o.shape) for o in features] == [(2, c, size, size) for c, size in zip(channels, sizes, strict=True)]
    assert torch.equal(generator(z, y), images)
    assert (generator.resolution, generator.num_classes) == (resolution, CLASSES)


def test_features_are_what_the_blocks_give_before_attention() -> None:
    generator = tiny("sagan", 64)
    given: list[Tensor] = []
    for block in generator.blocks:
        block.register_forward_hook(lambda _, __, output: given.append(output))
    _, features = generator(*inputs(generator), return_features=True)
    assert all(a is b for a, b in zip(features, given, strict=True))


# ------------------------------------------------------------ where noise, labels and attention enter


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_each_chunk_of_noise_enters_its_own_block(resolution: int) -> None:
    generator = tiny("biggan", resolution)
    generator.attention = None  # takes most of the time and no noise
    z, y = inputs(generator)
    blocks = BLOCKS[resolution]
    chunk = 60 // (blocks + 1)
    _, before = generator(z, y, return_features=True)
    for index in range(blocks + 1):
        other = z.clone()
        other[:, index * chunk : (index + 1) * chunk] += 1
        _, after = generator(other, y, return_features=True)
        first_changed = max(0, index - 1)  # chunk 0 enters the linear layer, chunk i block i - 1
        for k in range(blocks):
            assert torch.equal(before[k], after[k]) == (k < first_changed)
    generator.blocks[-1].bn1.gain.weight.data[:, 128:] = 0
    generator.blocks[-1].bn1.bias.weight.data[:, 128:] = 0
    generator.blocks[-1].bn2.gain.weight.data[:, 128:] = 0
    generator.blocks[-1].bn2.bias.weight.data[:, 128:] = 0
    last = z.clone()
    last[:, -chunk:] += 1
    assert torch.equal(generator(z, y), generator(last, y))  # it entered through those columns only


def test_the_first_chunk_enters_the_linear_layer_only() -> None:
    generator = tiny("biggan", 32)
    generator.linear.weight.data.zero_()
    generator.linear.weight.data[0, 0] = 1e-3  # sigma must not be zero
    generator.linear.eps = 1.0
    z, y = inputs(generator)
    other = z.clone()
    other[:, 1:15] += 5  # the first chunk of 15, but for its first entry
    assert torch.equal(generator(z, y), generator(other, y))


def test_all_of_the_noise_enters_sagan_at_the_linear_layer() -> None:
    generator = tiny("sagan", 32)
    z, y = inputs(generator)
    given: list[Tensor] = []
    generator.linear.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    for entry in range(generator.dim_z):
        other = z.clone()
        other[:, entry] += 1
        assert largest_difference(generator(z, y), generator(other, y)) > 1e-6
    assert torch.equal(given[0], z)


@pytest.mark.parametrize("arch", ARCHS)
def test_every_conditional_norm_sees_the_label(arch: str) -> None:
    """With the class's part of all other norms at zero, each one alone makes images differ by class."""
    generator = tiny(arch, 32)
    norms = [norm for block in generator.blocks for norm in (block.bn1, block.bn2)]
    z, _ = inputs(generator)

    def silence(norm: nn.Module) -> None:
        for layer in (norm.gain, norm.bias):
            weight = layer.weight.data
            if arch == "biggan":
                weight[:, :128] = 0
            else:
                weight[:] = weight[:1]

    for index in range(len(norms)):
        other = copy.deepcopy(generator)
        for k, norm in enumerate(norm for block in other.blocks for norm in (block.bn1, block.bn2)):
            if k != index:
                silence(norm)
        a, b = (other(z, torch.full((2,), label)) for label in (0, 1))
        assert largest_difference(a, b) > 1e-6
    for norm in norms:
        silence(norm)
    a, b = (generator(z, torch.full((2,), label)) for label in (0, 1))
    assert torch.equal(a, b)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("resolution", "block"), [(32, None), (64, 3), (128, 3)])
def test_attention_stands_behind_the_block_of_64_pixels(arch: str, resolution: int, block: int | None) -> None:
    generator = tiny(arch, resolution)
    assert modules_of(generator, SelfAttention) == ([] if block is None else ["attention"])
    assert generator.attention_after == block
    if block is not None:
        given: list[Tensor] = []
        generator.attention.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
        _, features = generator(*inputs(generator), return_features=True)
        assert len(given) == 1
        assert given[0] is features[block]
        assert given[0].shape[2:] == (64, 64)


@pytest.mark.parametrize("masked", [False, True])
def test_layers_under_spectral_norm(masked: bool) -> None:
    """All convolutions and linear layers; not the shared embedding of BigGAN nor the CBNs' of SA-GAN."""
    for arch in ARCHS:
        generator = tiny(arch, 64, masked)
        normalised = set(modules_of(generator, SpectralNorm))
        embeddings = set(modules_of(generator, nn.Embedding))
        assert normalised == set(modules_of(generator, nn.Conv2d | nn.Linear))
        assert not normalised & embeddings
        eps = {module.eps for module in generator.modules() if isinstance(module, SpectralNorm)}
        assert eps == {reference.EPS[arch]}
        if arch == "biggan":
            assert embeddings == {"shared"}
            assert generator.shared.weight.shape == (CLASSES, 128)
            assert isinstance(generator.blocks[0].bn1.gain, nn.Linear)
            assert generator.blocks[0].bn1.gain.bias is None
        else:
            assert len(embeddings) == 4 * len(generator.blocks)


# ------------------------------------------------------------ evaluation and training


@pytest.mark.parametrize("arch", ARCHS)
def test_at_evaluation_images_do_not_depend_on_the_batch(arch: str) -> None:
    generator = tiny(arch, 64, masked=True)
    z, y = inputs(generator, batch=3)
    with torch.no_grad():
        whole = generator(z, y)
        parts = torch.cat([generator(z[i : i + 1], y[i : i + 1]) for i in range(3)])
    assert largest_difference(whole, parts) < 1e-12
    in_training = tiny(arch, 32).train()
    assert largest_difference(in_training(z, y)[:2], in_training(z[:2], y[:2])) > 1e-3  # there they do


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
def test_the_adversarial_gradient_reaches_masks_until_they_freeze(loss: str) -> None:
    generator = tiny("sagan", 32, masked=True).train()
    discriminator = reference.randomise(build_discriminator("sagan", 32, CLASSES, 1).double(), 0)
    z, y = inputs(generator)

    def backward() -> None:
        generator.zero_grad()
        losses.ADVERSARIAL[loss][1](discriminator(generator(z, y), y)).backward()

    backward()
    masks = list(generator.masks().values())
    assert all(mask.weight.grad.abs().min() > 0 for mask in masks)
    masks[2].freeze(torch.tensor([True, False, True, True]))
    backward()
    assert masks[2].weight.grad is None
    assert all(mask.weight.grad.abs().max() > 0 for index, mask in enumerate(masks) if index != 2)
    assert generator.blocks[1].conv1.weight.grad.abs().sum() > 0


def test_the_gradient_of_the_distillation_reaches_masks() -> None:
    teacher, student = tiny("biggan", 32, seed=1), tiny("sagan", 32, masked=True)
    with torch.no_grad():
        _, targets = teacher(*inputs(teacher), return_features=True)
    _, features = student(*inputs(student), return_features=True)
    losses.class_aware_distillation(targets, features).backward()
    assert all(mask.weight.grad.abs().max() > 0 for mask in student.masks().values())


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
def test_initial_weights_do_not_depend_on_the_global_seed_nor_on_what_was_built_before(arch: str) -> None:
    torch.manual_seed(1)
    first = build_generator(arch, 32, CLASSES, 1, seed=3).state_dict()
    torch.manual_seed(2)
    build_discriminator(arch, 32, CLASSES, 2)
    second = build_generator(arch, 32, CLASSES, 1, seed=3).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("masked", [False, True])
def test_building_leaves_the_global_random_state_alone(arch: str, masked: bool) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    generator = build_generator(arch, 32, CLASSES, 1, masked)
    generator(*noise_and_labels(2, generator.dim_z, CLASSES, 0))
    assert torch.equal(torch.random.get_rng_state(), before)


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


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"arch": "sagan", "resolution": 32, "num_classes": 3, "width": 1, "dim_z": 4, "widht": 2}, "widht"),
        ({"arch": "sagan", "resolution": 32, "num_classes": 3, "width": 1}, "dim_z"),
        ({"hidden": [1, 2]}, "configuration"),
        ({"hidden": [["a", 2]]}, "configuration"),
    ],
)
def test_another_configuration_is_refused(values: dict[str, object], named: str) -> None:
    with refused("not the configuration of a generator", named):
        GeneratorConfig.from_dict(values)


SAGAN = {"arch": "sagan", "resolution": 32, "num_classes": 3, "width": 1, "dim_z": 4}


@pytest.mark.parametrize("values", [[], 3, None, "sagan"])
def test_a_configuration_that_is_no_object_is_refused(values: Any) -> None:
    with refused("not the configuration of a generator"):
        GeneratorConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"arch": "vqgan"}, ["'vqgan'", "biggan, sagan"]),
        ({"resolution": 16}, ["32, 64, 128", "got 16"]),
        ({"num_classes": 0}, ["num_classes", "positive integer", "got 0"]),
        ({"width": -2}, ["width", "positive integer", "got -2"]),
        ({"dim_z": 0}, ["dim_z of sagan", "positive multiple of 1", "got 0"]),
        ({"dim_z": 4.0}, ["dim_z of sagan", "positive multiple of 1", "got 4.0"]),
        ({"width": "4"}, ["width", "positive integer", "got '4'"]),
        ({"resolution": 32.0}, ["32, 64, 128", "got 32.0"]),
        ({"arch": "biggan", "dim_z": 6}, ["dim_z of biggan", "multiple of 4", "got 6"]),
        ({"hidden": [[1, 1]]}, ["hidden must be 3 pairs", "((1, 1),)"]),
        ({"hidden": []}, ["hidden must be 3 pairs", "()"]),
        ({"hidden": [[1, 1], [1, 0], [1, 1]]}, ["at least one channel", "(1, 0)"]),
    ],
)
def test_an_impossible_configuration_is_refused(values: dict[str, object], parts: list[str]) -> None:
    GeneratorConfig.from_dict(SAGAN)
    with refused(*parts):
        GeneratorConfig.from_dict({**SAGAN, **values})


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
def test_unknown_networks_are_refused(build: Any) -> None:
    with refused("'bigan'", "biggan, sagan"):
        build("bigan", 32, 3)
    for resolution in (0, 48, 256, -32, 32.0):
        with refused("resolution", "32, 64, 128", str(resolution)):
            build("sagan", resolution, 3, 1)


@pytest.mark.parametrize("build", [build_generator, build_discriminator])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True])
def test_numbers_that_are_not_positive_are_refused(build: Any, value: Any) -> None:
    with refused("num_classes must be a positive integer", f"got {value!r}"):
        build("sagan", 32, value, 1)
    with refused("width must be a positive integer", f"got {value!r}"):
        build("sagan", 32, 3, value)


@pytest.mark.parametrize(
    ("arch", "resolution", "dim_z", "multiple"),
    [
        ("biggan", 32, 14, "4"),
        ("biggan", 64, 12, "5"),
        ("biggan", 128, 20, "6"),
        ("sagan", 32, 0, "1"),
        ("sagan", 32, -4, "1"),
        ("sagan", 32, 120.0, "1"),
        ("sagan", 32, "a", "1"),
        ("sagan", 32, True, "1"),
    ],
)
def test_noise_of_an_impossible_size_is_refused(arch: str, resolution: int, dim_z: Any, multiple: str) -> None:
    with refused(f"dim_z of {arch}", f"multiple of {multiple}", f"got {dim_z!r}"):
        build_generator(arch, resolution, 3, 1, dim_z=dim_z)


def test_noise_of_another_size_is_refused() -> None:
    generator = tiny("sagan", 32)
    z, y = inputs(generator)
    with refused("z [batch, 7] and y [batch]", "[2, 6]", "[2]"):
        generator(z[:, :6], y)


def test_another_number_of_labels_is_refused() -> None:
    generator = tiny("sagan", 32)
    z, y = inputs(generator)
    unchecked = getattr(Generator.forward, "__wrapped__", Generator.forward)
    with refused("z [batch, 7] and y [batch]", "[2, 7]", "[1]"):
        unchecked(generator, z, y[:1])


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="widht"):
        build_generator("sagan", 32, 3, widht=4)
