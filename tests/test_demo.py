"""The page that runs generators in a browser: what it is made of, and one line where it cannot be."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from fake_runs import fake_run

from paper import demo
from paper.study import Study
from ppcd import paths
from ppcd.base import PpcdError


def package(*names: str) -> bytes:
    """A tarball as npm has it, of these files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"package/dist/{name}"), io.BytesIO())
    return content.getvalue()


def test_the_page_is_made_of_the_runs_that_are_there(monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    with pytest.raises(
        PpcdError, match=r"no complete run of biggan at seed 0 on \S+; train it first: python -m ppcd train"
    ):
        demo.make_demo(Study.of("smoke"))
    fake_run("biggan")
    with pytest.raises(PpcdError, match=r"no complete run of ppcd at seed 0"):
        demo.make_demo(Study.of("smoke"))
    fake_run("ppcd-a0.6")
    fake_run("ppcd", seed=1)
    asked, published = [], package(*demo.FILES)

    def answer(url: str, timeout: float) -> io.BytesIO:
        asked.append(url)
        return io.BytesIO(published)

    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://mirror.example/npm/")
    monkeypatch.setattr(demo.urllib.request, "urlopen", answer)
    with pytest.raises(PpcdError, match=r"^\S+1\.30\.0\.tgz is not the file that npm published"):
        demo.make_demo(Study.of("smoke"))
    assert not demo.stored().exists() and not (paths.results("smoke") / "demo.html").exists()
    monkeypatch.setattr(demo, "SHA512", demo.sha512(published))
    written = demo.make_demo(Study.of("smoke")).read_text()
    assert demo.runtime() == [b"", b""]
    assert asked == [f"https://mirror.example/npm/onnxruntime-web/-/onnxruntime-web-{demo.VERSION}.tgz"] * 2
    (data,) = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert [each["alpha"] for each in data["networks"]] == [None, 0.6]


def test_without_network_and_cache_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fresh_cache: Path
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route")

    monkeypatch.setattr(demo.urllib.request, "urlopen", refuse)
    fake_run("biggan")
    fake_run("ppcd")
    assert demo.main(["--profile", "smoke"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be downloaded (no route)" in line and line.endswith(
        f"try again with a network, or put the file at {demo.stored()}"
    )
    assert not (paths.results("smoke") / "demo.html").exists()
