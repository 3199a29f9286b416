"""The scores of a generator: a file, or that of a run."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from ppcd.base import PpcdError
from ppcd.data.sets import at_hand, without_count
from ppcd.data.sets import named as named_images
from ppcd.errors import ArgumentParser, run_command
from ppcd.metrics.evaluate import evaluate, evaluate_against
from ppcd.metrics.reference import Reference, find_reference
from ppcd.metrics.statistics_files import read_statistics
from ppcd.runs.named import find_generator
from ppcd.runs.train import resolve_device
from ppcd.training import pretrained
from ppcd.training.config import asked_profile, run_config
from ppcd.training.profiles import PROFILES, Profile, fitted, typed
from ppcd.training.recipes import TEACHER


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd evaluate", description=__doc__.splitlines()[0])
    parser.add_argument(
        "generator", help="a .safetensors file, BigGAN-PyTorch's .pth, a run's directory or id, or profile/recipe"
    )
    parser.add_argument("--profile", help="whose data, backbone and judge measure it; default: the run's own")
    parser.add_argument("--samples", type=int, help="default: as many as the profile's evaluation has")
    parser.add_argument("--seed", type=int, help="of the noise; default: the run's own, 0 for a file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--statistics", metavar="NPZ", help="mu and sigma of the real images, instead of the images")
    parser.add_argument("--json", action="store_true", help="print scores and protocol as JSON")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was saved; the same command starts again")


def _command(options: argparse.Namespace) -> None:
    named, device = find_generator(options.generator), resolve_device(options.device)
    if options.profile is None and named.record is None:
        known = ", ".join(PROFILES)
        raise PpcdError(f"{options.generator} does not say to which profile it belongs; add --profile, one of: {known}")
    own = named.record or {"profile": options.profile, "seed": 0, "data": {"identity": None}}
    trained, data = own["data"]["identity"], None
    if options.profile is None and own["profile"] not in PROFILES:
        raise PpcdError(f"{options.generator} is of a profile of your own; add --profile {typed(own['profile'])}")
    profile = asked_profile(options.profile or own["profile"])
    real = None if options.statistics is None else read_statistics(options.statistics)
    if real is None:
        profile = fitted(profile)
    generator = pretrained.read(named.path, profile).to(device)
    how: dict[str, Any] = {
        "backbone": profile.backbone,
        "samples": profile.evaluation_samples if options.samples is None else options.samples,
        "seed": own["seed"] if options.seed is None else options.seed,
        "device": device,
    }
    if real is not None:
        found = evaluate_against(generator, real, **how)
    else:
        kept = find_kept(profile, trained)
        data = run_config(profile, TEACHER, 0).load_data() if kept is None else kept
        found = evaluate(generator, data, classifier_epochs=profile.classifier_epochs, judge=profile.judge, **how)
    print(json.dumps(found, indent=1) if options.json else _table(found))
    if isinstance(data, Reference):
        print(
            f"the images {data.identity} are not here: scored against their statistics in {data.path}; kid, "
            "precision and recall need the images themselves: point PPCD_DATA at their folder",
            file=sys.stderr,
        )
    against = found["protocol"]["reference"]
    if trained and without_count(trained) != without_count(against):
        print(f"trained on {trained} (profile {own['profile']}), scored against {against}", file=sys.stderr)


def find_kept(profile: Profile, identity: str | None = None, source: str | None = None) -> Reference | None:
    """What the repository keeps of the images that a profile is measured with; None where they are here themselves.

    Args:
        identity: of the images that are meant where PPCD_DATA names none; None: any of the profile's data set.
        source: folder or name of the images; None: PPCD_DATA, or the data set's own.
    """
    if at_hand(profile.dataset, profile.resolution, source):
        return None
    meant = named_images(profile.dataset, source) or identity
    return find_reference(profile.name, profile.dataset, profile.resolution, profile.backbone, meant)


def _table(found: dict[str, dict[str, Any]]) -> str:
    """A line for each score, and below them what they depend on."""
    taken = found["protocol"]
    distance = "fid" if taken["backbone"] == "inception" else "fd"
    lines = [
        f"{distance if name == 'fd' else name:10} {'not measured' if value is None else f'{value:.6g}'}"
        for name, value in found["scores"].items()
    ]
    about = f"{taken['samples']} samples, noise seed {taken['seed']}, backbone {taken['backbone']}"
    return "\n".join([*lines, f"{about}, against {taken['reference']} ({taken['reference_sha256'][:12]})"])
