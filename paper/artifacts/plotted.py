"""What a figure shows, as text: its words and the numbers that were plotted, so that they can be checked.

Pixels cannot: another version of matplotlib or of a font draws the same numbers a little differently.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

DIGITS = 6  # of a plotted number
LONG = 100  # numbers, of which there are more in a log; then what they come to stands for them
Shown = dict[str, Any]


def describe(figure: Figure) -> Shown:
    """The words on a figure, and panel by panel its words, lines, points, bars and images.

    Numbers are in data coordinates, with DIGITS significant digits; of more than LONG there are how many, the first,
    the last, the extremes and the mean. Of an image there are its size, and the mean and the standard deviation of
    its values in [0, 1]. Ticks that matplotlib chooses, layout and colours are left out.
    """
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    bands = [text for band in figure.subfigs for text in band.texts]
    return {"words": _words([*figure.texts, *legends, *bands]), "panels": [_panel(axes) for axes in figure.axes]}


def to_json(shown: Shown) -> str:
    """As JSON with one list of numbers a line."""
    text = json.dumps(shown, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n"


def _words(texts: Iterable[Text]) -> list[str]:
    return [text.get_text() for text in texts if text.get_text()]


def _panel(axes: Axes) -> Shown:
    legend = axes.get_legend()
    titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
    named = [each for each in (*titles, axes.get_xlabel(), axes.get_ylabel()) if each]
    labels = [text for axis in (axes.xaxis, axes.yaxis) for text in _given_labels(axis)]
    panel = {
        "words": named + labels + _words([*axes.texts, *(legend.get_texts() if legend else [])]),
        "lines": [{"x": _numbers(line.get_xdata()), "y": _numbers(line.get_ydata())} for line in axes.lines],
        "marks": [_marks(collection) for collection in axes.collections],
        "bars": [_numbers(patch.get_bbox().bounds) for patch in axes.patches if isinstance(patch, Rectangle)],
        "images": [_image(np.asarray(image.get_array())) for image in axes.images],
    }
    return {name: value for name, value in panel.items() if value}


def _given_labels(axis: Axis) -> list[str]:
    """The labels of ticks where words were given for them; where matplotlib chooses, its version decides."""
    formatter = axis.get_major_formatter()
    if not isinstance(axis.get_major_locator(), FixedLocator) or not isinstance(
        formatter, FixedFormatter | FuncFormatter
    ):
        return []
    return [label for label in formatter.format_ticks(axis.get_majorticklocs().tolist()) if label]


def _marks(collection: Collection) -> Shown:
    """Points with their sizes, or outlines: error bars, areas between lines."""
    if hasattr(collection, "get_sizes") and len(collection.get_sizes()):
        return {"points": _rows(collection.get_offsets()), "sizes": _numbers(collection.get_sizes())}
    return {"outlines": [_rows(path.vertices) for path in collection.get_paths()]}


def _image(values: np.ndarray) -> Shown:
    scaled = values / 255 if values.dtype == np.uint8 else values
    return {"size": list(values.shape), "mean": round(float(scaled.mean()), 4), "sd": round(float(scaled.std()), 4)}


def _rows(points: Any) -> Shown:
    """Points by their coordinates."""
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    return {"x": _numbers(array[:, 0]), "y": _numbers(array[:, 1])}


def _numbers(values: Any) -> list[float | None] | Shown:
    """With DIGITS significant digits; None for what is not finite."""
    array = np.asarray(values, dtype=float).ravel()
    if len(array) <= LONG:
        return [_number(value) for value in array]
    finite = array[np.isfinite(array)]
    shown = {"first": array[0], "last": array[-1], "least": finite.min(), "greatest": finite.max()}
    shown["mean"] = finite.mean()
    return {"count": len(array), **{name: _number(value) for name, value in shown.items()}}


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
