"""Section 6: what API Gateway does, seen from the wire and from `@connections`: GW-2, 3, 5 to 8."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import Session, shown
from streamproof.dialect import Kind
from streamproof.targets import Capability
from streamproof.targets.http import Answer, fetch
from streamproof.targets.management import Management

PROBED = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
MANAGED = (*PROBED, Capability.MANAGEMENT)
MESSAGE_BYTES = 131_072  # AWS quotas for WebSocket APIs: 128 KB
FRAME_BYTES = 32_768  # AWS quotas for WebSocket APIs: 32 KB
UNKNOWN_ID = "AAAAAAAAAAIAAAA="  # well formed: 11 bytes in 16 characters


async def _own_id(session: Session) -> str:
    data = await session.data("probe.whoami")
    connection_id = data.get("connection_id")
    if not isinstance(connection_id, str):
        raise Broken("connection_id in probe.whoami", data)
    return connection_id


@clause(
    "GW-2",
    group=Group.PLATFORM,
    needs=PROBED,
    sentence="A connection id is 11 bytes in URL-safe base64 with padding: 16 characters.",
    why="Keys, log filters and checks of ids are written for this shape, and fail on the day that "
    "they meet the real one.",
    origin="recorded 2025",
)
async def ids_have_the_shape(ctx: Context) -> None:
    """The ids of five connections: their shape, and that none comes twice."""
    ids = [await _own_id(await ctx.connect()) for _ in range(5)]
    for connection_id in ids:
        try:
            raw = base64.b64decode(connection_id, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        expect(
            len(connection_id) == 16 and len(raw) == 11, "16 characters, 11 bytes", connection_id
        )
    expect(len(set(ids)) == len(ids), "an id for each connection", ids)


@clause(
    "GW-3",
    group=Group.PLATFORM,
    sentence="The handshake is answered with the function's status; a plain GET on the socket's "
    "path is 426.",
    why="Health checks and browsers meet this path without an upgrade.",
    origin="documented, recorded",
    messages=0,
)
async def statuses_of_the_handshake(ctx: Context) -> None:
    """A good token, a bad one, no upgrade."""
    status = await ctx.status(query=ctx.token())
    expect(status == 101, "101 for a good token", status)
    status = await ctx.status(query="nonsense")
    expect(status == 401, "the 401 of the connect function", status)
    parts = urlsplit(ctx.target.url)
    scheme = "https" if parts.scheme == "wss" else "http"
    url = urlunsplit((scheme, parts.netloc, parts.path, "", ""))
    answer = await _fetch(lambda: fetch("GET", url, tls=ctx.target.tls))
    expect(answer.status == 426, "426 for a plain GET", answer.status)


async def _fetch(call: Callable[[], Any]) -> Answer:
    try:
        answer: Answer = await call()
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        raise Broken("an HTTP answer", f"{type(error).__name__}: {error}") from error
    return answer


@clause(
    "GW-5",
    group=Group.PLATFORM,
    needs=PROBED,
    sentence="Messages of one connection are dispatched side by side.",
    why="A client that waits for a slow answer still needs its quick ones.",
    origin="recorded",
)
async def messages_run_side_by_side(ctx: Context) -> None:
    """A slow short request, then quick ones: the quick answers come first."""
    session = await ctx.connect()
    slow = await session.request("probe.sync", {"ms": 1200})
    quick = [await session.request("probe.sync", {"ms": 0}) for _ in range(5)]
    await session.answer(slow)
    order = [item.reading.request_id for item in session.received]
    expect(set(order[:5]) == set(quick), "the quick answers first", order)


@clause(
    "GW-6",
    group=Group.PLATFORM,
    needs=MANAGED,
    sentence="After DELETE on a connection its client sees close code 1000.",
    why="Clients reconnect on 1006 and not on 1000.",
    origin="recorded 2023",
)
async def delete_closes_with_1000(ctx: Context) -> None:
    """Delete a live connection, then ask for it."""
    session = await ctx.connect()
    connection_id = await _own_id(session)
    answer = await _fetch(lambda: ctx.management.call("DELETE", connection_id))
    expect(answer.status == 204, "204 for DELETE", answer.status)
    code = await session.closed()
    expect(code == 1000, "close code 1000", code)
    answer = await _fetch(lambda: ctx.management.call("GET", connection_id))
    expect(answer.status == 410, "410 afterwards", answer.status)


def _refused(answer: Answer, status: int, kind: str, what: str) -> None:
    expect(
        answer.status == status, f"{status} for {what}", f"{answer.status} {answer.body[:200]!r}"
    )
    named = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
    expect(named == kind, f"x-amzn-ErrorType {kind} for {what}", named or "none")


@clause(
    "GW-7",
    group=Group.PLATFORM,
    needs=MANAGED,
    sentence="`@connections` posts (200), tells (200) and deletes (204); gone is 410, too large "
    "413, a malformed id 400, no or a wrong signature 403, each with its x-amzn-ErrorType.",
    why="SDKs choose their exceptions by these, and a post to a gone connection that answers 200 "
    "hides every loss.",
    origin="botocore model, recorded",
    messages=5,
)
async def connections_answer_as_aws(ctx: Context) -> None:
    """Each call on a live, a closed, an unknown and a malformed id, signed well and badly."""
    management = ctx.management
    session = await ctx.connect()
    live = await _own_id(session)
    await _posts_arrive(management, session, live)
    await _info_tells(management, live)
    closed = await ctx.connect()
    closed_id = await _own_id(closed)
    await closed.close()
    await _gone_within(management, closed_id)
    for method in ("POST", "GET", "DELETE"):
        body = b"{}" if method == "POST" else b""
        for name, connection_id in (("a closed id", closed_id), ("an unknown id", UNKNOWN_ID)):
            answer = await _fetch(_call(management, method, connection_id, body))
            _refused(answer, 410, "GoneException", f"{method} of {name}")
        for bad in ("short", "cjy8i76bx002884le6n17d49b", "AAAAAAAAAAIAAA==", "AAAAAAAAAAIAAAB="):
            answer = await _fetch(_call(management, method, bad, body))
            _refused(answer, 400, "BadRequestException", f"{method} of the id {bad}")
    large = b'"' + b"x" * (MESSAGE_BYTES - 1) + b'"'
    answer = await _fetch(_call(management, "POST", live, large))
    _refused(answer, 413, "PayloadTooLargeException", "131,073 bytes")
    await _signatures_count(management, live)
    await session.data("ping")


def _call(
    management: Management, method: str, connection_id: str, body: bytes, **options: Any
) -> Callable[[], Any]:
    return lambda: management.call(method, connection_id, body, **options)


async def _gone_within(management: Management, connection_id: str, timeout_s: float = 5.0) -> None:
    """Wait for the gateway to notice a close; `_refused` judges what comes afterwards."""
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < deadline_s:
        answer = await _fetch(_call(management, "GET", connection_id, b""))
        if answer.status != 200:
            return
        await asyncio.sleep(0.05)


def _platform_text(stamp: str) -> dict[str, Any]:
    """A message of nobody's request: it must reach the client and upset no checker."""
    return {"type": "broadcast", "broadcast_id": stamp, "payload": stamp, "from": {"user_id": "gw"}}


