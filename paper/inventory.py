"""All complete runs of a profile."""

from typing import Any

from ppcd.base import PpcdError
from ppcd.records import read_run, read_stop
from ppcd.training import methods
from ppcd.training.config import RunConfig, runs_root
from ppcd.training.profiles import Profile, get_profile, with_classes
from ppcd.training.recipes import Recipe, get_recipe


def find_runs(profile: str | Profile) -> list[dict[str, Any]]:
    """The records of complete runs whose configuration is what profile and recipe say today, sorted by id.

    Args:
        profile: a name, or the profile itself.

    Raises:
        PpcdError: unknown profile, or a run that is not what was written.
    """
    profile = profile if isinstance(profile, Profile) else get_profile(profile)
    directories = [path.parent for path in sorted(runs_root(profile).glob("*/run.json"))]
    records = [read_run(directory) for directory in directories if read_stop(directory) is None]
    return [record for record in records if _is_current(record, profile)]


def _is_current(record: dict[str, Any], profile: Profile) -> bool:
    try:
        recipe = get_recipe(record["recipe"])
    except PpcdError:  # a recipe of the user's own: only the profile and the method can be compared
        try:
            values = dict(record["config"]["recipe"])
            baseline = methods.parse(values.pop("baseline", None))
            recipe = Recipe(record["recipe"], record["title"], **values, baseline=baseline)
        except TypeError:
            return False
    written = record["config"]
    config = RunConfig(
        with_classes(profile, written["profile"]["num_classes"]),
        recipe,
        record["seed"],
        record["data"]["identity"],
        written.get("precision", "no"),
        written.get("pretrained"),
    )
    return config.hash == record["config_hash"]
