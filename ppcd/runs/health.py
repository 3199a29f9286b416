"""What can go wrong in a training without any error: noticed, named, and ended where nothing can come of it.

- `collapsed`: for 5% of the training the samples of a class differ by less than 1/20 of what real images differ by.
- `discriminator`: in most steps of a fifth of the training D's loss was 0: it has won, and learns nothing more.
- `standstill`: for a tenth of the training no weight of G or D has moved. The training ends.
- `non-finite`: a loss or a weight (`ppcd.runs.loop.check_finite`). The training ends.

A discriminator that has won is no reason to stop: G has a gradient from it still, and distillation goes on; runs do
recover. A standstill is: with all gradients exactly 0 Adam moves nothing (its first beta is 0 in every reference
setting), no mask is open, and no second phase with other losses comes.

Looking changes nothing: samples come from a separate noise generator, in evaluation mode and without gradients.
"""

import logging
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ppcd.base import TrainingStopped, eval_mode, named_generator
from ppcd.data.images import to_float
from ppcd.progress import say
from ppcd.runs.callbacks import Callback, TrainingState
from ppcd.training.trainer import Trainer

log = logging.getLogger(__name__)

CHECKS = 50  # a training
SELDOM = 500  # iterations between two checks at most
OFTEN = 10  # and at least, in short trainings
CLASSES, SAMPLES = 8, 4  # that are looked at, and of each class
REAL = 64  # real images that they are compared with

ALIKE = 0.05  # of the spread of real images
ALIKE_FOR = 0.05  # of the training
WON = 1e-4  # a loss of D that leaves it nothing to learn
WON_FOR, WON_SHARE = 0.2, 0.5  # of the training; of its steps
STILL_FOR = 0.1  # of the training
ROUNDING = 1 / 255  # half a level of a saved pixel: images range over 2


class Standstill(TrainingStopped):
    """No further step can change a weight; the last checkpoint is kept."""

    kind = "standstill"


def spread(images: Float[Tensor, "*groups n channel height width"]) -> Float[Tensor, ""]:
    """Root mean square distance of pixels from their mean over the n images of a group."""
    return (images - images.mean(-4, keepdim=True)).square().mean().sqrt()


class HealthCheck(Callback):
    """Keeps `trainer.notes["warnings"]`: iteration, kind, text, and `until`, the iteration where it was over.

    What it knows is in the checkpoint, so that a resumed training says what one that was not stopped says.

    Raises:
        Standstill: while training, where no further step can change anything.
    """

    def __init__(self, trainer: Trainer, title: str) -> None:
        self.trainer, self.title = trainer, title
        self.every = min(SELDOM, max(OFTEN, trainer.total // CHECKS))
        classes, noise = min(CLASSES, trainer.profile.num_classes), named_generator(trainer.seed, "watch")
        self.z = torch.randn(classes * SAMPLES, trainer.generator.dim_z, generator=noise).to(trainer.device)
        self.y = torch.arange(classes).repeat_interleave(SAMPLES).to(trainer.device)
        self.real = ROUNDING

    @property
    def memory(self) -> dict[str, Any]:
        return self.trainer.notes["watch"]

    def on_start(self, state: TrainingState) -> None:
        data = self.trainer.data
        some = torch.linspace(0, len(data) - 1, min(REAL, len(data))).long()
        self.real = max(ROUNDING, spread(to_float(data.images[some])).item())
        self.trainer.notes.setdefault("warnings", [])
        empty = {"checked": state.iteration, "won": torch.zeros((), dtype=torch.int64), "steps": [],
                 "since": {}, "current": {}, "norms": torch.zeros(0)}  # fmt: skip
        memory = self.trainer.notes.setdefault("watch", empty)
        memory["won"] = memory["won"].to(self.trainer.device)

    def on_step(self, state: TrainingState) -> None:
        if self.trainer.discriminator is not None:
            self.memory["won"] = self.memory["won"] + (torch.as_tensor(state.losses["loss_d"]) <= WON)
        if state.iteration % self.every and state.iteration != state.total:
            return
        self._collapse(state)
        self._discriminator(state)
        self._standstill(state)
        self.memory["checked"] = state.iteration

    def _collapse(self, state: TrainingState) -> None:
        generator = self.trainer.generator
        with eval_mode(generator), torch.no_grad():
            within = spread(generator(self.z, self.y).float().unflatten(0, (-1, SAMPLES))).item()
        text = (
            f"the generator has collapsed: samples of a class differ by {100 * within / self.real:.1f}% of what real "
            "images differ by; look at samples, and train with another seed or a lower learning rate"
        )
        lasting = self._lasts("collapsed", within < ALIKE * self.real, state, ALIKE_FOR)
        self._notice("collapsed", lasting, state.iteration, text)

    def _discriminator(self, state: TrainingState) -> None:
        if self.trainer.discriminator is None:
            return
        memory, window = self.memory, math.ceil(WON_FOR * state.total / self.every)
        memory["steps"] = [*memory["steps"], [state.iteration - memory["checked"], int(memory["won"])]][-window:]
        memory["won"] = torch.zeros_like(memory["won"])
        steps, won = (sum(column) for column in zip(*memory["steps"], strict=True))
        has_won = len(memory["steps"]) == window and won > WON_SHARE * steps
        text = (
            f"the discriminator has won: its loss was 0 in {100 * won / steps:.0f}% of the last {steps} steps, and the "
            "generator learns from one that stands still; lower the discriminator's learning rate or its width"
        )
        if self._notice("discriminator", has_won, state.iteration, text):
            memory["steps"] = []

    def _standstill(self, state: TrainingState) -> None:
        trainer, memory = self.trainer, self.memory
        weights = [weight for network in trainer.networks.values() for weight in network.parameters()]
        norms = torch.stack(torch._foreach_norm([weight.detach() for weight in weights]))
        unmoved = torch.equal(norms, memory["norms"].to(norms))
        memory["norms"] = norms
        if self._lasts("standstill", unmoved and not trainer.changing, state, STILL_FOR):
            raise Standstill(
                f"training stopped at iteration {state.iteration}: since iteration {memory['since']['standstill']} "
                "no weight has moved, so nothing can change any more (the last checkpoint is kept); train with another "
                "seed or a lower learning rate"
            )

    def _lasts(self, kind: str, holds: bool, state: TrainingState, part: float) -> bool:
        """Whether something has held at every check for this part of the training, and at two checks at least."""
        since = self.memory["since"]
        if not holds:
            since.pop(kind, None)
            return False
        return state.iteration - since.setdefault(kind, state.iteration) >= max(self.every, part * state.total)

    def _notice(self, kind: str, holds: bool, iteration: int, text: str) -> bool:
        """A warning where something begins, and its end where it is over; True then."""
        current, warnings = self.memory["current"], self.trainer.notes["warnings"]
        if holds and kind not in current:
            current[kind] = len(warnings)
            log.warning("%s, iteration %d: %s", self.title, iteration, text)
            warnings.append({"iteration": iteration, "kind": kind, "text": text})
        elif not holds and kind in current:
            warnings[current.pop(kind)]["until"] = iteration
            say(f"{self.title}, iteration {iteration}: no longer so ({kind})")
            return True
        return False
