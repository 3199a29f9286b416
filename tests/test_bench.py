"""The bench: turns and ratios, cases that die, every part in quick, targets, tables and figures."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bench_cases
import nbformat
import pytest
import torch
from fake_bench import fake_bench, played

from paper import notebook
from paper.artifacts import speed, speed_figures
from paper.bench import latency, results, runner, training
from paper.bench.__main__ import main
from paper.bench.cases import Case, Group
from paper.paper_networks import build
from paper.reproduce import notebooks
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.compute import FAST
from ppcd.runs import provenance
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent


def group_of(*cases: Case, rounds: int = 3, turn: float = 0.0) -> Group:
    return Group("scene", {"batch": 8, "threads": 1}, cases[0].name, cases, rounds, turn)


# --- Turns ---


def test_each_case_has_one_turn_a_round_in_an_order_that_changes() -> None:
    names = ["slow", "fast", "lean"]
    assert [runner.in_turn(names, index) for index in range(3)] == [
        ["slow", "fast", "lean"], ["slow", "lean", "fast"], ["lean", "slow", "fast"],
    ]  # fmt: skip


def test_ratios_are_taken_within_rounds() -> None:
    cases = [{"name": "slow", "seconds": [4.0, 2.0, 3.0]}, {"name": "fast", "seconds": [1.0, 1.0, 3.0]}]
    slow, fast = runner.derived({"baseline": "slow", "about": {"batch": 8}, "cases": cases})["cases"]
    assert fast["median"] == 1.0 and fast["images_per_second"] == 8.0
    assert fast["ratio"] == {"median": 2.0, "lowest": 1.0, "highest": 4.0}, "4/1, 2/1, 3/3"
    assert slow["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}


@pytest.mark.parametrize(
    ("fails", "after", "said"),
    [
        ("killed", 0, "case ill ended in the middle of its work; out of memory?"),
        ("error", 3, "case ill failed: the disk is full"),
    ],
)
def test_a_case_that_fails_takes_one_line(fails: str, after: int, said: str) -> None:
    ill = Case("ill", "ill", bench_cases.make, {"fails": fails, "after": after})
    with pytest.raises(PpcdError) as raised:
        runner.take_turns(group_of(ill))
    assert str(raised.value) == said


def test_each_case_has_memory_of_its_own() -> None:
    """Real processes: a case's peak is what its own turns touch."""
    cases = [Case(f"{mib}", "", bench_cases.allocate, {"mib": mib}) for mib in (64, 1)]
    large, small = runner.take_turns(group_of(*cases, rounds=2))["cases"]
    assert (large["name"], large["settings"]) == ("64", {"mib": 64})
    assert len(large["seconds"]) == 2 and min(large["seconds"]) > 0 and large["repeats"] == 1
    assert large["peak"] - small["peak"] > 32 * 2**20


def test_short_work_is_repeated_after_one_that_is_not_timed() -> None:
    calls: list[int] = []
    case, threads = Case("a", "a", lambda settings: lambda: calls.append(1), {}), torch.get_num_threads()
    assert runner.build(case, threads, 0.0)["repeats"] == 1 and len(calls) == runner.WARM_UPS
    assert runner.go()["seconds"] > 0 and len(calls) == runner.WARM_UPS + 1
    calls.clear()
    assert runner.build(case, threads, 1.0)["repeats"] == runner.MOST
    runner.go()
    assert len(calls) == runner.WARM_UPS + 1 + runner.MOST


# --- What the cases are ---


def test_everything_that_was_asked_for_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++")
    scenes = [(group.scene, group.about["batch"], group.about["threads"]) for group in latency.groups(quick=False)]
    assert {("imagenet128", batch, threads) for batch in (1, 8, 64) for threads in (1, 2)} <= set(scenes)
    assert {(name, batch, 1) for name in ("mnist", "cifar10-lite") for batch in (1, 64)} <= set(scenes)
    pair, *pruning = training.groups(quick=False)
    plain, *others = pair.cases
    about = {"threads": 2, "width": 32, "batch": 32}
    assert plain.name == pair.baseline and about.items() <= pair.about.items()
    names = {"merged", "boxed", "channels-last", "fused", "allocator", "bf16", "compiled", "together"}
    assert names < {each.name for each in others} and plain.settings not in [each.settings for each in others]
    assert [(len(group.cases), group.about["width"]) for group in pruning] == [(8, 6), (8, 32)]
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    assert not [each.name for each in training.pair_cases(False) if "compiled" in each.name], "without a C++ compiler"


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_masks_keep_what_alpha_leaves(frozen: bool) -> None:
    (case,) = [
        each
        for each in training.pruning_cases("smoke", 2)
        if each.settings["frozen"] == frozen and each.settings["forms"] == asdict(FAST)
    ]
    step = case.make(case.settings)
    masks = step.__self__.generator.masks().values()  # type: ignore[attr-defined]
    step()
    assert [mask.frozen for mask in masks] == [frozen] * 6
    assert {int(mask.kept.sum()) for mask in masks} == ({2} if frozen else {8}), "the smallest c with c/8 > 0.7 is 6"


@pytest.mark.parametrize("form", latency.FORMS)
def test_every_form_draws_the_same_images(form: str) -> None:
    config = latency.student(get_profile("smoke"), 0.3)
    drawn = latency.draw({"network": json.loads(json.dumps(config.to_dict())), "form": form, "batch": 2, "seed": 1})()
    images = torch.from_numpy(drawn[0]) if form == "onnx" else drawn  # type: ignore[index]
    noise, generator = torch.Generator().manual_seed(1), build(config, 1)
    z, y = torch.randn(2, config.dim_z, generator=noise), torch.randint(config.num_classes, (2,), generator=noise)
    with torch.no_grad():
        torch.testing.assert_close(images, generator(z, y), atol=1e-4, rtol=0)


