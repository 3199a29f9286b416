"""The bench: ratios, cases that die, every part in quick, targets, tables and figures, and `make verify` of them."""

import json
import random
import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bench_cases
import nbformat
import pytest
import torch
from reference import refused

from paper import notebook
from paper.artifacts import speed
from paper.bench import latency, results, runner
from paper.bench.results import main
from paper.bench.runner import Case, Group
from paper.paper_networks import build
from paper.reproduce import notebooks
from paper.study import Study
from paper.verify import verify
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent


def group_of(*cases: Case, rounds: int = 3, turn: float = 0.0) -> Group:
    return Group("scene", {"batch": 8, "threads": 1}, cases[0].name, cases, rounds, turn)


def test_ratios_are_taken_within_rounds() -> None:
    cases = [{"name": "slow", "seconds": [4.0, 2.0, 3.0]}, {"name": "fast", "seconds": [1.0, 1.0, 3.0]}]
    slow, fast = runner.derived({"baseline": "slow", "about": {"batch": 8}, "cases": cases})["cases"]
    assert fast["median"] == 1.0 and fast["images_per_second"] == 8.0
    assert fast["ratio"] == {"median": 2.0, "lowest": 1.0, "highest": 4.0}, "4/1, 2/1, 3/3"
    assert slow["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (bench_cases.killed, "case ill ended in the middle of its work; out of memory?"),
        (bench_cases.failing, "case ill failed: the disk is full"),
    ],
)
def test_a_case_that_fails_takes_one_line(work: Any, said: str) -> None:
    with refused(said):
        runner.take_turns(group_of(Case("ill", "ill", work, {})))


def test_each_case_has_memory_of_its_own() -> None:
    """Real processes: a case's peak is what its own turns touch."""
    cases = [Case(f"{mib}", "", bench_cases.allocating, {"mib": mib}) for mib in (64, 1)]
    large, small = runner.take_turns(group_of(*cases, rounds=2))["cases"]
    assert len(large["seconds"]) == 2 and min(large["seconds"]) > 0
    assert large["peak"] - small["peak"] > 32 * 2**20


@pytest.mark.parametrize("form", latency.FORMS)
def test_every_form_draws_the_same_images(form: str) -> None:
    config = latency.student(get_profile("smoke"), 0.3)
    drawn = latency.draw({"network": json.loads(json.dumps(config.to_dict())), "form": form, "batch": 2, "seed": 1})()
    images = torch.from_numpy(drawn[0]) if form == "onnx" else drawn  # type: ignore[index]
    noise, generator = torch.Generator().manual_seed(1), build(config, 1)
    z, y = torch.randn(2, config.dim_z, generator=noise), torch.randint(config.num_classes, (2,), generator=noise)
    with torch.no_grad():
        torch.testing.assert_close(images, generator(z, y), atol=1e-4, rtol=0)


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


def test_quick_measures_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "separate_processes", lambda: nullcontext(Here()))
    monkeypatch.setattr(runner, "reset_peak", lambda device: None)
    assert main(["--quick"]) == 0
    quick = results.read(results.place(quick=True))
    assert list(quick) == list(results.PARTS) and not results.place().exists()
    for part in quick.values():
        for group in part["groups"]:
            assert group["rounds"] == 3 and all(len(each["seconds"]) == 3 for each in group["cases"])
    assert set(speed.targets_table(quick)["measured"]) == {"not run"}, "quick numbers meet no target"


def test_parts_are_kept_when_another_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(name: str, *_: Any) -> dict[str, Any]:
        if name == "latency":
            raise PpcdError("case x failed: the disk is full")
        return {"groups": [], "provenance": {}, "load": None}

    monkeypatch.setattr(results, "_measure_part", measured)
    with pytest.raises(PpcdError, match="the disk is full"):
        results.measure(["training", "latency"])
    assert list(results.read()) == ["training"]


@pytest.mark.parametrize("text", ["{", '{"schema": 2, "parts": {"latency": {}}}'])
def test_a_damaged_file_takes_one_line(text: str) -> None:
    paths.write_atomic(results.place(), text)
    for use in (results.read, lambda: results.measure(["latency"])):
        with pytest.raises(PpcdError, match=r"^.*bench\.json: .*; restore it, or delete it and measure again$"):
            use()
    assert results.place().read_text() == text


