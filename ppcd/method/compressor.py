"""Compression of a trained generator inside of anybody's training: the masks, and the teacher's attention maps."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ppcd.base import PpcdError, full
from ppcd.method.blocks import MASK
from ppcd.method.compare import Example, unwrapped
from ppcd.method.distillation import Distillation, match_blocks
from ppcd.method.earlier_rules import MaskRule
from ppcd.method.masks import channels_to_prune, masks_of
from ppcd.method.prunable import describe_sizes, reachable, try_slimming
from ppcd.method.schedule import GradualRule, Importance
from ppcd.method.slim import blocks_of, branches_of
from ppcd.method.teacher import Teacher

SILENT = 100  # steps in a row whose gradients are not finite: more than a loss scale needs to settle


class Compressor:
    """Prunes the student's masks and compares its attention maps with a teacher's; all else is the caller's training.

    In each iteration: draw images with the student, add `distillation(z, y)` to their loss, go backward, and call
    `step()` after the optimiser's. An optimiser over all of the student's parameters is fine: the masks' gradients are
    taken away before it sees them. Draw the images of the discriminator's step without gradients, or detach them, so
    that its loss does not reach the masks.

    Args:
        student: a network with PP-Res branches (`ppcd.prunable`), also inside of DistributedDataParallel.
        teacher: the trained generator, called with the student's inputs; it is frozen. None: pruning alone.
        alpha: more than this part of each masked layer's channels goes (eq. 3), in (0, 1).
        iterations: calls of `step` of the whole training; the masks close from 5% to 60% of them.
        teacher_blocks: the teacher's blocks for the student's, by the student's names, or all of them in order; None:
            of the same names. The first block is not compared, as in the paper.
        normalisation: of the teacher's features: "teacher", "statistics", "none" or "both"; see `Teacher`.
        importance: what decides which channels go, by the mask's name; None: the gradients of the training.
        seed: of the samples from which the statistics of the teacher's classes are measured.
        rule: what closes the masks; None: `GradualRule`.
        average: replaces tensors by their means over the processes that train together; None: torch.distributed's.
        checks: look for losses and gradients that are not finite.

    Attributes:
        gradients: of the masks since the last step, by name.
        guide: the distance to the teacher; None without one.
        iteration: calls of `step` so far.

    Raises:
        PpcdError: no masks; a teacher that shares its weights with the student or has not its blocks;
            alpha or iterations out of range.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        alpha: float = 0.7,
        iterations: int = 20_000,
        *,
        teacher_blocks: Mapping[str, str] | Sequence[str] | None = None,
        normalisation: str = "teacher",
        importance: Importance | None = None,
        seed: int = 0,
        rule: GradualRule | MaskRule | None = None,
        average: Callable[[Iterable[Tensor]], None] | None = None,
        checks: bool = True,
    ) -> None:
        if not isinstance(student, nn.Module):
            raise PpcdError(f"the student is a torch.nn.Module; got {type(student).__name__}")
        self.student, self.network = student, unwrapped(student)
        self.masks = masks_of(self.network)
        if not self.masks:
            raise PpcdError(
                f"{type(self.network).__name__} has no masks: student = ppcd.prunable(copy.deepcopy(teacher), blocks)"
            )
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < 1:
            raise PpcdError(f"alpha must be a number in (0, 1), for example 0.7; got {alpha!r}")
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise PpcdError(f"iterations must be a positive integer; got {iterations!r}")
        self.alpha, self.iterations, self.iteration = alpha, iterations, 0
        self.rule = rule or GradualRule(self.masks, alpha, iterations, importance)
        self.average, self.checks = average or average_over_processes, checks
        self.gradients: dict[str, Tensor] = {}  # of the masks, since the last step
        self._taking = True
        self._broken = 0  # steps in a row without finite gradients
        for name, mask in self.masks.items():
            mask.weight.register_post_accumulate_grad_hook(partial(self._take, name))
        self._loss: Tensor | None = None
        self._proved = getattr(self.network, "pp_res_tried", False) or not branches_of(self.network)
        self.guide: Distillation | None = None
        if teacher is not None:
            self.guide = self._compare_with(teacher, teacher_blocks, normalisation, seed)

    def _compare_with(
        self, teacher: Any, names: Mapping[str, str] | Sequence[str] | None, normalisation: str, seed: int
    ) -> Distillation:
        if not isinstance(teacher, nn.Module):
            raise PpcdError(f"the teacher is a torch.nn.Module; got {type(teacher).__name__}")
        teacher = unwrapped(teacher)
        if masks_of(teacher):
            raise PpcdError("the teacher has masks; it is the network before ppcd.prunable, so prune a copy of it")
        if {id(each) for each in teacher.parameters()} & {id(each) for each in self.network.parameters()}:
            raise PpcdError("teacher and student share weights; ppcd.prunable takes a copy.deepcopy of the teacher")
        own = blocks_of(self.network)
        blocks, theirs = match_blocks(own, names)
        return Distillation(self.student, Teacher(teacher, normalisation, seed, blocks=theirs), blocks)

    def distillation(self, *inputs: Any) -> Tensor:
        """L_CD (eqs. 4 and 6) of the student's last images, to be added to their loss.

        Args:
            inputs: what the student was called with for them, z and y for example. If it was called otherwise since,
                it is called again.

        Returns:
            A scalar in [0, sqrt(2)], without its weight (lambda_cd = 1 in eq. 8).

        Raises:
            PpcdError: no teacher; maps of other sizes than the teacher's; a student that cannot become slim.
        """
        if self.guide is None:
            raise PpcdError("distillation needs a teacher: ppcd.Compressor(student, teacher, ...)")
        self._loss = self.guide(*inputs)
        if not self._proved:
            self._proved = True
            try_slimming(self.network, Example(inputs, {}).rows(4))
        return self._loss

    # The masks

    def _take(self, name: str, weight: Tensor) -> None:
        """Take a mask's gradient away from whoever else would use it."""
        if weight.grad is not None and self._taking:
            gradient, weight.grad = weight.grad, None
            self.gradients[name] = self.gradients[name] + gradient if name in self.gradients else gradient

    def step(self) -> Tensor:
        """Let the masks go on (eqs. 2, 3 and 5), after the optimiser's step. Returns L_PP, detached.

        Raises:
            PpcdError: no backward pass before it, all iterations used up, or losses that are not finite.
        """
        if self.iteration >= self.iterations:
            raise PpcdError(
                f"all {self.iterations} iterations are done and every mask is frozen; ppcd.slim(student) is the network"
            )
        if not all(mask.frozen for mask in self.masks.values()):
            if not self.gradients:
                raise PpcdError(
                    "step() comes after backward() of a loss of the student's images; no gradient has reached the masks"
                )
            self._check_finite()
            self.average(self.gradients.values())
            self._taking = False  # what the rule adds is its own
            for name, gradient in self.gradients.items():
                self.masks[name].weight.grad = torch.where(gradient.isfinite().all(), gradient, 0.0)
        loss = self.rule.backward()
        self.rule.step(self.iteration)
        self._taking, self.gradients = True, {}
        self.iteration += 1
        return loss

    def _check_finite(self) -> None:
        """Where looking costs nothing, in each step; on a GPU, which would be waited for, in every 50th."""
        gradients = list(self.gradients.values())
        if not self.checks or (gradients[0].is_cuda and self.iteration % 50):
            return
        if self._loss is not None and not bool(full(self._loss.detach()).isfinite()):
            raise PpcdError("L_CD is not finite: the student's or the teacher's features have overflowed")
        self._broken = 0 if all(bool(each.isfinite().all()) for each in gradients) else self._broken + 1
        if self._broken > SILENT:  # a loss scale has settled by then
            raise PpcdError(f"the masks' gradients were not finite in {SILENT} steps in a row; the loss is not finite")

    def copy_masks(self, network: nn.Module) -> None:
        """Give an average of the student, a copy, the masks: eq. 1 is too steep for masks to be averaged."""
        for name, mask in masks_of(unwrapped(network)).items():
            mask.load_state_dict(self.masks[name].state_dict())

    # What is told

    def progress(self) -> dict[str, str]:
        """For a progress bar: `bar.set_postfix(compressor.progress())`."""
        closed = sum(int(mask.pruned()) for mask in self.masks.values())
        channels = sum(mask.channels for mask in self.masks.values())
        frozen = sum(int(mask.frozen) for mask in self.masks.values())
        return {"kept": f"{1 - closed / channels:.0%}", "frozen": f"{frozen}/{len(self.masks)}"}

    def report(self) -> "Report":
        """Kept channels of each layer, and what can be saved. `print` shows it as a table."""
        layers = [
            LayerReport(
                name.removesuffix(f".{MASK}"),
                mask.channels,
                mask.channels - int(mask.pruned()),
                mask.channels - channels_to_prune(mask.channels, self.alpha),
                self.rule.frozen_at.get(name),
                self.rule.forced[name],
                mask.rescued,
            )
            for name, mask in self.masks.items()
        ]
        return Report(self.iteration, self.iterations, self.alpha, layers, reachable(self.network, self.alpha))

    def state_dict(self) -> dict[str, Any]:
        """All that the student's `state_dict` does not have, for `load_state_dict`."""
        settings = {"alpha": self.alpha, "iterations": self.iterations}
        return {"iteration": self.iteration, "settings": settings, "rule": self.rule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; the student's own state is loaded beforehand or afterwards.

        Raises:
            PpcdError: it is of another alpha or another number of iterations, or of other masks.
        """
        if set(state) != {"iteration", "settings", "rule"}:
            raise PpcdError("this is no state of a Compressor; give what its state_dict() returned")
        if state["settings"] != {"alpha": self.alpha, "iterations": self.iterations}:
            raise PpcdError(
                f"the state is of alpha {state['settings']['alpha']} and {state['settings']['iterations']} iterations; "
                f"this Compressor has {self.alpha} and {self.iterations}"
            )
        if set(state["rule"]["squares"]) != set(self.masks):
            raise PpcdError("the state is of a student with other masks")
        self.iteration = state["iteration"]
        self.rule.load_state_dict(copy.deepcopy(state["rule"]))


@torch.no_grad()
def average_over_processes(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their means over the processes of torch.distributed, where it is in use."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)
            tensor /= torch.distributed.get_world_size()


@dataclass(frozen=True)
class LayerReport:
    """A masked layer: how many channels it has, keeps now and will keep; when it froze; what was forced or rescued."""

    name: str
    channels: int
    kept: int
    goal: int
    frozen_at: int | None
    forced: int
    rescued: int


@dataclass(frozen=True)
class Report:
    """What a compression has come to.

    Attributes:
        sizes: (parameters, MACs of one image) "before", "at alpha" and "at the ceiling", where one channel a layer is
            left: PP-Res keeps the stream between the blocks at its width. MACs are those of convolutions and matrix
            products; None where it is not known how the network is called.
    """

    iteration: int
    iterations: int
    alpha: float
    layers: list[LayerReport]
    sizes: dict[str, tuple[int, int | None]]

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        lines = [f"iteration {self.iteration:,} of {self.iterations:,}, alpha {self.alpha:g}"]
        for layer in self.layers:
            frozen = "open" if layer.frozen_at is None else f"frozen at {layer.frozen_at:,}"
            notes = [f"{layer.forced} forced"] * bool(layer.forced) + ["the last one was kept"] * bool(layer.rescued)
            lines.append(
                f"{layer.name:<{width}}  {layer.kept:>5} of {layer.channels:>5} channels (goal {layer.goal}), "
                f"{', '.join([frozen, *notes])}"
            )
        return "\n".join([*lines, describe_sizes(self.sizes, self.alpha)])