async def _posts_arrive(management: Management, session: Session, live: str) -> None:
    stamp = (await session.first(await session.request("ping"))).message.get("timestamp")
    for number, safe in enumerate(("", "=@", "=", "@")):
        text = json.dumps({**_platform_text(f"{session.lane}-{number}"), "timestamp": stamp})
        answer = await _fetch(_call(management, "POST", live, text.encode(), safe=safe))
        expect(answer.status == 200, f"200 for POST with {safe or '%3D and %40'}", answer.status)
        expect(answer.body == b"", "an empty body", answer.body[:200])
        await session.wait(lambda item, text=text: item.text == text, "the posted text, unchanged")  # type: ignore[misc]  # text is bound
    largest = {**_platform_text("x"), "timestamp": stamp}
    room = MESSAGE_BYTES - len(json.dumps(largest)) + 1
    text = json.dumps({**largest, "payload": "x" * room})
    answer = await _fetch(_call(management, "POST", live, text.encode()))
    expect(answer.status == 200, f"200 for {len(text):,} bytes", answer.status)
    await session.wait(lambda item: item.text == text, "131,072 bytes, unchanged")


_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)")


async def _info_tells(management: Management, live: str) -> None:
    answer = await _fetch(_call(management, "GET", live, b""))
    expect(answer.status == 200, "200 for GET", answer.status)
    try:
        info = json.loads(answer.body)
    except ValueError:
        info = None
    identity = info.get("identity") if isinstance(info, dict) else None
    if not isinstance(info, dict) or not isinstance(identity, dict):
        raise Broken("connectedAt, identity, lastActiveAt", answer.body[:300])
    members = {"connectedAt", "identity", "lastActiveAt"} <= info.keys()
    expect(members and {"sourceIp", "userAgent"} <= identity.keys(), "the members of AWS", info)
    for name in ("connectedAt", "lastActiveAt"):
        expect(bool(_ISO_8601.fullmatch(str(info[name]))), f"{name} in ISO 8601", info[name])


