"""JupyterLab without a window, as `make lab` starts it, with a copy of the notebooks."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, TimeoutError, expect

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
PATIENCE = 300  # seconds for all cells of a notebook
IMAGES = ".jp-OutputArea-output img"
# What the notebook in front holds: the cells that have run, and whether the kernel works on others.
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget
  const cells = panel.content.widgets.filter(each => each.model.type === "code").map(each => each.model)
  const outputs = cells.map(each => each.outputs.toJSON())
  const failed = outputs.flat().some(each => each.output_type === "error")
  const idle = panel.sessionContext.session?.kernel?.status === "idle"
  return {outputs, run: cells.filter(each => each.executionCount).length, idle, failed}
}"""
ENDED = f"() => {{ const now = ({STATE})(); return now.idle && (now.failed || now.run === now.outputs.length) }}"


class Failed(Exception):
    """Which cell of a notebook failed, and the last line of its error."""


@dataclass
class Notebook:
    """A notebook that is open in a page."""

    page: Page
    name: str

    def run_all(self) -> list[list[dict[str, Any]]]:
        """Restart the kernel by the menu, run all cells, and wait: the outputs of each code cell.

        Raises:
            Failed: a cell has an error, or does not end.
        """
        self.restart()
        try:
            self.page.wait_for_function(ENDED, timeout=1000 * PATIENCE)
        except TimeoutError:
            run = self.page.evaluate(STATE)["run"]
            raise Failed(f"{self.name}: cell [{run + 1}] has not ended after {PATIENCE} seconds") from None
        outputs = self.page.evaluate(STATE)["outputs"]
        for number, each in enumerate(outputs, 1):
            if error := next((output for output in each if output["output_type"] == "error"), None):
                last = error["evalue"].strip().splitlines()[-1:]
                raise Failed(f"{self.name}: cell [{number}]: {error['ename']}: {''.join(last)}")
            if told := "".join(output["text"] for output in each if output.get("name") == "stderr"):
                raise Failed(f"{self.name}: cell [{number}] writes to standard error: {told.splitlines()[-1]}")
        return outputs

    def restart(self) -> None:
        """Choose "Restart Kernel and Run All Cells" and confirm it."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()

    def images(self) -> Locator:
        return self.page.locator(IMAGES)

    def sources(self) -> list[str]:
        """The pictures themselves, as the page has them."""
        found: list[str] = self.images().evaluate_all("all => all.map(each => each.src)")
        return found

    def wait_for_image(self, index: int = 0) -> None:
        """Until a picture is loaded."""
        loaded = "([images, index]) => document.querySelectorAll(images)[index]?.naturalWidth > 0"
        self.page.wait_for_function(loaded, arg=[IMAGES, index], timeout=1000 * PATIENCE)


@contextmanager
def opened(page: Page, lab: str, name: str) -> Iterator[Notebook]:
    """A notebook with its kernel; that is ended afterwards."""
    address, token = lab.split("?")
    page.goto(f"{address}/lab/workspaces/{name}/tree/{name}.ipynb?{token}")
    expect(page.locator(".jp-NotebookPanel .jp-Cell").first).to_be_visible(timeout=60_000)
    kernel = "window.jupyterapp.shell.currentWidget?.sessionContext?"
    page.wait_for_function(f"{kernel}.session?.kernel?.status === 'idle'", timeout=60_000)
    try:
        yield Notebook(page, name)
    finally:
        page.evaluate(f"{kernel}.shutdown()")


@contextmanager
def jupyterlab(folder: Path, **environment: str) -> Iterator[str]:
    """A server whose kernels have these variables: its address with the token.

    Args:
        folder: for the copied notebooks, and all else that the server keeps.
    """
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PPCD_")}
    kept |= {name: str(folder / name) for name in (*places, "IPYTHONDIR")}
    token = secrets.token_hex()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    options += [f"--ServerApp.root_dir={folder / 'notebooks'}", "--no-browser", "--expose-app-in-browser"]
    command = [sys.executable, "-m", "jupyterlab", *options, *(["--allow-root"] if os.geteuid() == 0 else [])]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=kept | environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        while server.poll() is None and not _answers(port):
            time.sleep(0.1)
        assert server.poll() is None, (folder / "lab.log").read_text()
        yield f"http://127.0.0.1:{port}?token={token}"
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
