"""What was asked of the project's speed."""

from dataclasses import dataclass
from typing import Any

from paper.bench.latency import PAPER_SCALE, SLIM, TEACHER
from paper.bench.training import ALLOCATOR, PAIR, STRAIGHT, THREADS, TOGETHER


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

    def find(self, parts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The measured case and baseline; None where one is missing."""
        for group in parts.get(self.part, {"groups": []})["groups"]:
            cases = {each["name"]: each for each in group["cases"]}
            same = group["scene"] == self.scene and self.about.items() <= group["about"].items()
            if same and {self.case, self.baseline} <= set(cases):
                return cases[self.case], cases[self.baseline]
        return None


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
