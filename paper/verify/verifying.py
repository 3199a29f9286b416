"""The whole of `make verify` for one profile: hashes, runs, what is made of them, and the pages that show it."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from paper import sums, timing
from paper.generations import FILE as GENERATIONS
from paper.generations import read_generations
from paper.judges import get_judges
from paper.paper_networks import compute_complexity
from paper.paper_scale import FILE as PAPER_SCALE
from paper.paper_scale import read as read_paper_scale
from paper.readme import blocks, pages
from paper.real_images import FILE as REAL
from paper.verify.compare import ROUNDING, text_difference, value_difference
from paper.verify.products import check_products, moved
from paper.verify.report import Report
from paper.verify.runs import record_problems, timing_problems
from paper.verify.scores import real_problems, score_problems
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data import sets as data
from ppcd.records import read_run
from ppcd.training.profiles import get_profile

Record = dict[str, Any]


def verify(profile: str, say: Callable[[str], None] = lambda _: None, scores: bool = False) -> Report:
    """Check everything that a profile's results and figures hold.

    Args:
        profile: its name.
        say: called with a line when a part is done.
        scores: measure the runs' scores again.

    Raises:
        PpcdError: unknown profile, or one without results; scores that cannot be measured again here.
    """
    report = Report(get_profile(profile).name)
    results = paths.results(profile)
    if not results.is_dir():
        raise PpcdError(f"profile {profile} has no results in {results}; make reproduce PROFILE={profile} makes them")
    records = check_runs(report, f"results/{profile}", results)
    say(f"{profile}: {len(records)} runs read")
    with _same_data(profile, records.values()):
        check_products(report, lambda: _other_judge(profile, records), say)
        if scores:
            _check_scores(report, records, say)
    _check_measurements(report, records)
    check_pages(report, paths.repository())
    check_hashes(report, f"results/{profile}", results)
    check_hashes(report, f"figures/{profile}", paths.figures(profile))
    return report


def check_runs(report: Report, shown: str, root: Path) -> dict[str, Record]:
    """The records of the runs that are what was written, by id.

    Args:
        report: gets what is wrong with the runs.
        shown: name of the folder that holds `runs`.
        root: that folder.
    """
    records: dict[str, Record] = {}
    directories = sorted(path.parent for path in (root / "runs").glob("*/run.json"))
    for directory in directories:
        try:
            records[directory.name] = read_run(directory)
        except PpcdError as error:
            report.add(
                f"{shown}/runs/{directory.name}/run.json", str(error).removeprefix(f"{directory / 'run.json'}: ")
            )
    for name, record in records.items():
        directory = root / "runs" / name
        try:
            report.add(f"{shown}/runs/{name}/run.json", *record_problems(record, directory, records))
        except (PpcdError, KeyError, TypeError, ValueError) as error:
            report.add(f"{shown}/runs/{name}/run.json", f"cannot be compared with its files ({error})")
    report.checked.append(f"{len(directories)} runs")
    return records


def _same_data(profile: str, records: Iterable[Record]) -> AbstractContextManager[None]:
    """Inside, runs are looked up by the images that these saw, whether those are on this machine or not."""
    names = {data.without_count(record["data"]["identity"]) for record in records}
    try:
        here = data.identity(get_profile(profile).dataset)
    except PpcdError:  # no folder of images is given, or one that is not there
        here = ""
    if len(names) != 1 or here in names or not data.is_name(*names):
        return nullcontext()
    return moved(PPCD_DATA=names.pop())


def _other_judge(profile: str, records: Mapping[str, Record]) -> str | None:
    """Why the networks that measured the runs are not available here; None where they are."""
    theirs = {record["metrics"]["protocol"].get("backbone_sha256") for record in records.values()}
    try:
        ours = get_judges(profile)[1].network.sha256
    except PpcdError as error:
        return str(error)
    return None if theirs == {ours} else "it needs the classifier that measured the runs, and the one here is another"


def _check_scores(report: Report, records: Mapping[str, Record], say: Callable[[str], None]) -> None:
    """Scores measured again, run by run.

    Raises:
        PpcdError: the networks that measured the runs are not available.
    """
    if reason := _other_judge(report.profile, records):
        raise PpcdError(f"the scores of {report.profile} cannot be measured again here: {reason}")
    profile, (images, gauges) = get_profile(report.profile), get_judges(report.profile)
    results = paths.results(report.profile)
    for number, (name, record) in enumerate(records.items(), 1):
        problems = score_problems(record, results / "runs" / name, profile, images, gauges)
        report.add(f"results/{profile.name}/runs/{name}/run.json", *problems)
        say(f"{profile.name}: scores of {number} of {len(records)} runs measured again")
    report.add(f"results/{profile.name}/{REAL}", *real_problems(profile, images, gauges))
    report.checked.append(f"scores of {len(records)} runs")


def _check_measurements(report: Report, records: Mapping[str, Record]) -> None:
    """generations.json, runtime.json and paper_scale.json: what of them does not depend on a clock."""
    results, shown = paths.results(report.profile), f"results/{report.profile}"
    for name, record in records.items():
        if (results / "runs" / name / GENERATIONS).is_file() and read_generations(record) is None:
            problem = "it is damaged, of other weights, or not measured as it is now"
            report.add(f"{shown}/runs/{name}/{GENERATIONS}", problem)
    if (results / timing.FILE).is_file():
        try:
            report.add(f"{shown}/{timing.FILE}", *timing_problems(results, records))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            report.add(f"{shown}/{timing.FILE}", f"it cannot be read ({type(error).__name__})")
    if (results / PAPER_SCALE).is_file():
        try:
            written = read_paper_scale(report.profile)["complexity"]
        except PpcdError as error:
            report.add(f"{shown}/{PAPER_SCALE}", str(error))
            return
        counted = compute_complexity(get_profile(report.profile))
        problem = value_difference(written | {"provenance": None}, counted | {"provenance": None}, ROUNDING)
        report.add(f"{shown}/{PAPER_SCALE}", *([f"complexity.{problem}"] if problem else []))
        report.checked.append("sizes of the paper's networks")


def check_pages(report: Report, root: Path) -> None:
    """The tables in README.md and docs/ against the files that they are of.

    Args:
        report: gets what differs, of tables that show the report's profile.
        root: of the repository that the pages are in; nothing is compared where its results are not those checked.
    """
    folder, count = f"results/{report.profile}", 0
    if paths.results(report.profile).resolve() != (root / folder).resolve():
        return
    for page in pages(root):
        for block in blocks(page.read_text()):
            if not any(f"{name}/".startswith(f"{folder}/") for name in block.names):
                continue
            count += 1
            try:
                problem = text_difference(block.shown, block.content(root.joinpath))
            except FileNotFoundError as error:
                problem = f"{Path(error.filename).name} is not there"
            if problem:
                report.add(str(page.relative_to(root)), f"{block.title}, {problem}")
    report.checked.append(f"{count} tables of README.md and docs")


def check_hashes(report: Report, shown: str, folder: Path) -> None:
    """Last of all: files that are not what SHA256SUMS says, where nothing better is known of them.

    Args:
        report: gets a finding for each file that has none.
        shown: the folder's name.
        folder: of products.
    """
    named = {finding.file for finding in report.findings}
    try:
        differing = sums.differing(folder)
    except PpcdError as error:
        report.add(f"{shown}/{sums.FILE}", str(error).split(": ", 1)[1])
        return
    for name, problem in differing.items():
        if f"{shown}/{name}" not in named:
            report.add(f"{shown}/{name}", problem)
    report.checked.append(f"{len(sums.read(folder))} hashes of {shown.split('/')[0]}")
