"""`ppcd.Compressor` inside of somebody's own training."""

import copy
import os
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.multiprocessing
from foreign import EmbeddingNorm, Toy
from test_prunable import BRANCHES, inputs, trained
from torch import Tensor, nn

import ppcd
from ppcd.base import PpcdError
from ppcd.export.onnx import export_onnx
from ppcd.method import losses
from ppcd.method.compare import own_forward
from ppcd.method.masks import masks_of
from ppcd.metrics.evaluate import check_fit

STEPS = 40


def pair() -> tuple[nn.Module, nn.Module]:
    """A student with masks, and its teacher."""
    torch.manual_seed(0)
    teacher = trained(Toy(), *inputs())
    return ppcd.prunable(copy.deepcopy(teacher), BRANCHES, inputs=inputs()), teacher


def compression(**options: Any) -> tuple[nn.Module, Any]:
    """A student, and the Compressor of it and its teacher."""
    student, teacher = pair()
    return student, ppcd.Compressor(student, teacher, iterations=STEPS, **options)


def batch(iteration: int, size: int = 6) -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(iteration)
    return torch.randn(size, 6, generator=noise), torch.randint(3, (size,), generator=noise)


def train(
    student: nn.Module, compressor: Any, first: int = 0, last: int = STEPS, optimizer: Any = None, parts: int = 1,
    autocast: torch.dtype | None = None, backward: Callable[[Tensor], None] = Tensor.backward,
) -> Any:  # fmt: skip
    """The user's loop: a loss of the images, L_CD, and Adam with weight decay over all parameters."""
    student.train()
    optimizer = optimizer or torch.optim.AdamW(student.parameters(), 1e-3, weight_decay=0.1)
    for iteration in range(first, last):
        with torch.no_grad():
            student(*batch(iteration + 1000))  # the discriminator's step
        optimizer.zero_grad()
        for part in range(parts):
            z, y = batch(iteration + 500 * part)
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                loss = (student(z, y) - 0.3).square().mean() + compressor.distillation(z, y)
            backward(loss / parts)
        optimizer.step()
        compressor.step()
    return optimizer


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in network.state_dict().items() if isinstance(each, Tensor)}


def test_a_whole_compression_and_an_average_that_takes_the_masks_over() -> None:
    student, teacher = pair()
    before, average = weights(teacher), copy.deepcopy(student)
    compressor = ppcd.Compressor(student, teacher, alpha=0.7, iterations=STEPS)
    train(student, compressor)
    assert [(layer.channels, layer.kept, layer.goal) for layer in compressor.report().layers] == [
        (10, 2, 2), (8, 2, 2), (10, 2, 2), (8, 2, 2)
    ]  # fmt: skip
    compressor.copy_masks(average)
    for network in (student, average):
        small = ppcd.slim(network)
        torch.testing.assert_close(small(*inputs()), network.eval()(*inputs()), rtol=0, atol=1e-4)
        assert small.blocks[0].conv1.out_channels == 2 and small.blocks[1].bn2.num_features == 2
        assert sum(p.numel() for p in small.parameters()) == compressor.report().sizes["at alpha"][0]
    assert all(torch.equal(weights(teacher)[name], each) for name, each in before.items())


def test_the_optimiser_does_not_move_the_masks() -> None:
    student, teacher = pair()
    starts = {name: mask.weight.clone() for name, mask in masks_of(student).items()}
    train(student, ppcd.Compressor(student, teacher, iterations=1000), last=3)
    assert all((mask.weight == starts[name]).all() for name, mask in masks_of(student).items())


def test_distillation_is_that_of_the_equations() -> None:
    student, teacher = pair()
    compressor = ppcd.Compressor(student, teacher, normalisation="none", iterations=STEPS)
    seen: dict[str, Tensor] = {}
    for network, called in ((student, "student"), (teacher, "teacher")):
        network.blocks[1].register_forward_hook(lambda m, a, out, called=called: seen.update({called: out}))
    student.train()
    z, y = batch(0)
    student(z, y)
    found = compressor.distillation(z, y)
    expected = losses.class_aware_distillation([seen["teacher"]], [seen["student"]])
    torch.testing.assert_close(found, expected)
    assert found > 0 and found.requires_grad


@pytest.mark.parametrize("normalisation", ["none", "both"])
def test_a_student_equal_to_its_teacher_has_no_distance(normalisation: str) -> None:
    student, compressor = compression(normalisation=normalisation)
    student.eval()
    assert compressor.distillation(*batch(0)) < 1e-5


