"""`make bench`: measure speed side by side and write `results/bench.json`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from paper.bench.results import PARTS, check_parts, default_path, measure
from ppcd.errors import ArgumentParser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper.bench", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help="to measure, separated by commas; others stay")
    parser.add_argument("--rounds", type=int, help="of every group; default: as many as fit into its time")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, three rounds: the numbers say nothing")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--out", type=Path, help="where it is written; default: results/bench.json")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the parts that were measured are kept")


def _command(options: argparse.Namespace) -> None:
    names = [name.strip() for name in options.parts.split(",")]
    check_parts(names)
    measure(
        names, options.quick, options.rounds, not options.no_compile, options.out,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(options.out or default_path())


if __name__ == "__main__":
    sys.exit(main())
