"""Section 3, the life of a long request: ASYNC-1 to ASYNC-6, OWN-1, CANCEL-1."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import Received, Session, shown
from streamproof.dialect import Kind
from streamproof.targets import Capability, Identity

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
SETTLE_S = 0.7  # longer than a progress interval: what comes too late comes within it


def _steps(*percentages: float, ms: int = 30) -> list[dict[str, Any]]:
    return [{"percentage": percentage, "ms": ms} for percentage in percentages]


@clause(
    "ASYNC-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A request that is acknowledged ends: of many at once none is lost, on the wire and "
    "in `status`.",
    why="An acknowledgment is a promise; a client that has one stops trying.",
    origin="Streamer",
    messages=70,
)
async def nothing_acknowledged_is_lost(ctx: Context) -> None:
    """Forty at once, each with a result of its own."""
    session = await ctx.connect()
    results = {ctx.new_id(): {"nonce": ctx.key(str(number))} for number in range(40)}
    for request_id, result in results.items():
        await session.request("probe.async", {"steps": [], "result": result}, id=request_id)
    for request_id, result in results.items():
        item = await session.result(request_id)
        expect(item.reading.value == result, f"the result {result}", shown(item))
    for request_id in list(results)[::4]:
        data = await session.data("status", {"request_id": request_id})
        expect(data.get("status") == "COMPLETED", f"{request_id} COMPLETED in status", data)


@clause(
    "ASYNC-2",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A request's messages come in order: the acknowledgment, progress, one outcome, then "
    "nothing new.",
    why="A client cannot show progress for a request that it does not know to be accepted.",
    origin="Streamer; the original could enqueue, and be overtaken before it acknowledged",
    messages=30,
)
async def acknowledged_progress_outcome(ctx: Context) -> None:
    """Quick and slow requests, good and failing, with time afterwards for what must not come."""
    session = await ctx.connect()
    plans: list[dict[str, Any]] = [{"result": 1}, {"end": "fail", "code": "PROCESSING_FAILED"}]
    plans += [{"steps": _steps(1, 50, 99, ms=ms), "result": ms} for ms in (0, 1, 5, 60)]
    plans += [{"steps": _steps(20, 40), "end": "fail", "code": "NOT_FOUND"}]
    ids = [await session.request("probe.async", plan) for plan in plans * 3]
    for request_id in ids:
        await session.outcome(request_id)
    await session.quiet(SETTLE_S)
    for request_id, plan in zip(ids, plans * 3, strict=True):
        kinds = [item.reading.kind for item in session.of(request_id)]
        outcome = Kind.FAILURE if plan.get("end") == "fail" else Kind.RESULT
        wanted = [Kind.ACKNOWLEDGMENT, *[Kind.PROGRESS] * (len(kinds) - 2), outcome]
        expect(kinds == wanted, f"acknowledgment, progress.., {outcome} for {plan}", kinds)
        if plan.get("steps"):
            expect(len(kinds) > 2, f"progress for {plan}", kinds)


@clause(
    "ASYNC-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="One outcome is recorded: `status` says what the wire said, and without faults a "
    "request begins to run once.",
    why="A request that runs again after it ended charges somebody twice.",
    origin="Streamer, tightened",
    messages=40,
)
async def one_outcome_is_recorded(ctx: Context) -> None:
    """Ten requests with a count of their own; each ran once and its status is its outcome."""
    me = ctx.identity()
    session = await ctx.connect(me)
    keys = {}
    for number in range(10):
        key = ctx.key(f"count{number}")
        payload = {"steps": _steps(50), "result": {"n": number}, "count_key": key}
        keys[await session.request("probe.async", payload)] = key
    outcomes = {request_id: await session.result(request_id) for request_id in keys}
    await session.quiet(SETTLE_S)
    for request_id, key in keys.items():
        counted = (await session.data("probe.count", {"key": key}))["count"]
        expect(counted == 1, f"{request_id} to have begun once", f"{counted} times")
        data = await session.data("status", {"request_id": request_id})
        agrees = data.get("status") == "COMPLETED"
        agrees = agrees and data.get("result") == outcomes[request_id].message["result"]
        expect(agrees, f"status to say {shown(outcomes[request_id])}", data)
    failing = await session.request("probe.async", {"end": "fail", "code": "NOT_FOUND"})
    item = await session.outcome(failing)
    data = await session.data("status", {"request_id": failing})
    code = data.get("error", {}).get("code") if isinstance(data.get("error"), dict) else None
    expect(
        (data.get("status"), code) == ("FAILED", item.reading.code),
        f"status FAILED with {item.reading.code}",
        data,
    )


async def _duplicate(session: Session, request_id: str, key: str, *statuses: str) -> None:
    await session.request("probe.async", {"count_key": key, "result": "again"}, id=request_id)
    item = await session.first(request_id)
    expect(item.reading.code == "DUPLICATE_REQUEST", "DUPLICATE_REQUEST", shown(item))
    details = item.message["error"].get("details")
    status = details.get("status") if isinstance(details, dict) else None
    expect(status in statuses, f"details.status {' or '.join(statuses)}", shown(item))


@clause(
    "ASYNC-4",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A second request with the id of a queued one of the same user is refused with "
    "DUPLICATE_REQUEST, running or ended; equal ids of different users are different requests.",
    why="Clients send again when they are unsure; the work must not be done twice.",
    origin="Streamer, tightened; in the original a reused id overwrote the first request",
    messages=20,
)
async def ids_are_remembered_per_user(ctx: Context) -> None:
    """Again while it runs, again after it ended, from another connection, from other users."""
    me, key = ctx.identity(), ctx.key("count")
    session, second = await ctx.connect(me), await ctx.connect(me)
    request_id = ctx.new_id()
    # A refused one does not use up its id.
    refused = {"end": "nonsense", "count_key": key}
    await session.refusal("probe.async", refused, id=request_id, code="VALIDATION_ERROR")
    started = len(session.received)
    payload = {"steps": _steps(10, 20, ms=600), "result": "first", "count_key": key}
    await session.request("probe.async", payload, id=request_id)
    await session.wait(lambda _: len(session.received) > started, "the acknowledgment")
    first = session.received[started]
    expect(first.reading.kind is Kind.ACKNOWLEDGMENT, "the acknowledgment", shown(first))
    await _duplicate(second, request_id, key, "ACCEPTED", "PENDING", "PROCESSING")
    item = await session.wait(lambda item: item.reading.kind is Kind.RESULT, "the result")
    expect(item.reading.value == "first", "the first one's result", shown(item))
    third = await ctx.connect(me)
    await _duplicate(third, request_id, key, "COMPLETED")
    data = await third.data("status", {"request_id": request_id})
    expect(data.get("result") == "first", "the first one's result in status", data)
    counted = await ctx.count(me, key)
    expect(counted == 1, "one run", f"{counted} runs")
    for other in (
        ctx.identity("b"),
        Identity(me.user, ctx.identity(tenant="other").tenant, me.permissions),
    ):
        stranger = await ctx.connect(other)
        await stranger.request("probe.async", {"result": other.user}, id=request_id)
        item = await stranger.result(request_id)
        expect(item.reading.value == other.user, "a request of its own", shown(item))


@clause(
    "ASYNC-4/encoding",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="The key of tenant, user and id is unambiguous, whatever characters they hold.",
    why="With a separator that a name may contain, one user meets another's request.",
    origin="ours",
    messages=30,
)
async def keys_do_not_collide(ctx: Context) -> None:
    """Pairs whose parts, joined by a separator, read the same."""
    tenant, probe = ctx.identity().tenant, ("probe",)
    pairs = [
        (Identity(f"u{s}v", tenant, probe), Identity("v", f"{tenant}{s}u", probe))
        for s in ("#", ":", "|", "/", "\x1f", "%23", "\\#", "~", "@", ".")
        if not ctx.target.options.tenants  # where these are named, only user and id can be chosen
    ]
    request_id = ctx.new_id()
    for one, other in pairs:
        await asyncio.gather(*(_own_result(ctx, who, request_id) for who in (one, other)))
    for s in ("#", ":", "|", "/"):
        one, other = Identity("u", tenant, probe), Identity(f"u{s}x", tenant, probe)
        await _own_result(ctx, one, f"x{s}{ctx.run}")
        await _own_result(ctx, other, ctx.run)


async def _own_result(ctx: Context, who: Identity, request_id: str) -> None:
    session = await ctx.connect(who)
    nonce = f"{who.user} of {who.tenant}"
    await session.request("probe.async", {"result": nonce}, id=request_id)
    item = await session.result(request_id)
    expect(item.reading.value == nonce, f"the result of {nonce}", shown(item))
    await session.close()


@clause(
    "ASYNC-5",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A request that fails for good, runs out of attempts or out of time ends with one "
    "error: its own code, PROCESSING_FAILED or TIMEOUT; a retryable failure is tried again.",
    why="A request without an end is worse than a failed one.",
    origin="Streamer; in the original the processor said nothing in three of these cases",
    messages=20,
)
async def every_failure_ends(ctx: Context) -> None:
    """Each way to fail, with the count of attempts where it is told apart by it."""
    me = ctx.identity()
    session = await ctx.connect(me)
    plans: list[tuple[dict[str, Any], tuple[str, ...], int]] = [
        ({"end": "fail", "code": "NOT_FOUND"}, ("NOT_FOUND",), 1),
        ({"end": "fail", "code": "PROCESSING_FAILED"}, ("PROCESSING_FAILED",), 1),
        ({"end": "hang", "time_limit_ms": 500}, ("TIMEOUT",), 1),
        ({"end": "retryable"}, ("PROCESSING_FAILED",), 3),
        ({"end": "retryable", "end_attempts": 2, "result": "third time"}, (), 3),
        ({"end": "fail", "code": "NOT_FOUND", "end_attempts": 1}, ("NOT_FOUND",), 1),
    ]
    started = []
    for number, (plan, codes, runs) in enumerate(plans):
        key = ctx.key(f"count{number}")
        request_id = await session.request("probe.async", {**plan, "count_key": key})
        started.append((request_id, plan, codes, runs, key))
    for request_id, plan, codes, runs, key in started:
        item = await session.outcome(request_id)
        if codes:
            expect(item.reading.code in codes, f"{' or '.join(codes)} for {plan}", shown(item))
        else:
            expect(item.reading.value == plan["result"], f"its result for {plan}", shown(item))
        counted = (await session.data("probe.count", {"key": key}))["count"]
        expect(counted == runs, f"{runs} attempts of {plan}", f"{counted} attempts")
    await session.quiet(SETTLE_S)
    for request_id, plan, *_ in started:
        final = [item for item in session.of(request_id) if item.reading.final]
        expect(len(final) == 1, f"one outcome of {plan}", [shown(item) for item in final])


@clause(
    "ASYNC-6",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Requests run side by side: five of 3 s do not hold up fifty of 50 ms.",
    why="One slow customer must not stop all others.",
    origin="Streamer, tightened; the original ran the records of a batch one after the other",
    messages=55,
)
async def slow_ones_hold_up_nobody(ctx: Context) -> None:
    """Each of the fifty must end before any of the five; the messages' own order decides."""
    session = await ctx.connect()
    slow = [await session.request("probe.async", {"steps": _steps(50, ms=3000)}) for _ in range(5)]
    fast = [await session.request("probe.async", {"steps": _steps(50, ms=50)}) for _ in range(50)]
    await session.acknowledged(slow[0])
    first = await session.wait(
        lambda item: item.reading.final and item.reading.request_id in slow,
        "the outcome of a slow one",
        ctx.patience.outcome_s,
    )
    before = session.received[: session.received.index(first)]
    ended = {item.reading.request_id for item in before if item.reading.final}
    late = [request_id for request_id in fast if request_id not in ended]
    expect(not late, "each of the fifty to end before any of the five", f"{len(late)} did not")
    for request_id in slow + fast:
        await session.result(request_id)


