"""Checkpoints of BigGAN-PyTorch: the same images and scores, one line for every other file, and the way back."""

import itertools
import math
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from reference import largest_difference, noise_and_labels, parameters, randomise, refused
from torch import Tensor, nn

from ppcd import load_biggan_pytorch, load_biggan_pytorch_discriminator, save_biggan_pytorch
from ppcd.baselines.channels import select_channels
from ppcd.method.slim import slim
from ppcd.networks.biggan_pytorch import biggan_pytorch_state_dict
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, build_generator

Shapes = dict[str, tuple[int, ...]]
ARCHS = ["biggan", "sagan", "sngan"]
RESOLUTIONS = [32, 64, 128]
CLASSES = 3
CHUNKS = {32: 4, 64: 5, 128: 6}
G_WIDTH, D_WIDTH = 4, 8  # the self-attention of that code divides its channels by 8
WAY_OUT = ": ask for that one, or give another file"
ASKED: dict[str, Any] = {"resolution": 32, "num_classes": CLASSES, "width": G_WIDTH}


# ------------------------------------------------------------ the layout, by its description


def add_layer(shapes: Shapes, name: str, *weight: int, bias: bool = True) -> None:
    """A layer under spectral norm."""
    shapes[f"{name}.weight"] = weight
    if bias:
        shapes[f"{name}.bias"] = weight[:1]
    shapes[f"{name}.u0"], shapes[f"{name}.sv0"] = (1, weight[0]), (1,)


