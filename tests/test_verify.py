"""`make verify`: a single changed digit is found and named, and what another machine draws otherwise is not one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fake_runs import fake_run

from paper import sums
from paper.artifacts import claims_table, compression, headline, plotted, tables
from paper.artifacts.figures import new_figure
from paper.artifacts.sources import Study
from paper.claims import check_claims
from paper.judges import get_judges
from paper.verify import Finding, Report, adopt, verify, verifying
from paper.verify.__main__ import main
from paper.verify.compare import differences, same
from paper.verify.products import find_products, seeds_named
from paper.verify.runs import read_sealed, record_differences
from paper.verify.scores import score_differences
from paper.verify.verifying import check_sums
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.records import read_run, read_unsealed
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "results" / "mnist"
RUNS = ("biggan-s0-2960d577", "ppcd-s0-a4ad6268")
PPCD = f"runs/{RUNS[1]}"
GENERATOR_HASH = "f19801ca46ad12d1eeb11cc2a7b7d088b7eb0cf35fd4191c435dc6505d419867"  # of the second


# ------------------------------------------------------------ a small copy of what is committed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two committed runs, and a table, figures and the claims of them."""
    root = tmp_path_factory.mktemp("built")
    for run in RUNS:
        shutil.copytree(COMMITTED / "runs" / run, root / "results" / "mnist" / "runs" / run)
    shutil.copy(COMMITTED / "runtime.json", root / "results" / "mnist")
    timing = json.loads((root / "results" / "mnist" / "runtime.json").read_text())
    timing["runs"] = {run: timing["runs"][run] for run in RUNS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        sums.write(root / "results" / "mnist", "runtime.json", json.dumps(timing, indent=1) + "\n")
        tables.write(tables.table1("mnist", [0]))
        compression.write_fig4("mnist", [0])
        claims_table.write(check_claims("mnist", [0]), Study("mnist", (0,)))
        adopt("mnist")
    return root


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """Where PPCD_RESULTS and PPCD_FIGURES of each test are."""
    for part in ("results", "figures"):
        shutil.copytree(built / part, tmp_path / part)
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    """Put `new` for the first match of a pattern."""
    text = path.read_text()
    changed = re.sub(old, new, text, count=1)
    assert changed != text and len(changed) == len(text), "one digit, and another one"
    path.write_text(changed)


def lines(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


def one(report: Report, *parts: str) -> Finding:
    """The finding whose line has all these parts."""
    matching = [finding for finding in report.findings if all(part in str(finding) for part in parts)]
    assert matching, "\n".join(lines(report))
    return matching[0]


def test_what_the_runs_say_passes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "mnist"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 1 and shown[0].endswith("everything as the runs say")
    assert "2 runs" in shown[0] and "3 tables, figures and lists of claims" in shown[0]


# ------------------------------------------------------------ one digit

# file, what it has, what it has then, the cell, what the runs say there
DIGITS = [
    ("results/mnist/tables/table1.md", ">7.70<", ">7.90<", "(PPCD-GAN (alpha=0.7)), column FD (classifier)", ">7.70<"),
    ("results/mnist/tables/table1.md", "seed 0,", "seed 1,", "line 1", "seed 0,"),
    ("results/mnist/tables/table1.md", "98.8 |", "98.9 |", "row 2 (Big-GAN), column paper's IS", "98.8"),
    ("results/mnist/tables/table1.csv", "7.6962070966305305", "7.6962070966305315", "column fd", "7.6962070966305305"),
    ("results/mnist/tables/table1.csv", ",13355.0,", ",13356.0,", "(PPCD-GAN (alpha=0.7)), column params", "13355.0"),
    ("results/mnist/tables/table1.csv", RUNS[1], RUNS[1][:-1] + "2", "column runs", RUNS[1]),
    ("results/mnist/tables/table1.tex", "{7.70}", "{7.71}", "column FD (classifier) $\\downarrow$", "{7.70}"),
    ("results/mnist/tables/claims.md", "joint-training", "joint-trainink", "column by training", "-training,"),
    ("results/mnist/claims.json", "2.375732793967504", "2.375732793967505", "[less-leakage].parts[0].value", "504"),
    ("results/mnist/claims.json", '"#Par. BigGAN": 117699', '"#Par. BigGAN": 117698', "#Par. BigGAN", "117699"),
    ("results/mnist/tables/fig4.csv", "7.745234979688442", "7.745234979688542", "(PPCD-GAN), column mean", "688442"),
    ("figures/mnist/fig4.json", "7.74523", "7.74524", "lines", "7.74523"),
    ("figures/mnist/fig4.json", "bars: 95% t", "bars: 96% t", "words[0]", "95%"),
]  # fmt: skip


@pytest.fixture(scope="module")
def digits(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What is found where each of these digits is another one."""
    root = tmp_path_factory.mktemp("digits") / "copy"
    shutil.copytree(built, root)
    for file, old, new, *_ in DIGITS:
        replace(root / file, re.escape(old), new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        return verify("mnist")


@pytest.mark.parametrize(("file", "old", "new", "cell", "expected"), DIGITS)
def test_a_changed_digit_of_a_product_is_named(
    digits: Report, file: str, old: str, new: str, cell: str, expected: str
) -> None:
    found = one(digits, file, cell)
    assert expected in found.expected and expected not in found.says


def test_nothing_but_the_changed_digits_is_named(digits: Report) -> None:
    places = {(finding.file, finding.cell) for finding in digits.findings}
    assert len(digits.findings) == len(places) == len(DIGITS), "\n".join(lines(digits))


RECORD = [
    ('"fd": 7.6962070966305305', '"fd": 7.9962070966305305', "", ""),
    ('"params": 13355', '"params": 13356', "complexity.params", "13355"),
    ('"macs": 1875456', '"macs": 1875455', "complexity.macs", "1875456"),
    ('"kept": 4', '"kept": 5', "masks[blocks.0.mask1].kept", "4"),
    ('"frozen_at": 600', '"frozen_at": 300', "masks[blocks.0.mask1].frozen_at", "from 597 to 600 (masks.csv)"),
    ('"loss_d": 1.3', '"loss_d": 1.8', "training.last.loss_d", "1.39128 (history.csv)"),
    ('"generator_sha256": "8', '"generator_sha256": "9', "teacher.generator_sha256", "8352d4af"),
]


@pytest.fixture(scope="module")
def record_digits(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What is found where each of these digits of one run.json is another one."""
    root = tmp_path_factory.mktemp("record") / "copy"
    shutil.copytree(built, root)
    for old, new, *_ in RECORD:
        replace(root / "results/mnist" / PPCD / "run.json", re.escape(old), new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        return verify("mnist")


@pytest.mark.parametrize(("old", "new", "cell", "expected"), RECORD[1:])
def test_a_changed_digit_of_a_record_is_named_by_the_runs_own_files(
    record_digits: Report, old: str, new: str, cell: str, expected: str
) -> None:
    assert expected in one(record_digits, f"{PPCD}/run.json", cell).expected


def test_a_changed_score_of_a_run_is_named_with_what_was_made_of_it(record_digits: Report) -> None:
    assert "changed after the run wrote it" in one(record_digits, f"results/mnist/{PPCD}/run.json").says
    found = one(record_digits, "table1.md", "(PPCD-GAN (alpha=0.7)), column FD (classifier)")
    assert (found.says, found.expected) == ("<ins>7.70</ins>", "<ins>8.00</ins>")


def test_another_protocol_than_the_configuration_says_is_named() -> None:
    record = read_run(COMMITTED / PPCD)
    record["metrics"]["protocol"] |= {"samples": 6000, "seed": 1}
    found = list(record_differences(record, COMMITTED / PPCD, {}))
    assert found == [("metrics.protocol.samples", "6000", "5000"), ("metrics.protocol.seed", "1", "0")]


@pytest.mark.parametrize("name", ["generator.safetensors", "history.csv", "masks.csv"])
def test_one_changed_byte_of_a_runs_file_breaks_its_seal(copied: Path, name: str) -> None:
    directory = copied / "results/mnist" / PPCD
    flip(directory / name)
    record, problem = read_sealed(directory)
    assert record is None and f"{name} was changed after the run wrote it" in problem


def test_a_changed_byte_of_a_generator_stops_what_is_made_of_it(copied: Path) -> None:
    flip(copied / "results/mnist" / PPCD / "generator.safetensors")
    report = verify("mnist")
    assert one(report, f"{PPCD}/run.json", "generator.safetensors was changed after the run wrote it")
    assert "cannot be made anew" in one(report, "table1", "claims", RUNS[1]).says
    assert "ppcd-verify-" not in str(report.findings)  # no name of a temporary folder


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_changed_measurements_and_pictures_are_named(copied: Path) -> None:
    replace(copied / "results/mnist" / PPCD / "generations.json", r'"fd": \d', '"fd": 1')
    timing = copied / "results/mnist/runtime.json"
    # The median of seven rounds, which the table shows, does not change with the slowest of them.
    slowest = str(max(json.loads(timing.read_text())["runs"][RUNS[0]]["cpu"]))
    timing.write_text(timing.read_text().replace(slowest, "9" + slowest[1:]))
    replace(timing, re.escape(GENERATOR_HASH), GENERATOR_HASH[:-1] + "0")
    flip(copied / "figures/mnist/fig4.pdf")
    report = verify("mnist")
    assert "not the bytes that were written" in one(report, f"{PPCD}/generations.json").says
    assert one(report, "tables/fig4.csv", "column mean").expected  # and what was made of it
    assert one(report, "runtime.json", RUNS[1], "generator_sha256").expected == GENERATOR_HASH
    assert "not the bytes that were written" in one(report, "figures/mnist/fig4.pdf").says


def test_a_time_that_no_table_shows_has_its_sum(copied: Path) -> None:
    timing = copied / "results/mnist/runtime.json"
    slowest = str(max(json.loads(timing.read_text())["runs"][RUNS[0]]["cpu"]))
    timing.write_text(timing.read_text().replace(slowest, "9" + slowest[1:]))
    assert list(check_sums(Report("mnist"))) == ["results/mnist/runtime.json"]


# ------------------------------------------------------------ files that are missing, damaged or too many


def test_missing_damaged_and_unknown_files_are_named(copied: Path) -> None:
    tables = copied / "results/mnist/tables"
    (tables / "table1.tex").unlink()
    for path in (copied / "figures/mnist").glob("fig4*"):
        path.unlink()
    sums.write(copied / "results/mnist", "tables/table9.csv", "model,is\nours,99\n")
    claims = copied / "results/mnist/claims.json"
    claims.write_text(claims.read_text()[:-100])
    (copied / "results/mnist/runs" / RUNS[0] / "generations.json").write_text("{}")
    report = verify("mnist")
    assert one(report, "results/mnist/tables/table1.tex", "missing")
    for kind in ("json", "png", "pdf"):  # of the figure nothing is left that says what it was
        assert one(report, f"figures/mnist/fig4.{kind}", "missing")
    assert one(report, "tables/table9.csv", "nothing that this version knows makes it")
    assert one(report, "results/mnist/claims.json", "cannot be read")
    assert one(report, f"{RUNS[0]}/generations.json", "damaged")


def test_files_without_sums_are_named_and_adopted(copied: Path) -> None:
    (copied / "figures/mnist" / sums.FILE).unlink()
    found = check_sums(Report("mnist"))
    assert list(found) == [
        f"figures/mnist/{name}.{kind}" for name in ("fig4", "fig4_size") for kind in ("json", "pdf", "png")
    ]
    assert all("--adopt" in text for text in found.values())
    adopt("mnist")
    assert check_sums(Report("mnist")) == {}


def test_a_damaged_list_of_sums_is_named(copied: Path) -> None:
    path = copied / "results/mnist" / sums.FILE
    path.write_text(path.read_text().replace("  claims.json", " claims.json"))
    report = Report("mnist")
    check_sums(report)
    assert "is no line of sha256sum" in one(report, f"results/mnist/{sums.FILE}").says


def test_a_record_that_cannot_be_read_is_named(copied: Path) -> None:
    directory = copied / "results/mnist" / PPCD
    (directory / "run.json").write_text("{")
    assert read_sealed(directory)[0] is None and "cannot be read" in read_sealed(directory)[1]
    assert read_unsealed(directory) is None


# ------------------------------------------------------------ another machine


def test_what_another_machine_makes_otherwise_is_no_changed_digit(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files with sums that fit: rounding in the last digits, other pixels, a classifier that is not here."""
    table = (copied / "results/mnist/tables/table1.csv").read_text()
    table = table.replace("7.6962070966305305", "7.6962070966305275").replace("8.37197923925207", "8.37198923925207")
    sums.write(copied / "results/mnist", "tables/table1.csv", table)
    picture = (copied / "figures/mnist/fig4.png").read_bytes()
    sums.write(copied / "figures/mnist", "fig4.png", picture + b"\0")
    sums.write(copied / "results/mnist", "tables/fig8.csv", (COMMITTED / "tables/fig8.csv").read_text())
    monkeypatch.setattr(verifying, "_other_judge", lambda *_: "the classifier here is another")
    report = verify("mnist")
    found = one(report, "tables/table1.csv", "column is")  # more than rounding is a difference all the same
    assert (found.says, found.expected) == ("8.37198923925207", "8.37197923925207")
    assert len(report.findings) == 1, lines(report)
    assert len(report.notes) == 2
    assert "fig8 was not made anew" in report.notes[0] or "fig8 was not made anew" in report.notes[1]
    assert "fig4.png looks different" in "".join(report.notes)


def test_a_classifier_of_another_machine_is_another_judge() -> None:
    own = get_judges("smoke")[1].network.sha256
    record = {"metrics": {"protocol": {"backbone_sha256": own}}}
    assert verifying._other_judge("smoke", {"a": record}) is None
    other = {"metrics": {"protocol": {"backbone_sha256": "0" * 64}}}
    assert "is another" in (verifying._other_judge("smoke", {"a": record, "b": other}) or "")


# ------------------------------------------------------------ README, command line


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_changed_digit_of_a_page_is_named(copied: Path, page: str) -> None:
    table, path = (copied / "results/mnist/tables/table1.md").read_text(), copied / page
    path.parent.mkdir(exist_ok=True)
    block = "<!-- include results/mnist/tables/table1.md -->\n\n{}\n<!-- end -->\n"
    path.write_text("before\n" + block.format(table))
    report = Report("mnist")
    verifying.check_pages(report, copied)
    assert lines(report) == [] and report.checked == ["1 tables of README.md and docs"]
    path.write_text(block.format(table.replace("7.70", "7.80")))
    verifying.check_pages(report, copied)
    found = one(report, page, "table1.md", "column FD")
    assert (found.says, found.expected) == ("<ins>7.80</ins>", "<ins>7.70</ins>")
    (copied / "results/mnist/tables/table1.md").unlink()
    report = Report("mnist")
    verifying.check_pages(report, copied)
    assert "table1.md" in one(report, page, "results/mnist").says


def test_the_headline_is_compared_with_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_RESULTS", str(paths.repository() / "results"))
    readme, table = tmp_path / "README.md", headline.markdown([paths.repository() / "results/mnist"])
    readme.write_text(f"<!-- headline results/mnist -->\n\n{table}\n<!-- end -->\n")
    report = Report("mnist")
    verifying.check_pages(report, tmp_path)
    assert lines(report) == [] and report.checked == ["1 tables of README.md and docs"]
    replace(readme, r"\| 4\.45 ", "| 4.46 ")
    verifying.check_pages(report, tmp_path)
    one(report, "README.md", "results/mnist", "mnist: FD")


def test_the_command_line_fails_and_says_where(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(copied / "results/mnist/tables/table1.md", r"7\.70", "7.71")
    assert main([]) == 2  # all profiles that have results
    shown = capsys.readouterr()
    assert "table1.md: row 6" in shown.out and "says <ins>7.71</ins>, the runs say <ins>7.70</ins>" in shown.out
    assert shown.err.splitlines()[-1].startswith("ppcd: 1 of what is kept is not as the runs say")


@pytest.mark.parametrize("profile", ["nonsense", "cifar10", "all"])
def test_what_cannot_be_verified_is_one_line(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", profile]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("ppcd: ") and shown.count("\n") == 1


# ------------------------------------------------------------ scores


def test_scores_are_measured_again_from_the_generator() -> None:
    """A record of the smoke profile, first with invented scores, then with those that its generator has."""
    record = fake_run("biggan", **{"is": 7.5})
    directory = paths.results("smoke") / "runs" / record["id"]
    data, gauges = get_judges("smoke")
    found = dict(
        (cell, measured)
        for cell, _, measured in score_differences(record, directory, get_profile("smoke"), data, gauges)
    )
    assert "metrics.ema.is" in found and "metrics.ema.fd" in found
    for cell, measured in found.items():
        record["metrics"]["ema"][cell.rsplit(".", 1)[1]] = float(measured.split()[0])
    assert list(score_differences(record, directory, get_profile("smoke"), data, gauges)) == []


# ------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("name", "committed", "made", "expected"),
    [
        ("t.csv", "model,is\na,1\nb,2\n", "model,is\na,1\nb,3\n", [("row 2 (b), column is", "2", "3")]),
        ("t.csv", "model,is\na,1\n", "model,is\na,1\nb,3\n", [("row 2 (b), column model", "nothing", "b")]),
        (
            "t.md",
            "x\n\n| m | n |\n| - | - |\n| a | 1 |\n",
            "x\n\n| m | n |\n| - | - |\n| a | 2 |\n",
            [("row 2 (a), column n", "1", "2")],
        ),
        ("t.tex", "m & n \\\\\na & 1 \\\\\n", "m & n \\\\\na & 2 \\\\\n", [("row 1 (a), column n", "1", "2")]),
        ("t.json", '{"a": [{"id": "x", "v": 1}]}', '{"a": [{"id": "x", "v": 2}]}', [("a[x].v", "1", "2")]),
        ("t.json", '{"a": 1}', '{"a": 1, "b": null}', [("b", "nothing", "None")]),
        ("t.json", "[1]", "[1, 2]", [(" (how many)", "1", "2"), ("[1]", "nothing", "2")]),
    ],
)
def test_differences_are_named_by_their_cells(
    name: str, committed: str, made: str, expected: list[tuple[str, str, str]]
) -> None:
    found = list(differences(name, committed, made, 0.0))
    assert [difference for difference in found if difference in expected] == expected, found
    assert list(differences(name, made, made, 0.0)) == []


def test_rounding_is_of_numbers_only() -> None:
    assert same("1.0000000001", 1.0, 1e-9) and not same("1.00000001", 1.0, 1e-9)
    assert not same("1", "1.0000000001", 0.0) and not same("a", "b", 1.0)
    assert not same("nan", "1", 1e-9) and same(None, "None", 0.0)


def test_the_seeds_of_a_product_are_those_it_names_most() -> None:
    assert seeds_named({"t.md": "profile mnist, seeds 0, 1, 2 (mean)"}) == (0, 1, 2)
    assert seeds_named({"f.json": "profile mnist · seed 7 · backbone"}) == (7,)
    assert seeds_named({"t.csv": 'model,asked seeds\na,"0, 1"\nb,"0, 1"\nc,"0, 2"\n'}) == (0, 1)
    assert seeds_named({"t.csv": "model,seeds\na,0\nb,not run\n", "t.md": "seed 1", "t.tex": "seed 0"}) == (0,)
    assert seeds_named({"claims.json": '{"seeds": [\n 0,\n 1\n]}'}) == (0, 1)
    assert seeds_named({"t.md": "no numbers"}) is None


def test_products_are_found_by_their_files(tmp_path: Path) -> None:
    for name in ("table3.csv", "table3-a0.6.csv", "fig4-a0.5-0.7.csv", "paper_scale_curve.csv", "odd.csv"):
        sums.write(tmp_path / "results/mnist", f"tables/{name}", "")
    for name in ("fig5-a0.6.png", "masks.png", "masks-ppcd-no-cd.png", "mask-rules.png", "fig8.png"):
        sums.write(tmp_path / "figures/mnist", name, b"")
    products, unknown = find_products("mnist")
    assert {product.name for product in products} == {
        "table3", "table3-a0.6", "fig4-a0.5-0.7", "paper_scale", "fig5-a0.6", "masks", "masks-ppcd-no-cd", "mask-rules",
        "fig8",
    }  # fmt: skip
    assert unknown == ["results/mnist/tables/odd.csv"]
    assert [product.name for product in products if product.judged] == ["fig8"]


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    sums.write(tmp_path, "tables/a.csv", "a\n")
    sums.write(tmp_path, "b.png", b"\1")
    check = ["sha256sum", "--check", "--strict", sums.FILE]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert sums.differing(tmp_path) == {}
    (tmp_path / "b.png").write_bytes(b"\2")
    (tmp_path / "tables/a.csv").unlink()
    assert sums.differing(tmp_path) == {"b.png": "not the bytes that were written", "tables/a.csv": "missing"}
    sums.adopt(tmp_path, ["b.png"])  # what is in it stays
    assert sums.differing(tmp_path) == {"b.png": "not the bytes that were written"}
    sums.write(tmp_path, "b.png", b"\2")
    assert sums.read(tmp_path).keys() == {"b.png"} and sums.differing(tmp_path) == {}
    (tmp_path / sums.FILE).write_text("no sum\n")
    with pytest.raises(PpcdError, match="line 1 is no line of sha256sum"):
        sums.read(tmp_path)


def test_what_a_figure_shows_is_told() -> None:
    figure = new_figure(3, 2)
    first, second = figure.subplots(1, 2)
    first.plot([1, 2, 3], [0.5, np.nan, 1 / 3], label="ours")
    first.legend()
    first.set(title="a title", xlabel="x")
    first.set_xticks([1, 2], ["one", "two"])
    second.plot(range(1000), range(1000))
    second.bar([1], [4.0])
    second.imshow(np.full((2, 2, 3), 0.25))
    second.scatter([3], [4], s=[9])
    figure.supxlabel("below")
    shown = plotted.describe(figure)
    assert shown["words"] == ["below"]
    assert shown["panels"][0]["words"] == ["a title", "x", "one", "two", "ours"]
    assert shown["panels"][0]["lines"] == [{"x": [1.0, 2.0, 3.0], "y": [0.5, None, 0.333333]}]
    assert shown["panels"][1]["lines"][0]["y"] == {
        "count": 1000, "first": 0.0, "last": 999.0, "least": 0.0, "greatest": 999.0, "mean": 499.5,
    }  # fmt: skip
    assert shown["panels"][1]["bars"] == [[0.6, 0.0, 0.8, 4.0]]
    assert shown["panels"][1]["images"] == [{"size": [2, 2, 3], "mean": 0.25, "sd": 0.0}]
    assert shown["panels"][1]["marks"] == [{"points": {"x": [3.0], "y": [4.0]}, "sizes": [9.0]}]
    assert json.loads(plotted.to_json(shown)) == shown


# ------------------------------------------------------------ what is committed


@pytest.mark.parametrize("profile", ["mnist", "imagenet128"])
def test_everything_committed_has_the_hash_that_it_was_written_with(profile: str) -> None:
    for folder in (ROOT / "results" / profile, ROOT / "figures" / profile):
        assert verifying.summed(folder) == sorted(sums.read(folder), key=Path)
        assert sums.differing(folder) == {}


def test_committed_runs_say_what_their_files_say() -> None:
    """One of each kind; `make verify` looks at all of them."""
    kinds = ("biggan", "ppcd", "ppcd-two-step", "l1-biggan", "distill-nas", "ppcd-literal-sgd")
    directories = [next((COMMITTED / "runs").glob(f"{kind}-s0-*")) for kind in kinds]
    records = {directory.name: read_run(directory) for directory in directories}
    found = {
        name: list(record_differences(record, COMMITTED / "runs" / name, records)) for name, record in records.items()
    }
    assert {name: each for name, each in found.items() if each} == {}


def test_runs_of_a_folder_of_images_are_verified_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_DATA", "folder-0123456789ab")
    fake_run("ppcd", profile="cifar10-lite")
    table = tables.write(tables.table1("cifar10-lite", [0]))[1]
    monkeypatch.delenv("PPCD_DATA")
    assert not [found for found in verify("cifar10-lite").findings if "table1" in found.file]
    table.write_text(table.read_text().replace("12.00", "11.00"))
    assert [found for found in verify("cifar10-lite").findings if "table1.md" in found.file]
