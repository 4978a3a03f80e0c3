"""The first words with a target: is it there, does it talk, has it the probe pack.

What is found wrong here is blamed on the words or the connection (exit 2), not on the target: a
target that answers, however wrongly, is judged by the clauses.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from websockets.asyncio.client import ClientConnection

from streamproof.contract.context import Context, Refused
from streamproof.contract.failures import Broken
from streamproof.contract.session import KEPT_BYTES_MAX, Received, Session
from streamproof.errors import TargetUnreachableError, UsageError
from streamproof.targets import Capability

HANDSHAKE_S = 16.0
ABSENT_CODES = frozenset({"INVALID_ACTION", "FORBIDDEN"})


@dataclasses.dataclass(frozen=True, slots=True)
class Discovered:
    """What the first words showed; `answers` when at least one was answered under its id."""

    capabilities: frozenset[Capability]
    answers: bool


async def discover(ctx: Context) -> Discovered:
    """What the target can do; `TargetUnreachableError` when nothing is to be judged."""
    target = ctx.target
    session = await _open(ctx) if target.tokens is not None else await _open_to_all(ctx)
    echo_id = await session.request("echo", {})
    await session.send_text("{")
    probe_id = await session.request("probe.whoami")
    await _spoken(session, 1)
    found = {*target.capabilities, Capability.TOKEN}
    item = await _answer(session, probe_id)
    # One that answers wrongly or not at all is taken to have the pack: its clauses say so.
    if item is None or item.reading.code not in ABSENT_CODES:
        found.add(Capability.PROBE)
    answers = item is not None or await _answer(session, echo_id) is not None
    if session.flooded:
        raise _flood()
    await session.close()
    return Discovered(frozenset(found), answers)


async def _answer(session: Session, request_id: str) -> Received | None:
    try:
        return await session.answer(request_id)
    except Broken:
        return None


async def _spoken(session: Session, count: int) -> None:
    try:
        await session.wait(lambda _: len(session.received) >= count, "any message")
    except Broken as error:
        if session.flooded:
            raise _flood() from error
        raise TargetUnreachableError(
            f"the target opens and says nothing: {error.seen}",
            "is this the right address and stage?",
        ) from error


def _flood() -> TargetUnreachableError:
    return TargetUnreachableError(
        f"the target sent over {KEPT_BYTES_MAX:,} bytes in answer to three short messages",
        "is this the right address?",
    )


async def _open(ctx: Context) -> Session:
    """A connection with the good token, by whichever carrier is taken."""
    identity = ctx.identity() if ctx.target.mint is ctx.target.tokens else None
    token = ctx.token(identity)
    statuses = []
    carriers: list[dict[str, Any]] = [{"query": token}, {"header": f"Bearer {token}"}]
    for carrier in carriers:
        opened = await _handshake(ctx, carrier)
        if not isinstance(opened, Refused):
            return ctx.adopt(opened, "the first words")
        statuses.append(opened.status)
    hint = "check --token or --jwt-key, --issuer and --audience"
    if statuses[0] not in (401, 403):
        hint = "is this the right path and stage?"
    raise TargetUnreachableError(
        f"{ctx.target.url} refused a good token with status {statuses[0]}", hint
    )


async def _handshake(ctx: Context, carrier: dict[str, Any]) -> ClientConnection | Refused:
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            return await ctx.handshake(**carrier)
    except (Broken, TimeoutError) as error:
        seen = error.seen if isinstance(error, Broken) else "no answer to the handshake"
        raise TargetUnreachableError(
            f"no connection to {ctx.target.url}: {seen}",
            "is it running, and is this its address?",
        ) from error


async def _open_to_all(ctx: Context) -> Session:
    """A connection without a token: who accepts that is judged, who refuses it cannot be."""
    opened = await _handshake(ctx, {})
    if isinstance(opened, Refused):
        raise UsageError(
            f"{ctx.target.url} answers {opened.status} without a token, and none was given",
            "give --token, --token-command or --jwt-key with --issuer",
        )
    return ctx.adopt(opened, "the first words")
