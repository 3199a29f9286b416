"""Makes requirements.lock from pyproject.toml, and environment.yml from both (`make lock`).

Without arguments the pins that still fit are kept; `--upgrade` takes the newest of everything.
`--environment-only` leaves the lock alone. Needs uv, which the extra `dev` brings.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Every package, for Python 3.11 to 3.13 on Linux and macOS. Made from pyproject.toml by `make lock`.
# pip install --no-deps -r requirements.lock && pip install --no-deps -e .
"""
ENVIRONMENT = """\
# For conda users: conda env create -f environment.yml && conda activate ppcd
# The same pins as requirements.lock, from which `make lock` makes this file: do not edit.
name: ppcd
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python {python}
  - pip
  - pip:
{pins}
      - -e .
"""


def resolve(upgrade: bool) -> str:
    """The lock's text. One version of a package for every Python (`fewest`), no address of an index."""
    options = ["--universal", "--python-version", "3.11", "--all-extras", "--fork-strategy", "fewest"]
    options += ["--no-header", "--no-annotate", "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "requirements.txt"
        if LOCK.exists() and not upgrade:
            output.write_text(LOCK.read_text())  # uv prefers the versions that it finds in its output file
        command = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "compile",
            "pyproject.toml",
            *options,
            "-o",
            str(output),
        ]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"lock: {' '.join(done.stderr.split()) or 'uv failed'}")
        return HEADER + output.read_text()


def environment(lock: str, python: str) -> str:
    """environment.yml's text for a lock's text: each pin with its marker, quoted as YAML wants it."""
    lines = (line.strip() for line in lock.splitlines())
    pins = "\n".join(f'      - "{line}"' for line in lines if line and not line.startswith("#"))
    return ENVIRONMENT.format(python=python, pins=pins)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="the newest of everything")
    parser.add_argument("--environment-only", action="store_true", help="leave requirements.lock alone")
    options = parser.parse_args()
    if not options.environment_only:
        LOCK.write_text(resolve(options.upgrade))
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (ROOT / "environment.yml").write_text(environment(LOCK.read_text(), python))


if __name__ == "__main__":
    main()
