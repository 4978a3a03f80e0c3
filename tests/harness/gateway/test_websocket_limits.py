"""RFC 6455 and API Gateway's limits on a connection (GW-6, GW-8, GW-10)."""

from __future__ import annotations

import asyncio
import datetime
import ssl

import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode

from streamproof.gateway import Limits, ManualClock
from streamproof.gateway.websocket import CLOSE_TIMEOUT_S
from streamproof.targets.certificates import prepare
from support.gateway_host import running, turns, until

PAIR = {"two_way": frozenset({"$default"})}


def echo(event):
    """Answer with the message."""
    return {"statusCode": 200, "body": event["body"]}


async def closed(client):
    """Wait for the end; its code and reason."""
    async with asyncio.timeout(10):
        await client.wait_closed()
    return client.close_code, client.close_reason


async def ended(stage):
    """The code and reason that $disconnect was told."""
    context = (await stage.disconnects.next())["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


def frame(opcode, data, *, fin=True):
    """One client frame as bytes."""
    return Frame(opcode, data, fin).serialize(mask=True)


async def test_a_message_of_131072_bytes_passes_in_frames_of_32768():
    """Both limits are inclusive; the answer may be one frame."""
    async with running(api=PAIR, answers={"default": echo}) as stage, stage.connect() as client:
        await client.send(["x" * 32_768] * 4)
        assert await client.recv() == "x" * 131_072


@pytest.mark.parametrize(
    "parts",
    [["x" * 32_769], ["x" * 131_073], ["x" * 32_768] * 4 + ["x"], ["é" * 16_385]],
)
async def test_more_is_closed_with_1009(parts):
    """One byte more in a frame or in the message ends the connection."""
    async with running() as stage:
        async with stage.connect() as client:
            await client.send(iter(parts) if len(parts) > 1 else parts[0])
            assert (await closed(client))[0] == 1009
        assert (await ended(stage))[0] == 1009
        assert stage.messages.events.empty()


@pytest.mark.parametrize("parts", [b"binary", [b"bi", b"nary"]])
async def test_a_binary_message_is_closed_with_1003(parts):
    """Binary messages are not supported."""
    async with running() as stage:
        async with stage.connect() as client:
            await client.send(parts)
            assert (await closed(client))[0] == 1003
        assert (await ended(stage))[0] == 1003


async def test_text_that_is_not_utf_8_is_closed_with_1007():
    """Also when it is cut in the middle of a character, which is fine by itself."""
    async with running(api=PAIR, answers={"default": echo}) as stage, stage.connect() as client:
        for piece in (
            frame(Opcode.TEXT, b"\xc3", fin=False),
            frame(Opcode.PING, b"between"),
            frame(Opcode.CONT, b"\xa9"),
        ):
            client.transport.write(piece)
        assert await client.recv() == "é"
        client.transport.write(frame(Opcode.TEXT, b"\xc3"))
        assert (await closed(client))[0] == 1007


async def test_a_protocol_error_is_closed_with_1002():
    """A continuation of nothing is an error; what follows it is not listened to."""
    async with running() as stage, stage.connect() as client:
        client.transport.write(frame(Opcode.CONT, b"x") + frame(Opcode.TEXT, b"y"))
        assert (await closed(client))[0] == 1002
        assert stage.messages.events.empty()


async def test_what_comes_after_a_refused_message_is_not_listened_to():
    """A message behind a binary one in the same piece runs nothing."""
    async with running() as stage, stage.connect() as client:
        client.transport.write(frame(Opcode.BINARY, b"x") + frame(Opcode.TEXT, b"y"))
        assert (await closed(client))[0] == 1003
        assert stage.messages.events.empty()


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (frame(Opcode.CLOSE, b"\x03\xe8"), 1000),
        (frame(Opcode.CONT, b"x"), 1002),
        (frame(Opcode.TEXT, b"\xc3"), 1007),
        (frame(Opcode.BINARY, b"x") + frame(Opcode.CLOSE, b"\x03\xe8"), 1003),
    ],
    ids=["close", "bad frame", "not UTF-8", "binary"],
)
async def test_what_comes_before_an_end_in_one_piece_is_delivered(last, code):
    """Messages reach their function in order; what ends the connection ends it after them."""
    async with running() as stage:
        async with stage.connect() as client:
            first = frame(Opcode.TEXT, b"one")
            second = frame(Opcode.TEXT, b"t", fin=False) + frame(Opcode.CONT, b"wo")
            client.transport.write(first + second + last + frame(Opcode.TEXT, b"late"))
            await closed(client)
        assert (await ended(stage))[0] == code
        assert [(await stage.messages.next())["body"] for _ in range(2)] == ["one", "two"]
        await turns()
        assert stage.messages.events.empty()


async def test_raw_echo_answers_before_it_closes():
    """A message and a close in one piece come back in this order."""
    async with running(raw_echo=True) as stage, stage.connect() as client:
        client.transport.write(frame(Opcode.TEXT, b"x") + frame(Opcode.CLOSE, b"\x03\xe8"))
        assert await client.recv() == "x"
        assert (await closed(client))[0] == 1000


async def test_a_ping_is_answered():
    """Control frames are API Gateway's own affair."""
    async with running() as stage, stage.connect() as client:
        await (await client.ping(b"abc"))


@pytest.mark.parametrize(
    ("code", "reason", "seen"),
    [(1000, "", (1000, "")), (1001, "away", (1001, "away")), (4999, "é", (4999, "é"))],
)
async def test_a_clients_close_is_answered_and_told_once(code, reason, seen):
    """$disconnect runs once with the code and reason that the client gave."""
    async with running() as stage:
        async with stage.connect() as client:
            await client.close(code, reason)
            assert client.protocol.close_sent == client.protocol.close_rcvd
        assert await ended(stage) == seen
        await turns()
        assert stage.disconnects.events.empty()


