"""What every notebook calls first, what shows things in it, and how the notebooks are run from make.

papermill only warns about a parameter that a notebook does not have, so that a typing mistake would run the defaults.
`execute` refuses it before anything runs, `start` inside the notebook, for those who type papermill themselves.
"""

import ast
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from paper.artifacts import figures
from paper.artifacts.render import Html
from paper.study import Study, listed
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.commands import OF_NOTEBOOKS, useless_variable
from ppcd.data.sets import source_folder
from ppcd.networks.generators import CHANNELS
from ppcd.records import Record
from ppcd.seeds import MOST_SEED
from ppcd.stopping import Stopped, describe_stop
from ppcd.training.config import asked_profile
from ppcd.training.profiles import check_name, get_profile
from ppcd.training.recipes import check_alpha, get_recipe

INJECTED = "# Parameters"  # papermill writes this line before the parameters that it was given


@dataclass(frozen=True)
class Settings:
    """The parameters of a notebook, checked."""

    study: Study  # of the seed alone, unless the notebook was given several
    seed: int
    recipe: str | None = None  # by its full name, "ppcd-a0.5"
    alpha: float | None = None
    device: str = "cpu"
    train_missing: bool = False
    alphas: tuple[float, ...] = ()  # of a notebook that compares several
    processes: int = 1  # that train a run together
    steps: int | None = None  # of a training of the notebook's own; None: its default
    images: str | None = None  # a folder of class folders
    resolution: int = 32
    name: str | None = None  # of a profile that is made of the folder
    measure: str = "missing"  # what a notebook that measures does: that, "again" or "never"

    @property
    def alone(self) -> Study:
        """The study of the seed alone."""
        return replace(self.study, seeds=(self.seed,))


def start(**given: Any) -> Settings:
    """Check what a notebook was given, and print it. A notebook passes exactly the parameters that it has.

    Args:
        given: fields of Settings. `seeds` and `alphas` may be lists or text, `[0, 1]` or `"0 1"`, `device` also "auto",
            and `recipe` may have its `-a<alpha>` at its end or in `alpha`.

    Raises:
        PpcdError: papermill injected a parameter that the notebook does not have, a value is impossible, or a PPCD_*
            of the environment is unknown or has no effect.
    """
    _refuse_unknown(_injected_names(), list(given))
    _refuse_unknown(given, list(CHECKS))
    if line := useless_variable(OF_NOTEBOOKS, "notebooks"):
        raise PpcdError(line)
    checked = {name: check(given[name]) for name, check in CHECKS.items() if name in given}
    profile, seeds = checked.pop("profile"), checked.pop("seeds", None)
    if "images" not in given:  # where there are some, PPCD_DATA is their default
        asked_profile(profile.name)
    checked["study"] = study = Study.of(profile, seeds or [checked["seed"]])
    if "recipe" in checked:
        checked["recipe"] = _full_name(checked["recipe"], checked.get("alpha"))
    settings = Settings(**checked)
    shown = {
        "seeds": listed(study.seeds) if study.seeds != (settings.seed,) else "",
        "recipe": settings.recipe,
        "alpha": settings.alpha if settings.recipe is None else None,
        "alphas": ", ".join(map("{:g}".format, settings.alphas)),
    }
    said = [f"profile {profile.name} ({profile.purpose})", f"seed {settings.seed}"]
    print(" · ".join([*said, *(f"{name} {value}" for name, value in shown.items() if value)]))
    return settings


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise PpcdError(f"{name} must be a name; got {value!r}")
    return value


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PpcdError(f"{name} must be a whole number from {least} on, for example {least}; got {value!r}")
    if value > MOST_SEED:
        raise PpcdError(f"{name} must be at most {MOST_SEED}; got {value}")
    return value


def _several(name: str, value: Any, what: str, check: Callable[[Any], Any]) -> tuple[Any, ...]:
    """What `[0, 1]`, `"0 1"` or `0` lists: each checked, each once."""
    if isinstance(value, str):
        value = [_number(word) for word in value.strip("[]()").replace(",", " ").split()]  # papermill -p gives text
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries:
        raise PpcdError(f"{name} must be a list of {what}; got {value!r}")
    return tuple(dict.fromkeys(map(check, entries)))


