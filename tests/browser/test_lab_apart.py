"""The notebooks that need no runs of the profile, in JupyterLab; and how soon the playground draws.

They are a file of their own, so that they run while the others train.
"""

import os
import time
from pathlib import Path

import nbformat
import pytest
from lab import ENDED, jupyterlab, opened
from playwright.sync_api import Page, expect

from ppcd.base import cores

APART = ("08_paper_scale", "10_your_own_data", "11_your_own_gan", "12_when_distillation_helps", "13_speed")
FIRST_IMAGE = 10  # seconds, on a machine that does nothing else
BUSY = 2  # times as long is allowed, since the others train meanwhile; and longer where the load is higher


@pytest.mark.parametrize("name", APART)
def test_a_notebook_runs_and_shows_what_it_draws(name: str, lab: str, page: Page, tmp_path: Path) -> None:
    with opened(page, lab, name) as notebook:
        notebook.run_all(tmp_path)


def test_the_playground_draws_committed_generators_within_seconds(page: Page, tmp_path: Path) -> None:
    with jupyterlab(tmp_path) as lab, opened(page, lab, "00_playground") as notebook:
        notebook.restart()
        began = time.monotonic()
        notebook.wait_for_image()
        seconds, load = time.monotonic() - began, os.getloadavg()[0] / cores()
        print(f"first image of the playground after {seconds:.1f} seconds, load {load:.1f} a core")
        assert seconds < FIRST_IMAGE * BUSY * max(1, load)
        notebook.wait_for_image(2)
        page.wait_for_function(ENDED)
        before = notebook.sources()
        page.get_by_label("class", exact=True).select_option(index=5)
        expect(notebook.images().nth(0)).not_to_have_attribute("src", before[0])
        assert notebook.sources()[1:] == before[1:], "the class is the first picture's alone"


def test_a_cell_that_fails_is_named(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [nbformat.v4.new_code_cell(each) for each in ("1", "raise ValueError('first\\nlast')", "2")]
    spec = {"name": "python3", "display_name": "Python 3"}
    (tmp_path / "broken").mkdir()
    content = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    nbformat.write(content, tmp_path / "broken" / "broken.ipynb")
    monkeypatch.setattr("lab.NOTEBOOKS", tmp_path / "broken")
    said = pytest.raises(pytest.fail.Exception, match=r"^broken, cell \[2\]: ValueError: last \(see .*page.png\)$")
    with jupyterlab(tmp_path) as lab, opened(page, lab, "broken") as notebook, said:
        notebook.run_all(tmp_path)
    assert (tmp_path / "page.png").is_file()
