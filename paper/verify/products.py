"""Tables, figures and claims made again from the runs, in a temporary folder, and compared with the committed ones."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure

from paper import claims, sums
from paper.artifacts import (
    claims_table,
    compression,
    curves,
    evidence,
    failures,
    figures,
    framework,
    headline,
    index,
    interpolation,
    overview,
    paper_scale,
    tables,
)
from paper.artifacts.figures import save
from paper.study import Study
from paper.verify.compare import BINARY, PLOTTED, ROUNDING, Finding, file_difference
from ppcd.base import PpcdError

Maker = Callable[[Study, str | None], object]  # the study, what the name has after its dash


def _alphas(text: str | None) -> list[float]:
    """The alphas of `table3-a0.6` or `fig4-a0.5-0.7`; nothing for `table3`, which has the paper's."""
    return [float(alpha) for alpha in text.split("-")] if text else []


def _masks(study: Study, recipe: str | None) -> object:
    record = study.record(recipe or "ppcd")
    if record is None:
        raise PpcdError(f"there is no complete run of {recipe or 'ppcd'} with seed {study.seeds[0]}")
    return curves.write_masks(record, study.figures)


def _figure(make: Callable[[Study], Figure], name: str) -> Maker:
    return lambda study, _: save(make(study), study.figures, name)


# Stem of the files -> what makes them, as the notebooks do.
MAKERS: dict[str, Maker] = {
    r"table1": lambda study, _: tables.write(tables.table1(study), study),
    r"table2": lambda study, _: tables.write(tables.table2(study), study),
    r"table3(?:-a([\d.]+))?": lambda study, alpha: tables.write(tables.table3(study, *_alphas(alpha)), study),
    r"claims": lambda study, _: claims_table.write(claims.check_claims(study), study),
    r"fig1": _figure(overview.fig1, "fig1"),
    r"fig2": _figure(lambda study: framework.fig2(study.profile), "fig2"),
    r"fig3": _figure(figures.fig3, "fig3"),
    r"fig4(?:-a([\d.-]+))?": lambda study, alphas: compression.write_fig4(study, *filter(None, [_alphas(alphas)])),
    r"fig5(?:-a([\d.]+))?": lambda study, alpha: figures.write_fig5(study, *_alphas(alpha)),
    r"README": lambda study, _: index.write(study),
    r"headline": _figure(headline.figure, "headline"),
    r"fig6": _figure(interpolation.fig6, "fig6"),
    r"fig7": _figure(interpolation.fig7, "fig7"),
    r"fig8": lambda study, _: failures.write_fig8(study),
    r"masks(?:-(.+))?": _masks,
    r"mask-rules": _figure(
        lambda study: curves.mask_rules({rule: study.record(rule) for rule in curves.RULES}), "mask-rules"
    ),
    r"lcd_range": _figure(curves.lcd_range, "lcd_range"),
    r"evidence": lambda study, _: evidence.write(study),
    r"paper_scale": lambda study, _: paper_scale.write_all(study),
}
JUDGED = {"fig3", "fig8"}  # need the networks that measured the runs
TOGETHER = ("paper_scale", "evidence", "fig4")  # one call makes all files whose names start so


def find_products(study: Study) -> dict[str, Path]:
    """Tables, claims, index and figures of a study: `results/mnist/tables/table1.csv` -> where it is."""
    results, drawn = study.results, study.figures
    found = [*results.glob("claims.json"), *results.glob("README.md"), *results.glob("tables/*")]
    names = {f"results/{study.name}/{path.relative_to(results)}": path for path in sorted(found)}
    names |= {f"figures/{study.name}/{path.name}": path for path in sorted(drawn.glob("*"))}
    return {name: path for name, path in names.items() if path.name != sums.FILE and not path.name.startswith(".")}


def stem(path: Path) -> str:
    """What a file is part of: `table1`."""
    return next((whole for whole in TOGETHER if path.stem.startswith(f"{whole}_")), path.stem)


def find_maker(name: str) -> Callable[[Study], object] | None:
    """What makes the files of a stem; None where nothing does."""
    for pattern, make in MAKERS.items():
        if match := re.fullmatch(pattern, name):
            suffix = match[1] if match.re.groups else None
            return lambda study: make(study, suffix)
    return None


def seeds_named(files: Iterable[Path]) -> tuple[int, ...]:
    """The seeds that the texts of a product name most often, so that one changed digit is a difference, no more.

    0 where none are named: what it shows then depends on no run.
    """
    texts = (path.read_text() for path in files if path.suffix not in BINARY)
    named = Counter(each for text in texts for each in re.findall(r"\bseeds? (\d+(?:, \d+)*)", text))
    return tuple(int(seed) for seed in named.most_common(1)[0][0].split(",")) if named else (0,)


def check_products(
    study: Study, other_judge: Callable[[], str | None], say: Callable[[str], None]
) -> Iterator[Finding]:
    """Make everything again and compare it with what is there.

    Args:
        study: where the products are; which seeds they are of, they say themselves.
        other_judge: says why the networks that measured the runs are not available; None where they are.
        say: called with a line when a product was made.
    """
    committed = find_products(study)
    products: dict[str, list[Path]] = {}
    for path in committed.values():
        products.setdefault(stem(path), []).append(path)
    made_again, failed = set[str](), dict[str, list[str]]()
    with tempfile.TemporaryDirectory(prefix="ppcd-verify-") as temporary:
        made = study.into(Path(temporary))
        for name, files in products.items():
            make = find_maker(name)
            if make is None:
                yield Finding(f"{name} of {study.name}", "nothing that this version knows makes it")
            elif name in JUDGED and (reason := other_judge()):
                say(f"note: {name} was not made again: {reason}; its files have the hashes of {sums.FILE}")
            else:
                try:
                    make(replace(made, seeds=seeds_named(files)))
                except PpcdError as error:
                    failed.setdefault(str(error).replace(f"{study.source.parents[1]}/", ""), []).append(name)
                else:
                    made_again.add(name)
                    say(f"{study.name}: {name} made again")
        yield from compare(
            {name: path for name, path in committed.items() if stem(path) in made_again}, find_products(made)
        )
    for reason, names in failed.items():
        yield Finding(", ".join(names), f"cannot be made again: {reason}")


def compare(committed: Mapping[str, Path], made: Mapping[str, Path]) -> Iterator[Finding]:
    """Files that are missing, too many, or not what was made."""
    for name in sorted(committed.keys() | made.keys()):
        if name not in committed:
            yield Finding(name, "is missing; it is made of what is there")
        elif name not in made:
            yield Finding(name, "nothing makes it of what is there")
        else:
            rounding = PLOTTED if name.startswith("figures/") else ROUNDING
            if problem := file_difference(committed[name], made[name], rounding):
                yield Finding(name, problem)
