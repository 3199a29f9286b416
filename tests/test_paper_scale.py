"""The paper's own scale: exact sizes, kept fractions and back, what is kept of which machine, tables and figures."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from fake_runs import smoke
from reference import refused

from paper import notebook, numbers, paper_networks, paper_scale
from paper.artifacts import paper_scale as shown
from paper.artifacts.paper_scale import main
from paper.paper_networks import (
    MASKED,
    PLAIN,
    SLIM_ALPHA,
    SLIM_MACS,
    Content,
    SizeModel,
    build,
    count,
    kept_channels,
    kept_config,
    network_configs,
)
from paper.paper_scale import ensure, read, write_part
from paper.study import Study
from ppcd import paths
from ppcd.method.slim import slim
from ppcd.metrics.complexity import complexity
from ppcd.networks.generators import build_generator
from ppcd.runs import provenance
from ppcd.training.profiles import Profile, get_profile

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "results" / "imagenet128" / paper_scale.FILE
SMALL = {"resolution": 64, "num_classes": 7, "width": 4}  # 64 px: with self-attention


@pytest.fixture(scope="module")
def full() -> Content:
    """The complexity at the paper's size."""
    return paper_networks.compute_complexity(get_profile("imagenet128"))


@pytest.fixture(scope="module")
def size() -> SizeModel:
    return SizeModel.of()


# --- Networks and their size ---


@pytest.mark.parametrize(
    ("name", "params", "macs", "within"),
    [
        ("biggan", 70_433_988, 21_128_430_336, 0.01),
        ("sagan", 42_017_412, 9_514_139_648, 0.01),
        ("sngan", 41_996_931, 9_094_184_960, 0.01),
        ("tinygan", 3_070_659, 446_873_600, 0.02),
    ],
)
def test_the_networks_of_table_1_have_the_published_sizes(
    full: Content, name: str, params: int, macs: int, within: float
) -> None:
    assert full["networks"][name] == {"params": params, "macs": macs}
    for column, found in (("#Par.", params), ("MACs", macs)):
        assert found == pytest.approx(numbers.published(1, PLAIN[name], column).value, rel=within)


def test_what_is_counted_is_what_is_timed() -> None:
    configs = network_configs(replace(get_profile("smoke"), teacher_width=3, student_width=4))
    assert tuple(configs) == (*PLAIN, MASKED, SLIM_MACS, SLIM_ALPHA) == tuple(shown.MODELS)
    assert [config.spectral_norm for config in configs.values()] == [name == MASKED for name in configs]
    for name, config in configs.items():
        network = build(config)
        assert count(config) == complexity(network)
        assert len(network.masks()) == (6 if name == MASKED else 0)
    for name in PLAIN:
        config = configs[name]
        trained = build_generator(name, config.resolution, config.num_classes, config.width, dim_z=config.dim_z)
        assert count(config) == complexity(slim(trained))


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.625, 1.0])
def test_counts_by_fraction_are_those_of_slimmed_networks(kept: float) -> None:
    masked = build_generator("sagan", **SMALL, masked=True)
    for mask in masked.masks().values():
        mask.freeze(torch.arange(mask.channels) < kept_channels(mask.channels, kept))
    small = slim(masked)
    assert SizeModel.of(**SMALL).at(kept) == complexity(small) == count(kept_config(kept, **SMALL))
    assert small.config == kept_config(kept, **SMALL)


@pytest.mark.parametrize("quantity", ["params", "macs"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 1.0])
def test_the_implied_fraction_is_the_way_back(size: SizeModel, quantity: str, kept: float) -> None:
    value = getattr(size.at(kept), quantity)
    implied = size.implied(quantity, value)
    assert implied == pytest.approx(kept, abs=1e-3)
    step = max(value - getattr(size.at(max(kept - 2e-3, 1e-6)), quantity), 1)
    assert abs(getattr(size.at(implied), quantity) - value) <= step


