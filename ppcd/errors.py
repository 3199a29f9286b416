"""Command lines: their arguments, and how their errors and interrupts are shown."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from ppcd.base import PpcdError
from ppcd.stopping import Stopped, stoppable


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, which says in one line what was wrong with the arguments, and not its whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ppcd: {message} (see {self.prog} --help)\n")


def run_command(command: Callable[[], None], stopped: str) -> int:
    """Run a command line's work; its exit status: 0, 2 after a mistake of use, 130 after Ctrl-C, 143 after SIGTERM,
    141 where whoever read its output (`head`) has gone.

    Args:
        stopped: how to go on after an interrupt.
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
