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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ppcd import paper, paths, provenance, sums
from ppcd.errors import ArgumentParser, PpcdError, run_command
from ppcd.generators import ARCHITECTURES, Generator, GeneratorConfig, build_generator
from ppcd.kept import GRID, KeptCost, count, kept_generator, masked_generator
from ppcd.methods import TinyGan
from ppcd.metrics.complexity import CONVENTION, Complexity
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.profiles import Profile, get_profile
from ppcd.slim import slim
from ppcd.train import resolve_device
from ppcd.training_cost import RECIPE, estimate, measure_steps
from ppcd.workers import count_workers

SCHEMA = 1
FILE = "paper_scale.json"
PARTS = ("complexity", "runtime", "steps")
MEASURE = ("missing", "again", "never")
BATCH = 64  # images, as in the paper's "second per the batch of 64 images"
ROUNDS = {"cpu": 3, "cuda": 11}  # timed batches of each network
COMPLEXITY = {"convention", "networks", "power_iterations", "curve", "points", "provenance"}
Content = dict[str, Any]  # of paper_scale.json


@dataclass(frozen=True)
class Point:
    """One number of the paper about PPCD-GAN's size."""

    table: int
    row: str
    column: str
    quantity: str  # "params" or "macs"
    alpha: float

    @property
    def value(self) -> float:
        return paper.published(self.table, self.row, self.column).value


POINTS = (
    Point(1, "PPCD-GAN (alpha=0.7)", "#Par.", "params", paper.TABLE1_ALPHA),
    Point(1, "PPCD-GAN (alpha=0.7)", "MACs", "macs", paper.TABLE1_ALPHA),
    Point(3, "PPCD-GAN (complete)", "#Par.", "params", paper.TABLE3_ALPHA),
)
PLAIN = {"biggan": "Big-GAN", "sagan": "SA-GAN", "sngan": "SN-GAN", "tinygan": "Tiny-GAN"}  # network -> row of Table 1
MASKED, SLIM_MACS, SLIM_ALPHA = "ppcd-masked", "ppcd-slim-macs", "ppcd-slim-alpha"


def is_paper_size(profile: Profile) -> bool:
    """Whether the profile's networks are the paper's."""
    widths = {arch: ARCHITECTURES[arch].width for arch in ("biggan", "sagan")}
    size = (profile.resolution, profile.num_classes, profile.teacher_width, profile.student_width)
    return size == (128, 1000, widths["biggan"], widths["sagan"])


def plain_config(arch: str, profile: Profile) -> GeneratorConfig:
    """The configuration of a network of Table 1 at the profile's size, spectral norm worked into the weights."""
    width, dim_z = profile.student_width, profile.dim_z
    if arch == "biggan":
        width, dim_z = profile.teacher_width, profile.teacher_dim_z
    if arch == "tinygan":
        width = max(1, round(width * TinyGan().width))
    return GeneratorConfig(arch, profile.resolution, profile.num_classes, width, dim_z, spectral_norm=False)


def kept_fractions() -> dict[str, float]:
    """Fraction of channels that every mask of a slim network of ours keeps, by the network's name.

    That which the paper's MACs at alpha 0.7 imply, and 1 - alpha.
    """
    macs = next(point for point in POINTS if point.quantity == "macs")
    return {
        SLIM_MACS: KeptCost.of().implied("macs", macs.value),
        SLIM_ALPHA: round(1 - macs.alpha, 6),
    }


def student_cost(profile: Profile) -> KeptCost:
    """Parameters and MACs of the profile's student by the kept fraction."""
    return KeptCost.of(profile.resolution, profile.num_classes, profile.student_width, profile.dim_z)


