"""The bench: turns, ratios and memory, contestants that die, every part in quick, bars, tables and figures."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from fake_bench import compared, fake_bench, played
from reference import give_back_memory
from torch.utils.flop_counter import FlopCounterMode

from paper import notebook
from paper.artifacts import speed, speed_figures
from paper.bench import bars, latency, results, roofline, training, turns, worker
from paper.bench import quality as half
from paper.bench.__main__ import main
from paper.bench.contestants import QUICK, TURN, Contestant, Group, Pace, Works
from paper.reproduce import notebooks
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.metrics import complexity
from ppcd.networks import winograd
from ppcd.runs.config import memory, provenance, run_config

ROOT = Path(__file__).resolve().parent.parent
# Speaks as `paper.bench.worker`, without the seconds of its imports. Notes down when it computes, and with what.
ACTOR = """
import json, os, sys, time
asked = json.loads(sys.stdin.readline())
name, settings = asked["contestant"]["name"], asked["contestant"]["settings"]
def note(what):
    with open(settings["log"], "a") as log:
        log.write(f"{what} {name} {time.monotonic()}\\n")
def answer(**values):
    print(json.dumps(values), flush=True)
answer(idle=settings["idle"])
for turn, line in enumerate(sys.stdin):
    note("begin")
    if turn == settings.get("dies"):
        print("Traceback\\nppcd: the disk is full", file=sys.stderr)
        sys.exit(2)
    time.sleep(0.02)
    note("end")
    size = {"resident": settings["idle"] + 5, "own": 5, "peak": settings["peak"]}
    if line.strip() == "build":
        answer(warm_up=1.5, repeats={"turn": 3}, building=settings["idle"] + 1, **size)
    else:
        answer(seconds={"turn": settings["seconds"][turn - 1]}, **size)
