"""What `python -m ppcd gpu-check` measures: functions that a separate process runs, each of which returns results.

A result has what, value, unit; where it is a check also ok; and details for the file.
"""

import gc
import io
import statistics
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ppcd.base import PpcdError, seeded
from ppcd.method.ema import decide_masks
from ppcd.method.slim import slim
from ppcd.metrics.runtime import seconds
from ppcd.networks.compute import EXACT, FAST, ComputeOptions, has_bf16
from ppcd.networks.generators import Generator, GeneratorConfig
from ppcd.networks.initialisation import initialise
from ppcd.runs import provenance
from ppcd.runs.loop import fit
from ppcd.runs.memory import peak_memory, reset_peak
from ppcd.runs.trials import network_configs, stand_still, trial_trainer
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.pruning import pruned_widths
from ppcd.training.trainer import Trainer

Result = dict[str, Any]

COMPARED = 10  # steps, whose losses are compared
SAME_LOSSES, SAME_IMAGES = 1e-3, 1e-4
BATCH = 64  # images, as in the paper's "second per the batch of 64 images"
REPEATS, PATIENCE = 7, 12.0  # timed works at most; fewer where they would take longer than so many seconds
WARM_UPS = 3  # works before them
DAY = 86_400  # seconds


class NotMeasured(PpcdError):
    """This device cannot do it, which is no failure."""


