"""Counters and latencies in CloudWatch's embedded metric format: a log line that is a metric.

Values gather in memory, and Powertools writes them at a flush: a line per message would cost more
than the message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from streamer_reference.observability.logs import SERVICE, bound

NAMESPACE: Final = "Streamer"
VALUES_MAX = 100  # of one metric in one line, CloudWatch's limit
GATHERED_MAX = 1_000  # flushed early beyond this, so that memory is bounded

EACH: Final = ("service", "environment")
BY_FUNCTION: Final = (*EACH, "function")
# Unit and dimension set. CloudWatch finds a metric under exactly its set and under no other.
METRICS: Final = {
    "ConnectionEstablished": ("Count", EACH),
    "ConnectionClosed": ("Count", EACH),
    "ConnectionDuration": ("Seconds", EACH),
    "AuthenticationFailed": ("Count", EACH),
    "MessageSize": ("Bytes", EACH),
    "MessageSent": ("Count", EACH),
    "MessageFailed": ("Count", EACH),
    "ProcessingLatency": ("Milliseconds", BY_FUNCTION),  # router: short; worker: long requests
    "QueueDelay": ("Milliseconds", EACH),
    "BroadcastLatency": ("Milliseconds", EACH),
    "CircuitOpen": ("Count", EACH),
    "LeaseExpired": ("Count", EACH),
}


to_standard_output = partial(print, flush=True)  # where a Lambda function's metrics go


class Metrics:
    """Gathers values by name; `emit` gets each line. Used on one event loop."""

    def __init__(
        self,
        emit: Callable[[str], None] = to_standard_output,
        now_s: Callable[[], float] = time.time,
        environment: str = "dev",
    ) -> None:
        """`now_s` is the wall clock in seconds."""
        self._emit = emit
        self._now_s = now_s
        self._environment = environment
        self._values: dict[tuple[str, str], list[float]] = {}
        self._gathered = 0

    def add(self, name: str, value: float = 1) -> None:
        """One value of a metric of `METRICS`; a KeyError is a metric that nobody would find."""
        unit, dimensions = METRICS[name]
        function = bound().get("function", "") if dimensions is BY_FUNCTION else ""
        values = self._values.setdefault((function, name), [])
        if unit == "Count" and values:
            values[-1] += value
            return
        values.append(value)
        self._gathered += 1
        if self._gathered >= GATHERED_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered, at most `VALUES_MAX` values of a metric in a line."""
        gathered, self._values, self._gathered = self._values, {}, 0
        dimensions = {"service": SERVICE, "environment": self._environment}
        while gathered:
            function = next(iter(gathered))[0]
            metrics: dict[str, Any] = {
                name: {"Unit": METRICS[name][0], "Value": values[:VALUES_MAX]}
                for (whose, name), values in gathered.items()
                if whose == function
            }
            for name in metrics:
                left = gathered.pop((function, name))[VALUES_MAX:]
                if left:
                    gathered[function, name] = left
            provider = AmazonCloudWatchEMFProvider(namespace=NAMESPACE)
            provider.timestamp = int(self._now_s() * 1000)
            whose = {"function": function} if function else {}
            document = provider.serialize_metric_set(metrics, dimensions | whose, {})
            self._emit(json.dumps(document))
