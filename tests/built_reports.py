"""The reports of the committed runs, built from the committed figures: nothing is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.formatters import DisplayFormatter

from paper.artifacts import report
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


def executed(profile: str) -> Path:
    """09_report of the committed runs, executed."""
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


@contextmanager
def built_reports(folder: Path) -> Iterator[Path]:
    """The folder of results with the reports of both profiles and the page of both."""
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
