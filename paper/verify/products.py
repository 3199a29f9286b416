"""Tables, figures and claims made again from the runs, in a temporary folder, and compared with the committed ones."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from paper import claims, sums, timing
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
    lcd_range,
    overview,
    paper_scale,
    tables,
)
from paper.artifacts.figures import save
from paper.artifacts.sources import Study, find_record
from paper.attention_agreement import FILE as FOLLOWING
from paper.paper_scale import FILE as PAPER_SCALE
from paper.questions import SMALL_NOISE
from paper.real_images import FILE as REAL
from paper.verify.compare import BINARY, PLOTTED, ROUNDING, Finding, file_difference
from ppcd import paths
from ppcd.base import PpcdError

Seeds = tuple[int, ...]
Maker = Callable[[str, Seeds, str | None], object]  # profile, seeds, what the name has after its dash


def _alphas(text: str | None) -> list[float]:
    """The alphas of `table3-a0.6` or `fig4-a0.5-0.7`; nothing for `table3`, which has the paper's."""
    return [float(alpha) for alpha in text.split("-")] if text else []


def _masks(profile: str, seeds: Seeds, recipe: str | None) -> object:
    record = find_record(profile, recipe or "ppcd", seeds[0])
    if record is None:
        raise PpcdError(f"there is no complete run of {recipe or 'ppcd'} with seed {seeds[0]}")
    return curves.write_masks(record)


def _mask_rules(profile: str, seeds: Seeds, _: str | None) -> object:
    found = {rule: find_record(profile, rule, seeds[0]) for rule in curves.RULES}
    return save(curves.mask_rules(found), profile, "mask-rules")


# Stem of the files -> what makes them, as the notebooks do.
MAKERS: dict[str, Maker] = {
    r"table1": lambda profile, seeds, _: tables.write(tables.table1(profile, seeds)),
    r"table2": lambda profile, seeds, _: tables.write(tables.table2(profile, seeds)),
    r"table3(?:-a([\d.]+))?": lambda profile, seeds, alpha: tables.write(
        tables.table3(profile, seeds, *_alphas(alpha))
    ),
    r"claims": lambda profile, seeds, _: claims_table.write(claims.check_claims(profile, seeds), Study(profile, seeds)),
    r"fig1": lambda profile, seeds, _: save(overview.fig1(profile, seeds), profile, "fig1"),
    r"fig2": lambda profile, _, __: save(framework.fig2(profile), profile, "fig2"),
    r"fig3": lambda profile, seeds, _: save(figures.fig3(profile, seeds[0]), profile, "fig3"),
    r"fig4(?:-a([\d.-]+))?": lambda profile, seeds, alphas: compression.write_fig4(
        profile, seeds, *([_alphas(alphas)] if alphas else [])
    ),
    r"fig5(?:-a([\d.]+))?": lambda profile, seeds, alpha: figures.write_fig5(profile, seeds[0], *_alphas(alpha)),
    r"README": lambda profile, _, __: index.write(profile),
    r"headline": lambda profile, seeds, _: save(headline.figure(profile, seeds[0]), profile, "headline"),
    r"fig6": lambda profile, seeds, _: save(interpolation.fig6(profile, seeds[0]), profile, "fig6"),
    r"fig7": lambda profile, seeds, _: save(interpolation.fig7(profile, seeds[0]), profile, "fig7"),
    r"fig8": lambda profile, seeds, _: failures.write_fig8(profile, seeds),
    r"masks(?:-(.+))?": _masks,
    r"mask-rules": _mask_rules,
    r"lcd_range": lambda profile, seeds, _: save(lcd_range.figure(profile, seeds), profile, "lcd_range"),
    r"evidence": lambda profile, seeds, _: evidence.write(profile, seeds),
    r"paper_scale": lambda profile, seeds, _: paper_scale.write_all(profile, seeds[0]),
}
JUDGED = {"fig3", "fig8"}  # need the networks that measured the runs
MEASURED = (timing.FILE, PAPER_SCALE, FOLLOWING, REAL)  # next to the runs; not made from them
TOGETHER = ("paper_scale", "evidence", "fig4")  # one call makes all files whose names start so


