"""What a GPU does with this project, in nine minutes: `python -m ppcd gpu-check`.

The same small training on the CPU and on the device, a step of the paper's own training, images of the networks of
Tables 1 and 2, and training steps in several forms. Each measurement stands for itself: what fails is a line, and the
rest goes on. The file holds at any time what was measured so far.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import ArgumentParser, run_command
from ppcd.networks.compute import FAST, STRAIGHTFORWARD, ComputeOptions
from ppcd.progress import say
from ppcd.runs import gpu_parts
from ppcd.runs.pool import separate_processes
from ppcd.runs.train import resolve_device
from ppcd.training.profiles import get_profile

PARTS = ("agreement", "step", "inference", "speed")  # in the order in which they are measured: telling ones first
TITLES = {
    "agreement": "the same training on CPU and device",
    "step": "the paper's training step, joint PPCD-GAN",
    "inference": "images",
    "speed": "training at 32 px, images/s",
}
MINUTES = 9.0
MOST_FAILURES = 8  # that the table explains
FORMS: dict[str, tuple[ComputeOptions, dict[str, Any]]] = {
    "plain": (STRAIGHTFORWARD, {}),
    "channels-last": (replace(STRAIGHTFORWARD, channels_last=True), {}),
    "merged": (replace(FAST, boxed=False), {}),
    "fast": (FAST, {}),
    "grouped": (replace(FAST, grouped=True), {}),
    "bf16": (FAST, {"precision": "bf16"}),
    "graph": (FAST, {"graph": True}),
    "bf16, graph": (FAST, {"precision": "bf16", "graph": True}),
    "compiled": (replace(FAST, compiled=True), {"precision": "bf16"}),
}
ALONE = ("graph", "bf16, graph", "compiled")  # may spoil their process or take long: last, each in a separate one

Entry = dict[str, Any]


@dataclass(frozen=True)
class Measurement:
    """One thing to measure.

    Attributes:
        function: of `gpu_parts`; it gets the device and `settings`, in a separate process.
        about: seconds that must be left for it to be started.
        most: seconds after which it is given up.
        form: the column of the table that it stands in.
        on_gpu: there is nothing to measure without CUDA.
        alone: the process serves nothing else.
    """

    part: str
    what: str
    function: Callable[..., Any]
    settings: dict[str, Any]
    about: float = 10.0
    most: float = 120.0
    form: str | None = None
    on_gpu: bool = False
    alone: bool = False


def measurements(tiny: bool) -> list[Measurement]:
    """All of them, in their order; tiny: at sizes that say nothing of speed."""
    found = [
        Measurement("agreement", "losses of ten steps, CPU and device", gpu_parts.losses, {}),
        Measurement("agreement", "masks freeze at the same steps", gpu_parts.freezing, {}),
        Measurement("agreement", "slim generator equals masked", gpu_parts.slimming, {}),
        Measurement("agreement", "resumed equals not stopped", gpu_parts.resuming, {}),
        Measurement("agreement", "a step waits for nothing", gpu_parts.waiting, {}, on_gpu=True),
    ]
    full = "smoke" if tiny else "imagenet128"
    for precision, label in (("bf16", "bf16"), ("no", "float32")):
        settings = {"profile": full, "precision": precision}
        found.append(Measurement("step", f"an iteration, {label}", gpu_parts.paper_step, settings, 40))
    batch = 2 if tiny else gpu_parts.BATCH
    for name in gpu_parts.networks(get_profile(full)):
        shape = {"profile": full, "network": name, "batch": batch}
        found.append(Measurement("inference", name, gpu_parts.inference, shape))
    return [*found, *_speed(tiny)]


def _speed(tiny: bool) -> list[Measurement]:
    """Steps of the BigGAN pair at several widths and of PPCD-GAN with closed masks, form by form."""
    profile = "smoke" if tiny else "cifar10"
    widths = (2,) if tiny else (32, 64, 96)
    of_pair = [{"teacher_width": width, "teacher_discriminator_width": width} for width in widths]
    rows = [(f"BigGAN pair, width {width}", "biggan", each) for width, each in zip(widths, of_pair, strict=True)]
    rows.append(("PPCD-GAN", "ppcd", {}))
    found = []
    for form, (options, more) in FORMS.items():
        alone = form in ALONE
        for what, recipe, changes in rows:
            settings = {"recipe": recipe, "profile": profile, "changes": changes, "forms": asdict(options), **more}
            about = 60 if options.compiled else 25 if alone else 10
            found.append(Measurement("speed", what, gpu_parts.training_step, settings, about, 150, form, alone, alone))
    return found


class Worker:
    """A separate process that measures one thing after another; after a failure another one takes its place."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._process: ProcessPoolExecutor | None = None

    def ask(self, timeout: float, function: Callable[..., Any], settings: dict[str, Any]) -> dict[str, Any]:
        """What `gpu_parts.work` returns."""
        try:
            if self._process is None:
                self._process = self._stack.enter_context(separate_processes())
            found = self._process.submit(gpu_parts.work, function, settings).result(timeout)
        except TimeoutError:
            found = {"failed": f"not done after {timeout:.0f} s"}
        except BrokenProcessPool:
            found = {"failed": "its process ended in the middle of it; out of memory?"}
        return found

    def end(self) -> None:
        """End the process at once, whatever it does."""
        self._process = None
        with suppress(PpcdError), self._stack.pop_all():
            raise PpcdError("it is not needed any more")