def test_mistakes_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--parts", "latency,trainig"]) == 2
    assert capsys.readouterr().err == "ppcd: unknown part 'trainig'; expected some of: latency,training\n"
    with refused("speed was not measured; `make bench` does it"):
        results.read()


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
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench with everything in it but the time, its figure and its summary."""
    root = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        patch.setenv("CXX", "c++")
        patch.setattr(latency, "BATCHES", {"mnist": (64,)})
        patch.setattr(results, "take_turns", played)
        results.measure(list(results.PARTS))
        content = results.read()
        speed.write_summary(content, Study.of("mnist"))
        speed.write_share(content, Study.of("mnist"))
    return root


@pytest.mark.parametrize(("faster", "peak", "met"), [(1.0, -1, "yes"), (0.5, -1, "no"), (1.0, 1, "no: memory")])
def test_a_target_is_met_by_speed_without_more_memory(
    faster: float, peak: int, met: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "take_turns", lambda group: played(group, faster, peak))
    results.measure(["latency", "training"])
    *_, inference = speed.targets_table(results.read()).to_dict("records")
    assert inference["at least"] == "10 times" and inference["met"] == met


def test_the_figure_has_a_line_for_every_case_and_the_papers(copied: Path) -> None:
    share = speed.share_figure(results.read()).axes[0]
    said = " ".join(text.get_text() for text in share.texts)
    assert "paper, CPU: 13.3×, 2.2×" in said and "paper, GPU: 13.3×, 2.0×" in said
    groups = results.read()["latency"]["groups"]
    paper_and_diagonal = 3
    assert len(share.lines) == sum(len(group["cases"]) - 1 for group in groups) + paper_and_diagonal


def test_scores_in_half_precision_stand_next_to_those_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed are those in bf16 alone, of earlier settings: here they stand for both."""
    assert set(speed.precision_table(Study.of("mnist"))["score"]) == {"not run"}
    halves = sorted((ROOT / "results" / speed.HALF_FOLDER / "mnist" / "runs").glob("biggan-s*"))
    for folder in ("mnist", f"{speed.HALF_FOLDER}/mnist"):
        shutil.copytree(halves[0].parent, tmp_path / folder / "runs")
    monkeypatch.setenv("PPCD_RESULTS", str(tmp_path))
    monkeypatch.setattr(speed, "run_config", lambda _, recipe, seed, precision: SimpleNamespace(id=halves[seed].name))
    row = next(row for row in speed.precision_table(Study.of("mnist")).to_dict("records") if row["score"] == "accuracy")
    scores = [json.loads((path / "run.json").read_text())["metrics"]["ema"]["accuracy"] for path in halves]
    assert row["bf16"] == row["float32"] == ", ".join(f"{value:.3g}" for value in scores) and row["mean"] == "+0"


def test_the_notebook_shows_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "13_speed" not in dict(notebooks(Study.of("smoke"))), "nothing was measured that it could show"
    monkeypatch.setattr(results, "take_turns", played)
    monkeypatch.setenv("CXX", "c++")
    results.measure(list(results.PARTS))
    before = results.place().read_text()
    parameters = dict(notebooks(Study.of("smoke")))["13_speed"]
    path = notebook.execute(ROOT / "notebooks" / "13_speed.ipynb", tmp_path / "out.ipynb", parameters)
    cells = nbformat.read(path, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each for each in data) == 1
    said = " ".join(str(text) for each in data for text in each.values())
    assert "times faster" in said and "at least" in said
    assert results.place().read_text() == before


def found() -> list[str]:
    return [str(finding) for finding in verify("bench")]


# file, what it has before a digit that becomes another one, what is said of it
DIGITS = [
    ("results/bench.json", r'"seconds": \[\s+2\.\d\d', "not the bytes that were written (SHA256SUMS)"),
    ("results/bench/summary.md", r"\| (?=2 times)", "3 times"),
    ("figures/bench/share.json", r"\d\.\d\d", " instead of "),
]


def test_a_changed_digit_of_any_file_is_found(copied: Path) -> None:
    assert found() == []
    for file, before, _ in DIGITS:
        text = (copied / file).read_text()
        changed = re.sub(rf"({before})(\d)", lambda match: match[1] + str((int(match[2]) + 1) % 10), text, count=1)
        assert changed != text
        (copied / file).write_text(changed)
    lines = found()
    for file, _, said in DIGITS:
        assert any(line.startswith(file) and said in line for line in lines), "\n".join(lines)


def test_what_is_changed_missing_damaged_or_too_much_is_named(copied: Path) -> None:
    picture = copied / "figures" / "bench" / "share.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    (copied / "figures" / "bench" / "share.pdf").unlink()
    (copied / "figures" / "bench" / "extra.json").write_text("{}")
    name = next((ROOT / "results" / speed.HALF_FOLDER / "mnist" / "runs").glob("biggan-s0-*"))
    run = copied / "results" / speed.HALF_FOLDER / "mnist" / "runs" / name.name
    shutil.copytree(name, run)
    record = json.loads((run / "run.json").read_text())
    record["metrics"]["ema"]["fd"] += 1
    (run / "run.json").write_text(json.dumps(record))
    lines = found()
    for said in (
        "figures/bench/extra.json: nothing makes it of what is there",
        "figures/bench/share.pdf: is missing; it is made of what is there",
        "figures/bench/share.png: not the bytes that were written (SHA256SUMS)",
        f"results/bench/quality/mnist/runs/{run.name}/run.json: ",
    ):
        assert sum(line.startswith(said) for line in lines) == 1, "\n".join(lines)
    (copied / "results" / results.FILE).write_text("{")
    assert any("bench.json: damaged or of another version" in line for line in found())
