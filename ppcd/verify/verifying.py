"""The whole of `make verify` for one profile: hashes, runs, what is made of them, and what README.md shows of that."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paper import real_images as floor
from paper import sums, timing
from paper.generations import FILE as GENERATIONS
from paper.judges import get_judges
from paper.paper_networks import compute_complexity
from paper.paper_scale import FILE as PAPER_SCALE
from paper.readme import blocks
from paper.verify import runs
from paper.verify.compare import PLOTTED, ROUNDING, Difference, Finding, differences, json_cells, same
from paper.verify.products import MEASURED, find_products, moved, seeds_named, stage
from paper.verify.scores import floor_differences, score_differences
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data.sets import sets as data
from ppcd.records import read_unsealed
from ppcd.training.profiles import get_profile

PIXELS = {".png", ".pdf"}
IMAGE = 2e-3  # of an image's mean and deviation: what another machine's arithmetic may change in generated pixels
Record = dict[str, Any]


@dataclass
class Report:
    """What was looked at and what was found."""

    profile: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be compared here; no mistake
    checked: list[str] = field(default_factory=list)

    def add(self, file: str, found: Iterator[Difference]) -> None:
        self.findings += [Finding(file, *difference) for difference in found]

    def add_changed(self, changed: Mapping[str, str]) -> None:
        """Last: files that are not what was written, where nothing better is known of them."""
        named = {finding.file for finding in self.findings}
        self.findings += [Finding(file, "", problem) for file, problem in changed.items() if file not in named]


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
    changed = check_sums(report)
    records, resealed = _check_runs(report)
    say(f"{profile}: {len(records)} runs read")
    _check_measurements(report, records | resealed)
    with _same_data(report.profile, (records | resealed).values()):
        _check_products(report, records | resealed, set(resealed), changed, say)
        if scores:
            _check_scores(report, records, say)
    if results.resolve() == (paths.repository() / "results" / profile).resolve():
        check_readme(report, paths.repository() / "README.md")
    report.add_changed(changed)
    return report


def _same_data(profile: str, records: Iterable[Record]) -> AbstractContextManager[None]:
    """Inside, runs are looked up by the images that these saw, whether those are on this machine or not."""
    names = {data.without_count(record["data"]["identity"]) for record in records}
    try:
        here = data.identity(get_profile(profile).dataset)
    except PpcdError:  # no folder of images is given, or one that is not there
        here = ""
    if len(names) != 1 or here in names or not data.is_name(*names):
        return nullcontext()
    return moved({"PPCD_DATA": names.pop()})


def summed(folder: Path) -> list[str]:
    """Names of the files of a folder of products that belong into its SHA256SUMS."""
    patterns = ["*.json", "*.md", "*.png", "*.pdf", "tables/*", f"runs/*/{GENERATIONS}"]
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return [str(path.relative_to(folder)) for path in sorted(found) if not path.name.startswith(".")]


def adopt(profile: str) -> None:
    """Take what was written before there was a SHA256SUMS into those of a profile, as it is."""
    for folder in (paths.results(get_profile(profile).name), paths.figures(profile)):
        if folder.is_dir():
            sums.adopt(folder, summed(folder))


def check_sums(report: Report) -> dict[str, str]:
    """As `hashes_differ`, for results and figures of the profile."""
    name = report.profile
    return hashes_differ(report, f"results/{name}", paths.results(name)) | hashes_differ(
        report, f"figures/{name}", paths.figures(name)
    )


def hashes_differ(report: Report, shown: str, folder: Path) -> dict[str, str]:
    """Shown name of a file -> how it is not what SHA256SUMS says; and files that it should have and has not.

    Args:
        report: gets a finding where SHA256SUMS is no such file, and what was checked.
        shown: the folder's name.
        folder: of the products.
    """
    try:
        known = sums.read(folder)
    except PpcdError as error:
        report.findings.append(Finding(f"{shown}/{sums.FILE}", "", str(error).split(": ", 1)[1]))
        known, changed = {}, {}
    else:
        changed = {f"{shown}/{name}": f"{what} ({sums.FILE})" for name, what in sums.differing(folder).items()}
    for name in sorted(set(summed(folder)) - set(known)):
        changed[f"{shown}/{name}"] = f"not in {sums.FILE}, which is written with it; --adopt takes it as it is"
    report.checked.append(f"{len(known)} hashes of {shown.split('/')[0]}")
    return changed


def _check_runs(report: Report) -> tuple[dict[str, Record], dict[str, Record]]:
    root = paths.results(report.profile)
    records, resealed = check_run_records(report, f"results/{report.profile}", root)
    for record in records.values():
        for name, problem in runs.beside(record, root / "runs" / record["id"]):
            report.findings.append(Finding(f"results/{report.profile}/{name}", "", problem))
    return records, resealed


def check_run_records(report: Report, shown: str, root: Path) -> tuple[dict[str, Record], dict[str, Record]]:
    """The records of the runs that are whole, by id; and of those whose run.json alone was changed.

    Args:
        report: gets what is wrong with the runs.
        shown: name of the folder that holds `runs`.
        root: that folder.
    """
    records: dict[str, Record] = {}
    resealed: dict[str, Record] = {}
    directories = sorted(path.parent for path in (root / "runs").glob("*/run.json"))
    for directory in directories:
        file = f"{shown}/runs/{directory.name}/run.json"
        record, problem = runs.read_sealed(directory)
        if record is not None:
            records[directory.name] = record
            continue
        report.findings.append(Finding(file, "", problem))
        unsealed = read_unsealed(directory)
        if unsealed is not None and runs.files_are_whole(unsealed, directory):
            resealed[directory.name] = unsealed
    everything = records | resealed
    for name, record in everything.items():
        directory = root / "runs" / name
        file = f"{shown}/runs/{name}/run.json"
        try:
            report.add(file, runs.record_differences(record, directory, everything))
        except (PpcdError, KeyError, TypeError, ValueError) as error:
            report.findings.append(Finding(file, "", f"cannot be compared with its files ({error})"))
    report.checked.append(f"{len(directories)} runs")
    return records, resealed


def _check_measurements(report: Report, records: Mapping[str, Record]) -> None:
    """runtime.json and paper_scale.json: what of them does not depend on a clock."""
    results = paths.results(report.profile)
    if (results / timing.FILE).is_file():
        try:
            report.add(f"results/{report.profile}/{timing.FILE}", runs.timed(results, records))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"it cannot be read ({type(error).__name__})"
            report.findings.append(Finding(f"results/{report.profile}/{timing.FILE}", "", what))
    if (results / PAPER_SCALE).is_file():
        report.add(f"results/{report.profile}/{PAPER_SCALE}", _complexity_differences(report.profile))
        report.checked.append("sizes of the paper's networks")


def _complexity_differences(profile: str) -> Iterator[Difference]:
    """Parameters and MACs of paper_scale.json against the networks, counted again."""
    from paper.paper_scale import read

    try:
        written = read(profile)["complexity"]
    except PpcdError as error:
        yield "", str(error), ""
        return
    counted = compute_complexity(get_profile(profile))
    ours, theirs = (
        dict(json_cells({name: value for name, value in each.items() if name != "provenance"}))
        for each in (written, counted)
    )
    for cell in dict.fromkeys((*ours, *theirs)):
        if not same(ours.get(cell), theirs.get(cell), 0.0):
            yield f"complexity.{cell}", str(ours.get(cell, "nothing")), str(theirs.get(cell, "nothing"))


def _check_products(
    report: Report,
    records: Mapping[str, Record],
    resealed: set[str],
    changed: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Make everything anew and compare it with what is there."""
    profile = report.profile
    products, unknown = find_products(profile)
    report.findings += [Finding(name, "", "nothing that this version knows makes it") for name in unknown]
    results, drawn = paths.results(profile), paths.figures(profile)
    unmade: dict[str, list[str]] = {}
    for product in products:
        if product.judged and (reason := _other_judge(profile, records)):
            report.notes.append(f"{product.name} was not made anew: {reason}; its files are those of {sums.FILE}")
            continue
        committed = {f"results/{profile}/{name}": results / name for name in product.results}
        committed |= {f"figures/{profile}/{name}": drawn / name for name in product.figures}
        seeds = seeds_named({name: path.read_text() for name, path in committed.items() if path.suffix not in PIXELS})
        with stage(profile, {name: records[name] for name in resealed}):
            try:
                product.make(profile, seeds or (0,))
            except PpcdError as error:
                reason = re.sub(r"\S*ppcd-verify-[^/\s]*/", "", str(error))
                unmade.setdefault(reason, []).append(product.name)
                continue
            found = _products_differ(report, committed, changed)
        report.findings += found
        say(f"{profile}: {product.name} made anew, {len(found) or 'no'} difference{'s' * (len(found) != 1)}")
    for reason, names in unmade.items():
        report.findings.append(Finding(", ".join(names), "", f"cannot be made anew: {reason}"))
    report.checked.append(f"{len(products)} tables, figures and lists of claims")


