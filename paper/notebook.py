"""What every notebook calls first, what shows things in it, and how the notebooks are run from make.

papermill only warns about a parameter that a notebook does not have, so a typing mistake would run the
defaults. `check_parameters` stops it before anything runs; `start` stops it inside the notebook, for those
who type papermill themselves.
"""

import ast
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper.artifacts.display import list_files, show
from paper.artifacts.sources import Record, find_record, listed
from ppcd import paths
from ppcd.base import PpcdError
from ppcd.seeds import MOST_SEED
from ppcd.stopping import Stopped, told
from ppcd.training.profiles import get_profile
from ppcd.training.recipes import check_alpha, get_recipe

__all__ = ["Settings", "check_parameters", "execute", "list_files", "runs", "show", "start"]

INJECTED = "# Parameters"  # papermill writes this line before the parameters that it was given
KERNEL_PATIENCE = 1.0  # seconds for a kernel to end by itself, the same again behind SIGTERM
_ABSENT = object()  # a notebook that has no such parameter


@dataclass(frozen=True)
class Settings:
    """The parameters of a notebook, checked."""

    profile: str
    seed: int
    seeds: tuple[int, ...]  # the seed alone, unless the notebook was given several
    recipe: str | None  # by its full name, "ppcd-a0.5"
    alpha: float | None
    device: str
    train_missing: bool
    alphas: tuple[float, ...] = ()  # of a notebook that compares several
    processes: int = 1  # that train a run together
    measure: str = "missing"  # what a notebook that measures does: that, "again" or "never"


def start(
    *,
    profile: Any,
    seed: Any,
    seeds: Any = _ABSENT,
    recipe: Any = _ABSENT,
    alpha: Any = _ABSENT,
    alphas: Any = _ABSENT,
    device: Any = _ABSENT,
    train_missing: Any = _ABSENT,
    processes: Any = _ABSENT,
    measure: Any = _ABSENT,
) -> Settings:
    """Check what a notebook was given, and print it. A notebook passes exactly the parameters that it has.

    Args:
        profile: name of a profile.
        seed: a whole number from 0 on.
        seeds: several seeds, `[0, 1]` or `"0 1"`; None or "" for `seed` alone.
        recipe: name of a recipe, with `-a<alpha>` behind it or with `alpha`.
        alpha: compression ratio threshold of eq. 3, in (0, 1); None for the recipe's own.
        alphas: several of them, `[0.5, 0.7]` or `"0.5 0.7"`.
        device: "auto", "cpu", "cuda" or "mps".
        train_missing: whether runs that are not there are trained.
        processes: how many train a run together; more than one are started by accelerate.
        measure: "missing", "again" or "never": what a notebook that measures does about what is there.

    Raises:
        PpcdError: papermill injected a parameter that the notebook does not have, or a value is impossible.
    """
    given = {"profile": profile, "seed": seed, "seeds": seeds, "recipe": recipe, "alpha": alpha}
    given |= {"alphas": alphas, "device": device, "train_missing": train_missing, "processes": processes}
    given["measure"] = measure
    _refuse_unknown(_injected_names(), [name for name, value in given.items() if value is not _ABSENT])
    name = get_profile(_text("profile", profile)).name
    first = _seed("seed", seed)
    several = (first,) if seeds in (_ABSENT, None, "") else _seeds(seeds)
    threshold = None if alpha in (_ABSENT, None) else check_alpha(alpha)
    settings = Settings(
        profile=name,
        seed=first,
        seeds=several,
        recipe=None if recipe is _ABSENT else _recipe(recipe, threshold),
        alpha=threshold,
        device="cpu" if device is _ABSENT else _device(device),
        train_missing=train_missing is not _ABSENT and _flag("train_missing", train_missing),
        alphas=() if alphas is _ABSENT else _alphas(alphas),
        processes=1 if processes is _ABSENT else _count("processes", processes),
        measure="missing" if measure is _ABSENT else _measure(measure),
    )
    print(_line(settings))
    return settings


def _line(settings: Settings) -> str:
    """For example `profile mnist (real training in minutes ...) · seed 0 · recipe ppcd`."""
    parts = [f"profile {settings.profile} ({get_profile(settings.profile).purpose})", f"seed {settings.seed}"]
    if settings.seeds != (settings.seed,):
        parts.append(f"seeds {listed(settings.seeds)}")
    if settings.recipe is not None:
        parts.append(f"recipe {settings.recipe}")
    elif settings.alpha is not None:
        parts.append(f"alpha {settings.alpha:g}")
    if settings.alphas:
        parts.append(f"alphas {', '.join(f'{alpha:g}' for alpha in settings.alphas)}")
    return " · ".join(parts)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise PpcdError(f"{name} must be a name; got {value!r}")
    return value


