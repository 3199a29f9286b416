"""Run time side by side: every network of a profile timed in turns on one machine (section 4.1, Tables 1 and 2).

A run's own record holds the time that was measured at the end of its training, on whatever else the machine did
then. Here all networks take turns, round after round, so that what slows the machine slows all of them alike.
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from paper import sums
from paper.inventory import find_runs
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import ArgumentParser, run_command
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.networks.io import load_generator
from ppcd.runs.config import provenance, runs_root
from ppcd.runs.train import GENERATOR, resolve_device
from ppcd.seeds import parse_seeds
from ppcd.training.profiles import get_profile

Record = dict[str, Any]  # a run.json

SCHEMA = 1
FILE = "runtime.json"
BATCH = 64  # images, as in the paper's "second per the batch of 64 images"
ROUNDS = 7
THREADS = 1  # of the CPU


def measure_runtime(records: Sequence[Record], device: str = "cpu", rounds: int = ROUNDS) -> dict[str, Any]:
    """Time the generators of these runs in turns and write `results/<profile>/runtime.json`, atomically.

    Args:
        records: of complete runs of one profile; the networks that the file named before are forgotten.
        device: a GPU is timed beside the CPU, "cpu" times that alone.
        rounds: how many batches of each network are timed, behind one that is not.

    Returns:
        what was written: schema, cpu (name and instruction set), gpu (its name, or None), threads, batch, rounds, runs
        {id: generator_sha256, cpu and gpu (seconds per batch, one per round; None without a GPU)}, provenance.

    Raises:
        PpcdError: no records, records of several profiles, or no rounds.
    """
    profiles = {record["profile"] for record in records}
    if len(profiles) != 1 or rounds < 1:
        raise PpcdError(
            f"timing needs runs of one profile and at least one round; got profiles {sorted(profiles)}, {rounds} rounds"
        )
    began, profile = provenance.collect(device), profiles.pop()
    generators = {record["id"]: load_generator(runs_root(profile) / record["id"] / GENERATOR) for record in records}
    on_cpu = seconds_in_turns(generators, "cpu", rounds)
    on_gpu = None if device == "cpu" else seconds_in_turns(generators, device, rounds)
    whole = {
        "schema": SCHEMA,
        "cpu": provenance.processor(began),
        "gpu": None if on_gpu is None else provenance.device_name(device),
        "threads": THREADS,
        "batch": BATCH,
        "rounds": rounds,
        "runs": {
            record["id"]: {
                "generator_sha256": record["files"][GENERATOR],
                "cpu": on_cpu[record["id"]],
                "gpu": None if on_gpu is None else on_gpu[record["id"]],
            }
            for record in records
        },
        "provenance": provenance.finish(began),
    }
    sums.write(paths.results(profile), FILE, json.dumps(whole, indent=1, allow_nan=False) + "\n")
    return whole


def seconds_in_turns(generators: Mapping[str, nn.Module], device: str, rounds: int) -> dict[str, list[float]]:
    """Seconds per batch of every network, one value per round; in a round each network has one turn.

    A turn is one batch of `seconds_per_batch` behind one that is not timed, since another network had the caches
    before. The networks are left on the device.
    """
    times: dict[str, list[float]] = {name: [] for name in generators}
    for generator in generators.values():
        generator.to(device)
    for _ in range(1 + rounds):  # the first round warms up
        for name, generator in generators.items():
            timed = seconds_per_batch(generator, batch=BATCH, repeats=1, warmup=1, threads=THREADS, device=device)
            times[name].append(float(timed["seconds_per_batch"]))
    return {name: each[1:] for name, each in times.items()}


def read_runtime(record: Record) -> dict[str, float | None] | None:
    """{"cpu", "gpu"}: median seconds per batch of 64 of the run, gpu None where none was timed.

    None where `runtime.json` lacks the run, or has it with other weights. Values of one profile come from one
    measurement and can be compared; those of a record's own `runtime` cannot be compared with them.
    """
    timed = _timed(record["profile"]).get(record["id"])
    if timed is None or timed["generator_sha256"] != record["files"][GENERATOR]:
        return None
    return {name: statistics.median(timed[name]) if timed[name] else None for name in ("cpu", "gpu")}


def _timed(profile: str) -> dict[str, Any]:
    """The `runs` of runtime.json; {} where it is not there, damaged, or of another kind."""
    try:
        found = json.loads((paths.results(profile) / FILE).read_text())
        settings = (found["schema"], found["batch"], found["threads"])
        sound = all(
            isinstance(run["generator_sha256"], str)
            and len(run["cpu"]) == found["rounds"]
            and all(isinstance(seconds, float) for seconds in (*run["cpu"], *(run["gpu"] or ())))
            for run in found["runs"].values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return found["runs"] if sound and settings == (SCHEMA, BATCH, THREADS) else {}


def ensure_runtime(profile: str, records: Sequence[Record], device: str = "cpu", again: bool = False) -> dict[str, Any]:
    """`runs` of runtime.json: all of these runs (and no others) timed in one measurement, with their present weights.

    Measured again where a run came or went or has other weights, where a GPU is asked for that was not timed, and
    `again` in any case.

    Raises:
        PpcdError: as `measure_runtime`; no records are no mistake here.
    """
    device, name = resolve_device(device), get_profile(profile).name
    wanted = {record["id"]: record["files"][GENERATOR] for record in records}
    there = _timed(name)
    current = {run: timed["generator_sha256"] for run, timed in there.items()} == wanted
    current = current and (device == "cpu" or all(timed["gpu"] for timed in there.values()))
    if (current and not again) or not records:
        return there
    print(f"run time of {len(records)} networks, side by side", file=sys.stderr, flush=True)
    return measure_runtime(records, device)["runs"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper.timing", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="mnist")
    parser.add_argument("--seeds", default="0", help='how many ("3"), or which ("0 1 2", "7,")')
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    return run_command(
        lambda: _command(options.profile, parse_seeds(options.seeds), resolve_device(options.device)),
        "nothing was written",
    )


def _command(profile: str, seeds: Sequence[int], device: str) -> None:
    torch.set_num_threads(THREADS)
    records = [record for record in find_runs(profile) if record["seed"] in seeds]
    if not records:
        raise PpcdError(f"profile {profile} has no complete run of seeds {', '.join(map(str, seeds))}; train one first")
    measure_runtime(records, device)
    width = max(len(record["id"]) for record in records)
    for record in records:
        found = read_runtime(record) or {}
        shown = [f"{kind} {1000 * value:.1f} ms" for kind, value in found.items() if value is not None]
        print(f"{record['id']:<{width}}  {'  '.join(shown)} per batch of {BATCH}")


if __name__ == "__main__":
    sys.exit(main())
