"""Layers of the reference networks: spectral norm, class-conditional batch norm, self-attention.

The spectral norm follows BigGAN-PyTorch's `layers.py`: one power iteration in every forward pass from the
stored vector u, written back in training only. torch's own parametrisation gives another answer at
evaluation, so public checkpoints would not give the same images with it.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ppcd.base import PpcdError, full, weights_dtype
from ppcd.method.narrow import narrow, replace, select, set_weight


@dataclass(frozen=True)
class SharedBatch:
    """A batch of which several processes hold equal parts."""

    mean: Callable[[Tensor], Tensor]  # over the processes, differentiable
    processes: int


_shared: SharedBatch | None = None


@contextmanager
def shared_batch(shared: SharedBatch | None) -> Iterator[None]:
    """Within this context a batch norm in training mode normalises over the batches of all processes.

    All of them must run the same forward passes. None: this process's batch alone, as outside of the context.
    """
    global _shared
    before, _shared = _shared, shared
    try:
        yield
    finally:
        _shared = before


def batch_norm(
    x: Float[Tensor, "batch channel height width"],
    running_mean: Float[Tensor, " channel"],
    running_var: Float[Tensor, " channel"],
    training: bool,
    momentum: float,
    eps: float,
) -> Float[Tensor, "batch channel height width"]:
    """(x - mean) / sqrt(var + eps), without gain and bias; over the batch of all processes in `shared_batch`.

    Written out there, because torch's SyncBatchNorm runs on GPUs only.
    """
    if _shared is None or not training:
        return F.batch_norm(x, running_mean, running_var, None, None, training, momentum, eps)
    x = full(x)
    mean = _shared.mean(x.mean((0, 2, 3)))
    centred = x - mean[:, None, None]
    var = _shared.mean(centred.square().mean((0, 2, 3)))
    with torch.no_grad():
        count = _shared.processes * x.numel() // x.shape[1]
        running_mean.lerp_(mean.detach().to(running_mean), momentum)
        running_var.lerp_((var.detach() * count / (count - 1)).to(running_var), momentum)
    return centred * torch.rsqrt(var + eps)[:, None, None]


def power_iteration(
    weight: Float[Tensor, "rows ..."], u: Float[Tensor, "1 rows"], eps: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "1 rows"]]:
    """One power iteration: v = normalize(u W), u' = normalize(v W^T), sigma = v W^T u'^T = ||v W^T||.

    Returns:
        sigma (differentiable in the weight) and u'. W is the weight with all but its first dimension flattened.
    """
    return power_iterations(weight.flatten(1), u, eps)


def power_iterations(
    matrix: Float[Tensor, "*layer rows columns"], u: Float[Tensor, "*layer 1 rows"], eps: float
) -> tuple[Float[Tensor, "*layer"], Float[Tensor, "*layer 1 rows"]]:
    """`power_iteration` of one matrix, or of several at once."""
    with torch.no_grad():
        v = F.normalize(u @ matrix, dim=-1, eps=eps)
        u_next = F.normalize(v @ matrix.transpose(-2, -1), dim=-1, eps=eps)
    sigma = (v @ matrix.transpose(-2, -1) @ u_next.transpose(-2, -1)).squeeze((-2, -1))
    return sigma, u_next


class SpectralNorm(nn.Module):
    """Mixin of a layer with a `weight`: W / sigma(W) * scale.

    `scale` is 1, except in a slim network whose training goes on (two-step PPCD-GAN*): removing channels
    lowers sigma, and the scale keeps the function as it was.
    """

    plain: type[nn.Module]  # torch's layer without the norm
    weight: Tensor
    u: Tensor
    scale: Tensor
    computed: tuple[Tensor, Tensor] | None = None  # sigma and the next u, by `norms_together`, for the next use

    def add_spectral_norm(self, eps: float) -> None:
        self.eps = eps
        self.register_buffer("u", torch.ones(1, self.weight.shape[0]))
        self.register_buffer("scale", torch.ones(()))

    def normalized_weight(self) -> Tensor:
        """The weight that the layer uses; in training mode u moves on by one power iteration."""
        (sigma, u), self.computed = self.computed or self.iterated(), None
        if self.training:
            self.u.copy_(u)
        return self.weight * (self.scale / sigma)

    def iterated(self) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.weight.device.type, enabled=False):  # half precision is too little for sigma
            return power_iteration(self.weight, self.u, self.eps)

    def narrowed(self, rows: Tensor | None, columns: Tensor | None, for_training: bool) -> nn.Module:
        """A copy with these rows and columns of the effective weight; see `ppcd.method.slim.narrow`.

        For training the layer stays under spectral norm, with a scale that makes W / sigma(W) * scale the effective
        weight. Else it is torch's own layer.
        """
        sigma, _ = power_iteration(self.weight.detach(), self.u, self.eps)
        effective = select(self.weight.detach() * (self.scale / sigma), rows, columns)
        result: Any = copy.deepcopy(self)
        if getattr(self, "bias", None) is not None:
            replace(result, "bias", select(self.bias, rows))  # type: ignore[arg-type]
        if not for_training:
            for name in ("u", "scale"):
                delattr(result, name)
            del result.eps
            result.__class__ = self.plain
            set_weight(result, effective)
            return result
        weight = select(self.weight.detach(), rows, columns)
        left, singular, _ = torch.linalg.svd(weight.flatten(1).double(), full_matrices=False)
        set_weight(result, weight)
        replace(result, "u", left[:, :1].t().to(weight))
        result.scale.copy_(singular[0] * (effective.norm() / weight.norm().clamp_min(torch.finfo(weight.dtype).tiny)))
        return result


class SNConv2d(nn.Conv2d, SpectralNorm):
    plain = nn.Conv2d

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.normalized_weight(), self.bias)


class SNLinear(nn.Linear, SpectralNorm):
    plain = nn.Linear

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.normalized_weight(), self.bias)


class SNEmbedding(nn.Embedding, SpectralNorm):
    plain = nn.Embedding

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.normalized_weight())


def norms_together(network: nn.Module) -> None:
    """The spectral norms of a network's next forward pass, those of equal shapes at once: fewer and larger products.

    Every layer of the network must be used in it.
    """
    alike: dict[tuple[torch.Size, float], list[SpectralNorm]] = {}
    for layer in network.modules():
        if isinstance(layer, SpectralNorm):
            alike.setdefault((layer.weight.flatten(1).shape, layer.eps), []).append(layer)
    for (_, eps), layers in alike.items():
        if len(layers) > 1:
            with torch.autocast(layers[0].weight.device.type, enabled=False):
                matrices = torch.stack([layer.weight.flatten(1) for layer in layers])
                sigmas, us = power_iterations(matrices, torch.stack([layer.u for layer in layers]), eps)
            for layer, *computed in zip(layers, sigmas.unbind(), us.unbind(), strict=True):
                layer.computed = (computed[0], computed[1])


class LayerMaker:
    """Makes the convolutions, linear layers and embeddings of a network, with or without spectral norm."""

    def __init__(self, spectral_norm: bool, eps: float) -> None:
        self.spectral_norm, self.eps = spectral_norm, eps

    def conv(self, c_in: int, c_out: int, kernel_size: int, bias: bool = True, stride: int = 1) -> nn.Conv2d:
        """The output has the size of the input, or 1 / stride of it."""
        return self._made(SNConv2d(c_in, c_out, kernel_size, stride, padding=(kernel_size - 1) // 2, bias=bias))

    def linear(self, in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
        return self._made(SNLinear(in_features, out_features, bias))

    def embedding(self, num_embeddings: int, embedding_dim: int) -> nn.Embedding:
        return self._made(SNEmbedding(num_embeddings, embedding_dim))

    def _made(self, layer: Any) -> Any:
        if self.spectral_norm:
            layer.add_spectral_norm(self.eps)
        else:
            layer.__class__ = layer.plain
        return layer


class ClassConditionalBatchNorm(nn.Module):
    """Batch norm whose gain (1 + gain(c)) and bias (bias(c)) come from the condition c.

    Args:
        gain, bias: layers from the condition to [batch, channels]: embeddings of the label (SA-GAN) or
            bias-free linear layers of cat[class embedding, noise chunk] (BigGAN).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, gain: nn.Module, bias: nn.Module, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain, self.bias = gain, bias
        self.eps, self.momentum = eps, 0.1
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def narrowed(self, rows: Tensor | None, columns: Tensor | None, for_training: bool) -> "ClassConditionalBatchNorm":
        """A copy with these channels (`rows`); see `ppcd.method.slim.narrow`."""
        embeddings = isinstance(self.gain, nn.Embedding)  # [class, channel]; a linear layer is [channel, condition]
        part = (None, rows) if embeddings else (rows, None)
        gain, bias = (narrow(layer, *part, for_training=for_training) for layer in (self.gain, self.bias))
        result = ClassConditionalBatchNorm(0, gain, bias, self.eps)
        replace(result, "running_mean", select(self.running_mean, rows))
        replace(result, "running_var", select(self.running_var, rows))
        return result

    def forward(
        self, x: Float[Tensor, "batch channel height width"], condition: Tensor, kept: Tensor | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """The norm; where `kept` is given, x has these channels only, and the statistics of no others change."""
        mean, var = self.running_mean, self.running_var
        if kept is not None:
            mean, var = mean[kept], var[kept]
        x = batch_norm(x, mean, var, self.training, self.momentum, self.eps)
        gain, bias = 1 + self.gain(condition), self.bias(condition)  # [batch, channel] each
        if kept is not None:
            gain, bias = gain[:, kept], bias[:, kept]
            if self.training:
                self.running_mean[kept], self.running_var[kept] = mean, var
        return torch.addcmul(bias[:, :, None, None], x, gain[:, :, None, None])


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, over the batch of all processes in `shared_batch`."""

    def forward(
        self, input: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        if _shared is None or not self.training:
            return super().forward(input)
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        x = batch_norm(input, self.running_mean, self.running_var, True, self.momentum, self.eps)  # type: ignore[arg-type]
        return torch.addcmul(self.bias[:, None, None], x, self.weight[:, None, None])


class Conditional(nn.Module):
    """A network of inputs and their labels that refuses in one line what it cannot take.

    Labels beyond the classes are found by torch's own error on a CPU; on a GPU a check would have to wait for it.
    """

    takes: tuple[str, str]  # what the network is, and the name of its input
    input_shape: tuple[int, ...]  # of one input
    num_classes: int
    grouped = False  # spectral norms of equal shapes are computed together (`norms_together`)

    def __call__(self, x: Any, y: Any, *options: Any) -> Any:
        if not (
            isinstance(x, Tensor)
            and isinstance(y, Tensor)
            and x.shape[1:] == self.input_shape
            and y.shape == x.shape[:1]
            and y.dtype in (torch.int64, torch.int32)
            and (x.dtype == weights_dtype(self) or torch.is_autocast_enabled(x.device.type))
        ):
            raise self._refusal(f"{_described(x)} and {_described(y)}")
        if self.grouped:
            norms_together(self)
        try:
            return super().__call__(x, y, *options)
        except IndexError:
            first, last = int(y.min()), int(y.max())
            if first >= 0 and last < self.num_classes:
                raise
            raise self._refusal(f"labels from {first} to {last}") from None

    def _refusal(self, found: str) -> PpcdError:
        (network, name), dtype = self.takes, weights_dtype(self)
        advice = "" if dtype == torch.float32 else f" (after .float() it takes {name} of torch.float32)"
        return PpcdError(
            f"this {network} takes {name} [batch, {', '.join(map(str, self.input_shape))}] of {dtype} and y [batch] of "
            f"torch.int64, labels from 0 to {self.num_classes - 1}; got {found}{advice}"
        )


def _described(value: Any) -> str:
    return f"{list(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__


class SelfAttention(nn.Module):
    """Self-attention of SA-GAN as BigGAN-PyTorch has it: 1x1 convolutions without bias, gamma starts at 0.

    `before` is the number of channels before slimming, which sets its inner widths; None: the same.
    """

    def __init__(self, channels: int, make: LayerMaker, before: int | None = None) -> None:
        super().__init__()
        self.before = before or channels
        keys, values = (max(1, self.before // divisor) for divisor in (8, 2))
        self.theta = make.conv(channels, keys, 1, bias=False)
        self.phi = make.conv(channels, keys, 1, bias=False)
        self.g = make.conv(channels, values, 1, bias=False)
        self.o = make.conv(values, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
        height, width = x.shape[2:]
        theta = self.theta(x).flatten(2)  # [B, C/8, HW]
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)  # [B, C/8, HW/4]
        g = F.max_pool2d(self.g(x), 2).flatten(2)  # [B, C/2, HW/4]
        beta = torch.softmax(theta.transpose(1, 2) @ phi, dim=-1)  # [B, HW, HW/4]
        o = (g @ beta.transpose(1, 2)).unflatten(2, (height, width))  # [B, C/2, H, W]
        return x + self.gamma * self.o(o)
