"""Profiles and recipes of a user's own: TOML files, read, checked, and written for other processes."""

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from types import NoneType
from typing import Any, TypeVar, get_args

from ppcd import paths
from ppcd.base import PpcdError
from ppcd.records import canonical_hash

SUFFIX = ".toml"
NOTHING = "none"  # stands for None, which TOML lacks
Config = TypeVar("Config")


def is_file(name: str) -> bool:
    """Whether a profile or a recipe was asked for by a file, and not by its name."""
    return name.lower().endswith(SUFFIX)


def read(name: str, kind: type[Config], known: Callable[[str], Config], label: str) -> Config:
    """The profile or the recipe in a TOML file.

    Args:
        name: the file, from the working directory or from the root of the repository.
        known: the one of this project that `extends` names.
        label: the field that describes it. As `name`, it is the file's name where it is not given.

    Raises:
        PpcdError: no such file, or not TOML; an unknown field, a missing one, or an impossible value.
    """
    path = paths.expanded(name)
    path = path if path.exists() else paths.repository() / path  # typed at the root, used from a notebook's directory
    try:
        values = tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # editors of Windows put a mark before the text
    except FileNotFoundError:
        raise PpcdError(f"there is no file {name}") from None
    except OSError as error:
        raise PpcdError(f"{name} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise PpcdError(f"{name} is not UTF-8; save it in that encoding") from None
    except tomllib.TOMLDecodeError as error:
        raise PpcdError(f"{name} is not TOML: {error}") from None
    try:
        base, extended = None, values.pop("extends", None)
        if extended is not None:
            if not isinstance(extended, str) or is_file(extended):
                raise PpcdError(f"extends must be a name of this project, no file; got {extended!r}")
            base = known(extended)
        return _build(kind, {"name": path.stem, label: path.stem, **values}, base, "extends")
    except PpcdError as error:
        raise PpcdError(f"{name}: {error}") from None


def _build(kind: type[Config], values: Mapping[str, Any], base: Config | None, key: str) -> Config:
    """An object of that kind: its fields as the table has them, or else those of `base`.

    Args:
        key: what such a table may have besides fields.
    """
    there: dict[str, Any] = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    all_there = f"there are {', '.join([key, *there])}"
    made = {} if base is None else {name: getattr(base, name) for name in there}
    for name, value in values.items():
        if name not in there:
            near = difflib.get_close_matches(name, [*there, key], 1)
            raise PpcdError(f"unknown field {name}; " + (f"did you mean {near[0]}?" if near else all_there))
        tables: dict[str, Any] = {each.kind: each for each in get_args(there[name].type) if hasattr(each, "kind")}
        if value == NOTHING and NoneType in get_args(there[name].type):
            value = None
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, dict) and tables:
            old = made.get(name)
            wanted = value.pop("kind", old and old.kind)
            if wanted not in tables:
                raise PpcdError(f"kind of {name} must be one of {', '.join(tables)}; got {wanted!r}")
            value = _build(tables[wanted], value, old if old and old.kind == wanted else None, "kind")
        made[name] = value
    if missing := [name for name, each in there.items() if each.default is MISSING and name not in made]:
        raise PpcdError(f"without {', '.join(missing)}: add what is missing, or extends and a name of this project")
    return kind(**made)


def written(config: Any) -> str:
    """A profile or a recipe as TOML; `read` makes the same of it."""
    lines, tables = [], []
    for each in fields(config):
        value = getattr(config, each.name)
        if hasattr(value, "kind"):  # of a compared method
            settings = {"kind": value.kind, **asdict(value)}
            tables += [f"[{each.name}]", *(_line(*setting) for setting in settings.items())]
        elif value is not None:
            lines.append(_line(each.name, value))
    return "\n".join([*lines, *tables]) + "\n"


def _line(name: str, value: Any) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"  # of texts, numbers and lists the same in both


def hand_over(config: Any) -> str:
    """A file of a profile or a recipe for processes that do not know it. Nobody writes over it: what is in it names it,
    so that they train what was asked for also where the user's own file has changed since."""
    text = written(config)
    path = paths.cache() / "toml" / f"{config.name}-{canonical_hash({'': text})[:12]}{SUFFIX}"
    if not path.is_file():
        paths.write_atomic(path, text)
    return str(path)
