"""One run from nothing to its run directory: `python -m ppcd train --profile mnist --recipe ppcd --seed 0`."""

import argparse
import io
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch

from ppcd import paths
from ppcd.base import PpcdError, TrainingStopped, named_generator, needs
from ppcd.baselines import trainer_class
from ppcd.commands import run_options
from ppcd.data.sets import ImageSet
from ppcd.errors import ArgumentParser, run_command
from ppcd.method.ema import decide_masks, finish_generator
from ppcd.method.slim import slim
from ppcd.metrics.complexity import CONVENTION, block_params, complexity
from ppcd.metrics.runtime import seconds_per_batch
from ppcd.networks import io as checkpoints
from ppcd.networks.compute import has_bf16
from ppcd.networks.generators import Generator
from ppcd.progress import say
from ppcd.records import GENERATOR
from ppcd.runs import memory, provenance
from ppcd.runs.callbacks import Callback, HistoryLogger, ProgressBar, ProgressFile
from ppcd.runs.copied import reuse_reference
from ppcd.runs.directory import CHECKPOINT, MASK_FILE, Run
from ppcd.runs.health import HealthCheck
from ppcd.runs.history import HISTORY_COLUMNS, thin_masks
from ppcd.runs.loop import fit
from ppcd.stopping import describe_stop
from ppcd.training import distributed as processes
from ppcd.training import pretrained
from ppcd.training.config import RunConfig, asked_profile, run_config
from ppcd.training.distributed import ALONE, Processes, check_share
from ppcd.training.recipes import RECIPES, TEACHER

HISTORY_ROWS = 250  # rows of history.csv over a whole training


