"""`make verify`: a single changed digit is found and named; what another machine rounds or draws differently is not."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runs import fake_run, smoke

from paper import sums
from paper.artifacts import claims_table, compression, plotted, tables
from paper.artifacts.figures import new_figure
from paper.claims import check_claims
from paper.judges import get_judges
from paper.readme import filled
from paper.study import Study
from paper.verify import Finding, verify, verifying
from paper.verify.compare import ROUNDING, file_difference
from paper.verify.runs import check_runs, record_problems
from paper.verify.scores import other_judge, score_problems
from paper.verify.verifying import check_pages, main
from ppcd.records import NOT_BROUGHT, read_run
from ppcd.training.profiles import get_profile

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "results" / "mnist"
RUNS = ("biggan-s0-078208b6", "ppcd-s0-7645a443")
PPCD = f"runs/{RUNS[1]}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two committed runs, and a table, figures and the claims of them."""
    root = tmp_path_factory.mktemp("built")
    results = root / "results" / "mnist"
    for run in RUNS:
        shutil.copytree(COMMITTED / "runs" / run, results / "runs" / run)
        name = f"runs/{run}/generations.json"
        sums.write(results, name, (COMMITTED / name).read_bytes())
    timing = json.loads((COMMITTED / "runtime.json").read_text())
    timing["runs"] = {run: timing["runs"][run] for run in RUNS}
    sums.write(results, "runtime.json", json.dumps(timing, indent=1) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPCD_RESULTS", str(root / "results"))
        patch.setenv("PPCD_FIGURES", str(root / "figures"))
        study = Study.of("mnist")
        tables.write(tables.table1(study), study)
        compression.write_fig4(study)
        claims_table.write(check_claims(study), study)
    return root


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text and len(old) == len(new), "one digit, and another one"
    path.write_text(text.replace(old, new, 1))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def one(findings: Sequence[Finding], *parts: str) -> str:
    """The only line that has all these parts."""
    matching = [line for line in map(str, findings) if all(part in line for part in parts)]
    assert len(matching) == 1, "\n".join(map(str, findings))
    return matching[0]


def test_what_the_runs_say_passes(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not any((copied / "results/mnist" / PPCD / name).exists() for name in NOT_BROUGHT)
    assert main([]) == 0  # all profiles that have results
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{each}: everything as the runs say" for each in ("mnist", "README.md and docs")]


# file, what it has, what it has then, what is said of it
DIGITS = [
    ("results/mnist/tables/table1.md", ">6.43<", ">6.63<", "6.63<"),
    ("results/mnist/tables/table1.csv", "6.42913128492097", "6.52913128492097", 'name="fd") are different: At pos'),
    ("results/mnist/tables/table1.tex", "{6.43}", "{6.44}", "line "),
    ("results/mnist/tables/claims.md", "joint-training", "joint-trainink", "line "),
    ("results/mnist/claims.json", "6.42913128492097", "6.42913128492098", "not the bytes that were written"),
    ("results/mnist/tables/fig4.csv", "6.47542435467051", "6.57542435467051", 'name="mean"'),
    ("figures/mnist/fig4.json", "6.47542", "6.47642", "6.47642 instead of 6.47542"),
    ("figures/mnist/fig4_size.json", "alphas joined", "alphas joinef", "words[0]"),
    ("figures/mnist/fig4.png", "", "", "not the bytes that were written (SHA256SUMS)"),
    (f"results/mnist/{PPCD}/generations.json", '"started": "20', '"started": "21', "not the bytes"),
    ("results/mnist/runtime.json", '"started": "20', '"started": "21', "not the bytes"),
]


def test_a_changed_digit_of_any_product_is_named_and_nothing_else(copied: Path) -> None:
    for file, old, new, _ in DIGITS:
        if old:
            replace(copied / file, old, new)
        else:
            flip(copied / file)
    found = verify("mnist")
    for file, *_, said in DIGITS:
        assert said in one(found, f"{file}: "), one(found, f"{file}: ")
    assert len(found) == len(DIGITS), "\n".join(map(str, found))


def test_a_changed_record_breaks_its_seal_and_stops_what_is_made_of_it(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(copied / "results/mnist" / PPCD / "run.json", '"fd": 6.42913128492097', '"fd": 6.92913128492097')
    assert main(["--profile", "mnist"]) == 2
    shown = capsys.readouterr()
    assert f"results/mnist/{PPCD}/run.json: it was changed after the run wrote it" in shown.out
    assert "table1" in shown.out and "cannot be made again: " in shown.out
    assert "ppcd-verify-" not in shown.out  # no name of a temporary folder
    assert shown.err.splitlines()[-1].startswith("ppcd: 2 findings; restore what was changed")


@pytest.mark.parametrize("name", ["generator.safetensors", "history.csv", "masks.csv"])
def test_one_changed_bit_of_a_runs_file_breaks_its_seal(copied: Path, name: str) -> None:
    flip(copied / "results/mnist" / PPCD / name)
    records, found = check_runs("results/mnist", copied / "results/mnist")
    assert set(records) == {RUNS[0]} and f"{name} was changed after the run wrote it" in one(found, PPCD)


def test_what_a_sealed_record_says_against_its_own_files_is_named() -> None:
    records = {run: read_run(COMMITTED / "runs" / run) for run in RUNS}
    record = records[RUNS[1]]
    record["complexity"]["params"] = 13066
    record["masks"][0]["frozen_at"] = 300
    record["training"]["last"]["loss_d"] = 1.8
    record["metrics"]["protocol"]["samples"] = 6000
    found = list(record_problems(record, COMMITTED / PPCD, records))
    for said in (
        "complexity.params: says 13066, the run's files say 13065",
        "masks[blocks.0.mask1].frozen_at: says 300, masks.csv says from 1193 to 1200",
        "training.last.loss_d: says 1.8, the run's files say 0.465319",
        "metrics.protocol.samples: says 6000, the run's files say 5000",
    ):
        assert sum(line.startswith(said) for line in found) == 1, "\n".join(found)
    assert len(found) == 4


def test_missing_damaged_and_unknown_files_are_named(copied: Path) -> None:
    tables = copied / "results/mnist/tables"
    sums.write(copied / "results/mnist", "tables/table9.csv", "model,is\nours,99\n")
    (tables / "table1.tex").unlink()
    (copied / "figures/mnist/fig4.pdf").unlink()
    (tables / "table3.md").write_text("of somebody\n")
    replace(copied / "figures/mnist" / sums.FILE, "  fig4.json", " /fig4.json")
    (copied / "results/mnist/runs" / RUNS[0] / "run.json").write_text("{")
    found = verify("mnist")
    one(found, "results/mnist/tables/table1.tex: missing")
    one(found, "figures/mnist/fig4.pdf: is missing")
    one(found, "figures/mnist/SHA256SUMS: line ", "is no line of sha256sum")
    one(found, "table9 of mnist: nothing that this version knows makes it")
    one(found, "results/mnist/tables/table3.md: not in SHA256SUMS")
    one(found, "cannot be made again: ", "claims", "table1", RUNS[0])
    one([each for each in found if each.file.endswith(f"{RUNS[0]}/run.json")], "it cannot be read")


def test_what_another_machine_makes_differently_is_no_changed_digit(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files with sums that fit: rounding in the last digits, other pixels, a classifier that is not here."""
    table = (copied / "results/mnist/tables/table1.csv").read_text()
    table = table.replace("6.42913128492097", "6.429131284920973")
    sums.write(copied / "results/mnist", "tables/table1.csv", table)
    sums.write(copied / "figures/mnist", "fig4.png", (copied / "figures/mnist/fig4.png").read_bytes() + b"\0")
    sums.write(copied / "results/mnist", "tables/fig8.csv", (COMMITTED / "tables/fig8.csv").read_text())
    monkeypatch.setattr(verifying, "other_judge", lambda *_: "the classifier here is another")
    said: list[str] = []
    assert verify("mnist", said.append) == []
    assert any("fig8 was not made again: the classifier here is another" in line for line in said)
    table = (copied / "results/mnist/tables/table1.md").read_text()
    sums.write(copied / "results/mnist", "tables/table1.md", table.replace(">6.43<", ">6.63<"))
    assert "6.63" in one(verify("mnist"), "table1.md", " instead of "), "though its sum fits"


def test_runs_of_a_folder_of_images_are_verified_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_DATA", "folder-0123456789ab")
    fake_run("ppcd", profile="cifar10-lite")
    study = Study.of("cifar10-lite")
    table = tables.write(tables.table1(study), study)[1]
    monkeypatch.delenv("PPCD_DATA")
    assert not [found for found in verify("cifar10-lite") if "table1" in found.file]
    assert "PPCD_DATA" not in os.environ
    table.write_text(table.read_text().replace("12.00", "11.00"))
    assert "instead of" in one(verify("cifar10-lite"), "table1.md")


@pytest.mark.parametrize(
    ("page", "block"),
    [("README.md", "headline results/mnist"), ("docs/results.md", "include results/mnist/tables/table1.md")],
)
def test_a_changed_digit_of_a_page_is_named(tmp_path: Path, page: str, block: str) -> None:
    (tmp_path / "results").symlink_to(ROOT / "results")
    (tmp_path / "docs").mkdir()
    path = tmp_path / page
    path.write_text(filled(f"before\n<!-- {block} -->\n<!-- end -->\n", tmp_path))
    assert list(check_pages(tmp_path)) == []
    replace(path, "0.792", "0.793")
    one(list(check_pages(tmp_path)), f"{page}: line ", "0.793", " instead of ", "0.792")
    replace(path, "results/mnist", "results/other")
    one(list(check_pages(tmp_path)), "which is not there")


@pytest.mark.parametrize("profile", ["nonsense", "cifar10", "all"])
def test_what_cannot_be_verified_is_one_line(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", profile]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("ppcd: ") and shown.count("\n") == 1


def test_scores_are_measured_again_from_the_generator() -> None:
    """A record of the smoke profile, first with invented scores, then with those that its generator has."""
    record = fake_run("biggan", **{"is": 7.5})
    directory, profile = record.directory, get_profile("smoke")
    data, evaluators = get_judges(smoke())
    found = list(score_problems(record, directory, profile, data, evaluators))
    assert {"metrics.ema.is", "metrics.ema.fd"} <= {problem.split(":")[0] for problem in found}
    for problem in found:
        match = re.fullmatch(r"metrics\.ema\.(\w+): says .*, (\S+) measured again", problem)
        assert match
        record["metrics"]["ema"][match[1]] = float(match[2])
    assert list(score_problems(record, directory, profile, data, evaluators)) == []
    record["metrics"]["protocol"]["backbone_sha256"] = evaluators.network.sha256
    assert other_judge(smoke(), {"a": record}) is None
    other = {"metrics": {"protocol": {"backbone_sha256": "0" * 64}}}
    assert "is another" in (other_judge(smoke(), {"a": other}) or "")


@pytest.mark.parametrize(
    ("name", "committed", "made", "expected"),
    [
        ("t.csv", "model,is\na,1\nb,2\n", "model,is\na,1\nb,3\n", 'name="is") are different: At positional index 1'),
        ("t.csv", "model,is\na,1\n", "model,is\na,not run\n", "first diff: 1.0 != 'not run'"),
        ("t.csv", "model,is\na,–\nb,2.5\n", "model,is\na,–\nb,2.5000000000001\n", None),
        ("t.csv", "", "model,is\n", "cannot be read"),
        ("t.md", "x\n| a | 1 |\n", "x\n| a | 2 |\n", "line 2: '| a | 1 |' instead of '| a | 2 |'"),
        ("t.json", '{"a": [{"v": 1}]}', '{"a": [{"v": 2}]}', "a[0].v: 1 instead of 2"),
        ("t.json", "[1.0]", "[1.0000000000001]", None),
        ("t.json", "{", "{}", "cannot be read"),
        ("t.json", '{"images": [{"mean": 0.5}]}', '{"images": [{"mean": 0.501}]}', None),
        ("t.json", '{"images": [{"mean": 0.5}]}', '{"images": [{"mean": 0.503}]}', "images[0].mean"),
    ],
)
def test_the_first_difference_of_two_files(
    tmp_path: Path, name: str, committed: str, made: str, expected: str | None
) -> None:
    files = [tmp_path / folder / name for folder in ("committed", "made")]
    for file, text in zip(files, (committed, made), strict=True):
        file.parent.mkdir()
        file.write_text(text)
    found = file_difference(*files, ROUNDING)
    assert found is None if expected is None else expected in str(found)


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    sums.write(tmp_path, "tables/a.csv", "a\n")
    sums.write(tmp_path, "b.png", b"\1")
    check = ["sha256sum", "--check", "--strict", sums.FILE]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert sums.differing(tmp_path) == {}
    (tmp_path / "tables/a.csv").unlink()
    sums.write(tmp_path, "b.png", b"\2")
    assert sums.read(tmp_path).keys() == {"b.png"} and sums.differing(tmp_path) == {}


@pytest.mark.parametrize("changed", [{"y": 2.5}, {"bar": 4.1}, {"pixel": 0.3}, {"size": 8.0}, {"word": "c"}], ids=str)
def test_whatever_a_figure_shows_is_told(changed: dict[str, Any]) -> None:
    def told(y: float = 2.0, bar: float = 4.0, pixel: float = 0.25, size: float = 9.0, word: str = "b") -> str:
        figure = new_figure(3, 2)
        axes = figure.subplots()
        axes.plot([1, 2], [0.5, y])
        axes.bar([1], [bar])
        axes.imshow(np.full((2, 2, 3), pixel))
        axes.scatter([3], [4], s=[size])
        axes.set_xticks([1, 2], ["a", word])
        return plotted.to_json(plotted.describe(figure))

    assert told(**changed) != told() == told()


@pytest.mark.parametrize("profile", ["mnist", "imagenet128"])
def test_everything_committed_has_the_hash_that_it_was_written_with(profile: str) -> None:
    for folder in (ROOT / "results" / profile, ROOT / "figures" / profile):
        assert len(sums.read(folder)) > 3 and sums.differing(folder) == {}


def test_committed_runs_say_what_their_files_say() -> None:
    """One of each kind; `make verify` looks at all of them."""
    kinds = ("biggan", "ppcd", "ppcd-two-step", "l1-biggan", "distill-nas", "ppcd-literal-sgd")
    directories = [next((COMMITTED / "runs").glob(f"{kind}-s0-*")) for kind in kinds]
    records = {directory.name: read_run(directory) for directory in directories}
    for name, record in records.items():
        assert list(record_problems(record, COMMITTED / "runs" / name, records)) == [], name
