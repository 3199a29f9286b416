"""Checkpoints of BigGAN-PyTorch: the same images and scores, one line for every other file, and the way back."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from reference import largest_difference, noise_and_labels, parameters, randomise, refused
from safetensors.torch import save_file
from torch import Tensor, nn

from ppcd import load_biggan_pytorch, load_biggan_pytorch_discriminator, save_biggan_pytorch
from ppcd.method.slim import slim
from ppcd.networks.discriminators import build_discriminator
from ppcd.networks.generators import Generator, build_generator

Shapes = dict[str, tuple[int, ...]]
ARCHS = ["biggan", "sagan", "sngan"]
RESOLUTIONS = [32, 64, 128]
CLASSES = 3
CHUNKS = {32: 4, 64: 5, 128: 6}
G_WIDTH, D_WIDTH = 4, 8  # the self-attention of that code divides its channels by 8
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
    """Random numbers; infinite ones where that code does not read them."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: reference.random_tensor(name, shape, generator).to(dtype) for name, shape in shapes.items()}
    return {name: tensor.fill_(math.inf) if name.endswith("sv0") else tensor for name, tensor in state.items()}


def dim_z_of(arch: str, resolution: int) -> int:
    return 3 * CHUNKS[resolution] if arch == "biggan" else 7


def generator_state(
    arch: str = "biggan", resolution: int = 32, classes: int = CLASSES, width: int = G_WIDTH, seed: int = 0
) -> dict[str, Tensor]:
    return filled(generator_shapes(arch, resolution, classes, width, dim_z_of(arch, resolution)), seed)


def discriminator_state(
    arch: str = "biggan", resolution: int = 32, classes: int = CLASSES, width: int = D_WIDTH, seed: int = 0
) -> dict[str, Tensor]:
    return filled(discriminator_shapes(arch, resolution, classes, width), seed)


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
        single = {name: tensor.float() for name, tensor in state.items()}
        in_single = load_biggan_pytorch(single, arch, resolution, CLASSES, G_WIDTH)(z.float(), y)
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
        single = {name: tensor.float() for name, tensor in state.items()}
        in_single = load_biggan_pytorch_discriminator(single, arch, resolution, CLASSES, D_WIDTH)
        scores_in_single = in_single(images.float(), y)
        moved = reference.discriminator(one_more_iteration(state), arch, resolution, images, y)
    assert not discriminator.training
    scale = expected.abs().max().item()
    assert largest_difference(scores, expected) < 1e-10 * scale
    assert largest_difference(scores_in_single, expected) < 1e-4 * max(1.0, scale)
    assert largest_difference(scores, moved) > 1e-2 * scale


def test_the_public_generator_at_full_size() -> None:
    """BigGAN bs256x8: 128 px, 1000 classes, width 96, which are the defaults."""
    state = filled(generator_shapes("biggan", 128, 1000, 96, 120), dtype=torch.float32)
    generator = load_biggan_pytorch(state)
    assert parameters(generator) == 70_433_988
    assert (generator.dim_z, generator.num_classes, generator.resolution) == (120, 1000, 128)
    z, y = noise_and_labels(1, 120, 1000, 0)
    y += 207
    with torch.no_grad():
        images = generator(z, y)
        expected, _ = reference.generator(state, "biggan", 128, z, y)
    assert largest_difference(images, expected) < 1e-4
    assert images.std() > 0.05
    assert images.abs().median() < 0.9


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def adam(state: dict[str, Tensor]) -> dict[str, Any]:
    """An optimiser's state, whose tensors are no network."""
    parameters = [nn.Parameter(tensor) for tensor in state.values()]
    optimizer = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer.state_dict()


