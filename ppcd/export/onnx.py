"""A generator as an ONNX file, for runtimes without torch (`python -m ppcd export GENERATOR OUT.onnx`).

torch's own exporter traces the slim generator, whose spectral norm is worked into the weights, with each upsampling
merged into its convolution (`ppcd.networks.resampling`). Inputs are `z` [batch, dim_z] (float32) and `y` [batch]
(int64), the output is `images` [batch, 3, R, R] (float32, in [-1, 1]); the batch is dynamic. The metadata entry "ppcd"
holds the format, the configuration of the generator and the version of this package as JSON.
"""

import copy
import json
import tempfile
import warnings
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ppcd
from ppcd.base import PpcdError, needs, seeded
from ppcd.method.slim import slim
from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.generators import Generator
from ppcd.networks.resampling import box_sum
from ppcd.paths import write_atomic

FORMAT = "ppcd-onnx-1"
OPSET = 17
TOLERANCE = 1e-4  # of the images, whose values lie in [-1, 1]
BATCHES = (1, 2, 7)


def export_onnx(generator: Generator, path: str | Path) -> None:
    """Write a generator without masks as an ONNX file (opset 17), atomically; see the module for its interface.

    Labels are the runtime's to check: onnxruntime raises its own error for one beyond the classes, but takes -1 as the
    last class.

    Args:
        generator: in any mode and type; what it computes in evaluation mode and float32 is written.
        path: must end in .onnx.

    Raises:
        PpcdError: it is a network of others or still has masks, the path does not end in .onnx or cannot be written,
            or onnx is missing.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise PpcdError(f"an ONNX file must have a name that ends in .onnx; got {path}")
    if not isinstance(generator, Generator):
        raise PpcdError(
            f"this exports generators of this project; got {type(generator).__name__}: torch.onnx.export writes others"
        )
    if generator.config.masked:
        raise PpcdError("a generator with masks is not finished; export ppcd.slim(generator)")
    with needs("export"):
        import onnx
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / "generator.onnx"
        _trace(generator, traced)
        model = onnx.load(traced)
    about = {"format": FORMAT, "config": generator.config.to_dict(), "version": ppcd.__version__}
    onnx.helper.set_model_props(model, {"ppcd": json.dumps(about, sort_keys=True)})
    write_atomic(path, model.SerializeToString(deterministic=True))


class _Images(nn.Module):
    """The images of a generator, without the option to return its features."""

    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.network(z, y)


def _trace(generator: Generator, path: Path) -> None:
    """Write the graph by torch's exporter that traces; the newer one needs onnxscript, which is no dependency here."""
    network = slim(copy.deepcopy(generator).cpu().float())
    for block in network.residual_blocks():
        _merge_upsampling(block)
    images = _Images(network.float())  # merged convolutions are float64
    z, y = torch.zeros(2, network.dim_z), torch.zeros(2, dtype=torch.long)
    names = ["z", "y", "images"]
    # torch 2.4 has this exporter alone, and no argument that chooses it
    choice: dict[str, Any] = {"dynamo": False} if "dynamo" in signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings(action="ignore"):  # the checks of the input's shape are not part of the graph
        torch.onnx.export(
            images, (z, y), str(path), **choice, opset_version=OPSET,
            input_names=names[:2], output_names=names[2:], dynamic_axes={name: {0: "batch"} for name in names},
        )  # fmt: skip


@torch.no_grad()
def _merge_upsampling(block: GeneratorBlock) -> None:
    """Turn the block's conv1 into the transposed convolution that upsamples and convolves at once."""
    conv = block.conv1
    merged = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1, device="meta")
    merged.weight = nn.Parameter(box_sum(conv.weight.double().flip(2, 3)).transpose(0, 1).contiguous())
    merged.bias = conv.bias
    block.conv1 = merged  # type: ignore[assignment]
    block.upsample_conv = lambda conv, x, rows=None: conv(x)  # type: ignore[method-assign]


@torch.no_grad()
def check_onnx(generator: Generator, path: str | Path, batches: Sequence[int] = BATCHES) -> float:
    """The largest difference between the generator's images and those that onnxruntime makes with the file.

    Args:
        generator: what was exported, on the CPU, in evaluation mode; it is compared in float32.
        path: the file.
        batches: sizes of the batches that are compared; labels go from the first class to the last.

    Raises:
        PpcdError: onnxruntime is missing or fails, or the difference is above 1e-4.
    """
    path = Path(path)
    if not path.is_file():
        raise PpcdError(f"no ONNX file at {path}; write one with `python -m ppcd export GENERATOR {path}`")
    generator, random, largest = copy.deepcopy(generator).float(), seeded(0), 0.0
    try:
        session = onnx_session(path)
        for batch in batches:
            z = torch.randn(batch, generator.dim_z, generator=random)
            y = torch.linspace(0, generator.num_classes - 1, batch).long()
            (found,) = session.run(["images"], {"z": z.numpy(), "y": y.numpy()})
            expected = generator(z, y)
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
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PpcdError(f"onnxruntime cannot run {path} ({first}); export it again") from None
    return largest


def onnx_session(path: str | Path) -> Any:
    """onnxruntime with the file on the CPU, on as many threads as torch has.

    Raises:
        PpcdError: onnxruntime is missing; its own errors where it cannot read the file.
    """
    with needs("export"):
        import onnxruntime as runtime
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_mem_pattern = False  # a plan of memory takes 300 MiB more at 128 px and batch 8, and saves no time
    options.log_severity_level = 4  # what fails is raised as well
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
