"""Section 1, once the connection is open: AUTH-5, 7, 8 and CONN-4, 5."""

from __future__ import annotations

import asyncio
import dataclasses

from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import shown
from streamproof.dialect import Role
from streamproof.results import Level
from streamproof.targets import Capability

QUIET_S = 1.5  # long enough for an application's greeting or first ping
STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)


@clause(
    "AUTH-5",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="User and tenant come from the token alone: nothing in a message changes who sent it, "
    "for short and long requests alike.",
    why="Otherwise every user can act as every other by writing a name into a message.",
    origin="ours; the original took the identity of long requests from metadata",
    messages=20,
)
async def identity_is_the_tokens(ctx: Context) -> None:
    """Claim to be another user in every place a server might look."""
    me, other = ctx.identity("a", tenant="one"), ctx.identity("b", tenant="two")
    mine, theirs = await ctx.connect(me), await ctx.connect(other)
    their_connection = (await theirs.data("probe.whoami"))["connection_id"]
    names = {"user_id": other.user, "tenant_id": other.tenant, "sub": other.user}
    names |= {"connection_id": their_connection}
    forged = {**names, "_metadata": names, "metadata": names}
    members = {**names, "connectionId": their_connection, "metadata": names}
    members |= {"requestContext": {"authorizer": names, "connectionId": their_connection}}
    said = await mine.data("probe.whoami", forged, **members)
    expect(
        (said.get("user_id"), said.get("tenant_id")) == (me.user, me.tenant),
        f"{me.user} of {me.tenant}",
        said,
    )
    expect(
        sorted(said.get("permissions") or []) == sorted(me.permissions),
        f"the permissions {me.permissions}",
        said,
    )
    expect(said.get("connection_id") != their_connection, "the sender's own connection", said)
    # A long request has no whoami: whose it is shows in who may read it, and whose count it is.
    key = ctx.key("count")
    payload = {"end": "ok", "count_key": key, "result": {}, **forged}
    request_id = await mine.request("probe.async", payload, **members)
    await mine.result(request_id)
    await mine.data("status", {"request_id": request_id})
    await theirs.refusal("status", {"request_id": request_id}, code="NOT_FOUND")
    counts = await ctx.count(me, key), await ctx.count(other, key)
    expect(counts[0] >= 1 and counts[1] == 0, "it to run in the sender's tenant alone", counts)
    heard = [item for item in theirs.received if item.reading.request_id == request_id]
    expect(not heard, "nothing of it on the other's connection", heard)


@clause(
    "AUTH-7",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A request whose handler needs a permission that the token lacks is refused with "
    "FORBIDDEN before anything runs.",
    why="Permissions that are stored and never read protect nothing.",
    origin="Streamer's code; the original stored permissions and never read them",
)
async def permissions_are_checked(ctx: Context) -> None:
    """Ask for probes without the permission, then count from a user who has it."""
    able, key = ctx.identity("b"), ctx.key("count")
    for permissions in ((), ("broadcast",), ("probes", "PROBE", "probe ")):
        poor = await ctx.connect(ctx.identity("a", permissions=permissions))
        await poor.refusal("probe.sync", {"count_key": key}, code="FORBIDDEN")
        await poor.refusal("probe.async", {"count_key": key}, code="FORBIDDEN")
        await poor.data("ping")
        await poor.close()
    poor = await ctx.connect(ctx.identity("a", permissions=("probe",)))
    await poor.refusal("broadcast", {"payload": {}}, code="FORBIDDEN")
    # Shape is checked before permission: a broken message is told so, not FORBIDDEN.
    await poor.refusal("probe.sync", {"count_key": key}, code="VALIDATION_ERROR", metadata=7)
    counted = await ctx.count(able, key)
    expect(counted == 0, "no probe to have run", f"{counted} runs")


