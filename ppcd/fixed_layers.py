"""Linear layers and convolutions with given weights, as inference uses them: buffers, no parameters."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ppcd.base import PpcdError


class FixedLinear(nn.Module):
    """A linear layer with given weights, which are copied."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weight.to(dtype).clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", bias.to(dtype).clone())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class FixedConv(nn.Module):
    """A convolution with given weights, which are copied unless `owned`, of maps [batch, height, width, channel].

    On a CPU in single precision the weight moves into oneDNN's own layout at the first call, once instead of in
    every pass; whatever moves or converts the module takes it back first.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        owned: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight.to(dtype, memory_format=torch.channels_last, copy=not owned))
        self.register_buffer("bias", None if bias is None else bias.to(dtype).clone())
        self.stride, self.padding, self.groups = (stride, stride), (padding, padding), groups
        self._packed: Tensor | None = None

    def forward(self, x: Float[Tensor, "batch height width channel"]) -> Tensor:
        image, packed = x.permute(0, 3, 1, 2), self._pack(x)
        if packed is None:
            y = F.conv2d(image, self._plain(), self.bias, self.stride, self.padding, groups=self.groups)
        else:
            y = torch.ops.mkldnn._convolution_pointwise(
                image, packed, self.bias, self.padding, self.stride, (1, 1), self.groups, "none", [], ""
            )
        return y.permute(0, 2, 3, 1).contiguous()

    def add_to(self, sum: Tensor, x: Float[Tensor, "batch height width channel"], relu: bool = False) -> Tensor:
        """`sum` plus the convolution of x; what is given as `sum` is lost."""
        packed = self._pack(x)
        if packed is None:
            sum += self(x)
            return sum.relu_() if relu else sum
        unary: tuple[str | None, list[float], str | None] = ("relu", [], "") if relu else (None, [], None)
        y = torch.ops.mkldnn._convolution_pointwise_.binary(
            sum.permute(0, 3, 1, 2),
            x.permute(0, 3, 1, 2),
            packed,
            self.bias,
            self.padding,
            self.stride,
            (1, 1),
            self.groups,
            "add",
            1.0,
            *unary,
        )
        return y.permute(0, 2, 3, 1).contiguous()

    def _plain(self) -> Tensor:
        if self.weight is None:
            raise PpcdError("this layer was packed for a CPU and cannot run elsewhere; move it with .to(device)")
        return self.weight

    def _pack(self, x: Tensor) -> Tensor | None:
        """The weight in oneDNN's layout; None where it does not apply."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or self.groups != 1:
            return None
        weight = self.weight
        if self._packed is None and weight is not None and torch.backends.mkldnn.is_available():
            shape = (1, *x.permute(0, 3, 1, 2).shape[1:])
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                weight, self.padding, self.stride, (1, 1), self.groups, shape
            )
            self.weight = None
        return self._packed

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FixedConv":
        if self._packed is not None:
            self.weight, self._packed = self._packed.to_dense(), None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """For copies: oneDNN's tensors have no storage that could be copied."""
        state = self.__dict__.copy()
        if self._packed is not None:
            state |= {"_packed": None, "_buffers": {**self._buffers, "weight": self._packed.to_dense()}}
        return state
