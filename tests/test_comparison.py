"""Tables 1 and 2: means of the records, factors, ranks, what was not run, and the three files."""

import json
import math
import re
from typing import Any

import pandas as pd
import pytest
from fake_runs import fake_run

from paper import numbers
from paper.artifacts import render, runtimes, tables
from paper.artifacts.sources import find_record
from ppcd import paths
from ppcd.base import PpcdError

# recipe -> IS, FD, diversity, parameters, seconds: Tiny-GAN is small and bad, PPCD-GAN second in size
SYSTEMS: dict[str, tuple[float, float, float, int, float]] = {
    "biggan": (9.0, 4.0, 0.40, 120_000, 0.0690),
    "sagan": (7.0, 9.0, 0.50, 60_000, 0.0400),
    "sngan": (6.0, 11.0, 0.45, 55_000, 0.0390),
    "tinygan": (3.0, 40.0, 0.10, 5_000, 0.0100),
    "ppcd": (8.0, 6.0, 0.42, 13_000, 0.0200),
}


def run(recipe: str, seed: int = 0, better: float = 0.0, **other: Any) -> dict[str, Any]:
    inception, distance, diversity, params, seconds = SYSTEMS.get(recipe, SYSTEMS["ppcd"])
    scores = {"is": inception + better, "fd": distance - better, "diversity": diversity}
    scores |= {"precision": inception / 10, "recall": diversity, "accuracy": inception / 10}
    return fake_run(recipe, seed, **{"params": params, "seconds": seconds} | scores | other)


