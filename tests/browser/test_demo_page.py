"""The page that runs generators in a browser: its images are torch's, and a slim student draws at once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect
from reference import randomise

from paper import demo
from paper.study import Study
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.generators import Generator, build_generator

PACKAGE = demo.stored()  # in the user's cache; that of the tests is empty
TOLERANCE = 2  # of 255
CLASSES = ("zero", "one", "<two>")
MILLISECONDS = 300  # of an image


@pytest.fixture(scope="module")
def generators() -> dict[float | None, Generator]:
    """A teacher (None) with less noise than its students, and those by alpha."""
    made = {}
    for alpha, dim_z in ((None, 12), (0.5, 16), (0.7, 16)):
        made[alpha] = build_generator("biggan" if alpha is None else "sagan", 32, len(CLASSES), 2, dim_z=dim_z)
        randomise(made[alpha], 0 if alpha is None else int(10 * alpha))
    return {alpha: each.eval() for alpha, each in made.items()}


@pytest.fixture(scope="module")
def runtime() -> list[bytes]:
    """onnxruntime-web, from the user's cache or from npm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "stored", lambda: PACKAGE)
        try:
            return demo.runtime()
        except PpcdError as error:
            pytest.skip(str(error))


@pytest.fixture
def demo_page(page: Page, generators: dict[float | None, Generator], runtime: list[bytes], tmp_path: Path) -> Page:
    """The page from a file, whose link says what is drawn."""
    networks = []
    for alpha, generator in generators.items():
        masks = [{"kept": 3, "channels": 8}] if alpha else []
        size = {"params": 90_000 if alpha is None else 12_000, "macs": 1_000_000}
        record = {"masks": masks, "complexity": size, "config": {"recipe": {"alpha": alpha} if alpha else {}}}
        networks.append(demo.network(f"network {alpha}", generator, record))
    (tmp_path / "demo.html").write_text(demo.page("smoke", CLASSES, networks, runtime))
    page.goto(f"{(tmp_path / 'demo.html').as_uri()}#class=1&noise=7&x=0.5&alpha=0.6")
    return page


def settle(page: Page) -> None:
    """Wait until the last image asked for is drawn."""
    page.evaluate("ready")
    page.wait_for_function("!drawing", timeout=300_000)
    expect(page.get_by_role("alert")).to_be_empty()


def differences(page: Page, generators: dict[float | None, Generator], label: int) -> list[float]:
    """The largest differences of the canvases from what torch draws for the page's noise, in 255ths."""
    pixels = "[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    shown = page.evaluate(f"[...document.querySelectorAll('canvas')].map(c => {pixels})")
    z = torch.tensor(page.evaluate("[...noise()]")).unsqueeze(0)
    chosen = page.evaluate("state.student.alpha")
    found = []
    for alpha, image in zip((None, chosen, *generators), shown, strict=True):
        with torch.no_grad():
            drawn = generators[alpha](z[:, : generators[alpha].dim_z], torch.tensor([label]))[0]
        seen = torch.tensor(image).reshape(32, 32, 4)[..., :3].permute(2, 0, 1)
        found.append((seen - (drawn + 1) * 127.5).abs().max().item())
    return found


def test_the_browser_draws_what_torch_draws(demo_page: Page, generators: dict[float | None, Generator]) -> None:
    page = demo_page
    settle(page)
    assert max(differences(page, generators, 1)) <= TOLERANCE < min(differences(page, generators, 2))
    link = page.url
    page.get_by_text("<two>").click()
    page.get_by_role("application", name="Noise").press("ArrowUp")
    page.get_by_label("Channels pruned").press("ArrowRight")
    settle(page)
    assert max(differences(page, generators, 2)) <= TOLERANCE
    assert page.url.endswith("#class=2&noise=7&x=0.5&y=0.1&alpha=0.7")
    facts = page.locator("#pair figure").nth(1).locator("dl").inner_text().split()
    assert " ".join(facts[:-2]) == "parameters 12k (7.5×) MACs 1M (1.0×) channels 3 of 8 per image"
    page.goto(link)
    settle(page)
    assert max(differences(page, generators, 1)) <= TOLERANCE


def test_noise_is_as_the_networks_were_trained_with(demo_page: Page) -> None:
    """The two directions are the same for every draw, so that at (2, -2) draws differ by a ninth of the variance."""
    for x, y in ((0, 0), (2, -2)):
        at = f"state = {{...state, noise: 10 + i, x: {x}, y: {y}}}"
        z = torch.tensor(demo_page.evaluate(f"Array.from({{length: 400}}, (_, i) => ({at}, [...noise()]))"))
        z = z - z.mean(0) if x else z
        assert abs(z.mean().item()) < 0.05 and z.var().item() == pytest.approx(1 / (1 + x * x + y * y), rel=0.1)


def test_the_committed_student_draws_at_once(
    page: Page, runtime: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPCD_RESULTS", str(paths.repository() / "results"))
    monkeypatch.setattr(demo, "runtime", lambda: runtime)
    page.goto(demo.make_demo(replace(Study.of("mnist"), results=tmp_path)).as_uri())
    settle(page)
    for _ in range(10):
        page.get_by_role("button", name="New noise").click()
        settle(page)
    student = page.locator("#pair figure").nth(1).locator(".ms").inner_text()
    print(f"the slim student draws an image in {student}")
    assert float(student.removesuffix(" ms")) < MILLISECONDS
