"""The playground: where its interpolations end, what truncation does, and that the controls draw again."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fake_runs import fake_run
from scipy import stats

from paper import playground
from paper.artifacts.interpolation import slerp
from paper.playground import Playground, between, images, truncate
from paper.study import Study
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.metrics.sampling import draw_noise
from ppcd.training.config import RunConfig


@pytest.fixture(scope="module")
def play() -> Playground:
    """Of the committed runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(paths.repository() / "results"))
        return Playground(Study.of("mnist"))


@pytest.mark.parametrize("recipe", ["biggan", "ppcd", "tinygan"])
def test_interpolation_ends_at_what_was_asked_for(play: Playground, recipe: str) -> None:
    G, ends, labels = play.generators[recipe], draw_noise(2, playground.WIDTH, 3), torch.tensor([3, 8])
    way = between(G, ends, 3, 8, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(way[::2], images(G, ends, labels), atol=1 / 255 + 1e-6, rtol=0)
    noise_alone = between(G, ends, 3, 3, torch.tensor([0.5]))
    middle = slerp(*ends[:, : G.dim_z], torch.tensor([0.5]))
    torch.testing.assert_close(noise_alone, images(G, middle, labels[:1]), atol=1 / 255 + 1e-6, rtol=0)
    assert min((way[1] - other).abs().mean() for other in (way[0], way[2], noise_alone[0])) > 0.005


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_noise_is_of_the_truncated_normal_distribution(share: float) -> None:
    z, bound = draw_noise(64, 200, 0), stats.norm.ppf((1 + share) / 2)
    truncated = truncate(z, share)
    assert truncated.dtype == z.dtype and truncated.abs().max() <= bound + 1e-6
    assert stats.kstest(truncated.flatten(), stats.truncnorm(-bound, bound).cdf).pvalue > 0.01
    assert stats.kstest(z.flatten().clamp(-bound, bound), stats.truncnorm(-bound, bound).cdf).pvalue < 1e-6
    assert truncated.flatten()[z.flatten().argsort()].diff().min() >= 0, "entries keep their order"
    assert torch.equal(truncate(z, 1.0), z)


def test_every_control_draws_its_pictures_again(play: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bytes] = []  # in the order of the page; a control changes what is there

    def display(thing: object, display_id: bool = False) -> SimpleNamespace:
        place = len(shown)
        shown.append(getattr(thing, "data", b""))
        return SimpleNamespace(update=lambda other: shown.__setitem__(place, other.data))

    monkeypatch.setattr(playground, "display", display)
    monkeypatch.setattr(playground, "milliseconds", lambda G, batch: 1.0)
    play.classes()
    play.interpolation()
    play.sizes()
    classes, interpolation, table, chart = (index for index, data in enumerate(shown) if data)
    changes = {
        play.student: ("l1-biggan", {classes, interpolation, table, chart}),
        play.truncation: (0.3, {classes, interpolation}),
        play.label: (5, {classes}),
        play.noise: (1, {classes}),
        play.start: (7, {interpolation}),
        play.end: (1, {interpolation}),
        play.first: (2, {interpolation}),
        play.last: (4, {interpolation}),
        play.t: (0.9, {interpolation}),
    }
    for control, (value, expected) in changes.items():
        before = list(shown)
        control.value = value
        assert {index for index, data in enumerate(shown) if data != before[index]} == expected, control.description


def test_at_the_smoke_profile_it_trains_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def train(config: RunConfig) -> None:
        trained.append(config.recipe.name)
        for recipe in ("biggan", config.recipe.name):
            fake_run(recipe, config.seed)

    monkeypatch.setattr(playground, "train_run", train)
    assert list(playground.find_runs(Study.of("smoke", [1]))) == ["biggan", *trained] == ["biggan", "ppcd"]


def test_where_there_is_nothing_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_RESULTS", str(tmp_path))
    with pytest.raises(PpcdError, match="profile cifar10 has no teacher and student of seed 1; take profile mnist or"):
        Playground(Study.of("cifar10", [1]))
