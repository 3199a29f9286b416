"""What was asked of the project's speed, and what was measured."""

from typing import Any

from paper.bench.latency import PAPER_SCALE, SLIM, TEACHER
from paper.bench.training import ALLOCATOR, PAIR, STRAIGHT, THREADS, TOGETHER
from paper.bench.turns import spread

Part = dict[str, Any]
TRAINING_AT_LEAST, INFERENCE_AT_LEAST = 2.0, 10.0
INFERENCE_BATCH = 8


def find_group(part: Part | None, scene: str, **about: Any) -> Part | None:
    """The measured group of that scene whose `about` has these values; None where there is none."""
    groups = [] if part is None else part["groups"]
    matching = (each for each in groups if each["scene"] == scene and about.items() <= each["about"].items())
    return next(matching, None)


def find_contestant(group: Part | None, name: str) -> Part | None:
    """The contestant of that name in a measured group."""
    contestants = [] if group is None else group["contestants"]
    return next((each for each in contestants if each["name"] == name), None)


def judge(group: Part | None, name: str, baseline: str, asked: float) -> Part:
    """Whether a contestant is so many times faster than a baseline, with a peak of memory that is not higher.

    Returns:
        asked, measured (False where either is missing; nothing else then); contestant, baseline (labels), ratio
        (median, lowest, highest of the rounds), memory and memory_baseline (bytes at most in turns), faster, lean, met
        (both).
    """
    ours, theirs = find_contestant(group, name), find_contestant(group, baseline)
    if ours is None or theirs is None:
        return {"asked": asked, "measured": False}
    ratio = spread([base / own for base, own in zip(theirs["seconds"], ours["seconds"], strict=True)])
    peak, allowed = ours["memory"]["peak"], theirs["memory"]["peak"]
    faster, lean = ratio["median"] >= asked, peak <= allowed
    return {
        "asked": asked,
        "measured": True,
        "contestant": ours["label"],
        "baseline": theirs["label"],
        "ratio": ratio,
        "memory": peak,
        "memory_baseline": allowed,
        "faster": faster,
        "lean": lean,
        "met": faster and lean,
    }


def within_reach(parts: dict[str, Part], training: Part | None) -> Part | None:
    """What the roofline lets the training bar reach at most: the straightforward time over the fast forms' floor.

    Returns:
        at_matmul, at_convolutions: ratios; None where training or roofline was not measured with the same threads, or
        the roofline was measured when there were no such forms.
    """
    roofline, straight = parts.get("roofline"), find_contestant(training, STRAIGHT)
    if roofline is None or straight is None:
        return None
    floor = roofline["floors"].get("filtered", {}).get(str(straight["threads"]))
    if floor is None or roofline["quick"] != parts["training"]["quick"]:
        return None
    return {name: straight["median"] / floor[name] for name in ("at_matmul", "at_convolutions")}


def bars(parts: dict[str, Part]) -> dict[str, Part]:
    """Both bars, by name; of quick parts, whose sizes are others, nothing is measured.

    Args:
        parts: of the results.
    """
    whole = {name: part for name, part in parts.items() if not part["quick"]}
    pair = find_group(whole.get("training"), PAIR, threads=THREADS)
    scale = find_group(whole.get("latency"), PAPER_SCALE, batch=INFERENCE_BATCH, threads=2)
    training = judge(pair, TOGETHER, STRAIGHT, TRAINING_AT_LEAST)
    training["stricter"] = judge(pair, TOGETHER, ALLOCATOR, TRAINING_AT_LEAST)
    training["within_reach"] = within_reach(whole, pair)
    return {
        "training": {"what": "one D+G iteration of the 32 px BigGAN pair, float32, 2 threads", **training},
        "inference": {
            "what": "128 px, batch 8, 2 threads: BigGAN dense against PPCD-GAN with .17 kept",
            **judge(scale, SLIM, TEACHER, INFERENCE_AT_LEAST),
        },
    }
