"""The live page beside functions of somebody's own."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any
from urllib.parse import urljoin

import websockets

from streamproof.gateway import Api, Credentials, Description, Function
from streamproof.hosting.stack import HostedStack


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body


async def test_messages_and_their_latency_are_shown_for_any_function() -> None:
    """The gateway counts them itself; what only the reference's metrics say is left away."""

    async def answer(event: dict[str, Any]) -> dict[str, Any]:
        return {"statusCode": 200, "body": event["body"]}

    api = Api(routes={"$default": "answer"}, two_way=frozenset({"$default"}))
    functions = (Function("answer", run=answer),)
    stack = HostedStack(
        Description(api=api, functions=functions, credentials=Credentials("a", "b"))
    )
    try:
        target = await stack.start()
        base = urljoin(str(target.management_url), "/")
        async with websockets.connect(target.url) as socket:
            await socket.send("{}")
            assert await socket.recv() == "{}"
            page = await asyncio.to_thread(_get, base)
            figures = json.loads(await asyncio.to_thread(_get, f"{base}live.json"))
    finally:
        await stack.stop()
    assert b"streamproof, live" in page
    assert figures["connections"] == 1
    assert figures["totals"]["messages"] == 1
    assert figures["latency"]["messages"]["count"] == 1
    assert not figures["is_reference"]
    assert figures["requests"] is None
