"""Evaluation: samples a second, of drawing them and of everything that scores need."""

from dataclasses import asdict, replace
from typing import Any

from paper.bench.contestants import QUICK, TURN, Contestant, Group, Pace, Works
from paper.bench.latency import FORMS, KEPT, SMALL, Network, in_form
from paper.bench.training import synthetic
from ppcd.metrics.evaluate import measure
from ppcd.metrics.gauges import get_gauges
from ppcd.metrics.sampling import sample_images
from ppcd.training.profiles import get_profile

DRAWING, SCORING = "drawing", "scoring"  # scenes
SAMPLES = 400  # of a turn that draws
SCORED = 200
REAL = 200  # random images that stand for the data
BACKBONE = "efficientnet-lite0"  # whose weights come with a package
DENSE, EVERYTHING = "dense", "everything"
STAGES = {"generation": "drawing alone", "features": "features alone", EVERYTHING: "everything"}


def sample(settings: dict[str, Any]) -> Works:
    """A turn: samples as an evaluation draws them. Settings: network, form, samples, seed."""
    generator = in_form(Network(**settings["network"]).build(settings["seed"]), settings["form"])
    return {TURN: lambda: sample_images(generator, settings["samples"], settings["seed"])}


def score(settings: dict[str, Any]) -> Works:
    """A turn: a stage of `ppcd.metrics.evaluate`. Settings: profile, backbone, samples, seed, stage (of STAGES).

    Real images are random ones, which cost the same; backbone and judge are there before the first turn.
    """
    profile, samples, seed = get_profile(settings["profile"]), settings["samples"], settings["seed"]
    generator = Network.student(profile, KEPT).build(seed)
    if settings["stage"] == "generation":
        return {TURN: lambda: sample_images(generator, samples, seed)}
    gauges = get_gauges(synthetic(profile, REAL, seed), settings["backbone"], classifier_epochs=1)
    if settings["stage"] == "features":
        images, _ = sample_images(generator, samples, seed)
        return {TURN: lambda: gauges.network.extract(images)}
    return {TURN: lambda: measure(generator, gauges, samples, seed)}


def groups(quick: bool, pace: Pace | None = None) -> list[Group]:
    """Drawing at the small profiles, and scoring at the one with natural images."""
    pace = pace or (QUICK if quick else Pace(30))
    found = []
    for name in ("smoke",) if quick else SMALL:
        profile, samples = get_profile(name), 8 if quick else SAMPLES
        chosen = [
            (DENSE, "SA-GAN, dense", None, "straightforward"),
            ("slim", f"PPCD-GAN, {KEPT:g} kept", KEPT, "plain"),
            ("slim-inference", f"PPCD-GAN, {KEPT:g} kept", KEPT, "inference"),
        ]
        contestants = [
            Contestant(
                form_name, f"{label}: {FORMS[form]}", f"{__name__}:sample",
                {"network": asdict(Network.student(profile, kept)), "form": form, "samples": samples, "seed": 0},
            )
            for form_name, label, kept, form in chosen
            if not quick or form_name == DENSE
        ]  # fmt: skip
        about = {"profile": name, "threads": 1, "samples": samples}
        found.append(Group(DRAWING, about, samples, DENSE, tuple(contestants), pace))
    profile_name, backbone = ("smoke", "classifier") if quick else ("cifar10-lite", BACKBONE)
    about = {"profile": profile_name, "threads": 1, "samples": SCORED, "backbone": backbone}
    settings = {"profile": profile_name, "backbone": backbone, "samples": SCORED, "seed": 0}
    stages = tuple(
        Contestant(stage, label, f"{__name__}:score", {**settings, "stage": stage})
        for stage, label in STAGES.items()
        if not quick or stage == EVERYTHING
    )
    return [*found, Group(SCORING, about, SCORED, EVERYTHING, stages, replace(pace, warm_ups=1))]
