"""How a clause ends when it does not pass."""

from __future__ import annotations

SEEN_MAX = 1000  # characters of what a report shows


class Broken(AssertionError):  # noqa: N818 - it is a finding about the target, not an error of ours
    """The target did not do what the clause says: what was expected, and what was seen."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected {expected}; saw {seen}")
        self.expected = expected
        self.seen = str(seen)[:SEEN_MAX]


class NotApplicable(Exception):  # noqa: N818 - a verdict
    """The target lacks what the clause needs."""


class Inconclusive(Exception):  # noqa: N818 - a verdict
    """What the clause needs to see could not be provoked."""


def expect(holds: bool, expected: str, seen: object) -> None:
    """Raise `Broken` unless it holds."""
    if not holds:
        raise Broken(expected, seen)
