"""A bench that was never run, with everything in it."""

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from paper.bench import quality as half
from paper.bench import results, roofline, turns
from paper.bench.contestants import TURN, Group
from ppcd.networks.compute import Forms


def fake_bench(patch: pytest.MonkeyPatch, path: Path | None = None) -> dict[str, Any]:
    """Write it, without the time."""
    compute_quickly(patch)
    patch.setattr(results, "take_turns", played)
    patch.setenv("CXX", "c++")
    return results.measure(list(results.PARTS), path=path)


def compute_quickly(patch: pytest.MonkeyPatch) -> None:
    """Count a small pair, and compare no runs."""
    patch.setattr(half, "compare", compared)
    patch.setattr(roofline, "tally", _small_tally)


REAL_TALLY = roofline.tally


@cache
def _small_tally(forms: Forms) -> roofline.Tally:
    """Of a pair of width 8; it does not change within a session of tests."""
    return REAL_TALLY(forms, width=8, batch=2)


def played(group: Group, faster: float = 1.0) -> dict[str, Any]:
    """What a group's turns might have taken, on a machine that is not there."""
    noise, found = random.Random(group.scene), []
    pieces = {}
    if group.scene == roofline.SCENE:
        keys = [each.key for each in roofline.ceiling_list(group.about)]
        pieces = {name: 0.05 for name in ("matmul", "copy", "touch", *keys)}
    for place, each in enumerate(group.contestants):
        ratio = {"teacher-inference": 1.9, "student": 2.2, "slim": 5.0, "slim-inference": 12.0, "slim-onnx": 6.0}
        speedup = ratio.get(each.name, 1 + place * 0.13) * faster if place else 1.0
        seconds = {
            name: [each_time * (1 + 0.1 * noise.random()) / speedup for _ in range(5)]
            for name, each_time in (pieces or {TURN: 2.0}).items()
        }
        built = {"warm_up": 1.0, "repeats": dict.fromkeys(seconds, 1)}
        sizes = {"idle": 2**28, "building": 2**30, "peak": 2**31 - place, "above": 2**31 - place - 2**28}
        found.append(turns.Outcome(each, built, seconds, sizes))
    (baseline,) = [each for each in found if each.contestant.name == group.baseline]
    return {
        "scene": group.scene, "about": group.about, "images": group.images, "baseline": group.baseline, "rounds": 5,
        "together": 2**32, "contestants": [each.to_dict(baseline, group.images) for each in found],
    }  # fmt: skip


def compared(quick: bool, say: object = None, train: bool = True) -> dict[str, Any]:
    """What `quality.compare` returns, with made-up scores."""
    rows = [
        {"recipe": recipe, "seed": seed, "arithmetic": arithmetic, "run": "x", "commit": None, "seconds": 1.0}
        | {score: seed + (0.25 if arithmetic == "bf16" else 0.0) for score in half.SCORES}
        for recipe in half.RECIPES for seed in half.SEEDS for arithmetic in ("float32", "bf16")
    ]  # fmt: skip
    return {"profile": half.PROFILE, "rows": rows, "differences": half.differences(rows)}
