"""Section 4: BCAST-1 and BCAST-2."""

from __future__ import annotations

import asyncio
from typing import Any

from streamproof.contract.context import Context
from streamproof.contract.failures import NotApplicable, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import Received, Session, shown
from streamproof.dialect import Kind
from streamproof.targets import Capability

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
SETTLE_S = 0.5


def _allowed(ctx: Context) -> None:
    """Elsewhere than on this machine, only in tenants that were named for it."""
    if not ctx.target.loopback and len(ctx.target.options.tenants) < 2:
        raise NotApplicable("broadcasts go only to tenants named with --tenant, two of them")


def _heard(session: Session, broadcast_id: str) -> list[Received]:
    return [
        item
        for item in session.received
        if item.reading.kind is Kind.BROADCAST and item.message.get("broadcast_id") == broadcast_id
    ]


def _adds_up(data: dict[str, Any]) -> int:
    counts = [data.get(name) for name in ("delivered", "gone", "failed")]
    whole = all(type(count) is int and count >= 0 for count in counts)
    expect(whole and isinstance(data.get("broadcast_id"), str), "broadcast_id and counts", data)
    return sum(count for count in counts if count is not None)


@clause(
    "BCAST-1",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A broadcast reaches every connection of the tenant once, the sender's too, and none "
    "of another tenant.",
    why="A message to one customer on another's screen is a breach.",
    origin="Streamer, tightened",
    messages=15,
)
async def all_of_the_tenant_and_no_other(ctx: Context) -> None:
    """Two users with six connections, and two connections of another tenant."""
    _allowed(ctx)
    me, colleague = ctx.identity("a", tenant="one"), ctx.identity("b", tenant="one")
    stranger = ctx.identity("c", tenant="two")
    inside = [await ctx.connect(who) for who in (me, me, me, colleague, colleague, colleague)]
    outside = [await ctx.connect(who) for who in (stranger, stranger)]
    if ctx.target.membership_lag_s:
        await inside[0].quiet(ctx.target.membership_lag_s + 0.1)
    payload = {"nonce": ctx.key("n"), "n": [1, "ü", None]}
    data = await inside[0].data("broadcast", {"payload": payload})
    expect(_adds_up(data) >= len(inside), f"{len(inside)} connections addressed", data)
    for session in inside:
        item = await session.wait(
            lambda item: item.reading.kind is Kind.BROADCAST, f"the broadcast on {session.lane}"
        )
        expect(item.message.get("payload") == payload, f"the payload {payload}", shown(item))
        sender = item.message.get("from")
        named = isinstance(sender, dict) and sender.get("user_id") == me.user
        expect(named, f"from {me.user}", shown(item))
        same = item.message.get("broadcast_id") == data["broadcast_id"]
        expect(same, f"broadcast_id {data['broadcast_id']}", shown(item))
        numbered = {"request_id", "sequence"} & item.message.keys()
        expect(not numbered, "a broadcast without request_id and sequence", shown(item))
    await inside[0].quiet(SETTLE_S)
    for session in inside:
        times = len(_heard(session, data["broadcast_id"]))
        expect(times == 1, f"it once on {session.lane}", f"{times} times")
    for session in outside:
        heard = [shown(item) for item in session.received]
        expect(not heard, "nothing on another tenant's connections", heard)
    reply = await outside[0].data("broadcast", {"payload": {"from": "outside"}})
    await inside[0].quiet(SETTLE_S)
    crossed = [session.lane for session in inside if _heard(session, reply["broadcast_id"])]
    expect(not crossed, "nothing across tenants", crossed)


@clause(
    "BCAST-2",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A recipient that is gone delays and fails nobody; delivered, gone and failed add up "
    "to the connections addressed.",
    why="One closed laptop must not stop the news for everybody.",
    origin="Streamer; AWS's own sample fails the whole broadcast on one 410",
    messages=10,
)
async def gone_recipients_harm_nobody(ctx: Context) -> None:
    """Half of the recipients are cut off in the moment of the broadcast."""
    _allowed(ctx)
    me = ctx.identity("a", tenant="one")
    staying = [await ctx.connect(me) for _ in range(4)]
    leaving = [await ctx.connect(me) for _ in range(4)]
    if ctx.target.membership_lag_s:
        await staying[0].quiet(ctx.target.membership_lag_s + 0.1)
    for number in range(3):
        nonce = {"nonce": ctx.key(str(number))}
        if number == 1:
            await asyncio.gather(*(session.abort() for session in leaving))
        data = await staying[0].data("broadcast", {"payload": nonce})
        addressed = _adds_up(data)
        expect(
            len(staying) <= data["delivered"] <= addressed <= len(staying) + len(leaving),
            f"{len(staying)} delivered at least, {len(staying) + len(leaving)} addressed at most",
            data,
        )
        for session in staying:
            await session.wait(
                lambda item, data=data: (  # type: ignore[misc]  # data is bound
                    item.reading.kind is Kind.BROADCAST
                    and item.message.get("broadcast_id") == data["broadcast_id"]
                ),
                f"the broadcast on {session.lane}",
                5.0,
            )
