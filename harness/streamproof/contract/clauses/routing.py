"""Section 2, what happens to a message: ROUTE-1 to 3, SYNC-1 to 3, ERR-1."""

from __future__ import annotations

import re

from streamproof.contract.context import Context
from streamproof.contract.failures import expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import Session, shown
from streamproof.dialect import Kind
from streamproof.dialect.codes import CODES, RETRYABLE
from streamproof.targets import Capability

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
_LEAKS = re.compile(
    r"Traceback|File \"|line \d+, in|\.py\b|\.go:\d|/home/|/usr/|/tmp/|/var/|/etc/|"
    r"site-packages|node_modules|Exception\b|Error:|eyJ[A-Za-z0-9_-]{8,}\.|"
    r"arn:aws|dynamodb|sqlite|SELECT |INSERT |\btable\b",
    re.IGNORECASE,
)


def leak_in(text: str) -> str:
    """What a message shows of the machine behind it; empty when nothing."""
    found = _LEAKS.search(text)
    return found.group() if found else ""


@clause(
    "ROUTE-1",
    group=Group.STREAMER,
    sentence="An action that nobody handles is answered INVALID_ACTION, also when it is a name of "
    "the gateway or of the language.",
    why="A typo must not look like a slow request, and `$disconnect` must not be a remote control.",
    origin="Streamer",
    messages=15,
)
async def unknown_actions_are_named(ctx: Context) -> None:
    """Unknown names, near misses, and names that mean something to a machine."""
    session = await ctx.connect()
    for action in ("no.such.action", "Echo", "ECHO", "echo.", "a" * 64, "probe", "constructor"):
        await session.refusal(action, {}, code="INVALID_ACTION")
    for action in ("$connect", "$disconnect", "$default", "__proto__", "__init__", "toString"):
        item = await session.answer(await session.request(action, {}))
        expect(
            item.reading.code in ("INVALID_ACTION", "VALIDATION_ERROR"),
            f"INVALID_ACTION or VALIDATION_ERROR for {action}",
            shown(item),
        )
    await session.data("ping")


@clause(
    "ROUTE-2",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A handler's validation runs before the request is queued or run.",
    why="A client that sent nonsense should hear so at once, not after a place in the queue.",
    origin="Streamer",
)
async def validation_comes_first(ctx: Context) -> None:
    """Bad payloads for probes that would count themselves if they ran."""
    me, key = ctx.identity(), ctx.key("count")
    session = await ctx.connect(me)
    for payload in (
        {"end": "nonsense", "count_key": key},
        {"steps": "many", "count_key": key},
        {"steps": [{"percentage": "half"}], "count_key": key},
        {"time_limit_ms": "long", "count_key": key},
    ):
        request_id = await session.request("probe.async", payload)
        item = await session.first(request_id)
        expect(
            item.reading.code == "VALIDATION_ERROR",
            f"VALIDATION_ERROR and no acknowledgment for {payload}",
            shown(item),
        )
        fields = item.message["error"].get("details", {}).get("fields")
        named = [entry["field"] for entry in fields] if isinstance(fields, list) else []
        bad = "payload." + next(name for name in payload if name != "count_key")
        expect(any(name.startswith(bad) for name in named), f"details.fields to name {bad}", named)
    await session.refusal("probe.sync", {"end": 3, "count_key": key}, code="VALIDATION_ERROR")
    for action in ("status", "cancel", "subscribe"):
        await session.refusal(action, {}, code="VALIDATION_ERROR")
    counted = await ctx.count(me, key)
    expect(counted == 0, "nothing to have run", f"{counted} runs")


@clause(
    "ROUTE-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A request whose handler is long is acknowledged and queued; a short one is answered "
    "at once, without an acknowledgment.",
    why="A long handler that runs in the router dies after 29 seconds with its work.",
    origin="Streamer",
)
async def long_is_queued_short_is_not(ctx: Context) -> None:
    """One of each kind."""
    session = await ctx.connect()
    short = await session.first(await session.request("probe.sync", {"ms": 10}))
    expect(short.reading.kind is Kind.ANSWER, "a response at once", shown(short))
    request_id = await session.request("probe.async", {"result": 1})
    item = await session.acknowledged(request_id)
    expect(item.message.get("status") == "queued", 'status "queued"', shown(item))
    await session.result(request_id)
    echo = await session.first(await session.request("echo", {}))
    expect(echo.reading.kind is Kind.ANSWER, "echo to be short", shown(echo))


