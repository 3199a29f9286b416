"""A plan's runs as few megabytes in a folder: written by one machine, taken up by the next.

The folder holds one stream of bytes, in parts of at most 15 MiB, and a manifest, written last, with the SHA-256 of
each. Of a complete run it has what a run directory needs to count as complete; of a teacher also the last state, as
long as a run of the plan has still to begin with it; of a run in progress its checkpoint and histories.

Adam's first moments are left out where beta1 is 0: the next gradient replaces them. What is too large even so is
rounded to bf16, in the order of STEPS and until it fits; what that changed is in the manifest and in the run's
`provenance`.
"""

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.io import DISCRIMINATOR, LAST, LAST_STATE, MOMENTS, file_on_cpu
from ppcd.progress import say
from ppcd.records import GENERATOR, NOT_BROUGHT, TRAINED_HERE, as_text, file_hash, seal
from ppcd.runs.directory import CHECKPOINT, MASK_FILE, Run
from ppcd.runs.score_curve import BEST
from ppcd.training.config import RunConfig
from ppcd.training.recipes import TEACHER

FORMAT = 1
MANIFEST, PARTS, PART = "manifest.json", "gpu-train-*.part", 15 * 2**20
MEGABYTE = 1_000_000
STEPS = NO_BEST, SECOND_MOMENTS, AVERAGES, WEIGHTS = (
    "no best generator", "second moments in bf16", "averages in bf16", "weights in bf16",
)  # fmt: skip
OF_TEACHER = {GENERATOR: AVERAGES, LAST: WEIGHTS, DISCRIMINATOR: WEIGHTS, MOMENTS: SECOND_MOMENTS}

Entry = dict[str, Any]  # of a run in the manifest: id, hash, state, iteration, total, fd, changed, files


# Rounding


def is_matrix(tensor: Tensor) -> bool:
    """Whether it is rounded: kernels and matrices are. Vectors are few bytes, and masks would not bear it."""
    return tensor.is_floating_point() and tensor.ndim > 1 and len(tensor) > 1


def narrowed(values: Any) -> Any:
    """The matrices in nested dictionaries as bf16."""
    if isinstance(values, Mapping):
        return {name: narrowed(value) for name, value in values.items()}
    return values.to(torch.bfloat16) if isinstance(values, Tensor) and is_matrix(values) else values


def widened(values: Any) -> Any:
    """As float32 again, with first moments of 0 where they were left out."""
    if not isinstance(values, Mapping):
        return values.float() if isinstance(values, Tensor) and values.dtype == torch.bfloat16 else values
    found = {name: widened(value) for name, value in values.items()}
    if "exp_avg_sq" in found:
        found.setdefault("exp_avg", torch.zeros_like(found["exp_avg_sq"]))
    return found


def _small_optimizer(state: dict[str, Any] | None, narrow: bool) -> dict[str, Any] | None:
    """Adam's state without the first moments that are never read, its second moments in bf16 if `narrow`."""
    if state is None:
        return None
    unread = {index for group in state["param_groups"] if group["betas"][0] == 0 for index in group["params"]}
    kept = {
        index: {name: value for name, value in values.items() if name != "exp_avg" or index not in unread}
        for index, values in state["state"].items()
    }
    if narrow:
        kept = {index: values | {"exp_avg_sq": narrowed(values["exp_avg_sq"])} for index, values in kept.items()}
    return {**state, "state": kept}


