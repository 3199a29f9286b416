"""Checkpoints of BigGAN-PyTorch (https://github.com/ajbrock/BigGAN-PyTorch): read, and written back.

The network may lie in a checkpoint with other things, {"G": ..., "G_ema": ..., "optimizer": ...}, under the names that
DataParallel, torch.compile or a training framework give it ("module.", "_orig_mod.", "generator."), or in a safetensors
file. Of several generators the average, whose key has "ema" in it, is taken, or the one that `key` names.

Weights are stored as they are trained, not normalised, and with the vectors u0 of the spectral norm. An EMA of
those need not have unit norm; the power iteration of every forward pass (`ppcd.networks.layers`) takes them as they
are. The key names are those of that code's `BigGAN.py` and `layers.py`; every tensor has the shape that it has here.
The epsilons of the spectral norm and of the batch norm are in no file: they are the reference's (`ARCHITECTURES`).
"""

import io
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ppcd.base import PpcdError
from ppcd.method.restore import choose_state, states_in
from ppcd.networks.discriminators import BLOCKS, Discriminator
from ppcd.networks.generators import ARCHITECTURES, CHANNELS, Generator, GeneratorConfig, check_network
from ppcd.networks.layers import SpectralNorm, power_iteration
from ppcd.paths import write_atomic

Network = Generator | Discriminator
State = Mapping[str, Tensor]

PUBLIC = {name: ARCHITECTURES[name] for name in ("biggan", "sagan", "sngan")}  # that the layout has
PARTS = {
    "attention": "blocks.{attention}.1",
    "output_norm": "output_layer.0",
    "output_conv": "output_layer.2",
}  # of a network, and their names there; `blocks.{i}` is `blocks.{i}.0`
TENSORS = {"u": "u0", "running_mean": "stored_mean", "running_var": "stored_var"}
READERS = {"generator": "load_biggan_pytorch", "discriminator": "load_biggan_pytorch_discriminator"}
IN_BOTH = "blocks.0.0.conv1.weight"  # every generator and discriminator of the layout has it
OURS = {"scale": 1, "num_batches_tracked": 0}  # tensors of ours that are in no such file, and their values
SIGMA = ".sv0"  # the spectral norm as last seen in training: not read, since that code logs it and does not use it
UNREAD = (SIGMA, ".num_batches_tracked")


# ------------------------------------------------------------ reading


def load_biggan_pytorch(
    path_or_state_dict: str | Path | Mapping[str, Any],
    arch: str = "biggan",
    resolution: int = 128,
    num_classes: int = 1000,
    width: int | None = None,
    key: str | None = None,
) -> Generator:
    """The generator in a file of BigGAN-PyTorch: the same images as that code's in evaluation mode, to 1e-4.

    Args:
        path_or_state_dict: a file such as G_ema.pth, of which only tensors are read and nothing is executed, or a
            state dict (it is copied); also a checkpoint that holds one, see the module.
        arch: "biggan", "sagan" or "sngan".
        width: `G_ch` there; None is the width at paper scale (BigGAN 96, SA-GAN and SN-GAN 64).
        key: where in a checkpoint the network is, "G" or "state_dict.generator"; needed if several could be meant.

    Returns:
        A generator in evaluation mode, on the CPU; dim_z is the file's. Weights are float32, or float64 where the file
        has any.

    Raises:
        PpcdError: an impossible argument, a file that cannot be read or that is of another network.
    """
    width = check_network(arch, PUBLIC, resolution, num_classes, width)
    name, state = _read(path_or_state_dict, "generator", key)
    chunks = len(CHANNELS[resolution]) if PUBLIC[arch].hierarchical else 1
    dim_z = _size(state, "linear.weight", 1) * chunks or PUBLIC[arch].dim_z
    with torch.device("meta"):  # shapes only, until the file is known to have them
        generator = Generator(GeneratorConfig(arch, resolution, num_classes, width, dim_z))
    _check_network(name, state, generator, width)
    _fill(name, state, generator)
    return generator.eval()