def add_attention(shapes: Shapes, name: str, channels: int) -> None:
    shapes[f"{name}.gamma"] = ()
    for part in ("theta", "phi"):
        add_layer(shapes, f"{name}.{part}", channels // 8, channels, 1, 1, bias=False)
    add_layer(shapes, f"{name}.g", channels // 2, channels, 1, 1, bias=False)
    add_layer(shapes, f"{name}.o", channels, channels // 2, 1, 1, bias=False)


def generator_shapes(arch: str, resolution: int, classes: int, width: int, dim_z: int) -> Shapes:
    channels = [multiple * width for multiple in reference.G_CHANNELS[resolution]]
    shapes: Shapes = {}
    chunk = dim_z // CHUNKS[resolution] if arch == "biggan" else dim_z
    if arch == "biggan":
        shapes["shared.weight"] = (classes, 128)
    add_layer(shapes, "linear", 16 * channels[0], chunk)
    for i, (c_in, c_out) in enumerate(itertools.pairwise(channels)):
        add_layer(shapes, f"blocks.{i}.0.conv1", c_out, c_in, 3, 3)
        add_layer(shapes, f"blocks.{i}.0.conv2", c_out, c_out, 3, 3)
        add_layer(shapes, f"blocks.{i}.0.conv_sc", c_out, c_in, 1, 1)
        for name, c in (("bn1", c_in), ("bn2", c_out)):
            name = f"blocks.{i}.0.{name}"
            for part in ("gain", "bias"):
                if arch == "biggan":
                    add_layer(shapes, f"{name}.{part}", c, 128 + chunk, bias=False)
                else:
                    shapes[f"{name}.{part}.weight"] = (classes, c)
            shapes[f"{name}.stored_mean"] = shapes[f"{name}.stored_var"] = (c,)
        if 8 * 2**i == 64 and arch != "sngan":
            add_attention(shapes, f"blocks.{i}.1", c_out)
    for part in ("gain", "bias", "stored_mean", "stored_var"):
        shapes[f"output_layer.0.{part}"] = (channels[-1],)
    add_layer(shapes, "output_layer.2", 3, channels[-1], 3, 3)
    return shapes


def discriminator_shapes(arch: str, resolution: int, classes: int, width: int) -> Shapes:
    channels = [3, *(multiple * width for multiple in reference.D_CHANNELS[resolution])]
    shapes: Shapes = {}
    for i, (c_in, c_out) in enumerate(itertools.pairwise(channels)):
        hidden = c_in if arch == "sngan" else c_out
        add_layer(shapes, f"blocks.{i}.0.conv1", hidden, c_in, 3, 3)
        add_layer(shapes, f"blocks.{i}.0.conv2", c_out, hidden, 3, 3)
        if i < reference.D_POOLS[resolution] or c_in != c_out:
            add_layer(shapes, f"blocks.{i}.0.conv_sc", c_out, c_in, 1, 1)
        if resolution == 128 and i == 0 and arch != "sngan":
            add_attention(shapes, "blocks.0.1", c_out)
    add_layer(shapes, "linear", 1, channels[-1])
    add_layer(shapes, "embed", classes, channels[-1], bias=False)
    return shapes


def filled(shapes: Shapes, seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random numbers: u0 neither of unit length nor a singular vector, statistics and gamma not what they start as."""
    generator = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for name, shape in shapes.items():
        noise, last = torch.randn(shape, generator=generator, dtype=dtype), name.rsplit(".", 1)[-1]
        if last == "stored_var":
            noise = 0.5 + noise.abs()
        elif last == "gamma":
            noise = torch.full_like(noise, 0.7)
        elif name == "output_layer.0.gain":
            noise = 0.4 + 0.1 * noise
        elif name == "output_layer.0.bias":
            noise = 0.2 + 0.1 * noise
        elif last == "u0":
            noise = 3 * noise
        else:
            noise = 0.4 * noise
        state[name] = noise
    return state


def dim_z_of(arch: str, resolution: int) -> int:
    return 3 * CHUNKS[resolution] if arch == "biggan" else 7


def generator_state(arch: str = "biggan", resolution: int = 32, **options: Any) -> dict[str, Tensor]:
    width = options.pop("width", G_WIDTH)
    dim_z = options.pop("dim_z", dim_z_of(arch, resolution))
    return filled(generator_shapes(arch, resolution, options.pop("classes", CLASSES), width, dim_z), **options)


def discriminator_state(arch: str = "biggan", resolution: int = 32, **options: Any) -> dict[str, Tensor]:
    width, classes = options.pop("width", D_WIDTH), options.pop("classes", CLASSES)
    return filled(discriminator_shapes(arch, resolution, classes, width), **options)


def single(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in state.items()}


def images_and_labels(resolution: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = 2 * torch.rand(2, 3, resolution, resolution, generator=generator, dtype=torch.float64) - 1
    return images.to(dtype), torch.tensor([2, 1])


def one_more_iteration(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What training writes back: u0 moved on by one power iteration."""
    moved = dict(state)
    for name in [name for name in state if name.endswith(".u0")]:
        matrix = state[f"{name[:-3]}.weight"].flatten(1)
        u = matrix @ (matrix.T @ state[name][0])
        moved[name] = (u / u.norm())[None]
    return moved


# ------------------------------------------------------------ the same images and scores


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_a_public_generator_gives_the_images_of_its_code(arch: str, resolution: int) -> None:
    state = generator_state(arch, resolution, seed=1)
    generator = load_biggan_pytorch(state, arch, resolution, CLASSES, G_WIDTH)
    assert generator.dim_z == dim_z_of(arch, resolution)
    assert (generator.config.arch, generator.config.resolution, generator.config.width) == (arch, resolution, G_WIDTH)
    assert (generator.config.num_classes, generator.config.masked, generator.training) == (CLASSES, False, False)
    z, y = noise_and_labels(2, generator.dim_z, CLASSES, 0, torch.float64)
    with torch.no_grad():
        images = generator(z, y)
        expected, _ = reference.generator(state, arch, resolution, z, y)
        in_single = load_biggan_pytorch(single(state), arch, resolution, CLASSES, G_WIDTH)(z.float(), y)
        moved, _ = reference.generator(one_more_iteration(state), arch, resolution, z, y)
    assert largest_difference(images, expected) < 1e-10
    assert in_single.dtype == torch.float32
    assert largest_difference(in_single, expected) < 1e-4
    assert largest_difference(images, moved) > 1e-2  # the stored vectors are stale, and used as they are
    assert images.std(dim=(2, 3)).min() > 1e-3
    assert images.abs().median() < 0.99


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_a_public_discriminator_gives_the_scores_of_its_code(arch: str, resolution: int) -> None:
    state = discriminator_state(arch, resolution, seed=1)
    images, y = images_and_labels(resolution, torch.float64)
    with torch.no_grad():
        discriminator = load_biggan_pytorch_discriminator(state, arch, resolution, CLASSES, D_WIDTH)
        scores = discriminator(images, y)
        expected = reference.discriminator(state, arch, resolution, images, y)
        in_single = load_biggan_pytorch_discriminator(single(state), arch, resolution, CLASSES, D_WIDTH)
        scores_in_single = in_single(images.float(), y)
        moved = reference.discriminator(one_more_iteration(state), arch, resolution, images, y)
    assert not discriminator.training
    scale = expected.abs().max().item()
    assert largest_difference(scores, expected) < 1e-10 * scale
    assert largest_difference(scores_in_single, expected) < 1e-4 * max(1.0, scale)
    assert largest_difference(scores, moved) > 1e-2 * scale


def test_the_vectorised_spectral_norm_of_the_reference_is_that_of_the_loops() -> None:
    state = generator_state()
    for name in ("linear", "blocks.0.0.conv1", "blocks.0.0.bn1.gain"):
        sigma, _, _ = reference.spectral_norm(state[f"{name}.weight"], state[f"{name}.u0"], 1e-6)
        assert largest_difference(reference.sn_weight(state, name, 1e-6) * sigma, state[f"{name}.weight"]) < 1e-12


@pytest.fixture(scope="module")
def full_size() -> dict[str, Tensor]:
    return filled(generator_shapes("biggan", 128, 1000, 96, 120), dtype=torch.float32)


def test_the_public_generator_at_full_size(full_size: dict[str, Tensor]) -> None:
    """BigGAN bs256x8: 128 px, 1000 classes, width 96, which are the defaults."""
    generator = load_biggan_pytorch(full_size)
    assert parameters(generator) == 70_433_988
    assert (generator.dim_z, generator.num_classes, generator.resolution) == (120, 1000, 128)
    z, y = noise_and_labels(1, 120, 1000, 0)
    y += 207
    with torch.no_grad():
        images = generator(z, y)
        expected, _ = reference.generator(full_size, "biggan", 128, z, y)
    assert largest_difference(images, expected) < 1e-4
    assert images.std() > 0.05
    assert images.abs().median() < 0.9


@pytest.mark.parametrize(
    ("shapes", "count"),
    [
        (generator_shapes("biggan", 128, 1000, 96, 120), 70_433_988),
        (generator_shapes("sagan", 128, 1000, 64, 128), 42_017_412),
        (discriminator_shapes("biggan", 128, 1000, 96), 87_982_370),
        (discriminator_shapes("sagan", 128, 1000, 64), 39_448_258),
    ],
)
def test_the_description_has_the_published_parameters(shapes: Shapes, count: int) -> None:
    buffers = ("u0", "sv0", "stored_mean", "stored_var")
    assert sum(math.prod(s) for name, s in shapes.items() if not name.endswith(buffers)) == count


@pytest.mark.parametrize("width", [64, 96])
def test_the_width_is_the_reference_if_not_given(width: int) -> None:
    arch = {64: "sagan", 96: "biggan"}[width]
    with refused(f"of width 4, width is {width}"):
        load_biggan_pytorch(generator_state(arch), arch, 32, CLASSES)
    with refused(f"of width 8, width is {width}"):
        load_biggan_pytorch_discriminator(discriminator_state(arch), arch, 32, CLASSES)


@pytest.mark.parametrize("sigma", ["without", "NaN"])
def test_sv0_is_not_read(sigma: str) -> None:
    state = generator_state()
    expected = load_biggan_pytorch(state, **ASKED).state_dict()
    for name in [name for name in state if name.endswith(".sv0")]:
        if sigma == "NaN":
            state[name] = torch.full((1,), math.nan)
        else:
            del state[name]
    loaded = load_biggan_pytorch(state, **ASKED).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in expected.items())


@pytest.mark.parametrize("form", ["torch 1.0", "now", "DataParallel", "with metadata"])
def test_files(form: str, tmp_path: Path) -> None:
    """The public files are of torch 1.0, from before torch wrote zip archives."""
    state = OrderedDict(generator_state())
    expected = load_biggan_pytorch(state, **ASKED).state_dict()
    if form == "DataParallel":
        state = OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    if form == "with metadata":  # as a module's state_dict() has it
        state._metadata = nn.Linear(1, 1).state_dict()._metadata  # type: ignore[attr-defined]
    torch.save(state, tmp_path / "G_ema.pth", _use_new_zipfile_serialization=form != "torch 1.0")
    for path in (tmp_path / "G_ema.pth", str(tmp_path / "G_ema.pth")):
        loaded = load_biggan_pytorch(path, **ASKED).state_dict()
        assert all(torch.equal(value, loaded[name]) for name, value in expected.items())


def test_the_given_state_dict_is_copied_and_the_network_can_be_trained() -> None:
    state = {name: nn.Parameter(tensor) for name, tensor in generator_state().items()}
    before = {name: tensor.detach().clone() for name, tensor in state.items()}
    random_state = torch.random.get_rng_state()
    generator = load_biggan_pytorch(state, **ASKED)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in generator.parameters())
    generator.train()(*noise_and_labels(2, generator.dim_z, CLASSES, 0, torch.float64)).square().sum().backward()
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter -= parameter.grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.items())


def test_half_precision_becomes_single() -> None:
    state = {name: tensor.half() for name, tensor in discriminator_state().items()}
    discriminator = load_biggan_pytorch_discriminator(state, **{**ASKED, "width": D_WIDTH})
    assert {tensor.dtype for tensor in discriminator.state_dict().values()} == {torch.float32}
    assert torch.equal(discriminator.embed.weight, state["embed.weight"].float())


# ------------------------------------------------------------ the way back


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_what_is_written_has_the_layout_and_comes_back_exactly(arch: str, resolution: int, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "network.pth"
    dim_z = dim_z_of(arch, resolution)
    generator = randomise(build_generator(arch, resolution, CLASSES, G_WIDTH, dim_z=dim_z), 0)
    discriminator = randomise(build_discriminator(arch, resolution, CLASSES, D_WIDTH), 0)
    cases: list[tuple[nn.Module, Shapes, Callable[..., nn.Module], int]] = [
        (generator, generator_shapes(arch, resolution, CLASSES, G_WIDTH, dim_z), load_biggan_pytorch, G_WIDTH),
        (
            discriminator,
            discriminator_shapes(arch, resolution, CLASSES, D_WIDTH),
            load_biggan_pytorch_discriminator,
            D_WIDTH,
        ),
    ]
    for network, shapes, load, width in cases:
        save_biggan_pytorch(network, path)
        written = torch.load(path, weights_only=True)
        assert {name: tuple(tensor.shape) for name, tensor in written.items()} == shapes
        loaded = load(path, arch, resolution, CLASSES, width)
        own = network.state_dict()
        assert list(loaded.state_dict()) == list(own)
        assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.state_dict().items())
        assert [entry.name for entry in path.parent.iterdir()] == ["network.pth"]
    assert loaded(*images_and_labels(resolution, torch.float32)).shape == (2,)


def test_a_public_file_comes_back_as_it_was() -> None:
    """All but sv0, which is the spectral norm that the network would use now."""
    state = generator_state("sagan", 64)
    back = biggan_pytorch_state_dict(load_biggan_pytorch(state, "sagan", 64, CLASSES, G_WIDTH))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        if name.endswith(".sv0"):
            layer = name.removesuffix(".sv0")
            sigma, _, _ = reference.spectral_norm(state[f"{layer}.weight"], state[f"{layer}.u0"], 1e-8)
            assert back[name].item() == pytest.approx(sigma, rel=1e-12)
        else:
            assert torch.equal(back[name], tensor)


def test_what_is_written_is_a_copy_and_the_same_each_time(tmp_path: Path) -> None:
    generator = build_generator("biggan", 32, CLASSES, G_WIDTH)
    state = biggan_pytorch_state_dict(generator)
    assert not any(tensor.requires_grad for tensor in state.values())
    before = state["linear.weight"].clone()
    for name in ("a", "b"):
        save_biggan_pytorch(generator, tmp_path / name)
    with torch.no_grad():
        generator.linear.weight.zero_()
    assert torch.equal(state["linear.weight"], before)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def masked() -> Generator:
    generator = build_generator("sagan", 32, CLASSES, G_WIDTH, masked=True)
    for mask in generator.masks().values():
        mask.freeze(torch.arange(mask.channels) % 2 == 0)
    return generator


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (masked, ["no masks, PP-Res transitions or pruned channels", "ppcd.save_generator(ppcd.slim("]),
        (lambda: slim(masked()), ["no masks, PP-Res transitions or pruned channels"]),
        (lambda: slim(masked(), for_training=True), ["no masks, PP-Res transitions or pruned channels"]),
        (lambda: slim(build_generator("biggan", 32, CLASSES, 4)), ["worked into its weights", "before ppcd.slim"]),
        (
            lambda: slim(build_generator("biggan", 32, CLASSES, 4), for_training=True),
            ["no scale of normalised weights", "before ppcd.slim"],
        ),
        (lambda: build_generator("tinygan", 32, CLASSES, 4), ["no tinygan", "ppcd.save_generator"]),
        (lambda: build_generator("sagan", 64, CLASSES, 3), ["at least 8 channels", "over 6"]),
        (lambda: build_discriminator("sagan", 128, CLASSES, 2), ["at least 8 channels", "over 2"]),
    ],
)
def test_what_that_code_would_compute_otherwise_is_not_written(
    make: Callable[[], Any], parts: list[str], tmp_path: Path
) -> None:
    with refused(*parts):
        save_biggan_pytorch(make(), tmp_path / "G.pth")
    assert list(tmp_path.iterdir()) == []


