"""The same promises in any dialect: clauses of roles and outcomes, for the group `requests`."""

from __future__ import annotations

import asyncio
from typing import Any

from streamproof.contract.context import Context
from streamproof.contract.failures import NotApplicable, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import shown
from streamproof.dialect import Kind, Role
from streamproof.targets import Capability

SETTLE_S = 0.5


def _bound(ctx: Context, *roles: Role) -> None:
    missing = [role for role in roles if role not in ctx.dialect.roles]
    if missing:
        raise NotApplicable(f"no {' and no '.join(missing)} request is bound")


@clause(
    "SYNC-1/roles",
    group=Group.REQUESTS,
    sentence="Short requests side by side get one answer each, with their own id and value.",
    why="An answer that goes to another question is worse than none.",
    origin="Streamer",
    messages=25,
)
async def short_requests_get_their_own(ctx: Context) -> None:
    """Twenty at once, each with a nonce."""
    _bound(ctx, Role.SHORT)
    session = await ctx.connect()
    sent: dict[str, dict[str, Any]] = {}
    for number in range(20):
        nonce = {"nonce": ctx.key(str(number)), "n": number}
        sent[await session.start(Role.SHORT, nonce)] = nonce
    for request_id, nonce in sent.items():
        item = await session.outcome(request_id)
        expect(item.reading.value == nonce, f"{nonce} for {request_id}", shown(item))
    await session.quiet(SETTLE_S)
    expect(len(session.received) == 20, "twenty messages", f"{len(session.received)}")


@clause(
    "ASYNC-2/roles",
    group=Group.REQUESTS,
    sentence="Long requests side by side: acknowledgment, progress, one outcome with their own "
    "value, nothing afterwards; none is lost.",
    why="Clients are written against this order: an outcome that comes first or never leaves one "
    "waiting for a request that has ended.",
    origin="Streamer",
    messages=25,
)
async def long_requests_in_order(ctx: Context) -> None:
    """Twenty at once from two connections, each with a nonce."""
    _bound(ctx, Role.LONG)
    sessions = [await ctx.connect(), await ctx.connect()]
    sent: dict[str, dict[str, Any]] = {}
    for number in range(20):
        nonce = {"nonce": ctx.key(str(number)), "n": number}
        sent[await sessions[number % 2].start(Role.LONG, nonce)] = nonce
    for number, (request_id, nonce) in enumerate(sent.items()):
        item = await sessions[number % 2].result(request_id)
        expect(item.reading.value == nonce, f"{nonce} for {request_id}", shown(item))
    await sessions[0].quiet(SETTLE_S)
    for number, request_id in enumerate(sent):
        kinds = [item.reading.kind for item in sessions[number % 2].of(request_id)]
        middle = [Kind.PROGRESS] * (len(kinds) - 2)
        wanted = [Kind.ACKNOWLEDGMENT, *middle, Kind.RESULT]
        expect(kinds == wanted, f"acknowledgment, progress.., result for {request_id}", kinds)
        other = sessions[(number + 1) % 2].of(request_id)
        expect(not other, "nothing of it on the other connection", other)


@clause(
    "ASYNC-4/roles",
    group=Group.REQUESTS,
    sentence="A long request that is sent again with its id does not end a second time.",
    why="Clients send again when they are unsure; the work must not be done twice.",
    origin="Streamer",
)
async def sent_again_ends_once(ctx: Context) -> None:
    """The same message twice at once, and again after the outcome."""
    _bound(ctx, Role.LONG)
    session = await ctx.connect()
    request_id = ctx.new_id()
    for _ in range(2):
        await session.start(Role.LONG, {"nonce": ctx.key("n")}, request_id)
    await session.result(request_id)
    await session.start(Role.LONG, {"nonce": ctx.key("n")}, request_id)
    await session.quiet(SETTLE_S)
    results = [i for i in session.of(request_id) if i.reading.kind is Kind.RESULT]
    expect(len(results) == 1, "one result", [shown(item) for item in results])


@clause(
    "ASYNC-5/roles",
    group=Group.REQUESTS,
    sentence="A long request that fails ends with one failure.",
    why="A failure that nobody hears of is a request that never ends.",
    origin="Streamer",
)
async def failing_requests_end(ctx: Context) -> None:
    """Five failing ones beside a good one."""
    _bound(ctx, Role.FAILING, Role.LONG)
    session = await ctx.connect()
    failing = [await session.start(Role.FAILING, {}) for _ in range(5)]
    good = await session.start(Role.LONG, {"nonce": ctx.key("n")})
    await asyncio.gather(*(session.outcome(request_id) for request_id in failing))
    await session.result(good)
    await session.quiet(SETTLE_S)
    for request_id in failing:
        kinds = [item.reading.kind for item in session.of(request_id)]
        once = kinds.count(Kind.FAILURE) == 1 and kinds[-1] is Kind.FAILURE
        expect(once and Kind.RESULT not in kinds, "one failure, at the end", kinds)


@clause(
    "OWN-1/roles",
    group=Group.REQUESTS,
    needs=(Capability.TOKEN, Capability.MINT),
    sentence="Equal ids of two users never meet: each gets its own value, nothing of the other.",
    why="A leak between customers is the worst that can happen.",
    origin="ours",
)
async def equal_ids_never_meet(ctx: Context) -> None:
    """Two users send the same ids at the same time."""
    _bound(ctx, Role.LONG, Role.SHORT)
    users = [ctx.identity("a", tenant="one"), ctx.identity("b", tenant="two")]
    sessions = [await ctx.connect(user) for user in users]
    ids = [ctx.new_id() for _ in range(6)]
    for request_id, role in zip(ids, (Role.LONG, Role.SHORT) * 3, strict=True):
        for session, user in zip(sessions, users, strict=True):
            await session.start(role, {"nonce": f"{user.user}:{request_id}"}, request_id)
    for request_id in ids:
        for session, user in zip(sessions, users, strict=True):
            item = await session.outcome(request_id)
            nonce = {"nonce": f"{user.user}:{request_id}"}
            expect(item.reading.value == nonce, f"{nonce}", shown(item))
    await sessions[0].quiet(SETTLE_S)
    for session in sessions:
        for request_id in ids:
            final = [item for item in session.of(request_id) if item.reading.final]
            expect(len(final) == 1, f"one outcome of {request_id}", [shown(i) for i in final])
