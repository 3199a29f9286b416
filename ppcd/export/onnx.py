"""A generator as an ONNX file, for runtimes without torch (`python -m ppcd export GENERATOR OUT.onnx`).

torch's own exporter traces the slim generator, whose spectral norm is worked into the weights, with each upsampling
merged into its convolution (`ppcd.networks.resampling`). Inputs are `z` [batch, dim_z] (float32) and `y` [batch]
(int64), the output is `images` [batch, 3, R, R] (float32, in [-1, 1]); the batch is dynamic. The metadata entry "ppcd"
holds the format, the configuration of the generator and the version of this package as JSON.

A network of others, slim or whole, is traced as it is. Its inputs have the names of its forward's parameters, its first
output is `images`, and the metadata names its class instead of a configuration.
"""

import copy
import inspect
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ppcd
from ppcd.base import PpcdError, needs, seeded
from ppcd.method.compare import copied, example
from ppcd.method.masks import masks_of
from ppcd.method.slim import slim
from ppcd.networks.generators import Generator
from ppcd.networks.resampling import box_sum
from ppcd.paths import write_atomic

FORMAT = "ppcd-onnx-1"
OPSET = 17
TOLERANCE = 1e-4  # of the images, whose values lie in [-1, 1]
BATCHES = (1, 2, 7)


def export_onnx(generator: nn.Module, path: str | Path, inputs: Sequence[Any] | None = None) -> None:
    """Write a generator without masks as an ONNX file (opset 17), atomically; see the module for its interface.

    Labels are the runtime's to check: onnxruntime raises its own error for one beyond the classes, but takes -1 as the
    last class.

    Args:
        generator: in any mode and type; what it computes in evaluation mode and float32 is written.
        path: must end in .onnx.
        inputs: what a network of others is called with, (z, y) for example; None: by its attributes.

    Raises:
        PpcdError: it still has masks, it cannot be traced, it is not known how it is called, the path does not end in
            .onnx or cannot be written, or onnx is missing.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise PpcdError(f"an ONNX file must have a name that ends in .onnx; got {path}")
    if not isinstance(generator, nn.Module):
        raise PpcdError(f"this exports a torch.nn.Module; got {type(generator).__name__}")
    if masks_of(generator):
        raise PpcdError("a generator with masks is not finished; export ppcd.slim(generator)")
    given = _inputs(generator, 2, seeded(0), inputs)
    with needs("export"):
        import onnx
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "generator.onnx"
        _trace(_merged(generator) if isinstance(generator, Generator) else copied(generator), given, traced)
        model = onnx.load(traced)
    about: dict[str, Any] = {"format": FORMAT, "version": ppcd.__version__}
    if isinstance(generator, Generator):
        about["config"] = generator.config.to_dict()
    else:
        about["network"] = type(generator).__name__
    onnx.helper.set_model_props(model, {"ppcd": json.dumps(about, sort_keys=True)})
    write_atomic(path, model.SerializeToString(deterministic=True))


class _Images(nn.Module):
    """The images of a generator alone, called with its inputs by position."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Tensor:
        output = self.network(*inputs)
        return output[0] if isinstance(output, (tuple, list)) else output


def _inputs(network: nn.Module, batch: int, random: torch.Generator, given: Sequence[Any] | None) -> dict[str, Tensor]:
    """Inputs of a network, by the names of its parameters: random noise; labels from the first class to the last.

    Of a network of others the labels are the given ones, again and again.
    """
    if isinstance(network, Generator):
        y = torch.linspace(0, network.num_classes - 1, batch).long()
        return {"z": torch.randn(batch, network.dim_z, generator=random), "y": y}
    called, found = example(network, given), dict[str, Tensor]()
    if called is None:
        raise PpcdError(f"it is not known how {type(network).__name__} is called: give inputs=(z, y), a small batch")
    for name, value in zip(inspect.signature(network.forward).parameters, called.args, strict=False):
        if not isinstance(value, Tensor) or not value.dim():
            raise PpcdError(
                f"{type(network).__name__} takes a {type(value).__name__} as {name!r}; an ONNX file, tensors"
            )
        if value.is_floating_point() and not _one_hot(value):
            found[name] = torch.randn(batch, *value.shape[1:], generator=random)
        else:
            found[name] = value.detach().cpu()[torch.arange(batch) % len(value)]
            found[name] = found[name].float() if value.is_floating_point() else found[name]
    return found


