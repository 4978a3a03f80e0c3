"""Counters out of CloudWatch's embedded metric format, as functions write it to their output.

Source: "Specification: Embedded metric format". A line that is none is left alone.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

LINE_BYTES_MAX = 256 * 1024  # CloudWatch Logs' bound on one event
SERIES_MAX = 10_000
VALUES_MAX = 100  # the specification's bound on the values of one metric
DIRECTIVES_MAX = 100


@dataclasses.dataclass(slots=True)
class Series:
    """One metric under one set of dimensions."""

    count: int = 0
    total: float = 0.0


SeriesKey = tuple[str, str, tuple[tuple[str, str], ...]]


class MetricCounters:
    """Adds up every metric that was written, by namespace, name and dimensions."""

    def __init__(self) -> None:
        """Start empty."""
        self.series: dict[SeriesKey, Series] = {}

    def feed(self, line: str) -> bool:
        """Count one line of output; False when it is no embedded metric document."""
        if '"_aws"' not in line or len(line) > LINE_BYTES_MAX:
            return False
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return False
        head = document.get("_aws") if isinstance(document, dict) else None
        directives = head.get("CloudWatchMetrics") if isinstance(head, dict) else None
        if not isinstance(directives, list):
            return False
        for directive in directives[:DIRECTIVES_MAX]:
            if isinstance(directive, dict):
                self._feed_directive(document, directive)
        return True

    def totals(self) -> dict[str, float]:
        """Return each metric's sum over everything but its name; one dimension set is counted."""
        sums: dict[str, dict[tuple[str, tuple[str, ...]], float]] = {}
        for (namespace, name, dimensions), series in self.series.items():
            names = (namespace, tuple(key for key, _ in dimensions))
            by_set = sums.setdefault(name, {})
            by_set[names] = by_set.get(names, 0.0) + series.total
        # A document with several dimension sets writes the same value under each of them.
        return {name: max(by_set.values()) for name, by_set in sums.items()}

    def _feed_directive(self, document: dict[str, Any], directive: dict[str, Any]) -> None:
        namespace = str(directive.get("Namespace", ""))
        sets = directive.get("Dimensions") or [[]]
        for metric in _dicts(directive.get("Metrics")):
            name = str(metric.get("Name", ""))
            value = document.get(name)
            values = [
                float(number)
                for number in (value if isinstance(value, list) else [value])[:VALUES_MAX]
                if isinstance(number, (int, float)) and not isinstance(number, bool)
            ]
            for dimensions in sets if isinstance(sets, list) else [[]]:
                pairs = tuple((str(key), str(document.get(key))) for key in dimensions)
                self._add((namespace, name, tuple(sorted(pairs))), values)

    def _add(self, key: SeriesKey, values: list[float]) -> None:
        if key not in self.series and len(self.series) >= SERIES_MAX:
            return
        series = self.series.setdefault(key, Series())
        series.count += len(values)
        series.total += sum(values)


def _dicts(value: Any) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return [item for item in items[:DIRECTIVES_MAX] if isinstance(item, dict)]