@clause(
    "AUTH-8",
    level=Level.SHOULD,
    group=Group.CONNECTION,
    needs=(Capability.MINT,),
    sentence="The first message after the token's `exp` is answered UNAUTHORIZED, runs nothing, "
    "and the connection is closed.",
    why="A session that outlives its token keeps a revoked user connected for two hours.",
    origin="ours",
)
async def sessions_end_with_their_token(ctx: Context) -> None:
    """Open with a token of two seconds, and speak in the third."""
    me = ctx.identity()
    token = ctx.token(me, exp=int(ctx.mint.clock()) + 2)
    session = await ctx.connect(me, token=token)
    await session.quiet(3.2)  # `exp` was cut to a whole second
    expect(session.close_code is None, "the connection to stay open until then", "it closed")
    request_id = await session.start(Role.SHORT, {"nonce": ctx.key("n")})
    await session.failure(request_id, "UNAUTHORIZED")
    code = await session.closed()
    expect(code in (1000, 1001, 1008), "a closed connection", code)


@clause(
    "CONN-4",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Requests that are queued or running go on when their connection closes, and `status` "
    "has the outcome.",
    why="Clients lose their connections; work that they paid for must not be lost with them.",
    origin="Streamer",
)
async def closing_cancels_nothing(ctx: Context) -> None:
    """Close one connection in order and drop another, then ask from a third."""
    me = ctx.identity()
    watcher = await ctx.connect(me)
    started = []
    for orderly in (True, False):
        session = await ctx.connect(me)
        result = {"nonce": ctx.key(str(orderly))}
        steps = [{"percentage": 50, "ms": 400}]
        request_id = await session.request("probe.async", {"steps": steps, "result": result})
        await session.acknowledged(request_id)
        await (session.close() if orderly else session.abort())
        started.append((request_id, result))
    for request_id, result in started:
        data = await ctx.ended_status(watcher, request_id)
        expect(data["status"] == "COMPLETED", f"{request_id} to be COMPLETED", data)
        expect(data.get("result") == result, f"the result {result}", data)


@clause(
    "CONN-5",
    group=Group.CONNECTION,
    sentence="A refusal is a status of the handshake; an open connection is usable at once, hears "
    "nothing unasked, and no other connection is touched.",
    why="A client cannot tell open-then-closed from a network fault, and retries for ever.",
    origin="RFC 6455",
)
async def open_means_usable(ctx: Context) -> None:
    """Speak in the first moment, many at once, beside a connection that only listens."""
    listener = await ctx.connect()
    for _ in range(2):
        refused = await ctx.status(query="no.such.token")
        expect(refused != 101, "a refusal at the handshake", "open, then closed")

    async def first_words(number: int) -> None:
        session = await ctx.connect()
        nonce = {"nonce": f"{ctx.key('n')}.{number}"}
        request_id = await session.start(Role.SHORT, nonce)
        item = await session.outcome(request_id)
        expect(item.reading.value == nonce, f"the echo of {nonce}", shown(item))
        expect(len(session.received) == 1, "one message", [shown(i) for i in session.received])
        await session.close()

    await asyncio.gather(*(first_words(number) for number in range(8)))
    await listener.quiet(QUIET_S)
    if listener.received:
        raise Broken("nothing on an idle connection", shown(listener.received[0]))
    expect(listener.close_code is None, "the idle connection to stay open", listener.close_code)
    request_id = await listener.start(Role.SHORT, {"nonce": ctx.key("late")})
    await listener.outcome(request_id)


@clause(
    "CONN-5/refused",
    group=Group.CONNECTION,
    needs=(Capability.MINT,),
    sentence="A refused handshake leaves the user's other connections untouched.",
    why="Otherwise anybody who knows a name can cut its owner off.",
    origin="ours",
)
async def refusals_touch_nobody(ctx: Context) -> None:
    """Refuse expired tokens of a user who is connected."""
    me = ctx.identity()
    session = await ctx.connect(me)
    now_s = int(ctx.mint.clock())
    for _ in range(3):
        status = await ctx.status(query=ctx.token(me, exp=now_s - 600, iat=now_s - 900))
        expect(status == 401, "401", status)
    renamed = dataclasses.replace(me, permissions=())
    other = await ctx.connect(renamed)
    await other.close()
    await session.data("ping")
