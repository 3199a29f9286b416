"""One's own runs and the reference: what is copied, what is written where, and whether both agree."""

import shutil
from pathlib import Path

import pytest
from fake_runs import fake_run, smoke

from paper import study
from paper.artifacts import tables
from paper.compare import compare
from paper.study import Study
from ppcd import paths
from ppcd.records import GENERATOR, read_unsealed, write_record
from ppcd.runs.copied import copy_reference
from ppcd.runs.train import main as train
from ppcd.training.recipes import TEACHER


def listing(*folders: Path) -> dict[Path, int]:
    """Every file below these folders, and when it was written."""
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_a_fresh_clone_shows_the_reference_and_writes_nothing_into_it(committed: None) -> None:
    """And compares it with itself: all cells agree."""
    asked, before = Study.of("mnist"), listing(paths.reference("mnist"), paths.reference_figures("mnist"))
    record = asked.record("ppcd")
    assert record is not None and record.directory.is_relative_to(paths.reference("mnist"))
    written = tables.write(tables.table3(asked), asked)
    assert all(path.is_relative_to(paths.results("mnist")) for path in written)
    assert study.samples(record).is_file()
    text = compare(asked)
    assert text.startswith(f"There are no runs of yours in {paths.results('mnist')}: the reference is compared with i")
    assert text.endswith("\n72 of 72 cells within the reference's range: all agree.")
    assert "52 of 52 claims have the reference's verdict." in text
    assert listing(paths.reference("mnist"), paths.reference_figures("mnist")) == before


def test_cells_that_do_not_agree_are_named(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a copy of the reference in which one run has the weights of another seed, and other scores."""
    monkeypatch.setattr("paper.compare.check_claims", lambda asked: [])
    copy_reference("mnist")
    runs = paths.results("mnist") / "runs"
    (folder,), (other,) = runs.glob("sagan-s1-*"), runs.glob("sagan-s2-*")
    shutil.copy(other / GENERATOR, folder / GENERATOR)
    record = read_unsealed(folder) or {}
    record["metrics"]["ema"] |= {"fd": 99.0, "accuracy": 0.1}
    files = [name for name in record["files"] if (folder / name).is_file()]
    write_record(folder, {name: record[name] for name in record.keys() - {"schema", "files", "sha256"}}, files)
    text, count = compare(Study.of("mnist", [1])), len(list(runs.glob("*-s1-*")))
    assert text.endswith("\n70 of 72 cells within the reference's range; not: sagan FD, sagan accuracy.")
    assert f"\n{count - 1} of {count} runs have the same weights as the reference's, bit for bit; " in text
    assert "by chance a score of one seed then lies outside the range of 3 in about 2 of 4 cells" in text


def test_each_profile_is_read_where_its_runs_are(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question compares runs of two profiles, of which only one was trained here."""
    monkeypatch.setenv("PPCD_DATA", "folder-f0c8ff4af5e3")
    fake_run(TEACHER, profile="cifar10-lite")
    asked = [Study.of(profile) for profile in ("cifar10-lite", "cifar10-lite-z24")]
    found = asked[0].complete(study.config(TEACHER, 0) for study in asked)
    assert [record.source for record in found] == [paths.results(asked[0].name), paths.reference(asked[1].name)]


def test_a_profile_that_the_repository_does_not_bring_has_no_reference() -> None:
    assert compare(smoke()) == "The repository brings no runs of profile smoke: there is nothing to compare with."


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reference of a teacher, a student and a run without a teacher; own results are empty."""
    teacher = fake_run(TEACHER)
    for recipe in ("ppcd", "sagan"):
        fake_run(recipe, teacher=teacher)
    shutil.move(paths.results("."), tmp_path / "reference")
    monkeypatch.setattr(paths, "reference", (tmp_path / "reference").__truediv__)
    return paths.results("smoke") / "runs"


def names(runs: Path) -> set[str]:
    return {folder.name.rsplit("-s", 1)[0] for folder in runs.glob("*")}


def test_a_run_that_is_asked_for_is_trained_with_what_was_copied(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ppcd.runs.train._train", lambda run, *_: fake_run(run.config.recipe.name))
    assert train(["--profile", "smoke", "--recipe", "ppcd", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert names(elsewhere) == {TEACHER, "ppcd", "sagan"} and said.out.count(": complete; see") == 1
    assert [each.parent.name.rsplit("-s", 1)[0] for each in elsewhere.glob("*/.local")] == ["ppcd"]
    assert said.err.startswith(f"2 runs of the reference were copied to {elsewhere.parent}, all but ppcd-s0-")


def test_students_of_another_copy_of_the_teacher_stay_where_they_are(elsewhere: Path) -> None:
    fake_run(TEACHER, weights=7)
    copy_reference("smoke")
    assert names(elsewhere) == {TEACHER}, "own runs were begun"
    copy_reference("smoke", more=True)
    assert names(elsewhere) == {TEACHER, "sagan"}


def test_a_copy_that_is_interrupted_is_not_taken_for_runs(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = iter([shutil.copytree])
    with monkeypatch.context() as patch:
        patch.setattr("ppcd.runs.copied.shutil.copytree", lambda *given, **named: next(copied)(*given, **named))
        with pytest.raises(StopIteration):
            copy_reference("smoke")
    assert not elsewhere.exists() and smoke().source == paths.reference("smoke")
    copy_reference("smoke")
    assert names(elsewhere) == {TEACHER, "ppcd", "sagan"} and smoke().source == elsewhere.parent
    assert not list(elsewhere.parent.glob(".copying/*"))
