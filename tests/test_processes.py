"""Several processes that train one run: the same training as one process, over gloo and as a command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import together
import torch
import torch.nn.functional as F
from reference import largest_difference, noise_and_labels, refused
from torch import Tensor, nn

from ppcd.networks import layers
from ppcd.networks.io import load_generator
from ppcd.networks.layers import SharedBatch, shared_batch
from ppcd.runs.train import train_run
from ppcd.training import distributed as processes
from ppcd.training.config import run_config
from ppcd.training.distributed import ALONE, Processes, check_precision, check_share, join, launched, launcher

TESTS = Path(__file__).resolve().parent
TOLERANCE = 1e-7  # of a number in double precision, after a dozen steps; times 1 + the largest of its tensor


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What one process made, and what each of two made together."""
    folder = tmp_path_factory.mktemp("together")
    command = [*launcher(2)[:-1], str(TESTS / "together.py"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as both:
        torch.set_default_dtype(torch.float64)
        try:
            alone = together.train()
        finally:
            torch.set_default_dtype(torch.float32)
        said, _ = both.communicate(timeout=240)
    assert both.returncode == 0, said
    return alone, [torch.load(folder / f"{index}.pt", weights_only=True) for index in range(2)]


@pytest.mark.parametrize("recipe", together.RECIPES)
def test_two_processes_train_as_one_with_the_same_batch_and_accumulations(
    trained: tuple[dict[str, Any], list[dict[str, Any]]], recipe: str
) -> None:
    """Weights, batch statistics, spectral norms, optimisers, average, noise, data order, losses of every step."""
    alone, both = trained
    expected, first, second = (dict(together.leaves(each[recipe])) for each in (alone, *both))
    assert expected.keys() == first.keys() and len(expected) > 200
    assert all(torch.equal(first[name], second[name]) for name in first if not name.endswith("seconds"))
    differences = {
        name: largest_difference(value.double(), first[name].double()) / (1 + float(value.double().abs().max()))
        for name, value in expected.items()
        if value.numel()
    }
    assert max(differences.values()) < TOLERANCE, max(differences, key=lambda name: differences[name])
    assert any(value > 0 for value in differences.values())  # the broken case: each did the whole work alone


def test_both_take_the_same_decisions(trained: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
    """Masks freeze at the same step. Of sub-networks the second process alone would take the widest, where the first
    takes the narrowest: the first one chooses."""
    alone, both = trained
    frozen = [[layer["frozen_at"] for layer in each["ppcd"]["masks"]] for each in (alone, *both)]
    assert frozen[0] == frozen[1] == frozen[2] and None not in frozen[0] and len(frozen[0]) == 6
    kept = [[layer["kept"] for layer in each["distill-nas"]["masks"]] for each in (alone, *both)]
    assert kept[0] == kept[1] == kept[2]


def test_a_run_of_two_processes_is_the_run_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user types it: the teacher first, then the student; float32, so images may differ a little."""
    monkeypatch.setenv("PPCD_RESULTS", str(tmp_path / "two"))
    command = [*launcher(2), "ppcd", "train", "--profile", "smoke", "--recipe", "ppcd", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("complete; see") == 1 and done.stderr.count("needs its teacher") == 1
    config = run_config("smoke", "ppcd", 0)
    pair = json.loads((config.directory / "run.json").read_text())
    histories, generators = [pd.read_csv(config.directory / "history.csv")], [config.directory]
    assert pair["provenance"]["processes"] == 2
    monkeypatch.setenv("PPCD_RESULTS", str(tmp_path / "one"))
    single = train_run(config, callbacks=[]).read()
    histories.append(pd.read_csv(config.directory / "history.csv"))
    generators.append(config.directory)
    assert single["id"] == pair["id"] and single["masks"] == pair["masks"]
    noticed = [[(each["kind"], each["iteration"]) for each in record["warnings"]] for record in (pair, single)]
    assert noticed[0] == noticed[1], "the first process watches, and says it once"
    losses = [history.filter(like="loss_") for history in histories]
    assert float((losses[0] - losses[1]).abs().max().max()) < 1e-2
    z, y = noise_and_labels(8, 16, 10, seed=0)
    with torch.no_grad():
        images = [load_generator(each / "generator.safetensors")(z, y) for each in generators]
    assert largest_difference(*images) < 1e-2


# ------------------------------------------------------------ the parts


def test_a_shared_batch_norm_is_torchs_over_the_whole_batch() -> None:
    """One process that shares with itself: outputs, running statistics and gradients."""
    generator = torch.Generator().manual_seed(0)
    x = (3 + 2 * torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    weights = torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64)
    found = []
    for shared in (None, SharedBatch(lambda tensor: tensor, 1)):
        mean, var = torch.zeros(4).double(), torch.ones(4).double()
        with shared_batch(shared):
            y = layers.batch_norm(x, mean, var, True, 0.1, 1e-5)
        (gradient,) = torch.autograd.grad((y * weights).sum(), x)
        found.append((y, mean, var, gradient))
    for expected, got in zip(*found, strict=True):
        assert largest_difference(expected, got) < 1e-12
    with shared_batch(SharedBatch(lambda tensor: 2 * tensor, 2)):  # at evaluation nothing is shared
        y = layers.batch_norm(x, mean, var, False, 0.1, 1e-5)
    assert torch.equal(y, F.batch_norm(x, mean, var, None, None, False, 0.1, 1e-5))


class Accelerator:
    """Of the first of several processes; `others` is what the others give to `gather`."""

    def __init__(self, index: int, count: int, others: list[float] | None = None) -> None:
        self.process_index, self.num_processes, self.others = index, count, others

    def gather(self, tensor: Tensor) -> Tensor:
        return torch.cat([tensor, torch.tensor([self.others], dtype=tensor.dtype)])


def test_every_process_takes_its_part() -> None:
    batch = torch.arange(12)
    parts = [Processes(Accelerator(index, 3)).part(batch) for index in range(3)]
    assert torch.equal(torch.cat(parts), batch) and {len(part) for part in parts} == {4}
    assert torch.equal(ALONE.part(batch), batch) and ALONE.share == (0, 1) and ALONE.is_main
    assert not Processes(Accelerator(1, 3)).is_main
    with refused("batch of 12", "5 processes", "1, 2, 3, 4, 6, 12"):
        check_share(12, 5)
    check_share(12, 4)


def test_processes_that_differ_are_stopped() -> None:
    networks = {"generator": nn.BatchNorm2d(3), "discriminator": nn.PReLU(2)}  # sums 6 and 0.5
    Processes(Accelerator(0, 2, [6.0, 0.5])).check_same(networks)
    with refused("2 processes", "on the discriminator:", "last checkpoint"):
        Processes(Accelerator(0, 2, [6.0, 1.0])).check_same(networks)
    ALONE.check_same(networks)


def test_what_cannot_be_launched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("fp16", "bf16"):
        check_precision("fp16")
    with refused("unknown precision 'half'", "no, bf16"):
        check_precision("half")
    with refused("at least one process", "0"):
        launcher(0)
    assert launcher(1) == [sys.executable, "-m"]
    assert not launched() and join("cpu") == (ALONE, "cpu", "no")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with refused("cpu or cuda", "mps"):
        join("mps")
    monkeypatch.setattr(processes.torch.cuda, "is_available", lambda: False)
    with refused("'cuda'", "torch sees none"):
        join("cuda")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with refused("fp16"):
        join("cpu")
