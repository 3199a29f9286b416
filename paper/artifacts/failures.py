"""Figure 8: failure cases by two stated rules, and which share of the samples fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper import failures, numbers, sums
from paper.artifacts.figures import STYLE, class_names, new_figure, not_run, save, show_tiles, sign
from paper.failures import RULES, Judged
from paper.judges import get_judges
from paper.study import NOT_RUN, Study, generator_of, listed
from ppcd.metrics.sampling import fewest_samples, sample_images
from ppcd.training.recipes import RECIPES, TEACHER

SYSTEMS = ("ppcd", TEACHER)
REAL = "real images"
SHARE = 5  # a fifth of the evaluation's samples is judged
SHOWN = 10  # failures in a row, the worst first
SHORT = 3  # letters of class names that stand in one line with a number
PAPER = (
    'The paper\'s failures, found by eye, are "incomplete background"; digits have no background, so that the notion '
    "has no meaning here.\nWhat these rules find are images that are not (clearly) of their class, and images unlike "
    "any real one of it."
)
PAPER_ELSEWHERE = (
    'The paper\'s failures, found by eye, are "incomplete background"; these rules look at the whole image.'
)


def judged(study: Study) -> dict[str, Judged | None]:
    """What the rules say of PPCD-GAN, of its teacher and of the real images; samples of all seeds together.

    Of every run the first fifth of its evaluation's samples; None for a system of which no run is complete.
    """
    budget, records = study.fitted, {recipe: study.records(recipe) for recipe in SYSTEMS}
    if not any(records.values()):
        return dict.fromkeys((*SYSTEMS, REAL))
    data, evaluators = get_judges(study)
    real = failures.reference(data, evaluators)
    count = max(budget.evaluation_samples // SHARE, fewest_samples(budget.num_classes))
    found: dict[str, Judged | None] = {}
    for recipe, runs in records.items():
        parts = []
        for run in runs:
            drawn = sample_images(generator_of(run), count, run["metrics"]["protocol"]["seed"])
            parts.append(failures.judge(*drawn, evaluators, real))
        found[recipe] = failures.join(parts) if parts else None
    found[REAL] = failures.judge_real(count, evaluators, real)
    return found


def shares(found: dict[str, Judged | None], study: Study) -> pd.DataFrame:
    """Failures under each rule and under either: a count, the samples it is of, and the share in [0, 1]."""
    rows = []
    for system, what in found.items():
        for rule in (*RULES, "either"):
            row: dict[str, Any] = {"profile": study.name, "seeds": listed(study.seeds)}
            row |= {"system": _title(system), "rule": rule}
            row |= dict.fromkeys(("failures", "samples", "share"), NOT_RUN)
            if what is not None:
                failed = what.unclear | what.far if rule == "either" else getattr(what, rule)
                count, total = int(failed.sum()), len(failed)
                row |= {"failures": count, "samples": total, "share": count / total}
            rows.append(row)
    return pd.DataFrame(rows).assign(**({"data note": study.note} if study.note else {}))


def shares_table(found: dict[str, Judged | None], study: Study) -> pd.DataFrame:
    """The same to be read, `12 of 1000 (1.2%)`: one row per system, one column per rule."""
    table = shares(found, study)
    said = [
        NOT_RUN if row["share"] == NOT_RUN else f"{row['failures']} of {row['samples']} ({100 * row['share']:.1f}%)"
        for row in table.to_dict("records")
    ]
    wide = table.assign(said=said).set_index(["system", "rule"])["said"].unstack(sort=False).reset_index()
    wide.columns.name = None
    return wide.assign(data=table["data note"].iloc[0]) if "data note" in table else wide


def _title(system: str) -> str:
    return RECIPES[system].title if system in RECIPES else system


def fig8(study: Study, found: dict[str, Judged | None] | None = None) -> Figure:
    """Figure 8: the worst failures of PPCD-GAN under each rule, of its teacher and of the real images for contrast.

    Args:
        study: the samples of its seeds are judged together.
        found: what `judged` returned for the same study, so that it is not computed twice.
    """
    budget, found = study.fitted, judged(study) if found is None else found
    said = shares_table(found, study).set_index("system")
    records = [record for recipe in SYSTEMS for record in study.records(recipe)]
    names = class_names(budget, records, range(budget.num_classes))
    short = max(map(len, names)) <= SHORT
    heads = [name + (": " if short else "\n") for name in names]
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = new_figure(7.4, (0.86 if short else 0.96) * len(RULES) * len(found) + 1.3)
        for band, rule in zip(figure.subfigures(len(RULES), 1, squeeze=False).flat, RULES, strict=True):
            panels, texts = band.subplots(len(found), 1, squeeze=False), said[rule].to_dict()
            band.suptitle(f"rule “{rule}”: {RULES[rule]}", fontsize=8, fontweight="bold")
            for axes, (system, what) in zip(panels.flat, found.items(), strict=True):
                _worst(axes, what, rule, heads, f"{_title(system)}\n{texts[_title(system)]}")
        either = ", ".join(f"{system} {text}" for system, text in said["either"].items())
        note = PAPER if budget.dataset == "mnist" else PAPER_ELSEWHERE
        line = study.with_alpha(numbers.TABLE1_ALPHA).line
        sign(figure, line, f"failures under either rule: {either}\n{note}")
    return figure


def _worst(axes: Axes, what: Judged | None, rule: str, heads: Sequence[str], label: str) -> None:
    """The worst failures of one system, each with its head, that of its class, and how bad it is."""
    if what is None:
        axes.set_box_aspect(1 / SHOWN)
        not_run(axes)
        axes.set_ylabel(label, rotation=0, ha="right", va="center")
        return
    worst = what.worst(rule, SHOWN)
    images = what.images.new_full((SHOWN, *what.images.shape[1:]), 255)
    images[: len(worst)] = what.images[worst]
    under = []
    for index in worst.tolist():
        value = f"p {what.probability[index]:.2f}" if rule == "unclear" else f"{what.distance[index]:.2f}×"
        under.append(heads[int(what.labels[index])] + value)
    under = under or ["none"]
    show_tiles(axes, images.float() / 255, [label], under + [""] * (SHOWN - len(under)))


def write_fig8(study: Study, found: dict[str, Judged | None] | None = None) -> list[Path]:
    """Write `figures/<profile>/fig8.{png,pdf}` and `results/<profile>/tables/fig8.csv` with the shares."""
    found = judged(study) if found is None else found
    written = save(fig8(study, found), study.figures, "fig8")
    table = shares(found, study).to_csv(index=False, lineterminator="\n")
    return [*written, sums.write(study.results, "tables/fig8.csv", table)]