def check(
    device: str, minutes: float = MINUTES, parts: Sequence[str] = PARTS, tiny: bool = False, output: Path | None = None
) -> dict[str, Any]:
    """Measure what there is time for, and write the file after each measurement.

    Returns:
        what the file holds: device, tiny, minutes, about (the machine), entries, seconds, complete. An entry has
        part, what, form, took (seconds) and either what its function returned (value, unit and details) or "not run"
        or "failed", with the reason.
    """
    began = time.monotonic()
    content: dict[str, Any] = {"schema": 1, "device": device, "tiny": tiny, "minutes": minutes, "about": None}
    content |= {"entries": [], "seconds": 0.0, "complete": False}
    wanted = [each for each in measurements(tiny) if each.part in parts]
    first = Measurement("", "the device", gpu_parts.describe, {}, about=0)
    worker, part = Worker(), ""

    def write() -> None:
        content["seconds"] = time.monotonic() - began
        if output is not None:
            paths.write_atomic(output, json.dumps(content, indent=1) + "\n")

    try:
        for each in (first, *wanted):
            left = 60 * minutes - (time.monotonic() - began)
            place = {"part": each.part, "what": each.what, "form": each.form}
            if each.part != part or each.alone:
                worker.end()  # what one part has set and taken up is gone
            part, started = each.part, time.monotonic()
            if each.on_gpu and not device.startswith("cuda"):
                found: dict[str, Any] = {"not run": "it needs CUDA"}
            elif left <= each.about:
                found = {"not run": "no time"}
            else:
                found = worker.ask(min(left, each.most), each.function, {"device": device, **each.settings})
            if "failed" in found:
                worker.end()
            took = {"took": time.monotonic() - started}
            if each is first and "results" in found:
                content["about"] = found["results"]
            else:
                results = found.pop("results", [{}])
                entries = [{**place, **result, **found, **took} for result in results]
                content["entries"] += entries
                say("\n".join(map(shown, entries)))
            write()
        content["complete"] = True
        write()
    finally:
        worker.end()
    return content


# For people


def shown(entry: Entry) -> str:
    """An entry as a line."""
    what = entry["what"] if entry["form"] is None else f"{entry['what']}, {entry['form']}"
    text = value(entry)
    unit = entry.get("unit") or entry.get("failed") or entry.get("not run")
    return f"  {what:<38} {text:>10}  {unit if unit != text else ''}".rstrip()


