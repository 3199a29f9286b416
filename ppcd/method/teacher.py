"""The frozen teacher, and the class-conditional normalisation of its features (section 3.3).

The paper normalises the teacher's features class-conditionally "to avoid class leakage" and does not say how. A
normalisation that L_CD trained alone would collapse to flat maps, so nothing here learns:

- "teacher": the teacher's own class-conditional norm that follows the block. Where none follows (after the last block),
  statistics of each class are measured from the teacher's own samples, once, when the class first occurs.
  (At 64 and 128 px self-attention stands between one block and the next; the features are those before it, the norm's
  statistics those after it. The two are the same while gamma is 0.)
- "statistics": such statistics after every block.
- "none": the features as they are, the class-leakage ablation.
- "both": the student's features are normalised as the teacher's are, each side by its own norm that follows the block
  (after the last block the output norm, which knows no class), with its running statistics. The student's norms are
  constants of L_CD: its gradient reaches the features alone, so that it cannot flatten the maps through a norm.

Under "teacher" and "statistics" the student's features stay as they are, and a student equal to its teacher has an L_CD
above 0; under "both" and "none" it is 0 (`figures/<profile>/lcd_range`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ppcd.base import PpcdError, named_generator
from ppcd.method.features import BlockFeatures, labels_of, of_class

NORMS = {"teacher": "conditional", "statistics": None, "none": None, "both": "any"}  # as `BlockFeatures` has them
NORMALISATIONS = tuple(NORMS)


class Teacher:
    """Features of a frozen generator in evaluation mode, for L_CD.

    Args:
        generator: the teacher, any generator of images; it is frozen and put into evaluation mode.
        normalisation: one of NORMALISATIONS.
        seed: of the samples from which the statistics of the classes are measured.
        samples_per_class: how many.
        half: compute in bf16; statistics of classes are measured in float32 all the same.
        blocks: names of the residual blocks that are compared, in the order in which they are called; None: of a
            generator of this project, the second to the last.
    """

    def __init__(
        self,
        generator: Any,
        normalisation: str = "teacher",
        seed: int = 0,
        samples_per_class: int = 64,
        half: bool = False,
        blocks: Sequence[str] | None = None,
    ) -> None:
        if normalisation not in NORMS:
            raise PpcdError(f"unknown normalisation {normalisation!r}; expected one of: {', '.join(NORMS)}")
        if blocks is None:
            blocks = [f"blocks.{index}" for index in range(1, len(getattr(generator, "blocks", ())))]
        if not blocks:
            raise PpcdError("class-aware distillation starts at the second block; this teacher has one")
        self.generator = generator.eval().requires_grad_(False)
        self.normalisation, self.half, self.blocks = normalisation, half, list(blocks)
        self.samples_per_class = samples_per_class
        self._features: dict[str, Tensor] = {}
        self._normed = BlockFeatures(generator, blocks, self._keep, NORMS[normalisation])
        self._plain = BlockFeatures(generator, blocks, self._keep, None)
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}  # block -> mean and variance, [class, channel]
        self._measured: set[str] | None = set(blocks) if normalisation == "statistics" else None  # None: not known yet
        self._known: set[int] = set()  # classes whose statistics are measured
        self._stream, self._noise = named_generator(seed, "teacher statistics"), list[Tensor]()

    @property
    def dim_z(self) -> int | None:
        """The noise entries that it takes; None: not known, those that the student takes."""
        return getattr(self.generator, "dim_z", None)

    def features(self, z: Tensor, *others: Any) -> list[Float[Tensor, "batch channel height width"]]:
        """Normalised features of the blocks, for the student's inputs."""
        return self.images_and_features(z, *others)[1]

    @torch.no_grad()
    def images_and_features(
        self, z: Tensor, *others: Any
    ) -> tuple[Tensor, list[Float[Tensor, "batch channel height width"]]]:
        """The teacher's images and its normalised features, of one forward pass.

        The teacher takes the first of the student's noise entries where it has fewer (BigGAN 120, SA-GAN 128).

        Args:
            z: noise [batch, ...].
            others: what else the student takes: labels [batch], or one-hot rows.
        """
        z = z if self.dim_z is None else z[:, : self.dim_z]
        y = labels_of(others, len(z)).to(z.device)
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.half):
            images, left = self._run(self._normed, z, others)
            if self.normalisation in ("teacher", "statistics"):
                if self._measured is None:
                    self._measured = set(left)
                self._measure(z, y, others)
                for name in self._measured:
                    features = left[name] if name in left else self._features[name]
                    mean, var = (moment[y][:, :, None, None] for moment in self.statistics[name])
                    self._features[name] = (features - mean) * torch.rsqrt(var + 1e-5)
            else:
                self._features |= left
        found = [self._features[name] for name in self.blocks]
        self._features.clear()
        return images, found

    def _keep(self, name: str, features: Tensor) -> None:
        self._features[name] = features.clone()  # what follows may change them in place

    def _run(self, watched: BlockFeatures, z: Tensor, others: Sequence[Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """A forward pass: the images, and the features of the blocks that no norm follows."""
        watched.begin()
        try:
            images = self.generator(z, *others)
        finally:
            left = dict(watched.end())
        if missing := [name for name in self.blocks if name not in left and name not in self._features]:
            raise PpcdError(f"block {missing[0]!r} is not called when the teacher draws")
        return images, left

    def _measure(self, z: Tensor, y: Tensor, others: Sequence[Any]) -> None:
        """The statistics of those of these classes that have none yet."""
        if not self._measured or len(self._known) == getattr(self.generator, "num_classes", None):
            return
        kept = dict(self._features)
        for label in sorted(set(y.tolist()) - self._known):
            while len(self._noise) <= label:
                self._noise.append(torch.randn(self.samples_per_class, *z.shape[1:], generator=self._stream))
            noise = self._noise[label].to(z)
            alike = [of_class(each, label, len(noise)) for each in others]
            with torch.autocast(z.device.type, enabled=False):
                self._run(self._plain, noise, alike)
            for name in self._measured:
                self._store(name, label, *torch.var_mean(self._features[name], dim=(0, 2, 3), correction=0))
            self._known.add(label)
        self._features.clear()
        self._features.update(kept)

    def _store(self, name: str, label: int, var: Tensor, mean: Tensor) -> None:
        rows = max(label + 1, getattr(self.generator, "num_classes", 0))
        tables = self.statistics.get(name, (mean[:0].new_empty(0, len(mean)),) * 2)
        if len(tables[0]) < rows:
            grown = [torch.cat([each, each.new_full((rows - len(each), len(mean)), torch.nan)]) for each in tables]
            self.statistics[name] = tables = (grown[0], grown[1])
        tables[0][label], tables[1][label] = mean, var