note("gone " + os.environ["OMP_NUM_THREADS"] + " " + os.environ.get("MALLOC_TOP_PAD_", "plain"))
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Contestants are actors, and this is where they note down what they do."""
    monkeypatch.setattr(turns, "WORKER", (sys.executable, "-c", ACTOR))
    return tmp_path / "log"


def actor(name: str, log: Path, seconds: list[float], threads: int = 1, **settings: Any) -> Contestant:
    settings = {"log": str(log), "seconds": seconds, "idle": 100, "peak": 200} | settings
    return Contestant(name, f"the {name}", "none:none", settings, threads)


def group_of(*contestants: Contestant, pace: Pace = QUICK, images: int | None = 8) -> Group:
    return Group("scene", {"batch": 8, "threads": 1}, images, contestants[0].name, contestants, pace)


# --- Turns ---


def test_one_at_a_time_and_each_once_a_round(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    fast = replace(actor("fast", log, [1.0, 1.0, 3.0], threads=2), environment={"MALLOC_TOP_PAD_": "7"})
    contestants = actor("slow", log, [4.0, 2.0, 3.0]), fast, actor("lean", log, [8.0, 8.0, 8.0], peak=150)
    found = turns.take_turns(group_of(*contestants))
    lines = [line.split() for line in log.read_text().splitlines()]
    spans = [(name, what) for what, name, *_ in lines if what != "gone"]
    assert [what for _, what in spans] == ["begin", "end"] * 12, "nobody begins before another has ended"
    names = [name for name, what in spans if what == "begin"]
    assert names[:3] == ["slow", "fast", "lean"], "made and warmed up one after the other"
    rounds = [names[start : start + 3] for start in (3, 6, 9)]
    assert rounds == [["slow", "fast", "lean"], ["slow", "lean", "fast"], ["lean", "slow", "fast"]]
    ended = {name: (threads, allocator) for what, threads, allocator, name, _ in (x for x in lines if x[0] == "gone")}
    assert ended == {"slow": ("1", "plain"), "fast": ("2", "7"), "lean": ("1", "plain")}

    slow, quick, lean = found["contestants"]
    assert (found["rounds"], found["baseline"], found["images"]) == (3, "slow", 8)
    assert quick["seconds"] == [1.0, 1.0, 3.0] and quick["median"] == 1.0 and quick["images_per_second"] == 8.0
    assert quick["ratio"] == {"median": 2.0, "lowest": 1.0, "highest": 4.0}, "within rounds: 4/1, 2/1, 3/3"
    assert slow["ratio"] == {"median": 1.0, "lowest": 1.0, "highest": 1.0}
    assert lean["memory"] == {"idle": 100, "building": 101, "peak": 150, "above": 50}
    assert found["together"] == 3 * 5 + 95, "what each has of its own, and the largest on top of what it holds"
    assert {key: quick[key] for key in ("name", "kind", "threads", "settings")} == {
        key: value for key, value in asdict(fast).items() if key in ("name", "kind", "threads", "settings")
    }
    assert (quick["repeats"], quick["warm_up"]) == (3, 1.5) and "pieces" not in quick


def test_rounds_go_on_while_there_is_time(log: Path) -> None:
    lasting = Pace(seconds=0.0, fewest=4, most=9)
    assert turns.take_turns(group_of(actor("a", log, [1.0] * 9), pace=lasting))["rounds"] == 4
    assert turns.take_turns(group_of(actor("a", log, [1.0] * 9), pace=replace(lasting, seconds=60)))["rounds"] == 9
    with pytest.raises(PpcdError, match="at least one round and one turn to warm up; got 3 to 2 rounds"):
        replace(lasting, fewest=3, most=2)


@pytest.mark.parametrize("turn", [0, 2])
def test_a_dying_contestant_takes_one_line(log: Path, turn: int) -> None:
    contestants = actor("sound", log, [1.0] * 3), actor("ill", log, [1.0] * 3, dies=turn)
    with pytest.raises(PpcdError, match=r"^contestant ill ended: the disk is full$"):
        turns.take_turns(group_of(*contestants))
    gone = [line for line in log.read_text().splitlines() if line.startswith("gone")]
    assert len(gone) == 1, "the others are let go"


def test_a_contestant_that_does_not_answer_takes_one_line(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WORKER", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(turns, "PATIENCE", 0.05)
    monkeypatch.setattr(turns, "FAREWELL", 0.05)
    with pytest.raises(PpcdError, match=r"^contestant a has not answered for 0.05 s$"):
        turns.take_turns(group_of(actor("a", log, [])))


def test_a_killed_contestant_says_so(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "WORKER", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(PpcdError, match=r"^contestant a ended: signal 9, out of memory\?$"):
        turns.take_turns(group_of(actor("a", log, [])))


# --- A contestant's process ---


CALLS: list[str] = []


def noted(settings: dict[str, Any]) -> Works:
    """A contestant of two pieces."""
    return {name: (lambda name=name: CALLS.append(name)) for name in settings["pieces"]}


def test_short_work_is_repeated_behind_one_that_is_not_timed() -> None:
    CALLS.clear()
    contestant = Contestant("a", "a", f"{__name__}:noted", {"pieces": ["x", "y"]}, 1)
    once = worker.Worker(contestant, warm_ups=2, turn=0.0)
    built = once.build()
    assert CALLS == ["x", "y"] * 2 and built["repeats"] == {"x": 1, "y": 1}
    assert set(once.go()["seconds"]) == {"x", "y"} and CALLS[4:] == ["x", "y"]
    CALLS.clear()
    often = worker.Worker(contestant, warm_ups=1, turn=1.0)
    assert often.build()["repeats"] == {"x": worker.MOST, "y": worker.MOST}
    often.go()
    assert CALLS[2:] == ["x"] * (1 + worker.MOST) + ["y"] * (1 + worker.MOST)


def test_memory_is_what_a_turn_touches() -> None:
    def work(settings: dict[str, Any]) -> Works:
        return {TURN: lambda: torch.ones(32 * 2**18)}  # 32 MiB

    contestant = Contestant("a", "a", f"{__name__}:noted", {"pieces": ["x"]}, 1)
    process = worker.Worker(contestant, warm_ups=1, turn=0.0)
    process._make = work
    give_back_memory()
    before = worker.resident_memory()
    process.build()
    assert process.memory()["peak"] - before > 28 * 2**20
    assert process.memory()["own"] <= process.memory()["resident"]


def test_a_real_process_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    (group,) = latency.groups(quick=True)
    alone = replace(group, contestants=group.contestants[:1])
    found = turns.take_turns(alone)
    (teacher,) = found["contestants"]
    assert len(teacher["seconds"]) == 3 and min(teacher["seconds"]) > 0
    assert teacher["memory"]["peak"] > teacher["memory"]["idle"] > 2**26 and found["together"] > 2**26


# --- What the contestants are ---


def test_everything_that_was_asked_for_takes_part() -> None:
    scenes = [(group.scene, group.about["batch"], group.about["threads"]) for group in latency.groups(quick=False)]
    assert {("imagenet128", batch, threads) for batch in (1, 8, 64) for threads in (1, 2)} <= set(scenes)
    assert {(name, batch, 1) for name in latency.SMALL for batch in (1, 64)} <= set(scenes)
    pair, *pruning = training.groups(quick=False)
    plain = pair.contestants[0]
    assert (plain.name, plain.threads, plain.environment) == (pair.baseline, 2, {})
    size = {"width": 32, "dim_z": 80, "batch": 32, "precision": "no", "keep_freed": False}
    assert size.items() <= plain.settings.items()
    trainer = training.pair_trainer({**plain.settings, "width": 4}, training.STRAIGHTFORWARD)
    assert trainer.settings.discriminator_steps == 1 and trainer.ema.start == 0 and trainer.settings.averaged
    for name in (
        "merged",
        "boxed",
        "filtered",
        "channels-last",
        "fused",
        "allocator",
        "bf16",
        "together",
        "together-bf16",
    ):
        (each,) = [one for one in pair.contestants if one.name == name]
        assert each.settings != plain.settings
    assert memory.ENVIRONMENT in [each.environment for each in pair.contestants]
    assert [len(group.contestants) for group in pruning] == [8, 8]
    for group, width in zip(pruning, (6, 32), strict=True):
        assert {each.threads for each in group.contestants} == {1}
        assert {each.settings["width"] for each in group.contestants} == {group.about["width"]} == {width}
    everyone = [
        each for name in results.PARTS for group in results.groups_of(name, False) for each in group.contestants
    ]
    for each in everyone:
        assert Contestant(**json.loads(json.dumps(asdict(each)))) == each, "plain values"


def test_without_a_compiler_its_contestants_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = {"compiled", "together-compiled", "together-compiled-bf16"}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(training.shutil, "which", lambda name: None)
    assert training.left_out(False) == dict.fromkeys(compiled, "not run: no C++ compiler")
    assert compiled.isdisjoint(each.name for each in training.groups(False)[0].contestants)
    monkeypatch.setenv("CXX", "c++")
    assert training.left_out(False) == {} and training.left_out(True, compiled=False) == {}
    assert compiled <= {each.name for each in training.groups(False)[0].contestants}
    assert set(training.left_out(False, compiled=False)) == compiled


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_masks_keep_what_alpha_leaves(frozen: bool) -> None:
    settings = {"profile": "smoke", "width": 2, "seed": 0, "forms": asdict(training.FAST), "frozen": frozen}
    step = training.pruning(settings)[TURN]
    masks = step.__self__.generator.masks().values()  # type: ignore[attr-defined]
    assert [mask.frozen for mask in masks] == [frozen] * 6
    assert {int(mask.kept.sum()) for mask in masks} == ({2} if frozen else {8}), "the smallest c with c/8 > 0.7 is 6"
    step()
    assert [mask.frozen for mask in masks] == [frozen] * 6


def test_macs_are_those_of_the_networks() -> None:
    profile = latency.get_profile("smoke")
    for network in (latency.Network.teacher(profile), latency.Network.student(profile, 0.3)):
        assert network.macs() == complexity(network.build()).macs


@pytest.mark.parametrize("form", latency.FORMS)
def test_every_form_draws_the_same_images(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = latency.Network.student(latency.get_profile("smoke"), 0.3)
    settings = {"network": asdict(network), "form": form, "batch": 2, "seed": 1}
    drawn = latency.draw(settings)[TURN]
    if form == "onnx":
        (images,) = drawn()  # type: ignore[misc]
        assert images.shape == (2, 3, 32, 32)
        return
    noise = torch.Generator().manual_seed(0)
    z, y = torch.randn(2, network.dim_z, generator=noise), torch.tensor([0, 3])
    generator = network.build(1)
    expected = generator(z, y).detach()
    torch.testing.assert_close(latency.in_form(network.build(1), form)(z, y).detach(), expected, atol=1e-4, rtol=0)
    drawn()


# --- Roofline ---


@pytest.mark.parametrize("form", roofline.FORMS)
def test_macs_of_an_iteration_are_those_that_torch_counts(form: str) -> None:
    forms = roofline.FORMS[form]
    counted = roofline.tally(forms, width=4, batch=2)
    settings = {"width": 4, "dim_z": roofline.DIM_Z, "batch": 2, "seed": 0, "precision": "no"}
    trainer = training.pair_trainer(settings, forms)
    trainer.step()
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    assert 2 * (sum(counted.convolutions.values()) + counted.matrices) == counter.get_total_flops()
    kinds = {kind for kind, _, _ in counted.convolutions}
    strided = {"straightforward": set(), "merged": {"up-merged", "pool-merged"}}
    assert kinds == {"same", "other"} | strided.get(form, {"up-boxed", "pool-boxed"})


def test_filtered_convolutions_take_half_of_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "CHANNELS", 16)
    monkeypatch.setattr(winograd, "WORK", 16 * 32)  # of the pair at width 4, those at 32 px: conv2 of G's last block
    boxed, filtered = (
        sum(roofline.tally(roofline.FORMS[form], width=4, batch=2).convolutions.values())
        for form in ("boxed", "filtered")
    )
    products = 2 * 32**2 * 16 * 16 * 9
    assert boxed - filtered == 4 * products / 2, "twice forward, and both gradients"


def test_ceilings_count_what_they_compute() -> None:
    settings = {"matrix": 4, "megabytes": 1, "sizes": [16], "channels": 6, "batch": 2}
    for each in roofline.ceiling_list(settings):
        work = each.work()
        with FlopCounterMode(display=False) as counter:
            work()
        assert counter.get_total_flops() == 2 * each.macs(), each.key
        x, weight, stride, padding, transposed = each.tensors()
        out = each.out(x, weight, stride, padding, transposed)
        assert roofline.conv_kind(x, weight, out, stride, transposed)[0] == each.kind


def test_a_floor_is_macs_over_rates() -> None:
    counted = roofline.Tally()
    counted.convolutions["same", "forward", 32] = 600
    counted.convolutions["other", "weight", 32] = 1000
    counted.matrices, counted.other_bytes = 100, 50
    rates = {"matmul": 100.0, "copy": 10.0, "touch": 9e9, "same forward 32 contiguous": 200.0,
             "same forward 32 channels-last": 300.0}  # fmt: skip
    found = roofline.floor(counted, rates)
    assert (found["macs"], found["at_matmul"], found["other"]) == (1700, 17.0, 5.0)
    assert found["at_convolutions"] == pytest.approx(100 / 100 + 600 / 300 + 1000 / 300), "the unknown at the best rate"


# --- The file, every part in quick ---


class Inside:
    """A contestant in this process: the real work, without the seconds of its imports."""

    def __init__(self, contestant: Contestant, pace: Pace) -> None:
        self.contestant = contestant
        self.worker = worker.Worker(replace(contestant, threads=1), pace.warm_ups, pace.turn)

    def answer(self) -> dict[str, Any]:
        return {"idle": worker.resident_memory()}

    def ask(self, line: str) -> dict[str, Any]:
        return self.worker.build() if line == "build" else self.worker.go()

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Every part in quick."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "Process", Inside)
        patch.setattr(worker, "reset_peak", lambda device: None)
        assert main(["--quick", "--out", str(path)]) == 0
    yield json.loads(path.read_text())


def test_quick_measures_every_part(quick: dict[str, Any]) -> None:
    assert tuple(quick["parts"]) == results.PARTS and quick["quick"] is True
    for part in quick["parts"].values():
        assert part["provenance"]["finished"] and part["provenance"]["libraries"]["torch"]
        for group in part["groups"]:
            assert group["rounds"] == 3 and all(len(each["seconds"]) == 3 for each in group["contestants"])
    slim = quick["parts"]["latency"]["groups"][0]["contestants"][1]
    rows = quick["parts"]["quality"]["rows"]
    assert [row["arithmetic"] for row in rows] == ["float32", "bf16"] and rows[0]["run"] != rows[1]["run"]
    assert slim["share"] == pytest.approx(slim["ratio"]["median"] / slim["macs_ratio"])
    floors = quick["parts"]["roofline"]["floors"]
    macs = [floors[form]["1"]["macs"] for form in ("straightforward", "merged", "boxed")]
    assert macs == sorted(macs, reverse=True) and len(set(macs)) == 3
    assert not any(bar["measured"] for bar in quick["bars"].values()), "quick numbers meet no bar"


def test_quick_results_are_shown(quick: dict[str, Any]) -> None:
    assert speed.title(quick).startswith("**Quick numbers of tiny sizes, which say nothing.**")
    assert f"({provenance.instructions()}), " in speed.title(quick), "with the processor's name"
    for name in speed_figures.FIGURES:
        assert all(path.stat().st_size > 5000 for path in speed_figures.write_figure(quick, name))
    assert [len(speed.table(quick, name)) for name in ("latency", "training", "evaluation")] == [2, 4, 2]
    assert set(speed.bars_table(quick)["measured"]) == {"not run"} and speed.verdict(quick).count("not run") == 2
    assert set(speed.quality_table(quick)["score"]) == set(half.SCORES)
    assert len(speed.floors_table(quick)) == 4 and "GMAC/s" in set(speed.rates_table(quick)["unit"])


def test_parts_of_an_earlier_bench_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(name: str, *_: Any) -> dict[str, Any]:
        if name == "evaluation":
            raise PpcdError("contestant x ended: the disk is full")
        return {"quick": False, "groups": [], "provenance": {"n": next(numbers)}, "load": None, "floors": {}}

    numbers = iter(range(9))
    monkeypatch.setattr(results, "measure_part", measured)
    with pytest.raises(PpcdError, match="the disk is full"):
        results.measure(["roofline", "latency", "evaluation", "training"])
    parts = results.read()["parts"]
    assert {name: part["provenance"]["n"] for name, part in parts.items()} == {"latency": 1, "roofline": 0}
    results.measure(["roofline"])
    parts = results.read()["parts"]
    assert {name: part["provenance"]["n"] for name, part in parts.items()} == {"latency": 1, "roofline": 2}
    with pytest.raises(PpcdError, match=r"has real measurements and takes no quick ones; name another file \(--out\)"):
        results.measure(["latency"], quick=True)
    with pytest.raises(PpcdError, match="the disk is full"):
        results.ensure("missing")
    parts = results.read()["parts"]
    assert parts["training"]["provenance"]["n"] == 3 and parts["latency"]["provenance"]["n"] == 1
    assert results.ensure("never")["parts"] == parts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--parts", "latency,trainig"],
            "unknown part 'trainig'; expected some of: latency,training,",
        ),
        (["--parts", ""], "unknown part ''"),
        (["--parts", "latency", "--rounds", "0"], "a bench needs at least one round; got 0"),
    ],
)
def test_mistakes_take_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("ppcd: ") and said in error and error.count("\n") == 1
    assert not results.default_path().exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 1, "parts": {"latency": {}}}'])
def test_a_damaged_file_takes_one_line(text: str) -> None:
    paths.write_atomic(results.default_path(), text)
    for use in (results.read, lambda: results.ensure("missing"), lambda: results.measure(["latency"])):
        with pytest.raises(PpcdError, match=r"^.*bench\.json: .*; restore it, or delete it and measure again$"):
            use()
    assert results.default_path().read_text() == text


def test_nothing_is_measured_where_that_is_not_wanted() -> None:
    with pytest.raises(PpcdError, match=r"^speed was not measured yet; `make bench` does it, or measure = 'missing'$"):
        results.ensure("never")
    with pytest.raises(PpcdError, match=r"^measure must be one of: missing, again, never; got 'agian'$"):
        results.ensure("agian")


# --- Bars, tables and figures of a whole bench ---


def test_differences_are_those_of_a_seed() -> None:
    found = compared(False, None)["differences"]
    assert set(found) == set(half.RECIPES) and set(found["ppcd"]) == set(half.SCORES)
    assert found["ppcd"]["precision"] == [0.25] * 3, "the score of that name, and no run's precision"


def test_a_missing_run_in_float32_takes_one_line() -> None:
    with pytest.raises(PpcdError, match=r"biggan-s0-\w+, which is compared .*make reproduce PROFILE=mnist SEEDS=3"):
        half._read(run_config("mnist", "biggan", 0), None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A bench with everything in it, without the time."""
    with pytest.MonkeyPatch.context() as patch:
        return fake_bench(patch, tmp_path_factory.mktemp("whole") / "bench.json")