def find_products(profile: str) -> dict[str, Path]:
    """Tables, claims, index and figures of a profile: `results/mnist/tables/table1.csv` -> where it is."""
    results, drawn = paths.results(profile), paths.figures(profile)
    found = [*results.glob("claims.json"), *results.glob("README.md"), *results.glob("tables/*")]
    names = {f"results/{profile}/{path.relative_to(results)}": path for path in sorted(found)}
    names |= {f"figures/{profile}/{path.name}": path for path in sorted(drawn.glob("*"))}
    return {name: path for name, path in names.items() if path.name != sums.FILE and not path.name.startswith(".")}


def stem(path: Path) -> str:
    """What a file is part of: `table1`."""
    return next((whole for whole in TOGETHER if path.stem.startswith(f"{whole}_")), path.stem)


def find_maker(name: str) -> Callable[[str, Seeds], object] | None:
    """What makes the files of a stem; None where nothing does."""
    for pattern, make in MAKERS.items():
        if match := re.fullmatch(pattern, name):
            suffix = match[1] if match.re.groups else None
            return lambda profile, seeds: make(profile, seeds, suffix)
    return None


def seeds_named(files: Iterable[Path]) -> Seeds:
    """The seeds that the texts of a product name most often, so that one changed digit is a difference, no more.

    0 where none are named: what it shows then depends on no run.
    """
    texts = (path.read_text() for path in files if path.suffix not in BINARY)
    named = Counter(each for text in texts for each in re.findall(r"\bseeds? (\d+(?:, \d+)*)", text))
    return tuple(int(seed) for seed in named.most_common(1)[0][0].split(",")) if named else (0,)


def check_products(
    profile: str, other_judge: Callable[[], str | None], say: Callable[[str], None]
) -> Iterator[Finding]:
    """Make everything again and compare it with what is there.

    Args:
        profile: its name.
        other_judge: says why the networks that measured the runs are not available; None where they are.
        say: called with a line when a product was made.
    """
    committed = find_products(profile)
    products: dict[str, list[Path]] = {}
    for path in committed.values():
        products.setdefault(stem(path), []).append(path)
    made_again, failed = set[str](), dict[str, list[str]]()
    with stage(profile) as folder:
        for name, files in products.items():
            make = find_maker(name)
            if make is None:
                yield Finding(f"{name} of {profile}", "nothing that this version knows makes it")
            elif name in JUDGED and (reason := other_judge()):
                say(f"note: {name} was not made again: {reason}; its files have the hashes of {sums.FILE}")
            else:
                try:
                    make(profile, seeds_named(files))
                except PpcdError as error:
                    failed.setdefault(str(error).replace(f"{folder}/", ""), []).append(name)
                else:
                    made_again.add(name)
                    say(f"{profile}: {name} made again")
        yield from compare(
            {name: path for name, path in committed.items() if stem(path) in made_again}, find_products(profile)
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


@contextmanager
def stage(profile: str) -> Iterator[Path]:
    """A temporary folder that results and figures go to, in which the profile's runs and measurements are seen."""
    here = paths.results(profile).resolve()
    with tempfile.TemporaryDirectory(prefix="ppcd-verify-") as temporary:
        folder = Path(temporary).resolve()
        results = folder / "results" / profile
        results.mkdir(parents=True)
        for name in ("runs", *MEASURED):
            if (here / name).exists():
                (results / name).symlink_to(here / name)
        if (small := here.with_name(here.name + SMALL_NOISE)).is_dir():  # its runs answer questions of this profile
            results.with_name(small.name).symlink_to(small)
        with moved(PPCD_RESULTS=str(results.parent), PPCD_FIGURES=str(folder / "figures")):
            yield folder


@contextmanager
def moved(**values: str) -> Iterator[None]:
    """Environment variables inside the block; afterwards they are as they were."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