def _small_checkpoint(state: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    """A trainer's `state_dict()` as it is carried, and in its provenance what these steps changed."""
    small = dict(state)
    for name in ("optimizer_g", "optimizer_d"):
        small[name] = _small_optimizer(state[name], SECOND_MOMENTS in steps)
    if AVERAGES in steps:
        small["averages"] = narrowed(state["averages"])
    if WEIGHTS in steps:
        small |= {name: narrowed(state[name]) for name in ("generator", "discriminator")}
    if NO_BEST in steps:
        small["watched"] = state["watched"] | {"best": None}
    small["provenance"] = _noted(state["provenance"], state["iteration"], steps)
    return small


def _noted(provenance: dict[str, Any], iteration: int, steps: Sequence[str]) -> dict[str, Any]:
    """The provenance of a run that was carried so at this iteration."""
    return provenance | {"carried": [*provenance.get("carried", []), {"iteration": iteration, "changed": [*steps]}]}


def _as_bytes(values: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


# Writing


def write(plan: Sequence[RunConfig], folder: Path, megabytes: float) -> dict[str, Any]:
    """Write the folder from the run directories, whole or not at all; its manifest.

    Until the new manifest is there, the old one and its parts are.
    """
    for count in range(len(STEPS) + 1):
        runs, stream = _gathered(plan, STEPS[:count])
        cut = {_part_name(each): each for each in (stream[at : at + PART] for at in range(0, len(stream), PART))}
        parts = [{"name": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in cut.items()]
        manifest = seal({"format": FORMAT, **_of_plan(plan), "parts": parts, "runs": runs})
        text = as_text(manifest)
        size = (len(stream) + len(text)) / MEGABYTE
        if size <= megabytes:
            break
    else:
        say(f"{folder} takes {size:.1f} MB, more than the {megabytes:g} that were given; nothing is left out of it")
    for name, data in cut.items():
        paths.write_atomic(folder / name, data)
    paths.write_atomic(folder / MANIFEST, text)
    for path in folder.glob(PARTS):
        if path.name not in cut:
            path.unlink()
    for name in (PARTS, MANIFEST):
        paths.remove_leftovers(folder, name)
    for entry in runs:
        if entry["changed"]:
            say(f"{entry['id']}: to fit into {megabytes:g} MB it is carried with {', '.join(entry['changed'])}")
    return {**manifest, "megabytes": size}


def _part_name(data: bytes) -> str:
    return PARTS.replace("*", hashlib.sha256(data).hexdigest()[:16])


def _of_plan(plan: Sequence[RunConfig]) -> dict[str, Any]:
    first = plan[0]
    return {"profile": first.profile.name, "seed": first.seed, "precision": first.precision}


def _gathered(plan: Sequence[RunConfig], steps: Sequence[str]) -> tuple[list[Entry], bytes]:
    """The runs that have begun, and the stream of their files."""
    runs, stream = list[Entry](), list[bytes]()
    for config in plan:
        run = Run(config)
        if run.state == "absent":
            continue
        found, files = _complete(run, plan, steps) if run.state == "complete" else _partial(run, steps)
        listed = [{"name": name, "form": form, "bytes": len(data)} for name, (form, data) in files.items()]
        about = {"id": config.id, "hash": config.hash, "state": run.state, "total": config.iterations}
        runs.append({**about, **found, "files": listed})
        stream += [data for _, data in files.values()]
    return runs, b"".join(stream)


def _partial(run: Run, steps: Sequence[str]) -> tuple[Entry, dict[str, tuple[str, bytes]]]:
    state = cast(dict[str, Any], file_on_cpu(run.path(CHECKPOINT)))
    best, files = state["watched"].get("best"), dict[str, tuple[str, bytes]]()
    for path in (run.path(BEST), run.path(f"{BEST}.new")) if best else ():
        if path.is_file() and file_hash(path) == best["sha256"] and NO_BEST not in steps:
            files[BEST] = ("file", path.read_bytes())
    steps = [each for each in steps if each != NO_BEST or best]
    for path in (run.path("history.csv"), run.path(MASK_FILE)):
        if path.is_file():
            files[path.name] = ("file", path.read_bytes())
    files[CHECKPOINT] = ("tensors", _as_bytes(_small_checkpoint(state, steps)))
    return {"iteration": state["iteration"], "fd": None, "changed": steps}, files


def _complete(run: Run, plan: Sequence[RunConfig], steps: Sequence[str]) -> tuple[Entry, dict[str, tuple[str, bytes]]]:
    record, is_teacher = run.read(), run.config.recipe.name == TEACHER
    names = [name for name in record["files"] if name not in NOT_BROUGHT]
    if is_teacher and any(each.recipe.needs_training_state and Run(each).state == "absent" for each in plan):
        names += [name for name in LAST_STATE if run.path(name).is_file()]
    files, changed = dict[str, tuple[str, bytes]](), set[str]()
    for name in names:
        step = OF_TEACHER.get(name) if is_teacher else None
        if step not in steps or (name == GENERATOR and has_taught(plan)):
            files[name] = ("file", run.path(name).read_bytes())
            continue
        with safe_open(run.path(name), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            files[name] = ("safetensors", _as_bytes({"about": file.metadata(), "tensors": narrowed(tensors)}))
        changed.add(str(step))
    files["run.json"] = ("file", run.path("run.json").read_bytes())
    done = {"iteration": run.config.iterations, "fd": record["metrics"]["ema"].get("fd")}
    return {**done, "changed": [each for each in steps if each in changed]}, files


def has_taught(plan: Sequence[RunConfig]) -> bool:
    """Whether a complete run names the teacher's generator by its hash, so that it must stay as it is."""
    return any(each.recipe.needs_teacher and Run(each).state == "complete" for each in plan)


# Reading


def unpack(plan: Sequence[RunConfig], folder: Path) -> None:
    """Put what the folder holds into the run directories, as far as they are not as far themselves.

    Raises:
        PpcdError: it is damaged, or of another plan; nothing is changed then.
    """
    manifest, stream = _read(folder)
    known, at, found = {config.id: config for config in plan}, 0, list[tuple[RunConfig, Entry, dict[str, bytes]]]()
    for entry in manifest["runs"]:
        config = known.get(entry["id"])
        if config is None or config.hash != entry["hash"]:
            theirs, ours = (
                f"profile {each['profile']}, seed {each['seed']}, precision {each['precision']}"
                for each in (manifest, _of_plan(plan))
            )
            others = ", with other images or settings" if theirs == ours else ""
            raise PpcdError(f"{folder} is of {theirs}{others}; this is {ours}: give another --carry")
        pieces = {}
        for file in entry["files"]:
            pieces[file["name"]] = (file["form"], stream[at : at + file["bytes"]])
            at += file["bytes"]
        if _reached(config) < _rank(entry["state"], entry["iteration"]):
            found.append((config, entry, {Path(name).name: _opened(*piece) for name, piece in pieces.items()}))
    for config, entry, files in found:  # all of it could be read
        _place(Run(config), entry, files)
        say(f"{config.id}: from {folder}, {entry['state']} at iteration {entry['iteration']} of {entry['total']}")


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest and the stream, checked; of a folder that is not there or empty, those of no runs."""
    path, again = folder / MANIFEST, "copy the folder again, or give another --carry to start afresh"
    if not path.is_file():
        if any(folder.glob(PARTS)):
            raise PpcdError(f"{path} is missing; {again}")
        return {"runs": []}, b""
    try:
        manifest = json.loads(path.read_text())
        good = manifest["sha256"] == seal(manifest)["sha256"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise PpcdError(f"{path} is damaged; {again}")
    if manifest["format"] != FORMAT:
        raise PpcdError(f"{path} is of format {manifest['format']}, of another version of ppcd; {again}")
    stream = []
    for part in manifest["parts"]:
        try:
            stream.append((folder / part["name"]).read_bytes())
        except OSError:
            raise PpcdError(f"{folder / part['name']} is missing; {again}") from None
        if hashlib.sha256(stream[-1]).hexdigest() != part["sha256"]:
            raise PpcdError(f"{folder / part['name']} is damaged; {again}")
    return manifest, b"".join(stream)


def _opened(form: str, data: bytes) -> bytes:
    """A file as it is in a run directory."""
    if form == "file":
        return data
    values = widened(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    return save(values["tensors"], values["about"]) if form == "safetensors" else _as_bytes(values)


def _rank(state: str, iteration: int) -> float:
    return math.inf if state == "complete" else iteration


def _reached(config: RunConfig) -> float:
    """How far the run is on this machine."""
    run = Run(config)
    iteration = file_on_cpu(run.path(CHECKPOINT))["iteration"] if run.state == "partial" else -1
    return _rank(run.state, cast(int, iteration))


def _place(run: Run, entry: Entry, files: dict[str, bytes]) -> None:
    """Write a run's files, the one that counts last. A complete run's record has the hashes of files that were
    rounded, and says so."""
    last = "run.json" if entry["state"] == "complete" else CHECKPOINT
    if last == "run.json":
        record = json.loads(files[last])
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != last}
        if hashes.items() - record["files"].items():
            record["provenance"] = _noted(record["provenance"], entry["iteration"], entry["changed"])
            record["files"] |= hashes
            files[last] = as_text(seal(record)).encode()
    with run.lock():
        if last == "run.json":
            with paths.writing(run.directory):
                run.path(TRAINED_HERE).touch()
        for name in sorted(files, key=lambda name: name == last):
            run.write_file(name, files[name])
