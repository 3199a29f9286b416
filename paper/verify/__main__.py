"""`make verify`: every committed table, figure and number against the run directories that it names.

python -m paper verify --profile mnist
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from paper.bench import results as bench
from paper.verify.compare import Finding
from paper.verify.verifying import BENCH, check_pages, verify
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import run_command
from ppcd.training.config import asked_profile
from ppcd.training.profiles import PROFILES

ALL = "all"
NOT_COMMITTED = "smoke"  # says nothing about quality


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 where everything is as the runs say, else 2, with every difference in a line of its own."""
    parser = argparse.ArgumentParser(prog="python -m paper verify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default=ALL, help=f"{', '.join(PROFILES)}, {BENCH}, or {ALL} that have results")
    parser.add_argument("--scores", action="store_true", help="measure every score again, which takes long")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options.profile, options.scores), "nothing was written")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _command(asked: str, scores: bool) -> None:
    torch.set_num_threads(1)  # as the runs were trained and measured
    there = [name for name in PROFILES if paths.results(name).is_dir() and name != NOT_COMMITTED]
    profiles = [*there, *([BENCH] if bench.place().is_file() else [])] if asked == ALL else [asked]
    if asked not in (ALL, BENCH):
        asked_profile(asked)
    if not profiles:
        raise PpcdError("there are no results to verify; make reproduce makes them")
    wrong = sum(_show(name, verify(name, _say, scores)) for name in profiles)
    root = paths.repository()
    if paths.results("") == root / "results":  # the pages show these and no others
        wrong += _show("README.md and docs", list(check_pages(root)))
    if wrong:
        raise PpcdError(
            f"{wrong} findings; restore what was changed, or make report PROFILE=... SEEDS=... to build it again from "
            "the runs"
        )


def _show(name: str, findings: Sequence[Finding]) -> int:
    """Print a line for each finding and one for all; how many there are."""
    for finding in findings:
        print(finding)
    verdict = f"{len(findings)} not as the runs say" if findings else "everything as the runs say"
    print(f"{name}: {verdict}", flush=True)
    return len(findings)
