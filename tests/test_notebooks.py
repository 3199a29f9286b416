"""The notebooks: what they may look like, what they refuse, and that they run."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pytest_notebook.nb_regression import NBRegressionFixture

from paper import notebook
from paper.artifacts.report import build_report
from paper.study import Study
from ppcd.networks.io import load_generator

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of its own for results, figures and caches; kernels inherit it."""
    folders = {f"PPCD_{name.upper()}": str(tmp_path / name) for name in ("results", "figures", "cache")}
    for variable, folder in folders.items():
        monkeypatch.setenv(variable, folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folders


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_form(path: Path) -> None:
    """Valid, without outputs or magics, short cells that define nothing, no paths of one machine."""
    content = nbformat.read(path, as_version=4)
    nbformat.validate(content)
    assert (content.nbformat, content.nbformat_minor) == (4, 5)
    assert content.metadata.kernelspec.name == "python3"
    for cell in code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None
        assert len(cell.source.splitlines()) <= 15
        forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, forbidden)]
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), "no magics: they hide what is run"
    texts = [cell.source for cell in content.cells if cell.cell_type == "markdown"]
    assert texts and texts[0].startswith("# ")
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp)/", "\n".join(cell.source for cell in content.cells))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_start_gets_exactly_the_parameters_that_there_are(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a parameter would be called unknown, or a mistyped one would pass."""
    monkeypatch.setenv("PPCD_PROFILE", "smoke")
    (source,) = [cell.source for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    names: dict[str, Any] = {}
    exec(source, names)
    assert (names["profile"], names["seed"]) == ("smoke", 0), "the profile comes from the environment"
    assigned = set(names) - {"os", "__builtins__"}
    assert set(notebook.notebook_parameters(path)) == assigned, "papermill reads a parameter a line"
    (given,) = re.findall(r"notebook\.start\((.*?)\)", "\n".join(cell.source for cell in code_cells(path)), re.DOTALL)
    assert sorted(re.split(r",\s*", given.strip(" ,\n"))) == sorted(f"{name}={name}" for name in assigned)


def test_start_returns_checked_settings(capsys: pytest.CaptureFixture[str]) -> None:
    settings = notebook.start(profile="smoke", seed=3, recipe="ppcd", alpha=0.5, device="cpu")
    assert settings == notebook.Settings(Study.of("smoke", [3]), 3, recipe="ppcd-a0.5", alpha=0.5, device="cpu")
    said = capsys.readouterr().out
    assert "profile smoke" in said and "seed 3" in said and "recipe ppcd-a0.5" in said
    assert notebook.start(profile="smoke", seed=0, recipe="biggan", alpha=None).recipe == "biggan"
    assert notebook.start(profile="smoke", seed=0, recipe="ppcd-a0.6", alpha=0.6).recipe == "ppcd-a0.6"
    for alphas in ([0.5, 0.7], "0.5 0.7", "0.5,.7", (0.5, 0.7, 0.5)):
        assert notebook.start(profile="smoke", seed=0, alphas=alphas).alphas == (0.5, 0.7)
    for seeds, expected in (
        (None, (7,)), ("", (7,)), ([0, 1], (0, 1)), ("2,0", (2, 0)), ("[0, 1]", (0, 1)), (4, (4,)), ("1 1", (1,))
    ):  # fmt: skip
        assert notebook.start(profile="smoke", seed=7, seeds=seeds).study.seeds == expected


def papermill(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "papermill", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=dict(os.environ), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_without_training_they_say_what_is_not_run(own_folders: dict[str, str], tmp_path: Path) -> None:
    names = ("01_train", "03_ablation", "04_comparison", "05_compression_ratio")
    given = ("-p", "profile", "smoke", "-p", "train_missing", "False")
    running = {name: papermill(FOLDER / f"{name}.ipynb", f"{name}.ipynb", *given, cwd=tmp_path) for name in names}
    for name, process in running.items():
        said, _ = process.communicate(timeout=500)
        assert process.returncode == 0, said
        assert "not run" in (tmp_path / f"{name}.ipynb").read_text()
    assert not (Path(own_folders["PPCD_RESULTS"]) / "smoke" / "runs").exists()


def test_the_notebooks_run_one_after_the_other(own_folders: dict[str, str], tmp_path: Path) -> None:
    """At profile smoke, from another directory: train, evaluate, every table and figure, and the report."""
    elsewhere, photos = tmp_path / "elsewhere", tmp_path / "photos"
    elsewhere.mkdir()
    for name in ("cat", "dog", "owl"):
        (photos / name).mkdir(parents=True)
        for index in range(20):
            pixels = np.random.default_rng(index).integers(0, 256, (40, 50, 3), np.uint8)
            Image.fromarray(pixels).save(photos / name / f"{index}.png")
    given = ("-p", "profile", "smoke", "-p", "alpha", "0.5")
    first = papermill(FOLDER / "03_ablation.ipynb", "out.ipynb", *given, cwd=elsewhere)
    said, _ = first.communicate(timeout=500)
    assert first.returncode == 0, said
    assert "Passed unknown parameter" not in said
    assert "100%|" in (elsewhere / "out.ipynb").read_text(), "the bar is text, which every HTML has"
    assert [entry.name for entry in elsewhere.iterdir()] == ["out.ipynb"], "results go to their own place"
    table = pd.read_csv(tmp_path / "results" / "smoke" / "tables" / "table3.csv")
    assert list(table["status"]) == ["complete"] * 5
    assert (tmp_path / "figures" / "smoke" / "fig5.png").stat().st_size > 1000

    trainings = {"04_comparison": (), "05_compression_ratio": ("-p", "alphas", "0.5")}
    others = {
        "00_playground": (),
        "01_train": ("-p", "recipe", "ppcd-a0.5"),
        "02_evaluate": ("-p", "recipe", "ppcd", "-p", "alpha", "0.5"),
        "06_interpolation": (),
        "07_failure_cases": (),
        "09_report": (),
        "10_your_own_data": ("-p", "images", str(photos), "-p", "resolution", "64", "-p", "steps", "4"),
        "11_your_own_gan": ("-p", "steps", "12"),
    }
    for batch in (trainings, others):
        running = {
            name: papermill(FOLDER / f"{name}.ipynb", f"{name}.ipynb", "-p", "profile", "smoke", *rest, cwd=elsewhere)
            for name, rest in batch.items()
        }
        for process in running.values():
            said, _ = process.communicate(timeout=500)
            assert process.returncode == 0, said
    (student,) = (tmp_path / "results" / "own" / "runs").glob("ppcd-s0-*/generator.safetensors")
    assert (load_generator(student).num_classes, load_generator(student).resolution) == (3, 64)
    page = build_report(elsewhere / "09_report.ipynb", Study.of("smoke")).read_text()
    assert "Table 3, comparison of ablation models: profile smoke, seed 0" in page
    assert page.count("data:image/webp") >= 2 and "not run" in page, "the literal settings were not run"
    runs = {entry.name.split("-s0-")[0] for entry in (tmp_path / "results" / "smoke" / "runs").glob("*-s0-*")}
    compared = {"biggan", "sagan", "sngan", "tinygan", "ppcd", "distill-nas", "distill-only"}
    pruned = {"ppcd-a0.5", "ppcd-no-cd-a0.5", "ppcd-no-pp", "ppcd-two-step-a0.5", "l1-biggan-a0.5", "l1-sagan-a0.5"}
    assert compared | pruned <= runs
    tables = {path.name for path in (tmp_path / "results" / "smoke" / "tables").glob("*.csv")}
    assert {"table1.csv", "table2.csv", "table3.csv", "fig4-a0.5.csv", "fig8.csv"} <= tables
    drawn = {path.stem for path in (tmp_path / "figures" / "smoke").glob("*.png")}
    assert {"fig1", "fig2", "fig3", "fig4-a0.5", "fig5", "fig6", "fig7", "fig8"} <= drawn


def test_evaluate_under_pytest_notebook_says_what_is_not_run(own_folders: dict[str, str]) -> None:
    """As JupyterLab runs it: nothing injected, in the notebook's own directory, the profile from outside."""
    fixture = NBRegressionFixture(
        exec_timeout=300,
        exec_env={**own_folders, "PPCD_PROFILE": "smoke"},
        diff_ignore=("/cells/*/outputs", "/cells/*/execution_count", "/metadata/language_info"),
    )
    result = fixture.check(FOLDER / "02_evaluate.ipynb")
    shown = nbformat.writes(result.nb_final)
    assert "profile smoke" in shown and shown.count("**not run**") >= 3
    assert not Path(own_folders["PPCD_RESULTS"]).exists()