def test_a_roofline_of_older_forms_loses_nothing(whole: dict[str, Any]) -> None:
    """What was measured before there were these forms says nothing of them, and the training part is kept."""
    roofline = whole["parts"]["roofline"]
    floors = {name: floor for name, floor in roofline["floors"].items() if name != "filtered"}
    parts = whole["parts"] | {"roofline": roofline | {"floors": floors}}
    trained = bars.bars(parts)["training"]
    assert trained["within_reach"] is None and trained["ratio"] == whole["bars"]["training"]["ratio"]


def test_bars_say_what_was_asked_and_measured(whole: dict[str, Any]) -> None:
    found = whole["bars"]
    inference, trained = found["inference"], found["training"]
    assert (inference["asked"], trained["asked"], trained["stricter"]["asked"]) == (10.0, 2.0, 2.0)
    assert inference["met"] and inference["ratio"]["median"] > 10 and inference["memory"] < inference["memory_baseline"]
    together = bars.find_contestant(bars.find_group(whole["parts"]["training"], "pair"), "together")
    assert together is not None and trained["ratio"] == together["ratio"]
    stricter = trained["stricter"]["ratio"]["median"]
    assert 1 < stricter < trained["ratio"]["median"], "the allocator's part is not the computation's"
    assert trained["within_reach"]["at_matmul"] > 0
    assert "**reached**" in speed.verdict(whole) and "roofline allows" in speed.verdict(whole)
    assert list(speed.bars_table(whole)["met"])[1] == "yes"


