"""L_CD in anybody's training: a student's attention maps against a teacher's, seen by hooks (section 3.3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.method.compare import unwrapped
from ppcd.method.features import BlockFeatures, Hook
from ppcd.method.losses import distance_of_maps, normalized_map
from ppcd.method.teacher import Teacher


class Distillation:
    """The distance between a student's and a teacher's attention maps (eqs. 4 and 6).

    The features are those of the student's last forward pass with gradients.

    Args:
        student: the network, also inside of DistributedDataParallel.
        teacher: its maps.
        blocks: the student's blocks, in the order of the teacher's.

    Attributes:
        images: the teacher's, of the last distance.
    """

    def __init__(self, student: nn.Module, teacher: Teacher, blocks: Sequence[str]) -> None:
        self.student, self.network, self.teacher, self.blocks = student, unwrapped(student), teacher, list(blocks)
        self.images: Tensor | None = None
        self._features: dict[str, tuple[Tensor, int]] = {}  # and how often they were changed in place
        self._maps: dict[str, Tensor] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._inputs: tuple[Any, ...] | None = None  # of these features
        self._at_once = teacher.normalisation == "both"  # make the maps while the features are as the block gave them
        self._watched = BlockFeatures(self.network, self.blocks, self._keep, "any" if self._at_once else None)
        self.network.register_forward_pre_hook(Hook(self, "_before"), with_kwargs=True)
        self.network.register_forward_hook(Hook(self, "_after"))

    def _before(self, _: str, network: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled():
            self._forget()
            self._inputs = (*args, *kwargs.values())
            self._watched.begin()

    def _after(self, _: str, network: nn.Module, args: Any, output: Any) -> None:
        for name, features in self._watched.end():
            self._keep(name, features)

    def _keep(self, name: str, features: Tensor) -> None:
        self._sizes[name] = tuple(features.shape[2:])
        if self._at_once:
            self._maps[name] = normalized_map(features)
        else:
            self._features[name] = (features, features._version)

    def _forget(self) -> None:
        self._features, self._maps, self._inputs = {}, {}, None

    def __call__(self, *inputs: Any) -> Tensor:
        """L_CD of the student's last images, which it is called for again if it was called otherwise since."""
        if not inputs or not isinstance(inputs[0], Tensor):
            raise PpcdError("distillation takes what the student is called with: distillation(z, y)")
        if self._inputs is None or not _same(self._inputs, inputs):
            self._draw(*inputs)
        if any(features._version != version for features, version in self._features.values()):
            self._at_once = True  # an operation of the student changes its features in place
            self._draw(*inputs)
        if missing := [name for name in self.blocks if name not in self._sizes]:
            raise PpcdError(f"block {missing[0]!r} is not called when the student draws")
        self.images, theirs = self.teacher.images_and_features(*inputs)
        for name, wanted in zip(self.blocks, theirs, strict=True):
            if tuple(wanted.shape[2:]) != self._sizes[name]:
                raise PpcdError(
                    f"block {name!r}: the student's features are {_size(self._sizes[name])}, the teacher's "
                    f"{_size(wanted.shape[2:])}; name the block of the same size in teacher_blocks"
                )
        ours = self._maps or {name: normalized_map(features) for name, (features, _) in self._features.items()}
        self._forget()
        return distance_of_maps(map(normalized_map, theirs), [ours[name] for name in self.blocks])

    def _draw(self, *inputs: Any) -> None:
        with torch.enable_grad():
            self.student(*inputs)


def match_blocks(own: Sequence[str], names: Mapping[str, str] | Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The student's blocks that are compared, all but the first, and the teacher's for them."""
    compared = list(own[1:] or own)
    if names is None:
        return compared, compared
    if isinstance(names, Mapping):
        if missing := [name for name in compared if name not in names]:
            raise PpcdError(f"teacher_blocks does not say which block of the teacher belongs to {missing[0]!r}")
        return compared, [names[name] for name in compared]
    if len(names) not in (len(compared), len(own)):
        raise PpcdError(f"teacher_blocks names {len(names)} blocks; the student has {len(own)}")
    return compared, list(names[-len(compared) :])


def _same(seen: Sequence[Any], inputs: Sequence[Any]) -> bool:
    """Whether these are the same tensors."""
    one, other = ([each for each in values if isinstance(each, Tensor)] for values in (seen, inputs))
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.data_ptr() == b.data_ptr() or torch.equal(a.to(b.device), b)


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
