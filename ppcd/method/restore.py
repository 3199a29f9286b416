"""Weights back into a network: state dicts as people save them, and slim ones in what a network's own code builds."""

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.blocks import set_module
from ppcd.method.narrow import is_convolution, is_norm, plain, replace, resize, set_weight

Network = TypeVar("Network", bound=nn.Module)
PARTS = (".layer.weight", ".transition.weight")  # of a second convolution with its transition


def states_in(saved: Any, known: Collection[str]) -> dict[str, dict[str, Tensor]]:
    """The state dicts of a network in what was saved, by their place in it; "" is the place of a plain state dict.

    A place is the dotted name of keys, as in {"G_ema": ..., "optimizer": ...}, and of what wrappers put before names of
    tensors ("module.", "generator."). Entries of other places are left out, and torch.compile's "_orig_mod.".

    Args:
        saved: a mapping, of mappings or tensors.
        known: names of tensors in the network's own state dict; the places that have the most of them count.
    """
    compiled = "" if any("_orig_mod." in name for name in known) else "_orig_mod."  # also of single blocks
    tensors = {name.replace(compiled, ""): tensor for name, tensor in _tensors(saved)}
    starts = (name[: dot.end()] for name in tensors for dot in re.finditer(r"^|\.", name) if name[dot.end() :] in known)
    found = Counter(starts)
    most = max(found.values(), default=0)
    return {
        start.removesuffix("."): {k.removeprefix(start): tensor for k, tensor in tensors.items() if k.startswith(start)}
        for start, count in found.items()
        if count == most
    }


def _tensors(saved: Any, start: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested mappings by their dotted names; an optimiser's have numbers for names, and are left out."""
    for key, value in saved.items() if isinstance(saved, Mapping) else ():
        if isinstance(key, str) and isinstance(value, Tensor):
            yield start + key, value
        elif isinstance(key, str):
            yield from _tensors(value, f"{start}{key}.")


def choose_state(states: Mapping[str, dict[str, Tensor]], key: str | None = None) -> str | None:
    """The place that is meant, of those that are or begin with `key`: the only one, a plain one, or the average.

    An average is one with "ema" in its place ("G_ema"). None: none or several could be meant.
    """
    places = [place for place in states if key is None or f"{place}.".startswith(f"{key}.")]
    if len(places) > 1:
        averages = [place for place in places if re.search(r"(?<![a-z])ema(?![a-z])", place.lower())]
        places = [""] if "" in places else averages
    return places[0] if len(places) == 1 else None


def load_slim(network: Network, state: Mapping[str, Any]) -> Network:
    """Give a network the sizes and the weights of a slim one.

    Args:
        network: freshly built by its own code; it is changed.
        state: `state_dict()` of what `ppcd.slim` returned, for example by `safetensors.torch.load_file`; also within
            a checkpoint ({"state_dict": ...}), or with what DataParallel or torch.compile put before its names.

    Returns:
        The network, in evaluation mode.

    Raises:
        PpcdError: the state is not of a slim network of this kind, or several are in it.
    """
    states = states_in(state, network.state_dict().keys())
    place = choose_state(states)
    if place is None and states:
        raise PpcdError(f"there are several networks in it: {', '.join(map(repr, states))}; give the state dict of one")
    state = state if place is None else states[place]
    network.eval()
    for name in [key.removesuffix(PARTS[1]) for key in state if key.endswith(PARTS[1])]:
        try:
            conv: Any = network.get_submodule(name)
        except AttributeError:
            raise PpcdError(f"the weights have {name!r}, which {type(network).__name__} has not") from None
        kernel = state[name + PARTS[1]]
        transition = nn.Conv2d(kernel.shape[1], kernel.shape[0], 1, bias=f"{name}.transition.bias" in state)
        if is_convolution(conv):
            parts = OrderedDict(layer=conv, transition=transition.to(conv.weight.device))
            set_module(network, name, nn.Sequential(parts))
    norms = [module for module in network.modules() if is_norm(module)]
    before = [norm.state_dict() for norm in norms]
    for name, module in list(network.named_modules()):
        _fit(network, name, module, state)
    for norm, tensors in zip(norms, before, strict=True):
        _numbers(norm, tensors)
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise PpcdError(f"the weights are not of a slim {type(network).__name__}: {line}") from None
    return network


def _fit(network: nn.Module, name: str, module: Any, state: Mapping[str, Tensor]) -> None:
    """Give a layer the sizes that the state has; a norm with all that it holds."""
    prefix = f"{name}." if name else ""
    if is_convolution(module) or isinstance(module, (nn.Linear, nn.Embedding)):
        own = {key.removeprefix(prefix) for key in state if key.rpartition(".")[0] == name}
        if "weight" in own and own != set(module.state_dict()):  # a slim one has no spectral norm
            module = plain(module, name)
            set_module(network, name, module)
        if "weight" in own:
            set_weight(module, state[f"{prefix}weight"])
        if "bias" in own and getattr(module, "bias", None) is not None:
            replace(module, "bias", state[f"{prefix}bias"])
        return
    for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        wanted = state.get(prefix + key)
        if wanted is not None and wanted.dim() == tensor.dim():
            replace(module, key, wanted)


def _numbers(norm: nn.Module, before: Mapping[str, Tensor]) -> None:
    """The numbers of channels that a norm and what it holds keep as attributes."""
    for name, tensor in norm.state_dict().items():
        for old, new in zip(before[name].shape, tensor.shape, strict=True):
            if old != new:
                for module in norm.modules():
                    resize(module, old, new)
                    if old % 2 == new % 2 == 0:
                        resize(module, old // 2, new // 2)
                return