def test_pruned_channels_are_not_written(tmp_path: Path) -> None:
    plain = build_generator("sagan", 32, CLASSES, 4)
    outputs = [torch.arange(c) for c in (16, 16, 16, 12)]
    pruned = select_channels(plain, outputs, [torch.arange(8)] * 3, for_training=True)
    narrow = Generator(replace(plain.config, channels=(16, 16, 16, 12)))
    for generator in (pruned, narrow):
        with refused("no masks, PP-Res transitions or pruned channels"):
            save_biggan_pytorch(generator, tmp_path / "G.pth")


# ------------------------------------------------------------ refusals


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    trace, path = tmp_path / "executed", tmp_path / "G_ema.pth"
    for legacy in (False, True):
        torch.save({**generator_state(), "more": Malicious(trace)}, path, _use_new_zipfile_serialization=not legacy)
        with refused("G_ema.pth", "nothing in it was executed"):
            load_biggan_pytorch(path, **ASKED)
    path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    with refused("G_ema.pth", "nothing in it was executed"):
        load_biggan_pytorch(path, **ASKED)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # so it would have


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file_is_refused(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "G_ema.pth"
    torch.save(generator_state("sagan"), path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    for left in (0, 1, 100, len(data) // 10, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:left])
        with refused("G_ema.pth", "cannot be read: it is cut short, damaged", "expected a checkpoint file"):
            load_biggan_pytorch(path, "sagan", **ASKED)


@pytest.mark.parametrize("data", [b"text\n" * 20, b"PK\x03\x04", bytes(100)])
def test_another_kind_of_file_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "G_ema.pth").write_bytes(data)
    with refused("G_ema.pth"):
        load_biggan_pytorch(tmp_path / "G_ema.pth", **ASKED)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with refused("G_ema.pth does not exist", "a checkpoint file of BigGAN-PyTorch"):
        load_biggan_pytorch(tmp_path / "G_ema.pth")
    with refused(f"{tmp_path} is a folder", "G_ema.pth"):
        load_biggan_pytorch_discriminator(tmp_path)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (torch.zeros(3), ["must be tensors by name", "got Tensor"]),
        ([torch.zeros(3)], ["must be tensors by name", "got list"]),
        ({"itr": 3, "config": {"G_ch": 96}}, ["not the state dict of one network", "'itr' is of type int"]),
        ({"generator": generator_state()}, ["not the state dict of one network", "'generator' is of type "]),
        ({3: torch.zeros(3)}, ["not the state dict of one network", "3 is of type Tensor"]),
        ({}, ["does not fit at 'shared.weight'", "expected (3, 128), found nothing"]),
    ],
)
def test_what_is_no_state_dict_is_refused(content: object, parts: list[str], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "state.pth")
    with refused("state.pth", *parts):
        load_biggan_pytorch(tmp_path / "state.pth", **ASKED)
    with refused("the state dict", *parts):
        load_biggan_pytorch(content, **ASKED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "asked", "message"),
    [
        (generator_state(classes=5), {}, "of 5 classes, num_classes is 3"),
        (generator_state("sagan", classes=5), {"arch": "sagan"}, "of 5 classes, num_classes is 3"),
        (generator_state(width=3), {}, "of width 3, width is 4"),
        (generator_state(resolution=64), {}, "made for 64 px (4 blocks), resolution is 32"),
        (generator_state(), {"resolution": 128}, "made for 32 px (3 blocks), resolution is 128"),
        (
            generator_state(classes=5, width=3),
            {"resolution": 64},
            "made for 32 px (3 blocks), resolution is 64; of 5 classes, num_classes is 3; of width 3, width is 4",
        ),
        (
            generator_state("sagan"),
            {},
            "an SA-GAN or SN-GAN (class embeddings in its CBNs), arch is 'biggan'",
        ),
        (generator_state(), {"arch": "sagan"}, "a BigGAN (one class embedding for all its CBNs), arch is 'sagan'"),
        (
            generator_state("sngan", 64),
            {"arch": "sagan", "resolution": 64},
            "it has no self-attention, 'sagan' at 64 px has self-attention behind block 3",
        ),
        (
            generator_state("sagan", 64),
            {"arch": "sngan", "resolution": 64},
            "it has self-attention behind block 3, 'sngan' at 64 px has no self-attention",
        ),
        (
            {**generator_state(), "blocks.0.0.bn1.gain.weight": torch.zeros(16, 128)},
            {},
            "a generator whose noise enters at the bottom only (made without --hier), arch is 'biggan'",
        ),
        (
            {**generator_state(), "shared.weight": torch.zeros(3, 120)},
            {},
            "a BigGAN with a class embedding of 120 instead of 128, arch is 'biggan'",
        ),
    ],
)
def test_another_generator_is_refused_in_the_terms_of_the_arguments(
    state: dict[str, Tensor], asked: dict[str, Any], message: str
) -> None:
    with refused() as caught:
        load_biggan_pytorch(state, **{**ASKED, **asked})
    assert str(caught.value) == f"the state dict is of another network: {message}{WAY_OUT}"


