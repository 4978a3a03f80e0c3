"""The HTTP client against a server that keeps, bends and breaks the protocol."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.connection.errors import NoAnswerError, NotSentError
from streamer_reference.connection.http import (
    BODY_BYTES_MAX,
    HEAD_BYTES_MAX,
    IDLE_S_MAX,
    HttpClient,
    _take_answer,
)
from support.http_server import OK, answer_with, http_server
from support.virtual_time import pass_time, virtual_time


async def _ask(client, path="/", body=b"", timeout_s=5.0):
    headers = {"host": client.host}
    return await client.request("POST", path, headers, body, timeout_s=timeout_s)


def _client(server, **options):
    return HttpClient(f"http://127.0.0.1:{server.port}", **options)


@virtual_time
async def test_requests_share_a_kept_connection():
    """Method, path, headers and body arrive as given, all on one connection."""
    async with http_server(answer_with(OK)) as server:
        client = _client(server)
        for number in range(3):
            assert await _ask(client, f"/{number}", b"x" * number) == 200
        await client.aclose()
    assert [got.line for got in server.received] == [f"POST /{n} HTTP/1.1" for n in range(3)]
    assert [got.body for got in server.received] == [b"", b"x", b"xx"]
    assert server.received[0].headers["host"] == f"127.0.0.1:{server.port}"
    assert server.connections == 1


@virtual_time
async def test_the_pool_is_bounded_and_first_come_first_served():
    """Ten requests side by side use no more than the pool's connections."""
    async with http_server(answer_with(OK)) as server:
        client = _client(server, pool_max=3)
        done = []

        async def ask(number):
            await _ask(client, f"/{number}")
            done.append(number)

        await asyncio.gather(*(ask(number) for number in range(10)))
        await client.aclose()
    assert server.connections == 3
    assert done[0] < 3
    assert done[-1] > 6


@virtual_time
async def test_no_answer_in_time_may_have_arrived_and_ends_the_connection():
    """A late answer can never become the next request's."""

    async def answer(got, writer):
        if got.line.startswith("POST /slow"):
            await pass_time(60)
        writer.write(OK)

    async with http_server(answer) as server:
        client = _client(server)
        await _ask(client)
        with pytest.raises(NoAnswerError) as caught:
            await _ask(client, "/slow", timeout_s=2)
        assert caught.value.may_have_arrived
        assert await _ask(client) == 200
        await client.aclose()
    assert [got.connection for got in server.received] == [0, 0, 1]


@virtual_time
async def test_waiting_for_a_place_counts_as_not_sent():
    """A request that never got a connection certainly did not arrive."""

    async def answer(got, writer):
        await pass_time(60)

    async with http_server(answer) as server:
        client = _client(server, pool_max=1)
        first = asyncio.create_task(_ask(client, timeout_s=10))
        await pass_time(0.1)
        with pytest.raises(NotSentError):
            await _ask(client, timeout_s=1)
        with pytest.raises(NoAnswerError):
            await first
        await client.aclose()
    assert len(server.received) == 1


