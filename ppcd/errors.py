"""Command lines: their arguments, and how their errors and interrupts are shown."""

import argparse
import difflib
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import NoReturn

from ppcd.base import PpcdError
from ppcd.stopping import Stopped, stoppable, take_over


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, which says in one line what was wrong with the arguments, and not its whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ppcd: {message} (see {self.prog} --help)\n")


def run_command(command: Callable[[], None], stopped: str) -> int:
    """Run a command line's work; its exit status: 0, 2 after a mistake of use, 130 after Ctrl-C, 143 after SIGTERM,
    141 where whoever read its output (`head`) has gone.

    Args:
        command: the work.
        stopped: what to say after an interrupt, behind what was stopped: how to go on.
    """
    with stoppable():
        try:
            command()
            sys.stdout.flush()  # here, where it can still be said that nobody reads it
        except PpcdError as error:
            print(f"ppcd: {error}", file=sys.stderr)
            return 2
        except BrokenPipeError:
            print(f"ppcd: stopped, because nothing reads the output any more; {stopped}", file=sys.stderr)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter flushes it, and fails
            return 128 + signal.SIGPIPE
        except KeyboardInterrupt as stop:
            print(f"ppcd: {str(stop) or 'stopped'}; {stopped}", file=sys.stderr)
            gc.freeze()  # else the interpreter collects garbage for seconds before it ends
            return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    return 0


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
    return int(import_module(commands[name][0]).main(rest))