def compute_complexity(profile: Profile) -> Content:
    """Parameters and MACs: of Table 1's networks, of the student by the kept fraction, and what the paper's imply.

    Returns:
        convention; networks {name: params, macs}; power_iterations {name: MACs with them counted, of those that have
        a spectral norm}; curve [kept, params, macs]; points, one for each of POINTS: the paper's value and its place,
        the kept fraction that it implies at the paper's size with the parameters and MACs there, and those of keeping
        1 - alpha; provenance.
    """
    began, cost, full = provenance.collect("cpu"), student_cost(profile), KeptCost.of()
    configs = {name: plain_config(name, profile) for name in PLAIN}
    networks: dict[str, Content] = {name: _sizes(count(config)) for name, config in configs.items()}
    normalised = [name for name in PLAIN if ARCHITECTURES[name].spectral_norm]
    masked = GeneratorConfig(
        "sagan", profile.resolution, profile.num_classes, profile.student_width, profile.dim_z,
        masked=True, transition=True,
    )  # fmt: skip
    networks[MASKED] = _sizes(count(masked))
    fractions = kept_fractions()
    networks |= {name: {"kept": kept, **_sizes(cost.at(kept))} for name, kept in fractions.items()}
    points = []
    for point in POINTS:
        implied = full.implied(point.quantity, point.value)
        points.append(
            {
                "table": point.table,
                "row": point.row,
                "column": point.column,
                "quantity": point.quantity,
                "alpha": point.alpha,
                "value": point.value,
                "implied": {"kept": implied, **_sizes(full.at(implied))},
                "literal": {"kept": round(1 - point.alpha, 6), **_sizes(full.at(1 - point.alpha))},
            }
        )
    return {
        "convention": CONVENTION,
        "networks": networks,
        "power_iterations": {name: count(replace(configs[name], spectral_norm=True)).macs for name in normalised},
        "curve": [{"kept": kept, **_sizes(cost.at(kept))} for kept in GRID],
        "points": points,
        "provenance": provenance.finish(began),
    }


def _sizes(cost: Complexity) -> dict[str, int]:
    return {"params": cost.params, "macs": cost.macs}


def build_networks(profile: Profile, seed: int = 0) -> dict[str, Generator]:
    """The timed networks at the profile's size, freshly initialised, in the order of Table 1.

    The plain ones as one would run them, spectral norm worked into the weights; PP-Res SA-GAN dense with its masks
    and its spectral norm, as it is in training; and slim at `kept_fractions`.
    """
    networks = {}
    for name in PLAIN:
        config = plain_config(name, profile)
        size = (config.resolution, config.num_classes, config.width)
        networks[name] = slim(build_generator(name, *size, dim_z=config.dim_z, seed=seed))
    student = (profile.resolution, profile.num_classes, profile.student_width)
    fractions = kept_fractions()
    networks[MASKED] = masked_generator(fractions[SLIM_MACS], *student, dim_z=profile.dim_z, seed=seed)
    for name, kept in fractions.items():
        networks[name] = kept_generator(kept, *student, dim_z=profile.dim_z, seed=seed)
    return networks


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
        device, kind, torch, threads, load; recipe, points (of `ppcd.training_cost.take_steps`), estimate (of
        `ppcd.training_cost.estimate`), provenance.

    Raises:
        PpcdError: as `ppcd.training_cost.measure_steps`.
    """
    part = _begin(device)
    points = measure_steps(profile.name, device, part["threads"], seed)
    return _finished(part, {"recipe": RECIPE, "points": points, "estimate": estimate(profile, points)})


def _machine(device: str) -> Content:
    """What a measured part is known by; its threads are all the cores that this process may use."""
    kind = "cpu" if device == "cpu" else "gpu"
    name = provenance.cpu_name() if kind == "cpu" else provenance.device_name(device)
    threads = count_workers(None, "cpu")
    return {"device": name or "unknown", "kind": kind, "torch": torch_version(), "threads": threads}


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
    """Under which a measured part stands in the file: `AMD Ryzen 9 3900X, 12 threads`, `NVIDIA GeForce RTX 3090`."""
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
    parser = ArgumentParser(prog="python -m ppcd.paper_scale", description=__doc__.splitlines()[0])
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
    from ppcd.artifacts.paper_scale_figures import write_all

    for path in write_all(profile, options.seed):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
