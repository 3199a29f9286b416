"""Figures 1, 3, 4, 6, 7 and 8: what they show, where it comes from, and what is missing."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from fake_runs import fake_generations, fake_run
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from paper import failures, judges, numbers
from paper.artifacts import compression, figures, interpolation, overview
from paper.artifacts import failures as failure_figures
from paper.artifacts.interpolation import between_classes, slerp
from paper.artifacts.sources import Study
from paper.intervals import t_interval
from ppcd.base import PpcdError
from ppcd.method.slim import slim
from ppcd.metrics.evaluators import get_evaluators
from ppcd.metrics.features import Features
from ppcd.metrics.fidelity import inception_score
from ppcd.networks.generators import Generator, build_generator


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def empty_panels(figure: Figure) -> int:
    return texts(figure).splitlines().count("not run")


def student(arch: str = "sagan", seed: int = 0) -> Generator:
    """A generator as a run saves it: slim; with embeddings that differ between classes."""
    dense = build_generator(arch, 32, 5, 2, dim_z=16, seed=seed)
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    return slim(dense.eval())


@pytest.mark.parametrize("arch", ["sagan", "biggan", "sngan", "tinygan"])
def test_classes_are_interpolated_from_the_one_to_the_other(arch: str) -> None:
    """t = 0 and t = 1 are exactly the images of the two classes, the middle is neither, nothing else changes."""
    generator = student(arch)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    mixed, labels = between_classes(generator, 1, 4, torch.tensor([0.0, 0.5, 1.0]))
    with torch.no_grad():
        for step, label in ((0, 1), (2, 4)):
            assert torch.equal(mixed(z, labels[step].repeat(3)), generator(z, torch.full((3,), label)))
        middle = mixed(z, labels[1].repeat(3))
        for label in (1, 4):
            assert not torch.allclose(middle, generator(z, torch.full((3,), label)), atol=1e-3)
        assert torch.equal(mixed(z, torch.tensor([0, 2, 3])), generator(z, torch.tensor([0, 2, 3])))
    assert mixed.num_classes == 8 and generator.num_classes == 5
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    with pytest.raises(PpcdError, match="labels must be in 0 to 4; got 1 and 5"):
        between_classes(generator, 1, 5, torch.zeros(1))


def test_slerp_has_exact_ends_and_keeps_the_length() -> None:
    first, second = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    second = second * first.norm() / second.norm()
    path = slerp(first, second, torch.linspace(0, 1, 9))
    assert torch.equal(path[0], first) and torch.equal(path[-1], second)
    torch.testing.assert_close(path.norm(dim=1), first.norm().expand(9))
    straight = slerp(first, -2 * first, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(straight, torch.stack([first, -first / 2, -2 * first]))


def test_figure_6_starts_and_ends_with_the_classes_themselves() -> None:
    record = fake_run("ppcd")
    z = interpolation.noise("smoke", 0, 2)
    images = interpolation.class_steps(record, z, 3, 8).unflatten(0, (2, interpolation.STEPS))
    for place, label in ((0, 3), (-1, 8)):
        torch.testing.assert_close(images[:, place], figures.examples(record, z, [label, label]), rtol=0, atol=1e-6)
    figure = interpolation.fig6("smoke")
    assert empty_panels(figure) == 3, "the teacher is not there"
    assert "class 3 (t = 0) to 8 (t = 1)" in texts(figure)
    assert "profile smoke · seed 0 · backbone classifier" in texts(figure)


def test_figure_7_starts_and_ends_with_the_noise_itself() -> None:
    record = fake_run("ppcd")
    images = interpolation.noise_steps(record, "smoke", 0, [2, 7]).unflatten(0, (2, interpolation.STEPS))
    ends = interpolation.noise("smoke", 0, 4)
    for place, z in ((0, ends[[0, 2]]), (-1, ends[[1, 3]])):
        torch.testing.assert_close(images[:, place], figures.examples(record, z, [2, 7]), rtol=0, atol=1e-6)
    assert empty_panels(interpolation.fig7("smoke")) == 1


def test_the_best_of_ten_has_the_highest_score() -> None:
    """Scores of single images make up the Inception score of them all."""
    generator = student()
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(3))
    backbone = SimpleNamespace(extract=lambda images: Features(logits, logits))
    best = judges.best_of(generator, backbone, seed=4)  # type: ignore[arg-type]
    scores, images = judges.image_scores(logits), judges.sample_images(generator, 50, 4)[0]
    assert float(scores.log().mean().exp()) == pytest.approx(inception_score(logits)[0], rel=1e-5)
    for label in range(5):
        mine = scores[label::5]  # samples take the classes in turns
        assert int(best.chosen[label]) == int(mine.argmax())
        assert torch.equal(best.images[label], images[label::5][int(mine.argmax())])


def test_figure_3_has_a_row_for_every_system_and_says_what_is_missing() -> None:
    fake_run("biggan")
    fake_run("ppcd")
    figure = figures.fig3("smoke")
    assert [axes.get_ylabel() for axes in figure.axes][1:4] == ["SA-GAN", "SN-GAN", "Tiny-GAN"]
    assert empty_panels(figure) == 3 and len(figure.findobj(AxesImage)) == 2
    assert "highest Inception score" in texts(figure) and "profile smoke · seed 0" in texts(figure)
    assert empty_panels(figures.fig3("smoke", seed=5)) == 5


def judged(probability: list[float], distance: list[float]) -> failures.Judged:
    count = len(probability)
    images, labels = torch.zeros(count, 3, 4, 4, dtype=torch.uint8), torch.arange(count) % 10
    return failures.Judged(images, labels, torch.tensor(probability), torch.tensor(distance))


def test_shares_are_counts_over_totals_and_the_worst_come_first() -> None:
    some = judged([0.9, 0.2, 0.49, 0.5, 0.1, 0.8], [0.5, 3.0, 1.0, 1.5, 0.2, 1.1])
    assert some.worst("unclear", 9).tolist() == [4, 1, 2] and some.worst("far", 2).tolist() == [1, 3]
    table = failure_figures.shares({"ppcd": some, "biggan": None}, "smoke", [0, 1]).set_index(["system", "rule"])
    assert table.loc["PPCD-GAN", "failures"].tolist() == [3, 3, 5]
    assert table.loc["PPCD-GAN", "share"].tolist() == [3 / 6, 3 / 6, 5 / 6]
    assert set(table.loc["Big-GAN (teacher)", "share"]) == {"not run"}
    assert "3 of 6 (50.0%)" in texts(failure_figures.fig8("smoke", (0,), {"ppcd": some}))


def test_nearest_distances_look_at_the_own_class_only() -> None:
    real = torch.tensor([[0.0], [1.0], [10.0], [14.0]])
    labels = torch.tensor([0, 0, 1, 1])
    alone = failures.nearest_distances(real, labels, real, labels, leave_one_out=True)
    assert alone.tolist() == [1, 1, 4, 4]
    mine = failures.nearest_distances(torch.tensor([[9.0], [9.0]]), torch.tensor([0, 1]), real, labels)
    assert mine.tolist() == [8, 1]
    with pytest.raises(PpcdError, match="class 2 has 0 real images"):
        failures.nearest_distances(torch.zeros(1, 1), torch.tensor([2]), real, labels)


def test_real_images_are_their_own_measure() -> None:
    """One real image in a hundred is far; copies of real images never are; those of another class are unclear."""
    data, _ = judges.get_judges("smoke")
    evaluators = get_evaluators(data, "classifier", classifier_epochs=20)
    real = failures.reference(data, evaluators)
    itself = failures.judge_real(len(data), evaluators, real)
    beyond = [int(itself.far[itself.labels == label].sum()) for label in range(10)]
    assert max(beyond) == 1 and sum(beyond) > 3, "of 20, at most one is beyond the 99th percentile (none: a tie)"
    copies = failures.judge(data.images[:30], data.labels[:30], evaluators, real)
    assert float(copies.distance.max()) < 1e-6
    for shift, low, high in ((0, 0.0, 0.1), (1, 0.9, 1.0)):
        found = failures.judge(data.images[:30], (data.labels[:30] + shift) % 10, evaluators, real)
        assert low <= float(found.unclear.double().mean()) <= high


def test_figure_8_says_its_rules_and_what_is_missing() -> None:
    fake_run("ppcd")
    fake_run("ppcd", 1)
    found = failure_figures.judged("smoke", (0, 1))
    assert found["biggan"] is None and found["ppcd"] is not None and len(found["ppcd"].labels) == 2 * 20
    figure = failure_figures.fig8("smoke", (0, 1), found)
    said = texts(figure)
    assert all(rule in said for rule in failures.RULES.values())
    assert said.count("not run") >= 2 and "seeds 0, 1" in said
    assert empty_panels(failure_figures.fig8("smoke", (7,))) >= 6


def test_circles_have_areas_in_proportion_to_the_parameters() -> None:
    fake_run("biggan", **{"is": 9.0, "fd": 1.0})  # 80k
    fake_run("ppcd", **{"is": 8.0, "fd": 4.0})  # 50k
    figure = overview.fig1("smoke")
    ours, theirs = figure.axes
    area = {circle.get_gid(): float(circle.get_sizes()[0]) for circle in ours.collections if circle.get_gid()}
    assert area["ppcd"] / area["biggan"] == pytest.approx(50 / 80)
    assert {circle.get_gid() for circle in theirs.collections} == set(numbers.TABLE1_ROWS)
    assert [list(map(float, circle.get_offsets()[0])) for circle in ours.collections] == [[9, 1], [8, 4]]
    assert "not run: SA-GAN, SN-GAN, Tiny-GAN" in texts(figure)
    assert empty_panels(overview.fig1("smoke", (9,))) == 1
    fake_run("ppcd", 1, **{"is": 9.0, "fd": 4.0})
    point = overview.our_points("smoke", (0, 1, 2)).loc["ppcd"]
    assert (point["is"], point["fd"]) == (8.5, 4.0) and point["is sd"] == pytest.approx(math.sqrt(0.5))


def ten(middle: float) -> list[float]:
    return [middle + 0.1 * (index - 4.5) for index in range(10)]


def test_figure_4_has_means_and_intervals() -> None:
    for seed in (0, 1, 2):
        fake_generations(fake_run("ppcd", seed), fd=ten(4.0 + seed))
    fake_run("ppcd-a0.6")  # complete, but not measured
    frame = compression.fig4_frame(Study("smoke", (0,))).set_index("recipe")
    one, several = frame.loc["ppcd"], compression.fig4_frame(Study("smoke", (0, 1, 2))).set_index("recipe").loc["ppcd"]
    assert list(frame.index) == compression.recipe_names() and len(frame) == 16
    assert (one["mean"], one["generations"], one["interval over"]) == (pytest.approx(4.0), 10, "generations")
    assert (one["low"], one["high"]) == pytest.approx(t_interval(ten(4.0)))
    assert (several["mean"], several["generations"], several["interval over"]) == (pytest.approx(5.0), 30, "seeds")
    assert (several["low"], several["high"]) == pytest.approx(t_interval([4.0, 5.0, 6.0]))
    assert frame.loc["ppcd-a0.6", "status"] == "no generations" and frame.loc["l1-sagan", "status"] == "not run"
    printed = frame["paper FID"].dropna()
    assert printed.to_dict() == {"ppcd": 12.76, "ppcd-two-step-a0.5": 15.76, "ppcd-a0.5": 14.26}


def test_figure_4_is_also_drawn_over_what_the_networks_cost() -> None:
    for recipe, mean, params in (("ppcd", 4.0, 40_000), ("ppcd-a0.8", 9.0, 30_000), ("l1-sagan", 7.0, 20_000)):
        fake_generations(fake_run(recipe, params=params), fd=ten(mean))
    study = Study("smoke", [0])
    frame = compression.fig4_frame(study)
    table = compression.fig4_table(study, frame).query("method == 'SA-GAN, l1 pruning'").set_index("alpha")
    assert table.loc["0.7", ["#Par.", "MACs"]].tolist() == ["20k", "200k"] and table.loc["0.6", "MACs"] == "not run"
    by_params, _ = compression.fig4_size(study, frame).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in by_params.lines}
    assert drawn["PPCD-GAN"] == [[40_000, 4.0], [30_000, 9.0]] and drawn["SA-GAN, l1 pruning"] == [[20_000, 7.0]]


def test_figure_4_writes_its_numbers_and_says_what_is_missing() -> None:
    fake_generations(fake_run("ppcd-a0.5"), fd=ten(4.0))
    fake_generations(fake_run("ppcd-a0.8"), fd=ten(40.0))
    written = {path.name: path for path in compression.write_fig4("smoke")}
    assert list(written) == ["fig4.png", "fig4.pdf", "fig4_size.png", "fig4_size.pdf", "fig4.csv"]
    read = pd.read_csv(written["fig4.csv"], keep_default_na=False).set_index("recipe")
    assert float(read.loc["ppcd-a0.5", "mean"]) == 4.0 and read.loc["l1-biggan", "mean"] == "not run"
    assert read.loc["ppcd-a0.5", "runs"].startswith("ppcd-a0.5-s0-") and "" not in read.to_numpy()
    study = Study("smoke", [0])
    figure = compression.fig4(study, compression.fig4_frame(study))
    said = texts(figure).replace("\n", " ")
    assert "not run: ppcd-a0.6, ppcd, ppcd-two-step-a0.5, " in said
    assert "95% t interval of the mean over generations" in said
    assert "PPCD-GAN, α 0.5: 14.26 (Table 3)" in said and "backbone classifier" in said
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert lines and list(lines[0].get_ydata()) == [4.0, 40.0], "none of the paper's numbers is on our axis"


def test_figures_are_the_same_bytes_every_time_and_no_global_seed_matters() -> None:
    fake_run("biggan")
    fake_generations(fake_run("ppcd"), fd=ten(4.0))

    def written(seed: int) -> list[bytes]:
        torch.manual_seed(seed)
        drawn = figures.save(interpolation.fig6("smoke"), "smoke", "fig6")
        return [path.read_bytes() for path in (*compression.write_fig4("smoke"), *drawn)]

    assert written(seed=1) == written(seed=2)