@virtual_time
async def test_a_cancelled_request_leaves_the_pool_usable():
    """The place is free again, the half-used connection is not."""

    async def answer(got, writer):
        if got.line.startswith("POST /hang"):
            await pass_time(3600)
        writer.write(OK)

    async with http_server(answer) as server:
        client = _client(server, pool_max=1)
        task = asyncio.create_task(_ask(client, "/hang", timeout_s=100))
        await pass_time(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await _ask(client) == 200
        await client.aclose()
    assert server.connections == 2


@virtual_time
async def test_a_refused_connection_is_not_sent():
    """Nobody listens: nothing left this machine."""
    async with http_server(answer_with(OK)) as server:
        pass
    with pytest.raises(NotSentError, match="no connection to"):
        await _ask(_client(server))


@virtual_time
async def test_a_server_that_hangs_up_gives_no_answer():
    """The request may have been taken before the connection was closed."""
    async with http_server(answer_with(b"", close=True)) as server:
        client = _client(server)
        with pytest.raises(NoAnswerError, match="closed"):
            await _ask(client)
        await client.aclose()


@virtual_time
async def test_a_connection_that_the_server_ends_is_not_used_again():
    """With `Connection: close`, after an end in silence, and after too long an idle time."""
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with http_server(answer_with(closing)) as server:
        client = _client(server)
        assert [await _ask(client) for _ in range(2)] == [200, 200]
        await client.aclose()
    assert server.connections == 2

    writers = []

    async def remember(got, writer):
        writers.append(writer)
        writer.write(OK)

    async with http_server(remember) as server:
        client = _client(server)
        await _ask(client)
        writers[0].close()
        await pass_time(0.1)
        await _ask(client)
        await pass_time(IDLE_S_MAX + 1)
        await _ask(client)
        await client.aclose()
    assert server.connections == 3


@virtual_time
async def test_an_unasked_answer_ends_the_connection():
    """Bytes that nobody asked for would be taken for the next answer."""
    async with http_server(answer_with(OK + OK)) as server:
        client = _client(server)
        await _ask(client)
        await _ask(client)
        await client.aclose()
    assert server.connections == 2

    writers = []

    async def remember(got, writer):
        writers.append(writer)
        writer.write(OK)

    async with http_server(remember) as server:
        client = _client(server)
        await _ask(client)
        writers[0].write(OK)
        await pass_time(0.1)
        await _ask(client)
        await client.aclose()
    assert server.connections == 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1),
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * HEAD_BYTES_MAX,
    ],
)
@virtual_time
async def test_what_is_no_answer_is_none(garbage):
    """Garbage and boundless answers end at once, whatever the time limit."""
    async with http_server(answer_with(garbage)) as server:
        client = _client(server)
        with pytest.raises(NoAnswerError, match="not an HTTP answer"):
            await _ask(client, timeout_s=1000)
        await client.aclose()
    assert asyncio.get_running_loop().time() < 1


SIZED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nCONTENT-length:  6 \r\n\r\nhello!"


@given(st.data())
def test_an_answer_may_come_in_any_pieces(data):
    """However the network cuts an answer, it is complete at its last byte and not before."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(SIZED) - 1))))
    received, answers = bytearray(), []
    for start, end in zip([0, *cuts], [*cuts, len(SIZED)], strict=True):
        received += SIZED[start:end]
        answers.append(_take_answer(received))
    assert answers == [None] * len(cuts) + [(200, True)]
    assert not received


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"204 No Content", (204, True)),
        (b"204 No Content\r\ncontent-length: 5", (204, True)),
        (b"410 Gone", (410, False)),
        (b"410 Gone\r\ntransfer-encoding: chunked", (410, False)),
        (b"410 Gone\r\ntransfer-encoding: chunked\r\ncontent-length: 0", (410, False)),
        (b"410 Gone\r\nconnection: Close\r\ncontent-length: 0", (410, False)),
        (b"410 Gone\r\ncontent-length: 1", None),
    ],
)
def test_frames_of_an_answer(head, answer):
    """204 has no body; where the end of a body is not known, nothing can follow it."""
    assert _take_answer(bytearray(b"HTTP/1.1 " + head + b"\r\n\r\n")) == answer


@virtual_time
async def test_a_body_of_unknown_length_is_not_waited_for():
    """The status is known by the head; what follows ends with its connection."""
    chunked = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    async with http_server(answer_with(chunked)) as server:
        client = _client(server)
        assert [await _ask(client) for _ in range(2)] == [503, 503]
        await client.aclose()
    assert server.connections == 2


@virtual_time
async def test_closing_ends_what_is_under_way():
    """A request under way has no answer, a new one is not sent, and closing twice is harmless."""

    async def answer(got, writer):
        await pass_time(3600)

    async with http_server(answer) as server:
        client = _client(server)
        task = asyncio.create_task(_ask(client, timeout_s=1000))
        await pass_time(0.1)
        await client.aclose()
        with pytest.raises(NoAnswerError):
            await task
        with pytest.raises(NotSentError, match="closed"):
            await _ask(client)
        await client.aclose()
    assert asyncio.get_running_loop().time() < 10


@pytest.mark.parametrize("origin", ["ftp://x", "https://", "localhost:80"])
def test_other_origins_are_refused(origin):
    """Only http and https are spoken."""
    with pytest.raises(ValueError, match="not the URL"):
        HttpClient(origin)
