"""Figures 1, 3, 4, 6, 7 and 8: what they show, where it comes from, and what is missing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fake_runs import fake_run, smoke
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from scipy import stats

from paper import failures, generations, judges, measurements, numbers
from paper.artifacts import compression, figures, framework, interpolation, overview
from paper.artifacts import failures as failure_figures
from paper.artifacts.interpolation import between_classes, slerp
from paper.intervals import t_interval
from ppcd.base import PpcdError
from ppcd.method.slim import slim
from ppcd.metrics.evaluators import get_evaluators
from ppcd.metrics.features import Features
from ppcd.metrics.fidelity import inception_score
from ppcd.networks.generators import Generator, build_generator
from ppcd.records import Record


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def empty_panels(figure: Figure) -> int:
    return texts(figure).splitlines().count("not run")


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in figure.findobj(AxesImage)]


# --- Interpolation ---


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


def test_what_cannot_be_interpolated_is_refused() -> None:
    with pytest.raises(PpcdError, match="labels must be in 0 to 4; got 1 and 5"):
        between_classes(student(), 1, 5, torch.zeros(1))
    with pytest.raises(PpcdError, match="slim it first"):
        between_classes(_without_embeddings(), 0, 1, torch.zeros(1))


def _without_embeddings() -> torch.nn.Module:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    network.num_classes = 3  # type: ignore[assignment]
    return network


def test_slerp_has_exact_ends_and_keeps_the_length() -> None:
    first, second = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    second = second * first.norm() / second.norm()
    path = slerp(first, second, torch.linspace(0, 1, 9))
    assert torch.equal(path[0], first) and torch.equal(path[-1], second)
    torch.testing.assert_close(path.norm(dim=1), first.norm().expand(9))
    straight = torch.lerp(first[None], second[None], torch.linspace(0, 1, 9)[:, None])
    assert float(straight[4].norm()) < 0.9 * float(first.norm()), "a line would not"
    angles = torch.arccos((path[1:] * path[:-1]).sum(1) / first.norm() ** 2)
    torch.testing.assert_close(angles, angles[:1].expand(8), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
def test_slerp_of_vectors_on_one_line_is_the_line(factor: float) -> None:
    first = torch.randn(8, generator=torch.Generator().manual_seed(0))
    path = slerp(first, factor * first, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(path, torch.stack([first, (1 + factor) / 2 * first, factor * first]))


def test_figure_6_starts_and_ends_with_the_classes_themselves() -> None:
    record = fake_run("ppcd")
    z = interpolation.noise(smoke(), 2)
    images = interpolation.class_steps(record, z, 3, 8).unflatten(0, (2, interpolation.STEPS))
    for place, label in ((0, 3), (-1, 8)):
        torch.testing.assert_close(images[:, place], figures.examples(record, z, [label, label]), rtol=0, atol=1e-6)
    figure = interpolation.fig6(smoke())
    assert empty_panels(figure) == 3, "the teacher is not there"
    assert "class 3 (t = 0) to 8 (t = 1)" in texts(figure)
    assert "profile smoke · seed 0 · backbone classifier" in texts(figure)


def test_figure_7_starts_and_ends_with_the_noise_itself() -> None:
    record = fake_run("ppcd")
    images = interpolation.noise_steps(record, smoke(), [2, 7]).unflatten(0, (2, interpolation.STEPS))
    ends = interpolation.noise(smoke(), 4)
    for place in (0, -1):
        expected = figures.examples(record, ends[[0, 2]] if place == 0 else ends[[1, 3]], [2, 7])
        torch.testing.assert_close(images[:, place], expected, rtol=0, atol=1e-6)
    figure = interpolation.fig7(smoke())
    assert empty_panels(figure) == 1
    differ = interpolation.ends_differ(images.flatten(0, 1))
    assert differ == pytest.approx(float((images[:, 0] - images[:, -1]).abs().mean())) and differ > 0
    assert interpolation.ends_differ(images[:, :1].repeat(1, interpolation.STEPS, 1, 1, 1).flatten(0, 1)) == 0


# --- Figure 3 ---


class TableOfLogits:
    """A backbone whose logits are given."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def extract(self, images: torch.Tensor) -> Features:
        return Features(self.logits, self.logits)