def test_what_the_published_numbers_imply(full: Content) -> None:
    implied = [(point["value"], round(point["implied"]["kept"], 3)) for point in full["points"]]
    assert implied == [(13.6e6, 0.166), (1.6e9, 0.09), (25e6, 0.545)]
    literal = [round(point["literal"]["params"] / 1e6, 1) for point in full["points"]]
    assert literal == [17.2, 17.2, 23.5], "keeping 1 - alpha everywhere"
    for point in full["points"]:
        assert point["implied"][point["quantity"]] == pytest.approx(point["value"], rel=2e-3)
    assert full["networks"][SLIM_MACS]["macs"] == pytest.approx(1.6e9, rel=2e-3)
    assert full["networks"][SLIM_ALPHA]["kept"] == 0.3


# --- The file ---


def fake_part(kind: str = "cpu", device: str = "AMD Old", threads: int = 2, **more: Any) -> Content:
    """A measurement of another machine."""
    part = {"device": device, "kind": kind, "torch": "2.0.0", "threads": threads, "load": 0.1}
    seconds = {name: [3.0 + place, 1.0 + place, 2.0 + place] for place, name in enumerate(shown.MODELS)}
    origin = {"finished": "2025-01-01T00:00:00Z"}
    return {**part, "batch": 64, "rounds": 3, "networks": seconds, "provenance": origin, **more}


def fake_steps(**more: Any) -> Content:
    points = [{"batch": 2, "seconds": [3.0], "memory": 2**30}]
    points += [{"batch": 4, "seconds": [5.0], "memory": 2**31}]
    budget = {"iterations": 500_000, "images_per_iteration": 256, "batch": 128}
    lines = {"seconds_base": 1.0, "seconds_per_image": 1.0, "memory_base": 0.0, "memory_per_image": 2.0**29}
    follows = {"seconds_per_iteration": 257.0, "images_per_second": 0.996, "days": 1487.3, "memory": 2.0**36}
    return fake_part(recipe="ppcd", points=points, estimate=budget | lines | follows, **more)


def test_parts_of_other_devices_stay(full: Content) -> None:
    write_part(smoke(), "complexity", full)
    first = write_part(smoke(), "runtime", fake_part())
    gpu = fake_part("gpu", "NVIDIA GeForce RTX 3090")
    write_part(smoke(), "runtime", gpu)
    write_part(smoke(), "steps", fake_steps())
    newer = fake_part(rounds=5)
    content = write_part(smoke(), "runtime", newer)
    assert read(smoke()) == content
    assert content["runtime"] == {"AMD Old, 2 threads": newer, "NVIDIA GeForce RTX 3090": gpu}
    assert content["complexity"] == first["complexity"] == json.loads(json.dumps(full))
    assert list(content["steps"]) == ["AMD Old, 2 threads"]
    assert paper_scale.key(fake_part(threads=1)) == "AMD Old, 1 thread"


@pytest.mark.parametrize(("there", "instead"), [("}", ""), ('"schema": 1', '"schema": 9')])
def test_a_damaged_file_is_neither_read_nor_overwritten(there: str, instead: str) -> None:
    write_part(smoke(), "runtime", fake_part())
    path = paths.results("smoke") / paper_scale.FILE
    path.write_text(path.read_text().replace(there, instead))
    damaged = path.read_text()
    for use in (lambda: read(smoke()), lambda: write_part(smoke(), "runtime", fake_part()), lambda: ensure(smoke())):
        with refused("is damaged or of another version; restore it, or delete it and measure again"):
            use()
    assert path.read_text() == damaged


