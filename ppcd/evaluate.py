"""One finished generator -> its scores, and the protocol under which they were taken."""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.data.sets import ImageSet
from ppcd.errors import ArgumentParser, run_command
from ppcd.metrics.diversity import Diversity, RunningDiversity
from ppcd.metrics.features import published_backbone
from ppcd.metrics.fidelity import RunningInceptionScore, compare, frechet_distance, is_splits, protocol
from ppcd.metrics.gauges import Gauges, asked_probability, get_gauges
from ppcd.metrics.moments import MINIMUM, RunningStatistics, Statistics
from ppcd.metrics.sampling import BATCH, Samples, draw_noise, sample_images, sample_labels, sample_portions
from ppcd.metrics.statistics_files import StatisticsFile, check_features, read_statistics
from ppcd.networks.generators import Generator
from ppcd.networks.io import load_generator
from ppcd.records import read_run
from ppcd.runs.config import pretrained, run_config, runs_root
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import TEACHER

__all__ = ["Gauges", "draw_noise", "evaluate", "evaluate_against", "get_gauges", "sample_images"]

VERSION = 1  # of the protocol: raised when a score means something else than before
DIVERSITY_SEED = 0
NEED_IMAGES = ("kid", "kid_std", "precision", "recall", "diversity", "accuracy")  # real ones, or labels to judge


