"""What README.md and the report begin with: the main systems at several profiles in one table, or what the runs of one
profile say in three sentences; and a picture of teacher and student for the same noise and classes."""

import json
from collections.abc import Sequence
from errno import ENOENT
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paper import numbers
from paper.artifacts.figures import FIGURE3_LABELS, class_names, example_noise, examples, image_rows, shown_classes
from paper.artifacts.render import Html, plain_markdown, runs_link, write_number
from paper.artifacts.rows import PAPER_COLUMNS, score_names
from paper.claims.checking import STATUSES, Outcome, Status
from paper.intervals import t_interval
from paper.study import NOT_RUN, Record, Study, data_note
from ppcd.training.recipes import TEACHER

VERBS: dict[Status, str] = {
    "reproduced": "is reproduced",
    "not reproduced": "is not reproduced",
    "inconclusive": "is open",
    "not run": "was not run",
}
TABLES = ("tables/table1.csv", "tables/table2.csv", "tables/fig4.csv")  # they name the runs of each recipe
SYSTEMS = {
    TEACHER: "Big-GAN (teacher)",
    "ppcd": "PPCD-GAN, alpha 0.7",
    "sagan": "SA-GAN, not pruned",
    "distill-nas": "Distill + NAS",
    "l1-biggan-a0.8": "Big-GAN, l1 pruning, alpha 0.8",
}


def markdown(folders: Sequence[Path]) -> str:
    """Each system's Fréchet distance, accuracy and size at each profile, caption first.

    Args:
        folders: of the profiles' results, with Tables 1 and 2 and the numbers of Figure 4.

    Raises:
        FileNotFoundError: a profile lacks one of them or a run that it names, or has no run of these systems.
    """
    profiles = {folder.name: _records(folder) for folder in folders}
    heading, settings = ["System"], []
    for profile, found in profiles.items():
        records = [record for system in found.values() for record in system]
        if not records:
            raise FileNotFoundError(ENOENT, "no run of the main systems", profile)
        protocol, note = records[0]["metrics"]["protocol"], data_note(records)
        seeds = ", ".join(map(str, sorted({record["seed"] for record in records})))
        heading += [f"{profile}: {score_names(protocol['backbone'])['fd']} ↓", f"{profile}: accuracy ↑"]
        heading += [f"{profile}: #Par., MACs ↓"]
        settings.append(f"{profile}, seeds {seeds}, {protocol['samples']} samples{f', data: {note}' if note else ''}")
    rows = [
        [title, *(cell for found in profiles.values() for cell in _cells(found.get(recipe, [])))]
        for recipe, title in SYSTEMS.items()
    ]
    caption = (
        f"Mean and 95% t interval over seeds ({'; '.join(settings)}); EMA weights. Intervals end at what is possible: "
        "a distance of 0, an accuracy of 100%. Sizes are means. FD: Fréchet distance in the features of the network in "
        "brackets; accuracy: how often a classifier sees the class that was asked for. l1 pruning is shown at the "
        "alpha where its number of parameters comes nearest to PPCD-GAN's."
    )
    return f"{caption}\n\n{plain_markdown(pd.DataFrame(rows, columns=heading))}\n"


def _records(folder: Path) -> dict[str, list[Record]]:
    """Recipe -> the records of the runs that the profile's tables name."""
    named = pd.concat([pd.read_csv(folder / name, dtype=str, keep_default_na=False) for name in TABLES])
    named = named[named["recipe"].isin(SYSTEMS) & (named["runs"] != NOT_RUN)]
    return {
        recipe: [json.loads((folder / "runs" / run / "run.json").read_text()) for run in runs.split("; ")]
        for recipe, runs in zip(named["recipe"], named["runs"], strict=True)
    }


def _cells(records: Sequence[Record]) -> list[str]:
    if not records:
        return [NOT_RUN] * 3
    scores = [record["metrics"]["ema"] for record in records]
    sizes = [np.mean([record["complexity"][key] for record in records]) for key in ("params", "macs")]
    return [
        _with_interval([each["fd"] for each in scores], np.inf, "number"),
        _with_interval([each["accuracy"] for each in scores], 1.0, "percent"),
        ", ".join(write_number(float(size), "count") for size in sizes),
    ]


