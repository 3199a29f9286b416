"""The inference form: the same images, of every generator, however it is cut, copied and moved."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from reference import largest_difference, noise_and_labels, randomise, refused
from torch import Tensor

import ppcd.export.inference
from ppcd.baselines.channels import select_channels
from ppcd.export.fixed_layers import FixedConv
from ppcd.export.folding import four_pixels, four_windows
from ppcd.export.inference import InferenceGenerator, for_inference
from ppcd.method.slim import slim
from ppcd.metrics import seconds_per_batch
from ppcd.networks.generators import Generator, build_generator

CLASSES = 3
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def plain(arch: str, resolution: int = 32, width: int = 2, masked: bool = False) -> Generator:
    """Random, in double precision."""
    dim_z = 60 if arch == "biggan" else 10
    generator = build_generator(arch, resolution, CLASSES, width, masked, dim_z=dim_z).double()
    return randomise(generator, resolution + width).eval()  # type: ignore[return-value]


def frozen(resolution: int = 32, kept: float = 0.4, arch: str = "sagan") -> Generator:
    """With masks that are decided; one channel stays in one layer."""
    generator = plain(arch, resolution, masked=True)
    random = torch.Generator().manual_seed(0)
    for index, mask in enumerate(generator.masks().values()):
        chosen = torch.rand(mask.channels, generator=random) < kept
        chosen[0] = True
        mask.freeze(torch.arange(mask.channels) == 0 if index == 1 and kept < 1 else chosen)
    return generator


def l1_pruned() -> Generator:
    generator = plain("biggan", 64, 2)
    widths = [generator.linear.weight.shape[0] // 16, *(block.conv_sc.out_channels for block in generator.blocks)]
    ports = [torch.arange(0, width, 3) for width in widths]
    inner = [torch.arange(1, width, 2) for width in widths[1:]]
    return select_channels(generator, ports, inner)


GENERATORS: dict[str, Callable[[], Generator]] = {
    "biggan": lambda: plain("biggan"),
    "biggan with attention": lambda: plain("biggan", 128, 1),
    "sagan": lambda: plain("sagan"),
    "sagan with attention behind the last block": lambda: plain("sagan", 64, 3),
    "sngan": lambda: plain("sngan"),
    "tinygan": lambda: plain("tinygan", width=3),
    "pp-res, masks decided": frozen,
    "pp-res, slim": lambda: slim(frozen()),
    "pp-res, slim, with attention": lambda: slim(frozen(128)),
    "pp-res, all channels kept": lambda: slim(frozen(kept=1.0)),
    "pp-res of biggan": lambda: slim(frozen(arch="biggan")),
    "slim, training goes on": lambda: slim(frozen(), for_training=True),
    "l1-pruned": l1_pruned,
    "one channel in places": lambda: plain("sagan", 128, 1),
}


@torch.no_grad()
def images_of(network: Generator | InferenceGenerator, batch: int = 3) -> Tensor:
    network.eval()
    z, y = noise_and_labels(batch, network.dim_z, CLASSES, 0, dtype_of(network))
    return network(z, y)


def dtype_of(network: Generator | InferenceGenerator) -> torch.dtype:
    return next(tensor.dtype for tensor in network.state_dict().values() if tensor.is_floating_point())


# ------------------------------------------------------------ the same images


@pytest.mark.parametrize("multiple", [1, 4, 7])
@pytest.mark.parametrize("name", GENERATORS)
def test_the_inference_form_computes_the_same_images(name: str, multiple: int) -> None:
    generator = GENERATORS[name]()
    expected = images_of(generator)
    assert expected.std(dim=(2, 3)).min() > 1e-3  # not dead
    form = for_inference(generator, multiple=multiple)
    images = images_of(form)
    assert images.dtype == torch.float64
    assert largest_difference(images, expected) < 1e-10
    assert (form.dim_z, form.num_classes, form.resolution) == (generator.dim_z, CLASSES, generator.resolution)


def gentle(arch: str, resolution: int, masked: bool = False) -> Generator:
    """Weights as training starts with, statistics as it leaves them: images not all at the ends of tanh."""
    generator = build_generator(arch, resolution, CLASSES, 4, masked, dim_z=60)
    random = torch.Generator().manual_seed(1)
    for name, tensor in generator.state_dict().items():
        if name.endswith(("running_var", "output_norm.weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
        elif name.endswith(("running_mean", "bias", "gamma")):
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=random))
    for mask in generator.masks().values():
        mask.freeze(torch.rand(mask.channels, generator=random) < 0.4)
    return generator.eval()


@pytest.mark.parametrize("arch", ["biggan", "sagan", "sngan", "tinygan", "pp-res"])
@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("onednn", [True, False])
def test_in_single_precision(arch: str, resolution: int, onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = gentle("sagan", resolution, True) if arch == "pp-res" else gentle(arch, resolution)
    expected = images_of(generator)
    assert expected.std() > 1e-3
    packing = onednn and torch.backends.mkldnn.is_available()
    if not packing:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    form = for_inference(generator)
    for _ in range(2):  # the first packs
        assert largest_difference(images_of(form), expected) < 1e-4
    packed = [conv._packed is not None for conv in form.modules() if isinstance(conv, FixedConv) and conv.groups == 1]
    assert all(packed) if packing else not any(packed)


@pytest.mark.parametrize("name", ["blocks.0.bn2.gain.weight", "blocks.1.conv_sc.bias", "output_norm.running_mean"])
def test_another_network_gives_other_images(name: str) -> None:
    """The broken case: the tolerance sees one changed number."""
    generator = plain("sagan")
    expected = images_of(generator)
    form = for_inference(generator)
    with torch.no_grad():
        generator.state_dict()[name].view(-1)[0] += 0.01
    assert largest_difference(images_of(form), expected) < 1e-10  # nothing is shared with the generator
    assert largest_difference(images_of(for_inference(generator)), expected) > 1e-7


@pytest.mark.parametrize("name", ["tinygan", "pp-res, slim"])  # without spectral norm: nothing is copied on the way
def test_nothing_is_shared_with_the_generator(name: str) -> None:
    generator = GENERATORS[name]()
    state, expected = copy.deepcopy(generator.state_dict()), images_of(generator)
    form = for_inference(generator, multiple=1)
    assert all(torch.equal(state[key], value) for key, value in generator.state_dict().items() if "extra" not in key)
    for tensor in generator.state_dict().values():
        tensor.fill_(1)
    assert largest_difference(images_of(form), expected) < 1e-10


def test_the_mode_of_the_generator_does_not_matter() -> None:
    generator = plain("biggan")
    expected = images_of(generator)
    assert largest_difference(images_of(for_inference(generator.train())), expected) < 1e-10
    assert generator.training


# ------------------------------------------------------------ how it is cut


@pytest.mark.parametrize("name", ["biggan with attention", "tinygan", "pp-res, slim"])
def test_parts_of_the_batch_and_of_the_attention_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = GENERATORS[name]()
    expected = images_of(generator, 5)
    form = for_inference(generator)
    for part, rows in ((1, 1 << 30), (2, 1 << 20), (64, 7 * 8 * 1024)):
        form.part = part
        monkeypatch.setattr(ppcd.export.inference, "ROWS_BYTES", rows)
        assert largest_difference(images_of(form, 5), expected) < 1e-10
    assert images_of(form, 0).shape == (0, 3, generator.resolution, generator.resolution)


def test_parts_become_smaller_as_networks_grow() -> None:
    small, large = (for_inference(build_generator("sngan", 32, CLASSES, width, dim_z=4)) for width in (8, 64))
    assert small.part == 8 * large.part > 8


def test_a_transition_is_joined_where_that_takes_fewer_products() -> None:
    def convolutions(generator: Generator) -> list[int]:
        return [len(block.before) for block in for_inference(generator).blocks]

    assert convolutions(GENERATORS["pp-res, all channels kept"]()) == [0, 0, 0]
    assert convolutions(slim(frozen(kept=0.01))) == [1, 1, 1]


# ------------------------------------------------------------ kernels against the two operations that they are


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (2, 3, 5, 4, 3), (3, 4, 1, 2, 7)])
def test_kernels(shape: tuple[int, ...]) -> None:
    batch, inner, out, height, width = shape
    random = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(batch, inner, height, width, generator=random, dtype=torch.float64)
    weight = torch.randn(out, inner, 3, 3, generator=random, dtype=torch.float64)

    windows = F.conv2d(x, four_windows(weight), padding=1).unflatten(1, (2, 2, out))
    expected = F.conv2d(F.interpolate(x, scale_factor=2), weight, padding=1)
    for row in range(2):
        for column in range(2):
            pixels = windows[:, row, column, :, row : row + height, column : column + width]
            assert largest_difference(pixels, expected[:, :, row::2, column::2]) < 1e-12

    large = F.interpolate(x, scale_factor=2) * torch.arange(2 * width)
    pixels = F.pixel_shuffle(F.conv2d(large, four_pixels(weight), stride=2, padding=1), 2)
    assert largest_difference(pixels, F.conv2d(large, weight, padding=1)) < 1e-12


# ------------------------------------------------------------ copies, types, modes


@pytest.mark.parametrize("name", ["biggan with attention", "tinygan", "pp-res, slim"])
def test_copies_and_conversions_after_packing(name: str) -> None:
    generator = GENERATORS[name]()
    expected = images_of(generator)
    form = for_inference(generator.float())
    first = images_of(form)
    for copied in (copy.deepcopy(form), pickle.loads(pickle.dumps(form)), copy.deepcopy(form).to("cpu")):
        assert torch.equal(images_of(copied), first)
    assert largest_difference(images_of(copy.deepcopy(form).double()), images_of(generator.double())) < 1e-4
    assert torch.equal(images_of(form), first)
    assert largest_difference(images_of(copy.deepcopy(form).double().float()), first) < 1e-5
    assert expected.dtype == torch.float64


def test_state_is_buffers_and_there_are_no_gradients() -> None:
    form = for_inference(plain("biggan"))
    assert not list(form.parameters()) and len(list(form.buffers())) > 10
    assert not form.training
    z, y = noise_and_labels(2, form.dim_z, CLASSES, 0, torch.float64)
    assert not form(z.requires_grad_(), y).requires_grad


def test_autocast_does_not_lower_its_precision() -> None:
    form = for_inference(gentle("sagan", 64))
    expected = images_of(form)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(images_of(form), expected)


@pytest.mark.parametrize("name", ["biggan with attention", "tinygan", "pp-res, masks decided"])
def test_a_generator_can_be_given_up_and_is_left_alone_otherwise(name: str) -> None:
    """Its weights are freed as they are taken over; the form does not share any of them."""
    generator = GENERATORS[name]()
    expected = images_of(for_inference(generator))
    sizes = [parameter.numel() for parameter in generator.parameters()]
    assert min(sizes) > 0
    form = generator.for_inference(release=True)
    assert sum(parameter.numel() for parameter in generator.parameters()) == 0
    assert torch.equal(images_of(form), expected)


def test_the_form_has_weights_of_its_own() -> None:
    generator = GENERATORS["biggan with attention"]()
    form = for_inference(generator)
    expected = images_of(form)
    with torch.no_grad():
        for tensor in (*generator.parameters(), *generator.buffers()):
            tensor.fill_(7)
    assert torch.equal(images_of(form), expected)


# ------------------------------------------------------------ what is refused


def test_undecided_masks_are_refused() -> None:
    generator = plain("sagan", masked=True)
    first, *_ = generator.masks().values()
    first.freeze(torch.arange(first.channels) < 2)
    with refused("blocks.0.mask2", "not frozen", "ppcd.slim"):
        for_inference(generator)


@pytest.mark.parametrize("multiple", [0, -4, True, 2.0, "4"])
def test_impossible_multiples_are_refused(multiple: object) -> None:
    with refused("multiple", repr(multiple)):
        for_inference(plain("sngan"), multiple=multiple)  # type: ignore[arg-type]


def test_impossible_inputs_are_refused() -> None:
    form = for_inference(plain("sngan"))
    z, y = noise_and_labels(2, form.dim_z, CLASSES, 0, torch.float64)
    with refused("takes z [batch, 10] and y [batch]", "[2, 9] and [2]"):
        form(z[:, 1:], y)
    with pytest.raises(IndexError):
        form(z, y + CLASSES)


def test_unknown_blocks_are_refused() -> None:
    generator = plain("tinygan")
    generator.blocks[1] = torch.nn.Identity()
    with refused("Identity", "no inference form"):
        for_inference(generator)


def test_a_generator_has_it_as_a_method_and_it_can_be_timed() -> None:
    generator = build_generator("sagan", 32, 3, 2).eval()
    form = generator.for_inference()
    assert isinstance(form, InferenceGenerator)
    z, y = noise_and_labels(2, generator.dim_z, 3, seed=0)
    with torch.no_grad():
        assert largest_difference(form(z, y), generator(z, y)) < 1e-4
    assert seconds_per_batch(form, batch=2, repeats=1)["seconds_per_batch"] > 0
