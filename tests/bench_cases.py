"""Work for a case in a separate process: light to import, and some of it fails."""

import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from ppcd.base import PpcdError


def make(settings: dict[str, Any]) -> Callable[[], object]:
    """Settings: fails (how)."""

    def work() -> None:
        if settings["fails"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise PpcdError("the disk is full")

    return work


def allocate(settings: dict[str, Any]) -> Callable[[], object]:
    """Settings: mib."""
    return lambda: torch.ones(settings["mib"] * 2**18)
