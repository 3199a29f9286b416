"""A training of any recipe: its networks and optimisers, and all the state that its steps change.

What an iteration computes is in `ppcd.method.step`.
"""

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from ppcd.base import PpcdError, named_generator
from ppcd.data.batches import Ahead, BatchSampler
from ppcd.data.images import ImageSet
from ppcd.method.compressor import Compressor
from ppcd.method.distillation import Distillation
from ppcd.method.ema import DECLARED, Ema, make_averages
from ppcd.method.slim import slim
from ppcd.method.step import Objective, Step
from ppcd.method.teacher import Teacher
from ppcd.networks.compute import EXACT, FAST, FASTEST, ComputeOptions, has_bf16
from ppcd.networks.discriminators import Discriminator, build_discriminator
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.networks.io import LastState, adam_moments, load_adam_moments
from ppcd.networks.layers import SharedBatch, shared_batch
from ppcd.training.config import RunConfig
from ppcd.training.distributed import ALONE, Processes, check_share
from ppcd.training.pruning import make_rule, pruned_widths, report, switch_iteration
from ppcd.training.recipes import OPTIMISATION

CHECKPOINT_FORMAT = 3
SECOND_PHASES = ("distil", "finetune")
Network = TypeVar("Network", bound=torch.nn.Module)


