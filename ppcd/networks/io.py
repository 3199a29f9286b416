"""Networks as safetensors files: a generator with what is needed to build it again, a teacher's last state."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ppcd.base import PpcdError
from ppcd.networks.discriminators import Discriminator
from ppcd.networks.generators import Generator, GeneratorConfig
from ppcd.paths import write_atomic
from ppcd.records import GENERATOR, read_run

LAST, DISCRIMINATOR, MOMENTS = "generator-last.safetensors", "discriminator.safetensors", "moments.safetensors"
LAST_STATE = (LAST, DISCRIMINATOR, MOMENTS)
FORMAT = "ppcd-generator-1"
WANTED = "take a whole one, as runs and ppcd.save_generator write it; ppcd.load_biggan_pytorch reads BigGAN-PyTorch's"


def save_generator(generator: Generator, path: str | Path) -> None:
    """Write a generator without masks (see `ppcd.slim`), atomically, with weights of the type that they have.

    Raises:
        PpcdError: it still has masks, or is a network of others.
    """
    if not isinstance(generator, Generator):
        raise PpcdError(
            f"save_generator writes generators of this project; got {type(generator).__name__}: keep its state_dict(), "
            "which ppcd.load_slim loads into a network that your code builds"
        )
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

    Its weights have the type that they were saved with, so that one in half precision takes z in half precision; its
    `.float()` computes in float32, as the command lines do.

    Raises:
        PpcdError: no such file, not a safetensors file of ours, truncated, or of other shapes than it says.
    """
    path = Path(path)
    if not path.is_file():
        raise PpcdError(f"no generator at {path}; train one with `python -m ppcd train`")
    about, tensors = _about(path), load_file(path)
    if about.get("format") != FORMAT:
        raise PpcdError(f"{path} is not a generator of ppcd ({FORMAT}); got format {about.get('format')!r}; {WANTED}")
    try:
        config = GeneratorConfig.from_dict(about.get("config", {}))
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


def describes_itself(path: Path) -> bool:
    """Whether a safetensors file says how to build its generator, as those of `save_generator` do.

    Raises:
        PpcdError: not a safetensors file, or truncated.
    """
    return bool(_about(path))


def _about(path: Path) -> dict[str, Any]:
    """What `save_generator` has written of a generator; {} in any other safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("ppcd", "{}"))
    except json.JSONDecodeError:
        return {}
    except (SafetensorError, OSError) as error:
        raise PpcdError(f"{path} is not a readable safetensors file ({error}); {WANTED}") from None
    return about if isinstance(about, dict) else {}


@dataclass(frozen=True)
class LastState:
    """What a teacher's training ended with, from which another one can go on.

    An optimiser that begins without the moments takes its first steps at full size for every weight, which a trained
    pair does not survive.
    """

    generator: Generator  # under spectral norm, as the discriminator
    discriminator: Discriminator
    moments: dict[str, Tensor]  # `adam_moments`, names beginning with "generator." and "discriminator."


def adam_moments(optimizer: torch.optim.Adam, network: nn.Module, name: str) -> dict[str, Tensor]:
    """Adam's second moments and step counts of a network's parameters: `name`.parameter.key -> tensor.

    First moments are left out: teachers train with beta1 = 0, where they are the last gradient and are never read.
    """
    return {
        f"{name}.{parameter}.{key}": optimizer.state[weight][key].detach().cpu().contiguous().clone()
        for parameter, weight in network.named_parameters()
        if weight in optimizer.state
        for key in ("exp_avg_sq", "step")
    }


def load_adam_moments(optimizer: torch.optim.Adam, network: nn.Module, name: str, moments: dict[str, Tensor]) -> None:
    """Take over `adam_moments` for the parameters that have some; the others begin without."""
    held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    for parameter, weight in network.named_parameters():
        square = moments.get(f"{name}.{parameter}.exp_avg_sq")
        if square is None or id(weight) not in held:
            continue
        step = moments[f"{name}.{parameter}.step"]
        optimizer.state[weight] = {
            "step": step.clone().to(weight.device if optimizer.defaults["fused"] else "cpu"),
            "exp_avg": torch.zeros_like(weight),
            "exp_avg_sq": torch.empty_like(weight).copy_(square),  # in the weight's memory layout
        }


def save_last_state(state: LastState, directory: Path) -> tuple[str, ...]:
    """Write the last state of a teacher's training; the names of the files."""
    save_generator(state.generator, directory / LAST)
    write_atomic(directory / DISCRIMINATOR, save(_tensors(state.discriminator)))
    write_atomic(directory / MOMENTS, save(state.moments))
    return LAST_STATE


def load_last_state(directory: Path, needed: bool = True) -> LastState:
    """What the training of a teacher's complete run ended with: on the CPU, the networks in evaluation mode.

    Args:
        needed: False where a checkpoint replaces all of it: networks of these shapes do where the files are missing.

    Raises:
        PpcdError: the run is not complete or not what was written, or it does not keep its last state.
    """
    record = read_run(directory)
    missing = [name for name in LAST_STATE if not (directory / name).is_file()]
    if missing and needed:
        raise PpcdError(
            f"{directory} has no {missing[0]}: only a teacher that was trained here keeps its last state; delete its "
            "directory and train it again"
        )
    profile, arch = record["config"]["profile"], record["config"]["recipe"]["generator"]
    width = profile["teacher_discriminator_width"]
    discriminator = Discriminator(arch, profile["resolution"], profile["num_classes"], width)
    if missing:
        config = replace(load_generator(directory / GENERATOR).config, spectral_norm=True)
        return LastState(Generator(config).eval(), discriminator.eval(), {})
    discriminator.load_state_dict(load_file(directory / DISCRIMINATOR))
    return LastState(load_generator(directory / LAST), discriminator.eval(), load_file(directory / MOMENTS))


def file_on_cpu(path: Path) -> dict[str, object]:
    """A training checkpoint: tensors and plain Python values only; no code is executed."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PpcdError(f"{path} is not a readable checkpoint ({first}); delete it to start the run anew") from None