def evaluate(
    G: nn.Module,
    data: ImageSet,
    *,
    backbone: str,
    samples: int,
    seed: int,
    classifier_epochs: int,
    device: torch.device | str = "cpu",
    distance: str | None = None,
    judge: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a generator against the real images of `data`, in memory that does not grow with the samples.

    Args:
        G: G(z, y) in [-1, 1], with dim_z, num_classes and resolution; used in eval mode, then put back.
        backbone: "classifier", "efficientnet-lite0" or "inception".
        samples: how many images to generate, the classes taking turns.
        seed: of their noise, and of nothing else.
        classifier_epochs: of the classifier that judges the labels (and is the backbone of that name).
        device: where generator, backbone and judge compute; G must be there.
        distance: of the diversity; see `ppcd.metrics.diversity.RunningDiversity`.
        judge: of the labels: None, a classifier trained on the data; "efficientnet-lite0", a published one of
            ImageNet, for data with its 1000 classes.

    Returns:
        "protocol": what the scores depend on; scores are comparable where all of it agrees but
        accuracy_classifier (of the judge, on real images) and seed. "scores": is, is_std, fd, kid, kid_std,
        precision, recall, diversity, accuracy; all of them floats, accuracy, precision and recall in [0, 1].

    Raises:
        PpcdError: generator and data do not fit, too few samples, images that are not finite, or a backbone
            or judge that is not to be had.
    """
    check_fit(G, data)
    check_samples(samples, data)
    gauges = get_gauges(data, backbone, classifier_epochs, device, judge=judge)
    found = measure(G, gauges, samples, seed, device=device, distance=distance)
    scores = compare(found.statistics, found.score, gauges.real)
    taken = describe(data, gauges, found, gauges.real.images, samples, seed, classifier_epochs)
    return {
        "protocol": taken,
        "scores": {**scores, "diversity": found.diversity.value, "accuracy": found.accuracy},
    }


def describe(
    data: ImageSet,
    gauges: Gauges,
    found: "Measured",
    reference_images: int,
    samples: int,
    seed: int | None,
    classifier_epochs: int,
) -> dict[str, Any]:
    """The protocol: what scores of `found` depend on; see `evaluate`."""
    return {
        "version": VERSION,
        "backbone": gauges.network.name,
        "backbone_sha256": gauges.network.sha256,
        "samples": samples,
        "reference": data.identity,
        "reference_sha256": data.sha256,
        "reference_images": reference_images,
        "seed": seed,
        **protocol(samples, reference_images),
        "diversity": found.diversity.distance,
        "diversity_pairs_per_class": found.diversity.pairs_per_class,
        "accuracy_classifier": gauges.judge.accuracy,
        "classifier_epochs": classifier_epochs,
        "classifier_sha256": gauges.judge.sha256,
        **gauges.judge.named(),
    }


def evaluate_against(
    G: nn.Module,
    real: StatisticsFile,
    *,
    backbone: str,
    samples: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, Any]]:
    """What can be said of a generator with nothing but another tool's statistics of the real images.

    Args:
        real: of `ppcd.metrics.read_statistics`. Its Inception may be another port than ours: see there.

    Other arguments as `evaluate`, whose protocol and scores are also what it returns, with the file's name and hash
    as the reference; all scores but is, is_std and fd are None, and so are the settings of theirs.

    Raises:
        PpcdError: statistics of other features, too few samples, images that are not finite, or a backbone that is
            not to be had.
    """
    check_features(real, backbone)
    if samples < MINIMUM:
        raise PpcdError(f"the metrics need at least {MINIMUM} samples; got {samples}")
    network = published_backbone(backbone, device)
    statistics, score = RunningStatistics(), RunningInceptionScore(samples)
    for images, _ in sample_portions(G, samples, seed, portion=math.lcm(BATCH, network.batch), device=device):
        found = network.extract(images)
        statistics.add(found.features)
        score.add(found.logits)
    taken = {
        "version": VERSION,
        "backbone": network.name,
        "backbone_sha256": network.sha256,
        "samples": samples,
        "reference": real.name,
        "reference_sha256": real.sha256,
        "reference_images": None,
        "seed": seed,
        "is_splits": is_splits(samples),
    }
    known = dict(zip(("is", "is_std"), score.result(), strict=True))
    scores = {**known, "fd": frechet_distance(statistics.result(), real), **dict.fromkeys(NEED_IMAGES)}
    return {"protocol": taken, "scores": scores}


@dataclass(frozen=True)
class Measured:
    """What was found of a generator's samples.

    Attributes:
        statistics: of their features.
        score: their inception score, mean and deviation.
        diversity: how different those of a class are.
        right: whether the judge puts each into the class that was asked for.
        probability: that the judge gives to this class.
    """

    statistics: Statistics
    score: tuple[float, float]
    diversity: Diversity
    right: Bool[Tensor, " n"]
    probability: Float64[Tensor, " n"]

    @property
    def accuracy(self) -> float:
        """The share of samples of the right class, in [0, 1]."""
        return self.right.double().mean().item()

    @property
    def leakage(self) -> float:
        """Class leakage (section 3.3) as a number: the mean of 1 - p(y | x), p the judge's softmax; in [0, 1].

        The probability that goes to classes that were not asked for.
        """
        return (1 - self.probability).mean().item()


def measure(
    G: nn.Module,
    gauges: Gauges,
    samples: int,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    distance: str | None = None,
) -> Measured:
    """Generate samples, look at them and drop them, some hundreds at a time; arguments as `evaluate`."""
    labels = sample_labels(samples, int(G.num_classes))  # type: ignore[arg-type]
    portions = sample_portions(G, samples, seed, portion=portion_size(gauges), device=device)
    return observe(portions, labels, int(G.num_classes), gauges, distance)  # type: ignore[arg-type]


def portion_size(gauges: Gauges) -> int:
    """Whole batches of all networks, so that no number depends on there being portions."""
    return math.lcm(BATCH, gauges.network.batch, gauges.judge.backbone.batch)


def observe(
    portions: Iterable[Samples],
    labels: Int64[Tensor, " n"],
    num_classes: int,
    gauges: Gauges,
    distance: str | None = None,
) -> Measured:
    """Look at images and their classes, a portion after the other.

    Args:
        portions: images and labels, `portion_size` of them at a time.
        labels: of all of them, in their order.
        num_classes: from 0 on.
        gauges: what looks at them.
        distance: as in `evaluate`.
    """
    statistics, score = RunningStatistics(), RunningInceptionScore(len(labels))
    spread = RunningDiversity(labels, num_classes, gauges.network, seed=DIVERSITY_SEED, distance=distance)
    right, probability = [], []
    for images, asked in portions:
        found = gauges.network.extract(images)
        statistics.add(found.features)
        score.add(found.logits)
        spread.add(images)
        judged = gauges.judged(images, found)
        right.append(judged.argmax(1) == asked)
        probability.append(asked_probability(judged, asked))
    return Measured(statistics.result(), score.result(), spread.result(), torch.cat(right), torch.cat(probability))


def check_fit(G: nn.Module, data: ImageSet) -> None:
    """One line where the generator makes other classes or another resolution than the data have.

    Raises:
        PpcdError: it does.
    """
    given = {"num_classes": G.num_classes, "resolution": G.resolution}
    expected = {"num_classes": len(data.classes), "resolution": data.images.shape[-1]}
    if given != expected:
        raise PpcdError(
            f"the generator ({given}) does not fit the data {data.identity} ({expected}); take its own profile"
        )


def fewest_samples(num_classes: int) -> int:
    """How many images the metrics need."""
    return max(MINIMUM, 2 * num_classes)


def check_samples(samples: int, data: ImageSet) -> None:
    """One line where there are too few.

    Raises:
        PpcdError: there are.
    """
    least = fewest_samples(len(data.classes))
    if samples < least:
        raise PpcdError(f"the metrics need at least {least} samples of this data; got {samples}: ask for more")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd.metrics.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("generator", help="a generator's .safetensors, BigGAN-PyTorch's .pth, a run's directory or id")
    parser.add_argument("--profile", default="mnist", help="whose data, backbone and judge measure it")
    parser.add_argument("--samples", type=int, help="default: as many as the profile's evaluation has")
    parser.add_argument("--seed", type=int, help="of the noise; default: the run's own, 0 for a file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--statistics", metavar="NPZ", help="mu and sigma of the real images, instead of the images")
    parser.add_argument("--json", action="store_true", help="print scores and protocol as JSON")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was kept; the same command starts anew")


def _command(options: argparse.Namespace) -> None:
    from ppcd.runs.train import resolve_device  # which needs this module

    profile, device = get_profile(options.profile), resolve_device(options.device)
    real = None if options.statistics is None else read_statistics(options.statistics)
    generator, own_seed = _find_generator(options.generator, profile)
    samples = profile.evaluation_samples if options.samples is None else options.samples
    seed = own_seed if options.seed is None else options.seed
    generator.to(device)
    if real is not None:
        found = evaluate_against(
            generator, real, backbone=profile.backbone, samples=samples, seed=seed, device=device
        )  # fmt: skip
    else:
        found = evaluate(
            generator,
            load_images(profile),
            backbone=profile.backbone,
            samples=samples,
            seed=seed,
            classifier_epochs=profile.classifier_epochs,
            device=device,
            judge=profile.judge,
        )
    print(json.dumps(found, indent=1) if options.json else _table(found))


def load_images(profile: Profile) -> ImageSet:
    """The real images of a profile.

    Raises:
        PpcdError: they are not to be had.
    """
    return run_config(profile.name, TEACHER, 0).load_data()


def _find_generator(name: str, profile: Profile) -> tuple[Generator, int]:
    """The generator in a file, or that of a run by its directory or its id, and the seed of its evaluation."""
    if Path(name).is_file() or name.endswith(".safetensors"):
        return pretrained.read(Path(name), profile), 0
    directory = Path(name) if Path(name).is_dir() else runs_root(profile) / name
    record = read_run(directory)
    return load_generator(directory / "generator.safetensors"), int(record["seed"])


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


if __name__ == "__main__":
    sys.exit(main())
