"""One bounded HTTP exchange, whatever the server does."""

from __future__ import annotations

import asyncio

import pytest

from streamproof.targets.base import Description
from streamproof.targets.http import fetch
from streamproof.targets.management import Management
from support.http_server import OK, answer_with, http_server

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_an_answer_is_read_whole() -> None:
    """Status, headers in lower case, body by its length."""
    raw = b"HTTP/1.1 410 Gone\r\nX-Amzn-ErrorType: GoneException\r\nContent-Length: 2\r\n\r\nno"
    async with http_server(answer_with(raw)) as server:
        answer = await fetch("GET", f"http://127.0.0.1:{server.port}/a?b=c")
    assert (answer.status, answer.body) == (410, b"no")
    assert answer.headers["x-amzn-errortype"] == "GoneException"
    assert server.received[0].line == "GET /a?b=c HTTP/1.1"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (CHUNKED + b"2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_bodies_end_in_three_ways(raw, body) -> None:
    """Chunks, the end of the connection, or no body at all."""
    async with http_server(answer_with(raw, close=True)) as server:
        answer = await fetch("GET", f"http://127.0.0.1:{server.port}")
    assert answer.body == body


async def test_a_head_has_no_body() -> None:
    """Its length speaks of a body that does not come."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with http_server(answer_with(raw)) as server:
        answer = await fetch("HEAD", f"http://127.0.0.1:{server.port}/")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", ConnectionResetError),
        (b"SSH-2.0-x\r\n\r\n", ValueError),
        (b"HTTP/1.1 abc\r\n\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", ValueError),
        (CHUNKED + b"fffffffff\r\n", ValueError),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000, ValueError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", asyncio.IncompleteReadError),
    ],
)
async def test_what_is_no_answer_raises(raw, error) -> None:
    """Silence, another protocol, lies about sizes."""
    async with http_server(answer_with(raw, close=True)) as server:
        with pytest.raises(error):
            await fetch("POST", f"http://127.0.0.1:{server.port}/", body=b"x")


async def test_waiting_is_bounded() -> None:
    """A server that takes the request and says nothing."""
    async with http_server(answer_with(b"")) as server:
        with pytest.raises(TimeoutError):
            await fetch("GET", f"http://127.0.0.1:{server.port}/", timeout_s=0.05)


async def test_management_calls_are_signed() -> None:
    """Signature and path are sent as asked; given headers replace the signature."""
    async with http_server(answer_with(OK)) as server:
        url = f"http://127.0.0.1:{server.port}/dev/"
        keys = {"access_key_id": "A", "secret_access_key": "S", "session_token": "T"}
        management = Management.of(Description(url="ws://h", management_url=url, **keys))
        assert management is not None
        for options in ({}, {"safe": "=@"}, {"headers": {}}):
            await management.call("POST", "abc=", b"x", **options)
    lines = [received.line for received in server.received]
    assert lines[0] == "POST /dev/%40connections/abc%3D HTTP/1.1"
    assert lines[1] == "POST /dev/@connections/abc= HTTP/1.1"
    signed = ["authorization" in received.headers for received in server.received]
    assert signed == [True, True, False]
    assert server.received[0].headers["x-amz-security-token"] == "T"


def test_management_needs_keys() -> None:
    """An endpoint without credentials, or none at all, is no management."""
    assert Management.of(Description(url="ws://h")) is None
    assert Management.of(Description(url="ws://h", management_url="http://h")) is None
