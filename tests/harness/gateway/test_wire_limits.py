"""How long a socket may be silent, at any moment of its life."""

from __future__ import annotations

import asyncio
import socket

import pytest

from streamproof.gateway import ManualClock
from streamproof.gateway.wire import REQUEST_TIMEOUT_S, Wire
from support.gateway_host import read_response, running, until

REQUEST = b"GET /x HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [b"", b"GET /x HT", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["idle", "head", "body"],
)
async def test_each_request_has_its_time_after_the_answer_before(data):
    """A socket that was used once is not open for ever."""
    clock = ManualClock()
    async with running(clock=clock) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        for _ in range(3):
            clock.advance(REQUEST_TIMEOUT_S - 1)
            writer.write(REQUEST)
            assert (await read_response(reader))[0] == 403
        writer.write(data)
        clock.advance(REQUEST_TIMEOUT_S - 1)
        assert stage.gateway.wires
        clock.advance(1)
        await until(lambda: not stage.gateway.wires)
        writer.close()


async def test_a_handshake_has_limits_of_its_own_and_an_open_socket_too():
    """Neither a slow $connect nor a quiet client is cut off as one that sends no request."""
    clock, let = ManualClock(), asyncio.Event()

    async def connect(_event):
        await let.wait()
        return {"statusCode": 200}

    async with running(clock=clock, answers={"connect": connect}) as stage:
        own = socket.create_connection(("127.0.0.1", stage.gateway.port))
        await until(lambda: len(stage.gateway.wires) == 1)
        clock.advance(5)
        opening = asyncio.ensure_future(stage.connect(sock=own).__aenter__())
        await stage.connects.next()
        clock.advance(REQUEST_TIMEOUT_S - 2)
        let.set()
        client = await opening
        clock.advance(REQUEST_TIMEOUT_S * 3)
        await (await client.ping())
        await client.close()


class SlowTransport:
    """A transport whose peer takes what a test says."""

    def __init__(self):
        self.unsent, self.aborted = 0, False

    def get_write_buffer_size(self):
        """What the peer has not taken."""
        return self.unsent

    def is_closing(self):
        """Tell whether it was aborted."""
        return self.aborted

    def write(self, data):
        """Take an answer of which nothing goes out."""
        self.unsent += len(data)

    def abort(self):
        """End."""
        self.aborted = True


async def test_a_peer_that_still_takes_its_answer_is_waited_for():
    """As long as something goes, and no longer."""
    clock = ManualClock()
    async with running(clock=clock) as stage:
        wire, transport = Wire(stage.gateway), SlowTransport()
        wire.connection_made(transport)
        wire.data_received(REQUEST)
        for _ in range(3):
            transport.unsent -= 1
            clock.advance(REQUEST_TIMEOUT_S)
            assert not transport.aborted
        clock.advance(REQUEST_TIMEOUT_S)
        assert transport.aborted
        wire.connection_lost(None)
