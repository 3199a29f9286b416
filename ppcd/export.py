"""A generator as an ONNX file, for runtimes without torch: `python -m ppcd.export.onnx GENERATOR.safetensors OUT.onnx`.

The graph is written layer by layer instead of traced, so that the same generator gives the same bytes, and in its
folded form: no spectral norm, merged upsampling (`ppcd.networks.resampling`), and each class-conditional batch norm one scale
and one shift. Inputs are `z` [batch, dim_z] (float32) and `y` [batch] (int64), the output is `images`
[batch, 3, R, R] (float32, in [-1, 1]); the batch is dynamic. The metadata entry "ppcd" holds the format, the
configuration of the generator and the version of this package as JSON.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ppcd
from ppcd.base import PpcdError, seeded
from ppcd.errors import ArgumentParser, run_command
from ppcd.export.folding import conditional, double
from ppcd.method.slim import slim
from ppcd.networks.blocks import GeneratorBlock
from ppcd.networks.generators import BASE, Generator
from ppcd.networks.io import load_generator
from ppcd.networks.layers import BatchNorm2d, ClassConditionalBatchNorm, SelfAttention
from ppcd.networks.resampling import box_sum
from ppcd.networks.separable import SeparableBlock
from ppcd.paths import write_atomic

FORMAT = "ppcd-onnx-1"
OPSET = 17
IR_VERSION = 8  # the one that came with opset 17, so that what reads the operators reads the file
TOLERANCE = 1e-4  # of the images, whose values lie in [-1, 1]
BATCHES = (1, 2, 7)
RESIZING = {  # as torch places pixels when the size doubles
    "nearest": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    "linear": {"coordinate_transformation_mode": "half_pixel"},
}


def export_onnx(generator: Generator, path: str | Path) -> None:
    """Write a generator without masks as an ONNX file (opset 17), atomically; see the module for its interface.

    Runtimes check labels by themselves: onnxruntime raises its own InvalidArgument ("indices element out of data
    bounds") for a label beyond the classes, but counts -1 down to -num_classes from the last class, as ONNX's Gather
    says.

    Args:
        generator: in any mode and type; what it computes in evaluation mode is written, in float32.
        path: must end in .onnx.

    Raises:
        PpcdError: it still has masks, the path does not end in .onnx or cannot be written, or onnx is missing.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise PpcdError(f"an ONNX file must have a name that ends in .onnx; got {path}")
    content = _model(generator).SerializeToString(deterministic=True)
    write_atomic(path, content)


@torch.no_grad()
def check_onnx(generator: Generator, path: str | Path, batches: Sequence[int] = BATCHES) -> float:
    """The largest difference between the generator's images and those that onnxruntime makes with the file.

    Args:
        generator: what was exported, on the CPU, in evaluation mode.
        path: the file.
        batches: sizes of the batches that are compared; labels go from the first class to the last.

    Raises:
        PpcdError: onnxruntime is missing or fails, or the difference is above 1e-4.
    """
    path = Path(path)
    if not path.is_file():
        raise PpcdError(
            f"no ONNX file at {path}; write one with `python -m ppcd.export.onnx GENERATOR.safetensors {path}`"
        )
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what fails is raised as well
    random, largest = seeded(0), 0.0
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for batch in batches:
            z = torch.randn(batch, generator.dim_z, generator=random)
            y = torch.linspace(0, generator.num_classes - 1, batch).long()
            (found,) = session.run(["images"], {"z": z.numpy(), "y": y.numpy()})
            expected = generator(z.to(generator.linear.weight.dtype), y)
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


def _package(name: str) -> Any:
    """onnx or onnxruntime, which nothing else here needs.

    Raises:
        PpcdError: it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PpcdError(f"{name} cannot be imported ({error}); `make setup` installs it") from None


class _Graph:
    """The nodes and constants of a graph so far. Values are known by name; a node is called like its output."""

    def __init__(self) -> None:
        self.onnx = _package("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, tensor: Tensor) -> str:
        """Its name. Floating point becomes float32."""
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        self.constants.append(self.onnx.numpy_helper.from_array(tensor.contiguous().numpy(), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """The name of its output, which is the node's own unless `outputs` gives others."""
        made = self.onnx.helper.make_node(operator, inputs, outputs or [name], name, **attributes)
        self.nodes.append(made)
        return name

    def shaped(self, name: str, x: str, *shape: int) -> str:
        """x as [batch, *shape]."""
        return self.node("Reshape", name, x, self.constant(f"{name}.shape", torch.tensor([0, *shape])))

    def gather(self, name: str, table: Tensor, index: str) -> str:
        return self.node("Gather", name, self.constant(f"{name}.table", table), index)

    def linear(self, name: str, x: str, weight: Tensor, bias: Tensor) -> str:
        constants = self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)
        return self.node("Gemm", name, x, *constants, transB=1)

    def conv(self, name: str, x: str, conv: nn.Conv2d) -> str:
        """A convolution of stride 1 that keeps the size."""
        constants = [self.constant(f"{name}.weight", conv.weight)]
        if conv.bias is not None:
            constants.append(self.constant(f"{name}.bias", conv.bias))
        pads = [conv.kernel_size[0] // 2] * 4
        return self.node("Conv", name, x, *constants, kernel_shape=conv.kernel_size, pads=pads, group=conv.groups)

    def convs(self, name: str, x: str, block: nn.Module, parts: Sequence[str]) -> str:
        """These convolutions of a block, one behind the other."""
        for part in parts:
            x = self.conv(f"{name}.{part}", x, getattr(block, part))
        return x

    def upsample_conv(self, name: str, x: str, conv: nn.Conv2d) -> str:
        """conv3x3(up(x)) as `ppcd.networks.resampling` merges it."""
        assert conv.bias is not None
        kernel = box_sum(double(conv.weight).flip(2, 3)).transpose(0, 1)
        constants = self.constant(f"{name}.weight", kernel), self.constant(f"{name}.bias", conv.bias)
        return self.node("ConvTranspose", name, x, *constants, kernel_shape=[4, 4], strides=[2, 2], pads=[1] * 4)

    def upsample(self, name: str, x: str, mode: str) -> str:
        """Twice the size; mode is "nearest" or "linear"."""
        scales = self.constant(f"{name}.scales", torch.tensor([1.0, 1.0, 2.0, 2.0]))
        return self.node("Resize", name, x, "", scales, mode=mode, **RESIZING[mode])

    def norm(self, name: str, x: str, norm: ClassConditionalBatchNorm, condition: str) -> str:
        """gain (x - mean) / std + bias = scale x + shift, both of the condition alone."""
        matrix, constant = conditional(norm, None, 1)
        factors: list[str] = []
        for part, weight, offset in zip(("scale", "shift"), matrix.chunk(2, 1), constant.chunk(2), strict=True):
            if isinstance(norm.gain, nn.Embedding):  # a row of the table for each class
                factors.append(self.gather(f"{name}.{part}", (weight + offset)[..., None, None], condition))
            else:
                found = self.linear(f"{name}.{part}.linear", condition, weight.t(), offset)
                factors.append(self.shaped(f"{name}.{part}", found, len(offset), 1, 1))
        scale, shift = factors
        return self.node("Add", name, self.node("Mul", f"{name}.scaled", x, scale), shift)

    def output_norm(self, name: str, x: str, norm: BatchNorm2d) -> str:
        parts = ("weight", "bias", "running_mean", "running_var")
        constants = [self.constant(f"{name}.{part}", getattr(norm, part)) for part in parts]
        return self.node("BatchNormalization", name, x, *constants, epsilon=norm.eps)

    def pool(self, name: str, x: str) -> str:
        """The maximum of 2x2."""
        return self.node("MaxPool", name, x, kernel_shape=[2, 2], strides=[2, 2])

    def relu(self, x: str) -> str:
        return self.node("Relu", f"{x}.relu", x)

    def block(self, name: str, x: str, block: nn.Module, condition: str) -> str:
        assert isinstance(block, GeneratorBlock | SeparableBlock)
        h = self.relu(self.norm(f"{name}.bn1", x, block.bn1, condition))
        if isinstance(block, SeparableBlock):
            mode, second = "linear", ["depthwise2", "pointwise2"]
            h = self.upsample(f"{name}.upsample", h, mode)
            h = self.convs(name, h, block, ["depthwise1", "pointwise1"])
        else:
            mode, second = "nearest", ["conv2"] if block.transition is None else ["conv2", "transition"]
            h = self.upsample_conv(f"{name}.conv1", h, block.conv1)
        h = self.relu(self.norm(f"{name}.bn2", h, block.bn2, condition))
        h = self.convs(name, h, block, second)
        skip = self.upsample(f"{name}.skip", self.conv(f"{name}.conv_sc", x, block.conv_sc), mode)
        return self.node("Add", name, h, skip)

    def attention(self, name: str, x: str, attention: SelfAttention, size: int) -> str:
        inner, half = attention.theta.out_channels, attention.g.out_channels
        theta = self.shaped(f"{name}.theta.flat", self.conv(f"{name}.theta", x, attention.theta), inner, size**2)
        phi = self.pool(f"{name}.phi.pool", self.conv(f"{name}.phi", x, attention.phi))
        phi = self.shaped(f"{name}.phi.flat", phi, inner, size**2 // 4)
        g = self.pool(f"{name}.g.pool", self.conv(f"{name}.g", x, attention.g))
        g = self.shaped(f"{name}.g.flat", g, half, size**2 // 4)
        theta = self.node("Transpose", f"{name}.theta.transposed", theta, perm=[0, 2, 1])
        beta = self.node("Softmax", f"{name}.beta", self.node("MatMul", f"{name}.scores", theta, phi), axis=-1)
        beta = self.node("Transpose", f"{name}.beta.transposed", beta, perm=[0, 2, 1])
        o = self.shaped(f"{name}.attended", self.node("MatMul", f"{name}.attended.flat", g, beta), half, size, size)
        gamma = self.constant(f"{name}.gamma", attention.gamma)
        o = self.node("Mul", f"{name}.scaled", self.conv(f"{name}.o", o, attention.o), gamma)
        return self.node("Add", name, x, o)


@torch.no_grad()
def _model(generator: Generator) -> Any:
    """The generator as an onnx.ModelProto."""
    if generator.config.masked:
        raise PpcdError("a generator with masks is not finished; export ppcd.slim(generator)")
    config = generator.config
    generator = slim(generator).cpu()  # a copy; not every device has the double precision of the folding
    graph = _Graph()
    first, conditions = _conditions(graph, generator)
    h = graph.linear("linear", first, generator.linear.weight, generator.linear.bias)
    h, size = graph.shaped("linear.pixels", h, -1, BASE, BASE), BASE
    for index, (block, condition) in enumerate(zip(generator.blocks, conditions, strict=True)):
        h, size = graph.block(f"blocks.{index}", h, block, condition), 2 * size
        if isinstance(generator.attention, SelfAttention) and index == generator.attention_after:
            h = graph.attention("attention", h, generator.attention, size)
    h = graph.relu(graph.output_norm("output_norm", h, generator.output_norm))
    graph.node("Tanh", "images", graph.conv("output_conv", h, generator.output_conv))

    helper, types = graph.onnx.helper, graph.onnx.TensorProto
    inputs = [
        helper.make_tensor_value_info("z", types.FLOAT, ["batch", generator.dim_z]),
        helper.make_tensor_value_info("y", types.INT64, ["batch"]),
    ]
    pixels = ["batch", 3, generator.resolution, generator.resolution]
    images = helper.make_tensor_value_info("images", types.FLOAT, pixels)
    whole = helper.make_graph(graph.nodes, "generator", inputs, [images], graph.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        whole, opset_imports=[opset], ir_version=IR_VERSION, producer_name="ppcd", producer_version=ppcd.__version__
    )
    about = {"format": FORMAT, "config": config.to_dict(), "version": ppcd.__version__}
    helper.set_model_props(model, {"ppcd": json.dumps(about, sort_keys=True)})
    return model


def _conditions(graph: _Graph, generator: Generator) -> tuple[str, list[str]]:
    """As `Generator.conditions`: the input of the first linear layer, and the condition of each block."""
    blocks = len(generator.blocks)
    if generator.shared is None:
        return "z", ["y"] * blocks
    embedded = graph.gather("shared", generator.shared.weight, "y")
    if not generator.hierarchical:
        return "z", [embedded] * blocks
    chunks = [f"z.{index}" for index in range(1 + blocks)]
    sizes = graph.constant("z.sizes", torch.tensor([generator.chunk] * len(chunks)))
    graph.node("Split", "z.chunks", "z", sizes, outputs=chunks, axis=1)
    names = [f"blocks.{index}.condition" for index in range(blocks)]
    return chunks[0], [
        graph.node("Concat", name, embedded, chunk, axis=1) for name, chunk in zip(names, chunks[1:], strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd.export.onnx", description=__doc__.splitlines()[0])
    parser.add_argument("generator", type=Path, metavar="GENERATOR.safetensors", help="a generator of a run")
    parser.add_argument("onnx", type=Path, metavar="OUT.onnx", help="what to write")
    parser.add_argument("--check", action="store_true", help="run it with onnxruntime and compare the images")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options.generator, options.onnx, options.check), "the same command starts anew")


def _command(source: Path, target: Path, check: bool) -> None:
    generator = load_generator(source)
    export_onnx(generator, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    if check:
        largest = check_onnx(generator, target)
        print(f"largest difference from torch in onnxruntime {largest:.1e}, at batch {', '.join(map(str, BATCHES))}")


if __name__ == "__main__":
    sys.exit(main())