def test_a_bar_that_is_not_met_says_so(whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "take_turns", lambda group: played(group, faster=0.5))
    content = results.measure(["latency", "training"])
    assert not content["bars"]["inference"]["met"] and not content["bars"]["training"]["faster"]
    assert speed.verdict(content).count("**not reached**") == 2
    assert list(speed.bars_table(content)["met"]) == ["no", "no", "no"]

    def hungry(group: Group) -> dict[str, Any]:
        found = played(group)
        for each in found["contestants"][1:]:
            each["memory"]["peak"] = 2**33
        return found

    monkeypatch.setattr(results, "take_turns", hungry)
    content = results.measure(["latency"])
    bar = content["bars"]["inference"]
    assert bar["faster"] and not bar["lean"] and not bar["met"], "faster with more memory does not meet it"
    assert "it takes **more** memory" in speed.verdict(content) and "no: memory" in set(
        speed.bars_table(content)["met"]
    )


def test_the_summary_has_the_bars_and_a_row_for_each_contestant(whole: dict[str, Any]) -> None:
    text = speed.write_summary(whole).read_text()
    assert text.count("all, float32") == 3 and "imagenet128, batch 64, 2 threads" in text and "1 thread" not in text
    assert speed.verdict(whole) in text
    tables = text.replace(speed.verdict(whole), "").splitlines()[2:]
    assert all(len(line.split("|")) > 4 for line in tables if line)


