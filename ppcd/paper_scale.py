"""The paper's own scale, computed and measured: complexity, run time, and what a training takes.

`results/<profile>/paper_scale.json` keeps it, each part with where it comes from:

- complexity: parameters and MACs of the networks of Table 1 and of PP-Res SA-GAN against the kept fraction. The
  same on every machine.
- runtime: seconds per batch of 64 images, all networks in turns, by device.
- steps: real optimisation steps of joint PPCD-GAN and what the whole training would take, by device.

A CPU is timed with all its cores, as the paper's desktop was, and parts of other devices stay as they are.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from paper import sums
from paper.paper_networks import Content, build_networks, compute_complexity
from paper.training_cost import RECIPE, estimate, measure_steps
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import ArgumentParser, run_command
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.runs.config import provenance
from ppcd.runs.pool import count_workers
from ppcd.runs.train import resolve_device
from ppcd.training.profiles import Profile, get_profile

SCHEMA = 1
FILE = "paper_scale.json"
PARTS = ("complexity", "runtime", "steps")
MEASURE = ("missing", "again", "never")
BATCH = 64  # images, as in the paper's "second per the batch of 64 images"
ROUNDS = {"cpu": 3, "cuda": 11}  # timed batches of each network
COMPLEXITY = {"convention", "networks", "power_iterations", "curve", "points", "provenance"}


def measure_runtime(profile: Profile, device: str = "cpu", seed: int = 0, rounds: int | None = None) -> Content:
    """Seconds per batch of 64 of every network of `build_networks`, in turns.

    What slows the machine slows all of them alike. On a GPU a batch that is not timed stands before each that is; on
    a CPU, where a batch takes seconds, the median sets the first round right.

    Args:
        profile: whose networks.
        device: "cpu" or "cuda".
        seed: of weights, noise and labels.
        rounds: timed batches of each network; None is ROUNDS.

    Returns:
        device, kind ("cpu" or "gpu"), torch, threads, load (of the machine, before), batch, rounds,
        networks {name: seconds, one a round}, provenance.

    Raises:
        PpcdError: no rounds.
    """
    rounds = ROUNDS[device] if rounds is None else rounds
    if rounds < 1:
        raise PpcdError(f"run times need at least one round; got {rounds}")
    part = _begin(device)
    networks = build_networks(profile, seed)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        network.to(device)
    for turn in range(1, rounds + 1):
        print(f"run time on {device}, round {turn} of {rounds}", file=sys.stderr, flush=True)
        for name, network in networks.items():
            timed = seconds_per_batch(
                network, batch=BATCH, repeats=1, warmup=int(device != "cpu"), threads=part["threads"], device=device,
                seed=seed,
            )  # fmt: skip
            times[name].append(float(timed["seconds_per_batch"]))
    return _finished(part, {"batch": BATCH, "rounds": rounds, "networks": times})


def measure_training(profile: Profile, device: str = "cpu", seed: int = 0) -> Content:
    """Optimisation steps of joint PPCD-GAN at the profile's size, and what its training would take.

    Returns:
        device, kind, torch, threads, load; recipe, points (of `paper.training_cost.take_steps`), estimate (of
        `paper.training_cost.estimate`), provenance.

    Raises:
        PpcdError: as `paper.training_cost.measure_steps`.
    """
    part = _begin(device)
    points = measure_steps(profile.name, device, part["threads"], seed)
    return _finished(part, {"recipe": RECIPE, "points": points, "estimate": estimate(profile, points)})


def _machine(device: str) -> Content:
    """What a measured part is known by; its threads are all the cores that this process may use."""
    kind = "cpu" if device == "cpu" else "gpu"
    made = {"cpu": provenance.cpu_name(), "instructions": provenance.instructions()}
    name = provenance.processor(made) if kind == "cpu" else provenance.device_name(device)
    threads = count_workers(None, "cpu")
    return {"device": name, "kind": kind, "torch": torch_version(), "threads": threads}


def _begin(device: str) -> Content:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {**_machine(device), "load": load, "provenance": provenance.collect(device)}


def _finished(part: Content, measured: Content) -> Content:
    origin = provenance.finish({**part["provenance"], "threads": part["threads"]})
    return {**part, **measured, "provenance": origin}


def torch_version() -> str:
    """Without what it was built for: `2.14.1`."""
    return str(torch.__version__).split("+")[0]


def key(part: Content) -> str:
    """Under which a measured part stands in the file: `AMD EPYC (AVX512 bf16), 2 threads`, `NVIDIA RTX 3090`."""
    threads = f"{part['threads']} thread{'s' * (part['threads'] != 1)}"
    return f"{part['device']}, {threads}" if part["kind"] == "cpu" else str(part["device"])


def here(device: str) -> str:
    """The `key` of a device of this machine."""
    return key(_machine(device))


def path_of(profile: str) -> Path:
    """`results/<profile>/paper_scale.json`."""
    return paths.results(get_profile(profile).name) / FILE


def read(profile: str) -> Content:
    """The file's content; parts that were not measured are empty.

    Raises:
        PpcdError: the file is damaged or of another version.
    """
    path = path_of(profile)
    empty: Content = {"schema": SCHEMA, "profile": profile, "complexity": {}, "runtime": {}, "steps": {}}
    if not path.is_file():
        return empty
    try:
        found = json.loads(path.read_text())
        problem = _problem(found, profile)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it cannot be read ({type(error).__name__})"
    if problem:
        raise PpcdError(f"{path}: {problem}; restore it, or delete it and measure again")
    return found


def _problem(found: Content, profile: str) -> str | None:
    """What is wrong with the file, None if nothing is."""
    if found["schema"] != SCHEMA:
        return f"schema {found['schema']} is not {SCHEMA}, the one this version reads"
    if found["profile"] != profile:
        return f"it is of profile {found['profile']}"
    if found["complexity"] and not set(found["complexity"]) >= COMPLEXITY:
        return "its complexity is not whole"
    for name, entry in (("runtime", "networks"), ("steps", "estimate")):
        for device, part in found[name].items():
            if key(part) != device or entry not in part or "torch" not in part:
                return f"its {name} of {device} is not whole"
    return None


def write_part(profile: str, name: str, part: Content) -> Content:
    """Put a part into the file, atomically; what the file has of other parts and devices stays.

    Returns:
        the whole content.

    Raises:
        PpcdError: as `read`.
    """
    content = read(profile)
    content[name] = part if name == "complexity" else {**content[name], key(part): part}
    sums.write(path_of(profile).parent, FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def ensure(profile: str, device: str = "cpu", seed: int = 0, measure: str = "missing") -> Content:
    """The file's content, with what this machine lacks in it measured first.

    Of this machine is what was measured on a device of its name with its number of threads and its version of torch.

    Args:
        profile: name of a profile.
        device: a GPU is measured beside the CPU, "cpu" measures that alone.
        seed: of weights, noise and labels.
        measure: "missing", "again" (everything) or "never" (take what is there).

    Raises:
        PpcdError: an impossible argument, a damaged file, or a measurement that failed.
    """
    if measure not in MEASURE:
        raise PpcdError(f"measure must be one of: {', '.join(MEASURE)}; got {measure!r}")
    devices = ["cpu"] if device == "cpu" else ["cpu", device]
    content = read(profile)
    for name in PARTS if measure != "never" else ():
        for each in ["cpu"] if name == "complexity" else devices:
            if measure == "again" or not _current(content, name, each):
                content = write_part(profile, name, measure_part(profile, name, each, seed))
    if not content["complexity"]:
        raise PpcdError(f"nothing was measured at profile {profile}; take measure = 'missing'")
    return content


def measure_part(profile: str, name: str, device: str, seed: int) -> Content:
    """One of PARTS, measured on one device.

    Raises:
        PpcdError: an unknown part, a device that cannot be measured, or a measurement that failed.
    """
    measured: dict[str, Callable[[], Content]] = {
        "complexity": lambda: compute_complexity(get_profile(profile)),
        "runtime": lambda: measure_runtime(get_profile(profile), device, seed),
        "steps": lambda: measure_training(get_profile(profile), device, seed),
    }
    if name not in measured:
        raise PpcdError(f"unknown part {name!r}; expected one of: {', '.join(PARTS)}")
    if device not in ROUNDS:
        raise PpcdError(f"time and memory are measured on cpu and cuda; {device!r} cannot be")
    return measured[name]()


def _current(content: Content, name: str, device: str) -> bool:
    if name == "complexity":
        return bool(content["complexity"])
    part = content[name].get(here(device))
    return part is not None and part["torch"] == torch_version()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper.paper_scale", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="imagenet128")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: the CPU, and the GPU if there is one")
    parser.add_argument("--seed", type=int, default=0, help="of weights, noise and labels")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure, separated by commas")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the parts that were measured are kept")


def _command(options: argparse.Namespace) -> None:
    profile, found = get_profile(options.profile).name, resolve_device(options.device)
    devices = [found] if options.device != "auto" else list(dict.fromkeys(["cpu", found]))
    names = [name.strip() for name in options.only.split(",")]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        raise PpcdError(f"unknown part {unknown[0]!r}; expected some of: {','.join(PARTS)}")
    for name in names:
        for device in ["cpu"] if name == "complexity" else devices:
            write_part(profile, name, measure_part(profile, name, device, options.seed))
    from paper.artifacts.paper_scale_figures import write_all

    for path in write_all(profile, options.seed):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
