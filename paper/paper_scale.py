"""The paper's own scale, computed and measured: complexity, run time, and what a training takes.

`results/<profile>/paper_scale.json` has each part with its provenance:

- complexity: parameters and MACs of the networks of Table 1 and of PP-Res SA-GAN against the kept fraction. The
  same on every machine.
- runtime: seconds per batch of 64 images, all networks in turns, by device.
- steps: real optimisation steps of joint PPCD-GAN and what the whole training would take, by device.

A CPU is timed with all its cores, as the paper's desktop was, and parts of other devices stay as they are.
"""

import os

import torch

from paper import measurements
from paper.paper_networks import Content, build, compute_complexity, network_configs
from paper.study import Study
from paper.timing import BATCH, seconds_in_turns
from paper.training_cost import RECIPE, estimate, measure_steps
from ppcd import paths
from ppcd.base import PpcdError, cores
from ppcd.progress import say
from ppcd.runs import provenance
from ppcd.training.profiles import Profile

FILE = "paper_scale.json"
PARTS = ("complexity", "runtime", "steps")
MEASURE = ("missing", "again", "never")
ROUNDS = {"cpu": 3, "cuda": 11}  # timed batches of each network


def measure_part(profile: Profile, name: str, device: str = "cpu", seed: int = 0) -> Content:
    """One of PARTS, measured on "cpu" or "cuda"; the seed is that of weights, noise and labels.

    Returns:
        for "complexity" what `compute_complexity` returns; else device, kind ("cpu" or "gpu"), torch, threads, load
        (of the machine, before), provenance, and for "runtime" batch, rounds and networks {name: seconds, one a round},
        for "steps" recipe, points (of `training_cost.take_steps`) and estimate (of `training_cost.estimate`).

    Raises:
        PpcdError: a device that cannot be measured, or too little memory.
    """
    if name == "complexity":
        return compute_complexity(profile)
    if device not in ROUNDS:
        raise PpcdError(f"time and memory are measured on cpu and cuda; {device!r} cannot be")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    part, began = {**this_machine(device), "load": load}, provenance.collect(device)
    measured: Content
    if name == "runtime":
        say(f"run time of the paper's networks on {device}")
        networks = {name: build(config, seed) for name, config in network_configs(profile).items()}
        # On a CPU, where a batch takes seconds, the median sets a slow first round right.
        warmup, rounds = int(device != "cpu"), ROUNDS[device]
        times = seconds_in_turns(networks, device, rounds, part["threads"], warmup, seed)
        measured = {"batch": BATCH, "rounds": rounds, "networks": times}
    else:
        points = measure_steps(profile, device, part["threads"], seed)
        measured = {"recipe": RECIPE, "points": points, "estimate": estimate(profile, points)}
    return {**part, "provenance": provenance.finish({**began, "threads": part["threads"]}), **measured}


def this_machine(device: str) -> Content:
    """What a part that is measured here is known by; its threads are all the cores that this process may use."""
    made = {"cpu": provenance.cpu_name(), "instructions": provenance.instructions()}
    return {
        "device": provenance.processor(made) if device == "cpu" else provenance.device_name(device),
        "kind": "cpu" if device == "cpu" else "gpu",
        "torch": str(torch.__version__).split("+")[0],
        "threads": cores(),
    }


def key(part: Content) -> str:
    """Under which a measured part stands in the file: `AMD EPYC (AVX512 bf16), 2 threads`, `NVIDIA RTX 3090`."""
    threads = f"{part['threads']} thread{'s' * (part['threads'] != 1)}"
    return f"{part['device']}, {threads}" if part["kind"] == "cpu" else str(part["device"])


def read(study: Study) -> Content:
    """The content of paper_scale.json; parts that were not measured are empty.

    Raises:
        PpcdError: the file is damaged or of another version: what other machines measured is not overwritten.
    """
    path = study.results / FILE
    if not path.is_file():
        path = paths.reference(study.name) / FILE
    if not path.is_file():
        return {"profile": study.name, "complexity": {}, "runtime": {}, "steps": {}}
    content = measurements.read(path.parent, FILE)
    if content is None:
        raise PpcdError(f"{path} is damaged or of another version; restore it, or delete it and measure again")
    return content


def write_part(study: Study, name: str, part: Content) -> Content:
    """Put a part into the file and return the whole content; parts of other kinds and devices stay."""
    content = read(study)
    content[name] = part if name == "complexity" else {**content[name], key(part): part}
    return measurements.write(study.results, FILE, content)


def ensure(study: Study, device: str = "cpu", measure: str = "missing") -> Content:
    """The file's content, with what this machine lacks in it measured first, with the first seed.

    Of this machine is what was measured on a device of its name with its number of threads and its version of torch.

    Args:
        device: "cpu" measures that alone; a GPU is measured besides the CPU.
        measure: "missing", "again" (everything) or "never" (take what is there).

    Raises:
        PpcdError: a damaged file, a measurement that failed, or nothing measured and none wanted.
    """
    content = read(study)
    for name in PARTS if measure != "never" else ():
        for each in ("cpu",) if name == "complexity" else dict.fromkeys(("cpu", device)):
            if measure == "again" or not _is_current(content, name, each):
                content = write_part(study, name, measure_part(study.profile, name, each, study.seeds[0]))
    if not content["complexity"]:
        raise PpcdError(f"nothing was measured at profile {study.name}; take measure = 'missing'")
    return content


def _is_current(content: Content, name: str, device: str) -> bool:
    if name == "complexity":
        return bool(content["complexity"])
    machine = this_machine(device)
    part = content[name].get(key(machine))
    return part is not None and part["torch"] == machine["torch"]
