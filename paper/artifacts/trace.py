"""What a computation does, as a graph: its modules and functions in the order of their calls, and what feeds what.

The graph is recorded while the real modules compute, so it cannot say anything else than the code does.
"""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

# Functions that hand values on without computing: no nodes of their own.
HANDED_ON = {"cat", "contiguous", "detach", "flatten", "split", "squeeze", "to", "unflatten", "view", "__getitem__"}


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: unique; of a module its name in the network, of a function its own.
        kind: "source", "module", "function" (of torch, called by a module), or "group" (a function of ours).
        shape: of what it gives, without the batch; () for a number.
        module: the module itself, for its settings.
        inside: names of the modules that a group called.
        factor: by how much a function changes the height.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    module: nn.Module | None = field(default=None, compare=False)
    inside: tuple[str, ...] = ()
    factor: float = 1.0


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of their first call, and edges (from, to) by name."""

    nodes: tuple[Node, ...]
    edges: frozenset[tuple[str, str]]

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def before(self, name: str) -> list[str]:
        """What feeds a node, in the order of the calls."""
        return [node.name for node in self.nodes if (node.name, name) in self.edges]

    def after(self, name: str) -> list[str]:
        """What a node feeds, in the order of the calls."""
        return [node.name for node in self.nodes if (name, node.name) in self.edges]

    def towards(self, ends: Collection[str]) -> "Graph":
        """Only what `ends` depend on, themselves included."""
        kept, waiting = set(ends), list(ends)
        while waiting:
            new = [name for name in self.before(waiting.pop()) if name not in kept]
            kept.update(new)
            waiting += new
        nodes = tuple(node for node in self.nodes if node.name in kept)
        return Graph(nodes, frozenset(edge for edge in self.edges if kept.issuperset(edge)))

    def longest_path(self, start: str, end: str) -> list[str]:
        """The longest way from one node to another; [] where there is none."""
        if start == end:
            return [end]
        ways = [way for name in self.before(end) if (way := self.longest_path(start, name))]
        return [*max(ways, key=len), end] if ways else []


class Tracer(TorchFunctionMode):
    """Records a graph of everything that is computed from the sources while it is active (`with`).

    Args:
        networks: name -> network.
        whole: names of modules that are one node each; what they call is not shown. Other modules are only looked into.
        group: for the frame of a Python function, the name of its node, or None. The outermost one counts. A name that
            ends in # gets a number: each call is a node of its own.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        whole: Collection[str],
        group: Callable[[FrameType], str | None] = lambda frame: None,
    ) -> None:
        super().__init__()
        self.names = {
            id(module): f"{root}.{name}" if name else root
            for root, network in networks.items()
            for name, module in network.named_modules()
        }
        self.whole, self.group = set(whole), group
        self.stack: list[tuple[str, nn.Module, Counter[str]]] = []  # modules that are being called
        self.nodes: dict[str, Node] = {}
        self.edges: set[tuple[str, str]] = set()
        self.made_by: dict[int, frozenset[str]] = {}
        self.alive: list[Any] = []  # ids belong to these objects, which must not go before the tracer does
        self.calls: dict[int, str] = {}  # frame of a group -> its node

    def source(self, name: str, tensor: Tensor) -> None:
        """Make a tensor a source."""
        self.nodes.setdefault(name, Node(name, "source", tuple(tensor.shape[1:])))
        self.made(tensor, {name})

    def made(self, tensor: Tensor, by: Iterable[str]) -> None:
        """Say which nodes a tensor comes from."""
        self.alive.append(tensor)
        self.made_by[id(tensor)] = frozenset(by)

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes.values()), frozenset(self.edges))

    def __enter__(self) -> "Tracer":
        self.hooks = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for hook in self.hooks:
            hook.remove()
        super().__exit__(*error)

    def _enter_module(self, module: nn.Module, _: Any) -> None:
        if id(module) in self.names:
            self.stack.append((self.names[id(module)], module, Counter()))

    def _leave_module(self, module: nn.Module, _: Any, __: Any) -> None:
        if id(module) in self.names:
            self.stack.pop()

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = list(_tensors((args, kwargs or {})))
        sources = frozenset().union(*(self.made_by.get(id(each), frozenset()) for each in given))
        before = next((each.shape for each in given if each.dim() == 4), None)
        result = function(*args, **(kwargs or {}))
        results = list(_tensors(result))
        if sources and results:
            node = self._node(getattr(function, "__name__", "?"), results[0], before)
            if node is not None:
                self.edges |= {(source, node) for source in sources if source != node}
            for each in results:
                self.made(each, sources if node is None else {node})
        return result

    def _node(self, function: str, result: Tensor, before: tuple[int, ...] | None) -> str | None:
        """The node of a call, None where it hands values on."""
        shape = tuple(result.shape[1:])
        called = self._group()
        if called is not None:
            inside = [self.stack[-1][0]] if self.stack else []
            known = self.nodes.get(called, Node(called, "group"))
            inside = [*known.inside, *(name for name in inside if name not in known.inside)]
            self.nodes[called] = Node(called, "group", shape, inside=tuple(inside))
            return called
        whole = next(((name, module) for name, module, _ in self.stack if name in self.whole), None)
        if whole is not None:
            self.nodes[whole[0]] = Node(whole[0], "module", shape, whole[1])
            return whole[0]
        if not self.stack or function in HANDED_ON:
            return None
        scope, _, counter = self.stack[-1]
        counter[function] += 1
        name = f"{scope}.{function}#{counter[function]}"
        factor = shape[1] / before[2] if before is not None and len(shape) == 3 else 1.0
        self.nodes[name] = Node(name, "function", shape, factor=factor)
        return name

    def _group(self) -> str | None:
        """The node of the outermost of our functions that is being called."""
        frame: FrameType | None = sys._getframe(2)
        found, at = None, 0
        while frame is not None:
            name = self.group(frame)
            if name is not None:
                found, at = name, id(frame)
                self.alive.append(frame)
            frame = frame.f_back
        if found is None or not found.endswith("#"):
            return found
        number = 1 + sum(call.startswith(found) for call in self.calls.values())
        return self.calls.setdefault(at, f"{found}{number}")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
