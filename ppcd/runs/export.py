"""A generator as an ONNX file: `python -m ppcd export mnist/ppcd out.onnx --check`."""

from collections.abc import Sequence
from pathlib import Path

from ppcd.errors import ArgumentParser, run_command
from ppcd.export.onnx import BATCHES, OPSET, check_onnx, export_onnx
from ppcd.networks.io import load_generator
from ppcd.runs.named import find_generator


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd export", description=__doc__.splitlines()[0])
    parser.add_argument("generator", help="a .safetensors file, a run's directory or id, or profile/recipe")
    parser.add_argument("onnx", type=Path, metavar="OUT.onnx", help="what to write")
    parser.add_argument("--check", action="store_true", help="run it with onnxruntime and compare the images")
    options = parser.parse_args(arguments)
    return run_command(
        lambda: _command(options.generator, options.onnx, options.check), "the same command starts again"
    )


def _command(name: str, target: Path, check: bool) -> None:
    generator = load_generator(find_generator(name).path)
    export_onnx(generator, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, opset {OPSET}")
    if check:
        largest = check_onnx(generator, target)
        print(f"largest difference from torch in onnxruntime {largest:.1e}, at batch {', '.join(map(str, BATCHES))}")
