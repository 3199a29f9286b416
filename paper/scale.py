"""The paper's own scale, measured and drawn: `make paper-scale`."""

import argparse
from collections.abc import Sequence

from paper.artifacts.paper_scale_figures import write_all
from paper.paper_scale import PARTS, measure_part, write_part
from ppcd.errors import ArgumentParser, run_command
from ppcd.runs.train import resolve_device
from ppcd.training.profiles import get_profile


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="imagenet128")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: the CPU, and the GPU if there is one")
    parser.add_argument("--seed", type=int, default=0, help="of weights, noise and labels")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the parts that were measured are kept")


def _command(options: argparse.Namespace) -> None:
    profile, found = get_profile(options.profile).name, resolve_device(options.device)
    devices = dict.fromkeys(("cpu", found)) if options.device == "auto" else (found,)
    for name in options.only:
        for device in ("cpu",) if name == "complexity" else devices:
            write_part(profile, name, measure_part(profile, name, device, options.seed))
    for path in write_all(profile, options.seed):
        print(path)
