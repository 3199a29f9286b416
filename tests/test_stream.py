"""`ppcd.prunable(..., stream=True)`: masks on the stream between the blocks."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from foreign import Block, ChunkedGenerator, EmbeddingNorm, ManyReaders, Toy
from test_compressor import STEPS, train
from test_prunable import BRANCHES, close, inputs, mimicry, trained
from torch import Tensor, nn

import ppcd
from ppcd.base import PpcdError
from ppcd.method.masks import masks_of
from ppcd.networks.generators import Generator


def masked(teacher: nn.Module, *z_y: Tensor) -> nn.Module:
    """A student with masks on the stream too, that has computed the same images, and trained on."""
    with torch.no_grad():
        expected = teacher(*z_y)
    student = ppcd.prunable(copy.deepcopy(teacher), inputs=z_y, stream=True)
    torch.testing.assert_close(student.eval()(*z_y), expected, rtol=0, atol=1e-4)
    return trained(student, *z_y)  # so that transitions hold no zeros


FOREIGN: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], int]] = {
    "plain": (Toy, inputs(), 3),
    "self-normalised": (lambda: Toy("self-normalised", "own statistics"), inputs(), 3),
    "old spectral norm": (lambda: Toy("old spectral norm", "linear"), inputs(), 3),
    "attention and chunks of noise": (ChunkedGenerator, inputs(12, 5), 3),
    "a gate and identity skips": (ManyReaders, inputs(), 3),
    "torch-mimicry's": (lambda: mimicry("cgan_pd.cgan_pd_32").CGANPDGenerator32(4, ngf=32, nz=8), inputs(8, 4), 4),
}  # fmt: skip


@pytest.mark.parametrize("network", FOREIGN)
def test_same_images_with_a_slim_stream(network: str) -> None:
    make, z_y, stages = FOREIGN[network]
    teacher = trained(make(), *z_y)
    student = masked(teacher, *z_y)
    assert sum("pp_res_stream" in name for name in masks_of(student)) == stages
    closed = close(student)(*z_y)
    assert (closed - teacher(*z_y)).abs().max() > 1e-3
    small = ppcd.slim(student)
    torch.testing.assert_close(small(*z_y), closed, rtol=0, atol=1e-4)
    assert type(small) is type(teacher) and not any("pp_res" in name for name in small.state_dict())
    widths = [conv.weight.shape[:2] for conv in small.modules() if isinstance(conv, nn.Conv2d)]
    if not isinstance(teacher, ChunkedGenerator):
        assert all(out in (3, 1) and into in (3, 1) for out, into in widths)
    assert torch.equal(ppcd.load_slim(make(), small.state_dict())(*z_y), small(*z_y))


@pytest.mark.parametrize("network", ["biggan-64", "sagan-32", "sagan-hier-32", "sngan-32", "tinygan-32"])
def test_networks_of_this_project(network: str, tmp_path: Path) -> None:
    arch, resolution = network.rsplit("-", 1)
    z_y = inputs(15, batch=1) if resolution == "64" else inputs(16)
    teacher = ppcd.build_generator(arch, int(resolution), 3, 2, dim_z=z_y[0].shape[1])
    student = masked(trained(teacher, *z_y), *z_y)
    closed = close(student, 2)(*z_y)
    small = ppcd.slim(student)
    torch.testing.assert_close(small(*z_y), closed, rtol=0, atol=1e-4)
    assert isinstance(small, Generator) and set(small.config.channels) == {2}
    if arch != "tinygan":  # whose slim form the file format has not
        ppcd.save_generator(small, tmp_path / "small.safetensors")
        again = ppcd.load_generator(tmp_path / "small.safetensors")
        assert torch.equal(again(*z_y), small(*z_y))
        training = ppcd.slim(student, for_training=True)
        torch.testing.assert_close(training(*z_y), closed, rtol=0, atol=1e-4)
        torch.testing.assert_close(ppcd.slim(training)(*z_y), closed, rtol=0, atol=1e-4)


def test_a_whole_compression(capsys: pytest.CaptureFixture[str]) -> None:
    teacher = trained(Toy(), *inputs())
    student = ppcd.prunable(copy.deepcopy(teacher), BRANCHES, inputs=inputs(), stream=True)
    plain = ppcd.prunable(copy.deepcopy(teacher), BRANCHES, inputs=inputs())
    with_stream, _ = capsys.readouterr().out.splitlines()
    assert with_stream.startswith("Toy: 4,391 parameters and 537,344 MACs; at alpha 0.7 8.70 times fewer parameters")
    compressor = ppcd.Compressor(student, teacher, alpha=0.7, iterations=STEPS)
    train(student, compressor)
    report = compressor.report()
    assert [(each.name, each.kept, each.goal) for each in report.layers if "stream" in each.name] == [
        ("pp_res_stream.first", 2, 2), ("pp_res_stream.blocks_0_skip", 2, 2), ("pp_res_stream.blocks_1_skip", 2, 2)
    ]  # fmt: skip
    small = ppcd.slim(student)
    assert sum(each.numel() for each in small.parameters()) == report.sizes["at alpha"][0]
    ceiling = ppcd.Compressor(plain).report().sizes["at the ceiling"][0]
    assert report.sizes["at alpha"][0] < ceiling  # PP-Res alone cannot be as small
    assert small.first.out_features == 2 * 16 and small.out[2].in_channels == 2


class Between(Toy):
    """Something is done to the stream between its two blocks."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        h = self.blocks[0](self.first(noise).unflatten(1, (-1, 4, 4)), labels)
        return self.out(self.blocks[1](self.change(h), labels))


