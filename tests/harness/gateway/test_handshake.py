"""The handshake waits, opens and refuses as API Gateway does (GW-3)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from websockets.exceptions import InvalidStatus

from streamproof.gateway import Description, Function, Limits, ManualClock
from support.gateway_host import ROUTES, Notes, http, running, turns


async def refused(stage, query="", **options):
    """The response of a handshake that must fail."""
    with pytest.raises(InvalidStatus) as raised:
        async with stage.connect(query, **options):
            pass
    return raised.value.response


def failing(_event):
    """A function that raises."""
    raise KeyError("secret")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"statusCode": 401, "body": "mine", "headers": {"X-Mine": "1"}}, 401),
        ({"statusCode": 403}, 403),
        ({"statusCode": 500}, 500),
        ({"statusCode": 302}, 302),
        ({"statusCode": 101}, 502),
        ({"statusCode": 200, "extra": 1}, 502),
        ({"body": "no status"}, 502),
        (failing, 502),
    ],
)
async def test_connects_answer_is_the_status_of_the_refusal(answer, status):
    """Any status but 2xx refuses with that status, what is no answer with 502."""
    async with running(answers={"connect": answer}) as stage:
        response = await refused(stage)
        assert response.status_code == status
        assert b"mine" not in response.body
        assert b"secret" not in response.body
        assert "X-Mine" not in response.headers
    assert stage.disconnects.events.empty()


async def test_the_upgrade_waits_and_a_post_meanwhile_is_gone():
    """The connection does not exist before $connect has ended."""
    stages = []

    async def connect(event):
        await arrived.wait()
        status = await stages[0].post(event["requestContext"]["connectionId"], b"early")
        statuses.append(status)
        return {"statusCode": 200}

    arrived, statuses = asyncio.Event(), []
    async with running(answers={"connect": connect}) as stage:
        stages.append(stage)
        opening = asyncio.ensure_future(stage.connect().__aenter__())
        connection_id = await stage.connection_id()
        assert not opening.done()
        arrived.set()
        client = await opening
        assert statuses == [410]
        assert await stage.post(connection_id, b"now") == 200
        assert await client.recv() == "now"
        await client.close()


async def test_a_slow_connect_is_502():
    """$connect has the integration's time limit."""
    clock = ManualClock()

    async def hang(_event):
        await asyncio.Event().wait()

    async with running(clock=clock, answers={"connect": hang}) as stage:
        opening = asyncio.ensure_future(refused(stage))
        await stage.connects.next()
        await turns()
        clock.advance(29)
        assert (await opening).status_code == 502


async def test_a_throttled_connect_is_500():
    """A function that could not be invoked refuses with 500."""
    hosted = Function("hosted", command=("/bin/false",), environments_max=0)
    async with running(hosted, api={"routes": {"$connect": "hosted"}}) as stage:
        assert (await refused(stage)).status_code == 500


async def test_without_connect_and_disconnect_routes_connections_open():
    """Both integrations are optional."""
    async with running(api={"routes": {"$default": "default"}}) as stage:
        async with stage.connect() as client:
            await client.send("x")
            await stage.messages.next()
        assert stage.connects.events.empty()


async def test_only_the_functions_subprotocol_is_passed_on():
    """Nothing is negotiated; what $connect chose is in the answer."""
    answer = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "chat", "X-Mine": "1"}}
    async with (
        running(answers={"connect": answer}) as stage,
        stage.connect(subprotocols=["chat", "other"]) as client,
    ):
        assert client.subprotocol == "chat"
        assert "X-Mine" not in client.response.headers
    async with running() as stage, stage.connect(subprotocols=["chat"]) as client:
        assert client.subprotocol is None


