"""A file's tables held against the schema: what is wrong is named by file, key and next step.

The part of JSON Schema that `config.schema.json` uses, and no more; its errors would not name the
key as TOML spells it, nor the nearest one that is known.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from streamproof.errors import UsageError

_SCALARS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a text"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    """One value as it is in force, and whether the file gives it."""

    key: str
    value: Any
    given: bool
    secret: bool


def spell(key: str, name: str) -> str:
    """A key below `key`, quoted where TOML wants it."""
    spelled = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
    return f"{key}.{spelled}" if key else spelled


def check(value: Any, rule: Mapping[str, Any], key: str, source: str) -> Any:
    """`value` with every default filled in, None where nothing is set; raises `UsageError`."""
    match rule["type"]:
        case "object":
            return _table(value, rule, key, source)
        case "array":
            if not isinstance(value, list):
                raise _wrong(source, key, "must be a list", rule)
            if len(value) < rule.get("minItems", 0):
                raise _wrong(source, key, "must not be empty", rule)
            items = rule["items"]
            return [check(v, items, f"{key}[{i}]", source) for i, v in enumerate(value)]
    if fault := _fault(value, rule):
        raise _wrong(source, key, fault, rule)
    return value


def _table(value: Any, rule: Mapping[str, Any], key: str, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(source, key, "must be a table", rule)
    known, others = rule.get("properties", {}), rule.get("additionalProperties")
    for name in value:
        if name not in known and not others:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{source}: unknown key {spell(key, name)}", hint)
        if fault := _fault(name, {"type": "string"} | rule.get("propertyNames", {})):
            raise UsageError(f"{source}: the name {spell(key, name)} {fault}", "choose another")
    for name in rule.get("required", ()):
        if name not in value:
            hint = known[name].get("description", "")
            raise UsageError(f"{source}: {spell(key, name)} is missing", hint)
    checked = {}
    for name, own in known.items():
        given = value.get(name, own.get("default"))
        checked[name] = None if given is None else check(given, own, spell(key, name), source)
    for name in value:
        if name not in known:
            checked[name] = check(value[name], others or {}, spell(key, name), source)
    return checked


def _fault(value: Any, rule: Mapping[str, Any]) -> str:
    """What is wrong with a value that has no parts; nothing when it fits."""
    types, words = _SCALARS[rule["type"]]
    if type(value) not in types:  # Python's true is a 1
        return f"must be {words}"
    if isinstance(value, str):
        if len(value) < rule.get("minLength", 0) or "\0" in value:
            return "must not be empty" if not value else "is too short or holds a null character"
        if "pattern" in rule and not re.search(rule["pattern"], value):
            return f"must be {rule['x-reads']}"
    elif "minimum" in rule:
        low, high = rule["minimum"], rule["maximum"]
        if not math.isfinite(value) or not low <= value <= high:
            return f"must be from {low} to {high}"
    return ""


def _wrong(source: str, key: str, fault: str, rule: Mapping[str, Any]) -> UsageError:
    return UsageError(f"{source}: {key} {fault}", rule.get("description", ""))


def leaves(value: Any, rule: Mapping[str, Any], key: str, given: Any) -> list[Leaf]:
    """The values of a checked table one by one; `given` is what the file has in its place."""
    if rule["type"] != "object" or value is None:
        return [Leaf(key, value, given is not None, bool(rule.get("writeOnly")))]
    found = []
    known, others = rule.get("properties", {}), rule.get("additionalProperties") or {}
    for name, child in value.items():
        inner = given.get(name) if isinstance(given, dict) else None
        found += leaves(child, known.get(name, others), spell(key, name), inner)
    return found
