"""Messages reach their routes side by side, and errors come back in AWS's words (GW-4, GW-5)."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from streamproof.gateway import Function, Limits, ManualClock
from support.gateway_host import Notes, running, turns

ROUTES = {"$connect": "connect", "$disconnect": "disconnect", "join": "default"}


def failing(_event):
    """A function that raises."""
    raise ValueError("secret")


def assert_envelope(text, message, connection_id):
    """The text is API Gateway's own, to the blank."""
    form = r'\{"message": "(.+)", "connectionId":"[^"]{16}", "requestId":"[^"]{16}"\}'
    found = re.fullmatch(form, text)
    assert found is not None
    assert found[1] == message
    assert json.loads(text)["connectionId"] == connection_id


@pytest.mark.parametrize(
    "answer", [{"statusCode": 200, "body": "unsent"}, {"statusCode": 500, "body": "unsent"}]
)
async def test_a_one_way_route_is_silent(answer):
    """Whatever a one-way route's function returns, the client gets nothing."""
    async with running(answers={"default": answer}) as stage, stage.connected() as (client, _):
        await client.send("x")
        await stage.messages.next()
        await (await client.ping())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await client.recv()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"statusCode": 200, "body": "back é"}, "back é"),
        ({"statusCode": 500, "body": "back"}, "back"),
        ({"statusCode": 200}, ""),
    ],
)
async def test_a_two_way_route_sends_the_body(answer, text):
    """The body goes back whatever the status is, an absent one as an empty message."""
    async with (
        running(api={"two_way": frozenset({"$default"})}, answers={"default": answer}) as stage,
        stage.connected() as (client, _),
    ):
        await client.send("x")
        assert await client.recv() == text


@pytest.mark.parametrize("answer", [failing, {"statusCode": 200, "ConnectionId": "x"}, {"a": 1}])
async def test_a_failing_function_is_an_internal_server_error(answer):
    """An exception or a malformed answer is told without its text; the connection stays open."""
    async with (
        running(answers={"default": answer}) as stage,
        stage.connected() as (client, connection_id),
    ):
        for _ in range(2):
            await client.send("x")
            assert_envelope(await client.recv(), "Internal server error", connection_id)


async def test_a_message_without_a_route_is_forbidden():
    """Without $default, what no key matches is answered Forbidden."""
    async with (
        running(api={"routes": ROUTES}) as stage,
        stage.connected() as (client, connection_id),
    ):
        for body in ('{"action": "leave"}', "no json", '{"action": "$connect"}'):
            await client.send(body)
            assert_envelope(await client.recv(), "Forbidden", connection_id)
        await client.send('{"action": "join"}')
        event = await stage.messages.next()
        assert event["requestContext"]["routeKey"] == "join"


async def test_the_integration_has_29_seconds():
    """A function that is slower is given up on, in words of its own."""
    clock = ManualClock()

    async def hang(_event):
        await asyncio.Event().wait()

    async with (
        running(clock=clock, answers={"default": hang}) as stage,
        stage.connected() as (client, connection_id),
    ):
        await client.send("x")
        await stage.messages.next()
        await turns()
        clock.advance(29)
        assert_envelope(await client.recv(), "Endpoint request timed out", connection_id)


async def test_a_functions_own_time_limit_is_an_error():
    """A function with a shorter limit than the integration's fails by itself."""
    clock, notes = ManualClock(), Notes(lambda _event: asyncio.Event().wait())
    short = Function("short", run=notes, timeout_s=3)
    async with (
        running(
            short, clock=clock, api={"routes": {"$connect": "connect", "$default": "short"}}
        ) as stage,
        stage.connected() as (client, connection_id),
    ):
        await client.send("x")
        await notes.next()
        await turns()
        clock.advance(3)
        assert_envelope(await client.recv(), "Internal server error", connection_id)


async def test_messages_of_one_connection_run_side_by_side():
    """A slow message holds up none that came after it."""
    let = asyncio.Event()

    async def answer(event):
        if event["body"] == "slow":
            await let.wait()
        return {"statusCode": 200, "body": event["body"]}

    async with (
        running(api={"two_way": frozenset({"$default"})}, answers={"default": answer}) as stage,
        stage.connected() as (client, _),
    ):
        await client.send("slow")
        await client.send("quick")
        assert await client.recv() == "quick"
        let.set()
        assert await client.recv() == "slow"


async def test_the_stage_is_throttled_when_asked_for():
    """Above rate and burst a message is answered Too Many Requests and runs nothing (GW-9)."""
    clock = ManualClock()
    limits = Limits(stage_rate=1, stage_burst=2)
    async with (
        running(clock=clock, limits=limits) as stage,
        stage.connected() as (client, connection_id),
    ):
        for _ in range(3):
            await client.send("x")
        assert_envelope(await client.recv(), "Too Many Requests", connection_id)
        clock.advance(1)
        await client.send("again")
        for body in ("x", "x", "again"):
            assert (await stage.messages.next())["body"] == body
