"""The bench: turns, ratios and memory, cases that die, every part in quick, targets, tables and figures."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bench_cases
import nbformat
import pytest
import torch
from fake_bench import fake_bench, played
from reference import give_back_memory

from paper import notebook, training_cost
from paper.artifacts import speed, speed_figures
from paper.bench import latency, results, runner, targets, training
from paper.bench.__main__ import main
from paper.bench.cases import Case, Group
from paper.reproduce import notebooks
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.compute import FAST
from ppcd.runs import provenance
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent


def group_of(*cases: Case, rounds: int = 3, turn: float = 0.0) -> Group:
    return Group("scene", {"batch": 8, "threads": 1}, 8, cases[0].name, cases, rounds, turn)


# --- Turns ---


class Actor:
    """A worker that computes nothing and notes down when it is asked."""

    notes: list[str]

    def __init__(self, case: Case, turn: float) -> None:
        self.case, self.seconds = case, iter(case.settings["seconds"])

    def answer(self) -> dict[str, Any]:
        return {}

    def ask(self, what: str) -> dict[str, Any]:
        Actor.notes.append(f"{what} {self.case.name}")
        if what == "build":
            return {"warm_up": 1.5, "repeats": 3}
        return {"seconds": next(self.seconds), "peak": self.case.settings["peak"]}

    def close(self) -> None:
        Actor.notes.append(f"close {self.case.name}")


def actor(name: str, seconds: list[float], peak: int = 200) -> Case:
    return Case(name, f"the {name}", bench_cases.make, {"seconds": seconds, "peak": peak})


def test_each_case_has_one_turn_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "Worker", Actor)
    Actor.notes = []
    cases = actor("slow", [4.0, 2.0, 3.0]), actor("fast", [1.0, 1.0, 3.0]), actor("lean", [8.0] * 3, peak=150)
    found = runner.take_turns(group_of(*cases))
    asked = [note.split() for note in Actor.notes]
    assert [name for what, name in asked if what == "build"] == ["slow", "fast", "lean"]
    turns = [name for what, name in asked if what == "go"]
    rounds = [turns[start : start + 3] for start in (0, 3, 6)]
    assert rounds == [["slow", "fast", "lean"], ["slow", "lean", "fast"], ["lean", "slow", "fast"]]
    assert {name for what, name in asked if what == "close"} == {"slow", "fast", "lean"}

    slow, fast, lean = found["cases"]
    assert (found["rounds"], found["baseline"], found["images"]) == (3, "slow", 8)
    assert fast["seconds"] == [1.0, 1.0, 3.0] and fast["median"] == 1.0 and fast["images_per_second"] == 8.0
    assert fast["ratio"] == {"median": 2.0, "lowest": 1.0, "highest": 4.0}, "within rounds: 4/1, 2/1, 3/3"
    assert slow["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}
    assert (fast["repeats"], fast["warm_up"], lean["peak"]) == (3, 1.5, 150)
    assert {key: fast[key] for key in ("name", "label", "threads", "settings")} == {
        key: value for key, value in asdict(cases[1]).items() if key != "make"
    }


@pytest.mark.parametrize(
    ("fails", "after", "said"),
    [
        ("killed", 0, "case ill ended: signal 9, out of memory?"),
        ("exit", 2, "case ill ended: status 3"),
        ("error", 3, "case ill failed: the disk is full"),
    ],
)
def test_a_case_that_fails_takes_one_line(fails: str, after: int, said: str) -> None:
    ill = Case("ill", "ill", bench_cases.make, {"fails": fails, "after": after})
    with pytest.raises(PpcdError) as raised:
        runner.take_turns(group_of(ill))
    assert str(raised.value) == said


def test_a_real_process_draws_and_ends_by_itself() -> None:
    (group,) = latency.groups(quick=True)
    worker = runner.Worker(group.cases[0], 0.0)
    assert worker.answer() == {} and worker.ask("build")["repeats"] == 1
    found = worker.ask("go")
    assert found["seconds"] > 0 and found["peak"] > 2**26
    worker.close()
    assert worker._process.exitcode == 0


# --- A case's process ---


def measured(work: Callable[[], object], turn: float) -> runner.Measured:
    return runner.Measured(Case("a", "a", lambda settings: work, {}), turn)


def test_short_work_is_repeated_after_one_that_is_not_timed() -> None:
    calls: list[int] = []
    once = measured(lambda: calls.append(1), turn=0.0)
    assert once.build()["repeats"] == 1 and len(calls) == runner.WARM_UPS
    assert once.go()["seconds"] > 0 and len(calls) == runner.WARM_UPS + 1
    calls.clear()
    often = measured(lambda: calls.append(1), turn=1.0)
    assert often.build()["repeats"] == runner.MOST
    often.go()
    assert len(calls) == runner.WARM_UPS + 1 + runner.MOST


def test_memory_is_what_a_turn_touches() -> None:
    process = measured(lambda: torch.ones(32 * 2**18), turn=0.0)  # 32 MiB
    give_back_memory()
    training_cost.reset_peak("cpu")
    before = training_cost.peak_memory("cpu")
    process.build()
    assert process.go()["peak"] - before > 28 * 2**20


# --- What the cases are ---


def test_everything_that_was_asked_for_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++")
    scenes = [(group.scene, group.about["batch"], group.about["threads"]) for group in latency.groups(quick=False)]
    assert {("imagenet128", batch, threads) for batch in (1, 8, 64) for threads in (1, 2)} <= set(scenes)
    assert {(name, batch, 1) for name in ("mnist", "cifar10-lite") for batch in (1, 64)} <= set(scenes)
    pair, *pruning = training.groups(quick=False)
    plain = pair.cases[0]
    assert (plain.name, plain.threads) == (pair.baseline, 2)
    size = {"width": 32, "dim_z": 80, "batch": 32, "precision": "no", "keep_freed": False}
    assert size.items() <= plain.settings.items()
    step = training.pair({**plain.settings, "width": 4})
    trainer = step.__self__  # type: ignore[attr-defined]
    assert trainer.settings.discriminator_steps == 1 and trainer.ema.start == 0 and trainer.settings.averaged
    names = {"merged", "boxed", "channels-last", "fused", "allocator", "bf16", "compiled", "together"}
    others = {each.name: each.settings for each in pair.cases[1:]}
    assert names < set(others) and plain.settings not in others.values()
    assert [len(group.cases) for group in pruning] == [8, 8]
    for group, width in zip(pruning, (6, 32), strict=True):
        assert {each.threads for each in group.cases} == {1}
        assert {each.settings["width"] for each in group.cases} == {group.about["width"]} == {width}


def test_without_a_compiler_its_cases_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = {"compiled", "together-compiled", "together-compiled-bf16"}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    assert compiled.isdisjoint(each.name for each in training.pair_cases(False))
    monkeypatch.setenv("CXX", "c++")
    assert compiled <= {each.name for each in training.pair_cases(False)}


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_masks_keep_what_alpha_leaves(frozen: bool) -> None:
    step = training.pruning({"profile": "smoke", "width": 2, "seed": 0, "forms": asdict(FAST), "frozen": frozen})
    masks = step.__self__.generator.masks().values()  # type: ignore[attr-defined]
    assert [mask.frozen for mask in masks] == [frozen] * 6
    assert {int(mask.kept.sum()) for mask in masks} == ({2} if frozen else {8}), "the smallest c with c/8 > 0.7 is 6"
    step()
    assert [mask.frozen for mask in masks] == [frozen] * 6


@pytest.mark.parametrize("form", latency.FORMS)
def test_every_form_draws_the_same_images(form: str) -> None:
    config = latency.student(get_profile("smoke"), 0.3)
    drawn = latency.draw({"network": json.loads(json.dumps(config.to_dict())), "form": form, "batch": 2, "seed": 1})()
    images = torch.from_numpy(drawn[0]) if form == "onnx" else drawn  # type: ignore[index]
    noise, generator = torch.Generator().manual_seed(1), latency.build(config, 1)
    z, y = torch.randn(2, config.dim_z, generator=noise), torch.randint(config.num_classes, (2,), generator=noise)
    with torch.no_grad():
        torch.testing.assert_close(images, generator(z, y), atol=1e-4, rtol=0)


# --- The file, every part in quick ---


class Inside:
    """A worker in this process: the real work, without the seconds of its imports."""

    def __init__(self, case: Case, turn: float) -> None:
        self.measured = runner.Measured(case, turn)

    def answer(self) -> dict[str, Any]:
        return {}

    def ask(self, what: str) -> dict[str, Any]:
        return self.measured.build() if what == "build" else self.measured.go()

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Every part in quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "Worker", Inside)
        patch.setattr(runner, "reset_peak", lambda device: None)
        assert main(["--quick"]) == 0
        yield results.read(quick=True)


def test_quick_measures_every_part(quick: dict[str, Any]) -> None:
    assert set(quick["parts"]) == set(results.PARTS) and not results.place().exists()
    for part in quick["parts"].values():
        assert part["provenance"]["finished"] and part["provenance"]["libraries"]["torch"]
        for group in part["groups"]:
            assert group["rounds"] == 3 and all(len(each["seconds"]) == 3 for each in group["cases"])
    slim = quick["parts"]["latency"]["groups"][0]["cases"][-1]
    assert slim["share"] == pytest.approx(slim["ratio"]["median"] / slim["macs_ratio"])
    assert not any(target["measured"] for target in quick["targets"].values()), "quick numbers meet no target"
    assert f"({provenance.instructions()}), " in speed.title(quick), "with the processor's name"
    assert set(speed.targets_table(quick)["measured"]) == {"not run"}


def test_parts_of_an_earlier_bench_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(name: str, *_: Any) -> dict[str, Any]:
        number = next(numbers)
        if number == 1:
            raise PpcdError("case x failed: the disk is full")
        return {"groups": [], "provenance": {"n": number}, "load": None}

    def there() -> dict[str, int]:
        return {name: part["provenance"]["n"] for name, part in results.read()["parts"].items()}

    numbers = iter(range(9))
    monkeypatch.setattr(results, "_measure_part", measured)
    with pytest.raises(PpcdError, match="the disk is full"):
        results.measure(["training", "latency"])
    assert there() == {"training": 0}
    results.ensure("missing")
    assert there() == {"training": 0, "latency": 2}
    results.measure(["training"])
    assert there() == {"training": 3, "latency": 2}
    results.ensure("never")
    assert there() == {"training": 3, "latency": 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "latency,trainig"], "unknown part 'trainig'; expected some of: latency,training"),
        (["--parts", ""], "unknown part ''"),
    ],
)
def test_mistakes_take_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("ppcd: ") and said in error and error.count("\n") == 1
    assert not results.place().exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 2, "parts": {"latency": {}}}'])
def test_a_damaged_file_takes_one_line(text: str) -> None:
    paths.write_atomic(results.place(), text)
    for use in (results.read, lambda: results.ensure("missing"), lambda: results.measure(["latency"])):
        with pytest.raises(PpcdError, match=r"^.*bench\.json: .*; restore it, or delete it and measure again$"):
            use()
    assert results.place().read_text() == text


def test_nothing_is_measured_where_that_is_not_wanted() -> None:
    with pytest.raises(PpcdError, match=r"^speed was not measured yet; `make bench` does it, or measure = 'missing'$"):
        results.ensure("never")


# --- Targets, tables and figures of a whole bench ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A bench with everything in it, without the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(tmp_path_factory.mktemp("whole")))
        return fake_bench(patch)


def test_targets_say_what_was_asked_and_measured(whole: dict[str, Any]) -> None:
    trained, stricter, inference = whole["targets"].values()
    assert [each["at_least"] for each in (trained, stricter, inference)] == [2.0, 2.0, 10.0]
    assert inference["met"] and inference["ratio"]["median"] > 10 and inference["peak"] < inference["peak_baseline"]
    group = targets.find_group(whole["parts"]["training"], "pair", {})
    assert group is not None
    (together,) = [each for each in group["cases"] if each["name"] == "together"]
    assert trained["ratio"] == together["ratio"]
    assert 1 < stricter["ratio"]["median"] < trained["ratio"]["median"], "the allocator's part is not the computation's"
    assert list(speed.targets_table(whole)["met"])[2] == "yes"


def test_a_target_that_is_not_met_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "take_turns", lambda group: played(group, faster=0.5))
    results.measure(["latency", "training"])
    content = results.read()
    assert not any(target["faster"] for target in content["targets"].values())
    assert list(speed.targets_table(content)["met"]) == ["no", "no", "no"]

    def hungry(group: Group) -> dict[str, Any]:
        found = played(group)
        for each in found["cases"][1:]:
            each["peak"] = 2**33
        return found

    monkeypatch.setattr(results, "take_turns", hungry)
    results.measure(["latency"])
    content = results.read()
    target = content["targets"]["inference"]
    assert target["faster"] and not target["lean"] and not target["met"], "faster with more memory does not meet it"
    assert "no: memory" in set(speed.targets_table(content)["met"])


def test_the_summary_has_the_targets_and_a_row_for_each_case(whole: dict[str, Any]) -> None:
    text = speed.write_summary(whole).read_text()
    assert text.count("all, float32") == 3 and "imagenet128, batch 64, 2 threads" in text and "1 thread" not in text
    assert all(len(line.split("|")) > 4 for line in text.splitlines()[2:] if line)


def test_the_figures_show_everything(whole: dict[str, Any]) -> None:
    pair, *pruning = speed_figures.training_figure(whole).axes
    assert [len(axes.patches) for axes in (pair, *pruning)] == [12, 8, 8]
    widths = ["a step of joint PPCD-GAN (cifar10-lite, width 6", "a step of joint PPCD-GAN (cifar10-lite, width 32"]
    assert [axes.get_title(loc="left").split(", batch")[0] for axes in pruning] == widths
    first = whole["parts"]["training"]["groups"][0]["cases"]
    assert [patch.get_width() for patch in pair.patches] == [each["ratio"]["median"] for each in first]
    share = speed_figures.share_figure(whole).axes[0]
    said = " ".join(text.get_text() for text in share.texts)
    assert "paper, CPU: 13.3×, 2.2×" in said and "paper, GPU: 13.3×, 2.0×" in said
    cases = sum(len(group["cases"]) for group in whole["parts"]["latency"]["groups"])
    assert len(speed.table(whole, "latency")) == cases
    baselines, paper_and_diagonal = len(whole["parts"]["latency"]["groups"]), 3
    assert len(share.lines) == cases - baselines + paper_and_diagonal


def test_scores_in_half_precision_are_those_of_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(speed.precision_table()["score"]) == ["not run"] * 2
    monkeypatch.setenv("PPCD_RESULTS", str(ROOT / "results"))
    table = speed.precision_table()
    (row,) = table[(table["recipe"] == "biggan") & (table["score"] == "accuracy")].to_dict("records")
    halves = [
        json.loads(path.read_text())["metrics"]["ema"]["accuracy"]
        for path in sorted((ROOT / "results" / speed.HALF_FOLDER / "mnist" / "runs").glob("biggan-s*/run.json"))
    ]
    assert row["bf16"] == ", ".join(f"{value:.3g}" for value in halves)
    assert row["bf16 - float32"].count("-") == 3, "lower with every seed"


def test_the_notebook_shows_what_there_is(whole: dict[str, Any], tmp_path: Path) -> None:
    paths.write_atomic(results.place(), json.dumps(whole))
    parameters = dict(notebooks("smoke", [0]))["10_speed"]
    assert parameters["measure"] == "never"
    before = results.place().read_text()
    path = notebook.execute(ROOT / "notebooks" / "10_speed.ipynb", tmp_path / "out.ipynb", parameters)
    cells = nbformat.read(path, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each for each in data) == 2
    said = " ".join(str(text) for each in data for text in each.values())
    assert "times faster" in said and "at least" in said
    assert results.place().read_text() == before
    results.place().unlink()
    assert "10_speed" not in dict(notebooks("smoke", [0])), "nothing was measured that it could show"
