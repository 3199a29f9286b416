"""JupyterLab without a window, as `make lab` starts it, with copied notebooks; and a notebook that is open in it."""

import os
import re
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

import nbformat
import pytest
from playwright.sync_api import Locator, Page, TimeoutError, expect

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
FILES = {path.stem: path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))}
PATIENCE = 900  # seconds for all cells of a notebook; none needs two minutes on a machine that does nothing else
expect.set_options(timeout=60_000)  # milliseconds, for what a machine at full load shows later
IMAGES = ".jp-OutputArea-output img"
BAR = ".jp-OutputArea-output .jupyter-widgets .progress-bar"
# What the notebook in front holds, how many cells have run, and whether the kernel has more to do.
STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget
  const cells = panel.content.widgets.filter(each => each.model.type === "code").map(each => each.model)
  const outputs = cells.map(each => each.outputs.toJSON())
  const failed = outputs.flat().some(each => each.output_type === "error")
  const idle = panel.sessionContext.session?.kernel?.status === "idle"
  return {outputs, run: cells.filter(each => each.executionCount).length, idle, failed}
}"""
ENDED = f"() => {{ const now = ({STATE})(); return now.idle && (now.failed || now.run === now.outputs.length) }}"


def trains(name: str) -> bool:
    """Whether a notebook trains what is missing, unless it is told not to."""
    code = "\n".join(cell.source for cell in nbformat.read(FILES[name], as_version=4).cells if cell.cell_type == "code")
    return re.search(r"^(train_missing = True|from tqdm)", code, re.MULTILINE) is not None


@dataclass
class Notebook:
    """A notebook that is open in a page."""

    page: Page
    name: str

    def restart(self) -> None:
        """Choose "Restart Kernel and Run All Cells" and confirm it."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Restart Kernel and Run All Cells…").click()
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()

    def run_all(self, folder: Path) -> None:
        """Restart, run all cells, and see that none fails, and that pictures and progress are on the page.

        Args:
            folder: for a picture of the page where a cell fails.
        """
        self.restart()
        problem, shown = self._problem(), 0
        if problem:
            self.page.screenshot(path=folder / "page.png")
            pytest.fail(f"{self.name}, {problem} (see {folder / 'page.png'})", pytrace=False)
        for cell in self.page.evaluate(STATE)["outputs"]:
            shown += sum("image/png" in output.get("data", {}) for output in cell)
        assert shown, "there is no figure"
        for index in range(shown):
            self.wait_for_image(index)
        assert self.images().count() == shown
        if trains(self.name):
            self.page.locator(BAR).first.wait_for()
            said = self.page.locator(".jp-OutputArea-output pre").all_inner_texts()
            assert not re.search(r"\d%\|", "".join(said)), "a bar is text"

    def _problem(self) -> str:
        """Which cell fails, and the last line of what it says, after all have run."""
        try:
            self.page.wait_for_function(ENDED, timeout=1000 * PATIENCE)
        except TimeoutError:
            return f"cell [{self.page.evaluate(STATE)['run'] + 1}]: has not ended after {PATIENCE} seconds"
        for number, cell in enumerate(self.page.evaluate(STATE)["outputs"], 1):
            for output in cell:
                if output["output_type"] == "error":
                    return f"cell [{number}]: {output['ename']}: {output['evalue'].strip().splitlines()[-1]}"
                if output.get("name") == "stderr":
                    return f"cell [{number}] writes to standard error: {output['text'].strip().splitlines()[-1]}"
        return ""

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
    expect(page.locator(".jp-NotebookPanel .jp-Cell").first).to_be_visible()
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
