"""What the fields of a profile, a recipe and a method's settings may be."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin

from ppcd.base import PpcdError

# Numbers are above 0, but for those that may be 0, and of any size, but for parts of a whole.
SHARES = {"ema_decay", "average_age", "parents", "mutations", "mutation", "lr_decay_from", "fractions"}
FROM_ZERO = {
    "ema_start", "teacher_ema_start", "classifier_epochs", "lambda_pp", "lambda_cd", "lambda_pixel", "lambda_teacher_d",
    "pixel", "pixel_decay", "features", "adversarial", "real", "gan", "recon", "distill",
}  # fmt: skip


def check_fields(config: Any, choices: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse fields of a wrong type, and impossible values.

    Args:
        choices: of some fields, all values that they may have.

    Raises:
        PpcdError: one line that says which field, and what was expected.
    """
    for each in fields(config):
        value, kinds = getattr(config, each.name), get_args(each.type) or (each.type,)
        if value is None and NoneType in kinds:
            continue
        if is_dataclass(value) and type(value) in kinds:
            check_fields(value, {})
            continue
        expected, is_right = _expected(each.name, kinds, get_origin(each.type) is tuple, choices.get(each.name, ()))
        if not is_right(value):
            raise PpcdError(f"{each.name} must be {expected}; got {value!r}")


def _expected(
    name: str, kinds: tuple[Any, ...], several: bool, choices: tuple[Any, ...]
) -> tuple[str, Callable[[Any], bool]]:
    """What a field must be, and what tells whether a value is that."""
    if choices:
        return f"one of {', '.join(map(str, choices))}", lambda value: value in choices
    if bool in kinds:
        return "true or false", lambda value: isinstance(value, bool)
    if str in kinds:
        return "text", lambda value: isinstance(value, str)
    if not {int, float} & {*kinds}:
        return "a table", lambda _: False
    accepted = int | float if float in kinds else int
    zero, share = name in FROM_ZERO, name in SHARES

    def is_number(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, accepted):
            return False
        return (value > 0 or (zero and value == 0)) and (value <= 1 if share else value < math.inf)

    limits = ("from 0 on" if zero else "above 0") + ", at most 1" * share
    if several:
        listed = f"a list of numbers {limits}"
        return listed, lambda value: isinstance(value, tuple) and value != () and all(map(is_number, value))
    return f"a {'number' if float in kinds else 'whole number'} {limits}", is_number
