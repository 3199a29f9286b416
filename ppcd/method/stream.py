"""Beyond the paper: masks on the stream between the residual blocks, for `ppcd.prunable(..., stream=True)`.

PP-Res keeps the stream at its full width, which limits what can be saved. Here one mask is shared by all layers that
write to, or read from, one stage of the stream: the layers between which its channels stay what they are. Blocks with
an identity skip have the stage of their input.

The stages are found by runs of the network. One channel of a layer's output is set to NaN, and NaN is taken out of
what goes into a convolution or a linear layer: the layers that NaN arrives at are those that read this channel. Norms
and depthwise convolutions pass a channel on, and are in the stage too. Whether the result is right is proved by
`ppcd.slim`, which compares the images.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.blocks import kept, set_module
from ppcd.method.compare import Example, images_of
from ppcd.method.masks import ChannelMask
from ppcd.method.narrow import MIXING, is_convolution, is_linear, layers_of, narrow, narrow_norm, plain, sizes

STREAM = "pp_res_stream"  # the masks of a network, by the layer that writes first


@dataclass
class Stage:
    """A stage of the stream. Layers are named as in the network."""

    channels: int  # its width
    writers: list[str]  # layers whose outputs are added up in it
    carriers: list[str]  # norms and depthwise convolutions of it
    readers: list[str]  # convolutions and linear layers that take it in
    channels_last: bool  # of the entries that a linear writer gives, those of one pixel follow each other


class StreamMask:
    """The forward hook of a layer that writes to a stage or passes it on."""

    def __init__(self, mask: ChannelMask, channels_last: bool) -> None:
        self.mask, self.channels_last = mask, channels_last

    def __call__(self, layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        values = entries(self.mask.values(), output.shape[1], self.channels_last)
        return output * values.to(output.dtype).view(1, -1, *[1] * (output.dim() - 2))

    def indices(self, count: int) -> Tensor | None:
        """The entries that a frozen mask keeps."""
        stays = entries(self.mask.kept, count, self.channels_last)
        return stays.nonzero().squeeze(1) if self.mask.frozen else None


def entries(of_channels: Tensor, count: int, channels_last: bool) -> Tensor:
    """Values of the channels, for each entry of an output that holds several pixels in its second dimension."""
    pixels = count // len(of_channels)
    return of_channels.repeat(pixels) if channels_last else of_channels.repeat_interleave(pixels)


# Into a network


def insert_stream(network: Any, blocks: Sequence[str], inputs: Example | None, start: float) -> None:
    """Put one open mask on each stage of the stream between these blocks of a network that has its PP-Res branches."""
    if inputs is None:
        raise PpcdError("what reads the stream is found by a run of the network: give inputs=(z, y), a small batch")
    stages = find_stages(network, blocks, inputs)
    device = next(network.parameters()).device
    masks = nn.ModuleDict()
    for name, stage in stages.items():
        mask = masks[name] = ChannelMask(stage.channels, start=start).to(device)
        for layer in stage.writers + stage.carriers:
            network.get_submodule(layer).register_forward_hook(StreamMask(mask, stage.channels_last))
    network.add_module(STREAM, masks)
    network.pp_res_stages = stages


def hook_of(layer: nn.Module) -> StreamMask | None:
    """The stream's mask on the output of a layer."""
    return next((hook for hook in layer._forward_hooks.values() if isinstance(hook, StreamMask)), None)


# Out of it


def detach_stream(network: nn.Module) -> list[tuple[Stage, Tensor]]:
    """Take the masks off; the stages, their layers named from this network, and the channels that stay."""
    found: list[tuple[Stage, Tensor]] = []
    for root, owner in list(network.named_modules()):
        for key, stage in getattr(owner, "pp_res_stages", {}).items():
            stays = kept(owner.get_submodule(STREAM).get_submodule(key), f"{root}.{STREAM}.{key}".strip("."))
            if stays is not None:
                parts = {part: getattr(stage, part) for part in ("writers", "carriers", "readers")}
                named = {part: [f"{root}.{name}".strip(".") for name in names] for part, names in parts.items()}
                found.append((replace(stage, **named), stays))
        owner._modules.pop(STREAM, None)
        for number, hook in list(owner._forward_hooks.items()):
            if isinstance(hook, StreamMask):
                del owner._forward_hooks[number]
    return found


