"""The report: what it begins with, where its links lead, how wide its tables are, its tabs, and its accessibility."""

import io
import json
import os
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from fake_runs import fake_run, smoke
from IPython.core.formatters import DisplayFormatter
from test_demo import CHROMIUM, Browser

from paper import demo
from paper.artifacts import claims_table, headline, report, tables
from paper.claims import check_claims
from paper.study import Study
from ppcd import paths

ROOT = paths.repository()
IMAGES = "folder-f0c8ff4af5e3"  # those of the committed runs of cifar10-lite, which are not here
PROFILES = ("mnist", "cifar10-lite")
FIGURES = {  # what draws each figure in the notebook -> the file of it that is committed
    "headline.figure": "headline", "overview.fig1": "fig1", "framework.fig2": "fig2", "figures.fig3": "fig3",
    "compression.fig4": "fig4", "compression.fig4_size": "fig4_size", "figures.fig5": "fig5",
    "interpolation.fig6": "fig6", "interpolation.fig7": "fig7", "failures.fig8": "fig8",
    "curves.curves_figure": "masks", "curves.masks_figure": "masks", "curves.mask_rules": "mask-rules",
    "evidence.answers_figure": "evidence", "evidence.curves_figure": "evidence_curves",
}  # fmt: skip
SIZES = ((1300, 900), (390, 844))
AXE = "axe-core-4.14.1.tgz"
# As npm states it
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
STORED = demo.stored().with_name(AXE)  # in the user's cache; that of the tests is empty


def executed(profile: str) -> Path:
    """09_report of the committed runs, whose figures are the committed ones: nothing is drawn."""
    results = paths.results(profile)
    results.mkdir(parents=True)
    for name in ("runs", "real.json", "runtime.json", "following.json"):
        if (there := ROOT / "results" / profile / name).exists():
            (results / name).symlink_to(there)
    source = nbformat.read(ROOT / "notebooks" / "09_report.ipynb", as_version=4)
    formatter, names = DisplayFormatter(), dict[str, Any]()
    with pytest.MonkeyPatch.context() as patch:
        for place, file in FIGURES.items():
            picture = ROOT / "figures" / profile / f"{file}.png"
            patch.setattr(f"paper.artifacts.{place}", lambda *_, picture=picture: picture)
        patch.setattr("paper.artifacts.failures.judged", lambda _: dict.fromkeys(("ppcd", "biggan", "real images")))
        for cell in (cell for cell in source.cells if cell.cell_type == "code"):
            shown = list[Any]()
            patch.setattr("IPython.display.display", shown.append)
            exec(cell.source, names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"profile": profile, "seeds": [0, 1, 2]}
            for data, metadata in map(formatter.format, shown):
                cell.outputs.append(nbformat.v4.new_output("display_data", data, metadata=metadata))
            cell.execution_count = 1
    path = results / "notebooks" / "09_report.ipynb"
    path.parent.mkdir()
    nbformat.write(source, path)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of results with the reports of both profiles and the page of both."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(folder / "results"))
        patch.setenv("PPCD_FIGURES", str(folder / "figures"))
        (folder / "results").mkdir()
        (folder / "results" / "cifar10-lite-z24").symlink_to(ROOT / "results" / "cifar10-lite-z24")
        studies = []
        for profile in PROFILES:
            patch.setenv("PPCD_DATA", IMAGES if profile == "cifar10-lite" else "")
            studies.append(Study.of(profile, (0, 1, 2)))
            report.build_report(executed(profile), studies[-1])
        report.build_tabs(studies)
    yield folder / "results"


