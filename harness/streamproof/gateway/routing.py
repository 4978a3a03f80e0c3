"""Route selection: from a message's text to one of the API's route keys.

Source: "Working with routes for WebSocket APIs" of the developer guide. A path that is missing
selects "", scalars compare as text, lists are written `[a, b]`; what is not JSON goes to $default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\{request\.body\.([^}]+)\}|\$request\.body\.([A-Za-z0-9_.\-]+)|\\(\$)")
_SYSTEM_KEYS = frozenset({"$connect", "$disconnect", "$default"})
_NOT_JSON = object()


class RouteSelector:
    """Selects routes for one API by its route selection expression."""

    def __init__(self, expression: str, routes: Mapping[str, str]) -> None:
        """`expression` as in `$request.body.action` or `${request.body.a}/${request.body.b}`."""
        self._expression = expression
        self._keys = frozenset(routes) - _SYSTEM_KEYS
        self._default = "$default" if "$default" in routes else None

    def select(self, body: str) -> str | None:
        """Return the route key that gets `body`, None when there is no route for it."""
        if not self._keys:
            return self._default  # saves reading the message
        value = _parse(body)
        if value is _NOT_JSON:
            return self._default
        key = _REFERENCE.sub(lambda found: _resolve(found, value), self._expression)
        return key if key in self._keys else self._default


def _parse(body: str) -> Any:
    try:
        # Numbers stay text: a route key compares with what was written.
        return json.loads(body, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOT_JSON


def _refuse(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity are no JSON


def _resolve(found: re.Match[str], value: Any) -> str:
    if found[3]:
        return "$"
    for name in (found[1] or found[2]).split("."):
        if not isinstance(value, dict) or name not in value:
            return ""
        value = value[name]
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_as_text(item) for item in value)}]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return json.dumps(value, separators=(",", ":"))
