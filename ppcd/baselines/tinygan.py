"""Tiny-GAN (Chang and Lu, "TinyGAN: Distilling BigGAN for conditional image generation", ACCV 2020).

A student of depthwise separable blocks (`ppcd.networks.separable`) learns the teacher's images for the same noise and
class: pixel by pixel at first, in the features of a discriminator all along, adversarially every fifth step, and a
little from real images. Weights, their decay and the order of the updates are those of the authors' code
(github.com/terarachang/ACCV_TinyGAN, solver.py and model.py); its settings are `ppcd.training.methods.TinyGan`.

What differs: the teacher's images are made on the fly (the authors stored two million, drawn with truncated noise);
one forward pass of D, so one power iteration, where the code has several; epochs are thirtieths of the training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ppcd.base import full, moved, named_generator
from ppcd.baselines.output import student_width
from ppcd.method import losses
from ppcd.method.teacher import Teacher
from ppcd.networks.generators import BASE
from ppcd.networks.initialisation import initialise
from ppcd.networks.layers import Conditional, LayerMaker
from ppcd.training.methods import TinyGan
from ppcd.training.trainer import Trainer

SLOPE = 0.01  # of D's leaky ReLU
EPS = 1e-12  # of D's spectral norm


class FeatureDiscriminator(Conditional):
    """D(I, y) = linear(h) + <embed(y), h>, h the sum-pooled last layer; its layers' outputs are the features.

    The layers are 4x4 convolutions of stride 2: at 128 px five, of width to 16 times width channels; at 64 px four and
    at 32 px three, so that the last map is 4x4. Everything is under spectral norm.
    """

    takes = ("discriminator", "images")

    @torch.random.fork_rng(devices=[])  # torch's layers draw from the global stream when they are made
    def __init__(self, resolution: int, num_classes: int, width: int = 32, *, seed: int = 0) -> None:
        super().__init__()
        self.resolution, self.num_classes = resolution, num_classes
        self.input_shape = (3, resolution, resolution)
        count = (resolution // BASE).bit_length() - 1
        channels, make = [3] + [width * 2**layer for layer in range(count)], LayerMaker(True, EPS)
        self.layers = nn.ModuleList(make.conv(*pair, 4, stride=2) for pair in pairwise(channels))
        self.linear = make.linear(channels[-1], 1)
        self.embed = make.embedding(num_classes, channels[-1])
        initialise(self, "xavier", seed, "discriminator")

    def features(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The output of each layer after its leaky ReLU, first to last."""
        found = [images]
        for layer in self.layers:
            found.append(F.leaky_relu(layer(found[-1]), SLOPE))
        return found[1:]

    def score(self, last: Float[Tensor, "batch channel 4 4"], y: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The scores of images from their last features: high for real."""
        with torch.autocast(last.device.type, enabled=False):  # a score needs more than half precision
            h = full(last).sum(dim=(2, 3)).to(self.linear.weight.dtype)
            return self.linear(h).squeeze(1) + (self.embed(y) * h).sum(dim=1)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], y: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        return self.score(self.features(images)[-1], y)


def feature_distance(wanted: Sequence[Tensor], found: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """sum_k w_k mean |D_k(teacher's) - D_k(student's)| over the layers; a shallow D takes the last weights."""
    terms = zip(weights[-len(found) :], wanted, found, strict=True)
    return torch.stack([weight * F.l1_loss(f, w) for weight, w, f in terms]).sum()


def pixel_weight(iteration: int, total: int, method: TinyGan) -> float:
    """Of the pixel term: `pixel` at first, less by `pixel_decay` an epoch, never below 0."""
    epoch = method.epochs * iteration // total
    return max(0.0, method.pixel - method.pixel_decay * epoch)


def learning_rate_factor(iteration: int, total: int, start: float) -> float:
    """1, and from `start` (a part of the training) on linearly to 0 at the last iteration."""
    first = int(start * total)
    return 1.0 if iteration < first else 1 - (iteration - first + 1) / (total - first)


@dataclass(frozen=True)
class Pair:
    """What D has seen and G learns from in the same iteration: the teacher's images and D's features of them."""

    z: Tensor
    y: Tensor
    images: Tensor
    features: list[Tensor]
    real_labels: Tensor


class TinyGanTrainer(Trainer):
    """A student of the teacher's images, in pixels, in D's features, and adversarially.

    The class embedding starts as the teacher's, as in the authors' code. Real images, their order and the noise are
    the other recipes'; every fifth step's extra noise has a separate generator.
    """

    discriminator: FeatureDiscriminator
    optimizer_d: torch.optim.Adam
    teacher: Teacher

    @property
    def method(self) -> TinyGan:
        return cast(TinyGan, self.recipe.baseline)

    def _prepare(self) -> None:
        self.extra_noise = named_generator(self.seed, "tinygan noise")
        self.pairs: list[Pair] = []
        taught = self.teacher.generator.shared
        for generator in (self.generator, *(average.generator for average in self.averages.values())):
            mine = generator.shared
            if mine is not None and taught is not None and mine.weight.shape == taught.weight.shape:
                mine.weight.data.copy_(taught.weight)

    def _width(self, width: int) -> int:
        return student_width(width, self.method.width)

    def _make_discriminator(self) -> FeatureDiscriminator:
        profile = self.profile
        width = self._width(profile.discriminator_width)
        return FeatureDiscriminator(profile.resolution, profile.num_classes, width, seed=self.seed)

    def step(self) -> dict[str, Tensor]:
        """One iteration: a step of D, and one of G from the same noise, at this iteration's learning rates."""
        factor = learning_rate_factor(self.iteration, self.total, self.method.lr_decay_from)
        self.optimizer_g.param_groups[0]["lr"] = self.settings.lr_g * self.profile.lr_g_scale * factor
        self.optimizer_d.param_groups[0]["lr"] = self.settings.lr_d * self.profile.lr_d_scale * factor
        return super().step()

    def discriminator_step(self) -> Tensor:
        """D between the teacher's images and the student's, and (less) between real images and the student's."""
        discriminator, teacher, method = self.discriminator, self.teacher.generator, self.method
        self.optimizer_d.zero_grad(set_to_none=True)
        loss_d = torch.zeros((), device=self.device)
        self.pairs = []
        for _ in range(self.pieces):
            real, labels = next(self.sampler)
            z, y = self.draw()
            other, _ = self.draw()
            with self.autocast():
                with torch.no_grad():
                    wanted = teacher(z[:, : teacher.dim_z], y)
                    fakes, others = self.generator(z, y), self.generator(other, labels)
                features = discriminator.features(torch.cat([wanted, fakes, real, others]))
                scores = discriminator.score(features[-1], torch.cat([y, y, labels, labels])).chunk(4)
                loss = losses.discriminator_hinge(scores[0], scores[1])
                loss = loss + method.real * losses.discriminator_hinge(scores[2], scores[3])
            (loss / self.pieces).backward()
            loss_d += loss.detach() / self.pieces
            self.pairs.append(Pair(z, y, wanted, [each[: len(y)].detach() for each in features], labels))
        self.average_gradients(discriminator.parameters(), [loss_d])
        self.optimizer_d.step()
        return loss_d

    def generator_step(self) -> dict[str, Tensor]:
        """G from the noise that D has just seen. Returns the parts of its loss, of which `loss_adv` rarely counts."""
        self.optimizer_g.zero_grad(set_to_none=True)
        found: dict[str, Tensor] = {}
        for pair in self.pairs:
            with self.autocast():
                loss, parts = self.pair_loss(pair)
            (loss / len(self.pairs)).backward()
            for name, part in parts.items():
                found[name] = found.get(name, 0) + part.detach() / len(self.pairs)
        self.pairs = []
        self.average_gradients(self._learned(), found.values())
        self.optimizer_g.step()
        return found

    def pair_loss(self, pair: Pair) -> tuple[Tensor, dict[str, Tensor]]:
        """Feature distance + pixel distance, and every fifth step the adversarial terms; and the parts by name."""
        method, discriminator = self.method, self.discriminator
        images = self.generator(pair.z, pair.y)
        features = discriminator.features(images)
        distance = feature_distance(pair.features, features, method.features)
        pixel = F.l1_loss(images, pair.images)
        adversarial = losses.generator_hinge(discriminator.score(features[-1], pair.y))
        loss = distance + pixel_weight(self.iteration, self.total, method) * pixel
        if (self.iteration + 1) % method.every == 0:
            z = torch.randn(self.budget.batch_size, pair.z.shape[1], generator=self.extra_noise)
            z = moved(self.processes.part(z), self.device)
            others = self.generator(z, pair.real_labels)
            from_real = losses.generator_hinge(discriminator(others, pair.real_labels))
            loss = loss + method.adversarial * (adversarial + method.real * from_real)
        return loss, {"loss_adv": adversarial, "loss_pixel": pixel, "loss_feature": distance}

    def extra_state(self) -> dict[str, Any]:
        return {"extra_noise": self.extra_noise.get_state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        self.extra_noise.set_state(state["extra_noise"])
