"""Checks of a payload's members, one `FieldError` for each bad one (MSG-2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from streamer_reference.handlers.job import JSON
from streamer_reference.protocol.errors import FieldError

WORK_MS_MAX = 840_000  # a minute below Lambda's 15 minutes, left for the outcome


def is_number(value: JSON) -> bool:
    """Whether this is a JSON number; `true` is not 1 (MSG-5)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class Fields:
    """Collects what is wrong with the members of one object; `path` is where the object is.

    Every check passes what is absent, unless it is required, and returns whether the member is
    there and good. Null is not absent.
    """

    def __init__(self, members: Mapping[str, JSON], path: str = "payload") -> None:
        self.members = members
        self.path = path
        self.errors: list[FieldError] = []

    def bad(self, name: str, message: str) -> None:
        """Note an error of a member."""
        self.errors.append(FieldError(f"{self.path}.{name}", message))

    def check(
        self, name: str, good: Callable[[JSON], bool], must: str, required: bool = False
    ) -> bool:
        """Any rule; `must` says it in words."""
        if name in self.members and good(self.members[name]):
            return True
        if name in self.members or required:
            self.bad(name, must if name in self.members else f"is missing; it {must}")
        return False

    def milliseconds(self, name: str, low: float = 0, required: bool = False) -> bool:
        """A duration in milliseconds, from `low` to `WORK_MS_MAX`."""
        must = f"must be a number from {low} to {WORK_MS_MAX}"
        return self.check(name, lambda v: is_number(v) and low <= v <= WORK_MS_MAX, must, required)

    def integer(self, name: str, low: int, high: int) -> bool:
        """An integer from `low` to `high`."""
        must = f"must be an integer from {low} to {high}"
        return self.check(
            name, lambda v: is_number(v) and isinstance(v, int) and low <= v <= high, must
        )

    def text(self, name: str, chars_max: int, required: bool = False) -> bool:
        """A text of 1 to `chars_max` characters."""
        must = f"must be a text of 1 to {chars_max} characters"
        return self.check(
            name, lambda v: isinstance(v, str) and 1 <= len(v) <= chars_max, must, required
        )

    def choice(self, name: str, choices: Collection[str], required: bool = False) -> bool:
        """One of a few texts."""
        must = f"must be one of {', '.join(choices)}"
        return self.check(name, lambda v: isinstance(v, str) and v in choices, must, required)
