"""Generators as safetensors files: the same images back, and one line for everything else."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import reference
import torch
from reference import noise_and_labels, refused
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ppcd.method.slim import slim
from ppcd.networks.generators import Generator, build_generator
from ppcd.networks.io import FORMAT, file_on_cpu, load_generator, save_generator

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


def contents(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, and what it says of itself."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["ppcd"])


def rewrite(path: Path, tensors: dict[str, Tensor] | None = None, **config: object) -> None:
    """Write the file once more with other tensors, or with other fields in its description."""
    old, about = contents(path)
    about = {**about, "config": {**about["config"], **config}}
    save_file(old if tensors is None else tensors, path, {"ppcd": json.dumps(about)})


# ------------------------------------------------------------ round trip


@pytest.mark.parametrize("arch", ["biggan", "sagan"])
@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_a_slim_generator_comes_back_as_it_was(arch: str, resolution: int, tmp_path: Path) -> None:
    generator = slim(masked(arch, resolution))
    save_generator(generator, tmp_path / "new folder" / "g.safetensors")
    loaded = load_generator(tmp_path / "new folder" / "g.safetensors")
    z, y = inputs(generator)
    with torch.no_grad():
        assert torch.equal(loaded(z, y), generator(z, y))
    assert loaded.config == generator.config
    assert not loaded.training
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["g.safetensors"]


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


def test_the_same_generator_gives_the_same_file(tmp_path: Path) -> None:
    generator = slim(masked())
    for name in ("a", "b"):
        save_generator(generator, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ------------------------------------------------------------ refusals


def test_a_generator_with_masks_is_refused(tmp_path: Path) -> None:
    with refused("masks", "slim"):
        save_generator(masked(), tmp_path / "g.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with refused("no generator at", "g.safetensors"):
        load_generator(tmp_path / "g.safetensors")
    with refused("no generator at", str(tmp_path)):
        load_generator(tmp_path)  # a folder


@pytest.mark.parametrize("left", [0.0, 0.05, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved: Path, left: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(left * len(data))])
    with refused(saved.name, "not a readable safetensors file"):
        load_generator(saved)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    generator, checkpoint = tmp_path / "g.safetensors", tmp_path / "checkpoint.pt"

    def refused_twice() -> None:
        with refused("not a readable safetensors file"):
            load_generator(generator)
        with refused("not a readable checkpoint", "delete it"):
            file_on_cpu(checkpoint)
        assert not trace.exists()

    for path in (generator, checkpoint):
        torch.save({"weights": torch.zeros(3), "more": Malicious(trace)}, path)
    refused_twice()
    for path in (generator, checkpoint):
        path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    refused_twice()
    pickle.loads(generator.read_bytes())
    assert trace.exists()  # so it would have


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (None, "None"),
        ({}, "None"),
        ({"format": "pt"}, "None"),
        ({"ppcd": "{"}, "None"),
        ({"ppcd": "[]"}, "None"),
        ({"ppcd": '{"config": {}}'}, "None"),
        ({"ppcd": '{"format": "ppcd-generator-0"}'}, "'ppcd-generator-0'"),
    ],
)
def test_another_format_is_refused(saved: Path, metadata: dict[str, str] | None, found: str) -> None:
    tensors, _ = contents(saved)
    save_file(tensors, saved, metadata)
    with refused(saved.name, FORMAT, f"got format {found}"):
        load_generator(saved)


@pytest.mark.parametrize("config", [None, [], 3, "sagan", {}])
def test_a_file_without_description_is_refused(saved: Path, config: object) -> None:
    tensors, about = contents(saved)
    save_file(tensors, saved, {"ppcd": json.dumps({**about, "config": config})})
    with refused(saved.name, "not the configuration of a generator"):
        load_generator(saved)
    save_file(tensors, saved, {"ppcd": json.dumps({"format": FORMAT})})
    with refused(saved.name, "not the configuration of a generator"):
        load_generator(saved)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"arch": "vqgan"}, ["unknown architecture 'vqgan'", "biggan, sagan"]),
        ({"resolution": 48}, ["resolution", "32, 64, 128", "48"]),
        ({"width": 0}, ["width must be a positive integer", "0"]),
        ({"width": "1"}, ["width must be a positive integer", "'1'"]),
        ({"resolution": 32.0}, ["resolution", "32, 64, 128", "32.0"]),
        ({"dim_z": 7.0}, ["dim_z", "positive multiple of 1", "7.0"]),
        ({"num_classes": -1}, ["num_classes must be a positive integer", "-1"]),
        ({"dim_z": 0}, ["dim_z", "positive multiple of 1", "0"]),
        ({"hidden": [[2, 1]]}, ["hidden must be 3 pairs", "((2, 1),)"]),
        ({"hidden": [[2, 1], [2, 0], [2, 1]]}, ["hidden must be 3 pairs of at least one channel", "(2, 0)"]),
        ({"hidden": []}, ["hidden must be 3 pairs"]),
        ({"transition": False}, ["without a transition, conv2 has the channels of its block's output"]),
        ({"channels": [8, 8]}, ["channels must be 4 positive numbers", "(8, 8)"]),
        ({"channels": [8, 0, 8, 8]}, ["channels must be 4 positive numbers"]),
        ({"widht": 3}, ["not the configuration of a generator", "widht"]),
    ],
)
def test_an_impossible_description_is_refused(saved: Path, config: dict[str, object], parts: list[str]) -> None:
    rewrite(saved, **config)
    with refused(saved.name, *parts):
        load_generator(saved)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"width": 2}, "blocks.0.bn1.bias.weight"),
        ({"width": 10**6}, "blocks.0.bn1.bias.weight"),  # would take terabytes
        ({"num_classes": 5}, "blocks.0.bn1.bias.weight"),
        ({"hidden": [[2, 1], [2, 1], [2, 2]]}, "blocks.2.conv2.bias"),
        ({"spectral_norm": True}, "blocks.0.conv1.scale"),
    ],
)
def test_a_description_of_other_shapes_is_refused(saved: Path, config: dict[str, object], name: str) -> None:
    rewrite(saved, **config)
    with refused(saved.name, "does not fit its own description", name, "expected", "found"):
        load_generator(saved)


def test_missing_and_surplus_tensors_are_refused(saved: Path) -> None:
    tensors, _ = contents(saved)
    rewrite(saved, {name: value for name, value in tensors.items() if name != "linear.bias"})
    with refused("linear.bias", "expected (64,)", "found nothing"):
        load_generator(saved)
    rewrite(saved, {**tensors, "linear.more": torch.zeros(2)})
    with refused("linear.more", "expected nothing", "found (2,)"):
        load_generator(saved)
    rewrite(saved, {**tensors, "linear.bias": torch.zeros(63)})
    with refused("linear.bias", "expected (64,)"):
        load_generator(saved)
    rewrite(saved, tensors)
    load_generator(saved)


# ------------------------------------------------------------ training checkpoints


def test_training_checkpoints_hold_tensors_and_plain_values(tmp_path: Path) -> None:
    state = {"generator": masked().state_dict(), "iteration": 3, "losses": {"loss_d": 0.5}, "names": ["a"]}
    torch.save(state, tmp_path / "checkpoint.pt")
    loaded = file_on_cpu(tmp_path / "checkpoint.pt")
    assert (loaded["iteration"], loaded["losses"], loaded["names"]) == (3, {"loss_d": 0.5}, ["a"])
    other = build_generator("sagan", 32, CLASSES, 1, masked=True, dim_z=7)
    other.load_state_dict(loaded["generator"])
    assert all(mask.frozen for mask in other.masks().values())


@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_an_unreadable_training_checkpoint_is_refused(tmp_path: Path, left: float) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"weights": torch.zeros(1000)}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data))])
    with refused("checkpoint.pt", "not a readable checkpoint", "delete it to start the run anew"):
        file_on_cpu(path)
