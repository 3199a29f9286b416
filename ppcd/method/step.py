"""One iteration of the training: D, then G and its masks, by one loss (eq. 8).

`Step` is what an iteration computes. A trainer gives it networks, optimisers, noise and real images
(`ppcd.training.trainer.Trainer`); the compared methods override its parts.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppcd.method import losses
from ppcd.method.compressor import Compressor
from ppcd.method.distillation import Distillation
from ppcd.method.ema import Ema
from ppcd.method.teacher import Teacher


@dataclass(frozen=True)
class Objective:
    """The terms of G's loss and their weights."""

    adversarial: str = "hinge"  # or "minimax" (eq. 7)
    lambda_cd: float = 1.0  # of eq. 8, as lambda_pp
    lambda_pp: float = 0.01
    masks_distil: bool = True  # whether L_CD moves the masks as well, as eq. 8 has it
    # Beyond the paper
    lambda_pixel: float | None = None  # of the distance to the teacher's pixels for the same noise
    lambda_teacher_d: float | None = None  # of what the teacher's discriminator says (DGL-GAN, arXiv 2112.06502)


class Step:
    """The networks, and what one iteration does to them."""

    generator: Any  # the student, with masks where it is pruned
    discriminator: nn.Module | None  # None for a method that trains without
    teacher: Teacher | None  # None without distillation
    guide: Distillation | None  # L_CD; None where it is no term of the loss
    teacher_discriminator: nn.Module | None  # frozen; None without that term
    optimizer_g: torch.optim.Adam  # of all of G's weights but the masks
    optimizer_d: torch.optim.Adam | None
    compressor: Compressor | None  # of the masks; None where none learn
    averages: dict[str, Ema]  # of G's weights, by name
    objective: Objective
    device: torch.device
    pieces: int  # batches whose gradients are accumulated for one step of an optimiser
    discriminator_steps: int  # for each step of G
    iteration: int
    phase: str  # "prune" leaves out what comes from the teacher (PPCD-GAN*)

    # Given by the trainer

    def real_batch(self) -> tuple[Tensor, Tensor]:
        """Real images [batch, 3, R, R] in [-1, 1] and their labels."""
        raise NotImplementedError

    def draw(self) -> tuple[Tensor, Tensor]:
        """Noise z [batch, dim_z] and labels y [batch]."""
        raise NotImplementedError

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of forward passes."""
        raise NotImplementedError

    def average_gradients(self, parameters: Iterable[nn.Parameter], values: Iterable[Tensor]) -> None:
        """Where several processes train together: the means of their gradients and of these values, in place."""
        raise NotImplementedError

    # One iteration

    def step(self) -> dict[str, Tensor]:
        """D's steps, a step of G and its masks, the averages. Returns the losses, detached."""
        self.generator.train()
        zero = torch.zeros((), device=self.device)
        found = {"loss_d": zero, "loss_adv": zero, "loss_cd": zero, "loss_pp": zero}
        if self.discriminator is not None:
            self.discriminator.train()
            self.discriminator.requires_grad_(True)
            for _ in range(self.discriminator_steps):
                found["loss_d"] = self.discriminator_step()
            self.discriminator.requires_grad_(False)
        found |= self.generator_step()
        for average in self.averages.values():
            average.update(self.generator, self.iteration)
        return found

    def discriminator_step(self) -> Tensor:
        """A step of D on real images and G's (eq. 7). Returns its loss, detached."""
        discriminator_loss, _ = losses.ADVERSARIAL[self.objective.adversarial]
        discriminator, optimizer = self.discriminator, self.optimizer_d
        if discriminator is None or optimizer is None:
            raise ValueError("this method has no discriminator")
        optimizer.zero_grad(set_to_none=True)
        loss_d = torch.zeros((), device=self.device)
        for _ in range(self.pieces):
            images, labels = self.real_batch()
            z, y = self.draw()
            with self.autocast():
                with torch.no_grad():
                    fakes = self.generator(z, y)
                scores = discriminator(torch.cat([images, fakes]), torch.cat([labels, y]))
                loss = discriminator_loss(scores[: len(images)], scores[len(images) :])  # eq. 7
            (loss / self.pieces).backward()
            loss_d += loss.detach() / self.pieces
        self.average_gradients(discriminator.parameters(), [loss_d])
        optimizer.step()
        return loss_d

    def generator_step(self) -> dict[str, Tensor]:
        """A step of G, and of its masks where they still learn. Returns the parts of its loss, detached."""
        self.optimizer_g.zero_grad(set_to_none=True)
        found: dict[str, Tensor] = {}
        for _ in range(self.pieces):
            # Accumulate gradients
            z, y = self.draw()
            with self.autocast():
                loss, parts = self.generator_loss(z, y)  # eq. 8 without L_PP
            without = self._distillation_of_masks(parts.get("loss_cd"))
            (loss / self.pieces).backward()
            for name, gradient in without.items():
                self.compressor.gradients[name] -= gradient / self.pieces  # type: ignore[union-attr]
            for name, part in parts.items():
                found[name] = found.get(name, 0) + part.detach() / self.pieces
        learned = [weight for group in self.optimizer_g.param_groups for weight in group["params"]]
        self.average_gradients(learned, found.values())

        # Step G's weights, then the masks
        self.optimizer_g.step()
        if self.compressor is not None:
            found["loss_pp"] = self.compressor.step()  # eqs. 2, 3 and 5: the gradient of L_PP reaches the masks alone
        return found

    def generator_loss(self, z: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 8 without L_PP, which the rule of the masks adds, and its parts by name."""
        objective = self.objective
        fakes = self.generator(z, y)
        adversarial = self.adversarial(fakes, y)  # eq. 7
        distance, wanted = torch.zeros((), device=self.device), None
        if self.guide is not None and self.phase != "prune":
            distance = self.guide(z, y)  # eqs. 4 and 6
            wanted = self.guide.images
        elif self.teacher is not None and self.phase != "prune":
            wanted, _ = self.teacher.images_and_features(z, y)
        loss = losses.total(adversarial, distance, 0.0, objective.lambda_cd, objective.lambda_pp)  # eq. 8
        parts = {"loss_adv": adversarial, "loss_cd": distance}

        # Beyond the paper: the teacher's pixels, and its discriminator
        if objective.lambda_pixel is not None and wanted is not None:
            parts["loss_pixel"] = (fakes - wanted).abs().mean()
            loss = loss + objective.lambda_pixel * parts["loss_pixel"]
        if objective.lambda_teacher_d is not None and self.teacher_discriminator is not None:
            loss_teacher_d = losses.generator_hinge(self.teacher_discriminator(fakes, y))
            loss = loss + objective.lambda_teacher_d * loss_teacher_d
        return loss, parts

    def adversarial(self, fakes: Tensor, y: Tensor) -> Tensor:
        """G's side of the adversarial loss (eq. 7)."""
        if self.discriminator is None:
            raise ValueError("this method has no discriminator")
        _, generator_loss = losses.ADVERSARIAL[self.objective.adversarial]
        return generator_loss(self.discriminator(fakes, y))

    def _distillation_of_masks(self, distance: Tensor | None) -> dict[str, Tensor]:
        """Gradients of L_CD in the open masks, to be subtracted where `masks_distil` is False; else none."""
        if self.objective.masks_distil or distance is None or not distance.requires_grad or self.compressor is None:
            return {}
        weights = {name: mask.weight for name, mask in self.compressor.masks.items() if not mask.frozen}
        if not weights:
            return {}
        gradients = torch.autograd.grad(self.objective.lambda_cd * distance, list(weights.values()), retain_graph=True)
        return dict(zip(weights, gradients, strict=True))