def test_a_part_is_measured_with_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_scale, "cores", lambda: 2)
    monkeypatch.setitem(paper_scale.ROUNDS, "cpu", 2)
    part = paper_scale.measure_part(get_profile("smoke"), "runtime")
    assert (part["kind"], part["threads"], part["batch"], part["rounds"]) == ("cpu", 2, 64, 2)
    assert part["provenance"]["threads"] == 2 and part["provenance"]["finished"]
    assert {name: len(times) for name, times in part["networks"].items()} == dict.fromkeys(shown.MODELS, 2)
    assert torch.get_num_threads() == 1, "put back"
    write_part(smoke(), "runtime", part)
    assert list(read(smoke())["runtime"]) == [paper_scale.key(paper_scale.this_machine("cpu"))]
    with refused("measured on cpu and cuda; 'mps' cannot be"):
        paper_scale.measure_part(get_profile("smoke"), "runtime", "mps")
    with refused("the kept fraction must be a number in (0, 1], for example 0.3; got 0"):
        kept_config(0, **SMALL)
    with refused("params are out of reach: this network has "):
        SizeModel.of(**SMALL).implied("params", 1e9)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """What was measured, instead of measuring: as on this machine, and on a GPU where "cuda" is asked for."""
    found: list[tuple[str, str]] = []

    def machine(device: str) -> Content:
        kind = "cpu" if device == "cpu" else "gpu"
        return {"device": f"{device} here", "kind": kind, "threads": 2, "torch": "2.0.0"}

    monkeypatch.setattr(paper_scale, "this_machine", machine)

    def measure(profile: Profile, name: str, device: str, seed: int) -> Content:
        found.append((name, device))
        if name == "complexity":
            return {"networks": {}}
        part = fake_part if name == "runtime" else fake_steps
        return part(**machine(device))

    monkeypatch.setattr(paper_scale, "measure_part", measure)
    yield found


def test_only_what_is_missing_is_measured(measured: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = [("complexity", "cpu"), ("runtime", "cpu"), ("steps", "cpu")]
    with refused("nothing was measured at profile smoke; take measure = 'missing'"):
        ensure(smoke(), measure="never")
    ensure(smoke())
    assert measured == on_cpu
    content = ensure(smoke())
    assert ensure(smoke(), measure="never") == content and measured == on_cpu
    ensure(smoke(), "cuda")
    assert measured == [*on_cpu, ("runtime", "cuda"), ("steps", "cuda")]
    ensure(smoke(), measure="again")
    assert measured[5:] == on_cpu
    monkeypatch.setattr(paper_scale, "this_machine", lambda device: fake_part(device="cpu here", torch="3.0"))
    ensure(smoke(), measure="missing")
    assert measured[8:] == on_cpu[1:], "another version of torch counts the same and runs differently"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--profile", "imagenet"], "unknown profile 'imagenet'; expected one of: smoke"),
    ],
)
def test_mistakes_on_the_command_line_take_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--profile", "smoke", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("ppcd: ") and error.count("\n") == 1


def test_the_command_line_measures_one_part_and_writes_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "smoke", "--only", "complexity", "--device", "cpu"]) == 0
    content = read(smoke())
    assert content["complexity"]["networks"].keys() == shown.MODELS.keys()
    assert content["runtime"] == content["steps"] == {}
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    drawn = {f"paper_scale_{name}.{kind}" for name in ("curve", "runtime", "steps") for kind in ("png", "pdf")}
    assert {path.name for path in written} >= {"paper_scale.csv", "paper_scale.md"} | drawn
    assert all(path.stat().st_size for path in written)
    assert "not run" in (paths.results("smoke") / "tables" / "paper_scale.md").read_text()


# --- Tables, figures, sentences ---


@pytest.fixture
def content(full: Content) -> Content:
    """The paper's size with run times and steps of another machine's CPU and no GPU's."""
    write_part(Study.of("imagenet128"), "complexity", full)
    write_part(Study.of("imagenet128"), "runtime", fake_part())
    return write_part(Study.of("imagenet128"), "steps", fake_steps())


def test_the_table_has_ours_and_the_papers(content: Content) -> None:
    frame = shown.table(content, Study.of("imagenet128"))
    biggan, masked, small = (frame.set_index("recipe").loc[name] for name in ("biggan", MASKED, SLIM_MACS))
    assert (biggan["params"], biggan["paper params"], biggan["cpu"], biggan["paper cpu"]) == (70433988, 70.4e6, 2, 4.59)
    assert small["macs factor"] == pytest.approx(21_128_430_336 / small["macs"])
    assert math.isnan(masked["paper params"]) and masked["reference"]
    assert frame["gpu"].isna().all()
    text = shown.render.markdown(frame, shown.columns(), shown.caption(frame, get_profile("imagenet128")))
    assert (
        "at the paper's own size" in text
        and "GPU not run; CPU AMD Old, 2 threads, torch 2.0.0 (load average before: 0.1)" in text
    )
    assert text.count("| not run |") == len(frame)
    assert "| 70.4M (1.0×) | 70.4M (1.0×) | 21.1B (1.0×) | 21.3B (1.0×) | not run | 2.42 | **2.00** | 4.59 |" in text