def _one_hot(value: Tensor) -> bool:
    return bool(((value == 0) | (value == 1)).all())


def _trace(network: nn.Module, inputs: dict[str, Tensor], path: Path) -> None:
    """Write the graph by torch's exporter that traces; the newer one needs onnxscript, which is no dependency here."""
    images = _Images(network.cpu().float()).eval()
    axes = {name: {0: "batch"} for name in [*inputs, "images"]}
    # torch 2.4 has this exporter alone, and no argument that chooses it
    choice: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    try:
        with warnings.catch_warnings(action="ignore"):  # the checks of the input's shape are not part of the graph
            torch.onnx.export(
                images, tuple(inputs.values()), str(path), **choice, opset_version=OPSET,
                input_names=list(inputs), output_names=["images"], dynamic_axes=axes,
            )  # fmt: skip
    except Exception as error:
        raise PpcdError(f"{type(network).__name__} cannot be written as ONNX: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


@torch.no_grad()
def _merged(generator: Generator) -> Generator:
    """A copy without spectral norm, each conv1 a transposed convolution that upsamples and convolves at once."""
    network = slim(copy.deepcopy(generator).cpu().float())
    for block in network.residual_blocks():
        conv = block.conv1
        merged = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1, device="meta")
        merged.weight = nn.Parameter(box_sum(conv.weight.double().flip(2, 3)).transpose(0, 1).contiguous())
        merged.bias = conv.bias
        block.conv1 = merged  # type: ignore[assignment]
        block.upsample_conv = lambda conv, x, rows=None: conv(x)  # type: ignore[method-assign]
    return network


@torch.no_grad()
def check_onnx(generator: nn.Module, path: str | Path, inputs: Sequence[Any] | None = None) -> float:
    """The largest difference between the generator's images and those that onnxruntime makes with the file.

    Args:
        generator: what was exported, on the CPU, in evaluation mode; it is compared in float32.
        inputs: as for `export_onnx`.

    Raises:
        PpcdError: onnxruntime is missing or fails, or the difference is above 1e-4.
    """
    path = Path(path)
    if not path.is_file():
        raise PpcdError(f"no ONNX file at {path}; write one with `python -m ppcd export GENERATOR {path}`")
    generator, random, largest = copied(generator).float(), seeded(0), 0.0
    try:
        session = onnx_session(path)
        for batch in BATCHES:
            given = _inputs(generator, batch, random, inputs)
            (found,) = session.run(["images"], {name: each.numpy() for name, each in given.items()})
            expected = _Images(generator)(*given.values())
            difference = (torch.from_numpy(found) - expected).abs().max().item()
            if not difference <= TOLERANCE:  # nor NaN
                raise PpcdError(
                    f"{path} does not give this generator's images: they differ by {difference:.2g} at batch {batch}, "
                    f"where {TOLERANCE:g} is allowed; export it again"
                )
            largest = max(largest, difference)
    except PpcdError:
        raise
    except Exception as error:
        raise PpcdError(f"onnxruntime cannot run {path} ({_first_line(error)}); export it again") from None
    return largest


def onnx_session(path: str | Path) -> Any:
    """onnxruntime with the file on the CPU, on as many threads as torch has."""
    with needs("export"):
        import onnxruntime as runtime
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_mem_pattern = False  # a plan of memory takes 300 MiB more at 128 px and batch 8, and saves no time
    options.log_severity_level = 4  # what fails is raised as well
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
