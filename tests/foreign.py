"""Conditional generators that are none of ours, as people write them: for the tests of `ppcd.prunable`."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm


class EmbeddingNorm(nn.Module):
    """Gain and bias from one embedding (the form of torch-mimicry and of many a tutorial)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.num_features = channels
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.embed = nn.Embedding(classes, 2 * channels)
        nn.init.normal_(self.embed.weight, 1, 0.3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, bias = self.embed(y).chunk(2, 1)
        return gain.view(-1, self.num_features, 1, 1) * self.bn(x) + bias.view(-1, self.num_features, 1, 1)


class TwoEmbeddingsNorm(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.gamma, self.beta = nn.Embedding(classes, channels), nn.Embedding(classes, channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.norm(x) * (1 + self.gamma(y)[..., None, None]) + self.beta(y)[..., None, None]


class LinearNorm(nn.Module):
    """Gain and bias from a small network of the class's one-hot vector."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.style = nn.Sequential(nn.Linear(classes, 8), nn.ReLU(), spectral_norm(nn.Linear(8, 2 * channels)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, bias = self.style(F.one_hot(y, self.classes).to(x.dtype))[..., None, None].chunk(2, 1)
        return self.bn(x) * (1 + gain) + bias


class ConditionNorm(nn.Module):
    """Gain and bias from a condition, and statistics in buffers of its own, as BigGAN-PyTorch has them."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.output_size, self.input_size = channels, condition
        self.gain, self.bias = (SNLinear(condition, channels, bias=False) for _ in range(2))
        self.register_buffer("stored_mean", torch.randn(channels))
        self.register_buffer("stored_var", 1 + torch.rand(channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        gain = (1 + self.gain(condition)).view(condition.size(0), -1, 1, 1)
        bias = self.bias(condition).view(condition.size(0), -1, 1, 1)
        return F.batch_norm(x, self.stored_mean, self.stored_var, None, None, self.training, 0.1, 1e-5) * gain + bias


class OwnStatistics(ConditionNorm):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x, F.one_hot(y, self.input_size).to(x.dtype))


class SelfNormalised:
    """One power iteration in each forward pass, the vector stored in training alone."""

    weight: Tensor
    u: Tensor
    training: bool

    def effective(self) -> Tensor:
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(self.u @ matrix)
            u = F.normalize(v @ matrix.t())
            if self.training:
                self.u[:] = u
        return self.weight / (v @ matrix.t() @ u.t()).squeeze()


class SNConv2d(nn.Conv2d, SelfNormalised):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("u", torch.randn(1, self.out_channels))

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.effective(), self.bias, self.stride, self.padding)


class SNLinear(nn.Linear, SelfNormalised):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("u", torch.randn(1, self.out_features))

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.effective(), self.bias)


NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "batch": lambda channels, classes: nn.BatchNorm2d(channels),
    "embedding": EmbeddingNorm,
    "two embeddings": TwoEmbeddingsNorm,
    "linear": LinearNorm,
    "own statistics": OwnStatistics,
}
CONVS: dict[str, Callable[..., nn.Module]] = {
    "plain": nn.Conv2d,
    "old spectral norm": lambda *args, **options: spectral_norm(nn.Conv2d(*args, **options)),
    "new spectral norm": lambda *args, **options: parametrizations.spectral_norm(nn.Conv2d(*args, **options)),
    "self-normalised": SNConv2d,
}


class Block(nn.Module):
    """Norm-ReLU-up-conv-norm-ReLU-conv and a skip: names in the order of nobody's paper."""

    def __init__(self, c_in: int, c_out: int, classes: int, conv: Any, norm: Any) -> None:
        super().__init__()
        hidden = c_out + 2
        self.skip = conv(c_in, c_out, 1)
        self.bn2, self.bn1 = norm(hidden, classes), norm(c_in, classes)
        self.conv1 = conv(c_in, hidden, 3, padding=1)
        self.conv2 = conv(hidden, c_out, 3, padding=1, bias=False)

    def _norm(self, norm: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return norm(x) if isinstance(norm, nn.BatchNorm2d) else norm(x, y)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = F.interpolate(F.relu(self._norm(self.bn1, x, y)), scale_factor=2)
        h = self.conv2(F.relu(self._norm(self.bn2, self.conv1(h), y), inplace=True))
        return h + self.skip(F.interpolate(x, scale_factor=2))


class Toy(nn.Module):
    """A small conditional generator of 16 x 16 images whose attributes say nothing of its inputs."""

    def __init__(self, conv: str = "plain", norm: str = "embedding", width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(6, width * 16)
        self.blocks = nn.ModuleList(Block(width, width, classes, CONVS[conv], NORMS[norm]) for _ in range(2))
        self.out = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(True), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        h = self.first(noise).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            h = block(h, labels)
        return self.out(h)


class ChunkedGenerator(nn.Module):
    """BigGAN's form from its description: a shared class embedding and a chunk of noise into every norm, attention."""

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.dim_z, self.n_classes, self.chunk = 12, classes, 4
        self.shared = nn.Embedding(classes, 6)
        self.linear = SNLinear(self.chunk, width * 16)
        self.blocks = nn.ModuleList(
            nn.ModuleList([self._block(c), *([Attention(c // 2)] if c == width else [])]) for c in (width, width // 2)
        )
        self.output_layer = nn.Sequential(nn.BatchNorm2d(width // 4), nn.ReLU(), SNConv2d(width // 4, 3, 3, padding=1))

    def _block(self, channels: int) -> Block:
        return Block(channels, channels // 2, 6 + self.chunk, SNConv2d, ConditionNorm)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        first, *chunks = z.split(self.chunk, 1)
        h = self.linear(first).view(len(z), -1, 4, 4)
        for stage, chunk in zip(self.blocks, chunks, strict=True):
            for module in stage:
                h = module(h, torch.cat([self.shared(y), chunk], 1)) if isinstance(module, Block) else module(h)
        return torch.tanh(self.output_layer(h))


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta, self.value = (SNConv2d(channels, channels, 1, bias=False) for _ in range(2))
        self.gamma = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        queries, values = self.theta(x).flatten(2), self.value(x).flatten(2)
        weights = torch.softmax(queries.transpose(1, 2) @ queries, -1)
        return x + self.gamma * (values @ weights).unflatten(2, x.shape[2:])


class IdentityBlock(Block):
    """A block whose input is its skip."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, width, classes, nn.Conv2d, EmbeddingNorm)
        del self.skip

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.bn1(x, y)))
        return x + self.conv2(F.relu(self.bn2(h, y)))


class ManyReaders(Toy):
    """A linear layer whose channels come last, a gate, and identity skips: all that a stream can be in one network."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width=width)
        self.blocks.extend([IdentityBlock(width, 3), IdentityBlock(width, 3)])
        self.squeeze, self.excite = nn.Linear(width, 2), nn.Linear(2, width)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        h = self.first(noise).unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            h = block(h, labels)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(h.mean((2, 3))))))
        return self.out(h * gate[:, :, None, None])
