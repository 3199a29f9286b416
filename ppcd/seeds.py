"""Seeds, as the command lines and the Makefile take them."""

import re
from collections.abc import Sequence

from ppcd.base import PpcdError

MOST = 100  # a larger number is hardly meant as how many
MOST_SEED = 2**32 - 1  # what numpy, and so torch-fidelity, takes


def parse_seeds(text: str) -> list[int]:
    """How many seeds, or which: "3" is 0, 1, 2; "0 1 2" and "0,1,2" are those; "7," is 7 alone, "0" is 0."""
    parts = [part for part in re.split(r"[,\s]+", text.strip()) if part]
    if not parts or not all(re.fullmatch("[0-9]+", part) for part in parts) or len(set(parts)) != len(parts):
        raise PpcdError(
            f'seeds must be different whole numbers, as in SEEDS="0 1 2", or how many, as in SEEDS=3; got {text!r}'
        )
    numbers = [int(part) for part in parts]
    if not re.fullmatch("[0-9]+", text.strip()) or numbers == [0]:
        return numbers
    if numbers[0] > MOST:
        raise PpcdError(
            f'SEEDS={numbers[0]} asks for that many seeds, more than {MOST}; one seed by its number is "{numbers[0]},"'
        )
    return list(range(numbers[0]))


def write_seeds(seeds: Sequence[int]) -> str:
    """The inverse of `parse_seeds`: "0", "7,", "0 1 2"."""
    return f"{seeds[0]}," if len(seeds) == 1 and seeds[0] else " ".join(map(str, seeds))
