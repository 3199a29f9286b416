"""Whether two networks compute the same images: what a network is called with, and the comparison."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ppcd.base import eval_mode, seeded
from ppcd.method.narrow import REPARAMETRISATIONS

Network = TypeVar("Network", bound=nn.Module)
SAME = 1e-4  # of the largest value: what two ways to compute the same images may differ by
NOISE_NAMES = ("dim_z", "z_dim", "zdim", "nz", "latent_dim", "noise_dim")
CLASS_NAMES = ("num_classes", "n_classes", "n_class", "classes", "nclasses")


@dataclass
class Example:
    """Inputs of a network: positional and named ones."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def rows(self, count: int) -> "Example":
        """The first rows of each."""

        def first(value: Any) -> Any:
            return value[:count].detach().clone() if isinstance(value, Tensor) and value.dim() else value

        return Example(tuple(map(first, self.args)), {name: first(value) for name, value in self.kwargs.items()})

    def fresh(self, network: nn.Module) -> "Example":
        """With other noise and the same classes, where the network is."""
        weight = next(iter(network.parameters()))
        noise = seeded(1)

        def other(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value.is_floating_point():
                value = torch.randn(value.shape, generator=noise).to(weight.dtype)
            return value.to(weight.device)

        return Example(tuple(map(other, self.args)), {name: other(value) for name, value in self.kwargs.items()})


def example(network: nn.Module, inputs: Sequence[Any] | Example | None) -> Example | None:
    """What the network is called with: as given, as it was called last, or by its attributes; None: not known."""
    if isinstance(inputs, Example):
        return inputs
    if inputs is not None:
        return Example(tuple(inputs) if not isinstance(inputs, Tensor) else (inputs,), {})
    if isinstance(seen := getattr(network, "pp_res_example", None), Example):
        return seen
    found = {kind: _attribute(network, names) for kind, names in (("z", NOISE_NAMES), ("y", CLASS_NAMES))}
    if found["z"] is None:
        return None
    z = torch.randn(2, found["z"], generator=seeded(0))
    guesses: list[tuple[Tensor, ...]] = [(z,)]
    if found["y"]:
        guesses.insert(0, (z, torch.arange(2) % found["y"]))
    for guess in guesses:
        try:
            images_of(network, Example(guess, {}))
        except Exception:  # not how it is called
            continue
        return Example(guess, {})
    return None


def _attribute(network: nn.Module, names: Iterable[str]) -> int | None:
    values = (getattr(network, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def remember(network: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A forward pre-hook that keeps a few rows of the first inputs, for the comparison of `ppcd.slim`."""
    if getattr(network, "pp_res_example", None) is None:
        network.pp_res_example = Example(args, kwargs).rows(4)


@torch.no_grad()
def images_of(network: nn.Module, inputs: Example) -> list[Tensor]:
    """Its outputs in evaluation mode, in single precision; a network's own random numbers are the same at each call."""
    weight = next(iter(network.parameters()))
    if weight.element_size() < 4:
        network = copied(network).float()
    fresh = inputs.fresh(network)
    forked = torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else [])  # every call starts alike
    with eval_mode(network), own_forward(network), forked, torch.autocast(weight.device.type, enabled=False):
        output = network(*fresh.args, **fresh.kwargs)
    outputs = output if isinstance(output, (tuple, list)) else [output]
    return [each for each in outputs if isinstance(each, Tensor)]


@contextmanager
def own_forward(network: Any) -> Iterator[None]:
    """Without the autocast that accelerate's `prepare` has put around a network's forward."""
    wrapped = vars(network).get("forward")
    original = vars(network).get("_original_forward")
    if wrapped is None or original is None:
        yield
        return
    network.forward = original
    try:
        yield
    finally:
        network.forward = wrapped


def difference(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference, as a part of the largest value (of 1 where all are smaller); inf for other sizes."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape:
            return float("inf")
        same = (a == b) | (a.isnan() & b.isnan())  # a network that computes nonsense may become slim all the same
        size = max(1.0, a[a.isfinite()].abs().max().item() if a.isfinite().any() else 1.0)
        gap = (a - b).abs().masked_fill(same, 0).max().item() / size
        worst = max(worst, gap if gap == gap else float("inf"))
    return worst


def copied(network: Network) -> Network:
    """A copy of all of it. Weights that torch's older spectral norm has computed cannot be copied, and need not be."""
    for module in network.modules():
        for hook in module._forward_pre_hooks.values():
            if type(hook).__name__ in REPARAMETRISATIONS and hasattr(hook, "name"):
                setattr(module, hook.name, getattr(module, hook.name).detach())
    return copy.deepcopy(network)


def unwrapped(network: Any) -> Any:
    """The network inside of DistributedDataParallel, DataParallel or torch.compile."""
    while isinstance(network, nn.Module):
        inner = getattr(network, "_orig_mod", None)
        if inner is None and type(network).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = network.module
        if inner is None:
            break
        network = inner
    return network