def test_scores_of_images_make_up_the_inception_score() -> None:
    logits = 3 * torch.randn(40, 10, generator=torch.Generator().manual_seed(0))
    scores = judges.image_scores(logits)
    assert float(scores.log().mean().exp()) == pytest.approx(inception_score(logits)[0], rel=1e-5)
    assert float(scores.min()) >= 1
    torch.testing.assert_close(judges.image_scores(torch.zeros(5, 4)), torch.ones(5, dtype=torch.float64))


def test_the_best_of_ten_has_the_highest_score() -> None:
    generator = student()
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(3))
    best = judges.best_of(generator, TableOfLogits(logits), seed=4)  # type: ignore[arg-type]
    scores, images = judges.image_scores(logits), judges.sample_images(generator, 50, 4)[0]
    for label in range(5):
        mine = scores[label::5]  # samples take the classes in turns
        assert torch.equal(best[label], images[label::5][int(mine.argmax())])
        worst = images[label::5][int(mine.argmin())]
        assert not torch.equal(best[label], worst)


def test_figure_3_has_a_row_for_every_system_and_says_what_is_missing() -> None:
    fake_run("biggan")
    fake_run("ppcd")
    figure = figures.fig3(smoke())
    assert [axes.get_ylabel() for axes in figure.axes][1:4] == ["SA-GAN", "SN-GAN", "Tiny-GAN"]
    assert empty_panels(figure) == 3 and len(pictures(figure)) == 2
    assert len(figures.FIGURE3_LABELS["mnist"]) == 9
    assert "highest Inception score" in texts(figure) and "profile smoke · seed 0" in texts(figure)
    assert empty_panels(figures.fig3(smoke(5))) == 5


# --- Figure 8 ---


def blank(count: int) -> torch.Tensor:
    return torch.zeros(count, 3, 4, 4, dtype=torch.uint8)


def judged(probability: list[float], distance: list[float]) -> failures.Judged:
    count = len(probability)
    return failures.Judged(
        blank(count), torch.arange(count) % 10, torch.tensor(probability), torch.tensor(distance)
    )  # fmt: skip


def test_perfect_images_never_fail() -> None:
    perfect = judged([1.0] * 8, [0.0] * 8)
    assert not perfect.unclear.any() and not perfect.far.any()
    assert len(perfect.worst("unclear", 5)) == len(perfect.worst("far", 5)) == 0
    table = failure_figures.shares({"ppcd": perfect}, smoke())
    assert table["failures"].tolist() == [0, 0, 0] and table["share"].tolist() == [0.0, 0.0, 0.0]
    figure = failure_figures.fig8(smoke(), {"ppcd": perfect})
    assert [axes.get_xticklabels()[0].get_text() for axes in figure.findobj(Axes)] == ["none"] * 2


def test_shares_are_counts_over_totals_and_the_worst_come_first() -> None:
    some = judged([0.9, 0.2, 0.49, 0.5, 0.1, 0.8], [0.5, 3.0, 1.0, 1.5, 0.2, 1.1])
    assert some.worst("unclear", 2).tolist() == [4, 1] and some.worst("unclear", 9).tolist() == [4, 1, 2]
    assert some.worst("far", 9).tolist() == [1, 3, 5]
    table = failure_figures.shares({"ppcd": some, "biggan": None}, smoke(0, 1)).set_index(["system", "rule"])
    assert table.loc["PPCD-GAN", "failures"].tolist() == [3, 3, 5]
    assert table.loc["PPCD-GAN", "share"].tolist() == [3 / 6, 3 / 6, 5 / 6]
    assert set(table.loc["Big-GAN (teacher)", "share"]) == {"not run"}
    assert "3 of 6 (50.0%)" in texts(failure_figures.fig8(smoke(), {"ppcd": some}))
    both = failures.join([some, some])
    assert int(both.unclear.sum()) == 6 and len(both.labels) == 12


