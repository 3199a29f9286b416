"""Tables, figures and claims made anew from the runs, by what makes them, in a folder that is thrown away."""

import csv
import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from paper import claims, sums, timing
from paper.artifacts import (
    claims_table,
    comparison_figures,
    compression,
    curves,
    evidence,
    failures,
    figures,
    framework,
    headline,
    interpolation,
    lcd_range,
    overview,
    paper_scale_figures,
    tables,
)
from paper.artifacts.sources import Record, Study, find_record
from paper.attention_agreement import FILE as FOLLOWING
from paper.paper_scale import FILE as PAPER_SCALE
from paper.questions import SMALL_NOISE
from paper.real_images import FILE as FLOOR
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.records import write_record
from ppcd.training.recipes import get_recipe

Seeds = tuple[int, ...]
Maker = Callable[[str, Seeds, re.Match[str]], object]


@dataclass(frozen=True)
class Product:
    """What is made at once: a table in its three forms, a figure with its numbers, the claims."""

    name: str
    make: Callable[[str, Seeds], object]
    results: tuple[str, ...]  # files of it that are there, below results/<profile>
    figures: tuple[str, ...]  # and below figures/<profile>
    judged: bool  # whether it needs the networks that measured the runs


def _alpha(match: re.Match[str]) -> list[float]:
    """The alpha of `table3-a0.6`; nothing for `table3`, which has the paper's."""
    return [float(match[1])] if match[1] else []


def _claims(profile: str, seeds: Seeds, _: re.Match[str]) -> object:
    return claims_table.write(claims.check_claims(profile, seeds), Study(profile, seeds))


def _fig4(profile: str, seeds: Seeds, match: re.Match[str]) -> object:
    return compression.write_fig4(profile, seeds, *([tuple(map(float, match[1].split("-")))] if match[1] else []))


def _masks(profile: str, seeds: Seeds, match: re.Match[str]) -> object:
    record = find_record(profile, get_recipe(match[1] or "ppcd").name, seeds[0])
    if record is None:
        raise PpcdError(f"there is no complete run of {match[1] or 'ppcd'} with seed {seeds[0]}")
    return curves.write_masks(record)


def _rules(profile: str, seeds: Seeds, _: re.Match[str]) -> object:
    found = {rule: find_record(profile, rule, seeds[0]) for rule in curves.RULES}
    return figures.save(curves.mask_rules(found), profile, "mask-rules")


# Stem of the files -> what makes them, as the notebooks do.
MAKERS: dict[str, Maker] = {
    r"table1": lambda profile, seeds, _: tables.write(tables.table1(profile, seeds)),
    r"table2": lambda profile, seeds, _: tables.write(tables.table2(profile, seeds)),
    r"table3(?:-a([\d.]+))?": lambda profile, seeds, match: tables.write(tables.table3(profile, seeds, *_alpha(match))),
    r"claims": _claims,
    r"fig1": lambda profile, seeds, _: overview.write_fig1(profile, seeds),
    r"fig2": lambda profile, _, __: framework.write_fig2(profile),
    r"fig3": lambda profile, seeds, _: comparison_figures.write_fig3(profile, seeds[0]),
    r"fig4(?:-a([\d.-]+))?": _fig4,
    r"fig5(?:-a([\d.]+))?": lambda profile, seeds, match: figures.write_fig5(profile, seeds[0], *_alpha(match)),
    r"headline": lambda profile, seeds, _: headline.write(profile, seeds[0]),
    r"fig6": lambda profile, seeds, _: interpolation.write_fig6(profile, seeds[0]),
    r"fig7": lambda profile, seeds, _: interpolation.write_fig7(profile, seeds[0]),
    r"fig8": lambda profile, seeds, _: failures.write_fig8(profile, seeds),
    r"masks(?:-(.+))?": _masks,
    r"mask-rules": _rules,
    r"lcd_range": lambda profile, seeds, _: lcd_range.write(profile, seeds),
    r"evidence": lambda profile, seeds, _: evidence.write(profile, seeds),
    r"paper_scale": lambda profile, seeds, _: paper_scale_figures.write_all(profile, seeds[0]),
}
JUDGED = {"fig3", "fig8"}
MEASURED = (timing.FILE, PAPER_SCALE, FOLLOWING, FLOOR)  # beside the runs; not made from them
TOGETHER = ("paper_scale", "evidence", "fig4")


