"""How a layer of anybody's network becomes narrow: convolutions, linear layers, embeddings, norms.

What normalises a weight (spectral norm, weight norm, a layer of its own kind) is worked out before any channel goes,
because removing channels would change it. Layers and norms of unknown types are read by what they compute and hold;
`ppcd.slim` compares the images of the whole network afterwards, so that a wrong reading cannot pass.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ppcd.base import PpcdError, seeded

Prune = Callable[[Any, Tensor], nn.Module]  # a norm and the indices that stay -> the narrow norm
TORCH_NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
OF_CLASSES = ("class", "cond", "embed")
MIXING = (nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)  # a channel's value depends on the other channels

_registered: dict[type, Prune] = {}


def register_norm(kind: type, prune: Prune) -> None:
    """Say how norms of a type become narrow.

    Args:
        kind: the type; its subclasses are meant too.
        prune: called with a copy of the norm and the indices of the channels that stay, ascending; returns the norm
            that computes these channels alone. It may change the copy.

    Raises:
        PpcdError: not a type of module, or prune cannot be called.
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)) or not callable(prune):
        raise PpcdError(f"register_norm takes a type of module and a function(norm, kept); got {kind!r} and {prune!r}")
    _registered[kind] = prune


# Layers


def is_convolution(layer: nn.Module) -> bool:
    """Whether it is a convolution of images: one of torch's, or a layer with a weight of four dimensions."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return True
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 4 and not list(layer.children())


def sizes(conv: Any) -> tuple[int, int, int, int]:
    """Output channels, input channels, groups and the larger side of the kernel of a convolution."""
    weight = conv.weight.shape
    groups = getattr(conv, "groups", 1)
    out_channels, in_channels = weight[0], weight[1] * groups
    if isinstance(conv, nn.ConvTranspose2d):
        out_channels, in_channels = weight[1] * groups, weight[0]
    return out_channels, in_channels, groups, max(weight[2:])


TORCHS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)
REPARAMETRISATIONS = ("SpectralNorm", "WeightNorm")  # torch's older forms, which are hooks
SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")
SIGNATURES = {
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "conv_transpose2d": ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    "linear": ("input", "weight", "bias"),
    "embedding": ("input", "weight"),
}


class _Weights(TorchFunctionMode):
    """Notes what convolutions, linear layers and embeddings are called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if names := SIGNATURES.get(getattr(func, "__name__", "")):
            self.calls.append(dict(zip(names, args, strict=False)) | kwargs)
        return func(*args, **kwargs)


@torch.no_grad()
def plain(layer: Any, name: str = "a layer") -> Any:
    """The layer, in evaluation mode, without what normalises its weight: the weight that it computes with is its own.

    A layer under spectral or weight norm, or of an own type, becomes torch's convolution, linear layer or embedding.
    """
    reparametrised = any(type(hook).__name__ in REPARAMETRISATIONS for hook in layer._forward_pre_hooks.values())
    return layer if type(layer) in TORCHS and not reparametrised else _as_torchs(layer, name)


def _as_torchs(layer: Any, name: str) -> nn.Module:
    """torch's layer of the weight that a layer of another type computes with."""
    weight, noise = layer.weight, seeded(0)
    kind: Any = next(
        (each for each in TORCHS if isinstance(layer, each)), nn.Conv2d if weight.dim() == 4 else nn.Linear
    )
    if kind is nn.Embedding:
        given = torch.arange(min(2, len(weight)))
    else:
        shape = (2, sizes(layer)[1], 8, 8) if weight.dim() == 4 else (2, weight.shape[1])
        given = torch.randn(shape, generator=noise).to(weight.dtype)
    given = given.to(weight.device)
    with _Weights() as noted:
        expected = layer(given)
    if len(noted.calls) != 1:
        raise PpcdError(f"{name} is a {type(layer).__name__}, which is more than one convolution or linear layer")
    call = noted.calls[0]
    weight, bias = call["weight"], call.get("bias")
    if kind is nn.Embedding:
        made = kind(1, 1)
    elif weight.dim() == 4:
        settings = {key: getattr(layer, key, call.get(key)) for key in SETTINGS}
        settings = {key: value for key, value in settings.items() if value is not None}
        groups = settings.get("groups", 1)
        made = kind(groups, groups, tuple(weight.shape[2:]), bias=bias is not None, **settings)
    else:
        made = kind(1, 1, bias=bias is not None)
    set_weight(made, weight)
    if bias is not None:
        replace(made, "bias", bias)
    if not torch.allclose(made(given), expected, rtol=1e-4, atol=1e-5):
        raise PpcdError(f"{name} is a {type(layer).__name__}, which does more than its weight and its bias say")
    return made


