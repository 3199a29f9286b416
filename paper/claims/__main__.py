"""`make claims`: every claim of the paper against the runs that are there.

python -m paper claims --profile mnist --seeds "0 1 2"
"""

import argparse
from collections.abc import Sequence

from paper.artifacts.claims_table import text, write
from paper.artifacts.sources import Study
from paper.claims import check_claims
from ppcd.errors import ArgumentParser, run_command
from ppcd.seeds import parse_seeds
from ppcd.training.config import asked_profile
from ppcd.training.profiles import PROFILES


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 whatever the claims came to, 2 with one line on standard error for a mistake of use."""
    parser = ArgumentParser(prog="python -m paper claims", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="mnist", help=", ".join(PROFILES))
    parser.add_argument("--seeds", default="0", help='how many ("3"), or which ("0 1 2", "7,")')
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    study = Study(asked_profile(options.profile).name, tuple(parse_seeds(options.seeds)))
    outcomes = check_claims(study.profile, study.seeds)
    written = write(outcomes, study)
    print(text(outcomes, study))
    print("\nwritten: " + ", ".join(map(str, written)))