G_STATE, E_STATE, D_STATE = generator_state(seed=1), generator_state(seed=2), discriminator_state(width=G_WIDTH)
BOTH = {**under("generator.", G_STATE), **under("discriminator.", D_STATE)}
COUNTED = {f"blocks.{i}.0.bn1.num_batches_tracked": torch.tensor(3) for i in range(3)}
WITH_METADATA = OrderedDict(G_STATE)  # as a module's state_dict() has it
WITH_METADATA._metadata = nn.Linear(1, 1).state_dict()._metadata  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({"state_dict": G_STATE, "epoch": 3}, G_STATE),
        ({"G_ema": E_STATE, "optimizer": adam(G_STATE)}, E_STATE),
        ({"G": G_STATE, "D": D_STATE, "G_ema": E_STATE}, E_STATE),
        ({"model": {"net_g": under("module.", G_STATE), "net_g_EMA": under("module.", E_STATE)}}, E_STATE),
        ({"state_dict": BOTH, "hyper_parameters": {"lr": 1e-4}}, G_STATE),
        ({**G_STATE, **COUNTED, "epoch": 3}, G_STATE),
        (WITH_METADATA, G_STATE),
        ({"n_averaged": torch.tensor(3), **under("module.", G_STATE)}, G_STATE),
        ({name.replace("blocks.1.", "blocks.1._orig_mod."): tensor for name, tensor in G_STATE.items()}, G_STATE),
        *(
            (under(prefix, G_STATE), G_STATE)
            for prefix in ("module.", "_orig_mod.", "module.module.", "_orig_mod.module.", "generator.")
        ),
    ],
)
def test_a_network_is_found_in_what_people_save(saved: Any, expected: Any, tmp_path: Path) -> None:
    """The public files are of torch 1.0, from before torch wrote zip archives."""
    torch.save(saved, tmp_path / "saved.pth")
    torch.save(saved, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    sources = [saved, tmp_path / "saved.pth", str(tmp_path / "old.pth")]
    if all(isinstance(value, Tensor) for value in saved.values()):
        save_file({name: tensor.contiguous() for name, tensor in saved.items()}, tmp_path / "saved.safetensors")
        sources.append(tmp_path / "saved.safetensors")
    wanted = load_biggan_pytorch(expected, **ASKED).state_dict()
    for source in sources:
        found = load_biggan_pytorch(source, **ASKED).state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in wanted.items())


def test_one_of_several_networks_is_asked_for_by_its_key() -> None:
    saved = {"a": under("module.", G_STATE), "b": E_STATE, "D": D_STATE}
    refusal = (
        "holds a generator under 'a.module' and 'b'; name one, as in ppcd.load_biggan_pytorch(..., key='a.module')"
    )
    for key in (None, "D", "c"):
        with refused(refusal, "and ppcd.save_generator makes it a file of its own"):
            load_biggan_pytorch(saved, **ASKED, key=key)
    for key, state in (("a", G_STATE), ("a.module", G_STATE), ("b", E_STATE)):
        found = load_biggan_pytorch(saved, **ASKED, key=key)
        assert torch.equal(found.linear.weight, state["linear.weight"])
    found = load_biggan_pytorch_discriminator({"state_dict": BOTH}, **ASKED)
    assert torch.equal(found.linear.weight, D_STATE["linear.weight"])


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


# ------------------------------------------------------------ the way back


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_what_is_written_has_the_layout_and_comes_back_exactly(arch: str, resolution: int, tmp_path: Path) -> None:
    width, dim_z = D_WIDTH, dim_z_of(arch, resolution)
    generator = build_generator(arch, resolution, CLASSES, width, dim_z=dim_z)
    discriminator = build_discriminator(arch, resolution, CLASSES, width)
    for network, shapes, load in (
        (generator, generator_shapes(arch, resolution, CLASSES, width, dim_z), load_biggan_pytorch),
        (discriminator, discriminator_shapes(arch, resolution, CLASSES, width), load_biggan_pytorch_discriminator),
    ):
        path = tmp_path / "new folder" / "network.pth"
        save_biggan_pytorch(randomise(network, 0), path)
        written = torch.load(path, weights_only=True)
        assert {name: tuple(tensor.shape) for name, tensor in written.items()} == shapes
        loaded, own = load(path, arch, resolution, CLASSES, width).state_dict(), network.state_dict()
        assert list(loaded) == list(own)
        assert all(torch.equal(tensor, own[name]) for name, tensor in loaded.items())


def masked() -> Generator:
    generator = build_generator("sagan", 32, CLASSES, G_WIDTH, masked=True)
    for mask in generator.masks().values():
        mask.freeze(torch.arange(mask.channels) % 2 == 0)
    return generator


