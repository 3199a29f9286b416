"""The frozen teacher, and the class-conditional normalisation of its features (section 3.3).

The paper normalises the teacher's features class-conditionally "to avoid class leakage" and does not say how. A
normalisation that L_CD trained alone would collapse to flat maps, so nothing here learns:

- "teacher": the teacher's own class-conditional BN that follows the block. Behind its last block it has none
  that knows the class; there, statistics of each class are measured from the teacher's own samples, once.
  (At 64 and 128 px self-attention stands between one block and the next; the features are those before it, the BN's
  statistics those behind it. The two are the same while gamma is 0.)
- "statistics": such statistics behind every block.
- "none": the features as they are, the class-leakage ablation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ppcd.errors import PpcdError
from ppcd.generators import Generator
from ppcd.initialisation import named_generator

NORMALISATIONS = ("teacher", "statistics", "none")


class Teacher:
    """Features of a frozen generator in evaluation mode, for L_CD.

    Args:
        generator: the teacher; it is frozen and put into evaluation mode.
        normalisation: one of NORMALISATIONS.
        seed: of the samples from which the statistics of the classes are measured.
        samples_per_class: how many.

    Raises:
        PpcdError: unknown normalisation, or a generator of one block (L_CD starts at the second).
    """

    def __init__(
        self, generator: Generator, normalisation: str = "teacher", seed: int = 0, samples_per_class: int = 64
    ) -> None:
        if normalisation not in NORMALISATIONS:
            raise PpcdError(f"unknown normalisation {normalisation!r}; expected one of: {', '.join(NORMALISATIONS)}")
        if len(generator.blocks) < 2:
            raise PpcdError("class-aware distillation starts at the second block; this teacher has one")
        self.generator = generator.eval().requires_grad_(False)
        self.normalisation = normalisation
        self.statistics: dict[int, tuple[Tensor, Tensor]] = {}  # block -> mean and variance, [class, channel]
        last = len(generator.blocks) - 1
        measured = {"teacher": [last], "statistics": list(range(1, last + 1)), "none": []}[normalisation]
        if measured:
            self._measure(measured, named_generator(seed, "teacher statistics"), samples_per_class)

    @property
    def dim_z(self) -> int:
        return self.generator.dim_z

    @torch.no_grad()
    def _measure(self, blocks: list[int], noise: torch.Generator, samples: int) -> None:
        moments: dict[int, list[tuple[Tensor, Tensor]]] = {block: [] for block in blocks}
        device = next(self.generator.parameters()).device
        for label in range(self.generator.num_classes):
            z = torch.randn(samples, self.dim_z, generator=noise).to(device)
            y = torch.full((samples,), label, device=device)
            _, features = self.generator(z, y, return_features=True)
            for block in blocks:
                var, mean = torch.var_mean(features[block], dim=(0, 2, 3), correction=0)
                moments[block].append((mean, var))
        for block, pairs in moments.items():
            self.statistics[block] = (
                torch.stack([mean for mean, _ in pairs]),
                torch.stack([var for _, var in pairs]),
            )

    def _normalise(self, block: int, features: Tensor, condition: Tensor, y: Tensor) -> Tensor:
        if block in self.statistics:
            mean, var = (moment[y][:, :, None, None] for moment in self.statistics[block])
            return (features - mean) * torch.rsqrt(var + 1e-5)
        if self.normalisation == "teacher":
            following = self.generator.residual_blocks()[block + 1]
            return following.bn1(features, condition)
        return features

    @torch.no_grad()
    def features(
        self, z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
    ) -> list[Float[Tensor, "batch channel height width"]]:
        """Normalised features of the second to the last block, for the student's noise z.

        The teacher takes the first of the student's noise entries where it has fewer (BigGAN 120, SA-GAN 128).
        """
        z = z[:, : self.dim_z]
        _, features = self.generator(z, y, return_features=True)
        _, conditions = self.generator.conditions(z, y)
        return [
            self._normalise(block, features[block], conditions[min(block + 1, len(conditions) - 1)], y)
            for block in range(1, len(features))
        ]
