"""The notebooks that show the runs of a profile, in JupyterLab at the smoke profile."""

from pathlib import Path

import pytest
from lab import FILES, opened, trains
from playwright.sync_api import Page
from test_lab_apart import APART

NAMES = sorted(set(FILES) - set(APART), key=lambda name: (not trains(name), name))  # those that train come first


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_what_it_draws(name: str, lab: str, page: Page, tmp_path: Path) -> None:
    with opened(page, lab, name) as notebook:
        notebook.run_all(tmp_path)
