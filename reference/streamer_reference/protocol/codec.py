"""JSON in and out, at one place: strict on the way in, exact on the way through.

What two peers read differently is refused at the door (RFC 7493, I-JSON): a repeated member, NaN,
a lone surrogate, a number that changes when it is read. What is accepted comes back with the same
decimal value, so a client's integers of 300 digits survive the round trip.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

from streamer_reference.protocol.errors import FieldError, ValidationError
from streamer_reference.protocol.limits import INTEGER_DIGITS_MAX, NESTING_MAX

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _NotInteroperableError(ValueError):
    """Valid for some JSON reader, but not the same for all."""


def _integer(text: str) -> int:
    if len(text) - text.startswith("-") > INTEGER_DIGITS_MAX:
        raise _NotInteroperableError(f"an integer of more than {INTEGER_DIGITS_MAX} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if len(text) <= 16 and "e" not in text and "E" not in text:
        return value  # at most 15 significant digits: the double gives the same text back
    if value == 0:  # apart: a Decimal bounds its exponent, a text does not
        exact = not text.lower().partition("e")[0].strip("-0.")
    else:
        exact = math.isfinite(value) and Decimal(repr(value)) == Decimal(text)
    if not exact:
        raise _NotInteroperableError("a number that no double holds")
    return value


def _constant(text: str) -> float:
    raise _NotInteroperableError(f"{text} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotInteroperableError("a member that is there twice")
    return members


_DECODER = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=_object
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode(text: str) -> Any:
    """The JSON value of `text`; raises `ValidationError` for what is no interoperable JSON."""
    try:
        value = _DECODER.decode(text)
        if text.count("[") + text.count("{") > NESTING_MAX and _depth(value) > NESTING_MAX:
            raise _NotInteroperableError(f"nested deeper than {NESTING_MAX}")
        if _ESCAPED_SURROGATE.search(text):
            _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise _invalid("a lone surrogate") from None
    except RecursionError:
        raise _invalid(f"nested deeper than {NESTING_MAX}") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, _NotInteroperableError) else "not JSON"
        raise _invalid(reason) from None
    return value


def _invalid(reason: str) -> ValidationError:
    return ValidationError([FieldError("$", f"the message is refused: {reason}")])


def _depth(value: Any) -> int:
    """How deep objects and lists are nested, without recursion: a hostile text is deep."""
    deepest, level = 0, [value]
    while level:
        inner = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if any(isinstance(item, dict | list) for item in level):
            deepest += 1
        level = inner
    return deepest


def encode(value: Any) -> str:
    """The JSON text of `value`, compact; raises `ValueError` or `TypeError` for what is no JSON.

    A lone surrogate is an error too: it could be written but never sent.
    """
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return text