# --- The file, every part in quick ---


class Here:
    """A process's executor that works in this process: the real work, without the seconds of imports."""

    turns: list[Callable[[], dict[str, Any]]]

    def submit(self, function: Callable[..., Any], *given: Any) -> "Here":
        if function is runner.go:
            runner._turns[:] = self.turns
        self.value = function(*given)
        if function is runner.build:
            self.turns = list(runner._turns)
        return self

    def result(self) -> Any:
        return self.value


@contextmanager
def here() -> Iterator[Here]:
    yield Here()


@pytest.fixture(scope="module")
def quick() -> Iterator[dict[str, Any]]:
    """Every part in quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "separate_processes", here)
        patch.setattr(runner, "reset_peak", lambda device: None)
        assert main(["--quick"]) == 0
        yield results.read(quick=True)


def test_quick_measures_every_part(quick: dict[str, Any]) -> None:
    assert list(quick) == list(results.PARTS) and not results.place().exists()
    for part in quick.values():
        assert part["provenance"]["finished"] and part["provenance"]["libraries"]["torch"]
        for group in part["groups"]:
            assert group["rounds"] == 3 and all(len(each["seconds"]) == 3 for each in group["cases"])
    slim = quick["latency"]["groups"][0]["cases"][-1]
    assert slim["share"] == pytest.approx(slim["ratio"]["median"] / slim["macs_ratio"])
    assert f"({provenance.instructions()}), " in speed.title(quick), "with the processor's name"
    assert set(speed.targets_table(quick)["measured"]) == {"not run"}, "quick numbers meet no target"


def test_other_parts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(name: str, *_: Any) -> dict[str, Any]:
        number = next(numbers)
        if number == 1:
            raise PpcdError("case x failed: the disk is full")
        return {"groups": [], "provenance": {"n": number}, "load": None}

    def there() -> dict[str, int]:
        return {name: part["provenance"]["n"] for name, part in results.read().items()}

    numbers = iter(range(9))
    monkeypatch.setattr(results, "_measure_part", measured)
    with pytest.raises(PpcdError, match="the disk is full"):
        results.measure(["training", "latency"])
    assert there() == {"training": 0}
    results.measure(["latency"])
    assert there() == {"training": 0, "latency": 2}
    results.measure(["training"])
    assert there() == {"training": 3, "latency": 2}


def test_mistakes_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--parts", "latency,trainig"]) == 2
    error = capsys.readouterr().err
    assert error == "ppcd: unknown part 'trainig'; expected some of: latency,training\n"
    with pytest.raises(PpcdError, match=r"^speed was not measured; `make bench` does it$"):
        results.read()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 2, "parts": {"latency": {}}}'])
def test_a_damaged_file_takes_one_line(text: str) -> None:
    paths.write_atomic(results.place(), text)
    for use in (results.read, lambda: results.measure(["latency"])):
        with pytest.raises(PpcdError, match=r"^.*bench\.json: .*; restore it, or delete it and measure again$"):
            use()
    assert results.place().read_text() == text


# --- Targets, tables and figures of a whole bench ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A bench with everything in it, without the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(tmp_path_factory.mktemp("whole")))
        return fake_bench(patch)


@pytest.mark.parametrize(("faster", "peak", "met"), [(1.0, -1, "yes"), (0.5, -1, "no"), (1.0, 1, "no: memory")])
def test_a_target_is_met_by_speed_without_more_memory(
    faster: float, peak: int, met: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "take_turns", lambda group: played(group, faster, peak))
    results.measure(["latency", "training"])
    trained, stricter, inference = speed.targets_table(results.read()).to_dict("records")
    assert [each["at least"] for each in (trained, inference)] == ["2 times", "10 times"] and inference["met"] == met
    ratios = [float(each["measured"].split(" ")[0]) for each in (trained, stricter)]
    assert ratios[0] > ratios[1] or faster < 1, "the allocator's part is not the computation's"


def test_the_summary_has_the_targets_and_a_row_for_each_case(whole: dict[str, Any]) -> None:
    text = speed.write_summary(whole).read_text()
    assert text.count("all, float32") == 3 and "imagenet128, batch 64, 2 threads" in text and "1 thread" not in text
    assert all(len(line.split("|")) > 4 for line in text.splitlines()[2:] if line)


def test_the_figure_shows_everything(whole: dict[str, Any]) -> None:
    share = speed_figures.share_figure(whole).axes[0]
    said = " ".join(text.get_text() for text in share.texts)
    assert "paper, CPU: 13.3×, 2.2×" in said and "paper, GPU: 13.3×, 2.0×" in said
    cases = sum(len(group["cases"]) for group in whole["latency"]["groups"])
    assert len(speed.table(whole, "latency")) == cases
    baselines, paper_and_diagonal = len(whole["latency"]["groups"]), 3
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


def test_the_notebook_shows_what_there_is(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "13_speed" not in dict(notebooks("smoke", [0])), "nothing was measured that it could show"
    fake_bench(monkeypatch)
    before = results.place().read_text()
    parameters = dict(notebooks("smoke", [0]))["13_speed"]
    path = notebook.execute(ROOT / "notebooks" / "13_speed.ipynb", tmp_path / "out.ipynb", parameters)
    cells = nbformat.read(path, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each for each in data) == 1
    said = " ".join(str(text) for each in data for text in each.values())
    assert "times faster" in said and "at least" in said
    assert results.place().read_text() == before
