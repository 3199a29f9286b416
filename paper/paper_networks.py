"""The networks of the paper's own scale: which they are, their parameters and MACs, and what the paper's imply."""

from dataclasses import dataclass, replace
from typing import Any

from paper import numbers
from paper.size_model import GRID, KeptCost, count, kept_generator, masked_generator
from ppcd.method.slim import slim
from ppcd.metrics.complexity import CONVENTION, Complexity
from ppcd.networks.generators import ARCHITECTURES, Generator, GeneratorConfig, build_generator
from ppcd.runs import provenance
from ppcd.training.methods import TinyGan
from ppcd.training.profiles import Profile

Content = dict[str, Any]  # of paper_scale.json


@dataclass(frozen=True)
class Point:
    """One number of the paper about PPCD-GAN's size."""

    table: int
    row: str
    column: str
    quantity: str  # "params" or "macs"
    alpha: float

    @property
    def value(self) -> float:
        return numbers.published(self.table, self.row, self.column).value


POINTS = (
    Point(1, "PPCD-GAN (alpha=0.7)", "#Par.", "params", numbers.TABLE1_ALPHA),
    Point(1, "PPCD-GAN (alpha=0.7)", "MACs", "macs", numbers.TABLE1_ALPHA),
    Point(3, "PPCD-GAN (complete)", "#Par.", "params", numbers.TABLE3_ALPHA),
)
PLAIN = {"biggan": "Big-GAN", "sagan": "SA-GAN", "sngan": "SN-GAN", "tinygan": "Tiny-GAN"}  # network -> row of Table 1
MASKED, SLIM_MACS, SLIM_ALPHA = "ppcd-masked", "ppcd-slim-macs", "ppcd-slim-alpha"


def is_paper_size(profile: Profile) -> bool:
    """Whether the profile's networks are the paper's."""
    widths = {arch: ARCHITECTURES[arch].width for arch in ("biggan", "sagan")}
    size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.student_width)
    return size == (128, 1000, widths["biggan"], widths["sagan"])


def plain_config(arch: str, profile: Profile) -> GeneratorConfig:
    """The configuration of a network of Table 1 at the profile's size, spectral norm worked into the weights."""
    width, dim_z = profile.student_width, profile.dim_z
    if arch == "biggan":
        width, dim_z = profile.teacher_width, profile.teacher_dim_z
    if arch == "tinygan":
        width = max(1, round(width * TinyGan().width))
    return GeneratorConfig(arch, profile.resolution, profile.num_classes, width, dim_z, spectral_norm=False)


def kept_fractions() -> dict[str, float]:
    """Fraction of channels that every mask of a slim network of ours keeps, by the network's name.

    That which the paper's MACs at alpha 0.7 imply, and 1 - alpha.
    """
    macs = next(point for point in POINTS if point.quantity == "macs")
    return {
        SLIM_MACS: KeptCost.of().implied("macs", macs.value),
        SLIM_ALPHA: round(1 - macs.alpha, 6),
    }


def student_cost(profile: Profile) -> KeptCost:
    """Parameters and MACs of the profile's student by the kept fraction."""
    return KeptCost.of(profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)


def compute_complexity(profile: Profile) -> Content:
    """Parameters and MACs: of Table 1's networks, of the student by the kept fraction, and what the paper's imply.

    Returns:
        convention; networks {name: params, macs}; power_iterations {name: MACs with them counted, of those that have
        a spectral norm}; curve [kept, params, macs]; points, one for each of POINTS: the paper's value and its place,
        the kept fraction that it implies at the paper's size with the parameters and MACs there, and those of keeping
        1 - alpha; provenance.
    """
    began, cost, full = provenance.collect("cpu"), student_cost(profile), KeptCost.of()
    configs = {name: plain_config(name, profile) for name in PLAIN}
    networks: dict[str, Content] = {name: _sizes(count(config)) for name, config in configs.items()}
    normalised = [name for name in PLAIN if ARCHITECTURES[name].spectral_norm]
    masked = GeneratorConfig(
        "sagan", profile.resolution, profile.num_classes, profile.student_width, profile.dim_z,
        masked=True, transition=True,
    )  # fmt: skip
    networks[MASKED] = _sizes(count(masked))
    fractions = kept_fractions()
    networks |= {name: {"kept": kept, **_sizes(cost.at(kept))} for name, kept in fractions.items()}
    points = []
    for point in POINTS:
        implied = full.implied(point.quantity, point.value)
        points.append(
            {
                "table": point.table,
                "row": point.row,
                "column": point.column,
                "quantity": point.quantity,
                "alpha": point.alpha,
                "value": point.value,
                "implied": {"kept": implied, **_sizes(full.at(implied))},
                "literal": {"kept": round(1 - point.alpha, 6), **_sizes(full.at(1 - point.alpha))},
            }
        )
    return {
        "convention": CONVENTION,
        "networks": networks,
        "power_iterations": {name: count(replace(configs[name], spectral_norm=True)).macs for name in normalised},
        "curve": [{"kept": kept, **_sizes(cost.at(kept))} for kept in GRID],
        "points": points,
        "provenance": provenance.finish(began),
    }


def _sizes(cost: Complexity) -> dict[str, int]:
    return {"params": cost.params, "macs": cost.macs}


def build_networks(profile: Profile, seed: int = 0) -> dict[str, Generator]:
    """The timed networks at the profile's size, freshly initialised, in the order of Table 1.

    The plain ones as one would run them, spectral norm worked into the weights; PP-Res SA-GAN dense with its masks
    and its spectral norm, as it is in training; and slim at `kept_fractions`.
    """
    networks = {}
    for name in PLAIN:
        config = plain_config(name, profile)
        size = (config.resolution, config.num_classes, config.width)
        networks[name] = slim(build_generator(name, *size, dim_z=config.dim_z, seed=seed))
    student = (profile.resolution, profile.num_classes, profile.student_width)
    fractions = kept_fractions()
    networks[MASKED] = masked_generator(fractions[SLIM_MACS], *student, dim_z=profile.dim_z, seed=seed)
    for name, kept in fractions.items():
        networks[name] = kept_generator(kept, *student, dim_z=profile.dim_z, seed=seed)
    return networks
