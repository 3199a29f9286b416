"""The frozen teacher, and the class-conditional normalisation of its features (section 3.3).

The paper normalises the teacher's features class-conditionally "to avoid class leakage" and does not say how. A
normalisation that L_CD trained alone would collapse to flat maps, so nothing here learns:

- "teacher": the teacher's own class-conditional BN that follows the block. After its last block it has none
  that knows the class; there, statistics of each class are measured from the teacher's own samples, once, when the
  class first occurs.
  (At 64 and 128 px self-attention stands between one block and the next; the features are those before it, the BN's
  statistics those after it. The two are the same while gamma is 0.)
- "statistics": such statistics after every block.
- "none": the features as they are, the class-leakage ablation.
- "both": the student's features are normalised as the teacher's are, each side by its own norm that follows the block
  (after the last block the output norm, which knows no class), with its running statistics. The student's norms are
  constants of L_CD: its gradient reaches the features alone, so that it cannot flatten the maps through a norm.

Under "teacher" and "statistics" the student's features stay as they are, and a student equal to its teacher has an L_CD
above 0; under "both" and "none" it is 0 (`figures/<profile>/lcd_range`).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ppcd.base import PpcdError, named_generator

NORMALISATIONS = ("teacher", "statistics", "none", "both")


class Teacher:
    """Features of a frozen generator in evaluation mode, for L_CD.

    Args:
        generator: the teacher, a `ppcd.networks.generators.Generator`; it is frozen and put into evaluation mode.
        normalisation: one of NORMALISATIONS.
        seed: of the samples from which the statistics of the classes are measured.
        samples_per_class: how many.
        half: compute in bf16; statistics of classes are measured in float32 all the same.

    Raises:
        PpcdError: unknown normalisation, or a generator of one block (L_CD starts at the second).
    """

    def __init__(
        self,
        generator: Any,
        normalisation: str = "teacher",
        seed: int = 0,
        samples_per_class: int = 64,
        half: bool = False,
    ) -> None:
        if normalisation not in NORMALISATIONS:
            raise PpcdError(f"unknown normalisation {normalisation!r}; expected one of: {', '.join(NORMALISATIONS)}")
        if len(generator.blocks) < 2:
            raise PpcdError("class-aware distillation starts at the second block; this teacher has one")
        self.generator = generator.eval().requires_grad_(False)
        self.normalisation, self.half = normalisation, half
        self.statistics: dict[int, tuple[Tensor, Tensor]] = {}  # block -> mean and variance, [class, channel]
        last = len(generator.blocks) - 1
        self._measured = {"teacher": [last], "statistics": list(range(1, last + 1)), "none": [], "both": []}[
            normalisation
        ]
        self._missing = set(range(generator.num_classes)) if self._measured else set[int]()  # classes
        noise = named_generator(seed, "teacher statistics")
        self._noise = [torch.randn(samples_per_class, self.dim_z, generator=noise) for _ in sorted(self._missing)]

    @property
    def dim_z(self) -> int:
        return self.generator.dim_z

    @torch.no_grad()
    def _measure(self, y: Tensor) -> None:
        """The statistics of those of these classes that have none yet."""
        if not self._missing:
            return
        for label in sorted(self._missing.intersection(y.tolist())):
            z = self._noise[label].to(y.device)
            with torch.autocast(y.device.type, enabled=False):
                _, features = self.generator(z, torch.full((len(z),), label, device=y.device), return_features=True)
            for block in self._measured:
                var, mean = torch.var_mean(features[block], dim=(0, 2, 3), correction=0)
                if block not in self.statistics:
                    empty = mean.new_full((self.generator.num_classes, len(mean)), torch.nan)
                    self.statistics[block] = (empty, empty.clone())
                for moment, value in zip(self.statistics[block], (mean, var), strict=True):
                    moment[label] = value
            self._missing.discard(label)

    def _normalise(self, block: int, features: Tensor, condition: Tensor, y: Tensor) -> Tensor:
        if block in self.statistics:
            mean, var = (moment[y][:, :, None, None] for moment in self.statistics[block])
            return (features - mean) * torch.rsqrt(var + 1e-5)
        if self.normalisation == "teacher":
            following = self.generator.residual_blocks()[block + 1]
            return following.bn1(features, condition)
        return features

    def of_student(
        self, generator: Any, features: list[Tensor], z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
    ) -> list[Float[Tensor, "batch channel height width"]]:
        """A student's features of the second to the last block, as L_CD compares them with `features`.

        Args:
            generator: the student.
            features: of all of its blocks, for z and y.
        """
        if self.normalisation != "both":
            return features[1:]
        return following_norms(generator, features, z, y)

    def features(
        self, z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
    ) -> list[Float[Tensor, "batch channel height width"]]:
        """Normalised features of the second to the last block, for the student's noise z."""
        return self.images_and_features(z, y)[1]

    @torch.no_grad()
    def images_and_features(
        self, z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
    ) -> tuple[Tensor, list[Float[Tensor, "batch channel height width"]]]:
        """The teacher's images and its normalised features, of one forward pass.

        The teacher takes the first of the student's noise entries where it has fewer (BigGAN 120, SA-GAN 128).
        """
        self._measure(y)
        z = z[:, : self.dim_z]
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.half):
            images, features = self.generator(z, y, return_features=True)
            if self.normalisation == "both":
                return images, following_norms(self.generator, features, z, y)
            _, conditions = self.generator.conditions(z, y)
            return images, [
                self._normalise(block, features[block], conditions[min(block + 1, len(conditions) - 1)], y)
                for block in range(1, len(features))
            ]


def following_norms(
    generator: Any, features: list[Tensor], z: Float[Tensor, "batch dim_z"], y: Int[Tensor, " batch"]
) -> list[Float[Tensor, "batch channel height width"]]:
    """Features of the second to the last block after the norm that follows each, as a constant function of them."""
    with torch.no_grad():
        _, conditions = generator.conditions(z, y)
    blocks = generator.residual_blocks()
    inner = [
        blocks[index + 1].bn1.as_constant(features[index], conditions[index + 1]) for index in range(1, len(blocks) - 1)
    ]
    return [*inner, generator.output_norm.as_constant(features[-1])]