@torch.no_grad()
def narrow(layer: Any, rows: Tensor | None, columns: Tensor | None, *, for_training: bool = False) -> Any:
    """A copy of the layer with only these output channels (`rows`) and input channels (`columns`).

    Args:
        layer: a convolution, a linear layer, an embedding (rows are its classes, columns its channels), a batch norm
            (rows are its channels), or a layer that has a method `narrowed` of these arguments.
        rows, columns: indices, ascending; None: all.
        for_training: keep the spectral norm of a layer that has a method `narrowed`.
    """
    if hasattr(layer, "narrowed"):
        return layer.narrowed(rows, columns, for_training)
    result = copy.deepcopy(layer)
    if isinstance(layer, nn.ConvTranspose2d):
        set_weight(result, select(layer.weight, columns, rows))
    else:
        set_weight(result, select(layer.weight, rows, columns))
    for name in ("bias", "running_mean", "running_var"):
        if getattr(layer, name, None) is not None:
            replace(result, name, select(getattr(layer, name), rows))
    return result


def set_weight(layer: Any, weight: Tensor) -> None:
    """Give one of torch's layers another weight, of another shape."""
    replace(layer, "weight", weight)
    if isinstance(layer, nn.ConvTranspose2d):
        layer.in_channels, layer.out_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Conv2d):
        if layer.groups > 1 and layer.groups == layer.out_channels:  # depthwise
            layer.groups = len(weight)
        layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings, layer.embedding_dim = weight.shape
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(weight)


def replace(layer: nn.Module, name: str, values: Tensor) -> None:
    """Set a parameter or a buffer to values of another shape."""
    values = values.detach().clone(memory_format=torch.contiguous_format)
    setattr(layer, name, nn.Parameter(values) if name in layer._parameters else values)


def select(values: Tensor, rows: Tensor | None, columns: Tensor | None = None) -> Tensor:
    """These rows and columns of a weight; None: all."""
    values = values if rows is None else values[rows]
    return values if columns is None else values[:, columns]


# Norms


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises channels by statistics: one of torch's norms, a registered one, or one that holds
    such a norm or vectors of its own, and no convolution of more than one pixel."""
    if isinstance(module, (*TORCH_NORMS, *MIXING, *_registered)):
        return True
    if is_convolution(module) or isinstance(module, (nn.Linear, nn.Embedding, nn.Sequential, nn.ModuleList)):
        return False
    vectors = any(b.dim() == 1 and len(b) > 1 for n, b in module.named_buffers(recurse=False) if n != "kept")
    inside = [each for each in module.modules() if each is not module]
    if any(is_convolution(each) and sizes(each)[3] > 1 for each in inside):
        return False
    return vectors or any(isinstance(each, TORCH_NORMS) for each in module.children())


def norm_channels(norm: nn.Module) -> set[int]:
    """Numbers of channels that a norm may have, by what it holds."""
    for kind in (nn.GroupNorm, *TORCH_NORMS):
        if isinstance(norm, kind):
            return {getattr(norm, "num_channels", 0) or getattr(norm, "num_features", 0)}
    found = set()
    for module in norm.modules():
        found |= {len(buffer) for buffer in module.buffers(recurse=False) if buffer.dim() == 1}
        if isinstance(module, TORCH_NORMS):
            found.add(module.num_features)
    return found


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear layer: torch's, or one with a weight of two dimensions that is no embedding."""
    weight = getattr(module, "weight", None)
    is_matrix = isinstance(weight, Tensor) and weight.dim() == 2
    return isinstance(module, nn.Linear) or (is_matrix and not isinstance(module, nn.Embedding))


