"""Generators as safetensors files, with what is needed to build them again in the metadata."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ppcd.errors import PpcdError
from ppcd.generators import Generator, GeneratorConfig
from ppcd.paths import write_atomic

FORMAT = "ppcd-generator-1"
WANTED = "take a whole one, as runs and ppcd.save_generator write it"


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator without masks (see `ppcd.slim`), atomically.

    Raises:
        PpcdError: it still has masks.
    """
    if generator.config.masked:
        raise PpcdError("a generator with masks is not finished; save ppcd.slim(generator)")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()}
    # One key: safetensors writes several in any order, and the same generator is to give the same bytes.
    about = {"format": FORMAT, "config": generator.config.to_dict()}
    metadata = {"ppcd": json.dumps(about, sort_keys=True)}
    write_atomic(Path(path), save(tensors, metadata))


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
