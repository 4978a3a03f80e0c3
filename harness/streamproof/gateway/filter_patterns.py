"""Lambda's filter patterns: which records a mapping hands over.

Source: "Filter rule syntax" of Lambda's event filtering. A pattern names members to match; a leaf
is a list of alternatives, each a value or a rule such as `{"prefix": "a"}`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from streamproof.errors import UsageError

PATTERNS_MAX = 5
_COMPARE = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def check_pattern(pattern: Any) -> None:
    """Raise `UsageError`, in Lambda's words, for what is no filter pattern."""
    if not isinstance(pattern, dict) or not all(_is_member(*item) for item in pattern.items()):
        raise UsageError("Invalid filter pattern definition.", f"the pattern is {pattern!r:.200}")


def _is_member(name: str, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return bool(wanted) and all(_is_member(*item) for item in wanted.items())
    if not isinstance(wanted, list) or not wanted:
        return False
    if name == "$or":
        return all(isinstance(each, dict) and _is_member("", each) for each in wanted)
    return all(
        (len(rule) == 1 and next(iter(rule)) in _RULES)
        if isinstance(rule, dict)
        else not isinstance(rule, list)
        for rule in wanted
    )


def matches(pattern: dict[str, Any], value: Any) -> bool:
    """Tell whether a record passes one pattern."""
    members = value if isinstance(value, dict) else {}
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(each, value) for each in wanted):
                return False
        elif isinstance(wanted, dict):
            if not matches(wanted, members.get(name)):
                return False
        elif not any(_passes(rule, members, name) for rule in wanted):
            return False
    return True


def _passes(rule: Any, members: dict[str, Any], name: str) -> bool:
    if isinstance(rule, dict) and "exists" in rule:
        # Recorded: only a leaf exists, so the "S" of an attribute does and the attribute does not.
        return bool(rule["exists"]) == (not isinstance(members.get(name, {}), dict))
    if name not in members:
        return False
    actual = members[name]
    values = actual if isinstance(actual, list) else [actual]
    if not isinstance(rule, dict):
        return any(_same(rule, value) for value in values)
    kind, argument = next(iter(rule.items()))
    return any(_RULES[kind](argument, value) for value in values)


def _same(wanted: Any, value: Any) -> bool:
    return isinstance(wanted, bool) == isinstance(value, bool) and bool(wanted == value)


def _anything_but(argument: Any, value: Any) -> bool:
    if isinstance(argument, dict):
        return not any(_RULES[kind](each, value) for kind, each in argument.items())
    refused = argument if isinstance(argument, list) else [argument]
    return not any(_same(each, value) for each in refused)


def _numeric(argument: list[Any], value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    pairs = zip(argument[::2], argument[1::2], strict=False)
    return all(_COMPARE[sign](value, bound) for sign, bound in pairs)


_RULES: dict[str, Callable[[Any, Any], bool]] = {
    "exists": lambda _wanted, _value: True,  # answered before there is a value
    "prefix": lambda wanted, value: isinstance(value, str) and value.startswith(wanted),
    "suffix": lambda wanted, value: isinstance(value, str) and value.endswith(wanted),
    "equals-ignore-case": lambda wanted, value: (
        isinstance(value, str) and value.lower() == wanted.lower()
    ),
    "anything-but": _anything_but,
    "numeric": _numeric,
}
