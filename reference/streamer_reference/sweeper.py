"""What time alone can find: leases that ran out, requests that nobody took, outcomes not delivered.

Everything here is safe to do twice, by two sweepers at once: each step is a conditional write, and
what is posted again is the same message.
"""

from __future__ import annotations

import asyncio
from typing import Any

from streamer_reference.core.states import CLAIMABLE, Status
from streamer_reference.observability.logs import bind_request, log
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import StreamerError
from streamer_reference.services import Services
from streamer_reference.store.base import Stored
from streamer_reference.worker import give_up, send_outcome

OVERDUE_MS = 10_000  # contract, section 3
PUT_OFF_MS_MAX = 30_000  # the longest between two tries at what cannot be delivered or run
FOUND_MAX = 500  # of each kind in one sweep, twice what a worker holds; the next one goes on
HAND_OVER_MAX = 100  # keys in one invocation
DEATH_PAUSES_MS = (500, 1_000, 2_000, 4_000)  # contract, section 5


async def sweep(services: Services) -> None:
    """One sweep over everything: first what needs nobody's answer, then the outcomes."""
    ended = await take_back_orphans(services)
    now_ms = services.clock.now_ms()
    overdue = await services.store.overdue(now_ms - OVERDUE_MS, FOUND_MAX)
    for stored in overdue:
        if stored.request.status is Status.ACCEPTED:
            await services.store.acknowledged(stored.request.key, stored.outbox.taken, now_ms)
    undelivered = await services.store.undelivered(now_ms - OVERDUE_MS, FOUND_MAX)
    await _put_off([*overdue, *undelivered], services)
    for connection_id in await services.store.stale_connections(now_ms // 1000, FOUND_MAX):
        if await services.store.delete_connection(connection_id):
            services.metrics.add("ConnectionClosed")  # when it ended, nobody knows
    await services.store.forget(now_ms)
    if services.objects is not None:
        services.objects.forget()
    try:
        hand_over([s for s in overdue if s.request.status in CLAIMABLE], services)
    finally:  # a refused invocation raises
        await _send_outcomes([*ended, *undelivered], services)


async def _send_outcomes(found: list[Stored], services: Services) -> None:
    """Send side by side what this process is not sending already: one slow client takes seconds.

    Meanwhile the next sweeps find the same, and must not post it once more.
    """
    mine = {s.request.key: s for s in found if s.request.key not in services.sending}
    services.sending.update(mine)
    try:
        await asyncio.gather(*(send_outcome(stored, services) for stored in mine.values()))
    finally:
        services.sending.difference_update(mine)


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


async def take_back_orphans(services: Services) -> list[Stored]:
    """Give requests whose worker is gone another attempt, or their end after too many deaths.

    The ended ones among them, whose outcomes nobody sends.
    """
    ended = []
    for stored in await services.store.orphans(services.clock.now_ms(), FOUND_MAX):
        request = stored.request
        if request.status is not Status.PROCESSING:
            ended.append(stored)
        elif request.deaths + 1 >= services.settings.deaths_max:
            message = "The request ended its worker too often."
            if (given_up := await give_up(stored, services, message)) is not None:
                _count_death(stored, services)
                ended.append(given_up)
        else:
            now_ms = services.clock.now_ms()
            pause_ms = DEATH_PAUSES_MS[min(request.deaths, len(DEATH_PAUSES_MS) - 1)]
            if await services.store.take_back(
                request.key, request.attempt, now_ms + pause_ms, now_ms
            ):
                _count_death(stored, services)
    return ended


def _count_death(stored: Stored, services: Services) -> None:
    services.metrics.add("LeaseExpired")
    bind_request(stored.request)
    log("warning", "a worker is gone", deaths=stored.request.deaths + 1)


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
    ended = await take_back_orphans(services)
    event = failure.get("requestPayload") or {}
    found = [await services.store.get(key) for key in event.get("request_keys", [])]
    # What was running there comes by the stream; what only waited there has nobody else to tell.
    try:
        hand_over(
            [s for s in found if s and s.request.status in CLAIMABLE and not s.request.deaths],
            services,
        )
    finally:  # a refused invocation raises
        await _send_outcomes(ended, services)


async def fail(key: str, code: str, services: Services) -> None:
    """End a request that can never be handed over, and send its outcome."""
    failure = StreamerError(code)
    outcome = encode({"error": failure.to_json()})
    if await services.store.end(key, Status.FAILED, outcome, services.clock.now_ms()) is not None:
        stored = await services.store.get(key)
        if stored is not None:
            await send_outcome(stored, services)
