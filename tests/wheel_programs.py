"""What a user does with the library alone: run by tests/test_wheel.py and `make test-wheel`, in environments without
extras and without pytest."""

import copy
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from foreign import Toy
from torch import nn

import ppcd


def compress(iterations: int = 24) -> None:
    """A toy generator of somebody else: pruned and distilled in its training, slimmed, and loaded again."""
    torch.manual_seed(0)
    z, y = torch.randn(6, 6), torch.arange(6) % 3
    teacher = Toy("new spectral norm").eval()
    student = ppcd.prunable(copy.deepcopy(teacher), inputs=(z, y))
    torch.testing.assert_close(student.eval()(z, y), teacher(z, y), rtol=0, atol=1e-5)
    compressor = ppcd.Compressor(student, teacher, alpha=0.7, iterations=iterations)
    discriminator = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 1))
    of_g, of_d = torch.optim.Adam(student.parameters(), 1e-3), torch.optim.Adam(discriminator.parameters(), 1e-3)
    student.train()
    for _ in range(iterations):
        real, noise = torch.rand(6, 3, 16, 16), torch.randn(6, 6)
        fakes = student(noise, y)
        loss = F.relu(1 - discriminator(real)).mean() + F.relu(1 + discriminator(fakes.detach())).mean()
        of_d.zero_grad()
        loss.backward()
        of_d.step()
        loss = -discriminator(fakes).mean() + compressor.distillation(noise, y)
        of_g.zero_grad()
        loss.backward()
        of_g.step()
        compressor.step()
    assert all(layer.kept == layer.goal < layer.channels for layer in compressor.report().layers)
    small = ppcd.slim(student.eval())
    torch.testing.assert_close(small(z, y), student(z, y), rtol=0, atol=1e-4)
    again = ppcd.load_slim(Toy("new spectral norm"), small.state_dict()).eval()
    torch.testing.assert_close(again(z, y), small(z, y), rtol=0, atol=0)
    assert sum(each.numel() for each in small.parameters()) < sum(each.numel() for each in teacher.parameters())


def keep_our_own() -> None:
    """A generator of the library, slimmed, written as safetensors and read again."""
    own = ppcd.build_generator("biggan", 32, 10, width=2, masked=True)
    z, y = torch.randn(3, own.dim_z), torch.arange(3)
    for mask in own.masks().values():
        mask.freeze(torch.arange(mask.channels) < 1)
    small = ppcd.slim(own.eval())
    with tempfile.TemporaryDirectory() as folder:
        ppcd.save_generator(small, Path(folder) / "g.safetensors")
        again = ppcd.load_generator(Path(folder) / "g.safetensors")
    torch.testing.assert_close(again(z, y), own(z, y), rtol=0, atol=1e-4)


def measure() -> None:
    """Each kind of measurement of `python -m ppcd gpu-check`, at a tiny size."""
    from ppcd.runs.gpu_check import measurements

    kinds = {each.function: each for each in reversed(measurements(tiny=True)) if not each.on_gpu}
    for each in kinds.values():
        found = each.function("cpu", **each.settings)
        assert all(one.get("ok", True) for one in found), found


def train(results: str) -> None:
    """From the images in PPCD_DATA to a slim generator: teacher and PPCD-GAN in the loop, with checkpoints."""
    from ppcd.baselines import trainer_class
    from ppcd.method.ema import finish_generator
    from ppcd.networks.generators import Generator
    from ppcd.runs.callbacks import HistoryLogger, ProgressBar
    from ppcd.runs.loop import fit
    from ppcd.training.config import run_config
    from ppcd.training.profiles import get_profile

    profile = replace(get_profile("smoke"), name="own", dataset="cifar10", images_per_class=None, batch_size=4)
    profile = replace(profile, num_classes=2, iterations=12, teacher_iterations=2)
    generator: Generator | None = None
    for recipe in ("biggan", "ppcd"):
        config, folder = run_config(profile, recipe, 0), Path(results) / recipe
        folder.mkdir()
        trainer = trainer_class(config.recipe)(config, config.load_data(), generator)
        fit(trainer, folder / "checkpoint.pt", [ProgressBar(recipe), HistoryLogger(folder, 4)])
        generator = finish_generator(trainer.ema.generator, 0)
        ppcd.save_generator(generator, folder / "generator.safetensors")
    assert generator is not None and generator.config.hidden is not None


if __name__ == "__main__":
    torch.set_num_threads(1)
    if arguments := sys.argv[1:]:
        train(arguments[0])
    else:
        compress()
        keep_our_own()
        measure()
    print(f"torch {torch.__version__}, ppcd of {Path(ppcd.__file__).parent.parent.name}")
