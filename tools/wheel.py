"""Tries the library as a dependency (`make test-wheel`): builds the wheel and installs it without extras into clean
environments: with the oldest and the newest versions that the package index has of what it asks for, and with the torch
that many GPU machines have. Compresses a toy network there, and trains from images to a slim generator. Needs uv, which
the extra `dev` brings.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("ppcd", "paper", "ppcd_papermill.py", "setup.py", "pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
VERSIONS = {  # what uv is asked for, besides the wheel
    "oldest": ["--resolution", "lowest-direct"],
    "torch 2.11": ["torch==2.11.*"],
    "newest": ["--resolution", "highest"],
}
NEEDED_GIGABYTES = 12  # one environment at a time and the files it is made of, most of it CUDA libraries


def build(folder: Path) -> Path:
    """The wheel, built in an empty folder from a copy of the sources: an earlier build cannot leave anything in it."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    lines = run([sys.executable, "-c", BUILD, str(folder)], copy).splitlines()
    return folder / lines[-1]


def write_images(folder: Path) -> Path:
    """A few random images of two classes."""
    for number in range(32):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (32, 32), random.Random(number).randbytes(3 * 32 * 32)).save(path)
    return folder


def run(command: list[str], folder: Path, **environment: str) -> str:
    """What a command prints."""
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"wheel: {' '.join(command[:5])} ... failed:\n{done.stderr or done.stdout}")
    return done.stdout


def main() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    with tempfile.TemporaryDirectory(prefix="ppcd-wheel-") as name:
        folder = Path(name)
        if (free := shutil.disk_usage(folder).free / 2**30) < NEEDED_GIGABYTES:
            sys.exit(f"wheel: {folder.parent} needs {NEEDED_GIGABYTES} GB; {free:.1f} GB are free (TMPDIR moves it)")
        wheel = build(folder)
        uv = [sys.executable, "-m", "uv", "--quiet", "--cache-dir", str(folder / "cache")]
        images = write_images(folder / "images")
        for which, versions in VERSIONS.items():
            began, environment = time.monotonic(), folder / which.replace(" ", "-")
            python = str(environment / "bin" / "python")
            run([*uv, "venv", "--python", sys.executable, str(environment)], folder)
            options = ["--python", python, "--only-binary", ":all:"]
            run([*uv, "pip", "install", *options, str(wheel), *asked, "pillow", *versions], folder)
            installed = time.monotonic()
            program, results = str(ROOT / "tests" / "wheel_programs.py"), environment / "results"
            results.mkdir()
            said = run([python, program], folder).splitlines()[-1]
            run([python, program, str(results)], folder, PPCD_DATA=str(images), PPCD_CACHE=str(results / "cache"))
            print(f"wheel: {which}: {said}; installed in {installed - began:.0f} s, ", end="")
            print(f"compressed and trained in {time.monotonic() - installed:.0f} s", flush=True)
            shutil.rmtree(environment)


if __name__ == "__main__":
    main()