async def test_other_paths_and_plain_requests():
    """Another stage is 403, a plain GET on the socket's path 426, a URL too long 414."""
    async with running() as stage:
        stage.url = stage.url.replace("/dev", "/prod")
        assert (await refused(stage)).status_code == 403
        stage.url = stage.url.replace("/prod", "/dev/")
        async with stage.connect():
            pass
        assert (await refused(stage, "?a=" + "x" * 4096)).status_code == 414
        async with stage.connect("?" + "a&" * 2000):
            pass
        status, headers, _ = await http(stage.gateway.port, "GET", "/dev", sign=False)
        assert (status, headers["upgrade"]) == (426, "websocket")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"Sec-WebSocket-Version": "12"}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Connection": "keep-alive"}, 426),
    ],
)
async def test_what_is_no_rfc_6455_handshake_never_reaches_a_function(change, status):
    """A bad version, key or connection header is refused by the protocol itself."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AQIDBAUGBwgJCgsMDQ4PEA==",
    }
    async with running() as stage:
        seen, _, _ = await http(
            stage.gateway.port, "GET", "/dev", headers=headers | change, sign=False
        )
        assert seen == status
        assert stage.connects.events.empty()


async def test_a_request_line_that_the_protocol_refuses_ends_the_socket():
    """What websockets' own parser does not take is answered by it."""
    async with running() as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        long = b"x" * 9000
        writer.write(b"GET /dev?" + long + b" HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 414")
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def raw_handshake(stage, data):
    """The first line that answers `data`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
    writer.write(data)
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def test_a_handshake_that_cannot_be_parsed_is_400():
    """A header name that websockets' parser does not take, and ours does."""
    async with running() as stage:
        data = b"GET /dev HTTP/1.1\r\nUpgrade: websocket\r\nB@d: x\r\n\r\n"
        assert (await raw_handshake(stage, data)).startswith(b"HTTP/1.1 400")
        assert stage.connects.events.empty()


async def test_line_breaks_before_a_handshake_are_ignored():
    """As RFC 9112 asks of a server."""
    async with running() as stage:
        data = (
            b"\r\n\r\nGET /dev HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
        )
        assert (await raw_handshake(stage, data)).startswith(b"HTTP/1.1 101")


async def test_new_connections_are_throttled_when_asked_for():
    """Above the rate the handshake is 429, until the bucket fills again (GW-9)."""
    clock = ManualClock()
    async with (
        running(clock=clock, limits=Limits(connects_per_s=2)) as stage,
        stage.connect(),
        stage.connect(),
    ):
        assert (await refused(stage)).status_code == 429
        clock.advance(0.5)
        async with stage.connect():
            pass


async def test_nothing_is_throttled_unless_asked_for():
    """GW-9: off by default, for connections and for messages."""
    async with running(clock=ManualClock()) as stage, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stage.connect()) for _ in range(30)]
        for _ in range(30):
            await clients[0].send("x")
            await stage.messages.next()


async def test_connections_are_bounded():
    """A full gateway answers 503."""
    async with running(limits=Limits(connections_max=1)) as stage, stage.connect():
        assert (await refused(stage)).status_code == 503


async def test_a_client_that_does_not_wait_is_disconnected_once():
    """The function has run, so $disconnect runs too."""
    let = asyncio.Event()

    async def connect(_event):
        await let.wait()
        return {"statusCode": 200}

    async with running(answers={"connect": connect}) as stage:
        opening = asyncio.ensure_future(stage.connect().__aenter__())
        connection_id = await stage.connection_id()
        opening.cancel()
        await asyncio.wait([opening])
        let.set()
        event = await stage.disconnects.next()
        assert event["requestContext"]["connectionId"] == connection_id
        assert event["requestContext"]["disconnectStatusCode"] == 1006


AUTHORIZED = {
    "principalId": "user",
    "context": {"tenant": "t1", "n": 5},
    "policyDocument": {
        "Statement": [{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}]
    },
}


def unauthorized(_event):
    """An authorizer that refuses as AWS documents it."""
    raise RuntimeError("Unauthorized")