def test_nearest_distances_look_at_the_own_class_only() -> None:
    real = torch.tensor([[0.0], [1.0], [10.0], [14.0]])
    labels = torch.tensor([0, 0, 1, 1])
    alone = failures.nearest_distances(real, labels, real, labels, leave_one_out=True)
    assert alone.tolist() == [1, 1, 4, 4]
    assert failures.nearest_distances(real, labels, real, labels).tolist() == [0, 0, 0, 0]
    mine = failures.nearest_distances(torch.tensor([[9.0], [9.0]]), torch.tensor([0, 1]), real, labels)
    assert mine.tolist() == [8, 1]
    with pytest.raises(PpcdError, match="class 2 has 0 real images"):
        failures.nearest_distances(torch.zeros(1, 1), torch.tensor([2]), real, labels)


def test_real_images_are_their_own_measure() -> None:
    """One real image in a hundred is far; copies of real images never are; noise always is."""
    data, _ = judges.get_judges(smoke())
    evaluators = get_evaluators(data, "classifier", classifier_epochs=20)
    real = failures.reference(data, evaluators)
    itself = failures.judge_real(len(data), evaluators, real)
    beyond = [int(itself.far[itself.labels == label].sum()) for label in range(10)]
    assert max(beyond) == 1 and sum(beyond) > 3, "of 20, at most one is beyond the 99th percentile (none: a tie)"
    copies = failures.judge(data.images[:30], data.labels[:30], evaluators, real)
    assert float(copies.distance.max()) < 1e-6
    noise = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert bool(failures.judge(noise, torch.arange(20) % 10, evaluators, real).far.all())
    wrong = failures.judge(data.images[:30], (data.labels[:30] + 1) % 10, evaluators, real)
    right = failures.judge(data.images[:30], data.labels[:30], evaluators, real)
    assert float(wrong.unclear.double().mean()) > 0.9
    assert float(right.unclear.double().mean()) < 0.1


def test_figure_8_says_its_rules_and_what_is_missing() -> None:
    fake_run("ppcd")
    fake_run("ppcd", 1)
    found = failure_figures.judged(smoke(0, 1))
    assert found["biggan"] is None and found["ppcd"] is not None and len(found["ppcd"].labels) == 2 * 20
    figure = failure_figures.fig8(smoke(0, 1), found)
    said = texts(figure)
    assert all(rule in said for rule in failures.RULES.values())
    assert said.count("not run") >= 2 and "seeds 0, 1" in said and "no background" in said
    assert empty_panels(failure_figures.fig8(smoke(7))) >= 6


# --- Figure 1 ---


def test_circles_have_areas_in_proportion_to_the_parameters() -> None:
    fake_run("biggan", **{"is": 9.0, "fd": 1.0})  # 80k
    fake_run("ppcd", **{"is": 8.0, "fd": 4.0})  # 50k
    figure = overview.fig1(smoke())
    ours, theirs = figure.axes
    area = {circle.get_gid(): float(circle.get_sizes()[0]) for circle in ours.collections if circle.get_gid()}
    assert area["ppcd"] / area["biggan"] == pytest.approx(50 / 80)
    printed = {circle.get_gid(): float(circle.get_sizes()[0]) for circle in theirs.collections}
    assert list(sorted(printed)) == sorted(numbers.TABLE1_ROWS)
    for recipe, row in numbers.TABLE1_ROWS.items():
        ratio = numbers.published(1, row, "#Par.").value / numbers.published(1, "Big-GAN", "#Par.").value
        assert printed[recipe] / printed["biggan"] == pytest.approx(ratio)
    assert all(circle.get_facecolor().size == 0 for circle in theirs.collections), "the paper's are hollow"
    assert all(circle.get_facecolor().size == 4 for circle in ours.collections if circle.get_gid())
    assert [list(map(float, circle.get_offsets()[0])) for circle in ours.collections] == [[9, 1], [8, 4]]
    said = texts(figure)
    assert "not run: SA-GAN, SN-GAN, Tiny-GAN" in said
    assert empty_panels(overview.fig1(smoke(9))) == 1
    fake_run("ppcd", 1, **{"is": 9.0, "fd": 4.0})
    point = overview.our_points(smoke(0, 1, 2)).loc["ppcd"]
    assert (point["is"], point["fd"]) == (8.5, 4.0) and point["is sd"] == pytest.approx(math.sqrt(0.5))


