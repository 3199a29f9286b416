"""Chromium, driven by Playwright: `browser` of the session, and a `page` of each test."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or "chromium"


def pytest_configure() -> None:
    if shutil.which(CHROMIUM) is None:
        raise pytest.UsageError(f"{CHROMIUM} is not here; apt install chromium, or make test-browser CHROMIUM=path")


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
