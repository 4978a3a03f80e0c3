"""The reference on the gateway, in this process: what `serve` starts."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

from streamproof.targets.base import Description
from streamproof.targets.embedded import Stack, StackOptions
from streamproof.targets.state import State, prepare
from streamproof.targets.tokens import Identity, TokenMint


@asynccontextmanager
async def running(state: State, **options: Any) -> AsyncIterator[tuple[Stack, Description]]:
    """A started stack, stopped at the end."""
    stack = Stack(state, StackOptions(**options))
    try:
        yield stack, await stack.start()
    finally:
        await stack.stop()


def url_with_token(description: Description, tenant: str = "t", **claims: Any) -> str:
    """Where to connect, as one user of a tenant."""
    mint = TokenMint.read(
        Path(str(description.jwt_private_key)), description.issuer, description.audience
    )
    token = mint.mint(Identity("u", tenant, ("probe",)), **claims)
    return f"{description.url}?Authorization={token}"


def get(url: str, host: str | None = None) -> tuple[int, bytes]:
    """Status and body of a plain request."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


async def test_a_request_goes_through_and_its_metrics_can_be_read(tmp_path: Path) -> None:
    """One echo, and what the functions counted about it; for a loopback Host alone."""
    async with running(prepare(tmp_path), workers=1) as (_, description):
        async with websockets.connect(url_with_token(description)) as socket:
            await socket.send(json.dumps({"id": "r", "action": "echo", "payload": {"n": 1}}))
            answer = json.loads(await socket.recv())
        page = description.url.replace("ws://", "http://").replace("/dev", "/metrics")
        status, body = await asyncio.to_thread(get, page)
        refused, _ = await asyncio.to_thread(get, page, "attacker.test")
    assert answer["data"] == {"echo": {"n": 1}}
    assert status == 200
    assert json.loads(body)["ConnectionEstablished"] == 1
    assert json.loads(body)["MessageSent"] == 1
    assert refused == 403


async def test_limits_that_are_off_are_declared_as_off(tmp_path: Path) -> None:
    """The suite reads limits from the description and never guesses them."""
    state = prepare(tmp_path)
    async with running(state, messages_per_minute=0, in_flight=0, workers=1) as (_, description):
        limits = description.limits
    assert (limits.messages_per_minute, limits.burst, limits.in_flight) == (None, None, None)
    assert (limits.message_bytes, limits.frame_bytes) == (131_072, 32_768)


async def test_only_listed_tenants_may_connect(tmp_path: Path) -> None:
    """A tenant that is not listed is answered 403."""
    async with running(prepare(tmp_path), tenants=("mine",), workers=1) as (_, description):
        async with websockets.connect(url_with_token(description, "mine")):
            pass
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url_with_token(description, "other"))
    assert refused.value.response.status_code == 403


async def test_raw_echo_sends_everything_back(tmp_path: Path) -> None:
    """Text and binary on the same transport, without a token and without limits."""
    async with (
        running(prepare(tmp_path), raw_echo=True, workers=1) as (_, description),
        websockets.connect(description.url, max_size=None) as socket,
    ):
        for message in ("text", b"\x00\xff", "x" * 200_000):
            await socket.send(message)
            assert await socket.recv() == message


async def test_handlers_of_a_file_answer(tmp_path: Path) -> None:
    """A team's own action, beside the built-in ones."""
    file = tmp_path / "own.py"
    file.write_text(
        "from streamer_reference.handlers import Registry\n"
        "registry = Registry()\n"
        "@registry.handler('own.double')\n"
        "async def double(job):\n"
        "    return job.payload['n'] * 2\n"
    )
    async with (
        running(prepare(tmp_path / "s"), handlers=(str(file),), workers=1) as (_, description),
        websockets.connect(url_with_token(description)) as socket,
    ):
        await socket.send(json.dumps({"action": "own.double", "payload": {"n": 21}}))
        assert json.loads(await socket.recv())["data"] == 42


async def test_the_live_page_shows_what_happened(tmp_path: Path) -> None:
    """The document at `/`, its figures beside it; neither for a Host that is not loopback."""
    async with running(prepare(tmp_path), workers=1) as (_, description):
        base = description.url.replace("ws://", "http://").replace("/dev", "")
        async with websockets.connect(url_with_token(description)) as socket:
            request = {"id": "long", "action": "delay", "payload": {"duration_ms": 1}}
            await socket.send(json.dumps(request))
            while json.loads(await socket.recv())["type"] != "complete":
                pass
            failing = {"id": "bad", "action": "probe.sync", "payload": {"end": "raise"}}
            await socket.send(json.dumps(failing))
            await socket.recv()
            figures: dict[str, Any] = {}
            async with asyncio.timeout(10):
                while not (figures.get("requests") and figures["totals"]["sent"]):
                    status, body = await asyncio.to_thread(get, f"{base}/live.json")
                    assert status == 200
                    figures = json.loads(body)
        status, page = await asyncio.to_thread(get, f"{base}/")
        refused = [
            (await asyncio.to_thread(get, f"{base}{path}", "attacker.test"))[0]
            for path in ("/", "/live.json")
        ]
    assert (status, refused) == (200, [403, 403])
    assert page.startswith(b"<!doctype html>")
    assert figures["connections"] == 1
    assert figures["totals"]["messages"] == 2
    assert figures["requests"] == {"COMPLETED": 1}
    (error,) = figures["errors"]
    assert (error["message"], error["request_id"]) == ("a handler failed", "bad")