# --- Figure 4 ---


def fake_generations(record: Record, distances: list[float]) -> None:
    """generations.json of a run, with these Fréchet distances."""
    scores = {"is": 5.0, "diversity": 0.3, "accuracy": 0.9, "leakage": 0.1}
    rows = [{"seed": seed, "fd": fd, **scores} for seed, fd in zip(generations.SEEDS, distances, strict=True)]
    whole = {
        "schema": measurements.SCHEMA,
        "run": record["id"],
        "generator_sha256": record["files"]["generator.safetensors"],
        "protocol": generations._expected_protocol(record),
        "generations": rows,
    }
    path = record.directory / "generations.json"
    path.write_text(json.dumps(whole))


def ten(middle: float, step: float = 0.1) -> list[float]:
    return [middle + step * (index - 4.5) for index in range(10)]


def test_figure_4_has_means_and_intervals_of_ten_generations() -> None:
    fake_generations(fake_run("ppcd-a0.5"), ten(4.0))
    fake_generations(fake_run("ppcd"), ten(6.0, 0.4))
    fake_run("ppcd-a0.6")  # complete, but not measured
    frame = compression.fig4_frame(smoke()).set_index("recipe")
    assert list(frame.index) == compression.recipe_names() and len(frame) == 16
    row = frame.loc["ppcd-a0.5"]
    assert row["mean"] == pytest.approx(4.0) and row["generations"] == 10
    error = 0.1 * math.sqrt(99 / 12) / math.sqrt(10)  # standard error of the mean of ten equal steps
    half = stats.t.ppf(0.975, 9) * error * math.sqrt(10 / 9)
    assert (row["low"], row["high"]) == pytest.approx((4 - half, 4 + half))
    wide = frame.loc["ppcd"]
    assert (wide["high"] - wide["low"]) == pytest.approx(4 * (row["high"] - row["low"]))
    assert frame.loc["ppcd-a0.6", "status"] == "no generations" and frame.loc["l1-sagan", "status"] == "not run"
    assert (frame.loc["ppcd", "paper FID"], frame.loc["ppcd-two-step-a0.5", "paper FID"]) == (12.76, 15.76)
    assert frame.loc["ppcd-a0.5", "paper FID"] == 14.26 and frame["paper FID"].notna().sum() == 3


def test_with_several_seeds_the_interval_is_over_them() -> None:
    for seed in (0, 1, 2):
        fake_generations(fake_run("ppcd", seed), ten(4.0 + seed))
    several = compression.fig4_frame(smoke(0, 1, 2)).set_index("recipe").loc["ppcd"]
    one = compression.fig4_frame(smoke(1)).set_index("recipe").loc["ppcd"]
    assert several["mean"] == pytest.approx(one["mean"]) and several["generations"] == 30
    assert several["high"] - several["low"] > 5 * (one["high"] - one["low"])
    assert (several["low"], several["high"]) == pytest.approx(t_interval([4.0, 5.0, 6.0]))
    assert (several["interval over"], one["interval over"]) == ("seeds", "generations")
    for seed, mean in enumerate((1.0, 2.0, 9.0)):
        fake_generations(fake_run("ppcd-a0.5", seed), ten(mean, 0.01))
    apart = compression.fig4_frame(smoke(0, 1, 2)).set_index("recipe").loc["ppcd-a0.5"]
    assert apart["low"] == 0, "no distance is less"