def _products_differ(report: Report, committed: Mapping[str, Path], changed: Mapping[str, str]) -> list[Finding]:
    """The staged files against the committed ones: findings; a note for what only looks different."""
    folders = {"results": paths.results(report.profile), "figures": paths.figures(report.profile)}
    made = {
        f"{kind}/{report.profile}/{path.relative_to(folder)}": path
        for kind, folder in folders.items()
        for path in [
            *folder.glob("claims.json"),
            *folder.glob("tables/*"),
            *folder.glob("*.p*"),
            *folder.glob("*.json"),
        ]
        if kind == "figures" or path.name not in MEASURED
    }
    found = [Finding(name, "", "is missing; the runs make it") for name in made if name not in committed]
    found += [Finding(name, "", "is not made from these runs") for name in committed if name not in made]
    for name in [name for name in committed if name in made]:
        found += made_differs(report, name, committed[name], made[name], changed)
    return found


def made_differs(report: Report, name: str, committed: Path, made: Path, changed: Mapping[str, str]) -> list[Finding]:
    """A committed file against the same one made anew: findings; the report gets a note where only pixels differ.

    Args:
        name: shown name of the file.
        changed: as `hashes_differ` returns it: what is in it must agree to the last digit.
    """
    if committed.suffix in PIXELS:
        if name not in changed and committed.read_bytes() != made.read_bytes():
            report.notes.append(f"{name} looks different where it is drawn here; what it shows was compared")
        return []
    rounding = 0.0 if name in changed else PLOTTED if name.startswith("figures/") else ROUNDING
    return [
        Finding(name, cell, says, expected)
        for cell, says, expected in differences(name, committed.read_text(), made.read_text(), rounding)
        if not (rounding and ".images[" in cell and _near(says, expected))
    ]


