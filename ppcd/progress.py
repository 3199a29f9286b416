"""What is going on, for people: progress and other information. Only warnings, on which a user should act, are logged.

It goes to standard error, since standard output has the result of a command; but to standard output in notebooks,
which show standard error in red. Progress is tqdm's bar, as a widget where somebody has the notebook open; else its
text, overwritten where it can be, or now and then.
"""

import io
import sys
import time
from importlib.util import find_spec
from typing import TextIO

from tqdm import tqdm

FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


def stream() -> TextIO:
    """Where information goes."""
    return sys.stdout if _in_notebook() else sys.stderr


def say(line: str) -> None:
    """Print a line of information, above the bar if there is one."""
    tqdm.write(line, file=stream())


def _in_notebook() -> bool:
    return "ipykernel.zmqshell" in sys.modules


def _bar() -> type[tqdm]:
    """tqdm's widget in JupyterLab and the like; its text under papermill, whose HTML would lack the widget.

    Who executes a notebook without showing it (nbclient) cannot be asked for input, and says so in each request.
    """
    shell = sys.modules["IPython"].get_ipython() if _in_notebook() and "IPython" in sys.modules else None
    request = shell.kernel.get_parent() if shell else {}
    if not request.get("content", {}).get("allow_stdin") or find_spec("ipywidgets") is None:
        return tqdm
    from tqdm.notebook import tqdm as widget

    return widget


class Progress:
    """A bar in a terminal or a notebook, every second; in a log file a line every 30 seconds.

    The time left is estimated without what was done before.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.live = _in_notebook() or sys.stderr.isatty()
        file = stream() if self.live else io.StringIO()
        self.bar = _bar()(total=total, initial=done, bar_format=FORMAT, dynamic_ncols=self.live, file=file)
        self.shown = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.shown >= (1 if self.live else 30)

    def show(self, done: int, description: str, details: str) -> None:
        """Show how much is done, with text before and after the bar."""
        self.shown = time.monotonic()
        self.bar.n = done
        self.bar.set_description_str(description, refresh=False)
        self.bar.set_postfix_str(details)
        if not self.live:
            print(self.bar, file=stream(), flush=True)

    def close(self) -> None:
        self.bar.close()
