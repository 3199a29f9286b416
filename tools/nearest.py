"""Prints which of the known names is meant by a misspelt one; nothing where none is near. Called by the Makefile.

Usage: nearest.py NAME KNOWN...
"""

import difflib
import sys


def nearest(name: str, known: list[str]) -> str:
    """Compared without `PPCD_`, which the names of the environment have in common; of two the first one counts."""
    by_name = {each.removeprefix("PPCD_"): each for each in reversed(known)}
    return "".join(by_name[each] for each in difflib.get_close_matches(name.removeprefix("PPCD_"), by_name, 1))


if __name__ == "__main__":
    print(nearest(sys.argv[1], sys.argv[2:]))
