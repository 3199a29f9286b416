"""What `make bench` and notebook 10 write, against the measured seconds, the runs, and the pages that show it."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from paper import sums
from paper.artifacts import speed, speed_figures
from paper.bench import results
from paper.verify.compare import Finding
from paper.verify.verifying import (
    Report,
    check_pages,
    check_run_records,
    check_sums,
    hashes_differ,
    made_differs,
    summed,
)
from ppcd import paths
from ppcd.base import PpcdError

NAME = speed.FOLDER  # besides the names of profiles


def is_there() -> bool:
    """Whether speed was measured."""
    return results.place().is_file()


def adopt_speed() -> None:
    """Take what was written before there was a SHA256SUMS into those of the bench, as it is."""
    for folder in (results.place().parent, paths.results(NAME), paths.figures(NAME)):
        if folder.is_dir():
            sums.adopt(folder, summed(folder))


def verify_speed(say: Callable[[str], None] = lambda _: None) -> Report:
    """Check `results/bench.json`, the runs in bf16, and the figures and the summary that are made of them.

    Args:
        say: called with a line when a part is done.

    Raises:
        PpcdError: speed was not measured.
    """
    if not is_there():
        raise PpcdError(f"speed was not measured: there is no {results.place()}; make bench measures it")
    report, shown = Report(NAME), f"results/{results.FILE}"
    changed = hashes_differ(report, "results", results.place().parent) | check_sums(report)
    for root in sorted(paths.results(speed.HALF_FOLDER).glob("*/runs")):
        check_run_records(report, f"results/{speed.HALF_FOLDER}/{root.parent.name}", root.parent)
    try:
        content = results.read()
    except PpcdError as error:
        report.findings.append(Finding(shown, "", str(error)))
    else:
        report.checked.append(f"{sum(len(part['groups']) for part in content.values())} measurements")
        say(f"{NAME}: medians and ratios computed again")
        _check_products(report, content, changed)
    if paths.results(NAME).resolve() == (paths.repository() / "results" / NAME).resolve():
        check_pages(report, paths.repository())
    report.add_changed(changed)
    return report


def _check_products(report: Report, content: results.Content, changed: Mapping[str, str]) -> None:
    """Make figures and summary again and compare them with what is there."""
    committed = {f"results/{NAME}/{path.name}": path for path in paths.results(NAME).glob("*.md")}
    committed |= {f"figures/{NAME}/{path.name}": path for path in paths.figures(NAME).glob("*.*") if path.stem}
    committed = {name: path for name, path in committed.items() if not path.name.startswith(".")}
    with tempfile.TemporaryDirectory(prefix="ppcd-verify-") as name:
        folder = Path(name)
        made = {f"results/{NAME}/{speed.SUMMARY}": speed.write_summary(content, folder)}
        drawn = speed_figures.write_share(content, folder)
        made |= {f"figures/{NAME}/{path.name}": path for path in (*drawn, drawn[0].with_suffix(".json"))}
        for name in committed.keys() - made.keys():
            report.findings.append(Finding(name, "", "nothing that this version knows makes it"))
        for name in made.keys() - committed.keys():
            report.findings.append(Finding(name, "", "is missing; notebook 10 makes it"))
        for name in sorted(made.keys() & committed.keys()):
            report.findings += made_differs(report, name, committed[name], made[name], changed)
    report.checked.append(f"{len(made)} figures and summaries")
