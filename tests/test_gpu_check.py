"""`python -m ppcd gpu-check`: every part at a tiny size on the CPU, failures, the time limit, the table."""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ppcd.base import moved
from ppcd.networks.compute import FAST
from ppcd.runs import gpu_check, gpu_parts
from ppcd.runs.gpu_check import FORMS, PARTS, Measurement, Worker, check, main, measurements, table
from ppcd.runs.trials import trial_trainer
from ppcd.training.profiles import get_profile
from ppcd.training.trainer import Trainer


class Here:
    """A worker that works in this process: the real work, without the seconds of imports."""

    def ask(self, timeout: float, function: Any, settings: dict[str, Any]) -> dict[str, Any]:
        return gpu_parts.work(function, settings)

    def end(self) -> None: ...


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "Worker", Here)


@pytest.mark.usefixtures("here")
def test_every_part_on_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_parts, "REPEATS", 1)
    monkeypatch.setattr(gpu_parts, "WARM_UPS", 1)
    output = tmp_path / "found.json"
    assert main(["--device", "cpu", "--output", str(output)]) == 0
    said = capsys.readouterr().out.splitlines()
    content = json.loads(output.read_text())
    assert content["complete"] and content["tiny"] and content["about"]["name"] == "cpu"
    entries = content["entries"]
    assert {each["part"] for each in entries} == set(PARTS)
    assert [each for each in entries if "failed" in each or not each.get("ok", True)] == []
    assert {each["not run"] for each in entries if "not run" in each} == {"it needs CUDA"}
    assert {each["form"] for each in entries if "seconds" in each} == {None, *FORMS} - set(gpu_check.ALONE)
    agreement = [each["value"] for each in entries if each["part"] == "agreement" and "value" in each]
    assert len(agreement) == 4 and agreement[:2] == [0, "yes"] and agreement[3] == 0
    assert len(said) < 40 and max(map(len, said[:-1])) <= 110 and said[-1] == f"details: {output}"
    assert torch.get_float32_matmul_precision() == "highest" and not torch.are_deterministic_algorithms_enabled()


def fails() -> Any:
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore of it")


def refuses() -> Any:
    raise gpu_parts.NotMeasured("no bf16 in hardware")


def works() -> Any:
    return [{"value": 3.0, "unit": "s"}]


def case(function: Callable[[], Any], **options: Any) -> Measurement:
    return Measurement("step", function.__name__, lambda device: function(), {}, **options)


