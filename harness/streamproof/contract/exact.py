"""JSON without loss: parsing that keeps every digit, and equality as MSG-5 means it."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from streamproof.contract.failures import Broken

UNREADABLE = object()  # what `parse` gives for text that is no JSON


class Members(dict[str, Any]):
    """A JSON object that came from a target: a member that is not there is the target's fault."""

    def __missing__(self, name: str) -> Any:
        raise Broken(f"the member {name}", json.dumps(self, default=str))


def parse(text: str) -> Any:
    """A JSON value with exact numbers, its objects as `Members`; `UNREADABLE` for anything else.

    NaN and the infinities pass as floats, so that the rule they break can name them.
    """
    try:
        return json.loads(text, parse_float=_decimal, object_hook=Members)
    except (ValueError, RecursionError):
        return UNREADABLE


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"a number out of all bounds: {text[:40]}") from error


def same(one: Any, other: Any) -> bool:
    """Equal as JSON values: numbers by exact value, `true` is not 1, text by code points."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float, Decimal)) and isinstance(other, (int, float, Decimal)):
        return Decimal(one) == Decimal(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def difference(expected: Any, seen: Any, where: str = "$") -> str:
    """Where two values first differ, in words; empty when they are the same."""
    if same(expected, seen):
        return ""
    if isinstance(expected, dict) and isinstance(seen, dict):
        for name in expected:
            if name not in seen:
                return f"{where}.{name} is missing"
            if inner := difference(expected[name], seen[name], f"{where}.{name}"):
                return inner
        extra = next(name for name in seen if name not in expected)
        return f"{where}.{extra} was added"
    if isinstance(expected, list) and isinstance(seen, list) and len(expected) == len(seen):
        pairs = zip(expected, seen, strict=True)
        return next(
            filter(None, (difference(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(pairs)))
        )
    return f"{where}: {str(seen)[:60]!r} in place of {str(expected)[:60]!r}"
