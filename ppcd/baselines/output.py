"""Distillation of the output alone (Aguinaldo et al., "Compressing GANs using knowledge distillation", 2019).

A narrow student sees the teacher's images for the same noise and class, and nothing else: no discriminator, no real
images, no features. The source's first loss is the mean squared error of the pixels; its second ("joint") adds a
discriminator, for faces, where the first blurs.
"""

from typing import cast

import torch
from torch import Tensor

from ppcd.method.teacher import Teacher
from ppcd.training.methods import OutputDistillation
from ppcd.training.trainer import Trainer


def student_width(width: int, part: float) -> int:
    """The narrow student's width: a part of SA-GAN's, at least 1."""
    return max(1, round(width * part))


class OutputTrainer(Trainer):
    """A student of the teacher's images."""

    teacher: Teacher

    @property
    def method(self) -> OutputDistillation:
        return cast(OutputDistillation, self.recipe.baseline)

    def _width(self, width: int) -> int:
        return student_width(width, self.method.width)

    def _make_discriminator(self) -> None:
        return None

    def generator_loss(self, z: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """E ||G_T(z, y) - G_S(z, y)||^2 over the pixels, times its weight."""
        with torch.no_grad():
            wanted = self.teacher.generator(z[:, : self.teacher.dim_z], y)
        pixel = torch.nn.functional.mse_loss(self.generator(z, y), wanted)
        return self.method.pixel * pixel, {"loss_pixel": pixel}