def load_biggan_pytorch_discriminator(
    path_or_state_dict: str | Path | Mapping[str, Any],
    arch: str = "biggan",
    resolution: int = 128,
    num_classes: int = 1000,
    width: int | None = None,
    key: str | None = None,
) -> Discriminator:
    """The discriminator in a file of BigGAN-PyTorch (D.pth): the same scores as that code's at evaluation.

    Arguments, result and errors as `load_biggan_pytorch`; `width` is `D_ch` there. "sngan" is the "thin" one.
    """
    width = check_network(arch, PUBLIC, resolution, num_classes, width)
    name, state = _read(path_or_state_dict, "discriminator", key)
    with torch.device("meta"):
        discriminator = Discriminator(arch, resolution, num_classes, width)
    _check_network(name, state, discriminator, width)
    _fill(name, state, discriminator)
    return discriminator.eval()


def _read(source: str | Path | Mapping[str, Any], asked: str, key: str | None) -> tuple[str, State]:
    """How to call the source in a message, and the tensors of the network asked for by the keys of the layout."""
    name, saved = (str(source), _file(Path(source))) if isinstance(source, str | Path) else ("the state dict", source)
    if not isinstance(saved, Mapping):
        raise PpcdError(f"{name} must be tensors by name, as in G_ema.pth; got {type(saved).__name__}")
    states = states_in(saved, (IN_BOTH,))
    if not states:
        raise PpcdError(
            f"{name} holds no network of BigGAN-PyTorch, which would have a tensor {IN_BOTH!r}; it has "
            f"{', '.join(map(repr, list(saved)[:3])) or 'nothing'}{', ...' if len(saved) > 3 else ''}"
        )
    states = {place: state for place, state in states.items() if _kind(state) == asked} or states
    place = choose_state(states, key)
    if place is None:
        places, file = " and ".join(map(repr, states)), ", and ppcd.save_generator makes it a file of its own"
        raise PpcdError(
            f"{name} holds a {asked} under {places}; name one, as in ppcd.{READERS[asked]}(..., "
            f"key={next(iter(states))!r}){file if asked == 'generator' else ''}"
        )
    return name, {name: tensor for name, tensor in states[place].items() if not name.endswith(UNREAD)}


def _kind(state: State) -> str | None:
    return "discriminator" if "embed.weight" in state else "generator" if "output_layer.0.gain" in state else None


def _file(path: Path) -> Any:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise PpcdError(f"{path} {what}; expected a checkpoint file of BigGAN-PyTorch, for example G_ema.pth")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        raise PpcdError(
            f"{path} cannot be read: it is cut short, damaged, still packed, or holds more than tensors (nothing in it "
            "was executed); expected a checkpoint file of BigGAN-PyTorch, for example G_ema.pth, or the network's "
            "state_dict() alone"
        ) from None


def _fill(name: str, state: State, network: Network) -> None:
    """Give a network without memory (device "meta") the tensors of the state, once all of them fit."""
    own = network.state_dict()
    layout = _layout(network)
    expected = {key: tuple(own[ours].shape) for ours, key in layout.items()}
    found = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in [*expected, *found]:
        if expected.get(key) != found.get(key):
            raise PpcdError(
                f"{name} does not fit at {key!r}: expected {expected.get(key, 'nothing')}, "
                f"found {found.get(key, 'nothing')}"
            )
    types = {tensor.dtype for tensor in state.values()}
    dense = all(tensor.layout is torch.strided and not tensor.is_meta for tensor in state.values())
    if not dense or not all(dtype.is_floating_point for dtype in types):
        raise PpcdError(
            f"{name} must hold dense floating-point numbers; got tensors of {', '.join(sorted(map(str, types)))}"
        )
    for key, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise PpcdError(f"{name} has infinite numbers or NaN at {key!r}: it is damaged, or its training diverged")
    network.to(reduce(torch.promote_types, types, torch.float32)).to_empty(device="cpu")
    copied = network.state_dict()
    with torch.no_grad():
        for ours, tensor in copied.items():
            if ours in layout:
                tensor.copy_(state[layout[ours]])
            else:
                tensor.fill_(OURS[ours.rpartition(".")[2]])


# ------------------------------------------------------------ what differs, in the user's terms