async def _signatures_count(management: Management, live: str) -> None:
    keys = management.credentials
    wrong = {
        "a wrong secret": dataclasses.replace(keys, secret_access_key="wrong" * 8),
        "a wrong key id": dataclasses.replace(keys, access_key_id="AKIAWRONGWRONGWRONG1"),
    }
    for name, credentials in wrong.items():
        answer = await _fetch(_call(management, "POST", live, b"{}", credentials=credentials))
        _refused(answer, 403, "ForbiddenException", name)
        # The signature is checked first: nothing is told about an id to a stranger.
        answer = await _fetch(_call(management, "POST", UNKNOWN_ID, b"{}", credentials=credentials))
        _refused(answer, 403, "ForbiddenException", f"{name} and an unknown id")
    answer = await _fetch(_call(management, "POST", live, b"{}", headers={}))
    _refused(answer, 403, "ForbiddenException", "no signature")
    elsewhere = dataclasses.replace(management, region="eu-north-9")
    answer = await _fetch(_call(elsewhere, "POST", live, b"{}"))
    _refused(answer, 403, "ForbiddenException", "a signature for another region")


def _padded(size: int, request_id: str) -> str:
    """A good message of exactly so many bytes."""
    text = json.dumps({"id": request_id, "action": "ping"})
    return text[:-1] + " " * (size - len(text)) + "}"


def _frames(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@clause(
    "GW-8",
    group=Group.PLATFORM,
    sentence="A message over 131,072 bytes or a frame over 32,768 closes with 1009, a binary "
    "message with 1003; at the limits they pass; fragments are joined, pings answered.",
    why="A client tested where these do not hold breaks on the day that it is deployed.",
    origin="documented",
    messages=8,
)
async def sizes_and_close_codes(ctx: Context) -> None:
    """At each limit and one byte beyond."""
    message_bytes = ctx.limits.message_bytes or MESSAGE_BYTES
    frame_bytes = ctx.limits.frame_bytes or FRAME_BYTES
    session = await ctx.connect()
    await session.ping()
    for frames in (1, 3, 40):
        request_id = ctx.new_id()
        text = json.dumps({"id": request_id, "action": "ping"})
        await session.send_frames(_frames(text, len(text) // frames + 1))
        await session.answer(request_id)
    request_id = ctx.new_id()
    await session.send_text(_padded(frame_bytes, request_id))
    item = await session.answer(request_id)
    expect(
        item.reading.kind is Kind.ANSWER, f"a frame of {frame_bytes:,} bytes to pass", shown(item)
    )
    request_id = ctx.new_id()
    await session.send_frames(_frames(_padded(message_bytes, request_id), frame_bytes))
    item = await session.answer(request_id)
    expect(item.reading.kind is Kind.ANSWER, f"{message_bytes:,} bytes to pass", shown(item))
    await session.send_frames(_frames(_padded(message_bytes + 1, ctx.new_id()), frame_bytes))
    code = await session.closed()
    expect(code == 1009, f"1009 for {message_bytes + 1:,} bytes", code)
    session = await ctx.connect()
    await session.send_text(_padded(frame_bytes + 1, ctx.new_id()))
    code = await session.closed()
    expect(code == 1009, f"1009 for a frame of {frame_bytes + 1:,} bytes", code)
    session = await ctx.connect()
    await session.send_binary(b'{"action": "ping"}')
    code = await session.closed()
    expect(code == 1003, "1003 for a binary message", code)
