"""What everything else stands on: the errors that users see, random numbers, and networks left as they were."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PpcdError(Exception):
    """A mistake in what was asked for: one line that says what was wrong and what to do.

    Command lines print it without a stack trace and exit with status 2; notebooks show it as one line.
    """

    def _render_traceback_(self) -> list[str]:  # of IPython
        return [f"ppcd: {self}"]


class MissingPackage(PpcdError, ImportError):
    """A package that one of ppcd's extras installs is not there."""


class TrainingStopped(PpcdError):
    """A training that cannot come to anything; its run says so in run.json, and its last checkpoint is kept."""

    kind = "stopped"


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around the imports of an extra's packages: where one is missing, a line with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("ppcd", "paper"):
            raise
        raise MissingPackage(f"this needs {error.name}: pip install 'ppcd[{extra}]'") from None


def seeded(seed: int) -> torch.Generator:
    """A separate random generator, on the CPU; no random number of the package comes from a global stream."""
    return torch.Generator().manual_seed(seed)


def named_generator(seed: int, name: str) -> torch.Generator:
    """A separate random generator for each seed and purpose: seeded with sha256("seed/name")."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return seeded(int.from_bytes(digest[:8], "little") >> 1)


def full(x: Tensor) -> Tensor:
    """Half-precision tensors cast up to float32; other types as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def weights_dtype(network: nn.Module) -> torch.dtype:
    """The type of a network's first floating-point parameter; float32 if it has none."""
    return next((each.dtype for each in network.parameters() if each.is_floating_point()), torch.float32)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device. A CUDA GPU is not waited for: it copies from locked memory when it gets there."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode within; each submodule's own mode is put back afterwards."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, training in modes.items():
            each.training = training
