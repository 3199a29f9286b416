"""Features of the blocks of any network, seen by hooks, and the norm that follows each block (section 3.3)."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ppcd.base import PpcdError, eval_mode
from ppcd.method.narrow import is_convolution, is_norm, layers_of, sizes

Use = Callable[[str, Tensor], None]  # name of a block and its features, while they are as the block gave them


class Hook:
    """Calls a method of an owner that the network must not keep alive; in a copy of the network it does nothing."""

    def __init__(self, owner: Any = None, method: str = "", name: str = "") -> None:
        self.owner = weakref.ref(owner) if owner is not None else lambda: None
        self.method, self.name = method, name

    def __call__(self, module: nn.Module, args: Any, *rest: Any) -> None:
        owner = self.owner()
        if owner is not None:
            getattr(owner, self.method)(self.name, module, args, *rest)

    def __deepcopy__(self, memo: Any) -> "Hook":
        return Hook()

    def __reduce__(self) -> Any:
        return Hook, ()


class BlockFeatures:
    """The outputs of named blocks in each forward pass, normalised by what follows them.

    Args:
        blocks: their names, in the order in which they are called.
        use: called with the features of each block, before any later operation can change them in place.
        norms: "conditional": under the class-conditional norm that follows the block, where one does; "any": under the
            norm that follows it, as a constant function of the features; None: as they are.

    The norm that follows a block is the first one that is called after it, with no convolution larger than 1x1
    between. Features whose norm is wanted are used when it is called; `end` returns those of blocks that none follows.
    """

    def __init__(self, network: nn.Module, blocks: Sequence[str], use: Use, norms: str | None = None) -> None:
        modules = dict(network.named_modules())
        for name in blocks:
            if name not in modules:
                raise PpcdError(f"{type(network).__name__} has no block {name!r}; name them: teacher_blocks=[...]")
        self.use, self.norms, self.active = use, norms, False
        self._pending: tuple[str, Tensor] | None = None
        self.unnormalised: list[tuple[str, Tensor]] = []
        for name in blocks:
            modules[name].register_forward_hook(Hook(self, "_block", name))
        for _, layer in layers_of(network) if norms is not None else ():
            if is_norm(layer):
                layer.register_forward_pre_hook(Hook(self, "_norm"), with_kwargs=True)
            elif is_convolution(layer) and sizes(layer)[3] > 1:
                layer.register_forward_pre_hook(Hook(self, "_convolution"))

    def _block(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        features = next((each for each in _tensors(output) if each.dim() == 4), None)
        if not self.active:
            return
        if features is None:
            raise PpcdError(f"block {name!r} gives no feature maps [batch, channel, height, width]")
        self._settle()
        if self.norms is None:
            self.use(name, features)
        else:
            self._pending = (name, features if features.requires_grad else features.clone())

    def _norm(self, _: str, norm: nn.Module, args: Any, kwargs: Any) -> None:
        if not self.active or self._pending is None or not args:
            return
        (name, features), (x, *others) = self._pending, args
        conditional = any(True for _ in _tensors([*others, *kwargs.values()]))
        if x.shape[1] != features.shape[1] or (self.norms == "conditional" and not conditional):
            return
        self._pending, self.active = None, False  # the call below is not the network's
        try:
            if self.norms == "conditional":
                self.use(name, norm(features, *others, **kwargs))
            else:
                self.use(name, _as_constant(norm, features, others, kwargs))
        finally:
            self.active = True

    def _convolution(self, _: str, module: nn.Module, args: Any) -> None:
        if self.active:
            self._settle()

    def _settle(self) -> None:
        """No norm follows the last block."""
        if self._pending is not None:
            self.unnormalised.append(self._pending)
            self._pending = None

    def begin(self) -> None:
        """Look at the next forward pass."""
        self.active, self._pending, self.unnormalised = True, None, []

    def end(self) -> list[tuple[str, Tensor]]:
        """Look away; the blocks that no norm follows, with their features."""
        self._settle()
        self.active = False
        return self.unnormalised


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    return [each for each in values if isinstance(each, Tensor)] if isinstance(values, (list, tuple)) else []


def _as_constant(norm: nn.Module, x: Tensor, others: Sequence[Any], kwargs: Any) -> Tensor:
    """A norm at evaluation as a function of x alone, which alone gets a gradient."""
    weights = {name: each.detach() for name, each in [*norm.named_parameters(), *norm.named_buffers()]}
    fixed = tuple(each.detach() if isinstance(each, Tensor) else each for each in others)
    named = {name: each.detach() if isinstance(each, Tensor) else each for name, each in kwargs.items()}
    with eval_mode(norm):
        return functional_call(norm, weights, (x, *fixed), named)


def labels_of(inputs: Sequence[Any], batch: int) -> Tensor:
    """The classes [batch] among the inputs of a network: integers, or one-hot rows [batch, class]; 0 without any."""
    for value in _tensors(list(inputs)):
        if value.shape == (batch,) and not value.is_floating_point():
            return value.long()
        if value.dim() == 2 and len(value) == batch:
            return value.argmax(1)
    return torch.zeros(batch, dtype=torch.long)


def of_class(value: Any, label: int, batch: int) -> Any:
    """An input like this one for `batch` samples of one class."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    if value.dim() == 1:
        return value.new_full((batch,), label)
    row = torch.zeros_like(value[0])
    row[label] = 1
    return row.expand(batch, *row.shape)