def _number(word: str) -> Any:
    """The number that a word stands for, or the word."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return word


def _seeds(value: Any) -> tuple[int, ...]:
    if value in (None, ""):
        return ()
    example = 'whole numbers, for example [0, 1] or "0 1"'
    return _several("seeds", value, example, lambda each: _whole("each of seeds", each, 0))


def _full_name(name: str, alpha: float | None) -> str:
    recipe = get_recipe(name, alpha)
    if alpha is not None and recipe.alpha is None:
        raise PpcdError(f"recipe {name!r} prunes nothing and takes no alpha; leave alpha at None")
    return recipe.name


def _device(value: Any) -> str:
    from ppcd.runs.train import resolve_device  # takes seconds to import: a mistyped name should not wait for it

    return resolve_device(_text("device", value))


def _measure(value: Any) -> str:
    from paper.paper_scale import MEASURE  # slow to import, as the devices are

    if value not in MEASURE:
        raise PpcdError(f"measure must be one of: {', '.join(MEASURE)}; got {value!r}")
    return str(value)


def _images(value: Any) -> str | None:
    if value in (None, ""):
        return None
    source_folder("cifar10", _text("images", value))
    return str(value)


def _resolution(value: Any) -> int:
    if value not in CHANNELS:
        raise PpcdError(f"resolution must be one of: {', '.join(map(str, CHANNELS))}; got {value!r}")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise PpcdError(f"train_missing must be True or False; got {value!r}")
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "profile": lambda value: get_profile(_text("profile", value)),
    "seed": lambda value: _whole("seed", value, 0),
    "seeds": _seeds,
    "recipe": lambda value: _text("recipe", value),
    "alpha": lambda value: None if value is None else check_alpha(value),
    "alphas": lambda value: _several("alphas", value, "numbers in (0, 1), for example [0.5, 0.7]", check_alpha),
    "train_missing": _flag,
    "processes": lambda value: _whole("processes", value, 1),
    "device": _device,
    "steps": lambda value: None if value is None else _whole("steps", value, 1),
    "images": _images,
    "resolution": _resolution,
    "name": lambda value: check_name(value, "a profile"),
    "measure": _measure,
}


def _refuse_unknown(given: Iterable[str], expected: Sequence[str]) -> None:
    unknown = [name for name in given if name not in expected]
    if unknown:
        names = ", ".join(repr(name) for name in unknown)
        raise PpcdError(f"unknown parameter {names}; expected one of: {', '.join(expected)}")


def _injected_names() -> list[str]:
    """Names in the cell that papermill injected into the running notebook; none outside one."""
    from IPython import get_ipython

    shell = get_ipython()
    cells = [] if shell is None else shell.user_ns.get("In", [])
    injected = [cell for cell in cells if cell.lstrip().startswith(INJECTED + "\n")]
    statements = ast.parse(injected[-1]).body if injected else []
    return [ast.unparse(statement.targets[0]) for statement in statements if isinstance(statement, ast.Assign)]


def runs(settings: Settings, recipes: Iterable[str], at_alpha: bool = True) -> dict[str, Record | None]:
    """Recipe -> its complete run for the notebook's seed.

    With `train_missing` those that are missing are trained first, for all of the notebook's seeds.

    Args:
        at_alpha: take the notebook's alpha where it has one; else each recipe's own.

    Returns:
        None stands for a run that is not complete.
    """
    alpha = settings.alpha if at_alpha else None
    names = {recipe: get_recipe(recipe, alpha).name for recipe in recipes}
    if settings.train_missing:
        from ppcd.runs.pool import run_all

        run_all(settings.study.configs(names.values()), device=settings.device)
    return {recipe: settings.alone.record(name) for recipe, name in names.items()}


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


def notebook_parameters(notebook: Path) -> list[str]:
    """The parameters that a notebook has: the names in its cell with the tag `parameters`.

    Raises:
        PpcdError: there is no such notebook.
    """
    import papermill

    if not notebook.is_file():
        raise PpcdError(f"no notebook at {notebook}")
    return list(papermill.inspect_notebook(str(notebook)))


def execute(notebook: Path, output: Path, parameters: Mapping[str, Any]) -> Path:
    """Run a notebook with papermill in the repository's root; the output appears when it has run to its end.

    When a cell fails, what there is becomes `<name>.failed.ipynb` and an older output stays as it is.

    Args:
        parameters: name -> value; checked against the notebook's own first.

    Raises:
        PpcdError: an unknown parameter, or a cell failed; the line says how. Or the output cannot be written.
        Stopped: Ctrl-C or SIGTERM; the kernel is ended, an older output stays as it is.
    """
    import papermill

    from ppcd_papermill import NotebookStopped  # and with it the engine that papermill takes

    _refuse_unknown(parameters, notebook_parameters(notebook))
    output = output.resolve()
    try:
        with describe_stop(lambda: f"{notebook.name} was stopped"), paths.writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            papermill.execute_notebook(
                notebook.resolve(),
                output,
                parameters=dict(parameters),
                cwd=paths.repository(),
                progress_bar=False,
                kernel_name="python3",
            )
    except NotebookStopped as error:
        raise PpcdError(error.line) from None
    except Stopped:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of the cell whose end nobody waits for any more
        raise
    return output