def _shape(item: Received, request_id: str) -> str:
    """An error without what may differ between two requests."""
    error = json.dumps(item.message["error"], sort_keys=True, default=str)
    return error.replace(request_id, "<id>")


@clause(
    "OWN-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="`status`, `cancel` and `subscribe` answer for another user's request exactly as for "
    "one that does not exist: NOT_FOUND.",
    why="Otherwise ids can be tried until one belongs to somebody.",
    origin="Streamer, tightened",
    messages=40,
)
async def strangers_find_nothing(ctx: Context) -> None:
    """Another user of the tenant, and the same name in another tenant; while it runs and after."""
    me = ctx.identity()
    mine = await ctx.connect(me)
    request_id = await mine.request("probe.async", {"steps": _steps(30, 60, ms=500), "result": "s"})
    await mine.acknowledged(request_id)
    elsewhere = Identity(me.user, ctx.identity(tenant="other").tenant, me.permissions)
    others = [ctx.identity("b"), elsewhere]
    sessions = [await ctx.connect(other) for other in others]
    nobody = f"{request_id[:-1]}x"
    for _ in ("running", "ended"):
        for session in sessions:
            for action in ("status", "cancel", "subscribe"):
                shapes = []
                for wanted in (request_id, nobody):
                    payload = {"request_id": wanted}
                    item = await session.answer(await session.request(action, payload))
                    expect(item.reading.code == "NOT_FOUND", f"NOT_FOUND for {action}", shown(item))
                    shapes.append(_shape(item, wanted))
                expect(shapes[0] == shapes[1], "one answer to both", shapes)
        await mine.result(request_id)
    for session in sessions:
        heard = [shown(i) for i in session.received if i.reading.request_id == request_id]
        expect(not heard, "no message of it on another's connection", heard)


