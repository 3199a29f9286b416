"""Networks as safetensors files: a generator with what is needed to build it again, a teacher's last state."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ppcd.discriminators import Discriminator
from ppcd.errors import PpcdError
from ppcd.generators import Generator, GeneratorConfig
from ppcd.paths import write_atomic
from ppcd.records import read_run

LAST, DISCRIMINATOR = "generator-last.safetensors", "discriminator.safetensors"
FORMAT = "ppcd-generator-1"
WANTED = "take a whole one, as runs and ppcd.save_generator write it"


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator without masks (see `ppcd.slim`), atomically.

    Raises:
        PpcdError: it still has masks.
    """
    if generator.config.masked:
        raise PpcdError("a generator with masks is not finished; save ppcd.slim(generator)")
    # One key: safetensors writes several in any order, and the same generator is to give the same bytes.
    about = {"format": FORMAT, "config": generator.config.to_dict()}
    metadata = {"ppcd": json.dumps(about, sort_keys=True)}
    write_atomic(Path(path), save(_tensors(generator), metadata))


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def load_generator(path: str | Path) -> Generator:
    """The generator in a file of `save_generator`, in evaluation mode on the CPU. Executes nothing.

    Raises:
        PpcdError: no such file, not a safetensors file of ours, truncated, or of other shapes than it says.
    """
    path = Path(path)
    if not path.is_file():
        raise PpcdError(f"no generator at {path}; train one with `python -m ppcd.train`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise PpcdError(f"{path} is not a readable safetensors file ({error}); {WANTED}") from None
    try:
        about = json.loads(metadata.get("ppcd", "{}"))
        found_format = about.get("format")
    except (AttributeError, json.JSONDecodeError):
        about, found_format = {}, None
    if found_format != FORMAT:
        raise PpcdError(f"{path} is not a generator of ppcd ({FORMAT}); got format {found_format!r}; {WANTED}")
    try:
        config = GeneratorConfig.from_dict(about.get("config"))
    except PpcdError as error:
        raise PpcdError(f"{path}: {error}") from None
    with torch.device("meta"):  # shapes only: a wrong description must not allocate
        expected = {name: tuple(tensor.shape) for name, tensor in Generator(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        name = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise PpcdError(
            f"{path} does not fit its own description at {name}: "
            f"expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        )
    floating = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    generator = Generator(config).to(floating)
    generator.load_state_dict(tensors)
    return generator.eval()


def save_training_state(generator: Generator, discriminator: nn.Module, directory: Path) -> tuple[str, ...]:
    """Write the last weights of a teacher's training, from which another training can go on; the names of the files.

    Both networks are kept under spectral norm, with the vectors of its power iterations.

    Raises:
        PpcdError: the generator has masks.
    """
    save_generator(generator, directory / LAST)
    write_atomic(directory / DISCRIMINATOR, save(_tensors(discriminator)))
    return LAST, DISCRIMINATOR


def load_training_state(directory: Path) -> tuple[Generator, Discriminator]:
    """The generator and the discriminator with which a teacher's training ended: on the CPU, in evaluation mode.

    Args:
        directory: of a complete run of the teacher.

    Raises:
        PpcdError: the run is not complete or not what was written, or it keeps no discriminator.
    """
    record = read_run(directory)
    if DISCRIMINATOR not in record["files"]:
        raise PpcdError(
            f"{directory} has no {DISCRIMINATOR}: this teacher was trained before discriminators were kept; "
            "train it again"
        )
    profile, arch = record["config"]["profile"], record["config"]["recipe"]["generator"]
    width = profile["teacher_discriminator_width"]
    discriminator = Discriminator(arch, profile["resolution"], profile["num_classes"], width)
    discriminator.load_state_dict(load_file(directory / DISCRIMINATOR))
    return load_generator(directory / LAST), discriminator.eval()


def file_on_cpu(path: Path) -> dict[str, object]:
    """A training checkpoint: tensors and plain Python values only; no code is executed.

    Raises:
        PpcdError: the file is not a readable checkpoint.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PpcdError(f"{path} is not a readable checkpoint ({first}); delete it to start the run anew") from None
