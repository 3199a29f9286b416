"""The claims of the paper: its sentences, what each means of runs, and whether it holds of ours."""

from paper.claims.checking import (
    CLAIMS,
    RECIPES_OF_CLAIMS,
    STATUSES,
    Outcome,
    PartOutcome,
    Status,
    check_claims,
    combine,
    decide,
    judge,
    number,
    spread_over,
    write_claims,
)

__all__ = [
    "CLAIMS",
    "RECIPES_OF_CLAIMS",
    "STATUSES",
    "Outcome",
    "PartOutcome",
    "Status",
    "check_claims",
    "combine",
    "decide",
    "judge",
    "number",
    "spread_over",
    "write_claims",
]
