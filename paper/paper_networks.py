"""The networks of the paper's own scale: which they are, their parameters and MACs, and what the paper's imply."""

from dataclasses import replace
from functools import partial
from typing import Any

from paper import numbers
from paper.size_model import GRID, SizeModel, count, kept_config
from ppcd.metrics.complexity import CONVENTION, Complexity
from ppcd.networks.generators import ARCHITECTURES, GeneratorConfig
from ppcd.runs import provenance
from ppcd.training.methods import TinyGan
from ppcd.training.profiles import Profile

Content = dict[str, Any]  # of paper_scale.json

# The paper's numbers about PPCD-GAN's size: table, row, column, quantity, alpha.
POINTS = (
    (1, "PPCD-GAN (alpha=0.7)", "#Par.", "params", numbers.TABLE1_ALPHA),
    (1, "PPCD-GAN (alpha=0.7)", "MACs", "macs", numbers.TABLE1_ALPHA),
    (3, "PPCD-GAN (complete)", "#Par.", "params", numbers.TABLE3_ALPHA),
)
PLAIN = {"biggan": "Big-GAN", "sagan": "SA-GAN", "sngan": "SN-GAN", "tinygan": "Tiny-GAN"}  # network -> row of Table 1
MASKED, SLIM_MACS, SLIM_ALPHA = "ppcd-masked", "ppcd-slim-macs", "ppcd-slim-alpha"


def is_paper_size(profile: Profile) -> bool:
    """Whether the profile's networks are the paper's."""
    widths = {arch: ARCHITECTURES[arch].width for arch in ("biggan", "sagan")}
    size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.student_width)
    return size == (128, 1000, widths["biggan"], widths["sagan"])


def kept_fractions() -> dict[str, float]:
    """Fraction of channels that every mask of a slim network of ours keeps, by the network's name.

    That which the paper's MACs at alpha 0.7 imply, and 1 - alpha.
    """
    macs = numbers.published(1, "PPCD-GAN (alpha=0.7)", "MACs").value
    return {SLIM_MACS: SizeModel.of().implied("macs", macs), SLIM_ALPHA: round(1 - numbers.TABLE1_ALPHA, 6)}


def network_configs(profile: Profile) -> dict[str, GeneratorConfig]:
    """The networks at the profile's size, in the order of Table 1.

    The plain ones as one would run them, spectral norm worked into the weights; PP-Res SA-GAN dense with its masks
    and its spectral norm, as it is in training; and slim at `kept_fractions`.
    """
    plain = partial(GeneratorConfig, resolution=profile.resolution, num_classes=profile.num_classes)
    width, dim_z = profile.student_width, profile.dim_z
    tiny = max(1, round(width * TinyGan().width))
    student = (profile.resolution, profile.num_classes, width, dim_z)
    return {
        "biggan": plain("biggan", width=profile.teacher_width, dim_z=profile.teacher_dim_z, spectral_norm=False),
        "sagan": plain("sagan", width=width, dim_z=dim_z, spectral_norm=False),
        "sngan": plain("sngan", width=width, dim_z=dim_z, spectral_norm=False),
        "tinygan": plain("tinygan", width=tiny, dim_z=dim_z, spectral_norm=False),
        MASKED: plain("sagan", width=width, dim_z=dim_z, masked=True, transition=True),
        **{name: kept_config(kept, *student) for name, kept in kept_fractions().items()},
    }


def compute_complexity(profile: Profile) -> Content:
    """Parameters and MACs: of Table 1's networks, of the student by the kept fraction, and what the paper's imply.

    Returns:
        convention; networks {name: params, macs}; power_iterations {name: MACs with them counted, of those that have
        a spectral norm}; curve [kept, params, macs]; points, one for each of POINTS: the paper's value and its place,
        the kept fraction that it implies at the paper's size with the parameters and MACs there, and those of keeping
        1 - alpha; provenance.
    """
    began, configs, fractions = provenance.collect("cpu"), network_configs(profile), kept_fractions()
    full = SizeModel.of()
    student = SizeModel.of(profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)
    points = []
    for table, row, column, quantity, alpha in POINTS:
        value = numbers.published(table, row, column).value
        implied = full.implied(quantity, value)
        points.append(
            {
                "table": table,
                "row": row,
                "column": column,
                "quantity": quantity,
                "alpha": alpha,
                "value": value,
                "implied": {"kept": implied, **_sizes(full.at(implied))},
                "literal": {"kept": round(1 - alpha, 6), **_sizes(full.at(1 - alpha))},
            }
        )
    kept = {name: {"kept": fractions[name]} if name in fractions else {} for name in configs}
    normalised = [name for name in PLAIN if ARCHITECTURES[name].spectral_norm]
    return {
        "convention": CONVENTION,
        "networks": {name: kept[name] | _sizes(count(config)) for name, config in configs.items()},
        "power_iterations": {name: count(replace(configs[name], spectral_norm=True)).macs for name in normalised},
        "curve": [{"kept": kept, **_sizes(student.at(kept))} for kept in GRID],
        "points": points,
        "provenance": provenance.finish(began),
    }


def _sizes(cost: Complexity) -> dict[str, int]:
    return {"params": cost.params, "macs": cost.macs}
