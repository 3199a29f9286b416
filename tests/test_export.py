"""ONNX files: the same images in onnxruntime at any batch, the same bytes, and one line for what cannot be."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from foreign import Toy
from reference import largest_difference, noise_and_labels, randomise, refused
from safetensors.torch import load_file, save_file
from test_prunable import close, inputs, trained
from torch import Tensor, nn

import ppcd
from ppcd.baselines.channels import select_channels
from ppcd.export import onnx as export
from ppcd.export.onnx import TOLERANCE, check_onnx, export_onnx
from ppcd.method.slim import slim
from ppcd.networks.generators import Generator, GeneratorConfig, build_generator
from ppcd.runs.export import main

CLASSES = 5
NETWORKS = [
    "biggan-32", "biggan-128", "sagan-64", "sngan-32", "tinygan-64", "slim-64", "slim-training-32", "selected-64",
]  # fmt: skip


def randomised(generator: Generator) -> Generator:
    """Nothing is right by being zero or one. Tiny-GAN keeps its weights: without spectral norm they would explode."""
    weights = {name: each.detach().clone() for name, each in generator.named_parameters() if each.dim() > 1}
    randomise(generator, 0)
    if generator.config.arch == "tinygan":
        generator.load_state_dict(weights, strict=False)
    return generator.eval()


def make(network: str) -> Generator:
    """Small, of every kind. A slim one has lost channels to masks, a selected one also in what its blocks pass on."""
    kind, resolution = network.rsplit("-", 1)
    arch = kind if kind in ("biggan", "sagan", "sngan", "tinygan") else "sagan"
    dim_z = {"32": 12, "64": 15, "128": 12}[resolution]
    masked = kind.startswith("slim")
    generator = randomised(build_generator(arch, int(resolution), CLASSES, 2, masked=masked, dim_z=dim_z))
    for index, mask in enumerate(generator.masks().values()):
        mask.freeze(torch.arange(mask.channels) % 3 != index % 3)
    if kind == "selected":
        hidden = [block.conv1.out_channels for block in generator.residual_blocks()]
        first = generator.blocks[0].conv1.in_channels  # type: ignore[union-attr]
        kept = [torch.arange(1, count) for count in (first, *hidden)]
        return select_channels(generator, kept, kept[1:])
    return slim(generator, for_training="training" in kind) if masked else generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return make("slim-32")


@pytest.fixture(scope="module")
def path(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "slim.onnx"
    export_onnx(generator, path)
    return path


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, z: Tensor, y: Tensor) -> Tensor:
    (images,) = session(path).run(["images"], {"z": z.numpy(), "y": y.numpy()})
    return torch.from_numpy(images)


# ------------------------------------------------------------ the same images


@pytest.mark.parametrize("network", NETWORKS)
def test_onnxruntime_makes_the_same_images(network: str, tmp_path: Path) -> None:
    generator = make(network)
    export_onnx(generator, tmp_path / "g.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "g.onnx"), full_check=True)
    for batch in (1, 2, 7):
        z, y = noise_and_labels(batch, generator.dim_z, CLASSES, batch, torch.float32)
        with torch.no_grad():
            expected = generator(z, y)
            other_label = generator(z, (y + 1) % CLASSES)
        found = run(tmp_path / "g.onnx", z, y)
        assert found.dtype == torch.float32 and found.shape == (batch, 3, generator.resolution, generator.resolution)
        assert expected.std() > 1e-2 and expected.abs().mean() < 0.97  # neither dead nor saturated
        assert largest_difference(expected, other_label) > 100 * TOLERANCE
        assert largest_difference(found, expected) <= TOLERANCE
    assert check_onnx(generator, tmp_path / "g.onnx") <= TOLERANCE


@pytest.mark.parametrize("part", ["running_mean", "running_var", "gain.weight", "gamma", "output_conv.bias"])
def test_every_part_counts(part: str, tmp_path: Path) -> None:
    generator = make("sagan-64")
    export_onnx(generator, tmp_path / "g.onnx")
    tensor = next(each for name, each in generator.state_dict().items() if name.endswith(part))
    tensor.mul_(1.1)
    with refused("does not give this generator's images", "differ by", "0.0001 is allowed"):
        check_onnx(generator, tmp_path / "g.onnx")
    tensor.fill_(float("nan"))  # also where both are not numbers
    export_onnx(generator, tmp_path / "g.onnx")
    with refused("does not give this generator's images"):
        check_onnx(generator, tmp_path / "g.onnx")


def test_mode_and_precision_of_the_generator_do_not_matter(generator: Generator, path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.onnx"
    export_onnx(make("slim-32").train(), again)
    assert again.read_bytes() == path.read_bytes()
    for dtype in (torch.float64, torch.float16):
        other = make("slim-32").to(dtype)
        export_onnx(other, again)
        assert check_onnx(other, again) <= TOLERANCE
        assert other.linear.weight.dtype == dtype


# ------------------------------------------------------------ the file


def test_the_interface_is_in_the_file(generator: Generator, path: Path) -> None:
    model = onnx.load(path)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    loaded = session(path)
    assert [(each.name, each.type, each.shape) for each in loaded.get_inputs()] == [
        ("z", "tensor(float)", ["batch", generator.dim_z]),
        ("y", "tensor(int64)", ["batch"]),
    ]
    assert [(each.name, each.type, each.shape) for each in loaded.get_outputs()] == [
        ("images", "tensor(float)", ["batch", 3, 32, 32])
    ]
    about = json.loads(loaded.get_modelmeta().custom_metadata_map["ppcd"])
    assert about["format"] == "ppcd-onnx-1" and about["version"] == ppcd.__version__
    assert GeneratorConfig.from_dict(about["config"]) == generator.config


# ------------------------------------------------------------ one line


class Eigenvalues(Toy):
    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return super().forward(noise, labels) + torch.linalg.eigvals(noise[:, :2, None] @ noise[:, None, :2]).real.sum()


def test_what_cannot_be_written_is_refused(generator: Generator, tmp_path: Path) -> None:
    with refused("ppcd.slim(generator)"):
        export_onnx(build_generator("sagan", 32, CLASSES, 2, masked=True), tmp_path / "g.onnx")
    with refused("must have a name that ends in .onnx", "g.safetensors"):
        export_onnx(generator, tmp_path / "g.safetensors")
    (tmp_path / "folder.onnx").mkdir()
    with refused("folder.onnx cannot be written"):
        export_onnx(generator, tmp_path / "folder.onnx")
    with refused("Eigenvalues cannot be written as ONNX"):
        export_onnx(Eigenvalues(), tmp_path / "g.onnx", inputs=inputs())
    assert [each.name for each in tmp_path.iterdir()] == ["folder.onnx"]


def test_what_onnxruntime_cannot_run_is_one_line(generator: Generator, path: Path, tmp_path: Path) -> None:
    with refused("no ONNX file at", "missing.onnx"):
        check_onnx(generator, tmp_path / "missing.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:-1000])
    with refused("onnxruntime cannot run", "broken.onnx"):
        check_onnx(generator, broken)
    with refused("onnxruntime cannot run"):  # a file of another dim_z
        check_onnx(make("sagan-64"), path)


@pytest.mark.parametrize(("missing", "work"), [("onnx", export_onnx), ("onnxruntime", check_onnx)])
def test_a_missing_package_is_one_line(
    missing: str, work: Any, generator: Generator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with refused(f"this needs {missing}: pip install 'ppcd[export]'"):
        work(generator, path)


# ------------------------------------------------------------ the command line


def test_the_command_line(
    generator: Generator,
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = tmp_path / "g.safetensors", tmp_path / "g.onnx"
    ppcd.save_generator(generator, source)
    assert main([str(source), str(target), "--check"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r".*g\.onnx: \d+\.\d MB, opset 17", first)
    found = re.fullmatch(r"largest difference from torch in onnxruntime (\S+), at batch 1, 2, 7", last)
    assert found and float(found[1]) <= TOLERANCE
    assert target.read_bytes() == path.read_bytes()
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    for arguments in ([tmp_path / "none", target], [source, source], [source, target, "--check"]):
        assert main([str(each) for each in arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("ppcd: ")


# ------------------------------------------------------------ networks of others


def build_foreign() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """What `--network test_export:build_foreign` builds."""
    return Toy("old spectral norm"), inputs()


def build_without_inputs() -> nn.Module:
    return build_foreign()[0]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slim weights of somebody's network."""
    network, z_y = build_foreign()
    student = ppcd.prunable(trained(network, *z_y), inputs=z_y)
    path = tmp_path_factory.mktemp("foreign") / "slim.safetensors"
    save_file(ppcd.slim(close(student)).state_dict(), path)
    return path


