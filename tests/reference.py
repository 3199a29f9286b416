"""The paper's formulas and the reference networks once more: naive, slow, and not written from ppcd's code.

Equations are loops over Python floats. Layers and networks are functions of tensors and of a state dict, after the
description of BigGAN-PyTorch's `BigGAN.py` and `layers.py`. What the tests share besides stands at the end.
"""

import ctypes
import gc
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ppcd.base import PpcdError

# ------------------------------------------------------------ equations 1-3, 5


def mask_value(w: float, delta: float) -> float:
    """m_i = 1 / (1 + exp(-delta w_i)) (eq. 1)."""
    try:
        return 1 / (1 + math.exp(-delta * w))
    except OverflowError:
        return 0.0


def l1_to_minus_one(w: list[float]) -> float:
    """l_PP = sum_i |w_i + 1| (eq. 2)."""
    total = 0.0
    for w_i in w:
        total += w_i + 1 if w_i + 1 > 0 else -(w_i + 1)
    return total


def ratio(m: list[float], pivot: float) -> float:
    """c / n, c the number of values less than or equal to the pivot."""
    c = 0
    for m_i in m:
        if m_i <= pivot:
            c += 1
    return c / len(m)


def binarized(m: list[float], alpha: float, pivot: float) -> list[float]:
    """m* of eq. 3."""
    result = []
    for m_i in m:
        if ratio(m, pivot) <= alpha:
            result.append(m_i)
        elif m_i > pivot:
            result.append(1.0)
        else:
            result.append(0.0)
    return result


def progressive_pruning(w: list[list[float]]) -> float:
    """L_PP = 1 / (2N) sum_{k=1}^{2N} l_PP_k (eq. 5); w holds the parameters of the 2N masks."""
    total = 0.0
    for w_k in w:
        total += l1_to_minus_one(w_k)
    return total / len(w)


# ------------------------------------------------------------ equations 4 and 6


def attention_map(o: Tensor, power: int = 2) -> list[list[float]]:
    """F = sum_{i=1}^{C} |O(i, :, :)|^2 of one image's features [C, H, W]."""
    channels, height, width = o.shape
    result = [[0.0] * width for _ in range(height)]
    for i in range(channels):
        for r in range(height):
            for c in range(width):
                result[r][c] += abs(o[i, r, c].item()) ** power
    return result


def l2_norm(flat: list[float]) -> float:
    return math.sqrt(sum(value**2 for value in flat))


def attention_distance(o_t: Tensor, o_s: Tensor, power: int = 2, normalise: bool = True) -> float:
    """l_CD = || F^T / ||F^T||_2 - F^S / ||F^S||_2 ||_2 (eq. 4) of one image; the switches make it wrong."""
    f_t = [value for row in attention_map(o_t, power) for value in row]
    f_s = [value for row in attention_map(o_s, power) for value in row]
    norm_t, norm_s = (l2_norm(f_t), l2_norm(f_s)) if normalise else (1.0, 1.0)
    return l2_norm([t / norm_t - s / norm_s for t, s in zip(f_t, f_s, strict=True)])


def class_aware_distillation(
    teacher: list[Tensor], student: list[Tensor], power: int = 2, normalise: bool = True
) -> float:
    """L_CD = 1/L sum_{k=1}^{L} l_CD_k (eq. 6), each l_CD_k averaged over the images of the batch."""
    total = 0.0
    for o_t, o_s in zip(teacher, student, strict=True):
        batch = 0.0
        for image in range(o_t.shape[0]):
            batch += attention_distance(o_t[image], o_s[image], power, normalise)
        total += batch / o_t.shape[0]
    return total / len(teacher)


# ------------------------------------------------------------ equation 7 and hinge


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def minimax_value(real: list[float], fake: list[float]) -> float:
    """E[log D(I_real)] + E[log(1 - D(G(z)))] (eq. 7), D = sigmoid of the scores."""
    return sum(math.log(sigmoid(s)) for s in real) / len(real) + minimax_generator(fake)


def minimax_generator(fake: list[float]) -> float:
    """The part of eq. 7 that depends on G."""
    return sum(math.log(1 - sigmoid(s)) for s in fake) / len(fake)


def hinge_discriminator(real: list[float], fake: list[float]) -> float:
    """E[max(0, 1 - D(I_real))] + E[max(0, 1 + D(G(z)))]."""
    loss_real = sum(max(0.0, 1 - s) for s in real) / len(real)
    loss_fake = sum(max(0.0, 1 + s) for s in fake) / len(fake)
    return loss_real + loss_fake


# ------------------------------------------------------------ layers