def layers_of(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Convolutions, linear layers and norms; nothing that one of these holds, as a norm its gain, nothing of PP-Res."""
    inner: set[nn.Module] = set()
    for name, module in network.named_modules():
        if module in inner or not name or any(part.startswith("pp_res") for part in name.split(".")):
            continue
        if is_norm(module) or is_convolution(module) or is_linear(module):
            inner |= set(module.modules())
            yield name, module


@torch.no_grad()
def narrow_norm(norm: Any, kept: Tensor, channels: int, name: str) -> nn.Module:
    """The norm, a copy in evaluation mode that is changed, of those of its channels that stay, by ascending indices."""
    for kind in type(norm).__mro__:
        if kind in _registered:
            return _registered[kind](norm, kept)
    if hasattr(norm, "narrowed"):
        return norm.narrowed(kept, None, False)
    if isinstance(norm, MIXING):
        raise PpcdError(
            f"{name} is a {type(norm).__name__}: each of its channels depends on the others, so none can go without "
            "changing the images; a batch norm or an instance norm is needed there"
        )
    if not _narrow_tree(norm, kept, channels, name):
        raise PpcdError(
            f"{name} is a {type(norm).__name__} that holds nothing of {channels} channels; say how it becomes narrow: "
            f"ppcd.register_norm({type(norm).__name__}, prune)"
        )
    return norm


def _narrow_tree(module: nn.Module, kept: Tensor, channels: int, name: str) -> bool:
    """Cut what a norm holds of its channels: own tensors, torch's norms, and the layers that give gain and bias."""
    cut = False
    for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        for dim, size in reversed(list(enumerate(tensor.shape))):  # a table [class, channel] is cut in its channels
            if size in (channels, 2 * channels):
                replace(module, key, tensor.index_select(dim, _twice(kept, size, channels)))
                cut = True
                break
    for key, child in list(module.named_children()):
        where = f"{name}.{key}"
        if isinstance(child, (nn.Linear, nn.Embedding)) or is_convolution(child):
            child = plain(child, where)
            embedding = isinstance(child, nn.Embedding)
            size = child.weight.shape[1 if embedding else 0]
            if size in (channels, 2 * channels):
                rows = _twice(kept, size, channels)
                child = narrow(child, None, rows) if embedding else narrow(child, rows, None)
                cut = True
            setattr(module, key, child)
        elif isinstance(child, nn.Sequential) and len(child):
            last = nn.Module()  # of a small network that gives gain and bias, the last layer has the channels
            last.add_module("last", child[-1])
            cut |= _narrow_tree(last, kept, channels, where)
            child[-1] = last.get_submodule("last")
        else:
            cut |= _narrow_tree(child, kept, channels, where)
    if cut or (isinstance(module, TORCH_NORMS) and module.num_features == channels):
        resize(module, channels, len(kept))
        return True
    return False


def resize(module: nn.Module, channels: int, kept: int) -> None:
    """Set the numbers of channels that a norm keeps as attributes; those that speak of classes or conditions stay."""
    for key, value in list(vars(module).items()):
        if type(value) is int and value in (channels, 2 * channels) and not any(each in key for each in OF_CLASSES):
            setattr(module, key, value // channels * kept)


def _twice(kept: Tensor, size: int, channels: int) -> Tensor:
    """The indices in a vector that holds gains, or gains and biases one after the other."""
    return kept if size == channels else torch.cat([kept, kept + channels])
