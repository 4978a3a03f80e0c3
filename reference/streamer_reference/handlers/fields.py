"""Checks of payloads, as values: one `FieldError` for each bad member (MSG-2).

    validate=payload({"article": choice("lamp", "desk")}, {"count": integer(1, 100)})

The first object has what must be there, the second what may be. Null is not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamer_reference.handlers.job import JSON
from streamer_reference.protocol.errors import FieldError

WORK_MS_MAX = 840_000  # a minute below Lambda's 15 minutes, left for the outcome

Check = Callable[[JSON, str], list[FieldError]]  # of a value, and the path where it is
Checks = Mapping[str, Check]


def must_be(what: str, good: Callable[[JSON], bool]) -> Check:
    """Any rule, said in words."""
    return lambda value, path: [] if good(value) else [FieldError(path, f"must be {what}")]


def is_number(value: JSON) -> bool:
    """Whether this is a JSON number; `true` is not 1 (MSG-5)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(low: float, high: float) -> Check:
    """A number from `low` to `high`."""
    return must_be(f"a number from {low} to {high}", lambda v: is_number(v) and low <= v <= high)


def integer(low: int, high: int) -> Check:
    """An integer from `low` to `high`."""
    what = f"an integer from {low} to {high}"
    return must_be(what, lambda v: type(v) is int and low <= v <= high)


def text(chars_max: int = 256) -> Check:
    """A text of 1 to `chars_max` characters."""
    what = f"a text of 1 to {chars_max} characters"
    return must_be(what, lambda v: isinstance(v, str) and 1 <= len(v) <= chars_max)


def choice(*choices: str) -> Check:
    """One of a few texts."""
    return must_be(f"one of {', '.join(choices)}", lambda v: isinstance(v, str) and v in choices)


def items(check: Check, low: int, high: int) -> Check:
    """A list of `low` to `high` items, each of them checked."""
    what = f"a list of {low} to {high} items"
    a_list = must_be(what, lambda v: isinstance(v, list) and low <= len(v) <= high)
    return lambda value, path: (
        a_list(value, path)
        or [error for index, item in enumerate(value) for error in check(item, f"{path}[{index}]")]
    )


def unlike(check: Check, name: Callable[[JSON], JSON] = lambda item: item) -> Check:
    """What `check` lets pass, without two items of one name."""

    def check_names(value: JSON, path: str) -> list[FieldError]:
        if errors := check(value, path):
            return errors
        names = [name(item) for item in value]
        again = (index for index, found in enumerate(names) if found in names[:index])
        return [FieldError(f"{path}[{index}]", "is asked for already") for index in again]

    return check_names


def members(required: Checks, optional: Checks | None = None) -> Check:
    """An object with these members; others are ignored."""
    checks = {**required, **(optional or {})}

    def check(value: JSON, path: str) -> list[FieldError]:
        errors = OBJECT(value, path)
        for name in checks if not errors else ():
            if name in value:
                errors += checks[name](value[name], f"{path}.{name}")
            elif name in required:
                errors.append(FieldError(f"{path}.{name}", "is missing"))
        return errors

    return check


def payload(
    required: Checks, optional: Checks | None = None
) -> Callable[[Mapping[str, JSON]], list[FieldError]]:
    """The `validate` of a handler whose payload has these members."""
    check = members(required, optional)
    return lambda value: check(value, "payload")


BOOLEAN = must_be("true or false", lambda value: isinstance(value, bool))
NUMBER = must_be("a number", is_number)
TEXT = must_be("a text", lambda value: isinstance(value, str))
OBJECT = must_be("an object", lambda value: isinstance(value, dict))
MILLISECONDS = number(0, WORK_MS_MAX)
