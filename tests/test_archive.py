"""Prepared images: what is made of a folder, going on after a kill, reading, damage, the command line."""

import hashlib
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reference import refuses

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.data import archive, folders, prepare
from ppcd.data import sets as data

CLASSES, EACH, RESOLUTION = ("n01", "n02", "n03"), 12, 16
FILES = len(CLASSES) * EACH


def picture(seed: int, size: tuple[int, int] = (25, 20)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise)


@pytest.fixture
def folder(tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of twelve JPEG files, which are prepared in parts of eight."""
    monkeypatch.setattr(archive, "PART", 8)
    for label, name in enumerate(CLASSES):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(EACH):
            picture(100 * label + number).save(tmp_path / "images" / name / f"{number:02d}.JPEG")
    return tmp_path / "images"


def prepared(folder: Path) -> archive.Archive:
    return archive.get_archive(folder, RESOLUTION)


def content(directory: Path) -> dict[str, str]:
    """File -> hash."""
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in directory.iterdir()}


def away(found: archive.Archive, place: Path) -> Path:
    """The archive, moved to where no preparation looks for it."""
    return Path(shutil.move(found.directory, place))


# What is made of a folder


def test_an_archive_holds_what_decoding_gives(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = data.load_data("imagenet", RESOLUTION, source=folder)
    names = [f"{name}/{number:02d}.JPEG" for name in CLASSES for number in range(EACH)]
    expected = torch.from_numpy(np.stack([folders.decode(folder / name, RESOLUTION)[0] for name in names]))
    assert found.mapped and torch.equal(found.images, expected)
    assert found.labels.tolist() == [label for label in range(3) for _ in range(EACH)]
    assert found.classes == CLASSES and found.note == "" and prepared(folder).damaged() == []
    assert found.identity == data.identity("imagenet", folder) and found.sha256 == prepared(folder).sha256
    part = data.load_data("imagenet", RESOLUTION, source=folder, images_per_class=5)
    assert part.identity == f"{found.identity}-n5" and part.sha256 != found.sha256
    keep = [label * EACH + number for label in range(3) for number in range(5)]
    assert torch.equal(part.images, expected[keep]) and part.labels.bincount().tolist() == [5, 5, 5]
    away(prepared(folder), tmp_path / "archive")
    assert prepared(folder.rename(tmp_path / "elsewhere")).sha256 == found.sha256
    monkeypatch.setattr(folders, "decode", lambda *_: pytest.fail("work was done for a wrong folder"))
    again = tmp_path / "elsewhere"
    refuses("fewer of n01 (12)", lambda: data.load_data("imagenet", RESOLUTION, source=again, images_per_class=13))


def test_files_that_cannot_serve_are_listed_and_skipped(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (folder / "n01" / "00.JPEG").read_bytes()
    (folder / "n01" / "00.JPEG").write_bytes(whole[: len(whole) // 2])
    (folder / "n01" / "01.JPEG").write_text("not an image")
    picture(1, (1, 1)).save(folder / "n02" / "05.JPEG")
    (folder / "n03" / "11.JPEG").unlink()
    (folder / "n03" / "11.JPEG").symlink_to("nowhere.JPEG")
    with caplog.at_level(logging.WARNING):
        found = prepared(folder)
    assert found.labels.bincount().tolist() == [10, 11, 11] and found.note == "skipped 4 of 36 images"
    (message,) = [record.getMessage() for record in caplog.records]
    assert "skipped 4 of 36 images" in message and "n01/00.JPEG" in message and "\n" not in message
    assert list(found.skipped) == ["n01/00.JPEG", "n01/01.JPEG", "n02/05.JPEG", "n03/11.JPEG"]
    assert "too small" in found.skipped["n02/05.JPEG"] and str(folder) not in " ".join(found.skipped.values())
    kept = [f"{name}/{number:02d}.JPEG" for name in CLASSES for number in range(EACH)]
    expected = [folders.decode(folder / name, RESOLUTION)[0] for name in kept if name not in found.skipped]
    assert torch.equal(found.images, torch.from_numpy(np.stack(expected))) and found.damaged() == []


# Going on


def unfinished(name: str) -> Path:
    """A file of the preparation that was ended."""
    return next((paths.cache() / "data").glob(f"*.partial/{name}"))


def killed_after(parts: int, folder: Path) -> None:
    """A preparation in another process that is killed after so many parts, and in the middle of the next."""

    def work() -> None:
        decode, last = folders.decode, sorted(folder.rglob("*.JPEG"))[parts * archive.PART + 3]

        def killed(path: Path, resolution: int) -> Any:
            if path == last:
                with unfinished("images.bin").open("ab") as images, unfinished("parts.jsonl").open("a") as record:
                    images.write(b"half a part")
                    record.write('{"images": 8, "sha')
                os.kill(os.getpid(), signal.SIGKILL)
            return decode(path, resolution)

        folders.decode = killed  # type: ignore[assignment]
        prepared(folder)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("parts", [0, 2])
def test_a_killed_preparation_goes_on_and_makes_the_same(
    folder: Path, tmp_path: Path, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content(away(prepared(folder), tmp_path / "whole"))
    killed_after(parts, folder)
    decoded = []
    decode = folders.decode
    monkeypatch.setattr(folders, "decode", lambda path, size: decoded.append(path) or decode(path, size))
    resumed = prepared(folder)
    assert prepared(folder).sha256 == resumed.sha256  # and is not decoded again
    assert len(decoded) == (FILES - 16 if parts else FILES + len(CLASSES))  # one of each class is tried first
    assert content(away(resumed, tmp_path / "resumed")) == expected
    killed_after(2, folder)
    os.truncate(unfinished("images.bin"), 100)  # a disk that lost what it had confirmed
    assert content(away(prepared(folder), tmp_path / "short")) == expected


def test_a_full_disk_is_one_line_and_keeps_what_is_there(folder: Path) -> None:
    sender, receiver = multiprocessing.Pipe()

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, 15_000))
        try:
            prepared(folder)
        except PpcdError as error:
            sender.send(str(error))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    message = receiver.recv()
    assert "cannot be written" in message and "PPCD_CACHE" in message and "\n" not in message
    assert len(unfinished("parts.jsonl").read_text().splitlines()) == 1 + 2
    assert prepared(folder).damaged() == []


def test_too_little_room_is_said_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refuses("need 0.0 GB more", prepared, folder)
    refuses("PPCD_CACHE", prepared, folder)


# Reading


def test_an_archive_without_its_folder_and_on_a_read_only_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPCD_DATA", str(folder))
    before = data.load_data("imagenet", RESOLUTION)
    moved = away(prepared(folder), tmp_path / "moved")
    shutil.rmtree(folder)
    for each in moved.iterdir():
        each.chmod(0o444)
    moved.chmod(0o555)
    monkeypatch.setenv("PPCD_DATA", str(moved))
    after = data.load_data("imagenet", RESOLUTION)
    assert (after.identity, after.sha256) == (before.identity, before.sha256)
    assert data.identity("imagenet") == before.identity and torch.equal(after.images, before.images)
    refuses("prepared at 16 px, not 32", data.load_data, "imagenet", 32)
    moved.chmod(0o755)


def test_damaged_and_foreign_archives_are_refused(folder: Path, tmp_path: Path) -> None:
    place = away(prepared(folder), tmp_path / "moved")

    def changed(name: str, **values: object) -> Path:
        there = Path(shutil.copytree(place, tmp_path / name))
        about = json.loads((there / "archive.json").read_text())
        (there / "archive.json").write_text(json.dumps(about | values))
        return there

    assert archive.open_archive(changed("unchanged")).damaged() == []
    os.truncate(changed("truncated") / "images.bin", 5000)
    refuses("has 5000 of ", archive.open_archive, tmp_path / "truncated")
    (changed("junk") / "archive.json").write_text("junk")
    refuses("is damaged, or not of", archive.open_archive, tmp_path / "junk")
    refuses("is damaged, or not of", archive.open_archive, changed("other", format="x"))
    refuses("another version (0, not 2)", archive.open_archive, changed("old", version=0))
    refuses("its hash is another", archive.open_archive, changed("labels", classes={"n01": 13, "n02": 11, "n03": 12}))
    (changed("alone") / "images.bin").unlink()
    refuses("cannot be opened", archive.open_archive, tmp_path / "alone")
    with (changed("pixel") / "images.bin").open("r+b") as file:
        file.seek(20 * 3 * RESOLUTION**2)
        pixel = file.read(1)
        file.seek(20 * 3 * RESOLUTION**2)
        file.write(bytes([pixel[0] ^ 1]))
    assert archive.open_archive(tmp_path / "pixel").damaged() == ["16-23"]


# The command line


def run(*arguments: object) -> int:
    return prepare.main([str(each) for each in arguments])


def test_it_says_what_it_made_and_training_finds_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "n02" / "02.JPEG").write_text("damaged")
    assert run(folder, "--resolution", RESOLUTION) == 0
    said = capsys.readouterr().out
    made = data.load_data("imagenet", RESOLUTION, source=folder)
    directory = Path(said.split("prepared images: ")[1].split(" (")[0])
    assert "images: 35 of 3 classes, 16 px" in said and f"skipped files: 1 (see {directory / 'archive.json'})" in said
    assert made.identity in said and made.sha256 in said
    assert run(directory, "--verify") == 0 and "verified" in capsys.readouterr().out
    with (directory / "images.bin").open("r+b") as file:
        file.write(b"damage")
    assert run(directory, "--verify") == 2
    assert f"images 0-7 in {directory} are damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "PPCD_DATA"),
        (("--resolution", 0), "positive"),
        (("imagenet-0123456789ab",), "a name alone"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("ppcd: ") and message in said and said.count("\n") == 1


def test_an_interrupt_says_how_to_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "decode", interrupt)
    assert run(folder) == 130
    assert "goes on" in capsys.readouterr().err
