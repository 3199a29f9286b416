"""Work for a case in a separate process: light to import, and some of it fails."""

import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from ppcd.base import PpcdError


def killed(settings: dict[str, Any]) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), signal.SIGKILL)


def failing(settings: dict[str, Any]) -> Callable[[], object]:
    def work() -> None:
        raise PpcdError("the disk is full")

    return work


def allocating(settings: dict[str, Any]) -> Callable[[], object]:
    return lambda: torch.ones(settings["mib"] * 2**18)