def find_products(profile: str) -> tuple[list[Product], list[str]]:
    """The products that a profile has, by the files that are there; and files that nothing here makes."""
    in_results = [name for pattern in ("claims.json", "tables/*") for name in _names(paths.results(profile), pattern)]
    in_figures = _names(paths.figures(profile), "*")
    products, unknown = [], []
    for stem in dict.fromkeys(map(_stem, (*in_results, *in_figures))):
        here, drawn = (tuple(name for name in names if _stem(name) == stem) for names in (in_results, in_figures))
        make = _maker(stem)
        if make is None:
            unknown += [f"results/{profile}/{name}" for name in here] + [f"figures/{profile}/{name}" for name in drawn]
        else:
            products.append(Product(stem, make, here, drawn, stem in JUDGED))
    return products, unknown


def _stem(name: str) -> str:
    """What a file is of: `table1`; all of the paper's scale, of the evidence, and of Figure 4 is made together."""
    stem = Path(name).stem
    return next((whole for whole in TOGETHER if stem.startswith(f"{whole}_")), stem)


def _maker(stem: str) -> Callable[[str, Seeds], object] | None:
    for pattern, make in MAKERS.items():
        if match := re.fullmatch(pattern, stem):
            return partial(_make, make, match)
    return None


def _make(make: Maker, match: re.Match[str], profile: str, seeds: Seeds) -> object:
    return make(profile, seeds, match)


def _names(folder: Path, pattern: str) -> list[str]:
    """Names below a folder, without what its SHA256SUMS is written with."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    return [str(path.relative_to(folder)) for path in found if path.name != sums.FILE]


def seeds_named(texts: Mapping[str, str]) -> Seeds | None:
    """The seeds that a product says it is of: those named most often, so that a changed digit is one that differs and
    not another product. None where none are named.

    Args:
        texts: of the product's files, by their names.
    """
    named: Counter[Seeds] = Counter()
    for name, text in texts.items():
        if name.endswith(".csv"):
            rows = csv.DictReader(io.StringIO(text))
            listed = [row.get("asked seeds") or row.get("seeds") or "" for row in rows]
        else:
            listed = ["".join(found) for found in re.findall(r'seeds? (\d+(?:, \d+)*)|"seeds": \[([\d,\s]+)\]', text)]
        parts = (each.split(",") for each in listed if re.fullmatch(r"[\d,\s]+", each))
        named.update(tuple(map(int, each)) for each in parts)
    return named.most_common(1)[0][0] if named else None


@contextmanager
def stage(profile: str, resealed: Mapping[str, Record]) -> Iterator[None]:
    """Results and figures go to a folder that is thrown away; the profile's runs and measurements are seen in it.

    Args:
        profile: its name.
        resealed: records whose run.json was changed, by the runs' names: they count there as they stand, so that it
            shows where products say something else.
    """
    here = paths.results(profile).resolve()
    with tempfile.TemporaryDirectory(prefix="ppcd-verify-") as folder:
        results = Path(folder) / "results" / profile
        results.mkdir(parents=True)
        for name in MEASURED:
            if (here / name).exists():
                (results / name).symlink_to(here / name)
        if (small := here.with_name(here.name + SMALL_NOISE)).is_dir():  # whose runs answer questions of this profile
            results.with_name(small.name).symlink_to(small)
        (results / "runs").mkdir()
        for run in (here / "runs").glob("*"):
            if run.name in resealed:
                _reseal(resealed[run.name], run, results / "runs" / run.name)
            else:
                (results / "runs" / run.name).symlink_to(run)
        with moved({"PPCD_RESULTS": str(results.parent), "PPCD_FIGURES": str(Path(folder) / "figures")}):
            yield


def _reseal(record: Record, run: Path, directory: Path) -> None:
    """A run of the same files, with the record as it stands and a seal that fits."""
    directory.mkdir()
    for path in run.iterdir():
        if path.name != "run.json":
            (directory / path.name).symlink_to(path)
    content = {name: value for name, value in record.items() if name not in ("schema", "files", "sha256")}
    write_record(directory, content, [name for name in record["files"] if (directory / name).is_file()])


@contextmanager
def moved(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment inside, and as they were behind it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
