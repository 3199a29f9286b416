"""Parameters, multiply-accumulates and seconds, counted by hand and by torchprofile."""

import itertools
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.masks import ChannelMask
from ppcd.metrics.complexity import block_params, complexity
from ppcd.metrics.runtime import seconds_per_batch


class Tiny(nn.Module):
    """Noise 5 -> 6 channels at 4x4, one block with a mask, images of 8x8."""

    dim_z, num_classes, resolution = 5, 3, 8

    def __init__(self, extra: str = "") -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 6)
        self.linear = nn.Linear(5, 6 * 4 * 4)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), ChannelMask(4))]
        )
        self.output = nn.Conv2d(4, 3, 1, bias=False)
        self.extra = extra
        self.seen: list[tuple[int, bool]] = []

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        self.seen.append((len(z), self.training))
        x = self.linear(z).view(-1, 6, 4, 4) + self.embedding(y)[:, :, None, None]
        if self.extra == "addcmul":
            x = torch.addcmul(x, x, x)
        if self.extra == "erf":
            x = torch.erf(x)
        for block in self.blocks:
            x = F.interpolate(block(x), scale_factor=2)
        return torch.tanh(self.output(x))


# By hand: linear 5 x 96; batch norm 6 x 16; conv 3x3 on 4x4; mask 4 x 16; delta * w of the mask 4; conv 1x1 on 8x8.
MACS = 5 * 96 + 6 * 16 + 4 * 16 * 6 * 9 + 4 * 16 + 4 + 3 * 64 * 4
BLOCK = 2 * 6 + (4 * 6 * 9 + 4)
PARAMS = 3 * 6 + (5 * 96 + 96) + BLOCK + 3 * 4


def test_counted_by_hand() -> None:
    G = Tiny()
    found = complexity(G)
    assert (found.params, found.macs) == (PARAMS, MACS)
    assert block_params(G) == BLOCK
    assert sum(each.numel() for each in G.parameters()) == PARAMS + 4  # what counting the mask as well would give
    G.blocks[0][3].freeze(torch.tensor([True, False, True, True]))
    assert complexity(G).params == PARAMS
    assert complexity(Tiny("addcmul")).macs == MACS + 6 * 16, "product and sum in one count like a product"


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(PpcdError, match="aten::erf"):
        complexity(Tiny("erf"))
    with pytest.raises(PpcdError, match="dim_z"):
        complexity(nn.Linear(2, 2))


def test_measuring_leaves_the_network_as_it_was() -> None:
    G = Tiny().train()
    G.blocks[0][0].eval()  # a part with a mode of its own
    before = {name: each.clone() for name, each in G.state_dict().items() if isinstance(each, Tensor)}
    complexity(G)
    seconds_per_batch(G, batch=2, repeats=1)
    assert G.training and G.blocks.training and not G.blocks[0][0].training
    assert all(torch.equal(G.state_dict()[name], value) for name, value in before.items())
    assert G.seen[0] == (1, False) and G.seen[-1] == (2, False)


def test_seconds_are_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two warm-up batches that are not counted, then 1, 9 and 2 seconds.
    ticks = itertools.chain.from_iterable((10 * i, 10 * i + t) for i, t in enumerate((7, 7, 1, 9, 2)))
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    G, threads = Tiny(), torch.get_num_threads()
    found = seconds_per_batch(G, batch=4, repeats=3, warmup=2, threads=2)
    assert found == {"seconds_per_batch": 2, "batch": 4, "threads": 2, "repeats": 3}
    assert G.seen == [(4, False)] * 5
    assert torch.get_num_threads() == threads
