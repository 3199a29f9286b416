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
from torch import Tensor, nn

from paper import notebook, numbers, paper_networks, paper_scale
from paper.artifacts import paper_scale as shown
from paper.artifacts import paper_scale_figures as figures
from paper.paper_networks import MASKED, PLAIN, SLIM_ALPHA, SLIM_MACS, Content
from paper.paper_scale import ensure, read, write_part
from paper.scale import main
from paper.size_model import GRID, KeptCost, count, kept_channels, kept_generator, masked_generator, slim_config
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.method.slim import slim
from ppcd.metrics.complexity import complexity
from ppcd.networks.generators import GeneratorConfig, build_generator
from ppcd.runs import provenance
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "results" / "imagenet128" / paper_scale.FILE
SMALL = {"resolution": 64, "num_classes": 7, "width": 4}  # 64 px: with self-attention


@pytest.fixture(scope="module")
def full() -> Content:
    """The complexity at the paper's size."""
    return paper_networks.compute_complexity(get_profile("imagenet128"))


@pytest.fixture(scope="module")
def cost() -> KeptCost:
    return KeptCost.of()


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


def test_power_iterations_would_put_sngan_beyond_a_percent(full: Content) -> None:
    counted = full["power_iterations"]
    assert set(counted) == {"biggan", "sagan", "sngan"}
    assert all(macs > full["networks"][name]["macs"] for name, macs in counted.items())
    assert counted["sngan"] / 9.1e9 - 1 > 0.01
    frame = shown.published_table({"complexity": full}).set_index("model")
    assert frame.loc["SN-GAN", "MACs"] == "9,094,184,960"
    assert list(frame.loc["SN-GAN"])[1::2] == ["-0.01%", "-0.06%"]
    assert frame.loc["Tiny-GAN", "power iterations counted"] == "none"


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_counted_is_the_network_that_runs(name: str) -> None:
    config = paper_networks.plain_config(name, replace(get_profile("smoke"), teacher_width=3, student_width=4))
    built = build_generator(name, config.resolution, config.num_classes, config.width, dim_z=config.dim_z)
    assert count(config) == complexity(slim(built))


def test_pp_res_at_full_size_is_counted_as_it_is_built(cost: KeptCost) -> None:
    generator = kept_generator(0.3)
    config = generator.config
    assert (config.masked, config.transition, config.spectral_norm) == (False, True, False)
    assert config.hidden == ((307, 307), (154, 154), (77, 77), (38, 38), (19, 19))
    assert generator.masks() == {}
    assert cost.at(0.3) == complexity(generator)
    assert cost.at(0.3).params == 17_227_061


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.625, 1.0])
def test_counts_by_fraction_are_those_of_real_networks(kept: float) -> None:
    cost = KeptCost.of(**SMALL)
    generator = kept_generator(kept, **SMALL)
    assert cost.at(kept) == complexity(generator) == count(slim_config(cost.hidden(kept), **SMALL))


def test_counts_of_uneven_layers_are_those_of_real_networks() -> None:
    hidden = ((1, 9), (7, 2), (5, 5), (3, 8))
    assert KeptCost.of(**SMALL).at_channels(hidden) == count(slim_config(hidden, **SMALL))


def test_the_slim_network_makes_the_images_of_the_masked_one() -> None:
    masked, small = masked_generator(0.4, **SMALL).eval(), kept_generator(0.4, **SMALL)
    assert [int(mask.kept.sum()) for mask in masked.masks().values()] == [26, 26, 13, 13, 6, 6, 3, 3]
    noise = torch.Generator().manual_seed(0)
    z, y = torch.randn(3, 128, generator=noise), torch.tensor([0, 3, 6])
    with torch.no_grad():
        torch.testing.assert_close(small(z, y), masked(z, y), atol=1e-4, rtol=0)
        dense = build_generator("sagan", **SMALL, masked=True).eval()
        assert not torch.allclose(dense(z, y), masked(z, y), atol=1e-3), "masks that remove nothing would pass"


