"""Tables 1, 2 and 3: means of the records, factors, ranks, what was not run, run times, and the three files."""

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from fake_runs import fake_run, smoke

from paper import measurements, numbers
from paper.artifacts import render, rows, tables
from paper.artifacts.tables import table1, table2, table3
from ppcd.base import PpcdError

# recipe -> IS, FD, diversity, parameters, seconds: Tiny-GAN is small and bad, PPCD-GAN second in size
SYSTEMS: dict[str, tuple[float, float, float, int, float]] = {
    "biggan": (9.0, 4.0, 0.40, 120_000, 0.0690),
    "sagan": (7.0, 9.0, 0.50, 60_000, 0.0400),
    "sngan": (6.0, 11.0, 0.45, 55_000, 0.0390),
    "tinygan": (3.0, 40.0, 0.10, 5_000, 0.0100),
    "ppcd": (8.0, 6.0, 0.42, 13_000, 0.0200),
}
ALL = pytest.mark.parametrize("make", [table1, table2, table3])
Make = Callable[..., pd.DataFrame]


def run(recipe: str, seed: int = 0, better: float = 0.0, **other: Any) -> dict[str, Any]:
    inception, distance, diversity, params, seconds = SYSTEMS.get(recipe, SYSTEMS["ppcd"])
    scores = {"is": inception + better, "fd": distance - better, "diversity": diversity}
    scores |= {"precision": inception / 10, "recall": diversity, "accuracy": inception / 10}
    return fake_run(recipe, seed, **{"params": params, "seconds": seconds} | scores | other)


def everything() -> None:
    for recipe in SYSTEMS:
        run(recipe)


