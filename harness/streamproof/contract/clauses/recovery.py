"""Section 3, after a fault: RECOV-1, 3 and 5. Crashes run alone: they harm their neighbours."""

from __future__ import annotations

import asyncio
import json

from streamproof.contract import exact
from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import shown
from streamproof.dialect import Kind
from streamproof.targets import Capability

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
CRASHING = (*STREAMER, Capability.CRASH)
DEATHS = 5  # the contract's bound: after so many a request is given up
TAKEOVER_EMBEDDED_S = (
    15.0  # `serve`: at once for a worker that it saw die; the rest is a slow start
)


def _takeover_s(ctx: Context) -> float:
    longest_s = ctx.patience.takeover_s
    return min(longest_s, TAKEOVER_EMBEDDED_S) if ctx.target.kind == "embedded" else longest_s


@clause(
    "RECOV-1",
    group=Group.RESILIENCE,
    needs=CRASHING,
    sentence="A request whose worker dies is taken over and completes; its death is not counted as "
    "a failure of the handler.",
    why="Processes die; an acknowledged request must not die with one.",
    origin="Streamer, tightened; in the original it stayed PROCESSING for ever",
    timeout_s=100.0,
    alone=True,
)
async def a_death_is_survived(ctx: Context) -> None:
    """Kill the worker of one request while another works beside it."""
    me, key = ctx.identity(), ctx.key("count")
    session = await ctx.connect(me)
    wait_s = _takeover_s(ctx)
    bystanders = [
        await session.request(
            "probe.async", {"steps": [{"percentage": 50, "ms": 600}], "result": n}
        )
        for n in range(5)
    ]
    steps = [{"percentage": 30, "ms": 50}, {"percentage": 60, "ms": 150}]
    payload = {"steps": steps, "end": "crash", "end_attempts": 1, "result": "alive"}
    request_id = await session.request("probe.async", {**payload, "count_key": key})
    item = await session.result(request_id, wait_s)
    expect(item.reading.value == "alive", "its result", shown(item))
    for number, bystander in enumerate(bystanders):
        item = await session.result(bystander, wait_s)
        expect(item.reading.value == number, f"the result {number} of a neighbour", shown(item))
    numbers = [item.reading.sequence for item in session.of(request_id)]
    expect(numbers == list(range(len(numbers))), "numbers without a gap", numbers)
    counted = await ctx.count(me, key)
    expect(counted == 2, "two runs: the one that died, the one that took over", counted)


@clause(
    "RECOV-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A result stays readable through `status` from any connection of the same user.",
    why="The connection that asked is often gone when the answer is there.",
    origin="Streamer; the original dropped the result on completion",
)
async def results_are_kept(ctx: Context) -> None:
    """Read results and errors from a later connection, more than once."""
    me = ctx.identity()
    session = await ctx.connect(me)
    result = {"rows": [1, 2.5, None, "ü"], "nonce": ctx.key("r")}
    sent = exact.parse(json.dumps(result))
    done = await session.request("probe.async", {"result": result})
    failed = await session.request("probe.async", {"end": "fail", "code": "NOT_FOUND"})
    await session.result(done)
    outcome = await session.failure(failed, "NOT_FOUND")
    await session.close()
    for _ in range(2):
        later = await ctx.connect(me)
        data = await later.data("status", {"request_id": done})
        agrees = data.get("status") == "COMPLETED" and "error" not in data
        expect(agrees, "COMPLETED without an error", data)
        if differs := exact.difference(sent, data.get("result")):
            raise Broken(f"the result {sent}", differs)
        expect(data.get("request_id") == done, "its request_id", data)
        data = await later.data("status", {"request_id": failed})
        expect(data.get("status") == "FAILED", "FAILED", data)
        expect(data["error"]["code"] == outcome["error"]["code"], "the error's code", data)
        await later.close()


@clause(
    "RECOV-5",
    group=Group.RESILIENCE,
    needs=CRASHING,
    sentence="A request that kills its worker each time ends PROCESSING_FAILED after the fifth "
    "death, alone; others are unharmed.",
    why="One poisonous request must not take its neighbours with it, or the service for ever.",
    origin="ours",
    timeout_s=100.0,
    alone=True,
)
async def poison_fails_alone(ctx: Context) -> None:
    """A request that crashes always, with others before and after."""
    me, wait_s = ctx.identity(), _takeover_s(ctx)
    session = await ctx.connect(me)
    poison = await session.request("probe.async", {"end": "crash", "count_key": ctx.key("count")})
    await session.acknowledged(poison)
    others: list[str] = []
    ended = asyncio.create_task(session.outcome(poison, 2 * wait_s))
    try:
        while not ended.done() and len(others) < 40:
            payload = {"steps": [{"percentage": 50, "ms": 200}], "result": len(others)}
            others.append(await session.request("probe.async", payload))
            await asyncio.wait({ended}, timeout=0.5)
        item = await ended
    finally:
        ended.cancel()
    expect(item.reading.code == "PROCESSING_FAILED", "PROCESSING_FAILED", shown(item))
    for number, request_id in enumerate(others):
        item = await session.outcome(request_id, wait_s)
        good = item.reading.kind is Kind.RESULT and item.reading.value == number
        expect(good, f"the result {number} of a neighbour", shown(item))
    counted = await ctx.count(me, ctx.key("count"))
    expect(counted == DEATHS, f"{DEATHS} runs, each of them its worker's death", f"{counted} runs")
