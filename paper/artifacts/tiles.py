"""Images of a figure in one panel, row by row, with labels at its sides."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

GAP = 2  # pixels of white between images


def tiled(images: Float[Tensor, "n 3 height width"], columns: int) -> np.ndarray:
    """One picture [height, width, 3] of all images in [0, 1], `columns` in a row; white between them."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    picture = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), dtype=np.float32)
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def show_tiles(
    axes: Axes, images: Float[Tensor, "n 3 height width"], rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw n = rows x columns images into a panel, the columns' labels above and the rows' at its left."""
    _, _, height, width = images.shape
    axes.imshow(tiled(images, len(columns)), interpolation="nearest", vmin=0, vmax=1)
    axes.set_xticks([width / 2 + index * (width + GAP) - 0.5 for index in range(len(columns))], list(columns))
    axes.set_yticks([height / 2 + index * (height + GAP) - 0.5 for index in range(len(rows))], list(rows))
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False, labelsize=7)
    axes.spines[:].set_visible(False)
    axes.grid(False)
