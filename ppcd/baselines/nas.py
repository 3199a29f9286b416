"""Distill + NAS: SA-GAN compressed as in "GAN Compression" (Li et al., CVPR 2020).

1. A weight-shared network learns from the teacher; every iteration trains one of its sub-networks.
2. A search finds the sub-network within the budget of MACs that has the best Fréchet distance.
3. That sub-network goes on learning alone, with the same losses.

Settings, and where they come from: `ppcd.training.methods.DistillNas`. The budget is the MACs of PPCD-GAN at the
recipe's alpha, so that both rows of a table cost the same.
"""

import csv
import io
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ppcd.base import named_generator
from ppcd.baselines.search import check_budget, frechet_score, macs_budget, ranking, rows, search
from ppcd.baselines.supernet import (
    Remappings,
    Supernet,
    Widths,
    draw_widths,
    extract,
    full_widths,
    make_supernet,
    search_space,
)
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import ARCHITECTURES, Generator
from ppcd.networks.initialisation import initialise
from ppcd.training.methods import DistillNas
from ppcd.training.trainer import Trainer


class NasTrainer(Trainer):
    """The trainer of Distill + NAS.

    Attributes:
        macs: the sub-network's budget.
        remappings: from the student's features to the teacher's; G's optimiser trains them.
        search: the sub-networks that were scored, as rows; empty before the switch.
    """

    remappings: Remappings
    teacher: Teacher

    @property
    def method(self) -> DistillNas:
        return cast(DistillNas, self.recipe.baseline)

    def _prepare(self) -> None:
        config = self.generator.config
        self.macs = macs_budget(config, cast(float, self.recipe.alpha))
        check_budget(config, self.method, self.macs)
        self.space = search_space(config, self.method.fractions)
        self.choices = named_generator(self.seed, "sub-networks")
        self.search: list[dict[str, Any]] = []

    def _make_generator(self) -> Generator:
        return make_supernet(super()._make_generator())

    def _make_teacher(self, generator: Generator | None) -> Teacher | None:
        teacher = super()._make_teacher(generator)
        if teacher is not None:
            remappings = Remappings(_outputs(self.generator), _outputs(teacher.generator))
            initialise(remappings, ARCHITECTURES[self.recipe.generator].init, self.seed, "remappings")
            self.remappings = self._place(remappings)
        return teacher

    def _learned(self) -> list[torch.nn.Parameter]:
        return [*super()._learned(), *self.remappings.parameters()]

    def step(self) -> dict[str, Tensor]:
        """One iteration, of one sub-network drawn for D and G alike (as the authors' `optimize_parameters`)."""
        if isinstance(self.generator, Supernet):
            self.generator.widths = draw_widths(self.space, self.choices)
        return super().step()

    def generator_loss(self, z: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """L = gan L_ADV + recon |G(z) - T(z)|_1 + distill sum_k mean (f_k(O^S_k) - O^T_k)^2 (their section 3.1).

        The teacher's image stands for the ground truth, as in their unpaired case; absolute and squared
        distances are means over images, channels and pixels.
        """
        fakes, features = self.generator(z, y, return_features=True)
        with torch.no_grad():
            wanted, theirs = self.teacher.generator(z[:, : self.teacher.dim_z], y, return_features=True)
        adversarial = self.adversarial(fakes, y)
        recon = F.l1_loss(fakes, wanted)
        distance = self.remappings.distance(features, theirs)
        loss = self.method.gan * adversarial + self.method.recon * recon + self.method.distill * distance
        return loss, {"loss_adv": adversarial, "loss_pixel": recon, "loss_feature": distance}

    def switch(self) -> None:
        """Search on the averaged weights; the sub-network goes on from the weights as they are, which D knows."""
        config = self.generator.config
        score = frechet_score(self.ema.generator, self.data, self.profile, self.method, self.seed)
        candidates = search(config, self.method, self.macs, score, named_generator(self.seed, "search"))
        widths, self.search = self.processes.agree((ranking(candidates)[0].widths, rows(candidates, self.macs)))
        self.mask_report = _report(full_widths(config), widths)
        self._second_phase(extract(self.generator, widths, for_training=True), "finetune")

    def _second_phase(self, generator: Generator, phase: str) -> None:
        self.remappings = self._place(self.remappings.sliced(_outputs(generator)))
        super()._second_phase(generator, phase)

    def extra_state(self) -> dict[str, Any]:
        state = {"remappings": self.remappings.state_dict(), "choices": self.choices.get_state()}
        return state | {"search": self.search}

    def extra_files(self) -> dict[str, str]:
        """`search.csv`: every sub-network that was scored, its MACs and Fréchet distance, and which was chosen."""
        if not self.search:
            return {}
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.search[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.search)
        return {"search.csv": text.getvalue()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.remappings.load_state_dict(state["remappings"])
        self.choices.set_state(state["choices"])
        self.search = state["search"]


def _outputs(generator: Generator) -> list[int]:
    return [block.conv_sc.out_channels for block in generator.residual_blocks()]


def _report(whole: Widths, kept: Widths) -> list[dict[str, Any]]:
    """Kept channels per layer, as `Trainer.report_masks` has them."""
    blocks = range(len(whole) // 2)
    layers = ["linear", *(f"blocks.{block}.{conv}" for block in blocks for conv in ("conv1", "conv2"))]
    nothing = {"frozen_at": None, "forced": 0, "rescued": 0}
    return [
        {"layer": layer, "channels": before, "kept": after, **nothing}
        for layer, before, after in zip(layers, whole, kept, strict=True)
    ]
