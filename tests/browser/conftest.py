"""Chromium, driven by Playwright: a `page` of each test; and for each file of tests JupyterLab at the smoke profile."""

import os
import shutil
from collections.abc import Iterator

import pytest
from lab import jupyterlab
from playwright.sync_api import BrowserContext, Page, sync_playwright

from ppcd import paths

CHROMIUM = os.environ.get("CHROMIUM") or "chromium"
CACHE = str(paths.cache())  # of the user; that of the tests is empty


def pytest_configure() -> None:
    if shutil.which(CHROMIUM) is None:
        raise pytest.UsageError(f"there is no {CHROMIUM}; apt install chromium, or make test-browser CHROMIUM=path")


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    """Headless, with one cache for all pages."""
    with sync_playwright() as playwright:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=flags)
        yield opened.new_context(viewport={"width": 1280, "height": 900})
        opened.close()


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    """An empty page, closed after the test."""
    with browser.new_page() as opened:
        yield opened


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab at the smoke profile, with folders of its own for what notebooks write."""
    folder, repository = tmp_path_factory.mktemp("lab"), paths.repository()
    shutil.copytree(repository / "results", folder / "results", ignore=shutil.ignore_patterns("smoke", "own", "runs"))
    places = {"PPCD_RESULTS": str(folder / "results"), "PPCD_FIGURES": str(folder / "figures"), "PPCD_CACHE": CACHE}
    with jupyterlab(folder, PPCD_PROFILE="smoke", OMP_NUM_THREADS="1", **places) as address:
        yield address
