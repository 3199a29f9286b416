"""`ppcd.prunable` and `ppcd.slim` on networks that are none of ours."""

import copy
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from foreign import CONVS, NORMS, ChunkedGenerator, Toy
from torch import Tensor, nn

import ppcd
from ppcd.method.blocks import Branch
from ppcd.method.masks import masks_of

BRANCHES = {f"blocks.{i}": Branch("conv1", "bn2", "conv2") for i in range(2)}


def inputs(size: int = 6, classes: int = 3, batch: int = 5) -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(1)
    return torch.randn(batch, size, generator=noise), torch.arange(batch) % classes


def trained(network: nn.Module, *z_y: Tensor) -> nn.Module:
    """A few steps, so that statistics, spectral norms and weights are those of a training."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        network.train()(*z_y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        network.eval()(*z_y)  # torch's older spectral norm can be copied after a forward pass without gradients
    return network


def close(network: nn.Module, kept: int = 3) -> nn.Module:
    """Freeze every mask with a few channels, others for each layer."""
    for number, mask in enumerate(masks_of(network).values()):
        order = torch.randperm(mask.channels, generator=torch.Generator().manual_seed(number))
        mask.freeze(order < min(kept, mask.channels))
    return network


def checked(teacher: nn.Module, z_y: tuple[Tensor, ...], kept: int = 3, branches: Any = None) -> nn.Module:
    """Trained a little, with masks and with closed ones, and slim: the same images. The slim network."""
    trained(teacher, *z_y)
    with torch.no_grad():
        expected = teacher(*z_y)
    student = ppcd.prunable(copy.deepcopy(teacher), branches)
    torch.testing.assert_close(student(*z_y), expected, rtol=0, atol=1e-5)
    closed = close(student, kept)(*z_y)
    assert (closed - expected).abs().max() > 1e-3
    small = ppcd.slim(student)
    torch.testing.assert_close(small(*z_y), closed, rtol=0, atol=1e-4)
    assert type(small) is type(teacher) and not masks_of(small)
    return small


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("norm", NORMS)
def test_same_images_masked_and_slim(conv: str, norm: str) -> None:
    small = checked(Toy(conv, norm), inputs(), branches=BRANCHES)
    assert small.blocks[0].conv1.weight.shape[:2] == (3, 8)
    assert small.blocks[1].conv2[0].weight.shape[:2] == (3, 3)
    again = ppcd.load_slim(Toy(conv, norm), small.state_dict())
    assert torch.equal(again(*inputs()), small(*inputs()))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.module._orig_mod.", "generator.", "blocks."])
def test_slim_weights_as_people_save_them(prefix: str) -> None:
    small = ppcd.slim(close(ppcd.prunable(trained(Toy(), *inputs()), BRANCHES)), inputs=inputs())
    state = {f"{prefix}{name}": tensor for name, tensor in small.state_dict().items()}
    optimizer = torch.optim.Adam(small.parameters()).state_dict()
    for saved in (state, {"state_dict": state, "optimizer": optimizer, "epoch": 3}, {"G": {}, "G_ema": state}):
        assert torch.equal(ppcd.load_slim(Toy(), saved)(*inputs()), small(*inputs()))
    with pytest.raises(ppcd.PpcdError, match="several networks in it: 'a"):
        ppcd.load_slim(Toy(), {"a": state, "b": state})


def mimicry(module: str) -> ModuleType:
    """A module of torch-mimicry; importing the package itself would want TensorFlow, for its metrics."""
    found = PathFinder.find_spec("torch_mimicry")
    if found is None or found.origin is None:
        pytest.skip("torch-mimicry is not installed; make test installs it")
    for name in ("torch_mimicry", "torch_mimicry.nets"):
        package = ModuleType(name)
        package.__path__ = [str(Path(found.origin).parent.joinpath(*name.split(".")[1:]))]
        sys.modules.setdefault(name, package)
    return import_module(f"torch_mimicry.nets.{module}")


@pytest.mark.parametrize(
    ("module", "name", "options"),
    [
        ("sngan.sngan_32", "SNGANGenerator32", {}),
        ("sngan.sngan_64", "SNGANGenerator64", {}),
        ("cgan_pd.cgan_pd_32", "CGANPDGenerator32", {"num_classes": 4}),
        ("cgan_pd.cgan_pd_128", "CGANPDGenerator128", {"num_classes": 4}),
        ("sagan.sagan_32", "SAGANGenerator32", {"num_classes": 4}),
        ("sagan.sagan_128", "SAGANGenerator128", {"num_classes": 4}),
    ],
)
def test_generators_of_torch_mimicry(module: str, name: str, options: dict[str, int]) -> None:
    teacher = getattr(mimicry(module), name)(ngf=64, nz=8, **options)
    small = checked(teacher, inputs(8, 4) if options else inputs(8)[:1])
    assert small.block2.c1.out_channels == 3


def test_a_generator_like_biggan_pytorchs() -> None:
    """Class embedding and noise chunks in every norm, weights that normalise themselves, attention between blocks."""
    found = ppcd.prunable(ChunkedGenerator(), inputs=inputs(12, 5)).pp_res_branches
    assert found == {f"blocks.{i}.0": Branch("conv1", "bn2", "conv2") for i in range(2)}
    checked(ChunkedGenerator(), inputs(12, 5), kept=1)


@pytest.mark.parametrize("arch", ["biggan", "sagan", "sagan-hier", "sngan", "tinygan"])
def test_networks_of_this_project(arch: str) -> None:
    branches = None if arch == "tinygan" else {f"blocks.{i}": Branch("conv1", "bn2", "conv2") for i in range(3)}
    teacher = ppcd.build_generator(arch, 32, 3, 4, dim_z=16)
    assert len(masks_of(ppcd.prunable(copy.deepcopy(teacher), branches))) == 2 * len(teacher.blocks)
    checked(teacher, inputs(16), branches=branches)
