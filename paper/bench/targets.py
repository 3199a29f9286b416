"""What was asked of the project's speed, and what was measured."""

from dataclasses import dataclass
from typing import Any

from paper.bench.latency import PAPER_SCALE, SLIM, TEACHER
from paper.bench.runner import spread
from paper.bench.training import ALLOCATOR, PAIR, STRAIGHT, THREADS, TOGETHER

Part = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A case shall be so many times faster than a baseline, with a peak of memory that is not higher.

    Attributes:
        what: for people.
        part: of the results.
        scene, about: of the group.
        case, baseline: names in the group.
        at_least: times faster.
    """

    what: str
    part: str
    scene: str
    about: dict[str, Any]
    case: str
    baseline: str
    at_least: float


PAIR_ABOUT, PAIR_WHAT = {"threads": THREADS}, "one D+G iteration of the 32 px BigGAN pair, float32, 2 threads"
TARGETS = {
    "training": Target(PAIR_WHAT, "training", PAIR, PAIR_ABOUT, TOGETHER, STRAIGHT, 2.0),
    "training, the baseline with the allocator too": Target(
        PAIR_WHAT, "training", PAIR, PAIR_ABOUT, TOGETHER, ALLOCATOR, 2.0
    ),
    "inference": Target(
        "128 px, batch 8, 2 threads: BigGAN dense against PPCD-GAN with .17 kept",
        "latency", PAPER_SCALE, {"batch": 8, "threads": 2}, SLIM, TEACHER, 10.0,
    ),
}  # fmt: skip


def find_group(part: Part | None, scene: str, about: dict[str, Any]) -> Part | None:
    """The measured group of that scene whose `about` has these values; None where there is none."""
    groups = [] if part is None else part["groups"]
    return next((each for each in groups if each["scene"] == scene and about.items() <= each["about"].items()), None)


def judge(parts: dict[str, Part], target: Target) -> Part:
    """Whether a target is met.

    Returns:
        what, at_least, measured (False where a case is missing; nothing else then); case, baseline (labels), ratio
        (median, lowest, highest of the rounds), peak and peak_baseline (bytes at most in turns), faster, lean, met
        (both).
    """
    group = find_group(parts.get(target.part), target.scene, target.about)
    cases = {} if group is None else {each["name"]: each for each in group["cases"]}
    about = {"what": target.what, "at_least": target.at_least}
    if not {target.case, target.baseline} <= set(cases):
        return {**about, "measured": False}
    ours, theirs = cases[target.case], cases[target.baseline]
    ratio = spread([base / own for base, own in zip(theirs["seconds"], ours["seconds"], strict=True)])
    faster, lean = ratio["median"] >= target.at_least, ours["peak"] <= theirs["peak"]
    return {
        **about,
        "measured": True,
        "case": ours["label"],
        "baseline": theirs["label"],
        "ratio": ratio,
        "peak": ours["peak"],
        "peak_baseline": theirs["peak"],
        "faster": faster,
        "lean": lean,
        "met": faster and lean,
    }
