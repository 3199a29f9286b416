"""The claims of the paper: its sentences, what each means of runs, and whether it holds of ours."""

from paper.claims.checking import RECIPES_OF_CLAIMS, check_claims
from paper.claims.predicates import CLAIMS

__all__ = ["CLAIMS", "RECIPES_OF_CLAIMS", "check_claims"]