def test_the_curve_rises_from_what_no_mask_touches_to_the_dense_network(full: Content, cost: KeptCost) -> None:
    for quantity in ("params", "macs"):
        values = [point[quantity] for point in full["curve"]]
        assert values == sorted(set(values))
        assert values[0] > getattr(cost.at(1e-6), quantity) > getattr(cost.rest, quantity)
    dense = GeneratorConfig("sagan", 128, 1000, 64, 128, transition=True, spectral_norm=False)
    last = full["curve"][-1]
    assert (last["kept"], last["params"], last["macs"]) == (1.0, count(dense).params, count(dense).macs)
    assert tuple(point["kept"] for point in full["curve"]) == GRID


@pytest.mark.parametrize("quantity", ["params", "macs"])
@pytest.mark.parametrize("kept", [0.05, 0.166, 0.5, 0.95, 1.0])
def test_the_implied_fraction_is_the_way_back(cost: KeptCost, quantity: str, kept: float) -> None:
    value = getattr(cost.at(kept), quantity)
    implied = cost.implied(quantity, value)
    assert implied == pytest.approx(kept, abs=1e-3)
    step = max(value - getattr(cost.at(max(kept - 2e-3, 1e-6)), quantity), 1)
    assert abs(getattr(cost.at(implied), quantity) - value) <= step


def test_what_the_published_numbers_imply(full: Content) -> None:
    implied = [(point["value"], round(point["implied"]["kept"], 3)) for point in full["points"]]
    assert implied == [(13.6e6, 0.166), (1.6e9, 0.09), (25e6, 0.545)]
    literal = [round(point["literal"]["params"] / 1e6, 1) for point in full["points"]]
    assert literal == [17.2, 17.2, 23.5], "keeping 1 - alpha everywhere"
    for point in full["points"]:
        assert point["implied"][point["quantity"]] == pytest.approx(point["value"], rel=2e-3)
    assert full["networks"][SLIM_MACS]["macs"] == pytest.approx(1.6e9, rel=2e-3)
    assert full["networks"][SLIM_ALPHA]["kept"] == 0.3


@pytest.mark.parametrize("kept", [0, -0.1, 1.0001, math.nan, True, "half", None])
def test_impossible_fractions_take_one_line(kept: Any) -> None:
    for build in (lambda: kept_channels(8, kept), lambda: kept_generator(kept, **SMALL)):
        with pytest.raises(
            PpcdError, match=r"^the kept fraction must be a number in \(0, 1\], for example 0.3; got .*$"
        ):
            build()


def test_at_least_one_channel_stays() -> None:
    assert [kept_channels(64, kept) for kept in (1e-9, 0.3, 0.305, 1)] == [1, 19, 20, 64]


def test_sizes_out_of_reach_take_one_line(cost: KeptCost) -> None:
    for value in (1e6, 1e9, math.nan):
        with pytest.raises(PpcdError, match=r"^.* params are out of reach: this network has .* to 43,416,132 of them$"):
            cost.implied("params", value)
    with pytest.raises(PpcdError, match="implied by params or macs; got 'fid'"):
        cost.implied("fid", 1.0)
    with pytest.raises(PpcdError, match="hidden must be 5 pairs"):
        slim_config(((1, 1),))


# --- Run time ---


