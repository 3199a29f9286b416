"""Statistics files of other tools: an .npz with `mu` and `sigma`, as pytorch-fid, TTUR and BigGAN-PyTorch write it.

They hold what the Fréchet distance needs of a set of real images that is not at hand, but do not say which network's
features they are of: three ports of Inception are in use, and distances to statistics of another port than one's own
are off by a little. The file's name and hash therefore stand with every number that comes of it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ppcd.base import PpcdError
from ppcd.metrics.features import DIMENSIONS
from ppcd.metrics.moments import Moments
from ppcd.records import file_hash

ASYMMETRY = 1e-4  # at most, as a share of the largest entry: files in single precision have some


@dataclass(frozen=True)
class StatisticsFile(Moments):
    """The statistics in such a file, in float64."""

    name: str  # of the file, without its folder
    sha256: str


def read_statistics(path: str | Path) -> StatisticsFile:
    """Read an .npz file with mu [feature] and sigma [feature, feature]; nothing in it is executed.

    Raises:
        PpcdError: no such file, not an .npz file, without mu or sigma, or these are not a mean and a covariance.
    """
    path = Path(path)
    if not path.is_file():
        raise PpcdError(f"no statistics file at {path}; give an .npz file with mu and sigma")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("mu", "sigma") if name in file}
            there = ", ".join(sorted(file)) or "nothing"
    except Exception as error:  # damaged members, pickled objects: numpy raises many things
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PpcdError(
            f"{path} is not a readable .npz file of plain arrays ({reason}); give one with mu and sigma"
        ) from None
    if len(found) < 2:
        raise PpcdError(f"{path} has no {' and no '.join(sorted({'mu', 'sigma'} - set(found)))}; it holds {there}")
    mu, sigma = found["mu"], found["sigma"]
    if not _are_statistics(mu, sigma):
        raise PpcdError(
            f"{path} holds no statistics of features: expected finite mu [n] and sigma [n, n] in float32 or float64, "
            f"sigma a covariance matrix; got {mu.shape} of {mu.dtype} and {sigma.shape} of {sigma.dtype}"
        )
    mean, covariance = (torch.from_numpy(np.ascontiguousarray(each, dtype=np.float64)) for each in (mu, sigma))
    return StatisticsFile(mean, covariance, path.name, file_hash(path))


def _are_statistics(mu: np.ndarray, sigma: np.ndarray) -> bool:
    return bool(
        all(each.dtype in (np.float32, np.float64) and np.isfinite(each).all() for each in (mu, sigma))
        and mu.ndim == 1
        and len(mu)
        and sigma.shape == 2 * mu.shape
        and np.abs(sigma - sigma.T).max() <= ASYMMETRY * np.abs(sigma).max()
        and sigma.diagonal().min() >= 0
    )


def check_features(file: StatisticsFile, backbone: str) -> None:
    """Refuse statistics that cannot be of the features of this backbone."""
    if backbone == "classifier":
        raise PpcdError(
            f"{file.name} cannot be compared with: the classifier backbone is trained on the data of the profile, "
            "and no other tool has its features; take a profile whose backbone is inception"
        )
    expected = DIMENSIONS.get(backbone, len(file.mu))
    if len(file.mu) != expected:
        raise PpcdError(
            f"{file.name} is of {len(file.mu)} features, but the backbone {backbone} has {expected}; "
            "the features of another network cannot be compared with"
        )
