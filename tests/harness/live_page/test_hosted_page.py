"""The live page beside functions of somebody's own."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from typing import Any
from urllib.parse import urljoin

import pytest
import websockets

from streamproof.gateway import Api, Credentials, Description, Function, FunctionError
from streamproof.hosting.stack import HostedStack
from streamproof.live_page import LivePage
from support.gateway_host import until


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


async def test_failures_are_shown_and_the_descriptions_own_callbacks_called() -> None:
    """What a function raises, says or dies of; whoever described it hears of it all as before."""
    lines: list[tuple[str, str]] = []
    took_ns: list[int] = []

    async def raising(event: dict[str, Any]) -> None:
        raise KeyError(event.get("body", "later"))

    print_and_end = "print('[ERROR]\\t2026-01-01T00:00:00.000Z\\tr-1\\tno table')"
    functions = (
        Function("raising", run=raising),
        Function("ends", command=(sys.executable, "-c", print_and_end)),
    )
    api = Api(routes={"$default": "raising"})
    stack = HostedStack(
        Description(
            api=api,
            functions=functions,
            credentials=Credentials("a", "b"),
            on_line=lambda name, line: lines.append((name, line)),
            on_message=took_ns.append,
        )
    )
    try:
        target = await stack.start()
        async with websockets.connect(target.url) as socket:
            await socket.send("a message")
            assert "Internal server error" in str(await socket.recv())
        stack.gateway.invoke_async("raising", {})
        with pytest.raises(FunctionError):
            await stack.gateway.invoke("ends", {})
        await until(lambda: len(_errors(stack)) >= 6)
    finally:
        await stack.stop()
    shown = _errors(stack)
    assert ("ends", "no table", "r-1") in shown
    assert ("gateway", "a message to raising failed: KeyError: 'a message'", "") in shown
    failed = "asynchronous invocation of raising failed: KeyError: 'later'"
    assert ("gateway", failed, "") in shown
    assert any("function ends did not start" in message for _, message, _ in shown)
    assert {name for name, _ in lines} == {"raising", "ends"}
    assert ("raising", "KeyError: 'a message'", "") in shown
    assert len(took_ns) == 1


def _errors(stack: HostedStack) -> list[tuple[str, str, str]]:
    return [(each["function"], each["message"], each["request_id"]) for each in _noted(stack.live)]


def _noted(page: LivePage) -> list[dict[str, Any]]:
    page._figures_until_s = 0.0
    errors: list[dict[str, Any]] = json.loads(page.figures()[1])["errors"]
    return errors


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        ("[ERROR] KeyError: 'no'\rTraceback", "ERROR", "KeyError: 'no'\rTraceback"),
        ("[WARNING]\t2026-01-01T00:00:00.000Z\tr-1\tlow", "WARNING", "low"),
        ('{"level": "ERROR", "message": "said"}', "ERROR", "said"),
    ],
)
def test_a_line_of_lambdas_runtime_client_is_read(line: str, level: str, message: str) -> None:
    """As it writes what was raised, what a logger was told, and either as JSON."""
    page = LivePage(lambda: 0)
    page.line("[INFO]\tnothing", "f")
    page.line(line, "f")
    (error,) = _noted(page)
    assert (error["function"], error["level"], error["message"]) == ("f", level, message)
