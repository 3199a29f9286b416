"""The machine's own ceilings, measured here, and what a training iteration needs at least under them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from paper.bench.contestants import QUICK, Contestant, Group, Pace, Works
from paper.bench.training import BATCH, DIM_Z, WIDTH, pair_trainer
from ppcd.base import seeded
from ppcd.networks.compute import FAST, STRAIGHTFORWARD, Forms

SCENE = "ceilings"
THREADS = (1, 2)
CHANNELS = 4 * WIDTH  # of the 32 px pair, in every block
MATRIX = 2048  # rows and columns of the matrix product
MEGABYTES = 256  # of the arrays that are copied and touched: much more than the caches hold
SIZES = (32, 16, 8)  # pixels, of the larger feature map
PASSES = ("forward", "input", "weight")  # the convolution, and its gradients
KINDS = ("same", "up-boxed", "pool-boxed", "up-merged", "pool-merged")  # 3x3; 3x3, then 4x4 of stride 2
LAYOUTS = ("contiguous", "channels-last")
MATMUL, COPY, TOUCH = "matmul", "copy", "touch"
FORMS = {
    "straightforward": STRAIGHTFORWARD,
    "merged": replace(FAST, boxed=False, filtered=False),
    "boxed": replace(FAST, filtered=False),
    "filtered": FAST,
}
aten = torch.ops.aten


def conv_macs(x: Tensor, weight: Tensor, out: Tensor, transposed: bool) -> int:
    """Multiply-accumulates of a convolution, and of either of its gradients."""
    return (
        (x if transposed else out).numel()
        * weight[:, 0 if transposed else slice(None)].numel()
        // len(weight)
        * (weight.shape[1] if transposed else 1)
    )


def conv_kind(x: Tensor, weight: Tensor, out: Tensor, stride: int, transposed: bool) -> tuple[str, int]:
    """One of KINDS and the pixels of the larger feature map; "other" for what no ceiling is measured of."""
    size = weight.shape[-1]
    if min(weight.shape[:2]) != max(weight.shape[:2]) or size not in (3, 4):
        return "other", max(x.shape[-1], out.shape[-1])
    if stride == 1:
        return "same", out.shape[-1]
    kind = "boxed" if size == 3 else "merged"
    return f"{'up' if transposed else 'pool'}-{kind}", 2 * min(x.shape[-1], out.shape[-1])


class Tally(TorchDispatchMode):
    """Counts what runs within it.

    Attributes:
        convolutions: (kind, pass, pixels) -> MACs.
        matrices: MACs of matrix products.
        other_bytes: that all other operations read and write, were each to do so once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: Counter[tuple[str, str, int]] = Counter()
        self.matrices = 0
        self.other_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is aten.convolution.default:
            self._convolution(args[0], args[1], out, args[3], args[6], ("forward",))
        elif func is aten.convolution_backward.default:
            wanted = tuple(name for name, asked in zip(PASSES[1:], args[10], strict=False) if asked)
            self._convolution(args[1], args[2], args[0], args[4], args[7], wanted)
        elif func in (aten.mm.default, aten.addmm.default, aten.bmm.default, aten.mv.default):
            left = args[1] if func is aten.addmm.default else args[0]
            self.matrices += out.numel() * left.shape[-1]
        elif not func.is_view:
            self.other_bytes += sum(_bytes(each) for each in (*args, out))
        return out

    def _convolution(
        self, x: Tensor, weight: Tensor, out: Tensor, stride: list[int], transposed: bool, passes: tuple[str, ...]
    ) -> None:
        kind, pixels = conv_kind(x, weight, out, stride[0], transposed)
        for name in passes:
            self.convolutions[kind, name, pixels] += conv_macs(x, weight, out, transposed)


def _bytes(value: object) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


def tally(forms: Forms, width: int = WIDTH, batch: int = BATCH) -> Tally:
    """What an iteration of the 32 px BigGAN pair takes in these forms."""
    settings = {"width": width, "dim_z": DIM_Z, "batch": batch, "seed": 0, "precision": "no"}
    trainer = pair_trainer(settings, forms)
    trainer.step()  # the optimisers' state comes about
    with Tally() as found:
        trainer.step()
    return found


