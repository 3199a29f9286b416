"""The command line that prepares and verifies."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ppcd.data import folders, prepare
from ppcd.data.sets import load_data


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
    assert run(folder) == 0
    said = capsys.readouterr().out
    made = load_data("imagenet", 128, source=folder)
    directory = Path(said.split("prepared images: ")[1].split(" (")[0])
    assert "images: 5 of 2 classes, 128 px" in said and f"skipped files: 1 (see {directory / 'archive.json'})" in said
    assert made.identity in said and made.sha256 in said and made.note == "skipped 1 of 6 images"
    monkeypatch.setenv("PPCD_DATA", str(directory))
    shutil.rmtree(folder)
    assert run("--verify") == 0
    assert "verified" in capsys.readouterr().out


def test_another_resolution_and_damage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--resolution", 32) == 0
    directory = Path(capsys.readouterr().out.split("prepared images: ")[1].split(" (")[0])
    refused("prepared at 32 px, not 64", capsys, directory, "--resolution", 64)
    assert run(directory, "--verify") == 0 and "32 px" in capsys.readouterr().out
    with (directory / "images.bin").open("r+b") as file:
        file.write(b"damage")
    refused(f"images 0-5 in {directory} are damaged", capsys, directory, "--verify")


def test_mistakes_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused("PPCD_DATA", capsys)
    refused("no folder", capsys, tmp_path / "absent")
    refused("positive", capsys, folder, "--resolution", 0)
    refused("a name alone", capsys, "imagenet-0123456789ab")


def test_an_interrupt_says_how_to_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "decode", interrupt)
    assert run(folder) == 130
    assert "goes on" in capsys.readouterr().err
