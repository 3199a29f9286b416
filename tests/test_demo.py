"""The page that runs generators in a browser: its images are torch's; and one line where it cannot be made."""

import io
import json
import os
import select
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from fake_runs import fake_run
from reference import randomise

from paper import demo
from paper.study import Study
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.generators import Generator, build_generator

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PACKAGE = demo.stored()  # in the user's cache; that of the tests is empty
TOLERANCE = 2  # of 255
CLASSES = ("zero", "one", "<two>")


class Browser:
    """Headless Chromium with one page, by the DevTools protocol on a pair of pipes."""

    def __init__(self, profile: Path) -> None:
        (read, self.into), (self.out, write) = os.pipe(), os.pipe()
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}")
        piped = ["bash", "-c", f'exec "$@" 3<&{read} 4>&{write}', "bash", str(CHROMIUM), *flags, "about:blank"]
        self.process = subprocess.Popen(piped, pass_fds=(read, write), stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        self.number, self.session, self.rest = 0, None, b""

    def open(self, url: str) -> None:
        """Go to a page in the one tab, and wait until it is there."""
        targets: list[dict[str, Any]] = []
        while not targets:
            targets = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=targets[0]["targetId"], flatten=True)["sessionId"]
        self.call("Page.navigate", url=url)
        while self.run("location.href + document.readyState") != f"{url}complete":
            time.sleep(0.05)

    def call(self, method: str, **parameters: Any) -> Any:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.into, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                assert select.select([self.out], [], [], 300)[0], "the browser does not answer"
                read = os.read(self.out, 1 << 20)
                assert read, "the browser has ended"
                self.rest += read
            first, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(first)
            if answer.get("id") == self.number:
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page, waited for."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self.into)
        os.close(self.out)


@pytest.fixture(scope="module")
def generators() -> dict[float | None, Generator]:
    """A teacher (None) with less noise than its students, and those by alpha."""
    made = {}
    for alpha, dim_z in ((None, 12), (0.5, 16), (0.7, 16)):
        made[alpha] = build_generator("biggan" if alpha is None else "sagan", 32, len(CLASSES), 2, dim_z=dim_z)
        randomise(made[alpha], 0 if alpha is None else int(10 * alpha))
    return {alpha: each.eval() for alpha, each in made.items()}


def page(generators: dict[float | None, Generator], files: list[bytes]) -> str:
    networks = []
    for alpha, generator in generators.items():
        masks = [{"kept": 3, "channels": 8}] if alpha else []
        size = {"params": 90_000 if alpha is None else 12_000, "macs": 1_000_000}
        record = {"masks": masks, "complexity": size, "config": {"recipe": {"alpha": alpha} if alpha else {}}}
        networks.append(demo.network(f"network {alpha}", generator, record))
    return demo.page("smoke", CLASSES, networks, files)


@pytest.fixture(scope="module")
def browser(generators: dict[float | None, Generator], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page from a file, whose link says what is drawn."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here")
    if not PACKAGE.is_file():
        pytest.skip(f"onnxruntime-web is not in the cache: make demo downloads it to {PACKAGE}")
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "stored", lambda: PACKAGE)
        (folder / "demo.html").write_text(page(generators, demo.runtime()))
    opened = Browser(folder / "profile")
    try:
        opened.open(f"{(folder / 'demo.html').as_uri()}#class=1&noise=7&x=0.5&alpha=0.6")
        yield opened
    finally:
        opened.close()


def settle(browser: Browser) -> None:
    """Wait until the last image asked for is drawn."""
    browser.run("ready")
    until = time.monotonic() + 300
    while browser.run("drawing"):
        assert time.monotonic() < until
    assert browser.run("$('problem').textContent") == ""


def differences(browser: Browser, generators: dict[float | None, Generator], label: int) -> list[float]:
    """The largest differences of the canvases from what torch draws for the page's noise, in 255ths."""
    pixels = "[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    shown = browser.run(f"[...document.querySelectorAll('canvas')].map(c => {pixels})")
    z = torch.tensor(browser.run("[...noise()]")).unsqueeze(0)
    chosen = browser.run("state.student.alpha")
    found = []
    for alpha, image in zip((None, chosen, *generators), shown, strict=True):
        with torch.no_grad():
            drawn = generators[alpha](z[:, : generators[alpha].dim_z], torch.tensor([label]))[0]
        seen = torch.tensor(image).reshape(32, 32, 4)[..., :3].permute(2, 0, 1)
        found.append((seen - (drawn + 1) * 127.5).abs().max().item())
    return found


def test_the_browser_draws_what_torch_draws(browser: Browser, generators: dict[float | None, Generator]) -> None:
    settle(browser)
    assert max(differences(browser, generators, 1)) <= TOLERANCE < min(differences(browser, generators, 2))
    link = browser.run("location.hash")
    browser.run("document.querySelectorAll('#classes input')[2].click()")
    browser.run("$('pad').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowUp'}))")
    browser.run("$('alpha').value = 1, $('alpha').oninput()")
    settle(browser)
    assert max(differences(browser, generators, 2)) <= TOLERANCE
    assert browser.run("location.hash") == "#class=2&noise=7&x=0.5&y=0.1&alpha=0.7"
    assert browser.run("document.querySelectorAll('#classes span')[2].textContent") == "<two>"
    facts = browser.run("$('pair').children[1].querySelector('dl').innerText.split(/\\s+/).slice(0, -2).join(' ')")
    assert facts == "parameters 12k (7.5×) MACs 1M (1.0×) channels 3 of 8 per image"
    browser.run(f"location.hash = '{link}', new Promise(done => setTimeout(done, 50))")
    settle(browser)
    assert max(differences(browser, generators, 1)) <= TOLERANCE


def test_noise_is_as_the_networks_were_trained_with(browser: Browser) -> None:
    """The two directions are the same for every draw, so that at (2, -2) draws differ by a ninth of the variance."""
    for x, y in ((0, 0), (2, -2)):
        at = f"state = {{...state, noise: 10 + i, x: {x}, y: {y}}}"
        z = torch.tensor(browser.run(f"Array.from({{length: 400}}, (_, i) => ({at}, [...noise()]))"))
        z = z - z.mean(0) if x else z
        assert abs(z.mean().item()) < 0.05 and z.var().item() == pytest.approx(1 / (1 + x * x + y * y), rel=0.1)
    browser.run("read()")


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
