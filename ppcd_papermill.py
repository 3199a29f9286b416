"""papermill for this project's notebooks: one that fails ends in one line, and leaves the last good output alone.

By itself papermill prints its own stack trace above what the notebook says, and writes a failed notebook over a good
one; and of several that start at once, one may find its kernel's TCP port taken by another. It finds this module by
the entry point in pyproject.toml, and runs notebooks of other projects as ever.

The module is not part of the package: to import `ppcd` takes seconds, which every papermill would wait for.
It is imported by papermill; whoever else needs it imports papermill first.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click import ClickException, echo  # of papermill's command line
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

START = "notebook.start("  # what every notebook of this project calls, and no other
PATIENCE = 1.0  # seconds for a kernel to end by itself, and the same again after SIGTERM
LONGEST_SOCKET = 100  # bytes of a socket's path, without the number after it; the least of systems is 104 (macOS)


class NotebookStopped(PapermillExecutionError, ClickException):
    """A cell failed: for Python papermill's own error; on the command line one line and exit status 2."""

    exit_code = 2

    def __init__(self, error: PapermillExecutionError, line: str) -> None:
        Exception.__init__(self, *error.args)
        for name, value in vars(error).items():
            setattr(self, name, value)
        self.line = line

    def show(self, file: Any = None) -> None:
        """What click calls."""
        echo(f"ppcd: {self.line}", file=file, err=True)


class OneLineEngine(NBClientEngine):
    """papermill's engine. What it has executed so far is in `<name>.failed.ipynb`, until all went well."""

    @classmethod
    def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None, **options: Any) -> Any:
        """Execute a notebook; papermill writes the output afterwards.

        Args:
            nb: the notebook, with its parameters.
            kernel_name: of its kernel.
            output_path: where papermill saves it after every cell; None: nowhere until the end.
            options: of papermill's own engine.

        Raises:
            NotebookStopped: a cell failed, or the kernel ended.
        """
        if not any(START in cell.source for cell in nb.cells):
            return super().execute_notebook(nb, kernel_name, output_path, **options)
        from papermill.execute import raise_for_execution_errors  # which imports the engines

        target = nb.metadata.papermill["output_path"]
        kept = _failed(target)
        saved = output_path if kept is None else kept
        try:
            try:
                with local_transport(shutdown_wait_time=PATIENCE) as config:
                    options = {"config": config, "coalesce_streams": True} | options  # of a bar its last state
                    executed = super().execute_notebook(nb, kernel_name, output_path and saved, **options)
            except DeadKernelError as error:
                raise PapermillExecutionError(None, None, "", type(error).__name__, str(error), []) from None
            raise_for_execution_errors(executed, saved or target)
        except PapermillExecutionError as error:
            name = Path(nb.metadata.papermill["input_path"]).name
            raise NotebookStopped(error, f"{one_line(error)} ({name} stopped; see {saved or target})") from None
        if kept is not None:
            Path(kept).unlink(missing_ok=True)
        return executed


@contextmanager
def local_transport(**kernel_manager: Any) -> Iterator[Config]:
    """A kernel talks over sockets of this user, in a folder of its own, where there are such (nbclient's config).

    Not over TCP: others can listen to that, and its ports are chosen before they are taken, so that two notebooks
    that start together may choose the same. Nor over jupyter_client's own names of sockets, `kernel-ipc-1` to `-5` in
    the working directory: they are chosen in the same way.

    Args:
        kernel_manager: what else to set of jupyter_client's KernelManager.
    """
    with TemporaryDirectory(prefix="ppcd-", ignore_cleanup_errors=True) as folder:
        sockets = os.path.join(folder, "kernel")
        local = os.name == "posix" and len(os.fsencode(sockets)) <= LONGEST_SOCKET
        transport = {"transport": "ipc", "ip": sockets} if local else {}
        yield Config({"KernelManager": {**transport, **kernel_manager}})


def one_line(error: Exception) -> str:
    """What went wrong in a notebook: our own errors as they are, others with their names."""
    name, text = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", str(error))
    first = (text.strip().splitlines() or [""])[0]
    return first if name == "PpcdError" else f"{name}: {first}"


def _failed(output: str | None) -> str | None:
    """Where a failed notebook goes; None where the output is not a notebook on a disk."""
    if not output or "://" in output or not output.endswith(".ipynb"):
        return None
    return str(Path(output).with_suffix(".failed.ipynb"))


papermill_engines.register(None, OneLineEngine)  # the engine of those who ask for none