class Noted(nn.Module):
    """Notes down when it was asked for a batch."""

    dim_z, num_classes = 4, 10

    def __init__(self, name: str, calls: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.name, self.calls = name, calls
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        self.calls.append((self.name, len(z), torch.get_num_threads()))
        return self.weight + z


def test_networks_take_turns_with_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    networks = {name: Noted(name, calls) for name in "ab"}
    monkeypatch.setattr(paper_scale, "build_networks", lambda profile, seed: networks)
    monkeypatch.setattr(paper_scale, "count_workers", lambda asked, device: 2)
    part = paper_scale.measure_runtime(get_profile("smoke"), rounds=3)
    assert calls == [(name, 64, 2) for name in "ababab"]
    assert torch.get_num_threads() == 1, "put back"
    assert (part["kind"], part["threads"], part["batch"], part["rounds"]) == ("cpu", 2, 64, 3)
    assert part["provenance"]["threads"] == 2 and part["provenance"]["finished"]
    assert {name: len(times) for name, times in part["networks"].items()} == {"a": 3, "b": 3}
    with pytest.raises(PpcdError, match="at least one round; got 0"):
        paper_scale.measure_runtime(get_profile("smoke"), rounds=0)


def test_the_timed_networks_are_those_of_the_table() -> None:
    networks = paper_networks.build_networks(get_profile("smoke"))
    assert tuple(networks) == (*PLAIN, MASKED, SLIM_MACS, SLIM_ALPHA) == tuple(shown.MODELS)
    assert [network.config.spectral_norm for network in networks.values()] == [name == MASKED for name in networks]
    assert len(networks[MASKED].masks()) == 6 and not networks[SLIM_MACS].masks()
    sizes = paper_networks.compute_complexity(get_profile("smoke"))["networks"]
    for name, network in networks.items():
        found = complexity(network)
        assert sizes[name]["params"] == found.params
        if name != MASKED:  # a frozen mask is counted without the sigmoid of an open one
            assert sizes[name]["macs"] == found.macs


# --- The file ---


def fake_part(kind: str = "cpu", device: str = "AMD Old", threads: int = 2, **more: Any) -> Content:
    """A measurement of another machine."""
    part = {"device": device, "kind": kind, "torch": "2.0.0", "threads": threads, "load": 0.1}
    seconds = {name: [3.0 + place, 1.0 + place, 2.0 + place] for place, name in enumerate(shown.MODELS)}
    origin = {"finished": "2025-01-01T00:00:00Z"}
    return {**part, "batch": 64, "rounds": 3, "networks": seconds, "provenance": origin, **more}


def fake_steps(**more: Any) -> Content:
    points = [{"batch": 2, "seconds": [3.0], "memory": 2**30, "losses": {}}]
    points += [{"batch": 4, "seconds": [5.0], "memory": 2**31, "losses": {}}]
    budget = {"iterations": 500_000, "images_per_iteration": 256, "batch": 128}
    lines = {"seconds_base": 1.0, "seconds_per_image": 1.0, "memory_base": 0.0, "memory_per_image": 2.0**29}
    follows = {"seconds_per_iteration": 257.0, "images_per_second": 0.996, "days": 1487.3, "memory": 2.0**36}
    return fake_part(recipe="ppcd", points=points, estimate=budget | lines | follows, **more)


def test_parts_of_other_devices_stay(full: Content) -> None:
    write_part("smoke", "complexity", full)
    first = write_part("smoke", "runtime", fake_part())
    gpu = fake_part("gpu", "NVIDIA GeForce RTX 3090")
    write_part("smoke", "runtime", gpu)
    write_part("smoke", "steps", fake_steps())
    newer = fake_part(rounds=5)
    content = write_part("smoke", "runtime", newer)
    assert read("smoke") == content
    assert content["runtime"] == {"AMD Old, 2 threads": newer, "NVIDIA GeForce RTX 3090": gpu}
    assert content["complexity"] == first["complexity"] == json.loads(json.dumps(full))
    assert list(content["steps"]) == ["AMD Old, 2 threads"]
    assert paper_scale.key(fake_part(threads=1)) == "AMD Old, 1 thread"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-30], "it cannot be read"),
        (lambda text: "[]", "it cannot be read"),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), "schema 9 is not 1, the one this version reads"),
        (lambda text: text.replace('"profile": "smoke"', '"profile": "mnist"'), "it is of profile mnist"),
        (lambda text: text.replace('"networks"', '"netwrks"'), "its runtime of AMD Old, 2 threads is not whole"),
        (lambda text: text.replace('"threads": 2', '"threads": 4'), "its runtime of AMD Old, 2 threads is not whole"),
    ],
)
def test_a_damaged_file_is_neither_read_nor_overwritten(damage: Any, said: str) -> None:
    write_part("smoke", "runtime", fake_part())
    path = paper_scale.path_of("smoke")
    path.write_text(damage(path.read_text()))
    damaged = path.read_text()
    for use in (lambda: read("smoke"), lambda: write_part("smoke", "runtime", fake_part()), lambda: ensure("smoke")):
        with pytest.raises(PpcdError, match=rf"^.*{said}.*; restore it, or delete it and measure again$"):
            use()
    assert path.read_text() == damaged


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """What was measured, instead of measuring: as on this machine, and on a GPU where "cuda" is asked for."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(paper_scale, "here", lambda device: f"{device} here" + ", 2 threads" * (device == "cpu"))

    def measure(profile: str, name: str, device: str, seed: int) -> Content:
        found.append((name, device))
        if name == "complexity":
            return dict.fromkeys(paper_scale.COMPLEXITY)
        part = fake_part if name == "runtime" else fake_steps
        kind = "cpu" if device == "cpu" else "gpu"
        return part(kind=kind, device=f"{device} here") | {"torch": paper_scale.torch_version()}

    monkeypatch.setattr(paper_scale, "measure_part", measure)
    yield found


def test_only_what_is_missing_is_measured(measured: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = [("complexity", "cpu"), ("runtime", "cpu"), ("steps", "cpu")]
    ensure("smoke")
    assert measured == on_cpu
    content = ensure("smoke")
    assert ensure("smoke", measure="never") == content and measured == on_cpu
    ensure("smoke", "cuda")
    assert measured == [*on_cpu, ("runtime", "cuda"), ("steps", "cuda")]
    ensure("smoke", measure="again")
    assert measured[5:] == on_cpu
    monkeypatch.setattr(paper_scale, "torch_version", lambda: "3.0")
    ensure("smoke", measure="missing")
    assert measured[8:] == on_cpu[1:], "another version of torch counts the same and runs differently"


def test_never_measures_nothing(measured: list[tuple[str, str]]) -> None:
    with pytest.raises(PpcdError, match=r"^nothing was measured at profile smoke; take measure = 'missing'$"):
        ensure("smoke", measure="never")
    with pytest.raises(PpcdError, match=r"^measure must be one of: missing, again, never; got 'agian'$"):
        ensure("smoke", measure="agian")
    assert measured == [] and not paper_scale.path_of("smoke").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "complexity,runtim"], "unknown part 'runtim'; expected some of: complexity,runtime,steps"),
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_takes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "smoke", "--device", "cuda"]) == 2
    assert capsys.readouterr().err == (
        "ppcd: device 'cuda' was asked for, but torch sees none on this machine; take cpu or auto\n"
    )


def test_what_cannot_be_measured_takes_one_line() -> None:
    with pytest.raises(PpcdError, match="measured on cpu and cuda; 'mps' cannot be"):
        paper_scale.measure_part("smoke", "runtime", "mps", 0)
    with pytest.raises(PpcdError, match="unknown part 'speed'"):
        paper_scale.measure_part("smoke", "speed", "cpu", 0)


def test_the_command_line_measures_one_part_and_writes_what_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "smoke", "--only", "complexity", "--device", "cpu"]) == 0
    content = read("smoke")
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
    write_part("imagenet128", "complexity", full)
    write_part("imagenet128", "runtime", fake_part())
    return write_part("imagenet128", "steps", fake_steps())


def test_the_table_has_ours_and_the_papers(content: Content) -> None:
    frame = shown.table(content)
    biggan, masked, small = (frame.set_index("recipe").loc[name] for name in ("biggan", MASKED, SLIM_MACS))
    assert (biggan["params"], biggan["paper params"], biggan["cpu"], biggan["paper cpu"]) == (70433988, 70.4e6, 2, 4.59)
    assert small["macs factor"] == pytest.approx(21_128_430_336 / small["macs"])
    assert math.isnan(masked["paper params"]) and masked["reference"]
    assert frame["gpu"].isna().all()
    text = shown.render.markdown(frame, shown.columns(), shown.caption(frame))
    assert (
        "at the paper's own size" in text
        and "GPU not run; CPU AMD Old, 2 threads, torch 2.0.0 (load average before: 0.1)" in text
    )
    assert text.count("| not run |") == len(frame)
    assert "| 70.4M (1.0×) | 70.4M (1.0×) | 21.1B (1.0×) | 21.3B (1.0×) | not run | 2.42 | **2.00** | 4.59 |" in text


def test_this_machines_times_come_before_others_and_newer_before_older(content: Content) -> None:
    newer = fake_part(device="AMD New", provenance={"finished": "2026-01-01T00:00:00Z"})
    content = write_part("imagenet128", "runtime", newer)
    assert shown.part_of(content, "runtime", "cpu") == newer
    own, _, threads = paper_scale.here("cpu").rpartition(", ")
    assert own.endswith(f" ({provenance.instructions()})"), "others of that name may be slower"
    mine = fake_part(device=own, threads=int(threads.split()[0]), provenance={"finished": "2020-01-01T00:00:00Z"})
    content = write_part("imagenet128", "runtime", mine)
    assert shown.part_of(content, "runtime", "cpu") == mine
    assert shown.part_of(content, "runtime", "gpu") is None


def test_the_sentences_are_made_of_the_numbers(content: Content) -> None:
    said = shown.agreement(content)
    assert "**13.6M parameters** (alpha 0.7, Table 1) is what keeping a fraction of **0.166**" in said
    assert "Keeping 1 − alpha = 0.3 gives 17.2M, 27% more." in said
    assert "Keeping 1 − alpha = 0.5 gives 23.5M, 6% less." in said
    assert said.count("**above** what any frozen layer keeps") == 1
    assert "0.166 by its parameters and 0.090 by its MACs, 1.8 times apart" in said
    training = shown.training_sentence(content)
    assert "“All the networks were trained from scratch on a PC with GTX3090x2" in training
    assert "**1,487 days** for 500,000 steps of 256 images" in training and "**64 GiB** at batch 128" in training
    assert "On a GPU: not run." in training
    row = shown.estimates_table(content).iloc[0]
    assert row["seconds of a step"] == "1 + 1 an image" and row["the whole training"] == "1,487 days"
    assert list(shown.steps_table(content)["images per second"]) == ["0.667", "0.8"]
    assert len(shown.points_table(content)) == 3 and len(shown.curve_table(content)) == len(GRID)


@pytest.mark.parametrize(
    ("days", "said"), [(1487.3, "1,487 days"), (3.51, "3.5 days"), (0.25, "6.0 hours"), (0.002, "2.9 minutes")]
)
def test_durations(days: float, said: str) -> None:
    assert shown.duration(days) == said


def labels(figure: Any) -> list[str]:
    return [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]


def test_figures_show_the_published_points_where_they_belong(content: Content, full: Content) -> None:
    found = labels(figures.curve_figure(content))
    assert "paper, α 0.7: 13.6M, kept 0.166" in found and "paper, α 0.5: 25M, kept 0.545" in found
    assert "paper, α 0.7: 1.6B, kept 0.090" in found and "1 − α = 0.3 kept: 17.2M" in found
    line = figures.curve_figure(content).axes[0].lines[0]
    assert list(line.get_ydata()) == [point["params"] / 1e6 for point in full["curve"]]
    assert labels(figures.curve_figure({**content, "profile": "smoke"})) == []
    runtime = figures.runtime_figure(content)
    assert [axes.get_title() for axes in runtime.axes] == ["GPU: here not run", "CPU"]
    heights = [patch.get_width() for patch in runtime.axes[1].patches]
    assert heights == [2, 3, 4, 5, 6, 7, 8, 4.59, 2.65, 2.35, 3.62, 0, 2.05, 2.05]
    steps = figures.steps_figure(content)
    assert list(steps.axes[0].lines[1].get_ydata()) == [1.0, 5.0]


def test_every_table_is_written(content: Content) -> None:
    tables = {f"paper_scale.{extension}" for extension in ("csv", "md", "tex")}
    tables |= {f"paper_scale_{name}.csv" for name in ("curve", "points", "steps", "training")}
    assert {path.name for path in shown.write_tables(content)} == tables
    assert figures.write_all("smoke") == [], "nothing was measured there"


# --- What is committed, and the notebook ---


def test_the_committed_sizes_are_those_of_the_code(full: Content) -> None:
    committed = json.loads(COMMITTED.read_text())["complexity"]
    for name in paper_scale.COMPLEXITY - {"provenance"}:
        assert committed[name] == full[name], "make paper-scale was not run after a change of the networks"


def test_the_notebook_shows_what_is_committed(tmp_path: Path) -> None:
    """Nothing is measured, every table and figure is made, from what the repository has."""
    path = paper_scale.path_of("imagenet128")
    paths.write_atomic(path, COMMITTED.read_text())
    parameters = {"profile": "imagenet128", "seed": 0, "device": "cpu", "measure": "never"}
    source = ROOT / "notebooks" / "08_paper_scale.ipynb"
    cells = nbformat.read(notebook.execute(source, tmp_path / "out.ipynb", parameters), as_version=4).cells
    data = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in each for each in data) == 3
    said = " ".join(str(text) for each in data for text in each.values())
    assert "kept fraction" in said and "GTX3090x2" in said and "at the paper's own size" in said
    assert path.read_text() == COMMITTED.read_text()
    assert (paths.results("imagenet128") / "tables" / "paper_scale.tex").is_file()
    assert (paths.figures("imagenet128") / "paper_scale_curve.pdf").is_file()
