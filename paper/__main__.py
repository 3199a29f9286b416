"""The command line: `python -m paper reproduce --profile mnist`."""

import sys

from ppcd.commands import dispatch

COMMANDS = {
    "reproduce": ("paper.reproduce", "every run of a profile, then every table, figure and notebook, and the report"),
    "verify": ("paper.verify.verifying", "every table, figure and number that is kept, against the runs that it names"),
    "claims": ("paper.artifacts.claims_table", "each claim of the paper, checked against the runs that are there"),
    "why": ("paper.why", "the runs that a number comes from, and what makes them again"),
    "scale": ("paper.artifacts.paper_scale", "sizes, run times and cost of training at the paper's own size"),
    "bench": ("paper.bench.results", "speed, measured in turns"),
    "generations": ("paper.generations", ""),
    "timing": ("paper.timing", ""),
}

if __name__ == "__main__":
    sys.exit(dispatch("paper", COMMANDS, sys.argv[1:]))
