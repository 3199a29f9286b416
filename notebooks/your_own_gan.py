"""A small conditional GAN of 32 x 32 images, as anybody writes one: nothing of ppcd is in it (notebook 11)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class ConditionalNorm(nn.Module):
    """Batch norm whose gain and bias come from one embedding of the class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.embed = nn.Embedding(classes, 2 * channels)
        nn.init.ones_(self.embed.weight[:, :channels])
        nn.init.zeros_(self.embed.weight[:, channels:])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, bias = self.embed(y).view(-1, 2, self.channels, 1, 1).unbind(1)
        return gain * self.norm(x) + bias


class Block(nn.Module):
    """A residual block that doubles the size."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = ConditionalNorm(channels, classes), ConditionalNorm(channels, classes)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = F.interpolate(F.relu(self.bn1(x, y)), scale_factor=2)
        h = self.conv2(F.relu(self.bn2(self.conv1(h), y)))
        return h + self.skip(F.interpolate(x, scale_factor=2))


class Generator(nn.Module):
    """Noise [batch, 64] and labels [batch] to images [batch, 3, 32, 32] in [-1, 1]."""

    def __init__(self, classes: int = 10, width: int = 32) -> None:
        super().__init__()
        self.linear = nn.Linear(64, width * 16)
        self.blocks = nn.ModuleList(Block(width, classes) for _ in range(3))
        self.norm, self.conv = nn.BatchNorm2d(width), nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.linear(z).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.conv(F.relu(self.norm(h))))


class Discriminator(nn.Module):
    """Scores [batch] of images and labels: strided convolutions under spectral norm, and projection."""

    def __init__(self, classes: int = 10, width: int = 32) -> None:
        super().__init__()
        sizes = (3, width, 2 * width, 4 * width)
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(inside, outside, 4, 2, 1)) for inside, outside in pairwise(sizes)
        )
        self.linear = spectral_norm(nn.Linear(4 * width, 1))
        self.embed = spectral_norm(nn.Embedding(classes, 4 * width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        h = x.sum((2, 3))
        return self.linear(h).squeeze(1) + (self.embed(y) * h).sum(1)


def batches(images: Tensor, labels: Tensor, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random real images in [-1, 1] and their labels, without end."""
    order = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(images), (size,), generator=order)
        yield images[chosen].float() / 127.5 - 1, labels[chosen]


def step_of_discriminator(discriminator: nn.Module, optimizer: Any, real: Tensor, fakes: Tensor, y: Tensor) -> None:
    """A step on real images and on generated ones of the same labels (hinge loss)."""
    loss = F.relu(1 - discriminator(real, y)).mean() + F.relu(1 + discriminator(fakes.detach(), y)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train(generator: nn.Module, discriminator: nn.Module, loader: Iterator[tuple[Tensor, Tensor]], steps: int) -> None:
    """The usual training: a step of D, a step of G."""
    of_g = torch.optim.Adam(generator.parameters(), 4e-4, betas=(0.0, 0.9))
    of_d = torch.optim.Adam(discriminator.parameters(), 4e-4, betas=(0.0, 0.9))
    for _ in range(steps):
        real, y = next(loader)
        fakes = generator(torch.randn(len(y), 64), y)
        step_of_discriminator(discriminator, of_d, real, fakes, y)
        loss = -discriminator(fakes, y).mean()
        of_g.zero_grad()
        loss.backward()
        of_g.step()
