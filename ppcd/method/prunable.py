"""PP-Res branches in any trained network (section 3.2): masks and transitions inserted, the images unchanged."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ppcd.base import PpcdError
from ppcd.method.blocks import Branch, attach
from ppcd.method.compare import SAME, Example, copied, difference, example, images_of, remember
from ppcd.method.masks import ChannelMask, channels_to_prune, masks_of
from ppcd.method.narrow import is_convolution, is_norm, layers_of, narrow_norm, norm_channels, sizes
from ppcd.method.slim import blocks_of, shrink, slim
from ppcd.method.stream import insert_stream

Network = TypeVar("Network", bound=nn.Module)
OPEN = 0.015  # w of an open mask: m = 1 - 3e-7, and eq. 1 still has a slope in single precision


def prunable(
    network: Network,
    blocks: Mapping[str, Branch] | Sequence[str] | None = None,
    *,
    inputs: Sequence[Any] | None = None,
    alpha: float = 0.7,
    stream: bool = False,
) -> Network:
    """Put PP-Res branches into a trained network; it computes the same images as before.

    A mask follows the norm after the first convolution of each residual branch (the convolution itself where there is
    no norm), a mask and a 1x1 transition follow the second. Masks begin open (m = 1 - 3e-7), transitions as the
    identity. They are put to the outputs of these layers, so the network's own `forward` stays as it is.

    Args:
        network: it is changed; give a copy (`copy.deepcopy(teacher)`) to keep the original.
        blocks: the residual blocks by name with their `Branch`; names alone, whose branches are found by a run of the
            network; None: the blocks are found too.
        inputs: what the network is called with, (z, y) for example, where its attributes do not tell. Where the inputs
            are known, it is tried at once whether the network can become slim.
        alpha: for the line that is printed: what can be saved at this alpha, and at most.
        stream: beyond the paper: one more mask for each stage of the stream between the blocks (`ppcd.method.stream`).

    Returns:
        The network; of this project's ResNet generators a new one.

    Raises:
        PpcdError: a name or a layer that does not fit; one line says which module and what is missing.
    """
    if not isinstance(network, nn.Module):
        raise PpcdError(f"prunable takes a torch.nn.Module; got {type(network).__name__}")
    if masks_of(network):
        raise PpcdError(f"{type(network).__name__} has masks already; prunable takes a network without")
    tried = example(network, inputs)
    before = None if tried is None else _draw(network, tried)
    size = (_parameters(network), _macs(network, tried))
    if callable(own := getattr(network, "make_prunable", None)):  # the networks of this project
        network = own(blocks)
    else:
        network = insert_branches(
            network, find_branches(network, blocks, tried) if not isinstance(blocks, Mapping) else blocks
        )
    if stream:
        insert_stream(network, blocks_of(network), tried, OPEN)
    marked: Any = network
    marked.pp_res_before = size
    marked._ddp_params_and_buffers_to_ignore = [f"{name}.weight" for name in masks_of(network)]  # the Compressor's
    if tried is not None and before is not None:
        marked.pp_res_example = tried
        if difference(before, images_of(network, tried)) > SAME:
            raise PpcdError("the images have changed: a layer of a branch is used otherwise than as a layer")
        try_slimming(network, tried)
        marked.pp_res_tried = True
    print(f"{type(network).__name__}: {describe_sizes(reachable(network, alpha), alpha)}")
    return network


def insert_branches(network: Network, blocks: Mapping[str, Branch]) -> Network:
    """Put masks and transitions into these branches of a network, and mark it for `ppcd.slim`."""
    if not blocks:
        raise PpcdError("no block was named; give the blocks' names, or None to have them found")
    for name, branch in blocks.items():
        _check(network, name, branch)
    _check_apart(network, blocks)
    for name, branch in blocks.items():
        _insert(network.get_submodule(name), branch)
    marked: Any = network
    marked.pp_res_branches = dict(blocks)
    network.register_forward_pre_hook(remember, with_kwargs=True)
    return network


def _draw(network: nn.Module, inputs: Example) -> list[Tensor]:
    try:
        return images_of(network, inputs)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PpcdError(f"{type(network).__name__} cannot be called with these inputs: {line}") from None


def try_slimming(network: nn.Module, inputs: Example) -> None:
    """Slim a copy with half of the channels pruned, and compare."""
    trial = copied(network)
    for mask in masks_of(trial).values():
        if not mask.frozen:
            mask.freeze(torch.arange(mask.channels) % 2 == 0)
    slim(trial, inputs=inputs)


# Sizes


def reachable(network: nn.Module, alpha: float) -> dict[str, tuple[int, int | None]]:
    """Parameters, and MACs of one image, before, at alpha, and with one channel left in each masked layer.

    MACs are None where it is not known how the network is called.
    """
    inputs = example(network, None)
    return {
        "before": getattr(network, "pp_res_before", None) or (_parameters(network), _macs(network, inputs)),
        "at alpha": _slim_size(network, lambda channels: channels - channels_to_prune(channels, alpha), inputs),
        "at the ceiling": _slim_size(network, lambda channels: 1, inputs),
    }


def describe_sizes(sizes: Mapping[str, tuple[int, int | None]], alpha: float) -> str:
    """One line that says what can be saved."""
    before, macs = sizes["before"]
    said = [f"{before:,} parameters" + (f" and {macs:,} MACs" if macs else "")]
    for name, called in (("at alpha", f"at alpha {alpha:g}"), ("at the ceiling", "at most")):
        parameters, each = sizes[name]
        part = f"{called} {before / parameters:.2f} times fewer parameters"
        said.append(part + (f" and {macs / each:.2f} times fewer MACs" if macs and each else ""))
    return "; ".join(said)


def _parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def _slim_size(network: nn.Module, kept: Callable[[int], int], inputs: Example | None) -> tuple[int, int | None]:
    trial = copied(network)
    for mask in masks_of(trial).values():
        mask.set_extra_state(torch.zeros(2, dtype=torch.int64))
        mask.freeze(torch.arange(mask.channels) < kept(mask.channels))
    small = shrink(trial)
    return _parameters(small), _macs(small, inputs)


def _macs(network: nn.Module, inputs: Example | None) -> int | None:
    """Multiply-accumulates of convolutions and matrix products."""
    if inputs is None:
        return None
    fixed = copied(network).requires_grad_(False)  # torch 2.4 cannot count what is given parameters below no_grad
    with FlopCounterMode(display=False) as counter:
        images_of(fixed, inputs.rows(1))
    return counter.get_total_flops() // 2


# Checks


def _module(parent: nn.Module, name: str, where: str) -> Any:
    """A module by its name; one line names the nearest otherwise."""
    known = dict(parent.named_modules())
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=1)
    has = f"; did you mean {near[0]!r}?" if near else f"; it has: {', '.join(n for n, _ in parent.named_children())}"
    raise PpcdError(f"{where} has no module {name!r}{has}")


def _check(network: nn.Module, name: str, branch: Branch) -> None:
    """Whether these layers can be a PP-Res branch."""
    if not isinstance(branch, Branch):
        raise PpcdError(f'{name}: expected ppcd.Branch("conv1", "norm", "conv2"); got {branch!r}')
    block = _module(network, name, type(network).__name__)
    conv1, conv2 = (_module(block, each, name) for each in (branch.conv1, branch.conv2))
    for called, conv in ((branch.conv1, conv1), (branch.conv2, conv2)):
        if not is_convolution(conv):
            raise PpcdError(f"{name}.{called} is a {type(conv).__name__}, where a Branch has a 2D convolution")
        if sizes(conv)[2] != 1:
            raise PpcdError(f"{name}.{called} has {sizes(conv)[2]} groups; the channels of groups cannot go one by one")
    if conv1 is conv2:
        raise PpcdError(f"{name}: conv1 and conv2 of its Branch are the same layer")
    hidden = sizes(conv1)[0]
    if sizes(conv2)[1] != hidden:
        raise PpcdError(
            f"{name}: {branch.conv2} takes {sizes(conv2)[1]} channels and {branch.conv1} gives {hidden}; they are not "
            "the two convolutions of one branch"
        )
    for depthwise in branch.depthwise:
        layer = _module(block, depthwise, name)
        if not is_convolution(layer) or sizes(layer)[2] != hidden or sizes(conv2)[3] != 1:
            raise PpcdError(f"{name}.{depthwise} is no depthwise convolution of {hidden} channels before a 1x1 one")
    if branch.norm is not None:
        _check_norm(_module(block, branch.norm, name), hidden, f"{name}.{branch.norm}", branch.conv1)


def _check_norm(norm: nn.Module, hidden: int, name: str, conv1: str) -> None:
    """Whether it is known how a norm becomes narrow, tried on a copy."""
    has = norm_channels(norm)
    if has and hidden not in has:
        raise PpcdError(f"{name} has {min(has)} channels, {conv1} before it {hidden}; is another norm meant?")
    device = next((each.device for each in norm.parameters()), None)
    narrow_norm(copied(norm).eval(), torch.arange(max(1, hidden // 2), device=device), hidden, name)


def _check_apart(network: nn.Module, blocks: Mapping[str, Branch]) -> None:
    """No layer may belong to two branches, or have two names."""
    wanted: dict[nn.Module, str] = {}
    for name, branch in blocks.items():
        for layer in filter(None, (branch.conv1, branch.norm, branch.conv2)):
            module = network.get_submodule(f"{name}.{layer}" if name else layer)
            if module in wanted:
                raise PpcdError(f"{name}.{layer} is also {wanted[module]}; each branch has layers of its own")
            wanted[module] = f"{name}.{layer}"
    names: dict[nn.Module, str] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if module in wanted and module in names:
            raise PpcdError(f"{name} is the same layer as {names[module]}; a layer in two places cannot be pruned")
        names.setdefault(module, name)


# Insertion


def _insert(block: nn.Module, branch: Branch) -> None:
    """Masks and the transition of a branch, after its layers."""
    conv1, conv2 = block.get_submodule(branch.conv1), block.get_submodule(branch.conv2)
    weight: Any = conv2.weight
    channels = sizes(conv2)[0]
    transition = nn.utils.skip_init(nn.Conv2d, channels, channels, 1, device=weight.device, dtype=weight.dtype)
    nn.init.dirac_(transition.weight)
    nn.init.zeros_(transition.bias)
    attach(block.get_submodule(branch.norm or branch.conv1), ChannelMask(sizes(conv1)[0], start=OPEN).to(weight.device))
    attach(conv2, ChannelMask(channels, start=OPEN).to(weight.device), transition)


# Finding branches


@dataclass
class _Call:
    """A layer that was called, in the order of a run."""

    module: nn.Module
    output: Tensor


def find_branches(network: nn.Module, names: Iterable[str] | None, inputs: Example | None) -> dict[str, Branch]:
    """The branches of these blocks, or of all blocks, by a run of the network.

    A branch is two convolutions larger than 1x1, one after the other, with at most one norm between them, in a block
    that adds something to the second's output.
    """
    names = [names] if isinstance(names, str) else names
    if inputs is None:
        raise PpcdError(
            "branches are found by a run of the network, and it is not known how it is called: give inputs=(z, y), or "
            'name each branch: blocks={"block": ppcd.Branch("conv1", "norm", "conv2")}'
        )
    if names is not None:
        blocks = {name: _module(network, name, type(network).__name__) for name in names}
    else:
        blocks = {name: each for name, each in network.named_modules() if name and not is_convolution(each)}
    calls, outputs = _run(network, blocks, inputs)
    found: dict[str, Branch] = {}
    for name, block in blocks.items():
        try:
            found[name] = _branch(name, block, calls, outputs)
        except PpcdError:
            if names is not None:
                raise
    if not found:
        raise PpcdError(
            "no residual block with two convolutions was found; name each branch: "
            'blocks={"block": ppcd.Branch("conv1", "norm", "conv2")}'
        )
    innermost = {name for name in found if not any(other.startswith(f"{name}.") for other in found)}
    return {name: branch for name, branch in found.items() if name in innermost}


def _run(
    network: nn.Module, blocks: Mapping[str, nn.Module], inputs: Example
) -> tuple[list[_Call], dict[nn.Module, Tensor]]:
    """The calls of convolutions and norms, in their order, and the blocks' outputs."""
    calls: list[_Call] = []
    outputs: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            calls.append(_Call(module, output))

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs[module] = output

    with ExitStack() as hooks:
        for _, layer in layers_of(network):
            hooks.enter_context(layer.register_forward_hook(note))
        for block in blocks.values():
            hooks.enter_context(block.register_forward_hook(keep))
        images_of(network, inputs)
    return calls, outputs