def test_a_network_of_others(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "g.onnx"
    assert main([str(foreign), str(target), "--network", "test_export:build_foreign", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("at batch 1, 2, 7")
    network, z_y = build_foreign()
    small = ppcd.load_slim(network, load_file(foreign))
    z, y = inputs(batch=4)
    (images,) = session(target).run(["images"], {"noise": z.numpy(), "labels": y.numpy()})
    torch.testing.assert_close(torch.from_numpy(images), small(z, y).detach(), rtol=0, atol=TOLERANCE)
    assert json.loads(onnx.load(target).metadata_props[0].value)["network"] == "Toy"
    small.out[2].bias.data += 0.1
    with refused("does not give this generator's images"):
        check_onnx(small, target, inputs=z_y)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("test_export", "takes MODULE:FUNCTION, for example my_gan:build; got test_export"),
        ("none_such:build", "--network none_such:build cannot be built: No module named 'none_such'"),
        ("foreign:Block", "cannot be built: Block.__init__() missing 5 required"),
        ("builtins:dict", "gave a dict, where a torch.nn.Module is expected"),
        ("test_export:build_without_inputs", "it is not known how Toy is called"),
        ("foreign:ChunkedGenerator", "the weights have"),
    ],
)
def test_networks_that_cannot_be_built_are_one_line(
    network: str, said: str, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(foreign), str(tmp_path / "g.onnx"), "--network", network]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and not list(tmp_path.iterdir())
