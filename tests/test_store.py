"""Prepared images: what is made of a folder, going on after a kill, reading, damage."""

import hashlib
import json
import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from threading import Thread
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from ppcd.base import PpcdError
from ppcd.data.sets import filling, folders, store
from ppcd.data.sets import sets as data

CLASSES, EACH, RESOLUTION = ("n01", "n02", "n03"), 12, 16
FILES = len(CLASSES) * EACH


def picture(seed: int, size: tuple[int, int] = (25, 20), mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


@pytest.fixture
def folder(tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of twelve JPEG files, which are prepared in parts of eight."""
    monkeypatch.setattr(filling, "GROUP", 4)
    monkeypatch.setattr(filling, "PART", 8)
    for label, name in enumerate(CLASSES):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(EACH):
            picture(100 * label + number).save(tmp_path / "images" / name / f"{number:02d}.JPEG")
    return tmp_path / "images"


def prepared(folder: Path, workers: int | None = 1, resolution: int = RESOLUTION) -> store.Store:
    return filling.get_store(folder, resolution, workers)


def content(directory: Path) -> str:
    """A hash of every key and value of the store. Its pages may differ in what fills their ends."""
    database, whole = store._reader(directory), hashlib.sha256()
    for each in (database.images, database.meta):
        with database.environment.begin(each) as transaction:
            for key, value in transaction.cursor():
                whole.update(b"%d %d " % (len(key), len(value)) + key + value)
    return whole.hexdigest()


def away(found: store.Store, place: Path) -> Path:
    """The store, moved to where no preparation looks for it."""
    return Path(shutil.move(found.directory, place))


def refused(message: str, action: Callable[..., object], *given: Any) -> None:
    """`action` raises one line that contains `message`."""
    with pytest.raises(PpcdError) as raised:
        action(*given)
    assert message in str(raised.value) and "\n" not in str(raised.value)


# What is made of a folder


def test_a_store_holds_what_decoding_gives(folder: Path) -> None:
    found = prepared(folder)
    names = [f"{name}/{number:02d}.JPEG" for name in CLASSES for number in range(EACH)]
    expected = np.stack([folders.decode(folder / name, RESOLUTION)[0] for name in names])
    assert torch.equal(found.images[:], torch.from_numpy(expected))
    assert found.labels.tolist() == [label for label in range(3) for _ in range(EACH)]
    assert found.classes == CLASSES and found.files == FILES and found.note == ""
    hashes = b"".join(hashlib.sha256(image.tobytes()).digest() for image in expected)
    assert found.sha256 == hashlib.sha256(hashes + found.labels.numpy().astype("<i8").tobytes()).hexdigest()
    assert not (found.directory / "skipped.txt").exists()
    assert found.verify() == []


def test_parts_are_of_some_hundred_files() -> None:
    assert filling.PART == 512 and filling.PART_BYTES // (3 * 128**2) in range(300, 400)


def test_the_number_of_processes_changes_nothing(folder: Path, tmp_path: Path) -> None:
    one = away(prepared(folder, workers=1), tmp_path / "one")
    two = away(prepared(folder, workers=2), tmp_path / "two")
    assert content(one) == content(two) and sorted(os.listdir(one)) == sorted(os.listdir(two)) == ["data.mdb"]


def test_a_prepared_folder_is_not_decoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(folder)
    monkeypatch.setattr(folders, "decode", lambda *_: pytest.fail("decoded again"))
    assert prepared(folder).sha256 == first.sha256


def test_the_bar_starts_where_the_preparation_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []
    monkeypatch.setattr(filling, "tqdm", lambda **given: bars.append(given) or tqdm(**{**given, "disable": True}))
    tqdm = store.tqdm
    killed_after(2, folder)
    prepared(folder)
    assert [(bar["initial"], bar["total"]) for bar in bars] == [(16, FILES)]


def test_files_that_cannot_serve_are_listed_and_skipped(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (folder / "n01" / "00.JPEG").read_bytes()
    (folder / "n01" / "00.JPEG").write_bytes(whole[: len(whole) // 2])
    (folder / "n01" / "01.JPEG").write_text("not an image")
    picture(1, (1, 1)).save(folder / "n02" / "05.JPEG")
    (folder / "n03" / "11.JPEG").unlink()
    (folder / "n03" / "11.JPEG").symlink_to("nowhere.JPEG")
    (folder / "n03" / "notes.txt").write_text("no image, and not taken for one")
    for number, mode in enumerate(("L", "CMYK", "1")):
        picture(50 + number, mode=mode).save(folder / "n02" / f"{number:02d}.JPEG")
    picture(60, mode="P").save(folder / "n02" / "03.png")
    with caplog.at_level(logging.WARNING):
        found = prepared(folder)
    assert len(found.labels) == FILES + 1 - 4 and found.labels.bincount().tolist() == [10, 12, 11]
    assert found.note == "skipped 4 of 37 images"
    assert len(caplog.records) == 1 and "skipped 4 of 37 images" in caplog.records[0].getMessage()
    assert "\n" not in caplog.records[0].getMessage() and "n01/00.JPEG" in caplog.records[0].getMessage()
    lines = (found.directory / "skipped.txt").read_text().splitlines()
    reasons = dict(line.split("\t") for line in lines)
    assert list(reasons) == ["n01/00.JPEG", "n01/01.JPEG", "n02/05.JPEG", "n03/11.JPEG"]
    assert "truncated" in reasons["n01/00.JPEG"].lower() and "identify" in reasons["n01/01.JPEG"]
    assert "too small" in reasons["n02/05.JPEG"] and str(folder) not in " ".join(lines)
    for name in ("n02/00.JPEG", "n02/01.JPEG", "n02/02.JPEG", "n02/03.png"):
        expected = torch.from_numpy(folders.decode(folder / name, RESOLUTION)[0].copy())
        assert any(torch.equal(expected, image) for image in found.images)
    assert found.verify() == []


def test_a_class_without_a_readable_image_is_found_before_the_work(folder: Path, fresh_cache: Path) -> None:
    for each in (folder / "n02").iterdir():
        each.write_text("damaged")
    refused("no image can be read in class folder n02", prepared, folder)
    partial = next((fresh_cache / "data").glob("*.partial"))
    database = store.Database(partial)
    assert database.count() == 0
    database.close()


def test_the_same_images_have_the_same_names_and_hashes_elsewhere(folder: Path, tmp_path: Path) -> None:
    first = prepared(folder)
    away(first, tmp_path / "store")
    folder.rename(tmp_path / "elsewhere")
    second = prepared(tmp_path / "elsewhere")
    assert (second.identity, second.sha256) == (first.identity, first.sha256)
    picture(7).save(tmp_path / "elsewhere" / "n01" / "more.png")
    assert filling.store_identity(tmp_path / "elsewhere") != first.identity


def test_preparing_leaves_the_global_generator_alone(folder: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    prepared(folder, workers=2)
    assert torch.equal(torch.get_rng_state(), before)


# Going on


def killed_after(parts: int, folder: Path, workers: int = 1, resolution: int = RESOLUTION) -> None:
    """A preparation in a process of its own that is killed behind so many parts, and in the middle of the next."""

    def work() -> None:
        write = filling._Filling._write

        def killed(self: Any, part: int, groups: Any) -> None:
            write(self, part, groups if part < parts else kill_behind(next(groups)))

        def kill_behind(group: filling.Decoded) -> Any:
            yield group
            os.kill(os.getpid(), signal.SIGKILL)

        filling._Filling._write = killed  # type: ignore[method-assign]
        prepared(folder, workers, resolution)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_preparation_goes_on_and_makes_the_same(
    folder: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolution = 80  # four images of it do not fit into a pipe: processes that are left behind would wait for ever
    whole = prepared(folder, 1, resolution)
    lock = FileLock(whole.directory.with_suffix(".lock"))
    expected = content(away(whole, tmp_path / "whole"))
    killed_after(2, folder, workers, resolution)
    with lock.acquire(timeout=10):
        pass
    decoded = []
    decode = folders.decode
    monkeypatch.setattr(folders, "decode", lambda path, size: decoded.append(path) or decode(path, size))
    resumed = prepared(folder, 1, resolution)
    assert len(decoded) == FILES - 16  # two parts of eight were there
    assert content(away(resumed, tmp_path / "resumed")) == expected


def test_what_is_there_of_something_else_is_made_anew(folder: Path, tmp_path: Path, fresh_cache: Path) -> None:
    expected = content(away(prepared(folder), tmp_path / "whole"))
    killed_after(2, folder)
    partial = next((fresh_cache / "data").glob("*.partial"))
    environment = lmdb.open(str(partial), map_size=2**24, max_dbs=2)
    meta = environment.open_db(b"meta")
    with environment.begin(meta, write=True) as transaction:
        transaction.put(b"about", json.dumps({"format": "another"}).encode())
    environment.close()
    assert content(away(prepared(folder), tmp_path / "second")) == expected
    for damage in (b"junk" * 5000, b""):
        partial.mkdir()
        (partial / "data.mdb").write_bytes(damage)
        assert content(away(prepared(folder), tmp_path / str(len(damage)))) == expected


def test_a_damaged_store_is_made_again_with_a_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = prepared(folder)
    expected, file = found.sha256, found.directory / "data.mdb"
    del found
    os.truncate(file, 3 * 4096)
    with caplog.at_level(logging.WARNING):
        assert prepared(folder).sha256 == expected
    assert len(caplog.records) == 1 and "bytes are there; it is made again now" in caplog.records[0].getMessage()


def test_a_store_that_cannot_be_opened_now_is_not_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = prepared(folder)
    directory, expected = found.directory, found.sha256
    del found

    def fail(*_: object, **__: object) -> None:
        raise lmdb.Error("data.mdb: Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(lmdb, "open", fail)
        refused("cannot be opened (data.mdb: Too many open files", prepared, folder)
    assert store.open_store(directory).sha256 == expected


def test_others_wait_for_the_one_that_prepares(
    folder: Path, fresh_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = prepared(folder).directory
    aside = path.with_name("aside")
    path.rename(aside)
    found: list[store.Store] = []
    with caplog.at_level(logging.WARNING):
        with FileLock(path.with_suffix(".lock")):
            thread = Thread(target=lambda: found.append(prepared(folder)))
            thread.start()
            while not caplog.records:
                time.sleep(0.01)
            assert not found and "waiting for it" in caplog.records[0].getMessage()
            aside.rename(path)
        thread.join()
    assert found[0].directory == path


def test_a_full_disk_is_one_line_and_keeps_what_is_there(folder: Path, fresh_cache: Path) -> None:
    sender, receiver = multiprocessing.Pipe()

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))
        try:
            prepared(folder)
        except PpcdError as error:
            sender.send(str(error))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    message = receiver.recv()
    assert "cannot be written" in message and "make room" in message and "\n" not in message
    partial = next((fresh_cache / "data").glob("*.partial"))
    database = store.Database(partial)
    assert 0 < database.count() < FILES
    database.close()
    assert prepared(folder).verify() == []


def test_too_little_room_is_said_before_the_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    refused("need 0.0 GB more", prepared, folder)
    refused("PPCD_CACHE", prepared, folder)


def test_a_process_that_is_killed_while_it_decodes_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, decode = os.getpid(), filling._decode

    def kill(group: list[tuple[int, str]], *given: Any) -> filling.Decoded:
        if os.getpid() != parent and group[0][0] >= 16:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(group, *given)

    monkeypatch.setattr(filling, "_decode", kill)
    refused("with fewer workers", prepared, folder, 2)
    monkeypatch.undo()


def test_impossible_numbers_of_workers_are_refused(folder: Path) -> None:
    refused("at least one worker", prepared, folder, 0)


# Reading


def test_images_are_indexed_like_a_tensor(folder: Path) -> None:
    images = prepared(folder).images
    whole = images[:]
    assert images.shape == whole.shape == (FILES, 3, RESOLUTION, RESOLUTION)
    assert images.dtype == whole.dtype == torch.uint8 and len(images) == FILES
    some = torch.tensor([30, 2, 2, -1])
    for index in (0, -1, slice(3, 17, 5), slice(0), some, some.view(2, 2), torch.arange(FILES) % 7 == 0):
        assert torch.equal(images[index], whole[index])
    assert torch.equal(torch.stack(list(images)), whole)
    assert [len(part) for part in images.split(15)] == [15, 15, 6]
    assert torch.equal(torch.cat(list(images.split(15))), whole)
    few = images.select(some)
    assert torch.equal(few[1:], whole[some][1:]) and few.shape[0] == 4
    with pytest.raises(IndexError):
        images[FILES]
    out = torch.zeros(2, 3, RESOLUTION, RESOLUTION, dtype=torch.uint8)
    assert images.read(torch.tensor([5, 4]), out) is out and torch.equal(out, whole[[5, 4]])


def test_a_forked_process_reads_too(folder: Path) -> None:
    images = prepared(folder).images
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=lambda: queue.put(images[3].sum().item()))
    process.start()
    assert queue.get(timeout=60) == images[3].sum().item()
    process.join()
    assert images[1].shape == (3, RESOLUTION, RESOLUTION)


def test_copies_and_several_openings_read_the_same_file(folder: Path) -> None:
    found = prepared(folder)
    others = [
        deepcopy(found.images),
        pickle.loads(pickle.dumps(found.images)),
        store.open_store(found.directory).images,
    ]
    assert all(torch.equal(each[3], found.images[3]) for each in others)
    threads = [Thread(target=lambda: found.images[:]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_store_without_its_folder_and_on_a_read_only_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPCD_DATA", str(folder))
    before = data.load_data("imagenet", RESOLUTION, num_classes=3)
    moved = away(prepared(folder), tmp_path / "moved")
    shutil.rmtree(folder)
    (moved / "data.mdb").chmod(0o444)
    moved.chmod(0o555)
    monkeypatch.setenv("PPCD_DATA", str(moved))
    after = data.load_data("imagenet", RESOLUTION, num_classes=3)
    assert (after.identity, after.sha256) == (before.identity, before.sha256)
    assert data.identity("imagenet") == before.identity
    assert torch.equal(after.images[:], after.images[torch.arange(FILES)]) and os.listdir(moved) == ["data.mdb"]
    refused("prepared at 16 px, not 32", data.load_data, "imagenet", 32)
    moved.chmod(0o755)


def test_damaged_foreign_and_unfinished_stores_are_refused(folder: Path, tmp_path: Path, fresh_cache: Path) -> None:
    found = prepared(folder)
    place = away(found, tmp_path / "moved")
    del found

    def copied(name: str) -> Path:
        return Path(shutil.copytree(place, tmp_path / name))

    def changed(name: str, key: str, value: object) -> Path:
        environment = lmdb.open(str(copied(name)), map_size=2**24, max_dbs=2)
        with environment.begin(environment.open_db(b"meta"), write=True) as transaction:
            old = json.loads(transaction.get(key.encode()))
            transaction.put(key.encode(), json.dumps({**old, **value} if isinstance(value, dict) else value).encode())
        environment.close()
        return tmp_path / name

    os.truncate(copied("truncated") / "data.mdb", 5 * 4096)
    refused("is damaged: 20480 of ", store.open_store, tmp_path / "truncated")
    (copied("junk") / "data.mdb").write_bytes(b"junk" * 5000)
    refused("is damaged (", store.open_store, tmp_path / "junk")
    (copied("empty") / "data.mdb").write_bytes(b"")
    refused("data.mdb is empty", store.open_store, tmp_path / "empty")
    refused("another version (0, not 1)", store.open_store, changed("old", "about", {"version": 0}))
    refused("holds an LMDB database, but", store.open_store, changed("other", "about", {"format": "x"}))
    refused("lacks some of its 40 images", store.open_store, changed("short", "finished", {"images": 40}))
    refused("was the folder moved", store.open_store, tmp_path / "absent")
    environment = lmdb.open(str(tmp_path / "foreign"))
    environment.close()
    refused("holds an LMDB database, but", store.open_store, tmp_path / "foreign")
    killed_after(2, folder)
    partial = next((fresh_cache / "data").glob("*.partial"))
    refused("was not finished", store.open_store, partial)


def test_verification_finds_a_changed_image_and_a_changed_label(folder: Path) -> None:
    found = prepared(folder)
    directory, pixels = found.directory, found.images[20].numpy().tobytes()
    labels = found.labels[:8].numpy().tobytes()
    del found
    file = directory / "data.mdb"
    content = file.read_bytes()
    assert content.count(pixels) == 1 and labels in content
    file.write_bytes(content.replace(pixels, bytes([pixels[0] ^ 1]) + pixels[1:]))
    assert store.open_store(directory).verify() == [20]
    file.write_bytes(content.replace(labels, bytes([2]) + labels[1:]))
    refused("labels or hashes", store.open_store(directory).verify)


# As a data set


def test_load_data_gives_stored_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.load_data("imagenet", RESOLUTION, source=folder)
    assert isinstance(images.images, store.StoredImages) and images.images.shape[-1] == RESOLUTION
    assert images.identity == data.identity("imagenet", folder) and images.identity.startswith("imagenet-")
    assert images.sha256 == prepared(folder).sha256 and images.classes == CLASSES
    part = data.load_data("imagenet", RESOLUTION, source=folder, images_per_class=5)
    assert part.identity == f"{images.identity}-n5" and part.labels.bincount().tolist() == [5, 5, 5]
    keep = [label * EACH + number for label in range(3) for number in range(5)]
    assert torch.equal(part.images[:], images.images[torch.tensor(keep)]) and part.sha256 != images.sha256
    same = data.load_data("imagenet", RESOLUTION, source=folder, images_per_class=EACH)
    assert same.sha256 == images.sha256
    monkeypatch.setattr(folders, "decode", lambda *_: pytest.fail("work was done for a wrong folder"))
    refused("expected 1000 classes, found 3", lambda: data.load_data("imagenet", 24, source=folder, num_classes=1000))
    refused("fewer of n01 (12)", lambda: data.load_data("imagenet", RESOLUTION, source=folder, images_per_class=13))


def test_imagenet_needs_a_folder(tmp_path: Path) -> None:
    refused("PPCD_DATA", data.load_data, "imagenet", 128)
    refused("PPCD_DATA", data.identity, "imagenet")
    refused("no folder", data.identity, "imagenet", tmp_path / "absent")
