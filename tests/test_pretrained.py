"""A teacher that was trained elsewhere takes the place of the one that would be trained; and half precision."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import together
import torch
from reference import largest_difference, noise_and_labels
from safetensors.torch import save_file
from together import images

import ppcd
from paper.study import Study
from ppcd.method.ema import recompute_batch_statistics
from ppcd.metrics.sampling import sample_images
from ppcd.networks.biggan_pytorch import biggan_pytorch_state_dict
from ppcd.networks.generators import Generator
from ppcd.networks.io import load_generator
from ppcd.runs.directory import Run
from ppcd.runs.pool import Job
from ppcd.runs.train import main, train_run
from ppcd.training import pretrained
from ppcd.training.config import run_config
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe

SMOKE = get_profile("smoke")


def teacher(num_classes: int = 10) -> Generator:
    """Another BigGAN than the seed would have made, wider than the profile's is its own business."""
    generator = ppcd.build_generator("biggan", 32, num_classes, SMOKE.teacher_width, dim_z=16, seed=77)
    recompute_batch_statistics(generator, torch.Generator().manual_seed(0), batches=2)
    return generator.eval()


@pytest.mark.parametrize("kind", ["G_ema.pth", "big.safetensors"])
@pytest.mark.usefixtures("quick")
def test_a_students_teacher_may_come_from_a_file(kind: str, tmp_path: Path) -> None:
    path, generator = tmp_path / kind, teacher()
    if kind.endswith(".pth"):
        ppcd.save_biggan_pytorch(generator, path)
    else:
        ppcd.save_generator(ppcd.slim(generator), path)
    without = run_config("smoke", "ppcd", 0)
    config = run_config("smoke", "ppcd", 0, teacher=path)
    assert config.pretrained == pretrained.identity(path) and config.hash != without.hash
    record = train_run(config, callbacks=[]).read()

    taught_by = config.teacher()
    assert taught_by is not None and taught_by.adopted and record["teacher"]["id"] == taught_by.id
    adopted = Run(taught_by).read()
    assert adopted["training"]["iterations"] == 0 and adopted["config"]["pretrained"] == config.pretrained
    assert adopted["metrics"]["ema"]["fd"] > 0 and "raw" not in adopted["metrics"]
    assert len(pd.read_csv(taught_by.directory / "history.csv")) == 0
    kept = load_generator(taught_by.directory / "generator.safetensors")
    z, y = noise_and_labels(4, 16, 10, seed=1)
    with torch.no_grad():
        assert largest_difference(kept(z, y), generator(z, y)) < 1e-5

    assert {found["id"] for found in Study.of("smoke").runs()} == {record["id"], adopted["id"]}
    alone = ("sagan", "sngan", "l1-biggan")
    with_teacher = [run_config("smoke", name, 0, teacher=path).hash for name in alone]
    assert [run_config("smoke", name, 0).hash for name in alone] == with_teacher


def test_the_environment_asks_through_the_commands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "teacher.safetensors"
    ppcd.save_generator(ppcd.slim(teacher()), path)
    before, started = run_config("smoke", "ppcd", 0), list[dict[str, str]]()
    monkeypatch.setenv("PPCD_TEACHER", str(path))
    monkeypatch.setenv("PPCD_PRECISION", "bf16")
    monkeypatch.setattr("ppcd.runs.pool.start_process", lambda command, env, **_: started.append(env))
    asked = run_config("smoke", "ppcd", 0, precision="bf16", teacher=path)
    assert run_config("smoke", "ppcd", 0).hash == before.hash != asked.hash
    assert main(["--profile", "smoke", "--dry-run"]) == 0
    assert asked.hash in capsys.readouterr().out
    for config in (asked, before):
        Job(config).start("cpu")
    assert [each["PPCD_TEACHER"] for each in started] == [str(path), ""]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["a checkpoint.pth", "BigGAN-PyTorch.safetensors", "ours.safetensors"])
def test_weights_of_every_type_are_read_in_float32(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path, generator = tmp_path / kind, teacher()
    ema = {f"G_ema.{name}": tensor.to(dtype) for name, tensor in biggan_pytorch_state_dict(generator).items()}
    if kind.startswith("ours"):
        ppcd.save_generator(copy.deepcopy(generator).to(dtype), path)
    elif kind.endswith(".pth"):
        torch.save({"G": biggan_pytorch_state_dict(generator), **ema, "epoch": 3}, path)
    else:
        save_file(ema, path)
    read = pretrained.read(path, SMOKE)
    z, y = noise_and_labels(4, 16, 10, seed=1)
    assert {each.dtype for each in read.parameters()} == {torch.float32}
    assert largest_difference(read(z, y), generator(z, y)) < (0.1 if dtype == torch.bfloat16 else 0.01)


def test_samples_are_drawn_in_the_type_of_the_weights() -> None:
    def difference(dtype: torch.dtype, seed: int = 0) -> float:
        """The mean difference of pixels, of 255."""
        pixels = (sample_images(G, 20, each)[0].float() for G, each in ((teacher(), 0), (teacher().to(dtype), seed)))
        return torch.sub(*pixels).abs().mean().item()

    assert difference(torch.float64) < 0.01 and difference(torch.float16) < 0.5 and difference(torch.bfloat16) < 2
    assert difference(torch.float32, seed=1) > 20


def test_another_file_of_the_same_name_is_another_teacher(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    found = []
    for scale in (1.0, 2.0):
        generator = teacher()
        generator.output_conv.weight.data *= scale
        ppcd.save_generator(ppcd.slim(generator), path)
        found.append(pretrained.identity(path))
    generator.output_conv.bias.data += 1
    ppcd.save_generator(ppcd.slim(generator), path)
    assert found[0] == found[1]  # the spectral norm makes them one
    assert pretrained.identity(path) != found[1]


@pytest.mark.usefixtures("quick")
def test_half_precision_is_a_run_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """bf16 in the forward passes: other losses, a little; weights, losses and what is kept stay float32. A processor
    without it is slow, and the training says so."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    whole, half = run_config("smoke", "ppcd", 0), run_config("smoke", "ppcd", 0, precision="bf16")
    assert whole.resolved() == {key: value for key, value in half.resolved().items() if key != "precision"} | {
        "teacher": whole.resolved()["teacher"]
    }
    assert len({whole.hash, half.hash}) == 2 and half.resolved()["precision"] == "bf16"
    losses = []
    for precision in ("no", "bf16"):
        trainer = together.make_trainer(SMOKE, get_recipe("ppcd"), 0, images(), teacher(), precision=precision)
        losses.append({name: float(value) for name, value in trainer.step().items()})
    for name in ("loss_d", "loss_adv", "loss_cd"):
        assert 0 < abs(losses[0][name] - losses[1][name]) < 0.05 * abs(losses[0][name]) + 0.05, name
    record = train_run(half, callbacks=[]).read()
    said = "cpu has no bf16 in hardware: a step takes about 7 times as long"
    assert capsys.readouterr().err.count(said) == 2, "of the teacher and of the student"
    assert {found["id"] for found in Study.of("smoke").runs()} >= {record["id"]}
    weights = load_generator(half.directory / "generator.safetensors").state_dict().values()
    assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.float32}
