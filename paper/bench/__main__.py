"""`make bench`: measure speed side by side and write `results/bench.json`."""

import argparse
import sys
from collections.abc import Sequence

from paper.bench.results import PARTS, measure
from ppcd.errors import ArgumentParser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper bench", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="to measure, separated by commas; others stay")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, a try: into .cache/bench-quick.json")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the parts that were measured are kept")


def _command(options: argparse.Namespace) -> None:
    names = [name.strip() for name in options.parts.split(",")]
    print(measure(names, options.quick, say=lambda line: print(line, file=sys.stderr, flush=True)))