class Concatenated(Between):
    def __init__(self) -> None:
        super().__init__(self.joined)
        self.extra = nn.Conv2d(8, 4, 1)
        self.blocks[1] = Block(12, 8, 3, nn.Conv2d, EmbeddingNorm)

    def joined(self, h: Tensor) -> Tensor:
        return torch.cat([self.extra(h), h], 1)


class FixedWidth(Toy):
    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        h = self.first(noise).view(-1, 8, 4, 4)
        return self.out(self.blocks[1](self.blocks[0](h, labels), labels))


class FromTheStream(Toy):
    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        h = self.blocks[1](self.blocks[0](self.first(noise).unflatten(1, (-1, 4, 4)), labels), labels)
        return self.out(h) + h[:, :3]


def changed(name: str, layer: nn.Module) -> Toy:
    toy = Toy()
    toy.set_submodule(name, layer)
    return toy


def shared() -> Toy:
    toy = Toy()
    toy.blocks[1].skip = toy.blocks[0].skip
    return toy


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a norm over the channels": (
        lambda: Between(lambda h: h / h.square().mean(1, keepdim=True).sqrt()),
        "lose channels: blocks.1.bn1 does not take its channels",
    ),
    "a group norm": (
        lambda: changed("out.0", nn.GroupNorm(2, 8)), "after blocks.1.skip .* out.0 does not take its channels"
    ),
    "channels in another order": (
        lambda: Between(lambda h: torch.cat([h[:, :4], h[:, 4:].flip(1)], 1)), "first at blocks.1"
    ),
    "a concatenation": (Concatenated, "blocks.1.bn1 takes 12 channels, not those of blocks.0.skip"),
    "a width in the code": (FixedWidth, "cannot be run at FixedWidth .*leave stream=True away"),
    "images from the stream": (FromTheStream, "made of the output of blocks.1.skip without a layer between"),
    "a flattened stream": (
        lambda: changed("out", nn.Sequential(nn.Flatten(), nn.Linear(8 * 16 * 16, 12))),
        "out.1 does not take its channels one by one",
    ),
    "one layer twice": (shared, "blocks.0.skip is called more than once"),
    "inputs not known": (Toy, "give inputs=\\(z, y\\), a small batch"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_lose_channels_is_one_line(case: str) -> None:
    make, said = REFUSED[case]
    with pytest.raises(PpcdError, match=said) as caught:
        ppcd.prunable(make(), BRANCHES, inputs=None if case == "inputs not known" else inputs(), stream=True)
    assert "\n" not in str(caught.value)