def read(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


def text(tag: Tag) -> str:
    return " ".join(tag.get_text(" ").split())


@pytest.mark.parametrize("profile", PROFILES)
def test_it_begins_with_three_sentences_the_picture_strip_table_1_and_figure_4(built: Path, profile: str) -> None:
    assert (built / profile / "report.html").stat().st_size < 3e6
    page = read(built / profile / "report.html")
    article = page.article
    assert article is not None
    heads = [text(head) for head in article.select("h2")]
    assert [head.split(":")[0] for head in heads[:3]] == ["Table 1", "Figure 4", "Claims ¶"]
    assert heads[-3:] == ["Runs ¶", "Deviations and readings ¶", "Notebooks ¶"]
    first = article.h2
    assert first is not None and len(first.find_all_previous("img")) == 1
    sentences = [text(each) for each in first.find_all_previous("p")][2::-1]  # of the output before the strip
    results = ROOT / "results" / profile
    claims = [claim["status"] for claim in json.loads((results / "claims.json").read_text())]
    assert f"{len(claims)} claims of the paper" in sentences[0]
    for status, said in (("reproduced", "are reproduced"), ("not reproduced", "are not"), ("inconclusive", "are open")):
        assert f"{claims.count(status)} {said}" in sentences[0]
    records = [json.loads(path.read_text()) for path in results.glob("runs/ppcd-s[0-2]-*/run.json")]
    assert f"{records[0]['complexity']['params'] / 1000:.1f}k parameters" in sentences[1]
    distance = sum(record["metrics"]["ema"]["fd"] for record in records) / 3
    assert f"is {distance:.2f} , the teacher's" in sentences[2]
    listed = [text(link) for link in page.select("nav.beside a")]
    assert listed == [head.removesuffix(" ¶") for head in heads]
    assert all(len(image["alt"]) > 20 for image in page.select("img"))


@pytest.mark.parametrize("name", ["mnist/report.html", "cifar10-lite/report.html", "report.html"])
def test_every_link_leads_somewhere_and_every_number_to_its_runs(built: Path, name: str) -> None:
    page, folder = read(built / name), (built / name).parent
    names = [str(tag["id"]) for tag in page.select("[id]")]
    assert len(names) == len(set(names))
    links = {unquote(str(link["href"])) for link in page.select("a[href]")}
    assert {link for link in links if link.startswith("#") and link[1:] not in names} == set()
    assert {link for link in links if not link.startswith("#") and not (folder / link).is_file()} == set()
    for row in page.select(".runs tbody tr"):
        run = row.a
        assert run is not None and str(run["href"]).endswith(f"runs/{run.string}/run.json")
        assert str(row["id"]).endswith(f"-run-{run.string}")
    ours = page.select(".scores tr:not(.others) td")
    unlinked = {text(cell) for cell in ours if cell.a is None}
    real = {text(cell) for row in page.select(".scores tr") if "Real images" in text(row) for cell in row.select("td")}
    assert len(ours) > 100 and unlinked <= {"not run", "all", "–", *real}


def test_claims_unfold_the_decided_ones_first(built: Path) -> None:
    (table,) = read(built / "mnist" / "report.html").select("table.claims")
    groups = [text(group.th).split(" :")[0] for group in table.select("tbody") if group.th]
    assert groups == ["reproduced", "not reproduced", "inconclusive", "not run", "no run can decide"]
    (row,) = table.select("#mnist-claim-tinygan-poorer")
    assert row.details is not None and "open" not in row.details.attrs
    unfolded = text(row.details)
    assert "Read as:" in unfolded and "✗" in unfolded and "Why:" in unfolded and "Runs: tinygan , ppcd" in unfolded


def test_notebooks_are_published_with_their_code_folded(built: Path) -> None:
    page = read(built / "mnist" / "notebooks" / "09_report.html")
    folded = page.select("details.code")
    assert len(folded) > 10 and all("open" not in each.attrs for each in folded)
    assert "notebook.start(" in folded[1].get_text()
    assert not read(built / "mnist" / "report.html").select("details.code")


def test_what_was_not_run_is_said() -> None:
    said = headline.sentences(check_claims(smoke()), tables.table1(smoke()))
    assert "52 were not run" in said and said.count("<p>") == 3 and said.count(": not run.") == 2
    fake_run("biggan"), fake_run("ppcd")
    said = headline.sentences(check_claims(smoke()), tables.table1(smoke()))
    assert "50k</a> parameters</strong>, its Big-GAN teacher" in said and "SA-GAN, which is not pruned, not run" in said
    assert "Read as:" in claims_table.table(check_claims(smoke()), smoke())


# --- In a browser ---


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


def violations(browser: Browser, *rules: str) -> list[str]:
    """What axe-core, which the page has, finds wrong with it, by all its rules or by some."""
    options = json.dumps({"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {}))
    found = "found => found.violations.map(each => each.id + ': ' + each.nodes[0].html)"
    return list(browser.run(f"axe.run({options}).then({found})"))


def look(browser: Browser, width: int, height: int, dark: bool = False, media: str = "screen") -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", media=media, features=[scheme])


# Tables whose box is wider than the column, and on a wide screen those that are wider than their box.
TOO_WIDE = """[...document.querySelectorAll('.body:not([hidden]) table')].filter(table => {
  const box = table.parentElement, column = table.closest('article');
  return box.offsetWidth > column.clientWidth || (innerWidth > 1000 && table.offsetWidth > box.clientWidth);
}).map(table => table.innerText.slice(0, 40))"""
# The lower ends of the third sentence and of the picture strip.
FIRST = """[document.querySelector('.body:not([hidden]) .output p:nth-of-type(3)'),
  document.querySelector('.body:not([hidden]) img')].map(each => each.getBoundingClientRect().bottom)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("name", ["mnist/report.html", "report.html#cifar10-lite"])
def test_it_fits_screens_and_axe_finds_nothing(built: Path, browser: Browser, name: str) -> None:
    file, _, profile = name.partition("#")
    browser.open((built / file).as_uri() + f"#{profile}" * bool(profile))
    browser.run(f"{axe()}; 0")
    for width, height in SIZES:
        look(browser, width, height)
        assert browser.run("document.documentElement.scrollWidth") <= width and browser.run(TOO_WIDE) == []
        assert max(browser.run(FIRST)) < height, "sentences and images are on the first screen"
    for dark in (False, True):
        look(browser, *SIZES[dark], dark=dark)
        assert violations(browser) == []
    browser.run("document.querySelector('.body:not([hidden]) img').removeAttribute('alt')")
    assert [each.split(":")[0] for each in violations(browser, "image-alt")] == ["image-alt"]
    look(browser, *SIZES[0])
    browser.run("document.querySelector('.body:not([hidden]) table').style.minWidth = '1500px'")
    assert len(browser.run(TOO_WIDE)) == 1


def test_tabs_work_by_mouse_keyboard_and_link_and_are_all_printed(built: Path, browser: Browser) -> None:
    shown = "panels.filter(panel => getComputedStyle(panel).display !== 'none').map(panel => panel.id)"
    key = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
    browser.open((built / "report.html").as_uri())
    look(browser, *SIZES[0])
    assert browser.run(shown) == ["mnist"]
    browser.run("tabs[1].click()")
    assert browser.run(shown) == ["cifar10-lite"]
    browser.run("tabs[1].focus()")
    browser.run(key % "ArrowRight")
    assert browser.run(shown) == ["mnist"] and browser.run("document.activeElement.id") == "tab-mnist"
    browser.run("location.hash = '#cifar10-lite-Claims', new Promise(done => setTimeout(done, 50))")
    assert browser.run(shown) == ["cifar10-lite"]
    assert -5 < browser.run("document.getElementById('cifar10-lite-Claims').getBoundingClientRect().top") < 100
    look(browser, *SIZES[0], media="print")
    assert browser.run(shown) == ["mnist", "cifar10-lite"]
    look(browser, *SIZES[0])
