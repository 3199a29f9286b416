"""Slimming (section 3.2): masks gone, pruned channels physically gone, the same images.

The spectral norm is worked out before any channel goes, because removing channels would change it. How a layer becomes
narrow is in `narrow`.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.blocks import MASK, TRANSITION, Branch, detach, kept, set_module
from ppcd.method.compare import SAME, Example, copied, difference, example, images_of, unwrapped
from ppcd.method.narrow import narrow, narrow_norm, plain, replace, sizes
from ppcd.method.stream import detach_stream, hook_of, narrow_stage

Network = TypeVar("Network", bound=nn.Module)


def slim(network: Network, *, for_training: bool = False, inputs: Sequence[Any] | Example | None = None) -> Network:
    """A copy that computes the same images with only the channels that its masks kept.

    The two are compared on random noise before the copy is returned. Of a network of this project the spectral norm
    of all layers is worked into the weights, with masks or without.

    Args:
        network: any that holds PP-Res branches (every mask frozen), or one of this project; it is not changed.
        for_training: keep the layers under spectral norm, with a scale each, so that training can go on; for the
            networks of this project.
        inputs: what it is called with, (z, y) for example; None: as it was called before, or by its attributes.

    Returns:
        A network in evaluation mode, on the device and in the type of the given one.

    Raises:
        PpcdError: no branches; a mask has not frozen; it is not known how the network is called; the images differ by
            more than 1e-4 of the largest value, and the line names the layer.
    """
    if not isinstance(network, nn.Module):
        raise PpcdError(f"slim takes a torch.nn.Module; got {type(network).__name__}")
    network = unwrapped(network)
    branches = branches_of(network)
    ours = any(hasattr(each, name) for each in network.modules() for name in ("slim", "slimmed", "narrowed"))
    if not branches and not ours:
        raise PpcdError(f"{type(network).__name__} holds no PP-Res branches; ppcd.prunable puts them into a network")
    tried = example(network, inputs)
    if tried is None and branches:
        raise PpcdError(
            "slim compares the images before and after, and does not know how this network is called: give "
            "inputs=(z, y), a small batch"
        )
    result = shrink(copied(network), for_training)
    if tried is not None:
        _prove(network, result, tried, branches)
    return result


def shrink(network: Network, for_training: bool = False) -> Network:
    """`slim` of the network itself, without the comparison."""
    network.eval()
    stages = detach_stream(network)
    for name, branch in branches_of(network).items():
        _slim_branch(network.get_submodule(name), name, branch)
    done: set[nn.Module] = set()
    blocks: dict[str, Any] = {name: module for name, module in network.named_modules() if hasattr(module, "slim")}
    for name, block in blocks.items():
        block.slim(name, for_training=for_training)
        done |= {block.conv1, block.bn2, block.conv2, block.transition}
    _work_out(network, done, for_training)
    for stage, stays in stages:
        narrow_stage(network, stage, stays, for_training)
    if callable(slimmed := getattr(network, "slimmed", None)):
        slimmed(for_training)
    for module in network.modules():
        _forget(module)
    return network.requires_grad_(True).eval()


def branches_of(network: nn.Module) -> dict[str, Branch]:
    """The PP-Res branches that `prunable` has put in, by the name of their block."""
    return {
        f"{root}.{name}".strip("."): branch
        for root, module in network.named_modules()
        for name, branch in getattr(module, "pp_res_branches", {}).items()
    }


def blocks_of(network: nn.Module) -> list[str]:
    """Names of the residual blocks; of a network of this project without named branches, all of them."""
    return list(branches_of(network)) or [f"blocks.{index}" for index in range(len(getattr(network, "blocks", ())))]


def _slim_branch(block: Any, name: str, branch: Branch) -> None:
    """Drop the masks of a branch and the channels that they have pruned."""
    first, conv1, conv2 = (
        block.get_submodule(each) for each in (branch.norm or branch.conv1, branch.conv1, branch.conv2)
    )
    (mask1, _), (mask2, transition) = detach(first), detach(conv2)
    k1 = kept(mask1, f"{name}.{branch.norm or branch.conv1}.{MASK}")
    k2 = kept(mask2, f"{name}.{branch.conv2}.{MASK}")
    conv1, conv2 = plain(conv1, f"{name}.{branch.conv1}"), plain(conv2, f"{name}.{branch.conv2}")
    for depthwise in branch.depthwise:
        _narrow_depthwise(block, depthwise, conv2, mask1.kept, f"{name}.{depthwise}")
    if branch.norm is not None and k1 is not None:
        set_module(block, branch.norm, narrow_norm(first, k1, sizes(conv1)[0], f"{name}.{branch.norm}"))
    set_module(block, branch.conv1, narrow(conv1, k1, None))
    parts = OrderedDict(layer=narrow(conv2, k2, k1), transition=narrow(transition, None, k2))
    set_module(block, branch.conv2, nn.Sequential(parts))


@torch.no_grad()
def _narrow_depthwise(block: nn.Module, depthwise: str, conv2: Any, stays: Tensor, name: str) -> None:
    """A depthwise convolution before a 1x1 one: of channels that go its bias is left, a constant for the 1x1 one."""
    layer = plain(block.get_submodule(depthwise), name)
    if layer.bias is not None:
        constant = conv2.weight[:, ~stays, 0, 0] @ layer.bias[~stays]
        bias = constant if conv2.bias is None else conv2.bias + constant
        conv2.bias = nn.Parameter(bias)
        replace(layer, "bias", layer.bias[stays])
    layer.groups = layer.in_channels = layer.out_channels = int(stays.sum())
    replace(layer, "weight", layer.weight[stays])
    set_module(block, depthwise, layer)


def _work_out(module: nn.Module, done: set[nn.Module], for_training: bool) -> None:
    """Work this project's spectral norm into the layers that no block has made narrow."""
    for name, child in module.named_children():
        if child in done:
            continue
        if hasattr(child, "narrowed"):
            setattr(module, name, narrow(child, None, None, for_training=for_training))
        else:
            _work_out(child, done, for_training)


