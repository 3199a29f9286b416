"""The report: what it begins with, and where its links lead. How it looks: `tests/browser`."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup, Tag
from built_reports import PROFILES, built_reports
from fake_runs import fake_run, smoke

from paper.artifacts import claims_table, headline, tables
from paper.claims import check_claims
from ppcd import paths

ROOT = paths.repository()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with built_reports(tmp_path_factory.mktemp("reports")) as folder:
        yield folder


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