def resolve_device(name: str) -> str:
    """ "auto", "cpu", "cuda" (or one by its number, "cuda:1") or "mps" as a device that is there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch("(cpu|cuda)(:[0-9]+)?|mps", name):  # accelerate numbers CPUs as well
        raise PpcdError(f"unknown device {name!r}; expected auto, cpu, cuda or mps")
    kind, _, number = name.partition(":")
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = cuda if kind == "cuda" else int(torch.backends.mps.is_available())
    if kind != "cpu" and int(number or 0) >= there:
        sees = f"{there or 'none'} on this machine"
        raise PpcdError(f"device {name!r} was asked for, but torch sees {sees}; take cpu or auto")
    return name


def train_run(
    config: RunConfig, *, device: str = "cpu", callbacks: Sequence[Callback] | None = None, together: Processes = ALONE
) -> Run:
    """Train, slim, evaluate and keep one run. A complete run is returned as it is; a partial one goes on.

    Several processes train together where each of them calls this with the same configuration; what comes after
    the training the first one does alone.

    Args:
        config: what to train; its teacher is trained first if it is not there.
        device: "auto", "cpu", "cuda" or "mps".
        callbacks: None shows a progress bar. The history is written in any case. Where one stops the training
            (`TrainingState.stop`), the run stays partial.

    Raises:
        PpcdError: with one line, for whatever cannot be done.
        Stopped: Ctrl-C or SIGTERM; called again, it goes on from the last checkpoint.
    """
    device, run, teacher = resolve_device(device), Run(config), config.teacher()
    if together.is_main:
        reuse_reference([config])
    if together.agree(run.state) == "complete":
        return run
    if teacher is not None and together.agree(Run(teacher).state) != "complete":
        if together.is_main:
            say(f"{config.id} needs its teacher {teacher.id} first")
        first: Sequence[Callback] = [ProgressBar(teacher.id, after=config.iterations)]
        train_run(teacher, device=device, callbacks=first if callbacks is None else callbacks, together=together)
        callbacks = [ProgressBar(config.id, before=teacher.iterations)] if callbacks is None else callbacks
    with describe_stop(lambda: _stopped(run)):
        data = _load(config, together)
        with run.lock() if together.is_main else nullcontext():
            if together.agree(run.state) != "complete":  # somebody else may have had it meanwhile
                if together.is_main:
                    paths.remove_leftovers(run.directory)
                before = torch.get_num_threads()
                torch.set_num_threads(1)  # results do not depend on the cores, and several runs share a machine
                try:
                    if not config.adopted:
                        _train(run, data, device, callbacks, together)
                    elif together.is_main:
                        _adopt(run, data, device)
                finally:
                    torch.set_num_threads(before)
            together.wait()
    return run


def _load(config: RunConfig, together: Processes) -> ImageSet:
    """The images, and what else may be refused or has to be downloaded, before there is a run directory."""
    import_module("ppcd.metrics.evaluate")  # refuses here, and not after the training, where a package is missing
    profile, data = config.profile, config.load_data()
    if config.adopted:
        pretrained.load(config.teacher_file, profile)
    else:
        check_share(profile.budget(config.recipe.teacher_budget).batch_size, together.count)
    if together.is_main and profile.backbone != "classifier":
        from ppcd.metrics.features import get_backbone

        get_backbone(profile.backbone, data)
    return data


def _stopped(run: Run) -> str:
    """What an interrupt stopped: the run, how far it was and what it goes on from."""
    progress = run.progress()
    if progress is None:
        return f"run {run.config.id} was stopped before its training"
    kept = progress["checkpoint"]
    last = "there is no checkpoint yet" if kept is None else f"the last checkpoint is of {kept}"
    return f"run {run.config.id} was stopped at iteration {progress['iteration']} of {progress['total']} ({last})"


def _adopt(run: Run, data: ImageSet, device: str) -> None:
    """Keep and measure a teacher that was trained elsewhere."""
    began, generator = provenance.collect(device), slim(pretrained.load(run.config.teacher_file, run.config.profile))
    run.write_file("history.csv", ",".join(HISTORY_COLUMNS) + "\n")
    training: dict[str, Any] = {"iterations": 0, "seconds": 0.0, "images_per_second": None, "last": {}}
    _finish(run, data, {"ema": generator}, device, {"provenance": began, "training": training})


def _train(run: Run, data: ImageSet, device: str, callbacks: Sequence[Callback] | None, together: Processes) -> None:
    config, recipe = run.config, run.config.recipe
    if config.precision == "bf16" and together.is_main and not has_bf16(torch.device(device)):
        say(
            f"{device} has no bf16 in hardware: a step takes about 7 times as long as with PRECISION=no (docs/speed.md)"
        )
    teacher, teacher_record, origin = _load_teacher(config)
    trainer = trainer_class(recipe)(config, data, teacher, device, together, origin=origin)
    trainer.provenance = provenance.collect(device)
    if trainer.teacher is not None and trainer.half_teacher:
        trainer.provenance["teacher_precision"] = "bf16"
    if together.count > 1:
        trainer.provenance["processes"] = together.count

    # Train, from the checkpoint if there is one
    shown = [ProgressBar(config.id)] if callbacks is None else list(callbacks)
    history = HistoryLogger(run.directory, every=max(1, trainer.total // HISTORY_ROWS))
    watchers: list[Callback] = [history, ProgressFile(run.directory), *shown, HealthCheck(trainer, config.id)]
    samples = config.profile.best_samples
    if samples is not None:
        from ppcd.runs.score_curve import BEST, CURVE, Best, make_score

        score = make_score(data, config.profile, samples, config.seed, trainer.device)
        watchers.append(Best(trainer, run.directory, score, samples))
    if together.is_main:
        run.resume()
    try:
        state = fit(trainer, run.path(CHECKPOINT), watchers)
    except TrainingStopped as stop:
        if together.is_main:
            run.stop(trainer.iteration, stop.kind, str(stop), trainer.notes["warnings"])
        raise
    if not together.is_main or state.stop:
        return

    # Slim: the averaged generator is the result, the raw one is evaluated as well
    averaged = finish_generator(trainer.ema.generator, config.seed)
    masks = trainer.report_masks()
    if recipe.masked:
        thin_masks(run.path(MASK_FILE))
        hidden = [channels for block in averaged.config.hidden or () for channels in block]
        for layer, channels in zip(masks, hidden, strict=True):
            layer["kept"] = channels
    raw = slim(decide_masks(trainer.generator.eval()))
    files = trainer.extra_files()
    for name, text in files.items():
        run.write_file(name, text)
    names = [*files]
    if recipe.name == TEACHER:
        names += checkpoints.save_last_state(trainer.last_state(), run.directory)
    record: dict[str, Any] = {
        "provenance": trainer.provenance,
        "teacher": teacher_record,
        "training": {
            "iterations": trainer.total,
            "seconds": trainer.seconds,
            "images_per_second": trainer.total * trainer.budget.images / trainer.seconds,
            "last": trainer.last,
        },
        "masks": masks,
        "warnings": trainer.notes["warnings"],
    }
    if samples is not None:
        record["best"] = trainer.notes.get("best")
        names += [CURVE] if record["best"] is None else [CURVE, BEST]
    _finish(run, data, {"ema": averaged, "raw": raw}, device, record, names)


def _finish(
    run: Run, data: ImageSet, made: dict[str, Generator], device: str, record: dict[str, Any], extra: Sequence[str] = ()
) -> None:
    """Keep the first of these generators, measure all of them, and complete the run."""
    from ppcd.metrics.evaluate import evaluate

    profile, seed = run.config.profile, run.config.seed
    kept = next(iter(made.values())).to(device)
    checkpoints.save_generator(kept, run.path(GENERATOR))
    run.write_file("samples.png", sample_grid(kept, seed, device))
    scores, protocol = {}, {}
    for name, generator in made.items():
        result = evaluate(
            generator, data, backbone=profile.backbone, samples=profile.evaluation_samples, seed=seed,
            classifier_epochs=profile.classifier_epochs, device=device, judge=profile.judge,
        )  # fmt: skip
        scores[name], protocol = result["scores"], result["protocol"]
    about: dict[str, Any] = {
        "teacher": None,
        "masks": [],
        "data": {
            "identity": data.identity,
            "sha256": data.sha256,
            "images": len(data.labels),
            "classes": list(data.classes),
            "note": data.note,
        },
        "complexity": measure_complexity(kept),
        "metrics": {"protocol": protocol, **scores},
        "runtime": measure_runtime(kept, device),
    }
    run.finish({**about, **record, "provenance": provenance.finish(record["provenance"])}, extra)


def sample_grid(generator: Generator, seed: int, device: str, columns: int = 10) -> bytes:
    """A PNG: a row for each of the first ten classes, the same noise in every row."""
    with needs("metrics"):
        from torchvision.utils import make_grid, save_image
    classes = min(10, generator.num_classes)
    z = torch.randn(columns, generator.dim_z, generator=named_generator(seed, "samples")).repeat(classes, 1)
    y = torch.arange(classes).repeat_interleave(columns)
    with torch.no_grad():
        images = generator(z.to(device), y.to(device)).cpu()
    buffer = io.BytesIO()
    save_image(make_grid(images, nrow=columns, padding=1, normalize=True, value_range=(-1, 1)), buffer, format="png")
    return buffer.getvalue()


def measure_complexity(generator: Generator) -> dict[str, Any]:
    """Parameters and MACs of a slim generator and of what it was before pruning, without masks."""
    dense = Generator(replace(generator.config, hidden=None, channels=None))
    counted, before = complexity(generator), complexity(dense)
    return {
        "params": counted.params,
        "macs": counted.macs,
        "params_dense": before.params,
        "macs_dense": before.macs,
        "block_params": block_params(generator),
        "block_params_dense": block_params(dense),
        "convention": CONVENTION,
    }


def measure_runtime(generator: Generator, device: str) -> dict[str, Any]:
    """Seconds for a batch of 64 on one CPU thread, and on the GPU if the run has one."""
    on_cpu = seconds_per_batch(generator.cpu(), threads=1, device="cpu")
    on_gpu = None if device == "cpu" else seconds_per_batch(generator.to(device), device=device)
    return {"cpu": on_cpu, "gpu": on_gpu}


def _load_teacher(config: RunConfig) -> tuple[Generator | None, dict[str, Any] | None, checkpoints.LastState | None]:
    """The teacher's generator, what run.json says of it, and what its training ended with where that is needed."""
    teacher, origin = config.teacher(), None
    if teacher is None:
        return None, None, None
    record = Run(teacher).read()
    about = {"id": record["id"], "generator_sha256": record["files"][GENERATOR]}
    if config.recipe.needs_training_state:
        replaced = config.recipe.lambda_teacher_d is None and Run(config).state == "partial"  # by the checkpoint
        origin = checkpoints.load_last_state(teacher.directory, needed=not replaced)
        about |= {name: record["files"][name] for name in checkpoints.LAST_STATE}
    return checkpoints.load_generator(teacher.directory / GENERATOR), about, origin


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    memory.keep_freed()  # only here: a notebook decides for its own process
    parser = ArgumentParser(prog="python -m ppcd train", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="mnist")
    parser.add_argument("--recipe", default="ppcd", help=f"{', '.join(RECIPES)}; -a<alpha> after masked ones")
    parser.add_argument("--alpha", type=float, help="compression ratio threshold of eq. 3, in (0, 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", choices=processes.PRECISIONS, help="of forward passes; under accelerate its own")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the same command goes on")


def _command(options: argparse.Namespace) -> None:
    together, device, launched = processes.join(options.device)
    device, asked = resolve_device(device), run_options()
    if precision := options.precision or (launched if launched != "no" else None):
        asked["precision"] = precision
    config = run_config(asked_profile(options.profile), options.recipe, options.seed, options.alpha, **asked)
    if config.pretrained is not None and not config.takes_file:
        raise PpcdError(f"PPCD_TEACHER has no effect on recipe {config.recipe.name!r}, which has no teacher; unset it")
    if options.dry_run:
        if together.is_main:
            print(Run(config).describe())
        return
    already = together.agree(Run(config).state) == "complete"
    if together.is_main:
        reuse_reference([config], but=config.id)
    if already:
        Run(config).read()  # what was changed since is not passed off as complete
    run = train_run(config, device=device, together=together)
    if together.is_main:
        print(f"{run.config.id}: {'was complete already' if already else 'complete'}; see {run.directory}")
    together.leave()
