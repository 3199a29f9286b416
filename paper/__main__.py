"""The command line: `python -m paper reproduce --profile mnist`."""

import sys

from ppcd.commands import OF_RUNS, dispatch

COMMANDS = {
    "reproduce": (
        "paper.reproduce",
        "every run of a profile, then every table, figure and notebook, and the report",
        OF_RUNS,
    ),
    "verify": (
        "paper.verify.verifying",
        "every table, figure and number that is kept, against the runs that it names",
        OF_RUNS,
    ),
    "claims": (
        "paper.artifacts.claims_table",
        "each claim of the paper, checked against the runs that are there",
        OF_RUNS,
    ),
    "compare": ("paper.compare", "your runs next to the reference, the runs of the repository", OF_RUNS),
    "why": ("paper.why", "the runs that a number comes from, and what makes them again", OF_RUNS),
    "scale": ("paper.artifacts.paper_scale", "sizes, run times and cost of training at the paper's own size", ()),
    "demo": ("paper.demo", "one page that runs teacher and students in the browser", OF_RUNS),
    "bench": ("paper.bench.results", "speed, measured in turns", ()),
    "timing": ("paper.timing", "", OF_RUNS),
}

if __name__ == "__main__":
    sys.exit(dispatch("paper", COMMANDS, sys.argv[1:]))
