"""Which command of a package is asked for, and which PPCD_* of the environment it uses.

Imports nothing that takes time before Ctrl-C is heard.
"""

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from ppcd.stopping import take_over

PREFIX = "PPCD_"
PLACES = ("CACHE", "FIGURES", "RESULTS")  # where things are kept: for every command
OF_RUNS = ("DATA", "PRECISION", "TEACHER")
OF_NOTEBOOKS = (*OF_RUNS, "PROFILE")


def run_options() -> dict[str, Any]:
    """What the environment asks of all runs alike, as arguments of `ppcd.training.config.run_config`.

    PPCD_DATA is none of them: it says where images are, as PLACES say of other things.
    """
    return {"precision": os.environ.get("PPCD_PRECISION") or "no", "teacher": os.environ.get("PPCD_TEACHER") or None}


def useless_variable(used: Sequence[str], by: str) -> str | None:
    """A line about the first PPCD_* of the environment that is unknown or has no effect; None where there is none.

    Args:
        used: the names that have an effect, without PPCD_, besides PLACES.
        by: whom they have none on.
    """
    known = (*PLACES, *OF_NOTEBOOKS)
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if name == variable or not os.environ[variable] or name in (*PLACES, *used):
            continue
        if name in known:
            return f"{variable} in the environment has no effect on {by}; unset it"
        near = difflib.get_close_matches(name, known, 1)
        there = ", ".join(PREFIX + each for each in known)
        hint = f"did you mean {PREFIX}{near[0]}?" if near else f"there are {there}"
        return f"unknown variable {variable} in the environment; {hint}"
    return None


def dispatch(package: str, commands: Mapping[str, tuple[str, str, Sequence[str]]], arguments: Sequence[str]) -> int:
    """The command line of a package: `python -m PACKAGE COMMAND ...`; the exit status.

    Args:
        commands: of each command, the module whose `main(arguments)` it is, what it does, and which of OF_RUNS it
            uses; commands that do not say what they do are started by others and are not listed.
    """
    started_by_us = take_over()  # by a command or a notebook whose environment was looked at
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, commands)) + 2
        lines = [f"  {command:<{width}}{text}" for command, (_, text, _) in commands.items() if text]
        print("\n".join([f"usage: python -m {package} COMMAND [--help] ...", "", *lines]))
        return 0
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(commands)}"
        print(f"ppcd: unknown command {name!r}; {hint}", file=sys.stderr)
        return 2
    module, _, used = commands[name]
    if not started_by_us and (line := useless_variable(used, f"python -m {package} {name}")):
        print(f"ppcd: {line}", file=sys.stderr)
        return 2
    from ppcd.base import MissingPackage, needs

    try:
        with needs("artifact"):  # of `paper`; modules of `ppcd` say themselves which extra they need
            command = import_module(module).main
    except MissingPackage as missing:
        print(f"ppcd: {missing}", file=sys.stderr)
        return 2
    return int(command(rest))