def test_figure_4_is_also_drawn_over_what_the_networks_cost() -> None:
    for recipe, mean, params in (("ppcd", 4.0, 40_000), ("ppcd-a0.8", 9.0, 30_000), ("l1-sagan", 7.0, 20_000)):
        fake_generations(fake_run(recipe, params=params), ten(mean))
    study = smoke()
    frame = compression.fig4_frame(study)
    table = compression.fig4_table(study, frame).query("method == 'SA-GAN, l1 pruning'").set_index("alpha")
    assert table.loc["0.7", ["#Par.", "MACs", "generations"]].tolist() == ["20k", "200k", 10]
    assert table.loc["0.6", ["#Par.", "MACs", "paper's FID"]].tolist() == ["not run", "not run", "–"]
    by_params, by_macs = compression.fig4_size(study, frame).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in by_params.lines}
    assert drawn["PPCD-GAN"] == [[40_000, 4.0], [30_000, 9.0]] and drawn["SA-GAN, l1 pruning"] == [[20_000, 7.0]]
    assert by_macs.lines[0].get_xdata().tolist() == [400_000, 300_000]


def test_figure_4_writes_its_numbers_and_says_what_is_missing() -> None:
    fake_generations(fake_run("ppcd-a0.5"), ten(4.0))
    fake_generations(fake_run("ppcd-a0.8"), ten(40.0))
    written = compression.write_fig4(smoke())
    assert [path.name for path in written] == ["fig4.png", "fig4.pdf", "fig4_size.png", "fig4_size.pdf", "fig4.csv"]
    written.pop(2)
    written.pop(2)
    read = pd.read_csv(written[2], keep_default_na=False).set_index("recipe")
    assert float(read.loc["ppcd-a0.5", "mean"]) == 4.0 and read.loc["l1-biggan", "mean"] == "not run"
    assert read.loc["ppcd-a0.5", "runs"].startswith("ppcd-a0.5-s0-") and "" not in read.to_numpy()
    study = smoke()
    figure = compression.fig4(study, compression.fig4_frame(study))
    said = texts(figure)
    assert figure.axes[0].get_yscale() == "log", "a tenfold range"
    assert "not run: ppcd-a0.6, ppcd, ppcd-two-step-a0.5, " in said.replace("\n", " ")
    assert "95% t interval of the mean over generations" in said.replace("\n", " ")
    assert figure.axes[0].get_ylim() == (2.0, 60.0), "half of the lowest mean, and half more than the highest"
    assert "PPCD-GAN, α 0.5: 14.26 (Table 3)" in said and "backbone classifier" in said
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"]
    assert lines and list(lines[0].get_ydata()) == [4.0, 40.0], "none of the paper's numbers is on our axis"
    other = smoke(3)
    assert texts(compression.fig4(other, compression.fig4_frame(other))).count("not run") >= 5


def test_other_alphas_have_files_of_their_own() -> None:
    assert [path.name for path in compression.write_fig4(smoke(), (0.5, 0.7))] == [
        "fig4-a0.5-0.7.png", "fig4-a0.5-0.7.pdf", "fig4-a0.5-0.7.csv",
    ]  # fmt: skip
    with pytest.raises(PpcdError, match="alpha must be a number in"):
        compression.fig4_frame(smoke(), (1.5,))


# --- All of them ---


WRITERS: dict[str, Callable[[], list[Path]]] = {
    "fig2": lambda: figures.save(framework.fig2(smoke().profile), smoke().figures, "fig2"),
    "fig4": lambda: compression.write_fig4(smoke()),
    "fig6": lambda: figures.save(interpolation.fig6(smoke()), smoke().figures, "fig6"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_figures_are_the_same_bytes_every_time_and_no_global_seed_matters(name: str) -> None:
    fake_run("biggan")
    fake_generations(fake_run("ppcd"), ten(4.0))
    torch.manual_seed(1)
    written = WRITERS[name]()
    assert [path.name for path in written[:2]] == [f"{name}.png", f"{name}.pdf"]
    first = [path.read_bytes() for path in written]
    torch.manual_seed(2)
    np.random.seed(2)
    assert [path.read_bytes() for path in WRITERS[name]()] == first
    assert b"CreationDate" not in first[1]
