"""A bench that was never run, with everything in it."""

import random
from typing import Any

import pytest

from paper.bench import results
from paper.bench.cases import Group


def fake_bench(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write it, without the time."""
    patch.setattr(results, "take_turns", played)
    patch.setenv("CXX", "c++")
    results.measure(list(results.PARTS))
    return results.read()


def played(group: Group, faster: float = 1.0, peak: int = -1) -> dict[str, Any]:
    """What a group's turns might have taken, on a machine that is not there; peak: bytes that each case adds."""
    noise, cases = random.Random(group.scene), []
    for place, each in enumerate(group.cases):
        ratio = {"teacher-onnx": 1.9, "student": 2.2, "slim": 5.0, "slim-onnx": 12.0}
        speedup = ratio.get(each.name, 1 + place * 0.13) * faster if place else 1.0
        seconds = [2.0 * (1 + 0.1 * noise.random()) / speedup for _ in range(5)]
        about = {"name": each.name, "label": each.label, "settings": each.settings}
        cases.append({**about, "warm_up": 1.0, "repeats": 1, "seconds": seconds, "peak": 2**31 + peak * place})
    about = {"scene": group.scene, "about": group.about, "baseline": group.baseline}
    return {**about, "rounds": 5, "cases": cases}