@pytest.mark.parametrize(
    ("make", "missing"),
    [
        (masked, "masks, PP-Res transitions or pruned channels"),
        (lambda: slim(masked(), for_training=True), "masks, PP-Res transitions or pruned channels"),
        (lambda: Generator(replace(masked().config, channels=(16, 16, 16, 12))), "pruned channels"),
        (lambda: slim(build_generator("biggan", 32, CLASSES, 4)), "weights without spectral norm"),
        (lambda: slim(build_generator("biggan", 32, CLASSES, 4), for_training=True), "scale of normalised weights"),
        (lambda: build_generator("tinygan", 32, CLASSES, 4), "tinygan"),
    ],
)
def test_what_that_code_would_compute_otherwise_is_not_written(
    make: Callable[[], Any], missing: str, tmp_path: Path
) -> None:
    with refused("layout has no ", missing, "ppcd.save_generator"):
        save_biggan_pytorch(make(), tmp_path / "G.pth")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------ refusals


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with refused("G_ema.pth does not exist", "a checkpoint file of BigGAN-PyTorch"):
        load_biggan_pytorch(tmp_path / "G_ema.pth")
    with refused(f"{tmp_path} is a folder", "G_ema.pth"):
        load_biggan_pytorch_discriminator(tmp_path)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (torch.zeros(3), ["must be tensors by name", "got Tensor"]),
        ({"itr": 3, "config": {"G_ch": 96}}, ["holds no network of BigGAN-PyTorch", "it has 'itr', 'config'"]),
        ({"optimizer": adam(G_STATE)}, ["holds no network of BigGAN-PyTorch", "it has 'optimizer'"]),
        ({}, ["holds no network of BigGAN-PyTorch", "'blocks.0.0.conv1.weight'; it has nothing"]),
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
        (
            generator_state(classes=5, width=3),
            {"resolution": 64},
            "made for 32 px (3 blocks), resolution is 64; of 5 classes, num_classes is 3; of width 3, width is 4",
        ),
        (generator_state("sagan"), {}, "an SA-GAN or SN-GAN (class embeddings in its CBNs)"),
        (generator_state(), {"arch": "sagan"}, "a BigGAN (one class embedding for all its CBNs)"),
        (discriminator_state(width=3), {}, "of width 3, width is 8"),
        (discriminator_state(resolution=64), {}, "made for 64 px (5 blocks), resolution is 32"),
    ],
)
def test_another_network_is_refused_in_the_terms_of_the_arguments(
    state: dict[str, Tensor], asked: dict[str, Any], message: str
) -> None:
    is_generator = "embed.weight" not in state
    load, width = (load_biggan_pytorch, G_WIDTH) if is_generator else (load_biggan_pytorch_discriminator, D_WIDTH)
    with refused(f"the state dict is of another network: {message}: ask for that one, or give another file"):
        load(state, **{**ASKED, "width": width, **asked})


def test_a_network_of_the_other_kind_is_refused() -> None:
    with refused("holds a discriminator, not a generator", "ppcd.load_biggan_pytorch_discriminator"):
        load_biggan_pytorch(discriminator_state(), **ASKED)
    with refused("holds a generator, not a discriminator", "read it with ppcd.load_biggan_pytorch"):
        load_biggan_pytorch_discriminator(generator_state(), **ASKED)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("linear.bias", None, "does not fit at 'linear.bias': expected (256,), found nothing"),
        ("linear.u0", torch.zeros(256), "does not fit at 'linear.u0': expected (1, 256), found (256,)"),
        ("linear.u1", torch.zeros(1, 256), "does not fit at 'linear.u1': expected nothing, found (1, 256)"),
        ("blocks.1.0.conv1.bias", torch.full((16,), math.nan), "infinite numbers or NaN at 'blocks.1.0.conv1.bias'"),
        ("linear.bias", torch.zeros(256, dtype=torch.int64), "numbers; got tensors of torch.float64, torch.int64"),
        ("linear.bias", torch.zeros(256).to_sparse(), "dense floating-point numbers"),
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


def test_an_architecture_without_public_checkpoints_is_refused() -> None:
    for load in (load_biggan_pytorch, load_biggan_pytorch_discriminator):
        with refused("unknown architecture 'tinygan'", "biggan, sagan, sngan"):
            load(generator_state(), "tinygan")
