"""The report in Chromium: how wide its tables are, its first screen, its tabs, and what axe-core finds."""

import io
import json
import os
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from built_reports import built_reports
from playwright.sync_api import Page

from paper import demo
from ppcd import paths

SIZES = ((1300, 900), (390, 844))
AXE = "axe-core-4.14.1.tgz"
# As npm states it
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
STORED = demo.stored().with_name(AXE)  # in the user's cache; that of the tests is empty
# Tables whose box is wider than the column, and on a wide screen those that are wider than their box.
TOO_WIDE = """[...document.querySelectorAll('.body:not([hidden]) table')].filter(table => {
  const box = table.parentElement, column = table.closest('article');
  return box.offsetWidth > column.clientWidth || (innerWidth > 1000 && table.offsetWidth > box.clientWidth);
}).map(table => table.innerText.slice(0, 40))"""
# The lower ends of the third sentence and of the picture strip.
FIRST = """[document.querySelector('.body:not([hidden]) .output p:nth-of-type(3)'),
  document.querySelector('.body:not([hidden]) img')].map(each => each.getBoundingClientRect().bottom)"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with built_reports(tmp_path_factory.mktemp("reports")) as folder:
        yield folder


def axe() -> str:
    """The script of axe-core, from the cache or, once, from npm."""
    content = STORED.read_bytes() if STORED.is_file() else b""
    if demo.sha512(content) != AXE_SHA512:
        registry = os.environ.get("NPM_CONFIG_REGISTRY", demo.REGISTRY)
        try:
            with urllib.request.urlopen(f"{registry.rstrip('/')}/axe-core/-/{AXE}", timeout=30) as answer:
                content = answer.read()
        except OSError:
            pytest.skip(f"axe-core is not in the cache and cannot be downloaded: put {AXE} of npm into {STORED.parent}")
        assert demo.sha512(content) == AXE_SHA512
        paths.write_atomic(STORED, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as package:
        return package.extractfile("package/axe.min.js").read().decode()  # type: ignore[union-attr]


def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core, which the page has, finds wrong with it, by all its rules or by some."""
    options = json.dumps({"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {}))
    found = "found => found.violations.map(each => each.id + ': ' + each.nodes[0].html)"
    return list(page.evaluate(f"axe.run({options}).then({found})"))


def look(page: Page, width: int, height: int, dark: bool = False, media: Literal["screen", "print"] = "screen") -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light", media=media)


@pytest.mark.parametrize("name", ["mnist/report.html", "report.html#cifar10-lite"])
def test_it_fits_screens_and_axe_finds_nothing(built: Path, page: Page, name: str) -> None:
    file, _, profile = name.partition("#")
    page.goto((built / file).as_uri() + f"#{profile}" * bool(profile))
    page.evaluate(f"{axe()}; 0")
    for width, height in SIZES:
        look(page, width, height)
        assert page.evaluate("document.documentElement.scrollWidth") <= width and page.evaluate(TOO_WIDE) == []
        assert max(page.evaluate(FIRST)) < height, "sentences and images are on the first screen"
    for dark in (False, True):
        look(page, *SIZES[dark], dark=dark)
        assert violations(page) == []
    page.evaluate("document.querySelector('.body:not([hidden]) img').removeAttribute('alt')")
    assert [each.split(":")[0] for each in violations(page, "image-alt")] == ["image-alt"]
    look(page, *SIZES[0])
    page.evaluate("document.querySelector('.body:not([hidden]) table').style.minWidth = '1500px'")
    assert len(page.evaluate(TOO_WIDE)) == 1


def test_tabs_work_by_mouse_keyboard_and_link_and_are_all_printed(built: Path, page: Page) -> None:
    shown = "panels.filter(panel => getComputedStyle(panel).display !== 'none').map(panel => panel.id)"
    key = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
    page.goto((built / "report.html").as_uri())
    look(page, *SIZES[0])
    assert page.evaluate(shown) == ["mnist"]
    page.evaluate("tabs[1].click()")
    assert page.evaluate(shown) == ["cifar10-lite"]
    page.evaluate("tabs[1].focus()")
    page.evaluate(key % "ArrowRight")
    assert page.evaluate(shown) == ["mnist"] and page.evaluate("document.activeElement.id") == "tab-mnist"
    page.evaluate("location.hash = '#cifar10-lite-Claims'")
    page.wait_for_timeout(100)
    assert page.evaluate(shown) == ["cifar10-lite"]
    assert -5 < page.evaluate("document.getElementById('cifar10-lite-Claims').getBoundingClientRect().top") < 100
    look(page, *SIZES[0], media="print")
    assert page.evaluate(shown) == ["mnist", "cifar10-lite"]
    look(page, *SIZES[0])
