"""What half a precision does to quality: the same runs in float32 and in bf16, seed by seed.

The runs in float32 are those of `results/<profile>`; those in bf16 are trained where they are missing, and kept in
`results/bench/quality`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data.filling import cores
from ppcd.records import read_run
from ppcd.runs.config import RunConfig, memory, run_config
from ppcd.runs.directory import Run

PROFILE = "mnist"
RECIPES = ("biggan", "ppcd")
SEEDS = (0, 1, 2)
ARITHMETIC = {"no": "float32", "bf16": "bf16"}  # of a precision
SCORES = ("fd", "is", "precision", "recall", "diversity", "accuracy")
FOLDER = "bench/quality"


def compare(quick: bool, say: Callable[[str], None] = lambda line: None, train: bool = True) -> dict[str, Any]:
    """Scores of every recipe, seed and precision, and the differences bf16 - float32 seed by seed.

    Args:
        quick: the smoke profile, one recipe, one seed, both precisions trained in a folder that goes again.
        say: gets a line for each run that is trained.
        train: runs in bf16 that are missing; False: take what is there.

    Returns:
        profile; rows [{recipe, seed, arithmetic (float32 or bf16), run, commit, seconds (of training), and SCORES}];
        differences {recipe: {score: [a value a seed]}}.

    Raises:
        PpcdError: a run in float32 is missing, or one in bf16 cannot be trained or must not.
    """
    profile, recipes, seeds = ("smoke", RECIPES[:1], SEEDS[:1]) if quick else (PROFILE, RECIPES, SEEDS)
    with _folder(quick) as folder:
        configs = {
            (recipe, seed, precision): run_config(profile, recipe, seed, precision=precision)
            for recipe in recipes for seed in seeds for precision in ARITHMETIC
        }  # fmt: skip
        apart = {key: quick or key[2] != "no" for key in configs}
        missing = [config for key, config in configs.items() if apart[key] and not _complete(config, folder)]
        if missing and not train:
            raise PpcdError(f"{missing[0].id} is not in {FOLDER}; make bench PARTS=quality trains it")
        with ThreadPoolExecutor(cores()) as pool:
            # a seed's teacher comes before its student, which would train it otherwise
            for recipe in recipes:
                wanted = [config for config in missing if config.recipe.name == recipe]
                for config in wanted:
                    say(f"quality: training {config.id}")
                list(pool.map(lambda config: _train(config, folder), wanted))
        records = {key: _read(config, folder if apart[key] else None) for key, config in configs.items()}
    rows = [
        {
            "recipe": recipe,
            "seed": seed,
            "arithmetic": ARITHMETIC[precision],
            "run": record["id"],
            "commit": record["provenance"]["commit"],
            "seconds": record["training"]["seconds"],
            **{score: record["metrics"]["ema"][score] for score in SCORES},
        }
        for (recipe, seed, precision), record in records.items()
    ]
    return {"profile": profile, "rows": rows, "differences": differences(rows)}


def differences(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """bf16 - float32 of each recipe and score, a value a seed, the seeds in their order."""
    found: dict[str, dict[str, list[float]]] = {}
    by_key = {(row["recipe"], row["seed"], row["arithmetic"]): row for row in rows}
    for recipe, seed, arithmetic in by_key:
        if arithmetic == "bf16":
            continue
        whole, half = by_key[recipe, seed, "float32"], by_key[recipe, seed, "bf16"]
        for score in SCORES:
            found.setdefault(recipe, {}).setdefault(score, []).append(half[score] - whole[score])
    return found


@contextmanager
def _folder(quick: bool) -> Iterator[Path]:
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        yield paths.results(FOLDER)


def _directory(config: RunConfig, folder: Path) -> Path:
    return folder / config.profile.name / "runs" / config.id


def _complete(config: RunConfig, folder: Path) -> bool:
    try:
        read_run(_directory(config, folder))
    except PpcdError:
        return False
    return True


def _read(config: RunConfig, folder: Path | None) -> dict[str, Any]:
    if folder is not None:
        return read_run(_directory(config, folder))
    run = Run(config)
    if run.state != "complete":
        raise PpcdError(
            f"the run {config.id}, which is compared with one in bf16, is not there; make reproduce "
            f"PROFILE={config.profile.name} SEEDS={len(SEEDS)} trains it"
        )
    return run.read()


def _train(config: RunConfig, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ppcd.runs.train",
        "--profile",
        config.profile.name,
        "--recipe",
        config.recipe.name,
    ]
    command += ["--seed", str(config.seed), "--device", "cpu", "--precision", config.precision]
    environment = memory.ENVIRONMENT | os.environ | {"PPCD_RESULTS": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise PpcdError(f"the run {config.id} could not be trained: {words[-1] if words else done.returncode}")