def _near(says: str, expected: str) -> bool:
    try:
        return abs(float(says) - float(expected)) <= IMAGE
    except ValueError:
        return False


def _other_judge(profile: str, records: Mapping[str, Record]) -> str | None:
    """Why the networks that measured the runs are not to be had here; None where they are."""
    theirs = {record["metrics"]["protocol"].get("backbone_sha256") for record in records.values()}
    try:
        ours = get_judges(profile)[1].network.sha256
    except PpcdError as error:
        return str(error)
    return None if theirs == {ours} else "it needs the classifier that measured the runs, and the one here is another"


def _check_scores(report: Report, records: Mapping[str, Record], say: Callable[[str], None]) -> None:
    """Scores measured again, run by run.

    Raises:
        PpcdError: the networks that measured the runs are not to be had.
    """
    if reason := _other_judge(report.profile, records):
        raise PpcdError(f"the scores of {report.profile} cannot be measured again here: {reason}")
    profile, (images, gauges) = get_profile(report.profile), get_judges(report.profile)
    for number, (name, record) in enumerate(records.items(), 1):
        directory = paths.results(report.profile) / "runs" / name
        found = list(score_differences(record, directory, profile, images, gauges))
        report.add(f"results/{report.profile}/runs/{name}/run.json", iter(found))
        say(f"{report.profile}: scores of {number} of {len(records)} runs measured again, {len(found)} differ")
    if (real := paths.results(report.profile) / floor.FILE).is_file():
        report.add(f"results/{report.profile}/{real.name}", floor_differences(profile, images, gauges))
        say(f"{report.profile}: scores of real images measured again")
    report.checked.append(f"scores of {len(records)} runs")


def check_readme(report: Report, readme: Path) -> None:
    """The tables in README.md against the files that they are of."""
    folder, count = f"results/{report.profile}", 0
    for block in blocks(readme.read_text()):
        if not any(f"{name}/".startswith(f"{folder}/") for name in block.names):
            continue
        count += 1
        try:
            content = block.content(_place)
        except FileNotFoundError as error:
            lost = Path(error.filename).name
            report.findings.append(Finding(readme.name, block.title, f"shows what {lost} says, which is not there"))
            continue
        for cell, says, expected in differences("shown.md", block.shown, content, 0.0):
            report.findings.append(Finding(readme.name, f"{block.title}, {cell}", says, expected))
    report.checked.append(f"{count} tables of {readme.name}")


def _place(name: str) -> Path:
    """Where README's `results/<profile>/...` is."""
    _, profile, *rest = Path(name).parts
    return paths.results(profile).joinpath(*rest)
