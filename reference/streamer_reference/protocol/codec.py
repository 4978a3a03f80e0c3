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

_TOO_DEEP = f"nested deeper than {NESTING_MAX}"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _refused(reason: str) -> ValidationError:
    return ValidationError([FieldError("$", f"the message is refused: {reason}")])


def _integer(text: str) -> int:
    if len(text) - text.startswith("-") > INTEGER_DIGITS_MAX:
        raise _refused(f"an integer of more than {INTEGER_DIGITS_MAX} digits")
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
        raise _refused("a number that no double holds")
    return value


def _constant(text: str) -> float:
    raise _refused(f"{text} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _refused("a member that is there twice")
    return members


_DECODER = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=_object
)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode(text: str) -> Any:
    """The JSON value of `text`; raises `ValidationError` for what is no interoperable JSON."""
    try:
        value = _DECODER.decode(text)
        if _ESCAPED_SURROGATE.search(text):
            _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        raise _refused("a lone surrogate") from None
    except RecursionError:
        raise _refused(_TOO_DEEP) from None
    except ValueError:
        raise _refused("not JSON") from None
    if text.count("[") + text.count("{") > NESTING_MAX and _depth(value) > NESTING_MAX:
        raise _refused(_TOO_DEEP)
    return value


def _depth(value: Any) -> int:
    """How deep objects and lists are nested, without recursion: a hostile text is deep."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [i for c in level for i in (c.values() if isinstance(c, dict) else c)]
    return depth


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
