"""One page that runs the generators in a browser: `python -m paper demo` (`make demo`), results/<profile>/demo.html.

The page holds all that it needs, so that it works from a file and offline: the teacher and its PPCD students of seed 0
as ONNX files, and onnxruntime-web, which runs them.
"""

import argparse
import base64
import gzip
import hashlib
import http.client
import io
import json
import os
import tarfile
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from paper.numbers import FIGURE4_ALPHAS
from paper.study import Study, generator_of
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.errors import ArgumentParser, run_command
from ppcd.export.onnx import export_onnx
from ppcd.networks.generators import Generator
from ppcd.progress import say
from ppcd.records import Record
from ppcd.training.config import asked_profile
from ppcd.training.recipes import TEACHER

VERSION = "1.30.0"  # of onnxruntime-web
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm states it
REGISTRY = "https://registry.npmjs.org"
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # what runs on the CPU: script, program


@dataclass(frozen=True)
class Network:
    """A generator as the page has it."""

    name: str
    alpha: float | None  # None: the teacher
    dim_z: int
    params: int
    macs: int
    channels: tuple[int, int] | None  # kept and at first in its PP-Res blocks; None: nothing was pruned
    onnx: str  # packed


def pack(content: bytes) -> str:
    """gzip as base64, which the page unpacks."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def network(name: str, generator: Generator, record: Record) -> Network:
    """The slim generator of a run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generator.onnx"
        export_onnx(generator, path)
        onnx = pack(path.read_bytes())
    kept, total = (sum(mask[key] for mask in record["masks"]) for key in ("kept", "channels"))
    size, alpha = record["complexity"], record["config"]["recipe"].get("alpha")
    channels = (kept, total) if record["masks"] else None
    return Network(name, alpha, generator.dim_z, size["params"], size["macs"], channels, onnx)


def stored() -> Path:
    """Where the package from npm is kept."""
    return paths.cache() / "downloads" / f"onnxruntime-web-{VERSION}.tgz"


def runtime() -> list[bytes]:
    """The FILES of onnxruntime-web, downloaded where the cache does not have them.

    Raises:
        PpcdError: they cannot be downloaded, or are not what npm published.
    """
    path = stored()
    content = path.read_bytes() if path.is_file() else b""
    if sha512(content) != SHA512:
        content = _download()
        paths.write_atomic(path, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as package:
        return [package.extractfile(f"package/dist/{name}").read() for name in FILES]  # type: ignore[union-attr]


def sha512(content: bytes) -> str:
    """As npm states it."""
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def _download() -> bytes:
    registry = {name.lower(): value for name, value in os.environ.items()}.get("npm_config_registry") or REGISTRY
    url = f"{registry.rstrip('/')}/onnxruntime-web/-/{stored().name}"
    say(f"{url}, 33 MB, once")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content: bytes = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise PpcdError(
            f"{url} cannot be downloaded ({getattr(error, 'reason', error)}); the page needs it once: "
            f"try again with a network, or put the file at {stored()}"
        ) from None
    if sha512(content) != SHA512:
        raise PpcdError(f"{url} is not the file that npm published (its SHA-512 differs); try another registry")
    return content


def page(profile: str, classes: Sequence[str], networks: Sequence[Network], files: Sequence[bytes]) -> str:
    """The page as HTML.

    Args:
        networks: the teacher, then its students.
        files: of `runtime()`.
    """
    script, program = map(pack, files)
    data = {
        "profile": profile, "classes": classes, "networks": [asdict(each) for each in networks],
        "runtime": {"version": VERSION, "script": script, "program": program},
    }  # fmt: skip
    template = Path(__file__).with_name("demo.html").read_text()
    return template.replace("{{data}}", json.dumps(data).replace("<", "\\u003c"))


def make_demo(study: Study) -> Path:
    """Write `results/<profile>/demo.html` from the complete runs of the study's first seed.

    Raises:
        PpcdError: the teacher's run is not complete, or no student's is; onnxruntime-web cannot be had.
    """
    teacher = study.record(TEACHER)
    found = {alpha: study.with_alpha(alpha).record("ppcd") for alpha in FIGURE4_ALPHAS}
    students = {f"PPCD-GAN, α = {alpha:g}": record for alpha, record in found.items() if record is not None}
    if teacher is None or not students:
        missing = TEACHER if teacher is None else "ppcd"
        config = study.config(missing, study.seeds[0])
        raise PpcdError(
            f"profile {study.name} has no complete run of {missing} at seed {config.seed} on {config.data_identity}; "
            f"train it first: python -m ppcd train --profile {study.name} --recipe {missing} --seed {config.seed}"
        )
    files, runs = runtime(), {"BigGAN (teacher)": teacher, **students}
    networks = [network(name, generator_of(record), record) for name, record in runs.items()]
    path = study.results / "demo.html"
    paths.write_atomic(path, page(study.name, teacher["data"]["classes"], networks, files))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m paper demo", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="mnist")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "nothing was written")


def _command(options: argparse.Namespace) -> None:
    path = make_demo(Study.of(asked_profile(options.profile)))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")