@pytest.mark.usefixtures("here")
def test_what_fails_is_a_line_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each entry is in the file before the next one is measured, and what does not fit into the time is not begun."""
    output, seen = tmp_path / "found.json", list[int]()

    def looks() -> Any:
        seen.append(len(json.loads(output.read_text())["entries"]))
        return works()

    cases = [case(fails), case(refuses), case(looks), case(works, about=61)]
    monkeypatch.setattr(gpu_check, "measurements", lambda tiny: cases)
    content = check("cpu", minutes=1, tiny=True, output=output)
    failed, refused, looked, late = content["entries"]
    assert failed["failed"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    assert "in fails" in failed["traceback"] and refused["not run"] == "no bf16 in hardware"
    assert looked["value"] == 3 and seen == [2] and late["not run"] == "no time"
    assert "  fails                                      failed  RuntimeError: CUDA error" in table(content)
    assert json.loads(output.read_text()) == content


def test_a_process_that_dies_or_hangs_takes_nothing_with_it() -> None:
    worker = Worker()
    found = worker.ask(60, partial(os._exit, 1), {})
    assert found == {"failed": "its process ended in the middle of it; out of memory?"}
    worker.end()
    assert worker.ask(60, partial(abs, -3), {}) == {"results": 3}
    assert worker.ask(0.1, partial(time.sleep, 600), {}) == {"failed": "not done after 0 s"}
    began = time.monotonic()
    worker.end()
    assert time.monotonic() - began < 30


def test_all_forms_and_failures_fit_into_a_table() -> None:
    """As on a GPU where the dangerous forms fail, the lines being those of full sizes."""
    content: dict[str, Any] = {"device": "cuda", "tiny": False, "about": None, "entries": []}
    for each in measurements(tiny=False):
        found = {"failed": "RuntimeError: " + 200 * "x"} if each.alone else {"value": 12345.6, "memory": 2**36}
        content["entries"].append({"part": each.part, "what": each.what, "form": each.form, **found})
    lines = table(content).splitlines()
    assert len(lines) < 40 - 1 and max(map(len, lines)) <= 150
    assert any(line.split() == ["GiB", *6 * ["64.0"], *3 * ["–"]] for line in lines)
    assert lines[-1] == "and 4 more failures, which the file explains"


def test_mistakes_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for given, said in (
        (["--parts", "speed,stepp"], "unknown part 'stepp'; expected some of: agreement,step,inference,speed"),
        (["--minutes", "0"], "--minutes takes a positive number; got 0"),
    ):
        assert main(["--device", "cpu", *given]) == 2
        assert capsys.readouterr().err == f"ppcd: {said}\n"


# ------------------------------------------------------------ what runs on a GPU alone, as far as a CPU can try it


def test_trainings_that_differ_do_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that computes something else: losses 1% larger, masks that did not freeze, other weights."""
    one, other = gpu_parts.smoke_trainer("cpu"), gpu_parts.smoke_trainer("cpu")
    steps = [{name: float(loss) for name, loss in one.step().items()} for _ in range(one.total)]
    wrong = [{name: 1.01 * loss for name, loss in step.items()} for step in steps]
    both = {"cpu": (one, steps), "cuda": (other, wrong)}
    monkeypatch.setattr(gpu_parts, "smoke_training", both.__getitem__)
    (losses,), (freezing,) = gpu_parts.losses("cuda"), gpu_parts.freezing("cuda")
    assert losses["value"] == pytest.approx(0.01) and not losses["ok"] and not freezing["ok"]
    assert gpu_parts.weights_apart(one, one) == 0 < gpu_parts.weights_apart(one, other)


def test_what_waits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    draw = Trainer.draw

    def waiting(trainer: Trainer) -> tuple[Tensor, Tensor]:
        if modes == ["warn"]:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        return draw(trainer)

    monkeypatch.setattr(Trainer, "draw", waiting)
    (found,) = gpu_parts.waiting("cpu")
    assert modes == ["warn", "default"] and not found["ok"]
    assert [place.partition(":")[0] for place in found["places"]] == ["tests/test_gpu_check.py"]


@pytest.mark.parametrize("recipe", ["biggan", "ppcd"])
def test_a_captured_step_has_the_same_inputs(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn once, outside of the capture; nothing in it reads a number."""
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: SimpleNamespace(wait_stream=lambda other: None))
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(gpu_parts, "WARM_UPS", 2)
    profile = replace(get_profile("smoke"), num_classes=2)
    trainer = trial_trainer(profile, recipe, torch.arange(20) % 2, forms=FAST, frozen=True)
    states: list[Tensor] = []

    @contextmanager
    def capture(graph: Any, stream: Any) -> Iterator[None]:
        states.append(trainer.noise.get_state())
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "numpy", "cpu", "__bool__", "nonzero"):
                patch.setattr(Tensor, name, lambda *_: pytest.fail("a value is read while a step is captured"))
            yield
        states.append(trainer.noise.get_state())

    monkeypatch.setattr(torch.cuda, "graph", capture)
    gpu_parts.captured(trainer)()
    assert torch.equal(*states) and trainer.draw() is trainer.draw()
    assert all(group["capturable"] for group in trainer.optimizer_g.param_groups)


def test_a_gpu_is_not_waited_for_when_it_gets_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: asked.append("pinned") or self)
    monkeypatch.setattr(Tensor, "to", lambda self, *given, **more: asked.append((given, more)) or self)
    moved(torch.zeros(1), torch.device("cuda"))
    assert asked == ["pinned", ((torch.device("cuda"),), {"non_blocking": True})]