@clause(
    "CANCEL-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="`cancel` ends a request with one CANCELLED error; one that has ended answers "
    "ALREADY_ENDED with its status.",
    why="A cancelled request that still completes leaves the client with two truths.",
    origin="Streamer, tightened",
    messages=15,
)
async def cancelling_ends_once(ctx: Context) -> None:
    """Cancel a running request from another connection, cancel it again, cancel an ended one."""
    me = ctx.identity()
    session, second = await ctx.connect(me), await ctx.connect(me)
    slow = _steps(*range(1, 40), ms=250)
    running = await session.request("probe.async", {"steps": slow})
    await session.wait(lambda item: item.reading.kind is Kind.PROGRESS, "progress")
    data = await second.data("cancel", {"request_id": running})
    agrees = data.get("request_id") == running and isinstance(data.get("status"), str)
    expect(agrees, "data {request_id, status}", data)
    await session.failure(running, "CANCELLED")
    data = await second.data("status", {"request_id": running})
    expect(data.get("status") == "CANCELLED", "CANCELLED in status", data)
    error = await second.refusal("cancel", {"request_id": running}, code="ALREADY_ENDED")
    expect(_status_of(error) == "CANCELLED", "details.status CANCELLED", error)
    ended = await session.request("probe.async", {"result": 1})
    await session.result(ended)
    error = await session.refusal("cancel", {"request_id": ended}, code="ALREADY_ENDED")
    expect(_status_of(error) == "COMPLETED", "details.status COMPLETED", error)
    await session.quiet(SETTLE_S)
    after = session.of(running)
    if after[-1].reading.code != "CANCELLED" or sum(item.reading.final for item in after) != 1:
        raise Broken("nothing after CANCELLED", [shown(item) for item in after[-3:]])


def _status_of(error: dict[str, Any]) -> Any:
    details = error.get("details")
    return details.get("status") if isinstance(details, dict) else None
