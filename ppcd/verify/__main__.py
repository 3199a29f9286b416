"""`make verify`: every committed table, figure and number against the run directories that it names.

python -m paper.verify --profile mnist
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from paper.verify import Report, adopt, speed, verify
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import run_command
from ppcd.training.profiles import PROFILES

ALL = "all"
NOT_KEPT = "smoke"  # says nothing about quality, and no repository keeps it


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 where everything is as the runs say, else 2, with every difference in a line of its own."""
    parser = argparse.ArgumentParser(prog="python -m paper.verify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--profile", default=ALL, help=f"{', '.join(PROFILES)}, {speed.NAME}, or {ALL} that have results"
    )
    parser.add_argument(
        "--adopt", action="store_true", help="take files that are in no SHA256SUMS into it first, as they are"
    )
    parser.add_argument("--scores", action="store_true", help="measure every score again, which takes long")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _command(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # as the runs were trained and measured
    there = [name for name in PROFILES if paths.results(name).is_dir() and name != NOT_KEPT]
    there += [speed.NAME] * speed.is_there()
    profiles = there if options.profile == ALL else [options.profile]
    if not profiles:
        raise PpcdError("there are no results to verify; make reproduce makes them")
    wrong = 0
    for profile in profiles:
        report = _report_of(profile, options)
        for finding in report.findings:
            print(finding)
        for note in report.notes:
            print(f"note: {note}")
        what = f"{len(report.findings)} not as the runs say" if report.findings else "everything as the runs say"
        print(f"{profile}: {', '.join(report.checked)}: {what}", flush=True)
        wrong += len(report.findings)
    if wrong:
        raise PpcdError(
            f"{wrong} of what is kept {'is' if wrong == 1 else 'are'} not as the runs say; restore what was changed, "
            "or make report PROFILE=... SEEDS=... to build it anew from the runs"
        )


def _report_of(name: str, options: argparse.Namespace) -> Report:
    """What is found of a profile, or of the bench."""
    if name == speed.NAME:
        if options.adopt:
            speed.adopt_speed()
        return speed.verify_speed(_say)
    if options.adopt:
        adopt(name)
    return verify(name, _say, options.scores)


if __name__ == "__main__":
    sys.exit(main())