def test_teacher_features_are_under_the_class_conditional_norm_that_follows() -> None:
    """Toy has three blocks here: after the second the third's norm follows, after the third statistics of classes."""
    teacher = Toy()
    teacher.blocks.append(copy.deepcopy(teacher.blocks[0]))
    trained(teacher, *inputs())
    branches = {f"blocks.{i}": BRANCHES["blocks.0"] for i in range(3)}
    student = ppcd.prunable(copy.deepcopy(teacher), branches, inputs=inputs())
    compressor = ppcd.Compressor(student, teacher, iterations=STEPS)
    outputs: list[Tensor] = []
    for block in list(teacher.blocks)[1:]:
        block.register_forward_hook(lambda m, a, out: outputs.append(out))
    z, y = batch(0)
    found = compressor.guide.teacher.features(z, y)
    torch.testing.assert_close(found[0], teacher.blocks[2].bn1(outputs[0], y))
    spread = torch.stack([found[1][y == label].mean((0, 2, 3)) for label in y.unique()])
    assert spread.abs().max() < 1.5


def test_labels_as_one_hot_rows_and_no_labels() -> None:
    class OneHot(Toy):
        def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
            return super().forward(noise, labels.argmax(1))

    class Unconditional(Toy):
        def forward(self, noise: Tensor) -> Tensor:
            return super().forward(noise, torch.zeros(len(noise), dtype=torch.long))

    z, y = batch(0)
    for kind, given in ((OneHot, (z, nn.functional.one_hot(y, 3).float())), (Unconditional, (z,))):
        teacher = kind()
        student = ppcd.prunable(copy.deepcopy(teacher), BRANCHES, inputs=given)
        compressor = ppcd.Compressor(student, teacher, iterations=STEPS)
        assert 0 <= compressor.distillation(*given) < 1.5


def test_a_resumed_training_is_the_same() -> None:
    straight, compressor = compression()
    train(straight, compressor)
    student, compressor = compression()
    optimizer = train(student, compressor, last=17)
    kept = copy.deepcopy((student.state_dict(), optimizer.state_dict(), compressor.state_dict()))
    student, compressor = compression()
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3, weight_decay=0.1)
    for each, state in zip((student, optimizer, compressor), kept, strict=True):
        each.load_state_dict(state)
    train(student, compressor, first=17, optimizer=optimizer)
    assert all(torch.equal(weights(student)[name], each) for name, each in weights(straight).items())


def test_autocast_and_accumulated_gradients() -> None:
    student, compressor = compression()
    train(student, compressor, parts=2, autocast=torch.bfloat16)
    assert all(mask.frozen for mask in masks_of(student).values())
    assert masks_of(ppcd.slim(student)) == {}


def scaled(init_scale: float, autocast: torch.dtype | None = None) -> tuple[nn.Module, float]:
    """A student trained under a GradScaler, and the scale in the end."""
    student, compressor = compression()
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale)
    adam = torch.optim.Adam(student.parameters(), 1e-3)
    steps = SimpleNamespace(zero_grad=adam.zero_grad, step=lambda: (scaler.step(adam), scaler.update()))
    train(student, compressor, 0, STEPS, steps, 1, autocast, lambda loss: scaler.scale(loss).backward())
    assert all(each.isfinite().all() for each in weights(student).values())
    assert masks_of(ppcd.slim(student)) == {}
    return student, scaler.get_scale()


def test_a_constant_scale_changes_nothing_and_skipped_steps_are_no_harm() -> None:
    plain, large = (weights(scaled(scale)[0]) for scale in (1.0, 2.0**10))
    for name, each in plain.items():
        torch.testing.assert_close(large[name], each)
    _, scale = scaled(2.0**30, torch.float16)
    assert scale < 2.0**30


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accelerate(precision: str) -> None:
    accelerate = pytest.importorskip("accelerate")
    student, teacher = pair()
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision=precision)
    try:
        prepared, optimizer = accelerator.prepare(student, torch.optim.AdamW(student.parameters(), 1e-3))
        compressor = ppcd.Compressor(prepared, teacher, iterations=STEPS)
        train(prepared, compressor, optimizer=optimizer, backward=accelerator.backward)
        small = ppcd.slim(prepared)
    finally:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    assert type(small) is Toy and not {"forward", "_original_forward"} & set(vars(small))
    with own_forward(student):
        torch.testing.assert_close(small(*inputs()), student.eval()(*inputs()), rtol=0, atol=1e-5)


