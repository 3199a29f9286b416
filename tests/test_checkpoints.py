"""Generators as safetensors files: the same images back, and one line for everything else."""

import json
from pathlib import Path

import pytest
import reference
import torch
from reference import noise_and_labels, refused
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ppcd.method.slim import slim
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.io import FORMAT, load_generator, save_generator

CLASSES = 3
DIM_Z = {"biggan": 60, "sagan": 7}


def masked(arch: str = "sagan", resolution: int = 32) -> Generator:
    generator = build_generator(arch, resolution, CLASSES, 1, masked=True, dim_z=DIM_Z[arch])
    reference.randomise(generator, 0).eval()
    for index, mask in enumerate(generator.masks().values()):
        mask.freeze(torch.arange(mask.channels) % 3 == index % 2)
    return generator


def inputs(generator: Generator) -> tuple[Tensor, Tensor]:
    return noise_and_labels(2, generator.dim_z, CLASSES, 0, generator.linear.weight.dtype)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "generator.safetensors"
    save_generator(slim(masked()), path)
    return path


def rewrite(path: Path, change: dict[str, Tensor | None] | None = None, **config: object) -> None:
    """Write the file once more with other tensors (None: without), or with other fields in its description."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["ppcd"])
    tensors = {**load_file(path), **(change or {})}
    about["config"].update(config)
    save_file({name: each for name, each in tensors.items() if each is not None}, path, {"ppcd": json.dumps(about)})


# ------------------------------------------------------------ round trip


@pytest.mark.parametrize("arch", ["biggan", "sagan"])
@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_a_slim_generator_comes_back_as_it_was(arch: str, resolution: int, tmp_path: Path) -> None:
    generator = slim(masked(arch, resolution))
    files = [tmp_path / "new folder" / name for name in ("a.safetensors", "b.safetensors")]
    for path in files:
        save_generator(generator, path)
    loaded = load_generator(files[0])
    z, y = inputs(generator)
    with torch.no_grad():
        assert torch.equal(loaded(z, y), generator(z, y))
    assert loaded.config == generator.config
    assert not loaded.training
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(path.name for path in files[0].parent.iterdir()) == [path.name for path in files]


@pytest.mark.parametrize("form", ["plain", "slim for training"])
def test_generators_under_spectral_norm_come_back(form: str, tmp_path: Path) -> None:
    if form == "plain":
        generator = reference.randomise(build_generator("biggan", 32, CLASSES, 1), 0).eval()
    else:
        generator = slim(masked(), for_training=True)
    save_generator(generator, str(tmp_path / "g.safetensors"))
    loaded = load_generator(str(tmp_path / "g.safetensors"))
    z, y = inputs(generator)
    assert torch.equal(loaded(z, y), generator(z, y))
    assert torch.equal(loaded.train()(z, y), generator.train()(z, y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_weights_keep_their_type(dtype: torch.dtype, tmp_path: Path) -> None:
    generator = slim(masked()).to(dtype)
    save_generator(generator, tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors").state_dict()
    assert {tensor.dtype for tensor in loaded.values() if tensor.is_floating_point()} == {dtype}
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in generator.state_dict().items())


# ------------------------------------------------------------ refusals


def test_a_generator_with_masks_is_refused(tmp_path: Path) -> None:
    with refused("masks", "slim"):
        save_generator(masked(), tmp_path / "g.safetensors")
    assert list(tmp_path.iterdir()) == []


DAMAGED = "not the configuration of a generator"


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        ({"format": "pt"}, [FORMAT, "got format None"]),
        ({"ppcd": "{"}, [FORMAT, "got format None"]),
        ({"ppcd": "[]"}, [FORMAT, "got format None"]),
        ({"ppcd": '{"format": "ppcd-generator-0"}'}, [FORMAT, "got format 'ppcd-generator-0'"]),
        ({"ppcd": json.dumps({"format": FORMAT})}, [DAMAGED]),
        ({"ppcd": json.dumps({"format": FORMAT, "config": [1]})}, [DAMAGED]),
        ({"ppcd": json.dumps({"format": FORMAT, "config": "sagan"})}, [DAMAGED]),
        ({"ppcd": json.dumps({"format": FORMAT, "config": {"arch": "sagan"}})}, [DAMAGED]),
    ],
)
def test_another_description_is_refused(saved: Path, metadata: dict[str, str], parts: list[str]) -> None:
    save_file(load_file(saved), saved, metadata)
    with refused(saved.name, *parts):
        load_generator(saved)


def test_an_impossible_description_is_refused(saved: Path) -> None:
    """The others are in tests/test_generators.py."""
    rewrite(saved, width=0)
    with refused(saved.name, "width must be a positive integer", "0"):
        load_generator(saved)
    rewrite(saved, widht=3)
    with refused(saved.name, DAMAGED, "widht"):
        load_generator(saved)


@pytest.mark.parametrize(
    ("change", "config", "parts"),
    [
        ({}, {"width": 10**6}, ["blocks.0.bn1.bias.weight", "expected (", "found ("]),  # would take terabytes
        ({}, {"num_classes": 5}, ["blocks.0.bn1.bias.weight", "expected (5, ", "found (3, "]),
        ({}, {"hidden": [[2, 1], [2, 1], [2, 2]]}, ["blocks.2.conv2.bias", "expected (2,)"]),
        ({}, {"spectral_norm": True}, ["blocks.0.conv1.scale", "expected ()", "found nothing"]),
        ({"linear.bias": None}, {}, ["linear.bias", "expected (64,)", "found nothing"]),
        ({"linear.more": torch.zeros(2)}, {}, ["linear.more", "expected nothing", "found (2,)"]),
        ({"linear.bias": torch.zeros(63)}, {}, ["linear.bias", "expected (64,)", "found (63,)"]),
    ],
)
def test_tensors_of_other_shapes_are_refused(
    saved: Path, change: dict[str, Tensor | None], config: dict[str, object], parts: list[str]
) -> None:
    rewrite(saved)
    load_generator(saved)
    rewrite(saved, change, **config)
    with refused(saved.name, "does not fit its own description", *parts):
        load_generator(saved)
