"""Parameters and multiply-accumulates, as torchprofile counts them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ppcd.base import PpcdError, eval_mode, needs, weights_dtype
from ppcd.method.masks import ChannelMask
from ppcd.networks.resampling import straightforward

CONVENTION = (
    "params: all parameters, masks excluded, every class embedding included. "
    "MACs: torchprofile 0.1.0, one image, eval mode: convolutions (without bias), linear layers, matrix "
    "products, elementwise products, affine batch norms, averages, bilinear upsampling; not ReLU, tanh, "
    "sums, embeddings, nearest upsampling; blocks in their straightforward form, upsampled before they convolve, "
    "as published figures count them. A slim network has its spectral norm worked into its weights; "
    "where a network still has it, the power iteration's matrix products count"
)


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network; see CONVENTION for what counts."""

    params: int
    macs: int


def complexity(G: nn.Module) -> Complexity:
    """Parameters of a generator, and the multiply-accumulates of one image (CONVENTION).

    The network's training mode is put back. Give the slim network to count what is left of a pruned one.

    Raises:
        PpcdError: it uses an operation that torchprofile does not know, so that the count would be too low; or
            torchprofile is missing.
    """
    if not isinstance(getattr(G, "dim_z", None), int):
        raise PpcdError(
            f"complexity calls G(z, y) with G.dim_z noise entries; {type(G).__name__} has no dim_z: set G.dim_z = 128"
        )
    device = next(G.parameters()).device
    z = torch.zeros(1, G.dim_z, device=device, dtype=weights_dtype(G))  # type: ignore[call-overload]
    y = torch.zeros(1, dtype=torch.int64, device=device)
    try:
        with eval_mode(G), straightforward(G), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing fixes the batch to one image, which is what is asked for
            warnings.filterwarnings("error", "No handlers found")
            macs: Any = _profile_macs()(G, (z, y))
    except UserWarning as unknown:
        raise PpcdError(f"the MACs would be too few, as torchprofile cannot count everything: {unknown}") from None
    return Complexity(count_params(G), macs)


def _profile_macs() -> Callable[..., Any]:
    """torchprofile's, taught what generators use and 0.1.0 does not know: a product and a sum in one counts like a
    product, and what costs next to nothing like its other operations of that kind."""
    with needs("metrics"):
        from torchprofile import profile_macs
        from torchprofile.handlers import HANDLER_MAP
    HANDLER_MAP["aten::addcmul"] = HANDLER_MAP["aten::mul"]
    HANDLER_MAP.update(dict.fromkeys(("aten::clamp_min", "aten::expand_as", "aten::linalg_vector_norm")))  # type: ignore[arg-type]
    return profile_macs


def count_params(module: nn.Module) -> int:
    """Numbers among a module's parameters, frozen ones too, those of its masks left out."""
    masks = {id(mask.weight) for mask in module.modules() if isinstance(mask, ChannelMask)}
    return sum(each.numel() for each in module.parameters() if id(each) not in masks)


def block_params(G: nn.Module) -> int:
    """Parameters of the residual blocks alone, `G.blocks`, masks left out."""
    return count_params(G.get_submodule("blocks"))