def value(entry: Entry) -> str:
    """What a cell of a table has room for."""
    if "failed" in entry:
        return "failed"
    if "not run" in entry:
        return "no time" if entry["not run"] == "no time" else "–"
    found = entry["value"]
    text = found if isinstance(found, str) else f"{found:,.0f}" if found >= 1000 else f"{found:.3g}"
    return text if entry.get("ok", True) else f"NO: {text}"


def table(content: dict[str, Any]) -> str:
    """What was measured, in fewer than 40 lines."""
    entries, tiny = content["entries"], ": tiny sizes, which say nothing of speed" if content["tiny"] else ""
    lines = [f"gpu-check on {_machine(content)}{tiny}"]
    for part in PARTS:
        of_part = [each for each in entries if each["part"] == part]
        lines += [TITLES[part]] if of_part else []
        lines += _forms(of_part) if part == "speed" else list(map(shown, of_part))
    failed = [each for each in entries if "failed" in each and each["part"] == "speed"]
    lines += [f"failed: {each['what']}, {each['form']}: {each['failed'][:100]}" for each in failed[:MOST_FAILURES]]
    if len(failed) > MOST_FAILURES:
        lines.append(f"and {len(failed) - MOST_FAILURES} more failures, which the file explains")
    return "\n".join(lines)


def _machine(content: dict[str, Any]) -> str:
    """The device and how it computes, in a line."""
    about = content["about"]
    if about is None:
        return content["device"]
    parts = [about["name"], f"torch {about['provenance']['libraries']['torch']}"]
    if "cuda" in about:
        parts += [f"driver {about['driver']}", f"CUDA {about['cuda']}", f"cuDNN {about['cudnn']}"]
        parts.append(f"float32 convolutions {'in TF32' if about['cudnn_tf32'] else 'without TF32'}")
    return ", ".join(parts)


def _forms(entries: Sequence[Entry]) -> list[str]:
    """Lines of a table with a column for each form: images per second, and the most memory in GiB."""
    cells = {(each["what"], each["form"]): each for each in entries}
    widths = {form: max(len(form), 6) + 2 for form in FORMS}

    def line(label: str, texts: dict[str, str]) -> str:
        return f"  {label:<21}" + "".join(f"{texts.get(form, ''):>{width}}" for form, width in widths.items())

    lines = [line("", {form: form for form in FORMS})] if entries else []
    for what in dict.fromkeys(each["what"] for each in entries):
        row = {form: cells[what, form] for form in FORMS if (what, form) in cells}
        memory = {form: f"{each['memory'] / 2**30:.1f}" if "memory" in each else "–" for form, each in row.items()}
        lines += [line(what, {form: value(each) for form, each in row.items()}), line("  GiB", memory)]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd gpu-check", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu (tiny sizes alone), cuda or mps")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="that all of it takes at most")
    parser.add_argument("--output", help="the file of results (default: gpu-check.json in the cache)")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of the parts, separated by commas")
    parser.add_argument("--tiny", action="store_true", help="sizes that only try whether it runs")
    options = parser.parse_args(arguments)
    output = paths.expanded(options.output) if options.output else paths.cache() / "gpu-check.json"
    return run_command(lambda: _command(options, output), f"what was measured is in {output}")


def _command(options: argparse.Namespace, output: Path) -> None:
    device, parts = resolve_device(options.device), options.parts.split(",")
    if unknown := [each for each in parts if each not in PARTS]:
        raise PpcdError(f"unknown part {unknown[0]!r}; expected some of: {','.join(PARTS)}")
    if not 0 < options.minutes < float("inf"):
        raise PpcdError(f"--minutes takes a positive number; got {options.minutes:g}")
    tiny = options.tiny or device == "cpu"
    if tiny and not options.tiny:
        say("no GPU: tiny sizes, which say nothing of speed")
    print(table(check(device, options.minutes, parts, tiny, output)))
    print(f"details: {output}")
