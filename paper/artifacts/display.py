"""Tables, figures, files and text in a notebook, the same in every front end."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from paper.artifacts import figures
from paper.artifacts.render import Html
from ppcd import paths
from ppcd.base import PpcdError


def show(*things: Any, alt: str = "") -> None:
    """Show tables, figures, picture files and Markdown in the notebook, the same in every front end.

    Args:
        things: a DataFrame, a Figure, a PNG's path, the files of a figure, `Html`, or Markdown as a string.
        alt: what a picture shows, for those who do not see it.
    """
    from IPython.display import HTML, Image, Markdown, display

    for thing in things:
        if isinstance(thing, list):  # files that were written: the picture among them
            thing = next(path for path in thing if path.suffix == ".png")
        if isinstance(thing, pd.DataFrame):
            display(HTML(thing.to_html(index=False, border=0, na_rep="n/a")))
        elif isinstance(thing, Figure):
            display(Image(data=figures.encoded(thing), alt=alt))
        elif isinstance(thing, Path):
            display(Image(data=thing.read_bytes(), alt=alt))
        elif isinstance(thing, Html):
            display(HTML(thing))
        elif isinstance(thing, str):
            display(Markdown(thing))
        else:
            kind = type(thing).__name__
            raise PpcdError(f"show takes a DataFrame, a Figure, a path or Markdown; got a {kind}")


def list_files(written: Iterable[Path]) -> None:
    """Print where files are, relative to the repository where they are in it."""
    for path in written:
        inside = path.is_relative_to(paths.repository())
        print(path.relative_to(paths.repository()) if inside else path)