@pytest.mark.parametrize(
    ("answer", "query", "status"),
    [
        (AUTHORIZED, "", 401),
        (unauthorized, "?token=t", 401),
        (failing, "?token=t", 500),
        ({"principalId": "user"}, "?token=t", 403),
        ({}, "?token=t", 403),
    ],
)
async def test_an_authorizer_refuses(answer, query, status):
    """No identity source or "Unauthorized" is 401, no Allow 403, another error 500."""
    notes = Notes(answer)
    api = {
        "routes": ROUTES,
        "authorizer": "authorizer",
        "identity_sources": (
            "route.request.querystring.token",
            "route.request.header.User-Agent",
        ),
    }
    async with running(Function("authorizer", run=notes), api=api) as stage:
        assert (await refused(stage, query)).status_code == status
        assert stage.connects.events.empty()
        assert notes.events.empty() == (query == "")


async def test_a_throttled_authorizer_is_500():
    """An authorizer that cannot be invoked refuses with 500."""
    hosted = Function("hosted", command=("/bin/false",), environments_max=0)
    async with running(hosted, api={"authorizer": "hosted"}) as stage:
        assert (await refused(stage)).status_code == 500


async def test_an_authorizers_answer_is_kept_for_its_identity():
    """The same token asks once within the time to live, another one asks anew."""
    clock, notes = ManualClock(), Notes(AUTHORIZED)
    api = {
        "routes": ROUTES,
        "authorizer": "authorizer",
        "identity_sources": ("route.request.querystring.token",),
        "authorizer_ttl_s": 300,
    }
    async with running(Function("authorizer", run=notes), api=api, clock=clock) as stage:
        for query, asked in [("?token=a", 1), ("?token=a", 1), ("?token=b", 2)]:
            async with stage.connect(query):
                event = await stage.connects.next()
                assert event["requestContext"]["authorizer"]["tenant"] == "t1"
            assert notes.events.qsize() == asked
        clock.advance(300)
        async with stage.connect("?token=a"):
            assert notes.events.qsize() == 3


@pytest.mark.parametrize(
    "context",
    [{"list": [1]}, {"object": {}}, {"null": None}, {"text": "x" * 8192}, "text"],
)
async def test_an_authorizers_context_that_is_not_taken_is_500(context):
    """Only texts, numbers and truths, and 8 KB of them with the principal."""
    notes = Notes({**AUTHORIZED, "context": context})
    api = {"routes": ROUTES, "authorizer": "authorizer"}
    async with running(Function("authorizer", run=notes), api=api) as stage:
        assert (await refused(stage)).status_code == 500
        assert stage.connects.events.empty()


async def test_an_authorizers_output_is_in_every_later_event():
    """CONNECT, MESSAGE and DISCONNECT carry principal and context."""
    notes = Notes(AUTHORIZED)
    async with running(
        Function("authorizer", run=notes), api={"authorizer": "authorizer"}
    ) as stage:
        async with stage.connect() as client:
            await client.send("x")
            events = [await stage.connects.next(), await stage.messages.next()]
        events.append(await stage.disconnects.next())
        for event in events:
            authorizer = event["requestContext"]["authorizer"]
            assert authorizer["principalId"] == "user"
            assert authorizer["tenant"] == "t1"
            assert authorizer["n"] == "5"
        asked = await notes.next()
        assert (
            asked["requestContext"]["connectionId"] == (events[0]["requestContext"]["connectionId"])
        )


async def test_an_answer_without_an_identity_is_nobody_elses(monkeypatch):
    """What no identity source tells apart is asked anew each time, even past the check."""
    monkeypatch.setattr(Description, "check", lambda _self: None)
    notes = Notes(AUTHORIZED)
    api = {"routes": ROUTES, "authorizer": "authorizer", "authorizer_ttl_s": 300}
    async with running(Function("authorizer", run=notes), api=api) as stage:
        for asked in (1, 2):
            async with stage.connect():
                assert notes.events.qsize() == asked
