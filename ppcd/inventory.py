"""All runs of a profile that are there: their records, and as a table."""

from typing import Any

import pandas as pd

from ppcd.base import PpcdError
from ppcd.records import flatten, read_run, read_stop
from ppcd.runs.config import RunConfig, runs_root
from ppcd.training import methods
from ppcd.training.profiles import Profile, get_profile
from ppcd.training.recipes import Recipe, get_recipe


def find_runs(profile: str | Profile, include_stale: bool = False) -> list[dict[str, Any]]:
    """The records of the profile's complete runs, sorted by id.

    Args:
        profile: a name, or an object of one's own.
        include_stale: also those whose configuration is not what profile and recipe say today.

    Raises:
        PpcdError: unknown profile, or a run that is not what was written.
    """
    profile = profile if isinstance(profile, Profile) else get_profile(profile)
    directories = [path.parent for path in sorted(runs_root(profile).glob("*/run.json"))]
    records = [read_run(directory) for directory in directories if read_stop(directory) is None]
    return [record for record in records if include_stale or _is_current(record, profile)]


def runs_table(profile: str | Profile, include_stale: bool = False) -> pd.DataFrame:
    """find_runs as a table with one row per run.

    Columns: id, profile, recipe, title, seed, alpha; then the record's other values under dotted names, those
    of `metrics` and `complexity` without that prefix: ema.fd, raw.fd, protocol.backbone, params, macs,
    training.seconds, runtime.cpu.seconds_per_batch, data.identity, provenance.commit, config.profile.dim_z.
    Lists and library versions are left out.
    """
    base = ("id", "profile", "recipe", "title", "seed")
    rows = []
    for record in find_runs(profile, include_stale):
        row = {**{name: record[name] for name in base}, "alpha": record["config"]["recipe"]["alpha"]}
        row |= flatten(record["metrics"]) | flatten(record["complexity"])
        for part in ("training", "runtime", "data", "teacher", "provenance", "config"):
            row |= flatten(record[part] or {}, f"{part}.")
        rows.append({name: value for name, value in row.items() if ".libraries." not in name})
    return pd.DataFrame(rows, columns=None if rows else [*base, "alpha"])


def _is_current(record: dict[str, Any], profile: Profile) -> bool:
    try:
        recipe = get_recipe(record["recipe"])
    except PpcdError:  # a recipe of somebody's own: only the profile and the method can be compared
        try:
            values = dict(record["config"]["recipe"])
            baseline = methods.parse(values.pop("baseline", None))
            recipe = Recipe(record["recipe"], record["title"], **values, baseline=baseline)
        except TypeError:
            return False
    kept = record["config"]
    config = RunConfig(
        profile,
        recipe,
        record["seed"],
        record["data"]["identity"],
        kept.get("precision", "no"),
        kept.get("pretrained"),
        kept.get("compiled", False),
    )
    return config.hash == record["config_hash"]
