"""`make verify` of a profile, of the bench, and of the pages: hashes, runs, and what is made of them.

python -m paper verify --profile mnist
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from paper import sums
from paper.artifacts import speed
from paper.bench import results as bench
from paper.paper_networks import compute_complexity
from paper.paper_scale import FILE as PAPER_SCALE
from paper.paper_scale import read as read_paper_scale
from paper.readme import filled, pages
from paper.study import Study
from paper.verify.compare import ROUNDING, Finding, text_difference, value_difference
from paper.verify.products import check_products, compare
from paper.verify.runs import check_runs
from paper.verify.scores import check_scores, other_judge
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import run_command
from ppcd.training.config import asked_profile
from ppcd.training.profiles import PROFILES

BENCH = speed.FOLDER  # stands with the names of profiles
ALL = "all"


def verify(name: str, say: Callable[[str], None] = lambda _: None, scores: bool = False) -> list[Finding]:
    """Check everything that results and figures hold of a profile.

    Args:
        name: of the profile; "bench": of what `make bench` and notebook 10 write.
        say: called with a line when a part is done, and with what could not be compared here.
        scores: measure the runs' scores again.

    Raises:
        PpcdError: unknown profile, or one without results; scores that cannot be measured again here.
    """
    if name == BENCH:
        found = list(_check_bench(say))
        folders = {"results": paths.reference(".")}
    else:
        found = list(_check_profile(Study.reference(name), say, scores))
        folders = {}
    for shown, folder in (
        folders | {f"results/{name}": paths.reference(name), f"figures/{name}": paths.reference_figures(name)}
    ).items():
        found += _check_hashes(shown, folder, {finding.file for finding in found})
    return found


def _check_profile(study: Study, say: Callable[[str], None], scores: bool) -> Iterator[Finding]:
    name = study.name
    if not study.source.is_dir():
        raise PpcdError(f"the repository brings no results of profile {name}: there is no {study.source}")
    records, problems = check_runs(f"results/{name}", study.source)
    yield from problems
    say(f"{name}: {len(records)} runs read")
    yield from check_products(study, lambda: other_judge(study, records), say)
    if scores and (reason := other_judge(study, records, kept=True)):
        raise PpcdError(f"the scores of {name} cannot be measured again here: {reason}")
    if scores:
        yield from check_scores(study, records, say)
    if (study.source / PAPER_SCALE).is_file():
        yield from _check_paper_scale(study)


def _check_paper_scale(study: Study) -> Iterator[Finding]:
    """Parameters and MACs of paper_scale.json against the networks, counted again."""
    file = f"results/{study.name}/{PAPER_SCALE}"
    try:
        written = read_paper_scale(study)["complexity"]
    except PpcdError as error:
        yield Finding(file, str(error))
        return
    counted = compute_complexity(study.profile) | {"provenance": written.get("provenance")}
    if problem := value_difference(written, counted, ROUNDING):
        yield Finding(file, f"complexity.{problem}")


def _check_bench(say: Callable[[str], None]) -> Iterator[Finding]:
    """The runs in bf16, what follows from the measured seconds, and the figures and the summary."""
    study, path = Study.reference(speed.HALF[0]), paths.reference(bench.FILE)
    if not path.is_file():
        raise PpcdError(f"the repository brings no measured speed: there is no {path}")
    for root in sorted((study.source.parent / speed.HALF_FOLDER).glob("*/runs")):
        yield from check_runs(f"results/{speed.HALF_FOLDER}/{root.parent.name}", root.parent)[1]
    try:
        content = bench.read(path)
    except PpcdError as error:
        yield Finding(f"results/{bench.FILE}", str(error))
        return
    say(f"{BENCH}: medians and ratios computed again")
    with tempfile.TemporaryDirectory(prefix="ppcd-verify-") as folder:
        made = study.into(Path(folder))
        speed.write_summary(content, made)
        speed.write_share(content, made)
        yield from compare(_bench_products(study), _bench_products(made))


def _bench_products(study: Study) -> dict[str, Path]:
    """`figures/bench/share.png` -> where it is."""
    results, drawn = study.results.with_name(BENCH), study.figures.with_name(BENCH)
    found = {f"results/{BENCH}/{path.name}": path for path in results.glob("*.md")}
    return found | {f"figures/{BENCH}/{path.name}": path for path in drawn.glob("[!.]*.*")}


def check_pages(root: Path) -> Iterator[Finding]:
    """The tables in README.md and docs/ against the files that they are of."""
    for page in pages(root):
        text = page.read_text()
        try:
            problem = text_difference(text, filled(text, root))
        except FileNotFoundError as error:
            problem = f"it shows {Path(error.filename).name}, which is not there"
        if problem:
            yield Finding(str(page.relative_to(root)), problem)


def _check_hashes(shown: str, folder: Path, named: set[str]) -> Iterator[Finding]:
    """Files of a folder that are not what SHA256SUMS says; those that were `named` have a better finding already."""
    try:
        differing = sums.differing(folder)
    except PpcdError as error:
        yield Finding(f"{shown}/{sums.FILE}", str(error).split(": ", 1)[1])
        return
    for name, problem in differing.items():
        if f"{shown}/{name}" not in named:
            yield Finding(f"{shown}/{name}", problem)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 where everything is as the runs say, else 2, with every difference in a line of its own."""
    parser = argparse.ArgumentParser(prog="python -m paper verify", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default=ALL, help=f"{', '.join(PROFILES)}, {BENCH}, or {ALL} that have results")
    parser.add_argument("--scores", action="store_true", help="measure every score again, which takes long")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options.profile, options.scores), "nothing was written")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _command(asked: str, scores: bool) -> None:
    torch.set_num_threads(1)  # as the runs were trained and measured
    there = [name for name in PROFILES if paths.reference(name).is_dir()]
    profiles = [*there, *([BENCH] if paths.reference(bench.FILE).is_file() else [])] if asked == ALL else [asked]
    if asked not in (ALL, BENCH):
        profiles = [asked_profile(asked).name]
    if not profiles:
        raise PpcdError(f"there are no results to verify in {paths.reference('.')}")
    wrong = sum(_show(name, verify(name, _say, scores)) for name in profiles)
    wrong += _show("README.md and docs", list(check_pages(paths.repository())))
    if wrong:
        raise PpcdError(
            f"{wrong} findings; restore what was changed, or build it again from the runs: "
            "PPCD_RESULTS=results PPCD_FIGURES=figures make report PROFILE=... SEEDS=..."
        )


def _show(name: str, findings: Sequence[Finding]) -> int:
    """Print a line for each finding and one for all; how many there are."""
    for finding in findings:
        print(finding)
    verdict = f"{len(findings)} not as the runs say" if findings else "everything as the runs say"
    print(f"{name}: {verdict}", flush=True)
    return len(findings)