@torch.no_grad()
def narrow_stage(network: nn.Module, stage: Stage, stays: Tensor, for_training: bool) -> None:
    """Cut a stage out of all layers that write to it, pass it on or read it, whose branches are slim already."""

    def cut(name: str, rows: Tensor | None, columns: Tensor | None) -> None:
        layer: Any = network.get_submodule(name)
        if isinstance(layer, nn.Sequential):  # a second convolution with its transition
            name, layer = f"{name}.transition", layer.get_submodule("transition")
        layer = layer if hasattr(layer, "narrowed") else plain(layer, name)
        set_module(network, name, narrow(layer, rows, columns, for_training=for_training))

    for name in stage.writers:
        cut(name, _rows(network.get_submodule(name), stage, stays), None)
    for name in stage.readers:
        cut(name, None, stays)
    for name in stage.carriers:
        layer: Any = network.get_submodule(name)
        if is_convolution(layer):
            cut(name, stays, None)
        elif hasattr(layer, "narrowed"):
            set_module(network, name, layer.narrowed(stays, None, for_training))
        else:
            set_module(network, name, narrow_norm(layer, stays, stage.channels, name))


def _rows(writer: Any, stage: Stage, stays: Tensor) -> Tensor:
    """The outputs of a writer that stay: of a linear layer in front of a reshape, several for a channel."""
    if is_convolution(writer) or isinstance(writer, nn.Sequential):
        return stays
    flags = torch.zeros(stage.channels, dtype=torch.bool, device=stays.device)
    flags[stays] = True
    return entries(flags, len(writer.weight), stage.channels_last).nonzero().squeeze(1)


# Finding the stages


@dataclass
class _Path:
    """Where one channel of a layer's output arrives: the layers, the channel and the width there, or why it is lost."""

    layers: list[str]
    channel: int = 0
    channels: int = 0
    lost: str = ""


def find_stages(network: nn.Module, blocks: Sequence[str], inputs: Example) -> dict[str, Stage]:
    """The stages of the stream between these blocks, by the first layer that writes to each."""
    layers = dict(layers_of(network))
    paths: dict[str, _Path] = {}
    with getattr(network, "layer_by_layer", nullcontext)():
        for name, layer in layers.items():
            if not _carries(layer):
                paths[name] = _follow(network, layers, name, inputs)
    stages: dict[str, Stage] = {}
    for writers, touched in _groups({name: path for name, path in paths.items() if not path.lost}):
        if not any(_crosses(block, writers, touched) for block in blocks):
            continue
        first = paths[writers[0]]
        ordered = [name for name in layers if name in touched]
        linear = [name for name in writers if not is_convolution(layers[name])]
        stages[writers[0].replace(".", "_")] = Stage(
            first.channels,
            writers,
            [name for name in ordered if _carries(layers[name])],
            [name for name in ordered if not _carries(layers[name])],
            any(paths[name].channel == 1 for name in linear),
        )
    known = {name for stage in stages.values() for name in stage.carriers + stage.readers}
    for name, path in paths.items():  # such as the keys of an attention, whose channels need not be those of the stream
        if path.lost and not known & set(path.layers) and any(_crosses(b, [name], path.layers) for b in blocks):
            raise PpcdError(f"stream=True: the stream after {name} cannot lose channels: {path.lost}")
    if not stages:
        raise PpcdError(f"stream=True: no layer writes to the stream between {', '.join(blocks)}")
    return stages


def _carries(layer: Any) -> bool:
    """Whether it passes each channel on, alone: a norm or a depthwise convolution."""
    if not is_convolution(layer):
        return not is_linear(layer)
    out_channels, in_channels, groups, _ = sizes(layer)
    return 1 < groups == in_channels == out_channels