def _branch(name: str, block: nn.Module, calls: Sequence[_Call], outputs: Mapping[nn.Module, Tensor]) -> Branch:
    """The branch of a block, from the order in which its layers were called."""
    inside = {module: each for each, module in block.named_modules()}
    own = [call for call in calls if call.module in inside]
    large = [call for call in own if is_convolution(call.module) and sizes(call.module)[3] > 1]
    say = f'say which: blocks={{"{name}": ppcd.Branch("conv1", "norm", "conv2")}}'
    if len(large) != 2:
        raise PpcdError(f"{name} has {len(large)} convolutions larger than 1x1, where a branch has two; {say}")
    first, second = large
    between = [call for call in own[own.index(first) + 1 : own.index(second)] if is_norm(call.module)]
    if len(between) > 1:
        raise PpcdError(f"{name} has {len(between)} norms between its two convolutions; {say}")
    output = outputs.get(block)
    if output is None or output.shape != second.output.shape or output is second.output:
        raise PpcdError(f"{name} adds nothing to the output of its second convolution; {say}")
    if sizes(second.module)[1] != sizes(first.module)[0]:
        raise PpcdError(f"the two convolutions of {name} do not follow each other; {say}")
    norm = inside[between[0].module] if between else None
    return Branch(inside[first.module], norm, inside[second.module])