def test_the_figures_show_everything(whole: dict[str, Any]) -> None:
    panels = speed_figures.latency_figure(whole).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["imagenet128", "mnist", "cifar10-lite"]
    assert [len(axes.get_yticklabels()) for axes in panels] == [6, 4, 4]
    assert len(panels[0].lines) == 2 * (4 * 6 + 2 * 3) + 1
    pair, *pruning = speed_figures.training_figure(whole).axes
    assert [len(axes.patches) for axes in (pair, *pruning)] == [14, 8, 8]
    widths = ["a step of joint PPCD-GAN (cifar10-lite, width 6", "a step of joint PPCD-GAN (cifar10-lite, width 32"]
    assert [axes.get_title(loc="left").split(", batch")[0] for axes in pruning] == widths
    first = whole["parts"]["training"]["groups"][0]["contestants"]
    assert [patch.get_width() for patch in pair.patches] == [each["ratio"]["median"] for each in first]
    said = " ".join(text.get_text() for text in speed_figures.share_figure(whole).axes[0].texts)
    assert "paper, CPU: 13.3×, 2.2×" in said and "paper, GPU: 13.3×, 2.0×" in said
    rows = speed.table(whole, "latency")
    assert len(rows) == sum(len(group["contestants"]) for group in whole["parts"]["latency"]["groups"])
    assert list(speed.floors_table(whole)["measured (s)"])[1].endswith("(straightforward)")


def test_the_notebook_shows_what_there_is(whole: dict[str, Any], tmp_path: Path) -> None:
    paths.write_atomic(results.default_path(), json.dumps(whole))
    parameters = dict(notebooks("smoke", [0]))["10_speed"]
    assert parameters["measure"] == "never"
    before = results.default_path().read_text()
    path = notebook.execute(ROOT / "notebooks" / "10_speed.ipynb", tmp_path / "out.ipynb", parameters)
    cells = nbformat.read(path, as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each for each in data) == 3
    said = " ".join(str(text) for each in data for text in each.values())
    assert "times faster" in said and "Quick numbers" not in said
    assert results.default_path().read_text() == before
    results.default_path().unlink()
    assert "10_speed" not in dict(notebooks("smoke", [0])), "nothing was measured that it could show"