def _follow(network: nn.Module, layers: dict[str, nn.Module], writer: str, inputs: Example) -> _Path:
    """Run the network with NaN in one channel of a layer's output, and see where it arrives."""
    arrived: dict[str, tuple[list[int], int]] = {}
    calls: list[str] = []
    width = [0]

    def before(name: str, dense: bool) -> Callable[..., Any]:
        def look(layer: nn.Module, args: Any, kwargs: Any) -> Any:
            calls.append(name)
            x, *others = args or (None,)
            if isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 1 and x.isnan().any():
                channels = x.isnan().transpose(0, 1).flatten(1).any(1).nonzero().flatten().tolist()
                arrived[name] = (channels, x.shape[1])
                x = x.nan_to_num() if dense else x
            return (x, *map(_finite, others)) if args else args, {key: _finite(each) for key, each in kwargs.items()}

        return look

    def after(layer: nn.Module, args: Any, output: Tensor) -> Tensor:
        width[0] = output.shape[1]
        marked = output.clone()
        marked[:, min(1, output.shape[1] - 1)] = torch.nan
        return marked

    with ExitStack() as hooks:
        for name, layer in layers.items():
            look = before(name, not _carries(layer))
            hooks.enter_context(layer.register_forward_pre_hook(look, with_kwargs=True))
        hooks.enter_context(layers[writer].register_forward_hook(after))
        try:
            images = images_of(network, inputs.rows(1))
        except Exception as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            return _Path(list(arrived), lost=f"the network cannot be followed ({line})")
    if any(each.isnan().any() for each in images):
        return _Path(list(arrived), lost=f"the images are made of the output of {writer} without a layer between")
    return _path(writer, arrived, calls, layers, width[0])


def _finite(value: Any) -> Any:
    """The condition of a norm is not the stream."""
    return value.nan_to_num() if isinstance(value, Tensor) and value.is_floating_point() else value


def _path(
    writer: str, arrived: dict[str, tuple[list[int], int]], calls: list[str], layers: dict[str, Any], width: int
) -> _Path:
    """What arrived, or why it is not one channel of one width."""
    if not arrived:
        return _Path([])
    channel, channels = next(iter(arrived.values()))
    path = _Path(list(arrived), channel[0], channels)
    expected = min(1, width - 1)
    if is_convolution(layers[writer]):
        possible = channels == width and channel[0] == expected
    else:  # the entries of a channel follow each other, or those of a pixel
        possible = width % channels == 0 and channel[0] in (expected // (width // channels), expected % channels)
    for name, (found, count) in arrived.items():
        layer = layers[name]
        if calls.count(name) > 1 or calls.count(writer) > 1:
            path.lost = f"{name if calls.count(name) > 1 else writer} is called more than once"
        elif isinstance(layer, MIXING) or len(found) > 1:
            path.lost = f"{name} does not take its channels one by one"
        elif found != channel or count != channels or not possible:
            path.lost = f"{name} takes {count} channels, not those of {writer}"
        elif is_convolution(layer) and sizes(layer)[2] > 1 and not _carries(layer):
            path.lost = f"{name} has groups, whose channels cannot go one by one"
        if path.lost:
            return path
    return path


def _groups(paths: dict[str, _Path]) -> list[tuple[list[str], set[str]]]:
    """Writers whose outputs arrive at the same layers, with these layers."""
    groups: list[tuple[list[str], set[str]]] = []
    for writer, path in paths.items():
        if not path.layers:
            continue
        meeting = [group for group in groups if group[1] & set(path.layers)]
        groups = [group for group in groups if group not in meeting]
        writers = [name for group in meeting for name in group[0]] + [writer]
        groups.append((writers, set(path.layers).union(*(group[1] for group in meeting))))
    return groups


def _crosses(block: str, writers: Iterable[str], touched: Iterable[str]) -> bool:
    """Whether one of these is inside of the block, and another outside."""
    inside = {f"{name}.".startswith(f"{block}.") for name in [*writers, *touched]}
    return len(inside) > 1
