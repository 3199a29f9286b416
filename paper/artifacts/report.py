"""Executed notebooks as pages that load nothing: the report, that of several profiles as one page with tabs, and the
other notebooks with their code folded."""

import base64
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from PIL import Image

from paper.study import Study
from ppcd import paths
from ppcd.base import PpcdError

HERE = Path(__file__).parent
REPORT = "09_report.ipynb"


@dataclass(frozen=True)
class Body:
    """What a page shows of one notebook.

    Attributes:
        name: of the profile or of the notebook; all anchors begin with it, so that those of several bodies differ.
        contents: anchor and text of every section.
    """

    name: str
    html: str
    contents: list[tuple[str, str]]


def build_report(executed: Path, study: Study) -> Path:
    """Write `report.html` from an executed `09_report` notebook, and a page for each notebook in its folder.

    Code is hidden, pictures are inside, nothing is loaded from anywhere: it opens without a network.

    Raises:
        PpcdError: there is no such notebook, it was not executed, or one of its cells failed.
    """
    path = study.results / "report.html"
    _write(path, [_report(executed, study)])
    for notebook in _notebooks(executed.parent):
        _write(notebook.with_suffix(".html"), [_body(notebook, notebook.stem, "../", code=True)])
    return path


def build_tabs(studies: Sequence[Study]) -> Path:
    """Write the reports of several profiles, which are built, as one page with a tab for each: `results/report.html`.

    Raises:
        PpcdError: as `build_report`.
    """
    path = studies[0].results.parent / "report.html"
    bodies = []
    for study in studies:
        folder = os.path.relpath(study.results, path.parent) + "/"
        bodies.append(_report(study.results / "notebooks" / REPORT, study, folder))
    _write(path, bodies)
    return path


def _report(executed: Path, study: Study, folder: str = "") -> Body:
    """The body of a profile's report, with links to its notebooks at its end."""
    listed = [f"- [{notebook.stem}](notebooks/{notebook.stem}.html)" for notebook in _notebooks(executed.parent)]
    more = "## Notebooks\n\nAs they were executed, with their code.\n\n" + "\n".join(listed)
    return _body(executed, study.name, folder, more=more)


def _notebooks(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.ipynb")) if not path.name.endswith(".failed.ipynb")]


def _body(executed: Path, name: str, folder: str, code: bool = False, more: str = "") -> Body:
    """The cells of an executed notebook as HTML.

    Args:
        folder: what leads from the page's folder to that of the profile's results, which links are relative to.
        more: Markdown that is put at its end.
    """
    if not executed.is_file():
        raise PpcdError(f"no executed notebook at {executed}; run {executed.stem} first")
    notebook = nbformat.read(executed, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(cell.execution_count is None for cell in cells):
        raise PpcdError(f"{executed.name} was not executed to its end; run it with papermill first")
    if any(out.output_type == "error" for cell in cells for out in cell.outputs):
        raise PpcdError(f"{executed.name} has a cell that failed; a report is made of whole runs only")
    if more:
        notebook.cells.append(nbformat.v4.new_markdown_cell(more))
    template = (HERE / "report_cells.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(template_name="basic", raw_template=template, embed_images=True, exclude_input=not code)
    page = BeautifulSoup(exporter.from_notebook_node(notebook)[0], "html.parser")
    contents = [(f"{name}-{head['id']}", head.get_text().rstrip("¶")) for head in page.select("h2[id]")]
    _link_runs(page)
    _place(page, name, folder)
    for table in page.select("table"):
        _box(page, table)
    for image in page.select("img"):
        _pack(image)
    return Body(name, str(page), contents)


def _link_runs(page: BeautifulSoup) -> None:
    """Let the name of a run in any table lead to the run's row in the table of runs."""
    runs = {str(row["id"]).removeprefix("run-") for row in page.select("tr[id^=run-]")}
    for cell in page.select("td"):
        if (run := cell.string) in runs:
            cell.clear()
            cell.append(page.new_tag("a", attrs={"href": f"#run-{run}"}, string=run))


def _place(page: BeautifulSoup, name: str, folder: str) -> None:
    """Let all anchors begin with the body's name, and all links to files lead there from the page's folder."""
    for tag in page.select("[id]"):
        tag["id"] = f"{name}-{tag['id']}"
    for link in page.select("a[href]"):
        target = str(link["href"])
        if target.startswith("#"):
            link["href"] = f"#{name}-{target[1:]}"
        elif target.endswith(".ipynb"):  # next to the one that links to it
            link["href"] = f"{folder}notebooks/{Path(target).stem}.html"
        elif ":" not in target:
            link["href"] = folder + target


def _box(page: BeautifulSoup, table: Tag) -> None:
    """Put a table into a box of the column's width; where it holds no link, the keyboard reaches it by the box."""
    box = table.wrap(page.new_tag("div", attrs={"class": "scroll"}))
    if not table.find("a"):
        heading = table.find_previous(["h1", "h2", "h3"])
        box.attrs |= {
            "tabindex": "0",
            "role": "group",
            "aria-label": heading.get_text().rstrip("¶") if heading else "table",
        }


def _pack(image: Tag) -> None:
    """Put a PNG into the page as lossless WebP, which is half as large."""
    kind, _, content = str(image["src"]).partition(";base64,")
    if kind == "data:image/png":
        packed, image["width"], image["height"] = _webp(content)
        image["src"] = f"data:image/webp;base64,{packed}"


@lru_cache(maxsize=64)  # a picture stands on several pages
def _webp(content: str) -> tuple[str, str, str]:
    """A PNG in base64 as WebP, its width and its height."""
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        packed = io.BytesIO()
        picture.save(packed, "webp", lossless=True)
        return base64.b64encode(packed.getvalue()).decode(), str(picture.width), str(picture.height)


def _write(path: Path, bodies: Sequence[Body]) -> None:
    title = "PPCD-GAN, " + ", ".join(body.name for body in bodies)
    template = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True).get_template(
        "report.html.j2"
    )
    style = (HERE / "report.css").read_text(encoding="utf-8")
    page = template.render(title=title, style=style, bodies=bodies)
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)([^\"']+)", page)
    if loaded:
        raise PpcdError(f"{path.name} would load {loaded[0]} from outside; show pictures with notebook.show")
    paths.write_atomic(path, page)
