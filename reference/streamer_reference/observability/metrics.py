"""Counters and latencies in CloudWatch's embedded metric format: a log line that is a metric.

Values gather in memory and leave in one line per flush, because a line per message would cost more
than the message.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Final

NAMESPACE: Final = "Streamer"
SERVICE: Final = "streamer"
VALUES_MAX = 100  # of one metric in one line, CloudWatch's limit
GATHERED_MAX = 1_000  # flushed early beyond this, so that memory is bounded

UNITS: Final = {
    "ConnectionEstablished": "Count",
    "ConnectionClosed": "Count",
    "MessageSent": "Count",
    "MessageFailed": "Count",
    "AuthenticationFailed": "Count",
    "ConnectionDuration": "Seconds",
    "MessageSize": "Bytes",
    "ProcessingLatency": "Milliseconds",
    "QueueDelay": "Milliseconds",
    "BroadcastLatency": "Milliseconds",
    "CircuitOpen": "Count",
    "LeaseExpired": "Count",
}


def to_standard_output(line: str) -> None:
    """Where a Lambda function's metrics go."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Metrics:
    """Gathers values by name; `emit` gets each line. Used on one event loop."""

    def __init__(
        self,
        emit: Callable[[str], None] = to_standard_output,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """`now_s` is the wall clock in seconds."""
        self._emit = emit
        self._now_s = now_s
        self._values: dict[str, list[float]] = {}
        self._gathered = 0

    def add(self, name: str, value: float = 1) -> None:
        """One value of a metric of `UNITS`; a KeyError is a metric that nobody would find."""
        values = self._values.get(name)
        if values is None:
            UNITS[name]
            values = self._values[name] = []
        if UNITS[name] == "Count" and values:
            values[-1] += value
            return
        values.append(value)
        self._gathered += 1
        if self._gathered >= GATHERED_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered, at most `VALUES_MAX` values of a metric in a line."""
        gathered, self._values, self._gathered = self._values, {}, 0
        while gathered:
            now = {name: values[:VALUES_MAX] for name, values in gathered.items()}
            gathered = {n: rest for n, v in gathered.items() if (rest := v[VALUES_MAX:])}
            definitions = [{"Name": name, "Unit": UNITS[name]} for name in now]
            self._emit(
                json.dumps(
                    {
                        "_aws": {
                            "Timestamp": int(self._now_s() * 1000),
                            "CloudWatchMetrics": [
                                {
                                    "Namespace": NAMESPACE,
                                    "Dimensions": [["service"]],
                                    "Metrics": definitions,
                                }
                            ],
                        },
                        "service": SERVICE,
                        **now,
                    }
                )
            )
