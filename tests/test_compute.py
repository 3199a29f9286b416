"""Compute options: the same steps except for rounding, no waiting for a GPU, torch.compile in `make bench`."""

from dataclasses import replace
from typing import Any

import pytest
import together
import torch
from reference import largest_difference
from torch import Tensor

from ppcd.method.ema import decide_masks
from ppcd.method.losses import class_aware_distillation
from ppcd.method.masks import channels_to_prune
from ppcd.method.slim import slim
from ppcd.method.teacher import Teacher
from ppcd.networks.compute import EXACT, FAST, STRAIGHTFORWARD, ComputeOptions
from ppcd.networks.generators import build_generator
from ppcd.runs import memory, train
from ppcd.training.config import run_config
from ppcd.training.recipes import get_recipe
from ppcd.training.trainer import Trainer


def trainer_of(
    recipe: str, forms: ComputeOptions | None = None, iterations: int = together.PROFILE.iterations
) -> Trainer:
    profile = replace(together.PROFILE, iterations=iterations)
    teacher = build_generator("biggan", 32, 10, 2, dim_z=16, seed=5)
    return together.make_trainer(profile, get_recipe(recipe), 0, together.images(), teacher, forms=forms)


@pytest.mark.parametrize("recipe", ["biggan", "ppcd", "sngan", "tinygan"])
def test_every_form_takes_the_same_steps(recipe: str, double: None) -> None:
    """Losses and weights after three steps, against the straightforward form, in float64."""
    switches = ("merged", "channels_last", "fused", "shrink", "grouped")
    single = [replace(STRAIGHTFORWARD, **{name: True}) for name in switches]
    found = []
    for forms in (STRAIGHTFORWARD, EXACT, FAST, *single):
        trainer = trainer_of(recipe, forms)
        losses = [{name: float(loss) for name, loss in trainer.step().items()} for _ in range(3)]
        found.append((losses, [parameter.detach() for parameter in trainer.generator.parameters()]))
    (expected, weights), *others = found
    for losses, mine in others:
        assert all(abs(a[name] - b[name]) < 1e-10 for a, b in zip(losses, expected, strict=True) for name in a)
        assert all(largest_difference(a, b) < 1e-8 for a, b in zip(mine, weights, strict=True))


@pytest.mark.parametrize(("fast", "expected"), [(None, EXACT), (True, FAST)])
def test_the_profile_chooses_where_nobody_does(fast: bool | None, expected: ComputeOptions) -> None:
    profile = replace(together.PROFILE, fast=fast)
    assert together.make_trainer(profile, get_recipe("biggan"), 0, together.images()).forms == expected


@pytest.mark.usefixtures("quick")
def test_a_teacher_in_half_precision_says_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the device has it in hardware, and only its features; the run says so."""
    z, y = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10
    whole, half = (Teacher(build_generator("biggan", 32, 10, 8, dim_z=16, seed=5), half=half) for half in (False, True))
    student = build_generator("sagan", 32, 10, 4, dim_z=16, seed=6)(z, y, return_features=True)[1][1:]
    a, b = (class_aware_distillation(teacher.features(z, y), student).item() for teacher in (whole, half))
    assert a != b and b == pytest.approx(a, rel=2e-3)
    assert half.statistics["blocks.2"][0].dtype == torch.float32
    for there in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda there=there: there)
        assert trainer_of("ppcd", FAST).teacher.half == there
        assert not trainer_of("ppcd", EXACT).teacher.half
        record = train.train_run(
            run_config(replace(together.PROFILE, fast=True, name="half"), "ppcd", int(there)), callbacks=[]
        )
        assert record.read()["provenance"].get("teacher_precision") == ("bf16" if there else None)


# ------------------------------------------------------------ nothing is waited for


def reads_of(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of a step needs a value on the CPU, so that a GPU would have to be waited for."""
    reads: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "nonzero"):
            real = getattr(Tensor, name)

            def listen(self: Tensor, *args: object, real: object = real, name: str = name) -> object:
                reads.append(name)
                return real(self, *args)  # type: ignore[operator]

            patch.setattr(Tensor, name, listen)
        trainer.step()
    return reads


@pytest.mark.parametrize("recipe", ["biggan", "tinygan"])
def test_a_step_waits_for_nothing(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of(recipe, FAST)
    trainer.step()
    assert reads_of(trainer, monkeypatch) == []


def test_masks_are_read_where_a_channel_has_to_go_and_in_no_other_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_of("ppcd", FAST, iterations=1000)
    while len(trainer.teacher._known) < 10:  # a class's statistics are measured when it first occurs
        trainer.step()
    assert trainer.iteration < 40 and reads_of(trainer, monkeypatch) == []
    let_go = trainer.rule.closed_at["blocks.0.mask1"]
    while not let_go:
        before = reads_of(trainer, monkeypatch)
    assert before != []
    assert reads_of(trainer, monkeypatch) == []  # it closes by itself
    for mask in trainer.generator.masks().values():
        mask.freeze(torch.arange(mask.channels) >= channels_to_prune(mask.channels, 0.7))
    trainer.step()  # finds the indices of the kept channels
    assert reads_of(trainer, monkeypatch) == []


# ------------------------------------------------------------ torch.compile


def test_compiled_blocks_take_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a mask that freezes, whose block then has other shapes; a slim generator is not compiled.

    One block, with torch's own kernels after the tracing: all of them take minutes. `make bench` waits for them.
    """
    compile_block, asked = torch.nn.Module.compile, []

    def traced(self: torch.nn.Module, **options: Any) -> None:
        asked.append(self)
        if len(asked) == 1:
            compile_block(self, backend="aot_eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    plain, compiled = (trainer_of("ppcd", replace(FAST, compiled=compiled)) for compiled in (False, True))
    for step in range(3):
        expected, found = (
            {name: float(loss) for name, loss in trainer.step().items()} for trainer in (plain, compiled)
        )
        assert all(found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5) for name in expected)
        if step == 0:
            for trainer in (plain, compiled):
                mask = trainer.generator.residual_blocks()[0].mask1
                mask.freeze(torch.arange(mask.channels) >= channels_to_prune(mask.channels, 0.7))
                trainer.ema.follow_masks(trainer.generator)
    assert asked[0]._compiled_call_impl is not None
    plain.load_state_dict(compiled.state_dict())
    assert slim(decide_masks(compiled.ema.generator)).blocks[0]._compiled_call_impl is None


# ------------------------------------------------------------ memory


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_allocators_without_the_options_are_left_alone(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # as with musl
    monkeypatch.setattr(memory.sys, "platform", platform)
    assert not memory.keep_freed()