def _check_network(name: str, state: State, network: Network, width: int) -> None:
    """Refuse a state that says of itself that it is of another network than the one asked for."""
    asked = "generator" if isinstance(network, Generator) else "discriminator"
    found = _kind(state) or asked
    if found != asked:
        raise PpcdError(f"{name} holds a {found}, not a {asked}; read it with ppcd.{READERS[found]}")
    differences = []
    blocks = len({key.split(".")[1] for key in state if key.startswith("blocks.")})
    if isinstance(network, Generator):
        resolution = 2 ** (blocks + 2)
        multiple = CHANNELS.get(resolution, (0,))[-1]
        channels, classes = _size(state, "output_layer.0.gain"), _size(state, "shared.weight")
        if not network.hierarchical and classes:
            differences.append("a BigGAN (one class embedding for all its CBNs)")
        elif network.hierarchical and "blocks.0.0.bn1.gain.weight" in state and not classes:
            differences.append("an SA-GAN or SN-GAN (class embeddings in its CBNs)")
    else:
        resolution = 2 ** (blocks + 1)
        multiple = BLOCKS.get(resolution, ((0, False),))[-1][0]
        classes, channels = _size(state, "embed.weight"), _size(state, "embed.weight", 1)
    if blocks and resolution != network.resolution:
        differences.append(f"made for {resolution} px ({blocks} blocks), resolution is {network.resolution}")
    if classes and classes != network.num_classes:
        differences.append(f"of {classes} classes, num_classes is {network.num_classes}")
    if channels and multiple and channels % multiple == 0 and channels // multiple != width:
        differences.append(f"of width {channels // multiple}, width is {width}")
    if differences:
        raise PpcdError(
            f"{name} is of another network: {'; '.join(differences)}: ask for that one, or give another file"
        )


def _size(state: State, key: str, axis: int = 0) -> int:
    """The length of one axis of a tensor; 0 if there is no such axis or tensor."""
    shape = state[key].shape if key in state else ()
    return shape[axis] if axis < len(shape) else 0


# ------------------------------------------------------------ writing


def save_biggan_pytorch(network: Network, path: str | Path) -> None:
    """Write the `biggan_pytorch_state_dict` of a plain generator, or a discriminator, to a file, atomically."""
    buffer = io.BytesIO()
    torch.save(biggan_pytorch_state_dict(network), buffer)
    write_atomic(Path(path), buffer.getvalue())


@torch.no_grad()
def biggan_pytorch_state_dict(network: Network) -> dict[str, Tensor]:
    """Copies of a network's tensors on the CPU, by the keys of BigGAN-PyTorch; that code's strict loading takes them.

    Raises:
        PpcdError: the layout has no place for a part of the network, so that code would compute something else.
    """
    _check_writable(network)
    own, layout = network.state_dict(), _layout(network)
    state = {key: own[ours].cpu().clone() for ours, key in layout.items()}
    for ours, module in network.named_modules():
        if isinstance(module, SpectralNorm):
            sigma, _ = power_iteration(module.weight, module.u, module.eps)
            state[layout[f"{ours}.u"].removesuffix(".u0") + SIGMA] = sigma.reshape(1).cpu()
    return state


def _layout(network: Network) -> dict[str, str]:
    """The key there of each tensor of a network that has one."""
    layout = {}
    for ours in network.state_dict():
        part, _, tensor = ours.rpartition(".")
        if tensor in OURS:
            continue
        head, _, rest = part.partition(".")
        if head == "blocks":
            index, _, rest = rest.partition(".")
            head = f"blocks.{index}.0"
        head_there = PARTS.get(head, head).format(attention=network.attention_after)
        tensor_there = "gain" if ours == "output_norm.weight" else TENSORS.get(tensor, tensor)
        layout[ours] = ".".join(filter(None, (head_there, rest, tensor_there)))
    return layout


def _check_writable(network: Network) -> None:
    """Refuse what that code would compute otherwise, or could not build."""
    missing = None
    if isinstance(network, Generator):
        config = network.config
        if config.arch not in PUBLIC:
            missing = config.arch
        elif config.masked or config.transition or config.hidden is not None or config.channels is not None:
            missing = "masks, PP-Res transitions or pruned channels"
        elif not config.spectral_norm:
            missing = "weights without spectral norm"
        elif config.grey:
            missing = "generators with one channel of output"
    if any(isinstance(module, SpectralNorm) and module.scale != 1 for module in network.modules()):
        missing = missing or "scale of normalised weights"
    if missing:
        raise PpcdError(
            f"BigGAN-PyTorch's layout has no {missing}; use ppcd.save_generator(ppcd.slim(generator), path)"
        )
