"""Which command of a package is asked for; imports nothing that takes time before Ctrl-C is heard."""

import difflib
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from ppcd.stopping import take_over


def dispatch(package: str, commands: Mapping[str, tuple[str, str]], arguments: Sequence[str]) -> int:
    """The command line of a package: `python -m PACKAGE COMMAND ...`; the exit status.

    Args:
        package: its name.
        commands: of each command, the module whose `main(arguments)` it is, and what it does; commands that do
            not say what they do are started by others and are not listed.
        arguments: as given, the command first.
    """
    take_over()
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, commands)) + 2
        lines = [f"  {command:<{width}}{text}" for command, (_, text) in commands.items() if text]
        print("\n".join([f"usage: python -m {package} COMMAND [--help] ...", "", *lines]))
        return 0
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(commands)}"
        print(f"ppcd: unknown command {name!r}; {hint}", file=sys.stderr)
        return 2
    from ppcd.base import MissingPackage, needs

    try:
        with needs("artifact"):  # of `paper`; modules of `ppcd` say themselves which extra they need
            command = import_module(commands[name][0]).main
    except MissingPackage as missing:
        print(f"ppcd: {missing}", file=sys.stderr)
        return 2
    return int(command(rest))