def test_this_machines_times_come_before_others_and_newer_before_older(content: Content) -> None:
    newer = fake_part(device="AMD New", provenance={"finished": "2026-01-01T00:00:00Z"})
    content = write_part(Study.of("imagenet128"), "runtime", newer)
    assert shown.part_of(content, "runtime", "cpu") == newer
    machine = paper_scale.this_machine("cpu")
    assert machine["device"].endswith(f" ({provenance.instructions()})"), "others of that name may be slower"
    mine = fake_part(**machine, provenance={"finished": "2020-01-01T00:00:00Z"})
    content = write_part(Study.of("imagenet128"), "runtime", mine)
    assert shown.part_of(content, "runtime", "cpu") == mine
    assert shown.part_of(content, "runtime", "gpu") is None


def test_the_other_tables_are_made_of_the_numbers(content: Content) -> None:
    points = shown.points_table(content)
    assert list(points["implied kept fraction"]) == ["0.166", "0.090", "0.545"]
    assert list(points["parameters at 1 − alpha"]) == ["17.2M", "17.2M", "23.5M"]
    row = shown.estimates_table(content).iloc[0]
    assert row["seconds of a step"] == "1 + 1 an image" and row["the whole training"] == "1,487.3 days"
    assert row["steps"] == "500,000 of 256 images" and row["memory at batch 128"] == "64 GiB"
    assert list(shown.steps_table(content)["images per second"]) == ["0.667", "0.8"]


def labels(figure: Any) -> list[str]:
    return [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]


def test_figures_show_the_published_points_where_they_belong(content: Content, full: Content) -> None:
    found = labels(shown.curve_figure(content, Study.of("imagenet128")))
    assert "paper, α 0.7: 13.6M, kept 0.166" in found and "paper, α 0.5: 25M, kept 0.545" in found
    assert "paper, α 0.7: 1.6B, kept 0.090" in found and "1 − α = 0.3 kept: 17.2M" in found
    line = shown.curve_figure(content, Study.of("imagenet128")).axes[0].lines[0]
    assert list(line.get_ydata()) == [point["params"] / 1e6 for point in full["curve"]]
    assert labels(shown.curve_figure(content, smoke())) == []
    runtime = shown.runtime_figure(content, Study.of("imagenet128"))
    assert [axes.get_title() for axes in runtime.axes] == ["GPU: here not run", "CPU"]
    heights = [patch.get_width() for patch in runtime.axes[1].patches]
    assert heights == [2, 3, 4, 5, 6, 7, 8, 4.59, 2.65, 2.35, 3.62, 0, 2.05, 2.05]
    steps = shown.steps_figure(content, Study.of("imagenet128"))
    assert list(steps.axes[0].lines[1].get_ydata()) == [1.0, 5.0]


# --- What is committed, and the notebook ---


def test_the_committed_sizes_are_those_of_the_code(full: Content) -> None:
    committed = json.loads(COMMITTED.read_text())["complexity"]
    for name in set(full) - {"provenance"}:
        assert committed[name] == full[name], "make paper-scale was not run after a change of the networks"


def test_the_notebook_shows_what_is_committed(tmp_path: Path) -> None:
    """Nothing is measured, every table and figure is made, from what the repository has."""
    path = paths.results("imagenet128") / paper_scale.FILE
    paths.write_atomic(path, COMMITTED.read_text())
    parameters = {"profile": "imagenet128", "seed": 0, "device": "cpu", "measure": "never"}
    source = ROOT / "notebooks" / "08_paper_scale.ipynb"
    cells = nbformat.read(notebook.execute(source, tmp_path / "out.ipynb", parameters), as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each for each in data) == 3
    said = " ".join(str(text) for each in data for text in each.values())
    assert "kept fraction" in said and "two GTX 3090" in said and "at the paper's own size" in said
    assert path.read_text() == COMMITTED.read_text()
    assert (paths.results("imagenet128") / "tables" / "paper_scale.tex").is_file()
    assert (paths.figures("imagenet128") / "paper_scale_curve.pdf").is_file()
