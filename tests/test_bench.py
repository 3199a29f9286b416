"""The bench: ratios, cases that die, every part in quick, targets, tables and figures, and `make verify` of them."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bench_cases
import nbformat
import pytest
import torch

from paper import notebook
from paper.artifacts import speed
from paper.bench import latency, results, runner, training
from paper.bench.results import main
from paper.bench.runner import Case, Group
from paper.paper_networks import build
from paper.reproduce import notebooks
from paper.verify import verify
from paper.verify.verifying import main as verify_main
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.compute import FAST
from ppcd.runs import provenance
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent


def group_of(*cases: Case, rounds: int = 3, turn: float = 0.0) -> Group:
    return Group("scene", {"batch": 8, "threads": 1}, cases[0].name, cases, rounds, turn)


# --- Turns ---


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


# --- What the cases are ---


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


# --- Targets, tables and figures of a whole bench, and make verify of them ---


def fake_bench(patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write it, without the time."""
    patch.setattr(results, "take_turns", played)
    patch.setenv("CXX", "c++")
    results.measure(list(results.PARTS))
    return results.read()


def played(group: Group, faster: float = 1.0, peak: int = -1) -> dict[str, Any]:
    """What a group's turns might have taken, on a machine that is not there; peak: bytes that each case adds."""
    noise, cases = random.Random(group.scene), []
    for place, each in enumerate(group.cases):
        ratio = {"teacher-onnx": 1.9, "student": 2.2, "slim": 5.0, "slim-onnx": 12.0}
        speedup = ratio.get(each.name, 1 + place * 0.13) * faster if place else 1.0
        seconds = [2.0 * (1 + 0.1 * noise.random()) / speedup for _ in range(5)]
        about = {"name": each.name, "label": each.label, "settings": each.settings}
        cases.append({**about, "warm_up": 1.0, "repeats": 1, "seconds": seconds, "peak": 2**31 + peak * place})
    about = {"scene": group.scene, "about": group.about, "baseline": group.baseline}
    return {**about, "rounds": 5, "cases": cases}


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


def test_the_figure_shows_everything(whole: dict[str, Any]) -> None:
    share = speed.share_figure(whole).axes[0]
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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench, its figures and its summary."""
    root = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        patch.setattr(latency, "BATCHES", {"mnist": (64,)})
        content = fake_bench(patch)
        speed.write_summary(content)
        speed.write_share(content)
    return root


@pytest.fixture
def copied(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where PPCD_RESULTS and PPCD_FIGURES of each test are."""
    for part in ("results", "figures"):
        shutil.copytree(built / part, tmp_path / part)
    return tmp_path


def found() -> list[str]:
    return [str(finding) for finding in verify("bench")]


def test_what_was_measured_passes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_main([]) == 0, "a bench that is there is verified with everything else"
    assert capsys.readouterr().out == "bench: everything as the runs say\n"


# file, what it has before a digit that becomes another one, what is said of it
DIGITS = [
    ("results/bench.json", r'"seconds": \[\s+2\.\d\d', "not the bytes that were written (SHA256SUMS)"),
    ("results/bench/summary.md", r"\| (?=2 times)", "3 times"),
    ("figures/bench/share.json", r"\d\.\d\d", " instead of "),
]


@pytest.mark.parametrize(("file", "before", "said"), DIGITS, ids=[f"{file}-{said}" for file, _, said in DIGITS])
def test_a_single_changed_digit_is_found(copied: Path, file: str, before: str, said: str) -> None:
    text = (copied / file).read_text()
    match = re.search(rf"{before}(\d)", text)
    assert match is not None
    place = match.end() - 1
    (copied / file).write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    lines = found()
    assert any(line.startswith(file) and said in line for line in lines), "\n".join(lines)


def test_a_changed_picture_and_what_is_missing_or_too_much_is_named(copied: Path) -> None:
    picture = copied / "figures" / "bench" / "share.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    (copied / "figures" / "bench" / "share.pdf").unlink()
    (copied / "figures" / "bench" / "extra.json").write_text("{}")
    (copied / "results" / "bench" / "notes.md").write_text("of somebody\n")
    assert found() == [
        "figures/bench/extra.json: nothing makes it of what is there",
        "figures/bench/share.pdf: is missing; it is made of what is there",
        "results/bench/notes.md: nothing makes it of what is there",
        "figures/bench/share.png: not the bytes that were written (SHA256SUMS)",
    ]


def test_a_run_in_bf16_that_was_changed_is_named(copied: Path) -> None:
    root = ROOT / "results" / "bench" / "quality" / "mnist" / "runs"
    run = next(iter(sorted(root.glob("biggan-s0-*"))))
    there = copied / "results" / speed.HALF_FOLDER / "mnist" / "runs" / run.name
    shutil.copytree(run, there)
    assert found() == []
    record = json.loads((there / "run.json").read_text())
    record["metrics"]["ema"]["fd"] += 1
    (there / "run.json").write_text(json.dumps(record))
    (line,) = found()
    assert line.startswith(f"results/bench/quality/mnist/runs/{run.name}/run.json: ")


def test_a_damaged_bench_takes_one_line(copied: Path) -> None:
    (copied / "results" / results.FILE).write_text("{")
    (line,) = found()
    assert "bench.json" in line and "cannot be read" in line
