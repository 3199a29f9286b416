"""The executed report notebook as one self-contained HTML file."""

import html
import re
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from paper.study import Study
from ppcd import paths
from ppcd.base import PpcdError

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 70rem;
       margin: 0 auto; padding: 1rem 1.5rem 4rem; }}
h1, h2, h3 {{ line-height: 1.2; margin: 2rem 0 .7rem; }}
h2 {{ border-bottom: 1px solid #ccc; padding-bottom: .2rem; }}
img {{ max-width: 100%; height: auto; }}
div.output_html, div.output_markdown, div.text_cell_render {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .85rem; margin: .8rem 0; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: right; white-space: nowrap; }}
th {{ border-bottom: 2px solid #888; }}
th:first-child, td:first-child {{ text-align: left; }}
div.output_markdown td, div.output_markdown th, td:has(> p) {{ white-space: normal; text-align: left; }}
pre, code {{ font-family: ui-monospace, monospace; font-size: .85rem; }}
pre {{ white-space: pre-wrap; }}
a.anchor-link {{ display: none; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def build_report(executed: Path, study: Study) -> Path:
    """Write `report.html` from an executed `09_report` notebook.

    Code is hidden, pictures are inside, nothing is loaded from anywhere: it opens without a network.

    Raises:
        PpcdError: there is no such notebook, it was not executed, or one of its cells failed.
    """
    if not executed.is_file():
        raise PpcdError(f"no executed notebook at {executed}; run 09_report first")
    notebook = nbformat.read(executed, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(cell.execution_count is None for cell in code):
        raise PpcdError(f"{executed.name} was not executed to its end; run it with papermill first")
    if any(out.output_type == "error" for cell in code for out in cell.outputs):
        raise PpcdError(f"{executed.name} has a cell that failed; a report is made of whole runs only")
    hidden = {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
    exporter = HTMLExporter(template_name="basic", embed_images=True, **hidden)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r' id="cell-id=[^"]*"', "", body)  # random for papermill's cell; nothing refers to them
    page = PAGE.format(title=html.escape(f"PPCD-GAN, profile {study.name}"), body=body)
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)([^\"']+)", page)
    if loaded:
        raise PpcdError(f"the report would load {loaded[0]} from outside; show pictures with notebook.show")
    path = study.results / "report.html"
    paths.write_atomic(path, page)
    return path
