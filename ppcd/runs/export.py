"""A generator as an ONNX file: `python -m ppcd export mnist/ppcd out.onnx --check`."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ppcd.base import PpcdError
from ppcd.errors import ArgumentParser, run_command
from ppcd.export.onnx import BATCHES, OPSET, check_onnx, export_onnx
from ppcd.method.restore import load_slim
from ppcd.networks.io import load_generator
from ppcd.runs.named import find_generator


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd export", description=__doc__.splitlines()[0])
    parser.add_argument("generator", help="a .safetensors file, a run's directory or id, or profile/recipe")
    parser.add_argument("onnx", type=Path, metavar="OUT.onnx", help="what to write")
    parser.add_argument("--check", action="store_true", help="run it with onnxruntime and compare the images")
    parser.add_argument(
        "--network",
        metavar="MODULE:FUNCTION",
        help="for the slim weights of a network of your own: what builds it, without arguments. It returns the network "
        "at its full size, or (network, (z, y)) where attributes such as dim_z do not tell its inputs. Its code is run",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the same command starts again")


def _command(options: argparse.Namespace) -> None:
    path, target, inputs = find_generator(options.generator).path, options.onnx, None
    generator: nn.Module
    if options.network is None:
        generator = load_generator(path)
    else:
        generator, inputs = _build(options.network)
        try:
            generator = load_slim(generator, load_file(path))
        except (SafetensorError, OSError) as error:
            raise PpcdError(f"{path} is not a readable safetensors file ({error})") from None
    export_onnx(generator, target, inputs)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    if options.check:
        largest = check_onnx(generator, target, inputs=inputs)
        print(f"largest difference from torch in onnxruntime {largest:.1e}, at batch {', '.join(map(str, BATCHES))}")


def _build(name: str) -> tuple[nn.Module, Sequence[Any] | None]:
    """The network that somebody's function builds, and its inputs."""
    module, _, function = name.partition(":")
    if not function:
        raise PpcdError(f"--network takes MODULE:FUNCTION, for example my_gan:build; got {name}")
    try:
        built = getattr(import_module(module), function)()
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise PpcdError(f"--network {name} cannot be built: {line}") from None
    network, inputs = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    if not isinstance(network, nn.Module):
        raise PpcdError(f"--network {name} gave a {type(network).__name__}, where a torch.nn.Module is expected")
    return network, inputs