def _forget(module: Any) -> None:
    """Leave nothing of this library behind, nor accelerate's autocast: a slim network can be loaded without them."""
    if "_original_forward" in vars(module):
        del module.forward, module._original_forward
    for name in (
        "pp_res_branches",
        "pp_res_stages",
        "pp_res_before",
        "pp_res_example",
        "pp_res_tried",
        "_ddp_params_and_buffers_to_ignore",
    ):
        if name in vars(module):
            delattr(module, name)
    for hooks in (module._forward_hooks, module._forward_pre_hooks):
        for key, hook in list(hooks.items()):
            home = getattr(hook, "__module__", None) or type(hook).__module__
            if home.startswith("ppcd.method."):
                del hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)


# The proof


def _prove(network: nn.Module, small: nn.Module, inputs: Example, branches: Mapping[str, Branch]) -> None:
    """Compare the images of the masked and of the slim network."""
    theirs, wide = _observe(network, inputs, branches)
    try:
        ours, narrowed = _observe(small, inputs, branches)
        gap = difference(theirs, ours)
    except PpcdError:
        raise
    except Exception as error:  # sizes that do not fit
        line = str(error).splitlines()[0]
        if any(hasattr(module, "pp_res_stages") for module in network.modules()):
            raise PpcdError(
                f"stream=True: the slim network cannot be run at {_failing(small, inputs)} ({line}); where its code "
                "computes with the width of the stream, the stream must stay as it is: leave stream=True away"
            ) from None
        raise PpcdError(f"the slim network cannot be run ({line}); {_REGISTER}") from None
    if gap <= SAME:
        return
    where = next((name for name in wide if difference([wide[name]], [narrowed[name]]) > SAME), "outside the branches")
    raise PpcdError(f"the slim network computes other images (they differ by {gap:.1g}), first at {where}; {_REGISTER}")


def _failing(network: nn.Module, inputs: Example) -> str:
    """The innermost module whose forward fails."""
    running: list[str] = []
    with ExitStack() as hooks, suppress(Exception):
        for name, module in network.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(lambda m, a, n=name: running.append(n)))
            hooks.enter_context(module.register_forward_hook(lambda m, a, out: running.pop() and None))
        images_of(network, inputs)
    return (running and running[-1]) or type(network).__name__


_REGISTER = "a norm that is not read rightly can be registered: ppcd.register_norm(type, prune)"


def _observe(
    network: nn.Module, inputs: Example, branches: Mapping[str, Branch]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The images, and what each layer of the branches gives: of a mask its kept channels."""
    found: dict[str, Tensor] = {}

    def note(called: str, module: Any, args: Any, output: Tensor) -> None:
        mask = None if TRANSITION in module._modules else module._modules.get(MASK)
        if (stream := hook_of(module)) is not None:
            output = output[:, stream.indices(output.shape[1])]
        found[called] = output.clone() if mask is None else output[:, mask.indices].clone()

    with ExitStack() as hooks:
        for name, branch in branches.items():
            for layer in (f"{name}.{branch.norm or branch.conv1}", f"{name}.{branch.conv2}"):
                hooks.enter_context(network.get_submodule(layer).register_forward_hook(partial(note, layer)))
        return images_of(network, inputs), found
