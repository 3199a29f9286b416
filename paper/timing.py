"""Run time of all networks of a profile, timed in turns on one machine (section 4.1, Tables 1 and 2).

A run's own record holds the time that was measured at the end of its training, whatever else the machine did then.
Here all networks take turns, round after round, so that what slows the machine slows all of them alike.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from paper import measurements
from paper.measurements import Content
from paper.study import Study, asked_study, generator_of, listed, study_parser
from ppcd.base import PpcdError
from ppcd.errors import run_command
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.progress import say
from ppcd.records import GENERATOR, Record
from ppcd.runs import provenance
from ppcd.runs.copied import copy_reference
from ppcd.runs.train import resolve_device

FILE = "runtime.json"
BATCH = 64  # images, as in the paper's "second per the batch of 64 images"
ROUNDS = 7
THREADS = 1  # of the CPU


def seconds_in_turns(
    networks: Mapping[str, nn.Module], device: str, rounds: int, threads: int = THREADS, warmup: int = 1, seed: int = 0
) -> dict[str, list[float]]:
    """Seconds per batch of 64 of every network, one value per round; in a round each network has one turn.

    The networks are left on the device. `warmup` batches stand before each timed one, since another network had the
    caches before.
    """
    times: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        network.to(device)
    for _ in range(rounds):
        for name, network in networks.items():
            timed = seconds_per_batch(
                network, batch=BATCH, repeats=1, warmup=warmup, threads=threads, device=device, seed=seed
            )
            times[name].append(float(timed["seconds_per_batch"]))
    return times


def measure_runtime(records: Sequence[Record], device: str = "cpu", rounds: int = ROUNDS) -> Content:
    """Time the generators of these runs in turns and write `runtime.json` next to the runs.

    Args:
        records: of complete runs of one profile; the file then has these alone.
        device: "cpu" times that alone; a GPU is timed besides the CPU.

    Returns:
        what was written: schema, cpu (name and instruction set), gpu (its name, or None), threads, batch, rounds, runs
        {id: generator_sha256, cpu and gpu (seconds per batch, one per round; None without a GPU)}, provenance.
    """
    began = provenance.collect(device)
    generators = {record["id"]: generator_of(record) for record in records}
    on_cpu = seconds_in_turns(generators, "cpu", rounds)
    on_gpu = {} if device == "cpu" else seconds_in_turns(generators, device, rounds)
    content = {
        "cpu": provenance.processor(began),
        "gpu": provenance.device_name(device) if on_gpu else None,
        "threads": THREADS,
        "batch": BATCH,
        "rounds": rounds,
        "runs": {
            record["id"]: {
                "generator_sha256": record["files"][GENERATOR],
                "cpu": on_cpu[record["id"]],
                "gpu": on_gpu.get(record["id"]),
            }
            for record in records
        },
    }
    return measurements.write(records[0].source, FILE, content, began)


def read(folder: Path) -> Content:
    """The content of runtime.json; one without runs where it is missing, damaged or timed in another way."""
    return measurements.read(folder, FILE, batch=BATCH, threads=THREADS) or {"runs": {}}


def read_runtime(record: Record) -> dict[str, float | None] | None:
    """{"cpu", "gpu"}: median seconds per batch of 64 of the run, gpu None where none was timed.

    None where `runtime.json` lacks the run, or has it with other weights. Values of one profile come from one
    measurement and can be compared; those of a record's own `runtime` cannot be compared with them.
    """
    timed = measurements.of_run(read(record.source)["runs"], record)
    return timed and {name: statistics.median(timed[name]) if timed[name] else None for name in ("cpu", "gpu")}


def ensure_runtime(study: Study, records: Sequence[Record], device: str = "cpu", again: bool = False) -> Content:
    """`runs` of runtime.json: all of these runs (and no others) timed in one measurement, with their present weights.

    Measured again where a run came or went or has other weights, where a GPU is asked for that was not timed, and
    with `again` in any case.
    """
    device, runs = resolve_device(device), read(study.source)["runs"]
    current = runs.keys() == {record["id"] for record in records}
    current = current and all(measurements.of_run(runs, record) for record in records)
    current = current and (device == "cpu" or all(timed["gpu"] for timed in runs.values()))
    if (current and not again) or not records:
        return runs
    say(f"run time of {len(records)} networks, in turns")
    return measure_runtime(records, device)["runs"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = study_parser("timing", __doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    torch.set_num_threads(THREADS)
    study, device = asked_study(options), resolve_device(options.device)
    copy_reference(study.name)
    records = [record for record in study.runs() if record["seed"] in study.seeds]
    if not records:
        raise PpcdError(f"profile {study.name} has no complete run of seeds {listed(study.seeds)}; train one first")
    for run, timed in measure_runtime(records, device)["runs"].items():
        shown = [f"{kind} {1000 * statistics.median(timed[kind]):.1f} ms" for kind in ("cpu", "gpu") if timed[kind]]
        print(f"{run}  {'  '.join(shown)} per batch of {BATCH}")
