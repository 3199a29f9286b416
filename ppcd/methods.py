"""Settings of the compared methods, each with its source. They go into a run's configuration and hash.

What a method shares with all others (batch, iterations, data, evaluation) is the profile's.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class L1Pruning:
    """Li et al., "Pruning filters for efficient convnets" (ICLR 2017), section 3: train, prune once, fine-tune.

    The first half of the iterations trains, the second fine-tunes: together the budget of every other method.
    """

    kind: ClassVar[str] = "l1"
    needs_teacher: ClassVar[bool] = False
    two_phase: ClassVar[bool] = True


@dataclass(frozen=True)
class OutputDistillation:
    """Aguinaldo et al., "Compressing GANs using knowledge distillation" (2019), section 3.

    Attributes:
        width: of the student, as a part of the SA-GAN student's. A fifth is the size of the paper's row: SA-GAN
            at width 13 has 3.7M parameters, the row says 3.5M.
        pixel: weight of the mean squared error between the student's and the teacher's images. The source's
            first loss has nothing else: no discriminator, no real images.
    """

    kind: ClassVar[str] = "output"
    needs_teacher: ClassVar[bool] = True
    two_phase: ClassVar[bool] = False

    width: float = 0.2
    pixel: float = 1.0


@dataclass(frozen=True)
class TinyGan:
    """Chang and Lu, "TinyGAN: Distilling BigGAN for conditional image generation" (ACCV 2020)."""

    kind: ClassVar[str] = "tinygan"
    needs_teacher: ClassVar[bool] = True
    two_phase: ClassVar[bool] = False


@dataclass(frozen=True)
class DistillNas:
    """Li et al., "GAN Compression: Efficient architectures for interactive conditional GANs" (CVPR 2020)."""

    kind: ClassVar[str] = "nas"
    needs_teacher: ClassVar[bool] = True
    two_phase: ClassVar[bool] = True


Baseline = L1Pruning | OutputDistillation | TinyGan | DistillNas


def describe(baseline: Baseline) -> dict[str, Any]:
    """The method's settings as plain values, its kind first."""
    return {"kind": baseline.kind, **asdict(baseline)}


def parse(values: dict[str, Any] | None) -> Baseline | None:
    """The inverse of `describe`.

    Raises:
        TypeError: not the settings of a method that is known.
    """
    if values is None:
        return None
    kinds = {method.kind: method for method in (L1Pruning, OutputDistillation, TinyGan, DistillNas)}
    kind = values.get("kind")
    if kind not in kinds:
        raise TypeError(f"unknown method {kind!r}")
    return kinds[kind](**{name: value for name, value in values.items() if name != "kind"})
