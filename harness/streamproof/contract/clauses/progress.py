"""Section 3, progress: PROG-1 to PROG-6."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from typing import Any

from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import Received, Session, shown
from streamproof.dialect import Kind
from streamproof.targets import Capability

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
INTERVAL_MS = 100  # PROG-2
WAIT_MS_MAX = 200  # PROG-2


async def _run(session: Session, payload: dict[str, Any]) -> list[Received]:
    """Run one probe to its result; its progress messages."""
    request_id = await session.request("probe.async", payload)
    await session.result(request_id)
    return session.progress(request_id)


def _number(item: Received) -> float | None:
    value = item.reading.percentage
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    return float(value)


@clause(
    "PROG-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Percentages are finite, within 0 to 100, never lower than before; 100 comes once and "
    "is the last.",
    why="A bar that runs backwards or past its end is worse than none.",
    origin="Streamer",
)
async def percentages_rise(ctx: Context) -> None:
    """Steps at the edges, steps that fall back, and fractions, slow enough to be seen."""
    session = await ctx.connect()
    asked = (0, 0.5, 12.25, 12.25, 40, 33, 99.9, 100, 100)
    steps = [{"percentage": percentage, "ms": 130} for percentage in asked]
    seen = await _run(session, {"steps": steps})
    values = []
    for item in seen:
        value = _number(item)
        ok = value is not None and math.isfinite(value) and 0 <= value <= 100
        expect(ok, "a finite number within 0 to 100", shown(item))
        values.append(value or 0.0)
    expect(values == sorted(values), "percentages that never fall", values)
    expect(values.count(100.0) <= 1, "at most one 100", values)
    invented = [value for value in values if value not in asked]
    expect(not invented, f"the percentages that were reported, {asked}", values)
    expect(len(seen) >= 4, "progress of steps that are 130 ms apart", values)


@clause(
    "PROG-2",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Progress messages are 100 ms apart, the newest of the updates between them wins, and "
    "none is held back longer than 200 ms.",
    why="A handler that reports each row would bury its client; an update held back says nothing.",
    origin="Streamer; the original kept the first update of a batch and dropped the last",
)
async def progress_is_coalesced(ctx: Context) -> None:
    """A burst of updates, then one update before a long silence."""
    session = await ctx.connect()
    burst = [{"percentage": n / 2, "ms": 8} for n in range(1, 101)]
    seen = await _run(session, {"steps": burst})
    stamps = [item.message["timestamp"] for item in seen]
    # The flush before the outcome is exempt, so the last gap may be shorter.
    gaps = [later - earlier for earlier, later in itertools.pairwise(stamps[:-1])]
    expect(all(gap >= INTERVAL_MS for gap in gaps), f"gaps of {INTERVAL_MS} ms", gaps)
    span_ms = 100 * 8
    most = span_ms / INTERVAL_MS * 3 + 3  # a busy machine stretches the burst
    expect(3 <= len(seen) <= most, f"3 to {most:g} messages for 100 updates", len(seen))
    expect(_number(seen[-1]) == 50, "the last update, 50", shown(seen[-1]))
    # Ten updates in one moment, then silence: the newest of them must come within it.
    at_once = [{"percentage": percentage, "ms": 0} for percentage in range(1, 11)]
    silence = {"percentage": 20, "ms": 1500}
    request_id = await session.request("probe.async", {"steps": [*at_once, silence]})
    outcome = await session.result(request_id)
    seen = session.progress(request_id)
    first = next((item for item in seen if _number(item) == 10), None)
    if first is None:
        raise Broken("the newest of ten updates, 10", [shown(item) for item in seen])
    ahead_s = outcome.at_s - first.at_s
    expect(
        ahead_s >= 1.5 - WAIT_MS_MAX / 1000 - 0.5,  # half a second for the way and a busy machine
        f"10 to arrive within {WAIT_MS_MAX} ms, over a second before the outcome",
        f"{ahead_s * 1000:.0f} ms before it",
    )


@clause(
    "PROG-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="What is pending is sent before the outcome, at once.",
    why="Otherwise the last thing that a client sees of a finished request is 90 %.",
    origin="Streamer; the original slept before completion and was still overtaken",
    messages=30,
)
async def the_last_update_is_flushed(ctx: Context) -> None:
    """Ten requests whose last update comes in the moment in which they end."""
    session = await ctx.connect()
    steps = [{"percentage": 10, "ms": 10}, {"percentage": 60, "ms": 5}, {"percentage": 95, "ms": 0}]
    ids = [await session.request("probe.async", {"steps": steps, "result": 1}) for _ in range(10)]
    for request_id in ids:
        await session.result(request_id)
        last = session.of(request_id)[-2:]
        expect(
            last[0].reading.kind is Kind.PROGRESS and _number(last[0]) == 95,
            "progress 95, then the outcome",
            [shown(item) for item in last],
        )
        gap_ms = last[1].message["timestamp"] - last[0].message["timestamp"]
        expect(0 <= gap_ms < 2000, "the outcome right after the flush", f"{gap_ms} ms")
    quick = await session.request("probe.async", {"steps": [{"percentage": 100, "ms": 0}]})
    await session.result(quick)
    kinds = [item.reading.kind for item in session.of(quick)]
    wanted = [Kind.ACKNOWLEDGMENT, Kind.PROGRESS, Kind.RESULT]
    expect(kinds == wanted, "acknowledgment, 100 %, outcome", kinds)


@clause(
    "PROG-4",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="`status` tells the progress of a running request, at most one interval old.",
    why="A client that reconnects wants to know how far it is.",
    origin="Streamer",
)
async def status_tells_progress(ctx: Context) -> None:
    """Ask from another connection once the wire has said 40."""
    me = ctx.identity()
    session, watcher = await ctx.connect(me), await ctx.connect(me)
    steps = [{"percentage": 40, "ms": 50}, {"percentage": 80, "ms": 2500}]
    request_id = await session.request("probe.async", {"steps": steps, "result": {"done": True}})
    await session.wait(lambda item: item.reading.kind is Kind.PROGRESS, "progress 40")
    await session.quiet(2 * INTERVAL_MS / 1000)
    data = await watcher.data("status", {"request_id": request_id})
    agrees = data.get("status") == "PROCESSING" and data.get("percentage") == 40
    expect(agrees, "PROCESSING at 40", data)
    expect(data.get("action") == "probe.async", "the action", data)
    expect("result" not in data and "error" not in data, "no outcome yet", data)
    await session.result(request_id)
    data = await watcher.data("status", {"request_id": request_id})
    expect(data.get("status") == "COMPLETED", "COMPLETED", data)


@clause(
    "PROG-5",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="An update carries the metadata that was set before it and none that was set after.",
    why="Metadata that runs ahead of its percentage describes a state that was not reached.",
    origin="Streamer",
)
async def metadata_belongs_to_its_update(ctx: Context) -> None:
    """Each step sets a member of its own and overwrites a common one, in bursts and slowly."""
    session = await ctx.connect()
    for ms in (15, 140):
        count = 12 if ms < INTERVAL_MS else 6
        steps = [
            {"percentage": n, "ms": ms, "metadata": {"step": str(n), f"k{n}": "set"}}
            for n in range(1, count + 1)
        ]
        seen = await _run(session, {"steps": steps})
        expect(len(seen) >= 2, "progress", len(seen))
        for item in seen:
            number = _number(item) or 0.0
            wanted = {"step": f"{number:g}"} | {f"k{n}": "set" for n in range(1, int(number) + 1)}
            expect(item.message.get("metadata") == wanted, f"the metadata {wanted}", shown(item))


@clause(
    "PROG-6",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A retry does not take the percentage back.",
    why="To the client it is one request, however often it was tried.",
    origin="Streamer, tightened; the original went back to 0",
)
async def retries_do_not_go_back(ctx: Context) -> None:
    """Two attempts that fail after 70 %, and one that completes."""
    session = await ctx.connect()
    steps = [{"percentage": percentage, "ms": 120} for percentage in (10, 40, 70)]
    payload = {"steps": steps, "end": "retryable", "end_attempts": 2, "result": "ok"}
    seen = await _run(session, payload)
    values = [_number(item) for item in seen]
    expect(values == sorted(v or 0.0 for v in values), "percentages that never fall", values)
    expect(70 in values, "the first attempt's 70", values)
