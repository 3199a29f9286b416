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
    prunes: ClassVar[bool] = True
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
    prunes: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    two_phase: ClassVar[bool] = False

    width: float = 0.2
    pixel: float = 1.0


@dataclass(frozen=True)
class TinyGan:
    """Chang and Lu, "TinyGAN: Distilling BigGAN for conditional image generation" (ACCV 2020).

    The numbers are those of the authors' code, github.com/terarachang/ACCV_TinyGAN, its files in parentheses.

    Attributes:
        width: of G and D, as a part of SA-GAN's: 32 where SA-GAN has 64 (main.py, g_conv_dim and d_conv_dim).
        pixel: weight of the L1 distance of the pixels at first (solver.py, lambda_l1).
        pixel_decay: what it loses in each epoch, down to 0 (the same).
        epochs: into which the training is divided (main.py, num_epoch).
        features: weights of the L1 distances in D's layers, the last layer's last (model.py, CMPDisLoss).
        adversarial: weight of G's adversarial terms (main.py, lambda_gan).
        every: G has them in every fifth step (main.py, n_critic; solver.py).
        real: weight of real images, added to the teacher's, in D's loss and in G's (solver.py).
        lr_decay_from: part of the training from which both learning rates fall linearly to 0: iteration 300,000
            (main.py, lr_decay_start) of about 741,000 (30 epochs of 398 of the 1,000 classes of 2,000,000 images,
            less 5,000, in batches of 32: misc/extract_big.py, data_loader.py, train.sh).
    """

    kind: ClassVar[str] = "tinygan"
    prunes: ClassVar[bool] = False
    needs_teacher: ClassVar[bool] = True
    two_phase: ClassVar[bool] = False

    width: float = 0.5
    pixel: float = 0.2
    pixel_decay: float = 0.01
    epochs: int = 30
    features: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    adversarial: float = 0.01
    every: int = 5
    real: float = 0.2
    lr_decay_from: float = 0.4


@dataclass(frozen=True)
class DistillNas:
    """Li et al., "GAN Compression: Efficient architectures for interactive conditional GANs" (CVPR 2020).

    "Code" is github.com/mit-han-lab/gan-compression, its files in parentheses. The first half of the iterations
    trains the weight-shared network, the second fine-tunes the sub-network found. It is chosen by the Fréchet distance
    in the backbone that measures the run, which favours it.

    Attributes:
        fractions: of each layer's channels, from which a sub-network takes one (configs/resnet_configs.py,
            "channels-64-cycleGAN": 16, 24, 32, 48, 64 of 64).
        gan: weight of the adversarial loss (distillers/base_resnet_distiller.py, lambda_gan).
        recon: weight of the L1 distance to the teacher's image, where there is no paired ground truth
            (scripts/cycle_gan/horse2zebra_fast/train_supernet.sh, lambda_recon).
        distill: weight of the features' squared distance, summed over the blocks (the same, lambda_distill).
        population, generations: how many sub-networks in each generation, and how many generations. The code's
            100 and 500 (options/evolution_options.py) are far beyond this project's budget.
        parents: part of the population from which the next generation comes (the same, parent_ratio).
        mutations: part of the children made by mutation, the others by crossover (the same, mutation_ratio).
        mutation: probability with which a mutation redraws a layer
            (scripts/cycle_gan/horse2zebra_fast/evolution_search.sh, mutate_prob).
        samples: images for each Fréchet distance, at most the profile's evaluation_samples.
        calibration: batches of 64 from which a candidate's batch statistics are measured again (the code does so
            on its training data: models/spade_model.py, calibrate).
    """

    kind: ClassVar[str] = "nas"
    prunes: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True
    two_phase: ClassVar[bool] = True

    fractions: tuple[float, ...] = (0.25, 0.375, 0.5, 0.75, 1.0)
    gan: float = 1.0
    recon: float = 10.0
    distill: float = 0.01
    population: int = 16
    generations: int = 4
    parents: float = 0.25
    mutations: float = 0.5
    mutation: float = 0.4
    samples: int = 500
    calibration: int = 8


Baseline = L1Pruning | OutputDistillation | TinyGan | DistillNas


def describe(baseline: Baseline) -> dict[str, Any]:
    """The method's settings as plain values, its kind first."""
    return {"kind": baseline.kind, **asdict(baseline)}


def parse(values: dict[str, Any] | None) -> Baseline | None:
    """The inverse of `describe`."""
    if values is None:
        return None
    kinds = {method.kind: method for method in (L1Pruning, OutputDistillation, TinyGan, DistillNas)}
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    kind = settings.pop("kind", None)
    if kind not in kinds:
        raise TypeError(f"unknown method {kind!r}")
    return kinds[kind](**settings)
