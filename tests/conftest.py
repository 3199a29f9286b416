"""What every test has: shapes checked, one thread, and directories of its own."""

import os
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import pytest
import torch
from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def _has_shapes(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(_has_shapes(each) for each in get_args(annotation))


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check calls of a function with shapes in its signature.

    Others are left alone: mypy checks them, and some are there to refuse what a user gives them, which a type
    check before them would hide.
    """
    annotations = getattr(function, "__annotations__", {}).values()
    return _beartype(function) if any(_has_shapes(each) for each in annotations) else function


# jaxtyping takes the name of the checker, which must be importable under it.
sys.modules["ppcd_test_shapes"] = types.ModuleType("ppcd_test_shapes")
sys.modules["ppcd_test_shapes"].check_shapes = check_shapes  # type: ignore[attr-defined]
jaxtyping.install_import_hook("ppcd", "ppcd_test_shapes.check_shapes")

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for the session: prepared data and classifiers are made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("RESULTS", "FIGURES"):
            patch.setenv(f"PPCD_{name}", str(tmp_path_factory.mktemp(name.lower())))
        patch.delenv("PPCD_DATA", raising=False)
        yield


@pytest.fixture(autouse=True)
def _directories(_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results and figures of each test are its own, and what it finds there is the reference too (`committed`)."""
    from ppcd import paths

    for name in ("RESULTS", "FIGURES"):
        monkeypatch.setenv(f"PPCD_{name}", str(tmp_path / name.lower()))
    monkeypatch.setattr(paths, "reference", paths.results)
    monkeypatch.setattr(paths, "reference_figures", paths.figures)


@pytest.fixture
def committed(_directories: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is what the repository brings, as it is for users."""
    from ppcd import paths

    for name, part in (("reference", "results"), ("reference_figures", "figures")):
        monkeypatch.setattr(paths, name, (paths.repository() / part).__truediv__)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, for a test that is about the cache."""
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def few_batches() -> Iterator[None]:
    """Batch statistics of few images: those of a run take seconds, and most tests do not ask how good they are."""
    from ppcd.method.ema import recompute_batch_statistics

    few = partial(recompute_batch_statistics, batches=2, batch_size=8)
    with pytest.MonkeyPatch.context() as patch:
        for user in ("method.ema", "runs.score_curve"):
            patch.setattr(f"ppcd.{user}.recompute_batch_statistics", few)
        yield


@pytest.fixture
def quick(few_batches: None, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Nothing is measured at the end of a run; holds the generators that would have been."""
    measured: list[Any] = []

    def evaluate(generator: Any, *_: Any, **__: Any) -> dict[str, Any]:
        measured.append(generator)
        return {"scores": {"fd": 1.0}, "protocol": {"backbone": "none"}}

    runtime = {"cpu": {"seconds_per_batch": 1.0, "batch": 64, "threads": 1, "repeats": 1}, "gpu": None}
    monkeypatch.setattr("ppcd.metrics.evaluate.evaluate", evaluate)
    monkeypatch.setattr("ppcd.runs.train.measure_runtime", lambda *_: runtime)
    return measured


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision where nothing else is asked for."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """A copy of the results and figures that a module has `built`, where PPCD_RESULTS and PPCD_FIGURES are."""
    for part in ("results", "figures"):
        shutil.copytree(built / part, tmp_path / part)
    return tmp_path


@pytest.fixture(scope="session")
def few() -> Any:
    """Twelve digits of each class, by class (`ImageSet`)."""
    from ppcd.data.sets import load_data

    return load_data("mnist", 32, images_per_class=12)
