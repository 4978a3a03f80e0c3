"""Section 5: LIMIT-1 to LIMIT-3, against the limits that the target itself declares."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, NotApplicable, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import shown
from streamproof.dialect import Kind
from streamproof.targets import Capability, safety
from streamproof.targets.http import fetch

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
MESSAGE_BYTES = 131_072  # PostToConnection Data, botocore model
BURST_MAX = 2000  # a higher limit costs more messages than a clause may send
RACE = 10  # LIMIT-3: a race may let so many more in
REST = 5  # messages that a clause sends beside those it counts


@clause(
    "LIMIT-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A result that does not fit a message comes as `result_url`, or RESULT_TOO_LARGE "
    "where there is no object store; one that fits comes in the message.",
    why="A result that is too large for the gateway would otherwise vanish.",
    origin="Streamer; in the original it vanished",
)
async def large_results_arrive(ctx: Context) -> None:
    """A result of 100 kB, and one of 300 kB, fetched where the URL says."""
    me = ctx.identity()
    session = await ctx.connect(me)
    fits = await session.request("probe.async", {"result_bytes": 100_000})
    item = await session.result(fits)
    size = len(json.dumps(item.message.get("result"), separators=(",", ":")))
    expect(size == 100_000, "a result of 100,000 bytes in the message", f"{size} bytes")
    size_bytes = 300_000
    large = await session.request("probe.async", {"result_bytes": size_bytes})
    item = await session.outcome(large)
    if item.reading.code == "RESULT_TOO_LARGE":
        return
    expect(item.reading.kind is Kind.RESULT, "complete with result_url", shown(item))
    url = item.message.get("result_url")
    if not isinstance(url, str) or "result" in item.message:
        raise Broken("result_url in place of result", shown(item))
    body = await _fetch(ctx, url)
    expect(len(body) == size_bytes, f"{size_bytes} bytes behind result_url", f"{len(body)} bytes")
    json.loads(body)
    later = await ctx.connect(me)
    data = await later.data("status", {"request_id": large})
    fresh = data.get("result_url")
    expect(isinstance(fresh, str), "result_url in status", data)
    expect(await _fetch(ctx, str(fresh)) == body, "the same bytes through status", "others")


async def _fetch(ctx: Context, url: str) -> bytes:
    """The bytes behind a URL that the target gave; from a local target only local ones."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise Broken("an http URL", url[:200])
    if ctx.target.loopback and not safety.is_loopback(safety.host_of(url)):
        raise Broken("a URL on this machine, as the target is", safety.host_of(url))
    try:
        answer = await fetch("GET", url, tls=ctx.target.tls)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        raise Broken("the result behind result_url", f"{type(error).__name__}: {error}") from error
    expect(answer.status == 200, "200 from result_url", answer.status)
    return answer.body


@clause(
    "LIMIT-2",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Messages above the connection's rate are refused with RATE_LIMITED and "
    "`retry.after_ms`, and nothing is run; the others are served.",
    why="One client in a loop must not use up what is there for all.",
    origin="Streamer",
    messages=200,
)
async def the_message_rate_holds(ctx: Context) -> None:
    """Send the burst and twenty more; count what was served, and what ran."""
    rate, burst = ctx.limits.messages_per_minute, ctx.limits.burst
    if rate is None or burst is None:
        raise NotApplicable("the target declares no message rate")
    if burst > BURST_MAX or burst < 2:
        raise NotApplicable(f"a burst of {burst} is not tried: 2 to {BURST_MAX} are")
    me, key = ctx.identity(), ctx.key("count")
    session, neighbour = await ctx.connect(me), await ctx.connect(me)
    began_s = asyncio.get_running_loop().time()
    payload = {"count_key": key}
    ids = [await session.request("probe.sync", payload) for _ in range(burst + 20)]
    items = [await session.answer(request_id) for request_id in ids]
    took_s = asyncio.get_running_loop().time() - began_s
    served = sum(item.reading.kind is Kind.ANSWER for item in items)
    most = burst + int(rate * took_s / 60) + 1
    expect(burst <= served <= most, f"{burst} to {most} served", f"{served} of {len(ids)}")
    waits_ms = []
    for item in items:
        if item.reading.kind is not Kind.ANSWER:
            expect(item.reading.code == "RATE_LIMITED", "RATE_LIMITED", shown(item))
            retry = item.message["error"].get("retry", {})
            after_ms = retry.get("after_ms")
            good = retry.get("retryable") is True and type(after_ms) is int and after_ms > 0
            expect(good, "retryable, with after_ms", shown(item))
            waits_ms.append(after_ms)
    counted = (await neighbour.data("probe.count", {"key": key}))["count"]
    expect(counted == served, f"{served} to have run", f"{counted} ran")
    if waits_ms[-1] <= 10_000:
        await session.quiet(waits_ms[-1] / 1000 + 0.2)
        item = await session.answer(await session.request("ping"))
        expect(item.reading.kind is Kind.ANSWER, "service again after after_ms", shown(item))


@clause(
    "LIMIT-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Long requests in flight above the connection's limit are refused with RATE_LIMITED, "
    "and nothing is run.",
    why="Queues without a bound fail for everybody at once.",
    origin="Streamer",
    messages=120,
)
async def in_flight_requests_are_bounded(ctx: Context) -> None:
    """Start more slow requests than the limit allows on one connection."""
    limit, burst = ctx.limits.in_flight, ctx.limits.burst
    if limit is None:
        raise NotApplicable("the target declares no limit of requests in flight")
    extra = RACE + REST
    if limit > BURST_MAX or (burst is not None and limit + extra + REST > burst):
        raise NotApplicable(f"the message rate of {burst} binds before {limit} are in flight")
    me, key = ctx.identity(), ctx.key("count")
    session = await ctx.connect(me)
    payload = {"steps": [{"percentage": 50, "ms": 4000}], "count_key": key}
    ids = [await session.request("probe.async", payload) for _ in range(limit + extra)]
    firsts = [await session.first(request_id) for request_id in ids]
    accepted = [item for item in firsts if item.reading.kind is Kind.ACKNOWLEDGMENT]
    expect(
        limit <= len(accepted) <= limit + RACE,
        f"{limit} accepted, a race of {RACE} aside",
        len(accepted),
    )
    for item in firsts:
        if item.reading.kind is not Kind.ACKNOWLEDGMENT:
            expect(item.reading.code == "RATE_LIMITED", "RATE_LIMITED", shown(item))
            retry = item.message["error"].get("retry", {})
            good = retry.get("retryable") is True and type(retry.get("after_ms")) is int
            expect(good, "retryable, with after_ms", shown(item))
    for item in accepted:
        await session.result(str(item.reading.request_id))
    counted = await ctx.count(me, key)
    expect(counted == len(accepted), f"{len(accepted)} to have run", f"{counted} ran")
    again = await session.request("probe.async", {"result": "again"})
    await session.result(again)