@dataclass(frozen=True)
class Ceiling:
    """A convolution whose rate is measured, at `CHANNELS` and `BATCH` unless another size is given."""

    kind: str
    name: str  # of the pass
    pixels: int
    layout: str
    channels: int
    batch: int

    @property
    def key(self) -> str:
        return f"{self.kind} {self.name} {self.pixels} {self.layout}"

    def tensors(self, device: str = "cpu") -> tuple[Tensor, Tensor, int, int, bool]:
        """Input, weight, stride, padding, whether transposed; on "meta" they are shapes alone."""
        form, _, taps = self.kind.partition("-")
        size = 4 if taps == "merged" else 3
        small = self.pixels // 2
        into = {"same": self.pixels, "up": small, "pool": self.pixels + (taps == "boxed")}[form]
        memory_format = torch.channels_last if self.layout == "channels-last" else torch.contiguous_format
        x = torch.ones(self.batch, self.channels, into, into, device=device)
        weight = torch.full((self.channels, self.channels, size, size), 1 / self.channels, device=device)
        padding = 0 if taps == "boxed" else 1
        x, weight = (each.contiguous(memory_format=memory_format) for each in (x, weight))
        return x, weight, 1 if form == "same" else 2, padding, form == "up"

    def out(self, x: Tensor, weight: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
        """The convolution."""
        convolve = F.conv_transpose2d if transposed else F.conv2d
        return convolve(x, weight, stride=stride, padding=padding)

    def work(self) -> Callable[[], object]:
        """One pass of it."""
        x, weight, stride, padding, transposed = self.tensors()
        out = self.out(x, weight, stride, padding, transposed)
        if self.name == "forward":
            return lambda: self.out(x, weight, stride, padding, transposed)
        gradient, mask = torch.ones_like(out), [self.name == "input", self.name == "weight", False]
        steps = ([stride] * 2, [padding] * 2, [1, 1])
        return lambda: aten.convolution_backward(gradient, x, weight, None, *steps, transposed, [0, 0], 1, mask)

    def macs(self) -> int:
        """Of one pass."""
        x, weight, stride, padding, transposed = self.tensors("meta")
        return conv_macs(x, weight, self.out(x, weight, stride, padding, transposed), transposed)


def ceiling_list(settings: dict[str, Any]) -> list[Ceiling]:
    """The convolutions of a contestant. Settings: sizes, channels, batch."""
    return [
        Ceiling(kind, name, pixels, layout, settings["channels"], settings["batch"])
        for pixels in settings["sizes"]
        for kind in KINDS
        if kind == "same" or pixels > min(SIZES)  # blocks change the size between 8, 16 and 32 px
        for name in PASSES
        for layout in LAYOUTS
    ]


def ceilings(settings: dict[str, Any]) -> Works:
    """A turn: each ceiling once. Settings: matrix, megabytes, and those of `ceiling_list`."""
    noise = seeded(0)
    left = torch.randn(settings["matrix"], settings["matrix"], generator=noise)
    source = torch.ones(settings["megabytes"] * 2**18)
    target = torch.zeros_like(source)
    works: Works = {
        MATMUL: lambda: left @ left,
        COPY: lambda: target.copy_(source),
        TOUCH: lambda: torch.empty_like(source).fill_(1),  # fresh memory, which the system hands out page by page
    }
    with torch.no_grad():
        return works | {each.key: each.work() for each in ceiling_list(settings)}


def groups(quick: bool, pace: Pace | None = None) -> list[Group]:
    """The ceilings by the number of threads: a contestant alone, whose pieces take turns."""
    settings = {"matrix": MATRIX, "megabytes": MEGABYTES, "sizes": list(SIZES), "channels": CHANNELS, "batch": BATCH}
    if quick:
        settings = {"matrix": 64, "megabytes": 1, "sizes": [16], "channels": 16, "batch": 4}
    pace = pace or (QUICK if quick else Pace(60, fewest=5, most=5, warm_ups=1, turn=0.0))
    return [
        Group(
            SCENE, {"threads": threads, **settings}, None, SCENE,
            (Contestant(SCENE, "the machine", f"{__name__}:ceilings", settings, threads),), pace,
        )
        for threads in THREADS[: 1 if quick else None]
    ]  # fmt: skip


def rates(group: dict[str, Any]) -> dict[str, float]:
    """Of a measured group: MACs a second of the matrix product and of each convolution, bytes a second of the others.

    A copy reads and writes, so that its bytes count twice.
    """
    (machine,) = group["contestants"]
    settings, seconds = machine["settings"], machine["pieces"]
    size = settings["megabytes"] * 2**20
    found = {
        MATMUL: settings["matrix"] ** 3 / seconds[MATMUL],
        COPY: 2 * size / seconds[COPY],
        TOUCH: size / seconds[TOUCH],
    }
    return found | {each.key: each.macs() / seconds[each.key] for each in ceiling_list(settings)}


def floor(counted: Tally, found: dict[str, float]) -> dict[str, Any]:
    """The least time of an iteration under these rates.

    Returns:
        convolution_macs {pass: MACs}, macs (matrix products too), other_bytes; at_matmul: seconds if all products ran
        at the rate of the matrix product; at_convolutions: if each convolution ran at the rate of its own kind, pass
        and size in the better layout, and what none was measured of at the best rate of all; other: seconds of the
        other operations if nothing stayed in the caches.
    """
    by_pass: Counter[str] = Counter()
    seconds = counted.matrices / found[MATMUL]
    best = max(rate for name, rate in found.items() if name not in (COPY, TOUCH))
    for (kind, name, pixels), macs in counted.convolutions.items():
        by_pass[name] += macs
        own = [found.get(f"{kind} {name} {pixels} {layout}", 0.0) for layout in LAYOUTS]
        seconds += macs / (max(own) or best)
    macs = sum(by_pass.values()) + counted.matrices
    return {
        "convolution_macs": dict(by_pass),
        "macs": macs,
        "other_bytes": counted.other_bytes,
        "at_matmul": macs / found[MATMUL],
        "at_convolutions": seconds,
        "other": counted.other_bytes / found[COPY],
    }


def floors(measured: list[dict[str, Any]], quick: bool) -> dict[str, Any]:
    """`floor` of an iteration of the pair in each form, by threads: {form: {threads: floor}}; and the rates."""
    size = {"width": 4, "batch": 4} if quick else {}
    by_threads = {str(group["about"]["threads"]): rates(group) for group in measured}
    found = {}
    for form, forms in FORMS.items():
        counted = tally(forms, **size)
        found[form] = {threads: floor(counted, each) for threads, each in by_threads.items()}
    return {"rates": by_threads, "floors": found, "forms": {form: asdict(forms) for form, forms in FORMS.items()}}
