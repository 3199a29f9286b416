"""A teacher that was trained elsewhere, in a file: `run_config(..., teacher=...)`, PPCD_TEACHER, or TEACHER= of make.

It is a generator that ppcd wrote (`.safetensors`), or a checkpoint in BigGAN-PyTorch's layout (`G_ema.pth`, or such
keys as safetensors). The paper took the one that BigGAN's authors released. It takes the place of the recipe `biggan`:
nothing is trained, its scores are measured, and the students learn from it.
"""

from functools import cache
from pathlib import Path

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.networks.biggan_pytorch import load_biggan_pytorch
from ppcd.networks.generators import Generator
from ppcd.networks.io import describes_itself, load_generator
from ppcd.records import file_hash
from ppcd.training.profiles import Profile


def find(given: Path | str | None) -> Path | None:
    """The file by its path as it was typed; None where the teacher is trained here."""
    if given is None:
        return None
    path = paths.expanded(given)
    path = path if path.is_file() else paths.repository() / path  # typed at the root, used from a notebook's directory
    if not path.is_file():
        raise PpcdError(
            f"there is no file {given} to take the teacher from (PPCD_TEACHER); give the path of one that is there"
        )
    return path


def identity(path: Path | None) -> str | None:
    """ "file-<12 hex>", by the file's bytes."""
    if path is None:
        return None
    about = path.stat()
    return f"file-{_digest(path, about.st_size, about.st_mtime_ns)[:12]}"


def load(path: Path | None, profile: Profile) -> Generator:
    """The teacher in the file, in evaluation mode on the CPU."""
    if path is None:
        raise PpcdError("no teacher was named; point PPCD_TEACHER (make: TEACHER=) at its file")
    generator = read(path, profile)
    found = (generator.num_classes, generator.resolution)
    if found != (profile.num_classes, profile.resolution):
        raise PpcdError(
            f"the teacher in {path} knows {found[0]} classes at {found[1]} px; profile {profile.name} has "
            f"{profile.num_classes} at {profile.resolution} px: give a teacher of the profile's size"
        )
    return generator


def read(path: Path, profile: Profile) -> Generator:
    """A generator that ppcd wrote, or a BigGAN of the profile's size in BigGAN-PyTorch's layout; in float32."""
    if path.suffix == ".safetensors" and describes_itself(path):
        return load_generator(path).float()
    sizes = profile.resolution, profile.num_classes, profile.teacher_width
    return load_biggan_pytorch(path, "biggan", *sizes).float()


@cache
def _digest(path: Path, size: int, changed: int) -> str:  # size and time: a file that changed is read again
    return file_hash(path)
