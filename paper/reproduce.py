"""`make reproduce`: every run of the plan, every notebook, table and figure, the report, and how it all compares."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from paper import compare
from paper import questions as evidence
from paper.artifacts import index
from paper.claims import RECIPES_OF_CLAIMS
from paper.generations import ensure_generations
from paper.real_images import ensure_real_images
from paper.study import Study, asked_study, study_parser
from paper.timing import ensure_runtime
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data.sets import is_name, without_count
from ppcd.errors import run_command
from ppcd.progress import say
from ppcd.runs.copied import has_reference
from ppcd.runs.directory import Run
from ppcd.runs.jobs import CLUSTERS
from ppcd.runs.pool import is_due, run_all
from ppcd.runs.train import resolve_device
from ppcd.seeds import parse_seeds
from ppcd.training.config import RunConfig, asked_profile, takes_images
from ppcd.training.profiles import asked, get_profile
from ppcd.training.recipes import TEACHER
from ppcd.training.toml import is_file

# Every system of the paper's tables and figures. One claim also needs `ppcd-no-cd` at alpha 0.7, which the repository
# brings for mnist, which `paper.questions` asks for at natural images, and which is left out here for the sake of time.
# The order fills two cores, the teacher, which most others wait for, beside runs that need none; those of Table 3 and
# Figure 5 come first.
RECIPES = (
    "biggan",
    "l1-sagan-a0.5",
    "ppcd-no-cd-a0.5",
    "ppcd-a0.5",
    "ppcd-no-pp",
    "ppcd-two-step-a0.5",
    "l1-biggan-a0.5",
    "sngan",
    "ppcd",
    "ppcd-a0.6",
    "ppcd-a0.8",
    "ppcd-two-step-a0.6",
    "ppcd-two-step",
    "ppcd-two-step-a0.8",
    "sagan",
    "tinygan",
    "distill-nas",
    "distill-only",
    "l1-biggan-a0.6",
    "l1-biggan",
    "l1-biggan-a0.8",
    "l1-sagan-a0.6",
    "l1-sagan",
    "l1-sagan-a0.8",
)
FIRST = RECIPES[: RECIPES.index("l1-biggan-a0.5")]

# Profiles of minutes are trained again though the repository brings their runs: that is what reproducing means.
# Of profiles of hours the runs of the reference are taken.
TRAINED_AGAIN = ("smoke", "mnist")
PAPER_SCALE = "imagenet128"
ABLATION = "03_ablation"  # Table 3, Figure 5


def plan(study: Study) -> list[RunConfig]:
    """The runs of `make reproduce`, teachers first; for natural images those of `paper.questions` too, some of which
    are of another profile."""
    runs = study.configs(FIRST)
    for seed in study.seeds:
        one = replace(study, seeds=(seed,))
        runs += [*one.configs(RECIPES), *evidence.run_configs(one)]
    runs += evidence.extension(study)
    return list({config.id: config for config in runs}.values())


def notebooks(study: Study) -> list[tuple[str, dict[str, object]]]:
    """Which notebooks are executed, with which parameters: they show what is there, and train nothing."""
    profile, seed = study.name, study.seeds[0]
    common: dict[str, object] = {"profile": asked(study.profile), "seed": seed}
    there = {**common, "train_missing": False}
    several = {"seeds": list(study.seeds)}
    # What takes long to measure and says nothing of this profile is shown where it was measured by its own target.
    scaled = paths.kept(f"{PAPER_SCALE}/paper_scale.json").is_file()
    scale = {"profile": PAPER_SCALE, "seed": seed, "measure": "missing" if profile == PAPER_SCALE else "never"}
    listed = [
        ("01_train", {**there, "recipe": "ppcd"}),
        ("02_evaluate", {**there, "recipe": "ppcd"}),
        (ABLATION, {**there, **several, "alpha": 0.5}),
        ("04_comparison", {**there, **several}),
        ("05_compression_ratio", {**there, **several}),
        ("06_interpolation", common),
        ("07_failure_cases", {**common, **several}),
        ("12_when_distillation_helps", {**there, **several} if profile in evidence.PROFILES_OF_EVIDENCE else None),
        ("08_paper_scale", scale if scaled or profile == PAPER_SCALE else None),
        ("13_speed", common if paths.kept("bench.json").is_file() else None),
        ("09_report", {**common, **several}),
    ]
    return [(name, parameters) for name, parameters in listed if parameters is not None]


def ablation_first(study: Study, retrain: bool) -> Callable[[RunConfig], None]:
    """What executes `03_ablation` as soon as the last run of Table 3 and Figure 5 is trained, while others go on."""
    left = {config.id for config in study.configs(FIRST) if is_due(config, retrain)}

    def when_done(config: RunConfig) -> None:
        if config.id not in left:
            return
        left.remove(config.id)
        if not left:
            try:
                run_notebook(study, ABLATION, dict(notebooks(study))[ABLATION])
                say(f"Table 3 and Figure 5 are there: {study.results / 'tables' / 'table3.md'}, {study.figures}")
            except PpcdError as error:  # it is executed again at the end; the trainings go on
                say(str(error))

    return when_done


def run_notebook(study: Study, name: str, parameters: dict[str, object]) -> Path:
    """Execute a notebook; its output, among the study's results.

    Raises:
        PpcdError: it failed; what it did is in <name>.failed.ipynb.
    """
    from paper.notebook import execute

    print(f"{name}.ipynb is executed", file=sys.stderr, flush=True)
    output = study.results / "notebooks" / f"{name}.ipynb"
    execute(paths.repository() / "notebooks" / f"{name}.ipynb", output, parameters)
    return output


def build(study: Study) -> None:
    """Execute the notebooks, which write tables and figures, and make the report.

    Raises:
        PpcdError: a notebook failed; what it did is in <name>.failed.ipynb.
    """
    from paper.artifacts.report import build_report

    outputs = {name: run_notebook(study, name, parameters) for name, parameters in notebooks(study)}
    report = build_report(outputs["09_report"], study)
    print(f"tables:  {study.results / 'tables'}\nfigures: {study.figures}\nreport:  {report}")


def of_other_data(study: Study) -> str | None:
    """A line where the complete runs of a profile are all of other images than those that are asked for."""
    ours = study.config(TEACHER, 0).data_identity
    theirs = set()
    for record in study.unsealed():
        with suppress(LookupError, TypeError):  # whoever reads a run that was changed says what is wrong with it
            if record["status"] == "complete":
                theirs.add(str(record["config"]["data"]))
    if not theirs or ours in theirs:
        return None
    name = without_count(min(theirs))
    way = f"DATA={name} builds from them, with or without their folder" if is_name(name) else "these need no DATA="
    return (
        f"the runs in {study.source} are of the images {', '.join(sorted(theirs))}, and {ours} is asked for: "
        f"none of them counts; {way}"
    )


def how_far(configs: Sequence[RunConfig], copied: bool) -> str:
    """How many of these runs are there, and how long the others still train, going by those that are there.

    Args:
        copied: whether those that the reference has are copied.
    """
    states = [(config, Run(config).state) for config in configs]
    if copied:
        states = [
            (config, "copied" if state == "absent" and has_reference(config) else state) for config, state in states
        ]
    said = {"complete": "complete", "partial": "begun", "absent": "not started"}
    said |= {"copied": "to be copied from the reference"} if copied else {}
    counted = Counter(state for _, state in states)
    line = f"{len(states)} runs: " + ", ".join(f"{counted[state]} {text}" for state, text in said.items())
    there = [Run(config).read()["training"] for config, state in states if state == "complete"]
    left = sum(config.iterations for config, state in states if state not in ("complete", "copied"))
    if not there or not left:
        return line
    seconds = sum(training["seconds"] for training in there) / sum(training["iterations"] for training in there)
    hours = left * seconds / 3600
    return f"{line}; about {hours:.1f} hours of training to go, one after the other, at the speed of those there"


def reproduce(
    study: Study,
    device: str = "auto",
    retrain: bool | None = None,
    report_only: bool = False,
    processes: int = 1,
    launcher: str | None = None,
) -> None:
    """Train what the plan lacks, measure the runs, and build everything from it.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        retrain: train again what the reference has; else copy it. None: train again at profiles of minutes.
        report_only: only build, from the runs that are there.
        processes: that train each run together.
        launcher: "slurm" or "local": the runs are jobs of submitit (`ppcd.runs.jobs`); all else is done here.

    Raises:
        PpcdError: with one line, for whatever failed.
    """
    if others := of_other_data(study):
        print(others, file=sys.stderr, flush=True)
    runs = plan(study)
    if not report_only:
        again = trains_again(study, retrain)
        found = resolve_device("auto" if launcher == "slurm" else device)
        run_all(
            runs,
            device=device,
            retrain=again,
            processes=processes,
            cluster=launcher,
            when_done=ablation_first(study, again),
        )
        judged = {*RECIPES, *evidence.inquiry(study).leakage, *RECIPES_OF_CLAIMS}
        own = study.complete(
            run
            for run in runs
            if run.profile.name == study.name and run.recipe.name in judged and run.seed in study.seeds
        )  # not the extension's
        ensure_generations(study, own, found)
        ensure_real_images(study, found)
        ensure_runtime(study, own, found, again=again)  # when no training disturbs it any more
    for each in sorted({config.profile.name for config in runs}):
        if study.at(each).source == study.at(each).results:  # its links lead to the runs next to it
            index.write(study.at(each))
    build(study)


def trains_again(study: Study, retrain: bool | None) -> bool:
    """Whether runs that the reference has are trained again."""
    return study.name in TRAINED_AGAIN if retrain is None else retrain


def report_of_several(names: Sequence[str], seeds: Sequence[int]) -> None:
    """Build each profile from its runs, then the page of all reports. PPCD_DATA is for those whose images may be the
    user's own.

    Raises:
        PpcdError: as `reproduce`.
    """
    from paper.artifacts.report import build_tabs

    images, own = paths.images(), [name for name in names if takes_images(get_profile(name))]
    studies = []
    for name in names:
        if images and own:
            os.environ["PPCD_DATA"] = images if name in own else ""
        studies.append(Study.of(asked_profile(name), seeds))
        reproduce(studies[-1], report_only=True)
    print(f"all:     {build_tabs(studies)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = study_parser("reproduce", __doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--reuse", action="store_true", help="copy the complete runs of the repository")
    again.add_argument("--retrain", action="store_true", help="train them again")
    parser.add_argument("--processes", type=int, default=1, help="that train each run together, by accelerate launch")
    parser.add_argument("--launcher", choices=CLUSTERS, help="each run is a job, of Slurm or on this machine")
    again.add_argument(
        "--report-only", action="store_true", help="only tables, figures, report; of several profiles also one page"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be trained, and do nothing")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the same command goes on where it was")


def _command(options: argparse.Namespace) -> None:
    names = [options.profile] if is_file(options.profile) else list(dict.fromkeys(options.profile.split()))
    if options.report_only and len(names) > 1:
        report_of_several(names, parse_seeds(options.seeds))
        return
    study = asked_study(options)
    retrain = False if options.reuse else True if options.retrain else None
    if options.dry_run:
        runs = plan(study)
        print("\n\n".join(Run(config).describe() for config in runs))
        print(f"\n{how_far(runs, copied=not trains_again(study, retrain))}")
        return
    reproduce(study, options.device, retrain, options.report_only, options.processes, options.launcher)
    if not options.report_only:
        print(f"\n{compare.compare(study)}")