async def test_a_close_without_status_and_no_close_at_all():
    """1005 comes with AWS's recorded reason, a socket that breaks with 1006."""
    async with running() as stage:
        async with stage.connect() as client:
            client.transport.write(frame(Opcode.CLOSE, b""))
            await closed(client)
        assert await ended(stage) == (1005, "Client-side close frame status not set")
        async with stage.connect() as client:
            client.transport.abort()
        assert await ended(stage) == (1006, "")
        async with stage.connect() as client:
            client.transport.write_eof()
            await closed(client)
        assert await ended(stage) == (1006, "")


async def test_an_idle_connection_is_closed_after_ten_minutes():
    """Data messages of either direction count, pings do not."""
    clock = ManualClock()
    async with running(clock=clock) as stage:
        async with stage.connected() as (client, connection_id):
            clock.advance(599)
            await client.send("x")
            await stage.messages.next()
            clock.advance(599)
            connection = stage.gateway.connections.get(connection_id)
            assert connection.post(b"y")
            assert await client.recv() == "y"
            assert connection.last_active_s == clock.time_s()
            clock.advance(599)
            await (await client.ping())
            clock.advance(1)
            assert await closed(client) == (1001, "Going away")
        assert await ended(stage) == (1001, "Going away")


async def test_a_connection_lives_two_hours():
    """However busy it is."""
    clock = ManualClock()
    async with running(clock=clock) as stage, stage.connected() as (client, connection_id):
        connection = stage.gateway.connections.get(connection_id)
        for _ in range(13):
            clock.advance(550)
            assert connection.post(b"y")
            assert await client.recv() == "y"
        clock.advance(7200 - 13 * 550 - 1)
        await (await client.ping())
        clock.advance(1)
        assert (await closed(client))[0] == 1001


async def test_a_client_that_does_not_answer_a_close_is_cut_off():
    """Five seconds for the closing handshake, then the socket goes, and $disconnect runs."""
    clock = ManualClock()
    async with running(clock=clock) as stage, stage.connected() as (client, connection_id):
        client.transport.pause_reading()
        stage.gateway.connections.get(connection_id).close(1000, "Connection Closed Normally")
        assert stage.gateway.connections.get(connection_id) is None
        await turns()
        assert stage.disconnects.events.empty()
        clock.advance(CLOSE_TIMEOUT_S)
        assert await ended(stage) == (1000, "Connection Closed Normally")
        client.transport.abort()


async def test_reading_stops_while_too_much_is_under_way():
    """A client with too many messages under way waits; everybody else does not."""
    let, running_now = asyncio.Event(), []

    async def hold(event):
        running_now.append(event["body"])
        await let.wait()
        return {"statusCode": 200}

    async with (
        running(answers={"default": hold}) as stage,
        stage.connect() as greedy,
        stage.connect() as other,
    ):
        sending = asyncio.ensure_future(_send_many(greedy, 400, "x" * 32_768))
        await until(lambda: len(running_now) >= 256)
        await turns(200)
        held = len(running_now)
        assert held < 300  # 8 MiB of messages, and what one read brought
        await other.send("me")
        await until(lambda: "me" in running_now)
        let.set()
        await sending
        await until(lambda: len(running_now) == 401)


async def _send_many(client, count, text):
    for _ in range(count):
        await client.send(text)


async def test_pings_that_nobody_reads_the_answers_of_stop_the_reading():
    """A flood of pings cannot fill the gateway's memory."""
    async with (
        running(limits=Limits(send_buffer_bytes=4096)) as stage,
        stage.connected() as (client, connection_id),
    ):
        connection = stage.gateway.connections.get(connection_id)
        client.transport.pause_reading()
        flood = frame(Opcode.PING, b"x" * 125) * 1000
        while not connection._paused:
            client.transport.write(flood)
            await turns(5)
        assert connection.transport.get_write_buffer_size() < 2_000_000
        client.transport.resume_reading()
        await until(lambda: not connection._paused)
        await client.send("alive")
        assert (await stage.messages.next())["body"] == "alive"


async def test_raw_echo_returns_text_and_binary():
    """With the gateway's rules off, every message comes back as it was, on any path."""
    async with running(raw_echo=True) as stage:
        stage.url = stage.url.replace("/dev", "/")
        async with stage.connect(max_size=None) as client:
            for message in ("é", b"\x00\xff", "x" * 200_000, ""):
                await client.send(message)
                assert await client.recv() == message
        assert stage.connects.events.empty()
        assert stage.disconnects.events.empty()


@pytest.mark.parametrize("from_client", [True, False])
async def test_a_close_over_tls_waits_for_no_timer(tmp_path, from_client):
    """TLS cannot close one half: the transport closes, on a clock that never gets to cut it off."""
    files = prepare(tmp_path, datetime.datetime.now(datetime.UTC), {})
    trust = ssl.create_default_context(cafile=str(files.authority))
    async with running(clock=ManualClock(), tls=files.server_context()) as stage:
        url = stage.url.replace("ws:", "wss:")
        async with connect(url, ssl=trust, proxy=None, close_timeout=60) as client:
            if not from_client:
                stage.gateway.connections.all()[0].close(1001, "Going away", "Going away")
            async with asyncio.timeout(4):
                await (client.close() if from_client else client.wait_closed())
        assert (await ended(stage))[0] == (1000 if from_client else 1001)
        await until(lambda: not stage.gateway.wires)
        assert stage.disconnects.events.empty()
