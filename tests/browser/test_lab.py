"""Every notebook in JupyterLab: all cells run at the smoke profile, and its figures and progress bars are on the page.

Two workers share them: one has the notebooks of the profile's runs, those that train first, the other has the rest.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ENDED, NOTEBOOKS, Failed, Notebook, jupyterlab, opened
from playwright.sync_api import Page, expect

from ppcd import paths
from ppcd.base import cores

CACHE = str(paths.cache())  # of the user; that of the tests is empty
SOURCES = {path.stem: path.read_text() for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))}
BAR = ".jp-OutputArea-output .jupyter-widgets .progress-bar"
OTHERS = ("08_paper_scale", "10_your_own_data", "11_your_own_gan", "12_when_distillation_helps", "13_speed")
FIRST_IMAGE = 10  # seconds, on a machine that does nothing else
BUSY = 2  # times as long is allowed, since the other worker trains meanwhile; and longer where others compute, too


def trains(name: str) -> bool:
    """Whether a notebook trains what is missing, unless it is told not to."""
    return re.search(r"train_missing = True|from tqdm", SOURCES[name]) is not None


def group(name: str) -> pytest.MarkDecorator:
    return pytest.mark.xdist_group("others" if name in OTHERS else "runs")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab at the smoke profile, with folders of its own for what notebooks write."""
    folder, repository = tmp_path_factory.mktemp("lab"), paths.repository()
    shutil.copytree(repository / "results", folder / "results", ignore=shutil.ignore_patterns("smoke", "own", "runs"))
    places = {"PPCD_RESULTS": str(folder / "results"), "PPCD_FIGURES": str(folder / "figures"), "PPCD_CACHE": CACHE}
    with jupyterlab(folder, PPCD_PROFILE="smoke", OMP_NUM_THREADS="1", **places) as address:
        yield address


def run(notebook: Notebook, tmp_path: Path) -> None:
    """All cells; where one fails, a picture of the page is kept."""
    try:
        outputs = notebook.run_all()
    except Failed as failure:
        notebook.page.screenshot(path=tmp_path / "page.png")
        pytest.fail(f"{failure} (see {tmp_path / 'page.png'})", pytrace=False)
    shown = sum("image/png" in output.get("data", {}) for each in outputs for output in each)
    assert shown, f"{notebook.name} shows no figure"
    expect(notebook.images()).to_have_count(shown)
    for index in range(shown):
        notebook.wait_for_image(index)


@pytest.mark.parametrize("name", [pytest.param(name, marks=group(name)) for name in sorted(SOURCES, key=trains)[::-1]])
def test_a_notebook_runs_and_shows_what_it_draws(name: str, lab: str, page: Page, tmp_path: Path) -> None:
    with opened(page, lab, name) as notebook:
        run(notebook, tmp_path)
        if trains(name):
            expect(page.locator(BAR).first).to_be_visible()
            said = page.locator(".jp-OutputArea-output pre").all_inner_texts()
            assert not re.search(r"\d%\|", "".join(said)), "a bar is text"


@pytest.mark.xdist_group("others")
def test_the_playground_draws_committed_generators_within_seconds(page: Page, tmp_path: Path) -> None:
    with jupyterlab(tmp_path) as lab, opened(page, lab, "00_playground") as notebook:
        notebook.restart()
        began = time.monotonic()
        notebook.wait_for_image()
        seconds = time.monotonic() - began
        load = os.getloadavg()[0] / cores()
        print(f"first image of the playground after {seconds:.1f} seconds, load {load:.1f} a core")
        assert seconds < FIRST_IMAGE * BUSY * max(1, load)
        notebook.wait_for_image(2)
        page.wait_for_function(ENDED)
        before = notebook.sources()
        page.get_by_label("class", exact=True).select_option(index=5)
        expect(notebook.images().nth(0)).not_to_have_attribute("src", before[0])
        assert notebook.sources()[1:] == before[1:], "the class is the first picture's alone"