@clause(
    "SYNC-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A short request gets exactly one response or one error.",
    why="No answer hangs a client, two answers confuse the next request.",
    origin="Streamer",
    messages=40,
)
async def one_answer_each(ctx: Context) -> None:
    """Thirty at once, some failing; then time for a second answer to show."""
    session = await ctx.connect()
    ids = []
    for number in range(30):
        end = ("ok", "fail", "raise")[number % 3]
        ids.append(await session.request("probe.sync", {"ms": number % 7, "end": end}))
    for request_id in ids:
        await session.answer(request_id)
    await session.quiet(0.5)
    for request_id, end in zip(ids, ("ok", "fail", "raise") * 10, strict=True):
        got = session.of(request_id)
        expect(len(got) == 1, f"one answer to {request_id}", [shown(item) for item in got])
        wanted = Kind.ANSWER if end == "ok" else Kind.FAILURE
        expect(got[0].reading.kind is wanted, f"{wanted} for end {end}", shown(got[0]))
    twice = ctx.new_id()
    for number in (1, 2):  # only queued requests are remembered: a short one's id may come again
        await session.request("echo", {"n": number}, id=twice)
        await session.wait(
            lambda item, n=number: item.reading.value == {"n": n},  # type: ignore[misc]  # n is bound
            f"echo {number} of the same id",
        )


@clause(
    "SYNC-2",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="An exception in a handler is INTERNAL_ERROR without its text, class or stack; a "
    "handler's own typed error keeps its code.",
    why="Stack traces are a map for attackers, and a flattened error leaves clients guessing.",
    origin="Streamer; the original flattened typed errors and leaked raw text",
)
async def exceptions_stay_inside(ctx: Context) -> None:
    """A foreign exception and a typed error, in a short request and in a long one."""
    session = await ctx.connect()
    item = await session.answer(await session.request("probe.sync", {"end": "raise"}))
    expect(item.reading.code == "INTERNAL_ERROR", "INTERNAL_ERROR", shown(item))
    expect(not leak_in(item.text), "nothing of the exception", shown(item))
    for code in ("PROCESSING_FAILED", "SERVICE_UNAVAILABLE", "NOT_FOUND"):
        error = await session.refusal("probe.sync", {"end": "fail", "code": code}, code=code)
        expect(bool(error.get("message")), "a message for people", error)
    code = "NOT_FOUND"
    request_id = await session.request("probe.async", {"end": "fail", "code": code})
    await session.failure(request_id, code)


@clause(
    "SYNC-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A short request ends within 25 seconds, with TIMEOUT, and holds up no other.",
    why="API Gateway gives up after 29 seconds and tells nobody which request it was.",
    origin="Streamer, ours",
    timeout_s=45.0,
)
async def short_requests_end(ctx: Context) -> None:
    """A handler that never returns; others are answered meanwhile."""
    session = await ctx.connect()
    request_id = await session.request("probe.sync", {"end": "hang"})
    await session.data("ping")
    item = await session.answer(request_id, timeout_s=27.0)
    expect(item.reading.code == "TIMEOUT", "TIMEOUT", shown(item))
    await session.data("ping")


async def _provoke(session: Session, probe: bool) -> list[str]:
    """Cause errors of many kinds; the ids that were sent."""
    ids = [
        await session.request("no.such.action"),
        await session.request("status", {}),
        await session.request("status", {"request_id": "nobody-has-this"}),
        await session.request("cancel", {"request_id": "nobody-has-this"}),
        await session.request("echo", metadata=[]),
    ]
    if probe:
        ids += [
            await session.request("probe.sync", {"end": "raise"}),
            await session.request("probe.sync", {"end": "fail", "code": "STORAGE_ERROR"}),
            await session.request("probe.sync", {"end": "fail", "code": "RATE_LIMITED"}),
        ]
    return ids


@clause(
    "ERR-1",
    group=Group.CONNECTION,
    sentence="Every error has a code of the registry and `retry`, comes once per cause, and shows "
    "no stack, path, table name or token.",
    why="Clients decide by the code whether to try again.",
    origin="Streamer, ours",
    messages=15,
)
async def errors_are_of_the_registry(ctx: Context) -> None:
    """Provoke errors, then hold each against the table of codes."""
    probe = Capability.PROBE in ctx.target.capabilities and ctx.target.mint is not None
    session = await ctx.connect()
    ids = await _provoke(session, probe)
    for request_id in ids:
        item = await session.answer(request_id)
        expect(item.reading.kind is Kind.FAILURE, f"an error for {request_id}", shown(item))
        error = item.message["error"]
        expect(error["code"] in CODES, "a code of the registry", shown(item))
        retry = error.get("retry")
        expect(isinstance(retry, dict), "error.retry", shown(item))
        wanted = error["code"] in RETRYABLE
        expect(retry.get("retryable") is wanted, f"retryable {wanted}", shown(item))
        after = retry.get("after_ms")
        whole = type(after) is int and after >= 0
        expect(whole if wanted else after is None, "after_ms only when retryable", shown(item))
        expect(not leak_in(item.text), "nothing of what is behind", leak_in(item.text))
    await session.quiet(0.3)
    for request_id in ids:
        expect(len(session.of(request_id)) == 1, "one error per cause", session.of(request_id))
