"""The command line that prepares, verifies and times."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcd.data.sets import folders, load_data, prepare


@pytest.fixture
def folder(tmp_path: Path, fresh_cache: Path) -> Path:
    """Two classes of three images, in `train`."""
    for label, name in enumerate(("n01", "n02")):
        (tmp_path / "images" / "train" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(10 * label + number).integers(0, 256, (375, 500, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / "train" / name / f"{number}.JPEG")
    return tmp_path / "images"


def run(*arguments: object) -> int:
    return prepare.main([str(each) for each in arguments])


def refused(message: str, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
    """The command ends with status 2 and one line that contains `message`."""
    capsys.readouterr()
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("ppcd: ") and message in said and said.count("\n") == 1


def test_it_says_what_it_made_and_training_finds_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "train" / "n02" / "2.JPEG").write_text("damaged")
    assert run(folder, "--workers", 1) == 0
    said = capsys.readouterr().out
    made = load_data("imagenet", 128, source=folder)
    directory = Path(said.split("prepared images: ")[1].split(" (")[0])
    assert "images: 5 of 2 classes, 128 px" in said and f"skipped files: 1 (see {directory / 'skipped.txt'})" in said
    assert made.identity in said and made.sha256 in said and made.note == "skipped 1 of 6 images"
    monkeypatch.setenv("PPCD_DATA", str(directory))
    shutil.rmtree(folder)
    assert run("--verify") == 0
    assert "verified" in capsys.readouterr().out


def test_another_resolution(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--workers", 1, "--resolution", 32) == 0
    directory = capsys.readouterr().out.split("prepared images: ")[1].split(" (")[0]
    assert run(directory) == 0 and "32 px" in capsys.readouterr().out
    refused("prepared at 32 px, not 64", capsys, directory, "--resolution", 64)


def test_damage_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--workers", 1, "--resolution", 32) == 0
    directory = Path(capsys.readouterr().out.split("prepared images: ")[1].split(" (")[0])
    file, pixels = directory / "data.mdb", load_data("imagenet", 32, source=folder).images[4].numpy().tobytes()
    content = file.read_bytes()
    assert content.count(pixels) == 1
    file.write_bytes(content.replace(pixels, bytes(len(pixels))))
    refused("1 images in", capsys, directory, "--verify")
    refused("(number 4)", capsys, directory, "--verify")


def test_both_ways_are_timed_and_reading_is_faster(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "BATCH", 16)
    monkeypatch.setattr(prepare, "SECONDS", 0.3)
    allowed = os.sched_getaffinity(0)
    assert run(folder, "--workers", 1, "--time") == 0
    said = capsys.readouterr().out
    decoding, reading = (
        float(said.split(f"{name}: ")[1].split()[0]) for name in ("the originals", "reading prepared images")
    )
    ratio = float(said.split("ratio: ")[1])
    assert 0 < 3 * decoding < reading and ratio == pytest.approx(reading / decoding, rel=0.05)
    assert os.sched_getaffinity(0) == allowed


def test_decoding_is_timed_with_files_that_cannot_be_read(folder: Path) -> None:
    (folder / "train" / "n01" / "0.JPEG").write_text("damaged")
    assert prepare.time_decoding(folder / "train", 128, 0.1) > 0


def test_mistakes_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("PPCD_DATA", capsys)
    refused("no folder", capsys, tmp_path / "absent")
    refused("positive", capsys, folder, "--resolution", 0)
    refused("at least one worker", capsys, folder, "--workers", 0)
    assert run(folder, "--workers", 1, "--resolution", 32) == 0
    directory = capsys.readouterr().out.split("prepared images: ")[1].split(" (")[0]
    refused("give their folder", capsys, directory, "--time")


def test_an_interrupt_says_how_to_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "decode", interrupt)
    assert run(folder, "--workers", 1) == 130
    assert "goes on" in capsys.readouterr().err
