"""A training step of every recipe, read from top to bottom, and all the state that it changes.

Teacher and plain SA-GAN train with the adversarial loss alone; PPCD-GAN adds L_CD and L_PP (eq. 8) in the same
step; the two-step variant first prunes without L_CD, then slims and distils.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ppcd import losses
from ppcd.data import BatchSampler, ImageSet
from ppcd.discriminators import build_discriminator
from ppcd.ema import Ema
from ppcd.errors import PpcdError
from ppcd.generators import Generator, GeneratorConfig, build_generator
from ppcd.initialisation import named_generator
from ppcd.profiles import Profile
from ppcd.recipes import TEACHER, Recipe
from ppcd.rule import MaskRule
from ppcd.slim import slim
from ppcd.teacher import Teacher

CHECKPOINT_FORMAT = 1
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True)
class Optimisation:
    """Reference settings of a network's training (BigGAN-PyTorch's launch scripts)."""

    lr_g: float
    lr_d: float
    betas: tuple[float, float]
    eps: float


OPTIMISATION = {
    "biggan": Optimisation(1e-4, 4e-4, (0.0, 0.999), 1e-6),
    "sagan": Optimisation(1e-4, 4e-4, (0.0, 0.999), 1e-8),
}


class Trainer:
    """Everything that changes during a training, and how it is saved and restored.

    Args:
        profile, recipe, seed: what to train. Initial weights, data order and noise depend on the seed alone, so
            recipes of one seed are paired.
        data: the training images.
        teacher: the frozen teacher, for recipes that distil.
        device: where the networks live. Noise and order are drawn on the CPU, the same for every device.

    Raises:
        PpcdError: a recipe that distils without a teacher, or with one of other classes or resolution.
    """

    def __init__(
        self,
        profile: Profile,
        recipe: Recipe,
        seed: int,
        data: ImageSet,
        teacher: Generator | None,
        device: str,
    ) -> None:
        self.profile, self.recipe, self.device = profile, recipe, torch.device(device)
        first = recipe.name == TEACHER
        self.total = profile.teacher_iterations if first else profile.iterations
        self.settings = OPTIMISATION[recipe.generator]

        # Networks: initial weights by seed and name
        generator = build_generator(
            recipe.generator, profile.resolution, profile.num_classes,
            profile.teacher_width if first else profile.student_width, recipe.masked,
            dim_z=profile.teacher_dim_z if first else profile.dim_z, seed=seed,
        )  # fmt: skip
        discriminator = build_discriminator(
            recipe.generator, profile.resolution, profile.num_classes,
            profile.teacher_discriminator_width if first else profile.discriminator_width, seed=seed,
        )  # fmt: skip
        self.generator, self.discriminator = self._place(generator), self._place(discriminator)
        self.ema = Ema(self.generator, profile.ema_decay, profile.ema_start)
        self.teacher = self._teacher(teacher, seed)

        # Optimisers: the networks keep their reference settings, the masks have their rule
        self.optimizer_g = self._adam(self.generator, self.settings.lr_g * self.profile.lr_g_scale)
        self.optimizer_d = self._adam(self.discriminator, self.settings.lr_d * self.profile.lr_d_scale)
        self.rule: MaskRule | None = None
        if recipe.masked and recipe.alpha is not None:
            pruning = self.switch_at if recipe.two_step else self.total
            self.rule = MaskRule(self.generator.masks(), recipe.mask_rule, recipe.alpha, recipe.lambda_pp, pruning)

        # Randomness: one generator for each purpose
        self.noise = named_generator(seed, "noise")
        flips = named_generator(seed, "flips") if profile.flip else None
        self.sampler = BatchSampler(data, profile.batch_size, named_generator(seed, "order"), flips, device)
        self.labels = data.labels

        self.iteration = 0
        self.phase = "prune" if recipe.two_step else "train"
        self.seconds = 0.0
        self.mask_report: list[dict[str, Any]] = []
        self.last: dict[str, float] = {}  # the losses at the last checkpoint
        self.provenance: dict[str, Any] = {}  # of the first start; kept through resumptions

    @property
    def switch_at(self) -> int:
        """Two-step training: the iteration at which pruning ends and distillation begins."""
        return self.total // 2

    def _teacher(self, generator: Generator | None, seed: int) -> Teacher | None:
        if not self.recipe.distil:
            return None
        if generator is None:
            raise PpcdError(f"recipe {self.recipe.name!r} distils and needs a trained teacher")
        if (generator.num_classes, generator.resolution) != (
            self.profile.num_classes,
            self.profile.resolution,
        ):
            raise PpcdError(
                f"the teacher knows {generator.num_classes} classes at {generator.resolution} px; the profile has "
                f"{self.profile.num_classes} at {self.profile.resolution} px"
            )
        if generator.dim_z > self.profile.dim_z:
            raise PpcdError(
                f"the teacher takes {generator.dim_z} noise entries, more than the student's {self.profile.dim_z}"
            )
        return Teacher(self._place(generator), self.recipe.normalisation, seed)

    def _place(self, network: Network) -> Network:
        """On the device, channels last: faster on CPU and GPU, the same function."""
        network.to(self.device)
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network

    def _adam(self, network: torch.nn.Module, learning_rate: float) -> torch.optim.Adam:
        masks = {id(mask.weight) for mask in network.masks().values()} if isinstance(network, Generator) else set()
        return torch.optim.Adam(
            [parameter for parameter in network.parameters() if id(parameter) not in masks],
            lr=learning_rate,
            betas=self.settings.betas,
            eps=self.settings.eps,
        )

    def draw(self) -> tuple[Tensor, Tensor]:
        """Noise z [batch, dim_z] and labels y [batch], y with the frequencies of the training data."""
        batch = self.profile.batch_size
        z = torch.randn(batch, self.generator.dim_z, generator=self.noise)
        y = self.labels[torch.randint(len(self.labels), (batch,), generator=self.noise)]
        return z.to(self.device), y.to(self.device)

    def step(self) -> dict[str, Tensor]:
        """One iteration: a step of D, a step of G and its masks, the average. Returns the losses, detached."""
        discriminator_loss, generator_loss = losses.ADVERSARIAL[self.recipe.adversarial]
        pieces = self.profile.accumulations
        self.generator.train()
        self.discriminator.train()

        # Discriminator (eq. 7)
        self.discriminator.requires_grad_(True)
        self.optimizer_d.zero_grad(set_to_none=True)
        loss_d = torch.zeros((), device=self.device)
        for _ in range(pieces):
            images, labels = next(self.sampler)
            z, y = self.draw()
            with torch.no_grad():
                fakes = self.generator(z, y)
            scores = self.discriminator(torch.cat([images, fakes]), torch.cat([labels, y]))
            loss = discriminator_loss(scores[: len(images)], scores[len(images) :])
            (loss / pieces).backward()
            loss_d += loss.detach() / pieces
        self.optimizer_d.step()

        # Generator: adversarial, class-aware distillation (eqs. 4, 6), progressive pruning (eqs. 2, 5)
        self.discriminator.requires_grad_(False)
        self.optimizer_g.zero_grad(set_to_none=True)
        pruning = self.rule is not None and self.phase != "distil"
        distilling = self.teacher is not None and self.phase != "prune"
        zero = torch.zeros((), device=self.device)
        l_adv, l_cd, l_pp = zero.clone(), zero.clone(), zero
        for _ in range(pieces):
            z, y = self.draw()
            fakes, features = self.generator(z, y, return_features=True)
            adversarial = generator_loss(self.discriminator(fakes, y))
            distance = zero
            if distilling and self.teacher is not None:
                distance = losses.class_aware_distillation(self.teacher.features(z, y), features[1:])
            # Eq. 8 without L_PP, whose gradient only the masks have: their rule adds it below
            loss = losses.total(adversarial, distance, 0.0, self.recipe.lambda_cd, self.recipe.lambda_pp)
            (loss / pieces).backward()
            l_adv += adversarial.detach() / pieces
            l_cd += distance.detach() / pieces
        if pruning and self.rule is not None:
            l_pp = self.rule.backward()
        self.optimizer_g.step()
        if pruning and self.rule is not None:
            self.rule.step(self.iteration)
            self.ema.follow_masks(self.generator)

        # Average
        self.ema.update(self.generator, self.iteration)
        self.iteration += 1
        if self.recipe.two_step and self.iteration == self.switch_at:
            self.slim_and_distil()
        return {"loss_d": loss_d, "loss_adv": l_adv, "loss_cd": l_cd, "loss_pp": l_pp}

    def report_masks(self) -> list[dict[str, Any]]:
        """What became of each mask layer: for run.json."""
        if self.rule is None or self.phase == "distil":
            return self.mask_report
        return [
            {
                "layer": name,
                "channels": mask.channels,
                "kept": int(mask.kept.sum()) if mask.frozen else mask.channels,
                "frozen_at": self.rule.frozen_at.get(name),
                "forced": self.rule.forced[name],
                "spared": self.rule.spared[name],
                "rescued": mask.rescued,
            }
            for name, mask in self.rule.masks.items()
        ]

    def slim_and_distil(self) -> None:
        """The second step of PPCD-GAN*: the pruned channels go, and the slim network learns from the teacher."""
        self.mask_report = self.report_masks()
        self._second_step(slim(self.generator, for_training=True))

    def _second_step(self, generator: Generator) -> None:
        self.generator = self._place(generator)
        self.optimizer_g = self._adam(self.generator, self.settings.lr_g * self.profile.lr_g_scale)
        self.ema = Ema(self.generator, self.profile.ema_decay, self.iteration + self.profile.ema_start)
        self.phase = "distil"

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values only."""
        return {
            "format": CHECKPOINT_FORMAT,
            "iteration": self.iteration,
            "phase": self.phase,
            "seconds": self.seconds,
            "generator_config": self.generator.config.to_dict(),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.generator.state_dict(),
            "ema_start": self.ema.start,
            "optimizer_g": self.optimizer_g.state_dict(),
            "optimizer_d": self.optimizer_d.state_dict(),
            "rule": None if self.rule is None else self.rule.state_dict(),
            "mask_report": self.mask_report,
            "last": self.last,
            "provenance": self.provenance,
            "noise": self.noise.get_state(),
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            PpcdError: the state is of another format.
        """
        if state.get("format") != CHECKPOINT_FORMAT:
            raise PpcdError(f"a checkpoint of format {state.get('format')!r} cannot be resumed; start the run anew")
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        if state["phase"] == "distil":
            self._second_step(Generator(GeneratorConfig.from_dict(state["generator_config"])))
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.generator.load_state_dict(state["ema"])
        self.ema.generator.requires_grad_(False)
        self.ema.start = state["ema_start"]
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        self.optimizer_d.load_state_dict(state["optimizer_d"])
        if self.rule is not None:
            self.rule.load_state_dict(state["rule"])
        self.mask_report, self.last = state["mask_report"], state["last"]
        self.provenance = state["provenance"]
        self.noise.set_state(state["noise"])
        self.sampler.load_state_dict(state["sampler"])