def _seed(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise PpcdError(f"{name} must be a whole number from 0 on, for example 0; got {value!r}")
    if value > MOST_SEED:
        raise PpcdError(f"{name} must be at most {MOST_SEED}; got {value}")
    return value


def _seeds(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        value = [int(word) if re.fullmatch(r"\d+", word) else word for word in words]
    values = [value] if isinstance(value, int) else value
    if not isinstance(values, list | tuple) or not values:
        raise PpcdError(f'seeds must be a list of whole numbers, for example [0, 1] or "0 1"; got {value!r}')
    return tuple(dict.fromkeys(_seed("each of seeds", entry) for entry in values))


def _alphas(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        value = [float(word) if re.fullmatch(r"[0-9]*\.?[0-9]+", word) else word for word in words]
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise PpcdError(f"alphas must be a list of numbers in (0, 1), for example [0.5, 0.7]; got {value!r}")
    return tuple(dict.fromkeys(check_alpha(entry) for entry in values))


def _recipe(value: Any, alpha: float | None) -> str:
    recipe = get_recipe(_text("recipe", value), alpha)
    if alpha is not None and recipe.alpha is None:
        raise PpcdError(f"recipe {value!r} prunes nothing and takes no alpha; leave alpha at None")
    return recipe.name


def _device(value: Any) -> str:
    from ppcd.runs.train import resolve_device  # takes seconds to import: a mistyped name should not wait for it

    return resolve_device(_text("device", value))


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PpcdError(f"{name} must be a whole number from 1 on; got {value!r}")
    return value


def _measure(value: Any) -> str:
    from paper.paper_scale import MEASURE  # slow to import, as the devices are

    if value not in MEASURE:
        raise PpcdError(f"measure must be one of: {', '.join(MEASURE)}; got {value!r}")
    return str(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise PpcdError(f"{name} must be True or False; got {value!r}")
    return value


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
    return assigned_names(injected[-1]) if injected else []


def assigned_names(source: str) -> list[str]:
    """The names that a cell of assignments assigns, in order."""
    names = []
    for statement in ast.parse(source).body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def runs(settings: Settings, recipes: Iterable[str], at_alpha: bool = True) -> dict[str, Record | None]:
    """Recipe -> its complete run for the notebook's seed.

    With `train_missing` those that are missing are trained first, for all of the notebook's seeds.

    Args:
        settings: what `start` returned.
        recipes: names of recipes.
        at_alpha: take the notebook's alpha where it has one; else each recipe's own.

    Returns:
        None stands for a run that is not complete.
    """
    alpha = settings.alpha if at_alpha else None
    names = {recipe: get_recipe(recipe, alpha).name for recipe in recipes}
    if settings.train_missing:
        from ppcd.runs.pool import ensure_runs

        ensure_runs(settings.profile, list(names.values()), list(settings.seeds), device=settings.device)
    return {recipe: find_record(settings.profile, name, settings.seed) for recipe, name in names.items()}


def notebook_parameters(notebook: Path) -> list[str]:
    """The parameters that a notebook has: the names in its cell with the tag `parameters`.

    Raises:
        PpcdError: there is no such notebook, or it does not have exactly one such cell.
    """
    import nbformat

    if not notebook.is_file():
        raise PpcdError(f"no notebook at {notebook}")
    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise PpcdError(f"{notebook.name} must have one cell with the tag 'parameters'; it has {len(tagged)}")
    return assigned_names(tagged[0])


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook does not have.

    Raises:
        PpcdError: the line names the parameter and those that there are.
    """
    _refuse_unknown(parameters, notebook_parameters(notebook))


def execute(
    notebook: Path,
    output: Path,
    parameters: Mapping[str, Any],
    cwd: Path | None = None,
    progress_bar: bool = False,
) -> Path:
    """Run a notebook with papermill; the output appears when it has run to its end, and not before.

    When a cell fails, what there is is kept as `<name>.failed.ipynb` and an older output stays as it is.

    Args:
        notebook: the notebook to run.
        output: where the executed notebook goes.
        parameters: name -> value; checked against the notebook's own first.
        cwd: working directory of the kernel; None for the repository's root.
        progress_bar: whether papermill shows its bar of cells.

    Raises:
        PpcdError: an unknown parameter, or a cell failed; the line says how. Or the output cannot be written.
        Stopped: Ctrl-C or SIGTERM; the kernel is ended, an older output stays as it is.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from ppcd_papermill import local_transport, one_line

    check_parameters(notebook, parameters)
    output = output.resolve()
    temporary = output.with_name(f".{output.stem}.{os.getpid()}.ipynb")
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    try:
        with told(lambda: f"{notebook.name} was stopped"), paths.writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
            with local_transport(shutdown_wait_time=KERNEL_PATIENCE) as config:
                papermill.execute_notebook(
                    notebook.resolve(),
                    temporary,
                    parameters=dict(parameters),
                    cwd=cwd or paths.repository(),
                    progress_bar=progress_bar,
                    engine_name="nbclient",  # papermill's own: what `ppcd_papermill` adds is done here
                    kernel_name="python3",
                    config=config,
                )
        _forget_paths(temporary, notebook.name, output.name)
        os.replace(temporary, output)
        failed.unlink(missing_ok=True)
    except (PapermillExecutionError, DeadKernelError) as error:
        os.replace(temporary, failed)
        raise PpcdError(f"{notebook.name} stopped: {one_line(error)} (see {failed})") from None
    except Stopped:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of the cell whose end nobody waits for any more
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return output


def _forget_paths(executed: Path, notebook: str, output: str) -> None:
    """papermill notes where files lay on this machine; keep their names only."""
    import nbformat

    content = nbformat.read(executed, as_version=4)
    content.metadata.papermill.update(input_path=notebook, output_path=output)
    paths.write_atomic(executed, nbformat.writes(content))