def everything(seed: int = 0) -> None:
    for recipe in SYSTEMS:
        run(recipe, seed)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def shown(frame: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Model -> heading -> cell of the Markdown table."""
    head, _, *body = [line for line in tables.markdown(frame).splitlines() if line.startswith("|")]
    table = [dict(zip(cells(head), cells(line), strict=True)) for line in body]
    return {row["Model"]: row for row in table}


def column(frame: pd.DataFrame, heading: str) -> list[str]:
    return [row[heading] for row in shown(frame).values()]


# --- what is in them ---


def test_rows_and_columns_are_the_papers_in_its_order() -> None:
    for number, make in ((1, tables.table1), (2, tables.table2)):
        frame = make("smoke", [0])
        assert list(frame["model"]) == list(numbers.TABLES[number])
        said = [entry.paper for entry in tables.columns(frame) if entry.paper]
        assert said == list(next(iter(numbers.TABLES[number].values())))
    assert [entry.key for entry in tables.columns(frame) if not entry.paper] == [
        "precision", "recall", "accuracy", "cpu",
    ], "ours beside the paper's"  # fmt: skip


def test_numbers_are_the_means_and_spreads_of_the_records() -> None:
    for seed, better in enumerate((0.0, 1.0, 5.0)):
        run("ppcd", seed, better, seconds=0.02 + 0.01 * seed)
    row = tables.table1("smoke", [0, 1, 2]).set_index("recipe").loc["ppcd"]
    records = [find_record("smoke", "ppcd", seed) for seed in (0, 1, 2)]
    scores = [record["metrics"]["ema"]["is"] for record in records if record]
    assert row["is"] == pytest.approx(sum(scores) / 3) == pytest.approx(10.0)
    assert row["is sd"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert row["cpu"] == pytest.approx(0.03) and row["cpu sd"] == pytest.approx(0.01)
    assert row["runs"] == "; ".join(record["id"] for record in records if record)
    cell = shown(tables.table1("smoke", [0, 1, 2]))["PPCD-GAN (alpha=0.7)"]
    assert cell["IS (classifier) ↑"] == "**10.00** ± 2.65" and cell["CPU (s) ↓"] == "**0.0300** ± 0.0100"
    assert cell["#Par. ↓"] == "**13k** (n/a)", "no Big-GAN, no factor; no spread of nothing"


def test_alpha_of_the_pruned_row_is_the_papers() -> None:
    run("ppcd-a0.5")
    assert list(tables.table1("smoke", [0])["status"]) == ["not run"] * 5
    run("ppcd")
    assert tables.table1("smoke", [0]).iloc[-1]["status"] == "complete"
    assert tables.table2("smoke", [0]).iloc[-1]["status"] == "complete"


def test_factors_are_against_biggan_and_stand_behind_ours_and_the_papers() -> None:
    everything()
    frame = tables.table1("smoke", [0])
    assert list(frame["params factor"]) == pytest.approx([1.0, 2.0, 120 / 55, 24.0, 120 / 13])
    assert list(frame["macs factor"]) == pytest.approx(list(frame["params factor"]))
    assert column(frame, "#Par. ↓") == ["120k (1.0×)", "60k (2.0×)", "55k (2.2×)", "**5k** (24.0×)",
                                        "<ins>13k</ins> (9.2×)"]  # fmt: skip
    assert column(frame, "paper's #Par.")[-1] == "13.6M (5.2×)"
    assert column(frame, "paper's MACs")[3] == "0.44B (48.4×)"
    table2 = tables.table2("smoke", [0])
    assert column(table2, "#Par. ↓")[-1] == "**13k**" and column(table2, "paper's #Par.")[-1] == "13.6M"


def test_best_and_second_in_every_column_big_gan_among_them() -> None:
    everything()
    rows = shown(tables.table1("smoke", [0]))
    marks = {
        heading: tuple(
            next(model for model, row in rows.items() if row[heading].startswith(mark)) for mark in ("**", "<ins>")
        )
        for heading in next(iter(rows.values()))
        if heading.endswith(("↑", "↓")) and heading != "GPU (s) ↓"
    }
    biggan, small = ("Big-GAN", "PPCD-GAN (alpha=0.7)"), ("Tiny-GAN", "PPCD-GAN (alpha=0.7)")
    assert marks == {
        "IS (classifier) ↑": biggan,
        "FD (classifier) ↓": biggan,
        "precision ↑": biggan,
        "recall ↑": ("SA-GAN", "SN-GAN"),
        "conditional accuracy ↑": biggan,
        "diversity (lpips-uncalibrated-classifier) ↑": ("SA-GAN", "SN-GAN"),
        "#Par. ↓": small,
        "MACs ↓": small,
        "CPU (s) ↓": small,
    }
    assert "**" not in "".join(cell for row in rows.values() for name, cell in row.items() if "paper" in name)


def test_swapped_numbers_swap_the_marks() -> None:
    everything()
    before = column(tables.table1("smoke", [0]), "IS (classifier) ↑")
    assert before == ["**9.00**", "7.00", "6.00", "3.00", "<ins>8.00</ins>"]
    run("biggan", **{"is": 8.0})
    run("ppcd", **{"is": 9.0})
    after = column(tables.table1("smoke", [0]), "IS (classifier) ↑")
    assert after == ["<ins>8.00</ins>", "7.00", "6.00", "3.00", "**9.00**"]


def test_what_is_not_run_says_so_and_the_papers_number_stays() -> None:
    run("sagan")
    frame = tables.table1("smoke", [0])
    assert list(frame["status"]) == ["not run", "complete", "not run", "not run", "not run"]
    for model, row in shown(frame).items():
        ours = {cell for heading, cell in row.items() if heading != "Model" and "paper" not in heading}
        assert (ours == {"not run"}) == (model != "SA-GAN")
        assert row["paper's FID"] == numbers.published(1, model, "FID").text
    assert shown(frame)["SA-GAN"]["GPU (s) ↓"] == "not run", "there was no GPU"
    csv = tables.write(frame)[0].read_text()
    assert ",," not in csv and ",\n" not in csv
    read = pd.read_csv(tables.write(frame)[0], keep_default_na=False).set_index("recipe")
    assert read.loc["sagan", "gpu"] == "not run" and float(read.loc["sagan", "is"]) == 7.0
    assert read.loc["sagan", "params factor"] == "n/a", "there is no Big-GAN to compare with"


def test_ways_of_measuring_are_never_mixed() -> None:
    run("biggan")
    run("ppcd", protocol={"backbone": "efficientnet-lite0"})
    with pytest.raises(PpcdError, match="they cannot stand in one table"):
        tables.table1("smoke", [0])
    with pytest.raises(PpcdError, match="unknown profile"):
        tables.table2("mnits", [0])


# --- run times ---


def write_runtime(records: list[dict[str, Any]], gpu: bool = False, **wrong: str) -> None:
    """runtime.json of these runs, in which the i-th takes i + 1 seconds on the CPU and a tenth of it on the GPU."""
    runs = {
        record["id"]: {
            "generator_sha256": record["files"]["generator.safetensors"],
            "cpu": [0.1, index + 1.0, 99.0],
            "gpu": [0.01, (index + 1) / 10, 9.0] if gpu else None,
        }
        | wrong
        for index, record in enumerate(records)
    }
    whole = {"schema": 1, "cpu": "CPU_1 (R)", "gpu": "a GPU" if gpu else None, "threads": 1, "batch": 64, "rounds": 3}
    whole |= {"runs": runs, "provenance": {"device": "cpu"}}
    paths.write_atomic(paths.results("smoke") / "runtime.json", json.dumps(whole))


def test_times_side_by_side_are_taken_where_all_networks_have_them() -> None:
    records = [run("biggan"), run("ppcd")]
    write_runtime(records, gpu=True)
    frame = tables.table1("smoke", [0])
    assert list(frame["cpu"].dropna()) == [1.0, 2.0], "the median over rounds"
    assert list(frame["gpu"].dropna()) == [0.1, 0.2]
    assert column(frame, "GPU (s) ↓") == ["**0.100**", "not run", "not run", "not run", "<ins>0.200</ins>"]
    assert f"GPU a GPU, {runtimes.TOGETHER}; CPU CPU_1 (R), 1 thread, {runtimes.TOGETHER}" in tables.caption(frame)
    assert r"CPU\_1 (R)" in tables.write(frame)[2].read_text()


@pytest.mark.parametrize("what", ["nothing", "one of two", "other weights"])
def test_times_of_two_measurements_are_never_in_one_column(what: str) -> None:
    records = [run("biggan"), run("ppcd")]
    if what == "one of two":
        write_runtime(records[1:])
    if what == "other weights":
        write_runtime(records, generator_sha256="0" * 64)
    frame = tables.table1("smoke", [0])
    assert list(frame["cpu"].dropna()) == [0.069, 0.02], "those of the records, for both"
    assert "GPU not run" in tables.caption(frame)
    assert f"CPU a processor (AVX2), 1 thread, {runtimes.ALONE}" in tables.caption(frame)


def test_a_gpu_that_only_some_runs_had() -> None:
    run("biggan", gpu_seconds=0.005)
    run("ppcd")
    frame = tables.table1("smoke", [0])
    assert column(frame, "GPU (s) ↓") == ["**0.00500**", "not run", "not run", "not run", "not run"]
    write_runtime([find_record("smoke", name, 0) or {} for name in ("biggan", "ppcd")])
    frame = tables.table1("smoke", [0])
    assert list(frame["cpu"].dropna()) == [1.0, 2.0] and frame["gpu"].iloc[0] == 0.005, "each device for itself"


def test_seconds_are_written_with_three_digits() -> None:
    written = {value: render.write_number(value, "seconds") for value in (0.00123456, 0.046, 1.19, 12.345, 123.4, 2400)}
    assert list(written.values()) == ["0.00123", "0.0460", "1.19", "12.3", "123", "2400"]


# --- files ---


def test_captions_say_everything_a_small_result_could_hide() -> None:
    everything()
    for frame in (tables.table1("smoke", [0, 3]), tables.table2("smoke", [0, 3])):
        said = ("profile smoke", "seeds 0, 3", "backbone classifier", "100 samples", "EMA weights", "alpha 0.7")
        said += ("ImageNet 128x128", "batch of 64", "a processor")
        for path in tables.write(frame)[1:]:
            assert [word for word in said if word not in path.read_text()] == [], path.name
        assert all(word in tables.html(frame) for word in said)
    chosen = tables.TABLES[2].note
    assert chosen in tables.caption(frame) and chosen not in tables.caption(tables.table1("smoke", [0]))
    names = [path.name for path in tables.write(frame)]
    assert names == ["table2.csv", "table2.md", "table2.tex"]
    assert tables.write(tables.table1("smoke", [0]))[0].parent == paths.results("smoke") / "tables"


def balanced(latex: str) -> None:
    """Every group, formula and environment is closed in order, every row has as many cells as the head."""
    plain = re.sub(r"\\.", "", latex.replace("{%\n", "{\n"))
    assert "%" not in plain, "a comment would swallow what follows"
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0 and plain.count("$") % 2 == 0
    assert not re.search(r"(?<!\\)[#_]", re.sub(r"\$[^$]*\$", "", latex))
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    (layout,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", latex)
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(layout)}


def test_latex_is_whole() -> None:
    everything()
    run("distill-nas", better=-1.0)
    for make, size in ((tables.table1, 5), (tables.table2, 3)):
        latex = tables.write(make("smoke", [0]))[2].read_text()
        balanced(latex)
        assert latex.count(r"\\" + "\n") == size + 1
        assert r"\textbf{" in latex and r"\underline{" in latex and "×" not in latex and "↑" not in latex
        with pytest.raises(AssertionError):
            balanced(latex.replace(r"\end{tabular}", "", 1))
        with pytest.raises(AssertionError):
            balanced(latex.replace(" & ", " ", 1))
        with pytest.raises(AssertionError):
            balanced(latex.replace(r"\#", "#", 1))
