"""A generator as people name it on a command line: a file, a run's directory, a run's id, or `profile/recipe`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.records import GENERATOR, read_run

WEIGHTS = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class Named:
    """Where the weights are, and the record of the run that they belong to; None of a file on its own."""

    path: Path
    record: dict[str, Any] | None


def find_generator(name: str) -> Named:
    """The generator that is meant.

    Args:
        name: a file of weights; a run's directory; a run's id ("ppcd-s0-8daa7a8e"); or a profile and a recipe
            ("mnist/ppcd-a0.5"), of which the run of the smallest seed is taken.
    """
    path = paths.expanded(name)
    if path.is_file():
        inside = path.name == GENERATOR and (path.parent / "run.json").is_file()
        return Named(path, read_run(path.parent) if inside else None)
    if path.suffix in WEIGHTS:
        raise PpcdError(f"there is no file {name}")
    if path.is_dir():
        return Named(path / GENERATOR, read_run(path))
    pattern = f"*/runs/{path.name}/run.json"
    if profile := path.parent.name:
        pattern = f"{profile}/runs/{path.name}-s[0-9]*-????????/run.json"
    for folder in (paths.results("."), paths.reference(".")):  # one's own before the reference
        if found := sorted(folder.glob(pattern)):
            break
    if profile:
        found = [each for each in found if _seed(each) == min(map(_seed, found))]
    if not found:
        raise PpcdError(
            f"{name} is no file of weights, no directory or id of a complete run, and no profile/recipe that has one, "
            "for example mnist/ppcd"
        )
    if len(found) > 1:
        raise PpcdError(f"{name} could be any of {', '.join(str(each.parent) for each in found)}; name one of them")
    return Named(found[0].parent / GENERATOR, read_run(found[0].parent))


def _seed(record: Path) -> int:
    return int(record.parent.name.rsplit("-s", 1)[1].split("-")[0])