def spectral_norm(weight: Tensor, u: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """v = normalize(u W), u' = normalize(v W^T), sigma = v W^T u'^T; returns sigma, u' and v."""
    matrix = weight.detach().flatten(1)
    v = matrix.T @ u[0]
    v = v / max(float(v.norm()), eps)
    v_wt = matrix @ v
    u_next = v_wt / max(float(v_wt.norm()), eps)
    return v_wt @ u_next, u_next, v


def batch_norm(x: Tensor, gain: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float = 1e-5) -> Tensor:
    """gain[b, c] (x - mean[c]) / sqrt(var[c] + eps) + bias[b, c] at every pixel."""
    mean, var = mean[:, None, None], var[:, None, None]
    return gain[..., None, None] * (x - mean) / (var + eps).sqrt() + bias[..., None, None]


# ------------------------------------------------------------ networks

G_CHANNELS = {32: [4, 4, 4, 4], 64: [16, 16, 8, 4, 2], 128: [16, 16, 8, 4, 2, 1]}
D_CHANNELS = {32: [4, 4, 4, 4], 64: [1, 2, 4, 8, 16], 128: [1, 2, 4, 8, 16, 16]}
D_POOLS = {32: 2, 64: 4, 128: 5}  # that many of the first blocks halve the size
EPS = {"biggan": 1e-6, "sagan": 1e-8, "sngan": 1e-8}
State = dict[str, Tensor]


def public_names(state: State, attention_block: int) -> State:
    """A state of ours by the names of BigGAN-PyTorch, which the networks below read; one in those names stays."""
    rules = [
        (r"^blocks\.(\d+)\.(?=[a-z])", r"blocks.\1.0."),
        (r"^attention\.", f"blocks.{attention_block}.1."),
        (r"^output_norm\.weight$", "output_layer.0.gain"),
        (r"^output_norm\.", "output_layer.0."),
        (r"^output_conv\.", "output_layer.2."),
        (r"\.running_", ".stored_"),
        (r"\.u$", ".u0"),
    ]
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def sn_weight(state: State, name: str, eps: float) -> Tensor:
    weight = state[f"{name}.weight"]
    return weight / spectral_norm(weight, state[f"{name}.u0"], eps)[0]


def sn_conv(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    weight = sn_weight(state, name, eps)
    return F.conv2d(x, weight, state.get(f"{name}.bias"), padding=weight.shape[2] // 2)


def up(x: Tensor) -> Tensor:
    """Every pixel becomes 2x2 pixels."""
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def pool(x: Tensor) -> Tensor:
    """The mean of every 2x2 pixels."""
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def attention(state: State, name: str, x: Tensor, eps: float) -> Tensor:
    batch, _, height, width = x.shape
    theta = sn_conv(state, f"{name}.theta", x, eps).reshape(batch, -1, height * width)
    phi = F.max_pool2d(sn_conv(state, f"{name}.phi", x, eps), 2).reshape(batch, -1, height * width // 4)
    g = F.max_pool2d(sn_conv(state, f"{name}.g", x, eps), 2).reshape(batch, -1, height * width // 4)
    beta = torch.einsum("bcq,bck->bqk", theta, phi).softmax(dim=2)
    seen = torch.einsum("bqk,bck->bcq", beta, g).reshape(batch, -1, height, width)
    return x + state[f"{name}.gamma"] * sn_conv(state, f"{name}.o", seen, eps)


def generator(state: State, arch: str, resolution: int, z: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Images and each block's output of a generator in evaluation mode; PP-Res where the state has masks.

    Masks are taken as eq. 1 has them (delta 1e3), so they must not be frozen.
    """
    eps, blocks = EPS[arch], len(G_CHANNELS[resolution]) - 1
    state = public_names(state, attention_block=3)
    if arch == "biggan":
        chunk = z.shape[1] // (blocks + 1)
        chunks = [z[:, i * chunk : (i + 1) * chunk] for i in range(blocks + 1)]
    else:
        chunks = [z]

    def cbn(name: str, x: Tensor, block: int) -> Tensor:
        if arch == "biggan":
            condition = torch.cat([state["shared.weight"][y], chunks[block + 1]], dim=1)
            gain, bias = (condition @ sn_weight(state, f"{name}.{part}", eps).T for part in ("gain", "bias"))
        else:
            gain, bias = (state[f"{name}.{part}.weight"][y] for part in ("gain", "bias"))
        return batch_norm(x, 1 + gain, bias, state[f"{name}.stored_mean"], state[f"{name}.stored_var"])

    def mask(name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" not in state:
            return x
        m = [mask_value(w, 1e3) for w in state[f"{name}.weight"].tolist()]
        return x * x.new_tensor(m)[None, :, None, None]

    h = (chunks[0] @ sn_weight(state, "linear", eps).T + state["linear.bias"]).reshape(z.shape[0], -1, 4, 4)
    features = []
    for i in range(blocks):
        x, name = h, f"blocks.{i}.0"
        h = sn_conv(state, f"{name}.conv1", up(cbn(f"{name}.bn1", x, i).clamp(min=0)), eps)
        h = mask(f"{name}.mask1", cbn(f"{name}.bn2", h, i)).clamp(min=0)
        h = mask(f"{name}.mask2", sn_conv(state, f"{name}.conv2", h, eps))
        if f"{name}.transition.weight" in state:
            h = sn_conv(state, f"{name}.transition", h, eps)
        h = h + sn_conv(state, f"{name}.conv_sc", up(x), eps)
        features.append(h)
        if h.shape[2] == 64 and arch != "sngan":
            h = attention(state, f"blocks.{i}.1", h, eps)
    parts = (state[f"output_layer.0.{part}"] for part in ("gain", "bias", "stored_mean", "stored_var"))
    h = batch_norm(h, *parts).clamp(min=0)
    return torch.tanh(sn_conv(state, "output_layer.2", h, eps)), features


def discriminator(state: State, arch: str, resolution: int, images: Tensor, y: Tensor) -> Tensor:
    """Scores of a discriminator in evaluation mode."""
    eps, h = EPS[arch], images
    state = public_names(state, attention_block=0)
    channels = [3, *D_CHANNELS[resolution]]
    for i in range(len(channels) - 1):
        x, name = h, f"blocks.{i}.0"
        h = sn_conv(state, f"{name}.conv1", x if i == 0 else x.clamp(min=0), eps)
        h = sn_conv(state, f"{name}.conv2", h.clamp(min=0), eps)
        if i < D_POOLS[resolution]:
            h, skip = pool(h), pool(sn_conv(state, f"{name}.conv_sc", x, eps))
        elif channels[i] != channels[i + 1]:
            skip = sn_conv(state, f"{name}.conv_sc", x, eps)
        else:
            skip = x
        h = h + skip
        if h.shape[2] == 64 and arch != "sngan":
            h = attention(state, f"blocks.{i}.1", h, eps)
    h = h.clamp(min=0).sum(dim=(2, 3))
    linear = (h @ sn_weight(state, "linear", eps).T + state["linear.bias"])[:, 0]
    return linear + (sn_weight(state, "embed", eps)[y] * h).sum(dim=1)


# ------------------------------------------------------------ shared by the tests


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def random_tensor(name: str, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Random values for a tensor of this name, of ours or of BigGAN-PyTorch, so that nothing is right by being zero.

    The vectors of the spectral norm are neither of unit length nor singular vectors; masks are half open.
    """
    noise, last = torch.randn(shape, generator=generator, dtype=torch.float64), name.rsplit(".", 1)[-1]
    if last in ("running_var", "stored_var"):
        return 0.5 + noise.abs()
    if last == "gamma":
        return torch.full_like(noise, 0.7)
    if name == "output_norm.weight":
        return 1 + 0.3 * noise
    if name == "output_norm.bias":
        return 0.5 + 0.2 * noise  # the last ReLU stays alive, with a single channel too
    if name.startswith("output_layer.0.") and last in ("gain", "bias"):
        return (0.4 if last == "gain" else 0.2) + 0.1 * noise
    if "mask" in name:
        return 0.002 * noise
    return 3 * noise if last in ("u", "u0") else 0.4 * noise


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Fill a network with `random_tensor`s."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.rsplit(".", 1)[-1] not in ("num_batches_tracked", "kept", "_extra_state", "scale"):
                tensor.copy_(random_tensor(name, tensor.shape, generator))
    return network


def noise_and_labels(
    batch: int, dim_z: int, classes: int, seed: int, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """z and y; the labels run through all classes if the batch is as large."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(batch, dim_z, generator=generator, dtype=torch.float64).to(dtype)
    return z, torch.arange(batch) % classes


def largest_difference(a: Tensor, b: Tensor) -> float:
    return (a - b).detach().abs().max().item()


@contextmanager
def refused(*parts: str) -> Iterator[pytest.ExceptionInfo[PpcdError]]:
    """The block must raise a PpcdError of one line that has all the parts."""
    with pytest.raises(PpcdError) as caught:
        yield caught
    message = str(caught.value)
    assert "\n" not in message, message
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


def refuses(message: str, function: Callable[..., object], *given: Any, **named: Any) -> None:
    """The function must raise a PpcdError of one line that has the message."""
    with refused(message):
        function(*given, **named)


def give_back_memory() -> None:
    """Have the allocator return what earlier tests have freed: only then does new memory show in the size."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
