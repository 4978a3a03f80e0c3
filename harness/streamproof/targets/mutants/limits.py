"""Section 5 of the contract, broken: the implementation's limits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from streamer_reference.store.base import LimitReachedError
from streamproof.targets.mutants.base import Patch, mutant

STORE = "streamer_reference.store.sqlite:SqliteStore"
WORKER = "streamer_reference.worker"
SETTINGS = "streamer_reference.settings:Settings"


@mutant("LIMIT-1")
def large_result_vanishes(patch: Patch) -> None:
    """A result that fits no message is replaced by nothing."""

    @patch.around(f"{WORKER}:Worker._fit")
    async def fit(original: Any, *args: Any) -> Any:
        stored, body = await original(*args)
        return (stored, body) if "result" in body else ({"result": None}, {"result": None})


@mutant("LIMIT-1")
def large_result_is_sent(patch: Patch) -> None:
    """A result is sent in the message, however large."""
    patch.value(f"{WORKER}:MESSAGE_BYTES_MAX", 1 << 40)


@mutant("LIMIT-1")
def result_url_lives_a_week(patch: Patch) -> None:
    """The URL of a result is good for seven days."""
    patch.default(SETTINGS, result_url_s=604_800)


@mutant("LIMIT-1")
def result_url_never_expires(patch: Patch) -> None:
    """A presigned URL is good after its time."""

    @patch.around("streamproof.gateway.sigv4:Verifier._check_date")
    def check_date(
        original: Any, self: Any, date: str, day: str, early_s: float, _late_s: float
    ) -> None:
        original(self, date, day, early_s, math.inf)


@mutant("LIMIT-2")
def rate_without_a_limit(patch: Patch) -> None:
    """Any number of messages a minute is taken."""

    @patch.around("streamer_reference.core.rate:take")
    def take(_original: Any, _limit: Any, empty_at_ms: float, _now_ms: float) -> Any:
        return empty_at_ms, 0


@mutant("LIMIT-2")
def refused_messages_are_free(patch: Patch) -> None:
    """Messages that are refused do not count."""

    @patch.around("streamer_reference.router:_count")
    async def count(_original: Any, *_args: Any) -> None:
        return


@mutant("LIMIT-2")
def wait_is_not_said(patch: Patch) -> None:
    """RATE_LIMITED always says one second."""

    @patch.around("streamer_reference.store.base:LimitReachedError.__init__")
    def init(original: Any, self: Any, message: str, _after_ms: int) -> None:
        original(self, message, 1000)


@mutant("LIMIT-2")
def burst_of_a_thousand(patch: Patch) -> None:
    """A burst may be ten times the limit's."""

    @patch.around("streamer_reference.core.rate:take")
    def take(original: Any, limit: Any, *args: float) -> Any:
        return original(dataclasses.replace(limit, burst=limit.burst * 10), *args)


@mutant("LIMIT-3")
def in_flight_without_a_limit(patch: Patch) -> None:
    """Any number of requests may be in flight."""

    @patch.around(f"{STORE}.accept")
    async def accept(
        original: Any, store: Any, request: Any, acknowledgment: str, limit: Any, _max: int
    ) -> None:
        await original(store, request, acknowledgment, limit, 0)


@mutant("LIMIT-3")
def ended_ones_count_as_in_flight(patch: Patch) -> None:
    """What a connection asked for counts as in flight after it has ended."""
    counts: dict[str, int] = {}

    @patch.around(f"{STORE}.accept")
    async def accept(
        original: Any, store: Any, request: Any, acknowledgment: str, limit: Any, most: int
    ) -> None:
        count = counts.get(request.connection_id, 0)
        if most and count >= most:
            raise LimitReachedError("too many", 1000)
        await original(store, request, acknowledgment, limit, most)
        counts[request.connection_id] = count + 1