def _one_of_two(rank: int, port: int, results: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo")
    student, teacher = pair()
    wrapped = nn.parallel.DistributedDataParallel(student, broadcast_buffers=False)
    compressor = ppcd.Compressor(wrapped, teacher, iterations=STEPS)
    train(wrapped, compressor, 100 * rank, 100 * rank + STEPS)
    results[rank] = {name: mask.kept.tolist() for name, mask in masks_of(student).items()}
    assert masks_of(ppcd.slim(wrapped)) == {}
    torch.distributed.destroy_process_group()


def test_two_processes_close_the_same_channels() -> None:
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        port = 20_000 + os.getpid() % 20_000
        torch.multiprocessing.spawn(_one_of_two, (port, results), nprocs=2)
        assert results[0] == results[1] and all(sum(kept) == 2 for kept in results[0].values())


class PixelNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().mean(1, keepdim=True).sqrt()


class Mean(EmbeddingNorm):
    """Reads like a conditional norm, and mixes the channels."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x - x.mean(1, keepdim=True), y)


class Padded(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


def changed(**layers: nn.Module) -> Toy:
    """A Toy with other layers in its first block."""
    toy = Toy()
    for name, layer in layers.items():
        setattr(toy.blocks[0], name, layer)
    return toy


def mixing() -> Toy:
    return changed(bn2=Mean(10, 3))


def first(*names: Any, **options: Any) -> dict[str, Any]:
    return {"blocks.0": ppcd.Branch(*names, **options)}


def shared() -> Toy:
    toy = Toy()
    toy.blocks[1].conv1 = toy.blocks[0].conv1
    return toy


def student() -> nn.Module:
    return pair()[0]


def compress(*args: Any, **options: Any) -> Any:
    return ppcd.Compressor(*args, **options)


GOOD = first("conv1", "bn2", "conv2")
Z, Y = batch(0)

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "not a module": (lambda: ppcd.prunable("teacher.pth"), "takes a torch.nn.Module; got str"),
    "unknown block": (lambda: ppcd.prunable(Toy(), {"block.0": GOOD["blocks.0"]}), "did you mean 'blocks.0'"),
    "unknown layer": (lambda: ppcd.prunable(Toy(), first("conv_1", "bn2", "conv2")), "no module 'conv_1'; did you"),
    "no branch": (lambda: ppcd.prunable(Toy(), {"blocks.0": ("conv1", "bn2", "conv2")}), "expected ppcd.Branch"),
    "no convolution": (lambda: ppcd.prunable(Toy(), first("bn1", "bn2", "conv2")), "where a Branch has a 2D conv"),
    "the other norm": (lambda: ppcd.prunable(Toy(), first("conv1", "bn1", "conv2")), "has 8 channels, conv1 before"),
    "not in a row": (lambda: ppcd.prunable(Toy(), first("conv1", "bn2", "skip")), "are not the two convolutions"),
    "one layer twice": (lambda: ppcd.prunable(Toy(), first("conv1", "bn2", "conv1")), "are the same layer"),
    "a shared layer": (lambda: ppcd.prunable(shared(), GOOD), "is the same layer as"),
    "groups": (
        lambda: ppcd.prunable(changed(conv1=nn.Conv2d(8, 10, 3, padding=1, groups=2)), GOOD), "has 2 groups"
    ),
    "group norm": (lambda: ppcd.prunable(changed(bn2=nn.GroupNorm(2, 10)), GOOD), "depends on the others"),
    "unknown norm": (lambda: ppcd.prunable(changed(bn2=PixelNorm()), GOOD), "ppcd.register_norm\\(PixelNorm, prune"),
    "a norm that mixes": (lambda: ppcd.prunable(mixing(), GOOD, inputs=(Z, Y)), "at blocks.0.bn2"),
    "a norm that mixes, inputs unknown until then": (
        lambda: (lambda t: compress(ppcd.prunable(copy.deepcopy(t), BRANCHES), t).distillation(Z, Y))(mixing()),
        "first at blocks"
    ),
    "a layer that does more": (
        lambda: ppcd.prunable(changed(conv2=Padded(10, 8, 3, padding=1)), GOOD, inputs=(Z, Y)), "more than its weight"
    ),
    "nothing named": (lambda: ppcd.prunable(Toy(), {}), "no block was named"),
    "not to be found": (lambda: ppcd.prunable(Toy()), "give inputs=\\(z, y\\)"),
    "no such inputs": (lambda: ppcd.prunable(Toy(), inputs=(Z[:, :3], Y)), "cannot be called with these inputs"),
    "a block without branch": (lambda: ppcd.prunable(Toy(), ["out"], inputs=(Z, Y)), "out has 1 convolutions"),
    "pruned already": (lambda: ppcd.prunable(student(), GOOD), "has masks already"),
    "register no type": (lambda: ppcd.register_norm("PixelNorm", len), "takes a type of module"),
    "no masks": (lambda: compress(Toy(), Toy()), "has no masks: student = ppcd.prunable"),
    "one network": (lambda: (lambda t: compress(ppcd.prunable(t, GOOD), t))(Toy()), "the teacher has masks"),
    "no teacher": (lambda: compress(student()).distillation(Z, Y), "distillation needs a teacher"),
    "a teacher's file": (lambda: compress(student(), "teacher.pth"), "the teacher is a torch.nn.Module"),
    "alpha": (lambda: compress(student(), Toy(), alpha=70), "alpha must be a number in \\(0, 1\\)"),
    "iterations": (lambda: compress(student(), Toy(), iterations=0), "iterations must be a positive integer"),
    "no such block of the teacher": (lambda: compress(student(), nn.Linear(1, 1)), "has no block 'blocks.1'"),
    "blocks left out": (lambda: compress(student(), Toy(), teacher_blocks={}), "does not say which block"),
    "too many blocks": (lambda: compress(student(), Toy(), teacher_blocks=["a", "b", "c"]), "names 3 blocks"),
    "normalisation": (lambda: compress(student(), Toy(), normalisation="batch"), "unknown normalisation 'batch'"),
    "other sizes": (
        lambda: compress(student(), Toy(), teacher_blocks=["blocks.0"]).distillation(Z, Y), "16x16, the teacher's 8x8"
    ),
    "no inputs": (lambda: compress(student(), Toy()).distillation(), "what the student is called with"),
    "no backward": (lambda: compress(student(), Toy()).step(), "step\\(\\) comes after backward"),
    "another state": (lambda: compress(student()).load_state_dict({"alpha": 1}), "no state of a Compressor"),
    "state of another alpha": (
        lambda: compress(student(), alpha=0.5).load_state_dict(compress(student()).state_dict()), "is of alpha 0.7"
    ),
    "save another's": (lambda: ppcd.save_generator(Toy(), "toy.safetensors"), "got Toy: keep its state_dict"),
    "export without inputs": (lambda: export_onnx(Toy(), "toy.onnx"), "not known how Toy is called: give inputs="),
    "export masks": (lambda: export_onnx(student(), "toy.onnx"), "export ppcd.slim\\(generator\\)"),
    "measure another's": (lambda: check_fit(Toy(), None), "Toy lacks dim_z, num_classes, resolution: set them"),
    "count another's": (lambda: ppcd.complexity(Toy()), "Toy has no dim_z: set"),
    "weights of another network": (lambda: ppcd.load_slim(Toy(), {"x.transition.weight": Z}), "which Toy has not"),
    "slim without branches": (lambda: ppcd.slim(Toy()), "ppcd.prunable puts them into"),
    "slim before it is decided": (lambda: ppcd.slim(student()), "has not frozen"),
    "slim no module": (lambda: ppcd.slim({"weight": Z}), "slim takes a torch.nn.Module; got dict"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses_are_one_line(case: str) -> None:
    use, said = WRONG[case]
    with pytest.raises(PpcdError, match=said) as caught:
        use()
    assert "\n" not in str(caught.value)


def test_iterations_used_up_and_losses_that_are_not_finite() -> None:
    student, compressor = compression()
    train(student, compressor)
    with pytest.raises(PpcdError, match=re.escape(f"all {STEPS} iterations are done")):
        compressor.step()
    student, compressor = compression()
    student.blocks[1].skip.weight.data.fill_(torch.inf)
    compressor.distillation(*batch(0)).backward()
    with pytest.raises(PpcdError, match="L_CD is not finite"):
        compressor.step()


def test_a_norm_of_ones_own_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        def __init__(self, scales: list[float]) -> None:
            super().__init__()
            self.scales = scales

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x * torch.tensor(self.scales)[:, None, None]

    ppcd.register_norm(Scaled, lambda norm, kept: Scaled([norm.scales[i] for i in kept.tolist()]))
    network = changed(bn2=Scaled([0.1 * i + 0.1 for i in range(10)]))
    student = ppcd.prunable(network, GOOD, inputs=inputs())
    for mask in masks_of(student).values():
        mask.freeze(torch.arange(mask.channels) % 3 == 0)
    assert ppcd.slim(student).blocks[0].bn2.scales == pytest.approx([0.1, 0.4, 0.7, 1.0])