def _with_interval(values: Sequence[float], most: float, style: str) -> str:
    """`4.45 (1.57 to 7.32)`; the mean alone for one seed, which says nothing of the spread."""
    mean = write_number(float(np.mean(values)), style)
    if len(values) < 2:
        return mean
    low, high = ("0" if end == 0 else write_number(end, style) for end in np.clip(t_interval(values), 0.0, most))
    return f"{mean} ({low} to {high})"


def sentences(outcomes: Sequence[Outcome], frame: pd.DataFrame) -> Html:
    """Three sentences: what came of the paper's claims, how big PPCD-GAN is, how good its images are.

    Args:
        frame: Table 1 of the same study.
    """
    return Html("\n".join(f"<p>{said}</p>" for said in (_claims(outcomes), _size(frame), _quality(outcomes, frame))))


def _claims(outcomes: Sequence[Outcome]) -> str:
    by_status = {status: [each for each in outcomes if each.status == status] for status in STATUSES}
    held, failed, still, not_run = map(len, by_status.values())
    held_by_design, failed_by_design, *_ = (sum(each.claim.by_design for each in some) for some in by_status.values())
    return (
        f'Of the <a href="#Claims">{len(outcomes)} claims</a> of the paper that runs can decide, <strong>{held} are '
        f"reproduced</strong> ({held_by_design} of them by design, of sizes and times), <strong>{failed} are "
        f"not</strong> ({failed_by_design} by design), {still} are open and {not_run} were not run."
    )


def _size(frame: pd.DataFrame) -> str:
    teacher, student = (frame[frame["recipe"] == recipe].iloc[0] for recipe in (TEACHER, "ppcd"))
    name = f"PPCD-GAN at alpha {numbers.TABLE1_ALPHA:g}"
    if NOT_RUN in (teacher["status"], student["status"]):
        return f"How small {name} is, against its teacher: {NOT_RUN}."
    small, large, more = {}, {}, {}
    for key in ("params", "macs"):
        small[key], large[key] = (runs_link(write_number(row[key], "count"), row["runs"]) for row in (student, teacher))
        papers = numbers.published(1, numbers.TABLE1_ROWS["ppcd"], PAPER_COLUMNS[key]).factor
        more[key] = f"{student[f'{key} factor']:.1f} times as many ({papers:g} in the paper)"
    return (
        f"{name} has <strong>{small['params']} parameters</strong>, its Big-GAN teacher {large['params']}, "
        f"{more['params']}; an image takes it <strong>{small['macs']} MACs</strong>, the teacher {large['macs']}, "
        f"{more['macs']}."
    )


def _quality(outcomes: Sequence[Outcome], frame: pd.DataFrame) -> str:
    scores = {
        row["recipe"]: NOT_RUN
        if row["status"] == NOT_RUN
        else runs_link(write_number(row["fd"], "number"), row["runs"])
        for _, row in frame.iterrows()
    }
    if scores["ppcd"] == NOT_RUN:
        return f"How good its images are: {NOT_RUN}."
    names = {"outperforms": "it outperforms SA-GAN, SN-GAN and Tiny-GAN", "comparable-biggan": "it comes near Big-GAN"}
    found = {each.claim.id: VERBS[each.status] for each in outcomes}
    verdicts = " and that ".join(f'<a href="#claim-{name}">{said}</a> {found[name]}' for name, said in names.items())
    return (
        f"Its Fréchet distance (lower is better; features: {frame['backbone'].iloc[0]}) is <strong>{scores['ppcd']}"
        f"</strong>, the teacher's {scores[TEACHER]}, that of SA-GAN, which is not pruned, {scores['sagan']}: that "
        f"{verdicts}."
    )


def figure(study: Study) -> Figure:
    """The teacher's images above those of the slim PPCD-GAN: each column has one class and one noise vector.

    The teacher sees the first `dim_z` entries of the student's noise, as in L_CD (eq. 4).
    """
    study = study.first.with_alpha(numbers.TABLE1_ALPHA)
    records = {recipe: study.record(recipe) for recipe in (TEACHER, "ppcd")}
    labels = shown_classes(study, FIGURE3_LABELS, 9)
    names = class_names(study.profile, list(records.values()), labels)
    z = example_noise(study.profile, study.seeds[0], len(labels))
    rows = {}
    for record, name in zip(records.values(), ("Big-GAN", "PPCD-GAN"), strict=True):
        size = NOT_RUN if record is None else f"{write_number(record['complexity']['params'], 'count')} parameters"
        rows[f"{name}\n{size}"] = None if record is None else examples(record, z, labels)
    return image_rows(study, rows, names, "a column: one class, one noise vector")