class Trainer(Step):
    """Everything that changes during a training, and how it is saved and restored.

    Args:
        config: what to train. Initial weights, data order and noise depend on its seed alone, so recipes of one seed
            are paired.
        teacher: the frozen teacher, for recipes that distil.
        device: where the networks live. Noise and order are drawn on the CPU, the same for every device.
        processes: those that train together; each holds everything and takes its part of every batch.
        forms: how all of it computes; None: as the profile says.
        origin: what the teacher's training ended with, for recipes that start from it or are guided by its
            discriminator; it is copied.
    """

    def __init__(
        self,
        config: RunConfig,
        data: ImageSet,
        teacher: Generator | None = None,
        device: str = "cpu",
        processes: Processes = ALONE,
        forms: ComputeOptions | None = None,
        origin: LastState | None = None,
    ) -> None:
        self.config, self.profile, self.recipe, self.seed = config, config.profile, config.recipe, config.seed
        self.data, self.device, self.processes, self.origin = data, torch.device(device), processes, origin
        profile, recipe = self.profile, self.recipe
        if recipe.needs_training_state and origin is None:
            raise PpcdError(f"recipe {recipe.name!r} needs the weights and discriminator that its teacher ended with")
        self.forms = forms or (FASTEST.get(self.device.type, FAST) if profile.fast else EXACT)
        self.budget = profile.budget(recipe.teacher_budget)
        self.total, self.pieces = self.budget.iterations, self.budget.accumulations
        check_share(self.budget.batch_size, processes.count)
        self.settings = OPTIMISATION[recipe.generator]
        self.discriminator_steps = self.settings.discriminator_steps
        self.objective = Objective(
            recipe.adversarial, recipe.lambda_cd, recipe.lambda_pp, recipe.masks_distil is not False,
            recipe.lambda_pixel, recipe.lambda_teacher_d,
        )  # fmt: skip

        # Networks: initial weights by seed and name
        self.generator = self._place(self._make_generator())
        discriminator = self._make_discriminator()
        self.discriminator = None if discriminator is None else self._place(discriminator)
        self.averages = self._make_averages(self.generator, 0)
        self.teacher = self._make_teacher(teacher)
        self.teacher_discriminator = None
        if recipe.lambda_teacher_d is not None and origin is not None:
            self.teacher_discriminator = self._place(copy.deepcopy(origin.discriminator)).eval().requires_grad_(False)

        # Optimisers: the networks keep their reference settings, the masks have their rule
        self.optimizer_g = self._adam(self._learned(), self.settings.lr_g * profile.lr_g_scale)
        self.optimizer_d = None
        if self.discriminator is not None:
            self.optimizer_d = self._adam(self.discriminator.parameters(), self.settings.lr_d * profile.lr_d_scale)
        if recipe.start == "teacher" and origin is not None and self.discriminator and self.optimizer_d:
            load_adam_moments(self.optimizer_g, self.generator, "generator", origin.moments)
            load_adam_moments(self.optimizer_d, self.discriminator, "discriminator", origin.moments)
        self.iteration, self.phase = 0, "prune" if recipe.two_step else "train"
        self.rule = make_rule(config, self.generator, self.total)
        self._compress()

        # Randomness: one generator for each purpose
        self.noise = named_generator(self.seed, "noise")
        self._drawn = Ahead(self._draw, self.noise.get_state, self.device)
        flips = named_generator(self.seed, "flips") if profile.flip else None
        order = named_generator(self.seed, "order")
        self.sampler = BatchSampler(data, self.budget.batch_size, order, flips, device, processes.share)

        self.seconds = 0.0
        self.mask_report: list[dict[str, Any]] = []
        self.last: dict[str, float] = {}  # the losses at the last checkpoint
        self.provenance: dict[str, Any] = {}  # of the first start; resuming keeps it
        self.notes: dict[str, Any] = {}  # what callbacks remember; resuming keeps it
        self._prepare()

    def _compress(self) -> None:
        """How the generator that is there follows the teacher, and what closes its masks."""
        self.guide, self.compressor = None, None
        if self.recipe.distil and self.teacher is not None:
            self.guide = Distillation(self.generator, self.teacher, self.teacher.blocks)
        if self.rule is not None and self.phase != "distil" and self.recipe.alpha is not None:
            self.compressor = Compressor(
                self.generator, None, self.recipe.alpha, self.total, rule=self.rule,
                average=lambda tensors: self.processes.average((), tensors), checks=False,
            )  # fmt: skip

    @property
    def changing(self) -> bool:
        """Whether masks are open, or a second phase comes."""
        coming = self.recipe.two_phase and self.phase not in SECOND_PHASES
        return coming or any(not mask.frozen for mask in self.generator.masks().values())

    @property
    def switch_at(self) -> int:
        """Two phases: the iteration at which the second begins, with a smaller network."""
        return switch_iteration(self.config, self.total)

    def _make_generator(self) -> Generator:
        profile, recipe = self.profile, self.recipe
        if recipe.start == "teacher" and self.origin is not None:
            generator = self.origin.generator
            return generator.make_prunable() if recipe.masked else copy.deepcopy(generator)
        large = recipe.teacher_size
        width = self._width(profile.teacher_width if large else profile.student_width)
        hidden = None
        if recipe.narrow and recipe.alpha is not None:
            hidden = pruned_widths(profile.resolution, width, recipe.alpha)
        return build_generator(
            recipe.generator, profile.resolution, profile.num_classes, width, recipe.masked,
            dim_z=profile.teacher_dim_z if large else profile.dim_z, seed=self.seed, hidden=hidden, grey=profile.grey,
        )  # fmt: skip

    def _make_discriminator(self) -> torch.nn.Module | None:
        """The discriminator, or None for a method that trains without."""
        profile, recipe = self.profile, self.recipe
        if recipe.start == "teacher" and self.origin is not None:
            return copy.deepcopy(self.origin.discriminator)
        width = profile.teacher_discriminator_width if recipe.teacher_size else profile.discriminator_width
        return build_discriminator(recipe.generator, profile.resolution, profile.num_classes, width, seed=self.seed)

    @property
    def half_teacher(self) -> bool:
        """Whether the teacher computes in bf16; its images, where they are compared, only if all of the run does."""
        faster = self.forms.half_teacher and has_bf16(self.device) and self.recipe.lambda_pixel is None
        return self.config.precision == "bf16" or faster

    def _make_teacher(self, generator: Generator | None) -> Teacher | None:
        if not self.recipe.needs_teacher:
            return None
        if generator is None:
            raise PpcdError(f"recipe {self.recipe.name!r} distils and needs a trained teacher")
        theirs, ours = ((each.num_classes, each.resolution) for each in (generator, self.profile))
        if theirs != ours:
            raise PpcdError(
                f"the teacher knows {theirs[0]} classes at {theirs[1]} px; the profile has {ours[0]} at {ours[1]} px"
            )
        if generator.dim_z > self.profile.dim_z:
            raise PpcdError(
                f"the teacher takes {generator.dim_z} noise entries, more than the student's {self.profile.dim_z}"
            )
        normalisation = self.recipe.normalisation if self.recipe.distil else "none"
        self.forms.of_teacher().apply(generator.to(self.device))
        return Teacher(generator, normalisation, self.seed, half=self.half_teacher)

    @property
    def ema(self) -> Ema:
        """The average that is the result of the run."""
        return self.averages[DECLARED]

    def _make_averages(self, generator: Generator, start: int) -> dict[str, Ema]:
        """The averages that follow the generator from iteration `start` on, by name.

        A declared mean age (`average_age`) holds for every method. Without one it is the reference decay, and a copy
        of the weights where the method's source keeps no average.
        """
        profile = self.profile
        if profile.average_age is not None:
            others = profile.best_samples is not None  # the score curve compares them
            return make_averages(generator, profile.average_age, self.total, start, others)
        if not self.settings.averaged:
            return {DECLARED: Ema(generator, 0.0, start)}
        return {DECLARED: Ema(generator, profile.ema_decay, start + self.budget.ema_start)}

    def _learned(self) -> list[torch.nn.Parameter]:
        """What G's optimiser trains: all of G but the masks, which have their rule."""
        masks = {id(mask.weight) for mask in self.generator.masks().values()}
        return [parameter for parameter in self.generator.parameters() if id(parameter) not in masks]

    def _place(self, network: Network) -> Network:
        """On the device, in the forms of this training."""
        self.forms.apply(network.to(self.device))
        return network

    def _adam(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Adam:
        settings, fused = self.settings, self.forms.fused
        return torch.optim.Adam(list(parameters), learning_rate, settings.betas, settings.eps, fused=fused)

    def autocast(self) -> torch.autocast:
        """The context of forward passes: `precision`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def draw(self) -> tuple[Tensor, Tensor]:
        """This process's part of noise z [batch, dim_z] and labels y [batch], as frequent as in the training data."""
        _, (z, y) = next(self._drawn)
        return z, y

    def _draw(self) -> tuple[Tensor, Tensor]:
        batch, labels = self.budget.batch_size, self.data.labels
        z = torch.randn(batch, self.generator.dim_z, generator=self.noise)
        y = labels[torch.randint(len(labels), (batch,), generator=self.noise)]
        return self.processes.part(z), self.processes.part(y)

    def real_batch(self) -> tuple[Tensor, Tensor]:
        return next(self.sampler)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter], values: Iterable[Tensor]) -> None:
        self.processes.average(parameters, values)

    def step(self) -> dict[str, Tensor]:
        """One iteration (`ppcd.method.step`), and the switch between two phases. Returns the losses, detached."""
        processes = self.processes
        with shared_batch(SharedBatch(processes.mean, processes.count) if processes.count > 1 else None):
            found = super().step()
        self.iteration += 1
        if self.recipe.two_phase and self.iteration == self.switch_at:
            self.switch()
        return found

    def report_masks(self) -> list[dict[str, Any]]:
        """What became of each mask layer: for run.json."""
        return self.mask_report if self.rule is None or self.phase == "distil" else report(self.rule)

    def switch(self) -> None:
        """Between two phases. PPCD-GAN*: the pruned channels go, and the slim network learns from the teacher."""
        self.mask_report = self.report_masks()
        self._second_phase(slim(self.generator, for_training=True), "distil")

    def _second_phase(self, generator: Generator, phase: str) -> None:
        """Go on with another network: a new optimiser and new averages, the same discriminator."""
        self.generator, self.phase = self._place(generator), phase
        self._compress()
        self.optimizer_g = self._adam(self._learned(), self.settings.lr_g * self.profile.lr_g_scale)
        self.averages = self._make_averages(self.generator, self.iteration)

    def last_state(self) -> LastState:
        """What another training goes on from: the networks themselves, and copies of the optimisers' moments."""
        if not isinstance(self.discriminator, Discriminator) or self.optimizer_d is None:
            raise ValueError(f"{self.recipe.name} has no discriminator")
        moments = adam_moments(self.optimizer_g, self.generator, "generator")
        moments |= adam_moments(self.optimizer_d, self.discriminator, "discriminator")
        return LastState(self.generator, self.discriminator, moments)

    # What a compared method adds: its own parts, its student's width where SA-GAN has this one, files for the run's
    # directory (name -> text), state of a checkpoint

    def _prepare(self) -> None: ...
    def load_extra_state(self, state: dict[str, Any]) -> None: ...

    def extra_state(self) -> dict[str, Any]:
        return {}

    def extra_files(self) -> dict[str, str]:
        return {}

    def _width(self, width: int) -> int:
        return width

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """The networks that learn, by name."""
        found = {"generator": self.generator, "discriminator": self.discriminator}
        return {name: network for name, network in found.items() if network is not None}

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on: tensors and plain values only."""
        return {
            "format": CHECKPOINT_FORMAT,
            "iteration": self.iteration,
            "phase": self.phase,
            "seconds": self.seconds,
            "generator_config": self.generator.config.to_dict(),
            "generator": self.generator.state_dict(),
            "discriminator": None if self.discriminator is None else self.discriminator.state_dict(),
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "optimizer_g": self.optimizer_g.state_dict(),
            "optimizer_d": None if self.optimizer_d is None else self.optimizer_d.state_dict(),
            "rule": None if self.rule is None else self.rule.state_dict(),
            "mask_report": self.mask_report,
            "last": self.last,
            "provenance": self.provenance,
            "watched": self.notes,
            "noise": self._drawn.state,
            "sampler": self.sampler.state_dict(),
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; refuses one of another format."""
        if state.get("format") != CHECKPOINT_FORMAT:
            raise PpcdError(f"a checkpoint of format {state.get('format')!r} is of another version of ppcd")
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        if state["phase"] in SECOND_PHASES:
            self._second_phase(Generator(GeneratorConfig.from_dict(state["generator_config"])), state["phase"])
        self.generator.load_state_dict(state["generator"])
        if self.discriminator is not None and self.optimizer_d is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.optimizer_d.load_state_dict(state["optimizer_d"])
        for name, average in self.averages.items():
            average.load_state_dict(state["averages"][name])
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        if self.rule is not None:
            self.rule.load_state_dict(state["rule"])
        if self.compressor is not None:
            self.compressor.iteration = self.iteration
        self.mask_report, self.last = state["mask_report"], state["last"]
        self.provenance, self.notes = state["provenance"], state.get("watched", {})
        self.noise.set_state(state["noise"])
        self._drawn.reset()
        self.sampler.load_state_dict(state["sampler"])
        self.load_extra_state(state["extra"])