def describe(device: str) -> dict[str, Any]:
    """The device, what runs on it, and how it computes in float32 where nobody says otherwise."""
    found: dict[str, Any] = {
        "name": provenance.device_name(device),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "provenance": provenance.collect(device),
    }
    if device.startswith("cuda"):
        about = torch.cuda.get_device_properties(device)
        found |= {
            "driver": provenance.output_of(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "capability": list(torch.cuda.get_device_capability(device)),
            "memory": about.total_memory,
            "multiprocessors": about.multi_processor_count,
        }
    return found


# (1) Agreement: the same smoke training on the CPU and on the device


@contextmanager
def exact() -> Iterator[None]:
    """Float32 without TF32, and the same numbers each time where the device can."""
    precision, before = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operations that cannot
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
            torch.use_deterministic_algorithms(before)


def smoke_trainer(device: str, forms: ComputeOptions = EXACT, frozen: bool = False, **changes: Any) -> Trainer:
    """Joint PPCD-GAN at the smoke profile, with these changes of it; without any, a training of a few steps."""
    profile = replace(get_profile("smoke"), **{"iterations": COMPARED + 2, **changes})
    labels = torch.arange(200) % profile.num_classes
    return trial_trainer(profile, "ppcd", labels, device=device, forms=forms, frozen=frozen)


@cache
def smoke_training(device: str) -> tuple[Trainer, list[dict[str, float]]]:
    """A whole training, whose masks close: the trainer at its end, and the losses of each step."""
    trainer = smoke_trainer(device)
    with exact():
        return trainer, [{name: float(loss) for name, loss in trainer.step().items()} for _ in range(trainer.total)]


def losses(device: str) -> list[Result]:
    """The losses of the first steps."""
    pairs = list(zip(smoke_training("cpu")[1], smoke_training(device)[1], strict=True))[:COMPARED]
    values = {name: [(a[name], b[name]) for a, b in pairs] for name in pairs[0][0]}
    apart = max(max(abs(a - b) for a, b in each) / max(max(abs(a) for a, _ in each), 1e-6) for each in values.values())
    details = {"losses": values, "ok": apart <= SAME_LOSSES}
    return [{"value": apart, "unit": f"of themselves apart, at most {SAME_LOSSES:g}", **details}]


def freezing(device: str) -> list[Result]:
    """When the masks froze and how many channels they keep; and which, where gradients that nearly tie decide."""
    trainers = [smoke_training(each)[0] for each in ("cpu", device)]
    reports = [trainer.report_masks() for trainer in trainers]
    kept = [[mask.kept.cpu() for mask in trainer.generator.masks().values()] for trainer in trainers]
    equal = sum(map(torch.equal, *kept))
    ok = reports[0] == reports[1] and all(layer["frozen_at"] for layer in reports[0])
    details = {"masks": {"cpu": reports[0], "device": reports[1]}, "same_channels": equal, "ok": ok}
    return [
        {"value": "yes" if ok else "no", "unit": f"the same channels in {equal} of {len(kept[0])} masks", **details}
    ]


def slimming(device: str) -> list[Result]:
    """The images of the slim generator against those of the masked one."""
    generator = decide_masks(smoke_training(device)[0].generator.eval())
    z = torch.randn(8, generator.dim_z, generator=seeded(0)).to(device)
    y = (torch.arange(8) % generator.num_classes).to(device)
    with exact(), torch.no_grad():
        apart = float((slim(generator)(z, y) - generator(z, y)).abs().max())
    return [{"value": apart, "unit": f"largest difference, at most {SAME_IMAGES:g}", "ok": apart <= SAME_IMAGES}]


def resuming(device: str) -> list[Result]:
    """A training that goes on from a checkpoint against one that was not stopped.

    Where the device sums in another order each time, two trainings of the same differ as well: by no more than ten
    times that may a resumed one.
    """
    whole = smoke_training(device)[0]
    with exact(), tempfile.TemporaryDirectory() as folder:
        again, parts, resumed = (smoke_trainer(device) for _ in range(3))
        fit(again, Path(folder) / "again.pt")
        fit(parts, Path(folder) / "parts.pt", stop_at=parts.total // 2)
        fit(resumed, Path(folder) / "parts.pt")
    apart, noise = weights_apart(whole, resumed), weights_apart(whole, again)
    unit = f"largest difference of weights; {noise:.2g} of two trainings"
    return [{"value": apart, "unit": unit, "two_trainings": noise, "ok": apart <= 10 * noise}]


@torch.no_grad()
def weights_apart(one: Trainer, other: Trainer) -> float:
    """The largest difference of two trainers' weights."""
    pairs = zip(one.networks.values(), other.networks.values(), strict=True)
    weights = [(a, b) for x, y in pairs for a, b in zip(x.parameters(), y.parameters(), strict=True)]
    return max(float((a - b).abs().max()) for a, b in weights)


def waiting(device: str) -> list[Result]:
    """What of a step with closed masks makes Python wait for the GPU, line by line."""
    trainer = smoke_trainer(device, FAST, frozen=True, iterations=100)
    for _ in range(10):  # the statistics of a class are measured when it first occurs
        trainer.step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            trainer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [each for each in caught if "synchronizing CUDA operation" in str(each.message)]
    places = sorted({f"{Path(each.filename).parent.name}/{Path(each.filename).name}:{each.lineno}" for each in found})
    unit = "nothing in a step waits" if not places else f"waits: {', '.join(places[:3])}"
    return [{"value": len(found), "unit": unit, "places": places, "ok": not places}]


# (2) Speed: images per second of training steps in different forms


def training_step(
    device: str,
    recipe: str,
    profile: str,
    changes: dict[str, Any],
    forms: dict[str, Any],
    precision: str = "no",
    graph: bool = False,
) -> list[Result]:
    """One training iteration: images per second and peak memory; the masks of PPCD-GAN are closed."""
    check_precision(device, precision)
    start_over(device)
    size = replace(get_profile(profile), **changes)
    labels = torch.arange(4 * size.batch_size) % size.num_classes
    trainer = trial_trainer(
        size, recipe, labels, device=device, precision=precision, forms=ComputeOptions(**forms), frozen=True
    )
    with torch.cuda.device(device) if graph else nullcontext():
        return [rate(captured(trainer) if graph else trainer.step, size.batch_size, device)]


def check_precision(device: str, precision: str) -> None:
    """Leave bf16 out where a GPU has it not; a CPU without it is slow, which a test does not mind."""
    if precision == "bf16" and device != "cpu" and not has_bf16(torch.device(device)):
        raise NotMeasured("no bf16 in hardware")


def captured(trainer: Trainer) -> Callable[[], object]:
    """One iteration as a CUDA graph on the current device; what it returns replays it.

    Captured is `Trainer.step` as it is: the steps of D and of G, both optimisers, the averages. What the host gives it
    in each iteration stands still: noise, labels, real images, and the decay of the average.
    """
    for optimizer in (trainer.optimizer_d, trainer.optimizer_g):
        for group in optimizer.param_groups if optimizer is not None else ():
            group["capturable"] = True
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):  # indices of kept channels, and statistics of the teacher's classes
            trainer.step()
        stand_still(trainer)
        for _ in range(WARM_UPS):
            trainer.step()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, stream=side):
        found = trainer.step()
    graph.replay()
    if not all(bool(loss.isfinite()) for loss in found.values()):
        raise PpcdError("the losses that the graph computes are not finite")
    return graph.replay


