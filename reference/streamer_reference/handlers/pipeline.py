"""Filter and aggregate rows as they stream by; what stays in memory is one line per group.

Sums are of integers, so they are exact, and no result depends on the order of the rows. A mean is
the exact quotient, rounded once to the nearest double.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from streamer_reference.handlers.sample_data import Row
from streamer_reference.protocol.errors import ErrorCode, HandlerError

GROUPS_MAX = 10_000
TOO_MANY_ROWS = ErrorCode(
    "TOO_MANY_ROWS", "The result has too many rows: ask for fewer.", retryable=False, definite=True
)
Operator = Callable[[Any, Any], Any]
COMPARE: Mapping[str, Operator] = {
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "in": lambda have, wanted: have in wanted,
    "contains": operator.contains,
}
FOLD: Mapping[str, Operator] = {
    **dict.fromkeys(("count", "sum", "mean"), operator.add),
    "min": min,
    "max": max,
}


def select(
    rows: Iterable[Row], conditions: Sequence[tuple[str, str, Any]], seen: Counter[str]
) -> Iterator[Row]:
    """The rows that meet all conditions; `seen` counts `rows_read` and `rows_matched`."""
    for row in rows:
        seen["rows_read"] += 1
        if all(COMPARE[op](row[field], value) for field, op, value in conditions):
            seen["rows_matched"] += 1
            yield row


def aggregate(
    rows: Iterable[Row], group_by: Sequence[str], metrics: Sequence[tuple[str, str]]
) -> list[tuple[Any, ...]]:
    """One line per group, its key and then its metrics (operator, field), sorted by the key.

    Without `group_by` there is one line, also of no rows: count and sum are 0 then, others null.
    Raises `HandlerError` TOO_MANY_ROWS beyond `GROUPS_MAX` groups.
    """
    sizes: Counter[tuple[Any, ...]] = Counter()
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        key = tuple([row[field] for field in group_by])
        values: list[Any] = [1 if op == "count" else row[field] for op, field in metrics]
        if key in groups:
            pairs = zip(metrics, groups[key], values, strict=True)
            values = [FOLD[op](old, new) for (op, _), old, new in pairs]
        elif len(groups) == GROUPS_MAX:
            raise HandlerError("TOO_MANY_ROWS")
        groups[key] = values
        sizes[key] += 1
    if not groups and not group_by:
        return [tuple(0 if op in ("count", "sum") else None for op, _ in metrics)]
    for key, values in groups.items():
        for place, (op, _) in enumerate(metrics):
            if op == "mean":
                values[place] /= sizes[key]
    return [(*key, *groups[key]) for key in sorted(groups)]
