"""What `make bench` and notebook 10 write, against the measured seconds, the runs, and the pages that show it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from paper.artifacts import speed, speed_figures
from paper.bench import results
from paper.verify.compare import ROUNDING, value_difference
from paper.verify.products import compare_products, moved
from paper.verify.report import Report
from paper.verify.verifying import check_hashes, check_pages, check_runs
from ppcd import paths
from ppcd.base import PpcdError

NAME = speed.FOLDER  # stands with the names of profiles


def verify_speed(say: Callable[[str], None] = lambda _: None) -> Report:
    """Check `results/bench.json`, the runs in bf16, and the figures and the summary that are made of them.

    Args:
        say: called with a line when a part is done.

    Raises:
        PpcdError: speed was not measured.
    """
    if not results.place().is_file():
        raise PpcdError(f"speed was not measured: there is no {results.place()}; make bench measures it")
    report, shown = Report(NAME), f"results/{results.FILE}"
    for root in sorted(paths.results(speed.HALF_FOLDER).glob("*/runs")):
        check_runs(report, f"results/{speed.HALF_FOLDER}/{root.parent.name}", root.parent)
    try:
        content = results.read()
        problem = value_difference(content, results.computed(content["parts"]), ROUNDING)
    except PpcdError as error:
        report.add(shown, str(error))
    else:
        report.add(shown, *([problem] if problem else []))
        say(f"{NAME}: medians, ratios and targets computed again")
        _check_products(report, content)
    check_pages(report, paths.repository())
    check_hashes(report, "results", results.place().parent)
    check_hashes(report, f"results/{NAME}", paths.results(NAME))
    check_hashes(report, f"figures/{NAME}", paths.figures(NAME))
    return report


def _check_products(report: Report, content: results.Content) -> None:
    """Make figures and summary again and compare them with what is there."""
    committed = _products()
    with tempfile.TemporaryDirectory(prefix="ppcd-verify-") as folder:
        with moved(PPCD_RESULTS=f"{folder}/results", PPCD_FIGURES=f"{folder}/figures"):
            speed.write_summary(content)
            for name in speed_figures.FIGURES:
                speed_figures.write_figure(content, name)
            made = _products()
        compare_products(report, committed, made)
    report.checked.append(f"{len(made)} figures and summaries")


def _products() -> dict[str, Path]:
    """`figures/bench/share.png` -> where it is."""
    found = {f"results/{NAME}/{path.name}": path for path in paths.results(NAME).glob("*.md")}
    return found | {f"figures/{NAME}/{path.name}": path for path in paths.figures(NAME).glob("[!.]*.*")}