@pytest.mark.parametrize(
    ("state", "asked", "message"),
    [
        (discriminator_state(classes=5), {}, "of 5 classes, num_classes is 3"),
        (discriminator_state(width=3), {}, "of width 3, width is 8"),
        (discriminator_state(resolution=64), {}, "made for 64 px (5 blocks), resolution is 32"),
        (discriminator_state("sngan"), {}, "an SN-GAN (thin blocks), arch is 'biggan'"),
        (discriminator_state("sagan"), {"arch": "sngan"}, "a BigGAN or SA-GAN (wide blocks), arch is 'sngan'"),
        (
            {n: t for n, t in discriminator_state("sagan", 128).items() if not n.startswith("blocks.0.1.")},
            {"arch": "sagan", "resolution": 128},
            "it has no self-attention, 'sagan' at 128 px has self-attention behind block 0",
        ),
    ],
)
def test_another_discriminator_is_refused_in_the_terms_of_the_arguments(
    state: dict[str, Tensor], asked: dict[str, Any], message: str
) -> None:
    with refused() as caught:
        load_biggan_pytorch_discriminator(state, **{**ASKED, "width": D_WIDTH, **asked})
    assert str(caught.value) == f"the state dict is of another network: {message}{WAY_OUT}"


def test_a_network_of_the_other_kind_is_refused() -> None:
    with refused("holds a discriminator, not a generator", "ppcd.load_biggan_pytorch_discriminator"):
        load_biggan_pytorch(discriminator_state(), **ASKED)
    with refused("holds a generator, not a discriminator", "read it with ppcd.load_biggan_pytorch"):
        load_biggan_pytorch_discriminator(generator_state(), **ASKED)
    deep = torch.zeros(4, 4, 3, 3)
    with refused("is of a BigGAN-deep", "expected a BigGAN, SA-GAN or SN-GAN"):
        load_biggan_pytorch({**generator_state(), "blocks.0.0.conv3.weight": deep}, **ASKED)
    with refused("is of a BigGAN-deep"):
        load_biggan_pytorch_discriminator({**discriminator_state(), "blocks.0.0.conv3.weight": deep}, **ASKED)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("linear.bias", None, "does not fit at 'linear.bias': expected (256,), found nothing"),
        ("linear.u0", None, "does not fit at 'linear.u0': expected (1, 256), found nothing"),
        ("shared.weight", None, "does not fit at 'shared.weight': expected (3, 128), found nothing"),
        ("output_layer.0.gain", None, "does not fit at 'output_layer.0.gain': expected (16,), found nothing"),
        ("linear.weight", None, "does not fit at 'linear.weight': expected (256, 30), found nothing"),
        ("linear.weight", torch.zeros(3), "does not fit at 'linear.weight': expected (256, 30), found (3,)"),
        ("linear.u0", torch.zeros(256), "does not fit at 'linear.u0': expected (1, 256), found (256,)"),
        ("linear.u1", torch.zeros(1, 256), "does not fit at 'linear.u1': expected nothing, found (1, 256)"),
        ("a\nb", torch.zeros(2), "does not fit at 'a\\nb': expected nothing, found (2,)"),
        ("blocks.1.0.conv1.bias", torch.full((16,), math.nan), "infinite numbers or NaN at 'blocks.1.0.conv1.bias'"),
        ("linear.u0", torch.full((1, 256), math.inf), "infinite numbers or NaN at 'linear.u0'"),
        ("linear.bias", torch.zeros(256, dtype=torch.int64), "one type; got tensors of torch.float64, torch.int64"),
        ("linear.bias", torch.zeros(256).to_sparse(), "dense floating-point numbers of one type"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(name: str, tensor: Tensor | None, message: str) -> None:
    state = generator_state()
    load_biggan_pytorch(state, **ASKED)
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor.to(state["linear.weight"].dtype) if tensor.is_floating_point() else tensor
    with refused(message):
        load_biggan_pytorch(state, **ASKED)


def test_numbers_of_several_types_or_not_floating_point_are_refused() -> None:
    state = generator_state()
    with refused("one type; got tensors of torch.float32, torch.float64"):
        load_biggan_pytorch({**state, "linear.bias": state["linear.bias"].float()}, **ASKED)
    with refused("dense floating-point numbers of one type; got tensors of torch.int64"):
        load_biggan_pytorch({name: tensor.long() for name, tensor in generator_state().items()}, **ASKED)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"arch": "tinygan"}, ["unknown architecture 'tinygan'", "biggan, sagan, sngan"]),
        ({"arch": "vqgan"}, ["unknown architecture 'vqgan'"]),
        ({"resolution": 256}, ["resolution must be one of 32, 64, 128", "256"]),
        ({"num_classes": 0}, ["num_classes must be a positive integer"]),
        ({"width": 0}, ["width must be a positive integer"]),
        ({"width": "96"}, ["width must be a positive integer", "'96'"]),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], parts: list[str]) -> None:
    for load in (load_biggan_pytorch, load_biggan_pytorch_discriminator):
        with refused(*parts):
            load(generator_state(), **{**ASKED, **arguments})
