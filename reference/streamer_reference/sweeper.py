"""What time alone can find: leases that ran out, requests that nobody took, outcomes not delivered.

Everything here is safe to do twice, by two sweepers at once: each step is a conditional write, and
what is posted again is the same message.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streamer_reference.core.states import CLAIMABLE, Status
from streamer_reference.observability.logs import bind_request, log
from streamer_reference.outbox import LostError, Outbox
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import StreamerError
from streamer_reference.services import Services
from streamer_reference.store.base import Stored
from streamer_reference.worker import send_outcome

OVERDUE_MS = 10_000  # contract, section 3
PUT_OFF_MS_MAX = 30_000  # the longest between two tries at what cannot be delivered or run
FOUND_MAX = 500  # of each kind in one sweep, twice what a worker holds; the next one goes on
HAND_OVER_MAX = 100  # keys in one invocation
DEATH_PAUSES_MS = (500, 1_000, 2_000, 4_000)  # contract, section 5


async def sweep(services: Services) -> None:
    """One sweep over everything; none when this process is still at the one before.

    A sweep that waits for slow clients must not be joined by others that post the same to them.
    """
    if not services.sweeping.locked():
        async with services.sweeping:
            await _sweep(services)


async def _sweep(services: Services) -> None:
    now_ms = services.clock.now_ms()
    await take_back_orphans(services)
    overdue = await services.store.overdue(now_ms - OVERDUE_MS, FOUND_MAX)
    for stored in overdue:
        if stored.request.status is Status.ACCEPTED:
            await services.store.acknowledged(stored.request.key, stored.outbox.taken, now_ms)
    undelivered = await services.store.undelivered(now_ms - OVERDUE_MS, FOUND_MAX)
    await _put_off([*overdue, *undelivered], services)
    await asyncio.gather(*(send_outcome(stored, services) for stored in undelivered))
    for connection_id in await services.store.stale_connections(now_ms // 1000, FOUND_MAX):
        if await services.store.delete_connection(connection_id):
            services.metrics.add("ConnectionClosed")  # when it ended, nobody knows
    await services.store.forget(now_ms)
    # Last, as a refused invocation raises and must not keep the rest from being done.
    hand_over([s for s in overdue if s.request.status in CLAIMABLE], services)


async def _put_off(found: list[Stored], services: Services) -> None:
    """Let the next sweeps look at others first, and at these when they are twice as old."""
    now_ms = services.clock.now_ms()
    moments_ms = {}
    for stored in found:
        age_ms = now_ms - stored.request.created_at_ms
        pause_ms = min(max(age_ms, OVERDUE_MS), PUT_OFF_MS_MAX)
        moments_ms[stored.request.key] = now_ms + pause_ms - OVERDUE_MS
    if moments_ms:
        await services.store.put_off(moments_ms)


async def take_back_orphans(services: Services) -> None:
    """Give requests whose worker is gone another attempt, or their end after too many deaths."""
    outcomes = []  # sent side by side at the end: one slow client takes seconds
    for stored in await services.store.orphans(services.clock.now_ms(), FOUND_MAX):
        if stored.request.status is not Status.PROCESSING:
            outcomes.append(send_outcome(stored, services))
            continue
        if stored.request.deaths + 1 >= services.settings.deaths_max:
            outcomes.append(_give_up(stored, services))
        else:
            request, now_ms = stored.request, services.clock.now_ms()
            pause_ms = DEATH_PAUSES_MS[min(request.deaths, len(DEATH_PAUSES_MS) - 1)]
            if await services.store.take_back(
                request.key, request.attempt, now_ms + pause_ms, now_ms
            ):
                _count_death(stored, services)
    await asyncio.gather(*outcomes)


def _count_death(stored: Stored, services: Services) -> None:
    services.metrics.add("LeaseExpired")
    bind_request(stored.request)
    log("warning", "a worker is gone", deaths=stored.request.deaths + 1)


async def _give_up(stored: Stored, services: Services) -> None:
    request = stored.request
    failure = StreamerError("PROCESSING_FAILED", "The request ended its worker too often.")
    outbox = Outbox(stored, services.store, services.manager, services.clock)
    try:
        await outbox.finish(Status.FAILED, {"error": failure.to_json()}, failure, outbox.waiting)
    except LostError:
        return
    _count_death(stored, services)
    log("error", "a request ended its worker too often")
    if (ended := await services.store.get(request.key)) is not None:
        await send_outcome(ended, services)


def hand_over(found: list[Stored], services: Services) -> None:
    """Invoke workers for requests that wait: alone for those whose worker died, else together."""
    alone = [stored.request.key for stored in found if stored.request.deaths]
    together = [stored.request.key for stored in found if not stored.request.deaths]
    hand_over_keys(together, alone, services)


def hand_over_keys(together: list[str], alone: list[str], services: Services) -> None:
    """Invoke workers asynchronously; the events are what `lambdas.worker` takes."""
    function = services.settings.worker_function
    isolated = services.settings.isolated_worker_function
    for start in range(0, len(together), HAND_OVER_MAX):
        services.invoke(function, {"request_keys": together[start : start + HAND_OVER_MAX]})
    for key in alone:
        services.invoke(isolated, {"request_keys": [key], "alone": True})


async def after_failure(failure: dict[str, Any], services: Services) -> None:
    """What a worker's failed invocation leaves: its lease ends, and its keys are handed over again.

    `failure` is the record that Lambda sends to a destination on failure.
    """
    await services.store.worker_gone(failure["requestContext"]["requestId"])
    await take_back_orphans(services)
    event = failure.get("requestPayload") or {}
    found = [await services.store.get(key) for key in event.get("request_keys", [])]
    # What was running there comes by the stream; what only waited there has nobody else to tell.
    hand_over(
        [s for s in found if s and s.request.status in CLAIMABLE and not s.request.deaths], services
    )


async def fail(key: str, code: str, services: Services) -> None:
    """End a request that can never be handed over, and send its outcome."""
    failure = StreamerError(code)
    outcome = encode({"error": failure.to_json()})
    if await services.store.end(key, Status.FAILED, outcome, services.clock.now_ms()) is not None:
        stored = await services.store.get(key)
        if stored is not None:
            await send_outcome(stored, services)