def ablation() -> None:
    """The runs of Table 3 with scores that are easy to rank."""
    fake_run("biggan", **{"is": 9.0, "fd": 1.0})
    fake_run("ppcd-a0.5", **{"is": 7.0, "fd": 4.0})
    fake_run("ppcd-no-pp", **{"is": 8.5, "fd": 3.0})
    fake_run("ppcd-no-cd-a0.5", **{"is": 5.0, "fd": 9.0})
    fake_run("ppcd-two-step-a0.5", **{"is": 6.0, "fd": 4.0})


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def shown(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Model -> heading -> cell of the Markdown table."""
    head, _, *body = [line for line in tables.markdown(frame).splitlines() if line.startswith("|")]
    table = [dict(zip(cells(head), cells(line), strict=True)) for line in body]
    return {row["Model"]: row for row in table}


@ALL
def test_rows_and_columns_are_the_papers_in_its_order(make: Make) -> None:
    frame = make(smoke())
    number = tables.number_of(frame)
    models = [model for model in frame["model"] if model != "Big-GAN (teacher)"]
    assert models == list(numbers.TABLES[number])
    said = [entry.paper for entry in tables.columns(frame) if entry.paper]
    assert said == list(next(iter(numbers.TABLES[number].values())))
    for model, row in zip(models, shown(frame).values(), strict=False):
        for name, cell in numbers.TABLES[number][model].items():
            printed = row[f"paper's {name}"]
            assert printed in (cell.text, cell.text.replace("x)", "×)"), cell.text.split(" (")[0])


def test_numbers_are_the_means_and_spreads_of_the_records() -> None:
    records = [run("ppcd", seed, better, seconds=0.02 + 0.01 * seed) for seed, better in enumerate((0.0, 1.0, 5.0))]
    run("sagan", 1)
    frame = table1(smoke(0, 1, 2))
    cell, status = shown(frame)["PPCD-GAN (alpha=0.7)"], frame.set_index("recipe")["status"]
    assert cell["IS (classifier) ↑"] == "**10.00** ± 2.65" and cell["CPU (s) ↓"] == "**0.0300** ± 0.0100"
    assert cell["#Par. ↓"] == "**13k** (n/a)", "no Big-GAN, no factor; no spread of nothing"
    assert frame.set_index("recipe").loc["ppcd", "runs"] == "; ".join(record["id"] for record in records)
    assert (status["ppcd"], status["sagan"], status["biggan"]) == ("complete", "1 of 3 seeds", "not run")


def test_best_is_bold_and_second_underlined_in_every_column() -> None:
    everything()
    table = shown(table1(smoke()))

    def marked(heading: str) -> list[str]:
        return [model for mark in ("**", "<ins>") for model, row in table.items() if row[heading].startswith(mark)]

    for heading in ("IS (classifier) ↑", "FD (classifier) ↓", "precision ↑", "conditional accuracy ↑"):
        assert marked(heading) == ["Big-GAN", "PPCD-GAN (alpha=0.7)"]
    for heading in ("recall ↑", "diversity (lpips-uncalibrated-classifier) ↑"):
        assert marked(heading) == ["SA-GAN", "SN-GAN"]
    for heading in ("#Par. ↓", "MACs ↓", "CPU (s) ↓"):
        assert marked(heading) == ["Tiny-GAN", "PPCD-GAN (alpha=0.7)"]
    assert "**" not in "".join(cell for row in table.values() for name, cell in row.items() if "paper" in name)
    ours = table["PPCD-GAN (alpha=0.7)"]
    assert (ours["#Par. ↓"], ours["paper's #Par."]) == ("<ins>13k</ins> (9.2×)", "13.6M (5.2×)"), "against Big-GAN"


def test_the_teacher_of_table_3_is_not_ranked_and_is_set_apart() -> None:
    ablation()
    rows = shown(table3(smoke()))
    assert {name: (row["IS (classifier) ↑"], row["FD (classifier) ↓"]) for name, row in rows.items()} == {
        "PPCD-GAN (complete)": ("<ins>7.00</ins>", "<ins>4.00</ins>"),
        "PPCD-GAN w/o L<sub>PP</sub>": ("**8.50**", "**3.00**"),
        "PPCD-GAN w/o L<sub>CD</sub>": ("5.00", "9.00"),
        r"PPCD-GAN\*": ("6.00", "<ins>4.00</ins>"),  # as good as the other second, so marked like it
        "Big-GAN (teacher) (reference)": ("9.00", "1.00"),
    }
    latex = tables.write(table3(smoke()), smoke())[2].read_text()
    assert r"\textbf{8.50}" in latex and r"\underline{7.00}" in latex and r"\textbf{9.00}" not in latex


def test_equals_share_a_rank_and_precision_has_one_where_there_is_some_variety() -> None:
    frame = pd.DataFrame({"is": [7.001, 7.004, 6.0, math.nan], "reference": False})
    assert render.ranks(frame, render.Column("is", "IS", "high")) == {0: 1, 1: 1, 2: 2}
    frame = pd.DataFrame({"precision": [0.9, 0.6, 0.5], "recall": [0.0196, 0.02, 0.3], "reference": False})
    assert render.ranks(frame, tables.PRECISION) == {1: 1, 2: 2}


@ALL
def test_what_is_not_run_says_so_and_the_papers_number_stays(make: Make) -> None:
    frame = make(smoke())
    assert set(frame["status"]) == {"not run"}
    for row in shown(frame).values():
        assert {cell for name, cell in row.items() if name != "Model" and "paper" not in name} == {"not run"}
    csv, _, latex = (path.read_text() for path in tables.write(frame, smoke()))
    assert ",," not in csv and ",\n" not in csv and r"\textbf" not in latex


def test_pruned_rows_are_of_the_papers_alpha_and_another_has_its_own_files() -> None:
    run("ppcd-a0.5")
    assert set(table1(smoke())["status"]) == {"not run"}
    assert table3(smoke())["status"].iloc[0] == "complete"
    other = table3(smoke(), alpha=0.7)
    assert set(other["status"]) == {"not run"}
    assert [path.name for path in tables.write(other, smoke())] == [
        "table3-a0.7.csv",
        "table3-a0.7.md",
        "table3-a0.7.tex",
    ]
    with pytest.raises(PpcdError, match="alpha must be a number in"):
        table3(smoke(), alpha=1.2)


def test_ways_of_measuring_are_never_mixed_and_own_networks_are_named() -> None:
    fake_run("ppcd-a0.5", protocol={"backbone_sha256": "a"})
    fake_run("ppcd-no-pp", protocol={"backbone_sha256": "a", "seed": 5, "accuracy_classifier": 0.98})
    assert "separately trained" not in tables.caption(table3(smoke()))
    fake_run("ppcd-no-cd-a0.5", protocol={"backbone_sha256": "b"})
    assert "2 separately trained copies" in tables.caption(table3(smoke()))
    for protocol, said in (({"kid_seed": 7}, "kid_seed 7"), ({"backbone": "inception"}, "backbone 'inception'")):
        fake_run("ppcd-two-step-a0.5", protocol=protocol)
        with pytest.raises(PpcdError, match=f"measured with {said} .*cannot stand in one table"):
            table3(smoke())


def write_runtime(records: list[dict[str, Any]], gpu: bool = False, **wrong: str) -> None:
    """runtime.json of these runs, in which the i-th takes i + 1 seconds on the CPU and a tenth of it on the GPU."""
    runs = {}
    for index, record in enumerate(records):
        times = {"cpu": [0.1, index + 1.0, 99.0], "gpu": [0.01, (index + 1) / 10, 9.0] if gpu else None}
        runs[record["id"]] = {"generator_sha256": record["files"]["generator.safetensors"]} | times | wrong
    whole = {"cpu": "CPU_1 (R)", "gpu": "a GPU" if gpu else None, "threads": 1, "batch": 64, "rounds": 3, "runs": runs}
    measurements.write(smoke().source, "runtime.json", whole | {"provenance": {"device": "cpu"}})


def test_times_side_by_side_are_taken_where_all_networks_have_them() -> None:
    write_runtime([run("biggan"), run("ppcd")], gpu=True)
    frame = table1(smoke())
    assert list(frame["cpu"].dropna()) == [1.0, 2.0], "the median over rounds"
    on_gpu = [row["GPU (s) ↓"] for row in shown(frame).values()]
    assert on_gpu == ["**0.100**", "not run", "not run", "not run", "<ins>0.200</ins>"]
    assert f"GPU a GPU, {rows.TOGETHER}; CPU CPU_1 (R), 1 thread, {rows.TOGETHER}" in tables.caption(frame)
    assert r"CPU\_1 (R)" in tables.write(frame, smoke())[2].read_text()


@pytest.mark.parametrize("what", ["nothing", "one of two", "other weights"])
def test_times_of_two_measurements_are_never_in_one_column(what: str) -> None:
    records = [run("biggan"), run("ppcd")]
    if what == "one of two":
        write_runtime(records[1:])
    if what == "other weights":
        write_runtime(records, generator_sha256="0" * 64)
    frame = table1(smoke())
    assert list(frame["cpu"].dropna()) == [0.069, 0.02], "those of the records, for both"
    assert "GPU not run" in tables.caption(frame)
    assert f"CPU a processor (AVX2), 1 thread, {rows.ALONE}" in tables.caption(frame)


@ALL
def test_captions_say_everything_a_small_result_could_hide(make: Make) -> None:
    everything()
    ablation()
    frame = make(smoke(0, 3))
    said = ["profile smoke", "seeds 0, 3", "backbone classifier", "100 samples", "EMA weights", "ImageNet 128x128"]
    said += [f"alpha {frame['alpha'].iloc[0]:g}"] + (["batch of 64", "a processor"] if make != table3 else [])
    number = tables.number_of(frame)
    written = tables.write(frame, smoke())
    assert [path.name for path in written] == [f"table{number}.{kind}" for kind in ("csv", "md", "tex")]
    for text in (written[1].read_text(), written[2].read_text(), tables.html(frame)):
        assert [word for word in said if word not in text] == []
    assert ("chose its sub-network by the Fréchet distance" in tables.caption(frame)) == (number == 2)


@ALL
def test_latex_is_whole(make: Make) -> None:
    everything()
    ablation()
    run("distill-nas", better=-1.0)
    latex = tables.write(make(smoke()), smoke())[2].read_text()
    plain = re.sub(r"\\.", "", latex.replace("{%\n", "{\n"))
    assert "%" not in plain, "a comment would swallow what follows"
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[#_]", re.sub(r"\$[^$]*\$", "", latex))
    (layout,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", latex)
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(layout)}
    assert r"\textbf{" in latex and r"\underline{" in latex and "×" not in latex and "↑" not in latex