def start_over(device: str) -> None:
    """Give back the memory of what was measured before, and count its peak from here on."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    reset_peak(device)


def rate(work: Callable[[], object], images: int, device: str) -> Result:
    """Images per second of some work, after works that are not timed; and the most memory since `start_over`."""
    warm = seconds(work, device=device)
    if warm[0] < PATIENCE / 4:
        warm += seconds(work, WARM_UPS - 1, device=device)
    repeats = max(1, min(REPEATS, int(PATIENCE / max(warm[-1], 1e-9))))
    times = seconds(work, repeats, device=device)
    spread = {"seconds": times, "least": min(times), "most": max(times), "first": warm[0]}
    speed = {"value": images / statistics.median(times), "unit": "images/s", "images": images}
    return {**speed, "memory": peak_memory(device), **spread}


# (3) Inference: seconds per batch of the networks of Tables 1 and 2


def networks(profile: Profile) -> dict[str, GeneratorConfig]:
    """The networks of Table 1 at the profile's size, spectral norm worked in; PP-Res SA-GAN as it is in training, and
    slim at alpha .7 and with the channels that the paper's MACs imply."""
    found = network_configs(profile)
    for name, alpha in (("ppcd-slim-alpha", 0.7), ("ppcd-slim-macs", 0.91)):
        hidden = pruned_widths(profile.resolution, profile.student_width, alpha)
        found[name] = replace(found["sagan"], transition=True, hidden=hidden)
    return found


def inference(device: str, profile: str, network: str, batch: int) -> list[Result]:
    """A batch of images of one of `networks`."""
    start_over(device)
    generator: Any = Generator(networks(get_profile(profile))[network])
    initialise(generator, "xavier", 0, "generator")
    generator.to(device).eval()
    z = torch.randn(batch, generator.dim_z, generator=seeded(0)).to(device)
    y = torch.randint(generator.num_classes, (batch,), generator=seeded(1)).to(device)
    found = rate(torch.no_grad()(lambda: generator(z, y)), batch, device)
    return [{**found, "value": statistics.median(found["seconds"]), "unit": f"s per batch of {batch}"}]


# (4) A step of the paper's own training


def paper_step(device: str, profile: str, precision: str) -> list[Result]:
    """An iteration of joint PPCD-GAN, and the days of all of them.

    A batch that does not fit into the memory is halved, with twice the accumulations: as many images. The images are
    of one class, so that the teacher measures the statistics of one class and not of a thousand.
    """
    check_precision(device, precision)
    whole = get_profile(profile)
    batch, images = whole.batch_size, whole.batch_size * whole.accumulations
    while True:
        small = replace(whole, batch_size=batch, accumulations=images // batch)
        try:
            found = _paper_step(small, device, precision)
            break
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2
    found |= {"batch": batch, "accumulations": images // batch, "precision": precision}
    step = statistics.median(found["seconds"])
    days = {"value": whole.iterations * step / DAY, "unit": f"days for {whole.iterations:,} iterations"}
    taken = {**found, "value": step, "unit": f"s an iteration of {batch} x {images // batch} images"}
    return [taken, {"what": f"the whole training, {'bf16' if precision == 'bf16' else 'float32'}", **days}]


def _paper_step(profile: Profile, device: str, precision: str) -> Result:
    start_over(device)
    labels = torch.zeros(8, dtype=torch.int64)
    trainer = trial_trainer(profile, "ppcd", labels, device=device, precision=precision)
    return rate(trainer.step, profile.budget(teacher=False).images, device)


# In the separate process


def work(function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What the function returns, as {"results"}; else {"not run"} or {"failed"}: a line, with its {"traceback"}."""
    try:
        return {"results": function(**settings)}
    except NotMeasured as reason:
        return {"not run": str(reason)}
    except Exception as error:
        text = io.StringIO()
        traceback.print_exc(file=text)
        line = (str(error).strip().splitlines() or [""])[0]
        said = line if isinstance(error, PpcdError) else f"{type(error).__name__}: {line}"
        return {"failed": said, "traceback": text.getvalue()}
