"""Prepare ImageNet, or any folder of class folders, for training: `python -m ppcd prepare FOLDER`.

A training does it where it has not been done. This command does it beforehand and can check it. PPCD_DATA may then
point at the prepared images, and the originals can go. ImageNet takes 63 GB at 128 px.
"""

import argparse
import sys
from collections.abc import Sequence

from ppcd.base import PpcdError
from ppcd.data import folders
from ppcd.data.archive import ABOUT, AGAIN, get_archive, is_archive, open_archive
from ppcd.data.sets import source_folder
from ppcd.errors import ArgumentParser, run_command

RESOLUTION = 128  # the paper's


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0, or 2 with one line on standard error."""
    parser = ArgumentParser(prog="python -m ppcd prepare", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="of class folders, or with them in its `train`; default: PPCD_DATA")
    parser.add_argument("--resolution", type=int, help=f"height and width in pixels; default: {RESOLUTION}")
    parser.add_argument("--verify", action="store_true", help="read everything back and compare it with its hashes")
    options = parser.parse_args(arguments)
    return run_command(lambda: _command(options), "the same command goes on where it was")


def _command(options: argparse.Namespace) -> None:
    resolution = options.resolution
    if resolution is not None and resolution < 1:
        raise PpcdError(f"the resolution must be positive; got {resolution}")
    folder = source_folder("imagenet", options.folder)
    if folder is None:
        raise PpcdError("give the folder of the original images, or prepared images; a name alone does not find them")
    if resolution is None:
        resolution = open_archive(folder).images.shape[-1] if is_archive(folder) else RESOLUTION
    archive = get_archive(folder, resolution)
    print(f"prepared images: {archive.directory} ({archive.images.nbytes / 1e9:.2f} GB)")
    print(f"images: {len(archive.labels)} of {len(archive.classes)} classes, {resolution} px")
    print(f"skipped files: {len(archive.skipped)}" + (f" (see {archive.directory / ABOUT})" if archive.skipped else ""))
    print(f"identity: {archive.identity}\nsha256: {archive.sha256}")
    if options.verify:
        damaged = archive.damaged()
        if damaged:
            raise PpcdError(f"images {folders.some(damaged)} in {archive.directory} are damaged; {AGAIN}")
        print("verified: every image is what was written")


if __name__ == "__main__":
    sys.exit(main())
