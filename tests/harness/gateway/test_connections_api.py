"""`@connections` as SDKs see it (GW-7): statuses, error types, order of the checks, buffers."""

from __future__ import annotations

import asyncio
import datetime
import json

import pytest
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed

from streamproof.gateway import Clock, Credentials, Limits, ManualClock
from support.gateway_host import (
    CREDENTIALS,
    http,
    management_client,
    read_response,
    running,
    signed_headers,
    turns,
    until,
)

UNKNOWN = "L0SM9cOFvHcCIhw="


async def raised(call):
    """The typed exception of a boto3 call that must fail; its class's name and its code."""
    with pytest.raises(ClientError) as error:
        await call
    return type(error.value).__name__, error.value.response["Error"]["Code"]


async def test_boto3_posts_reads_and_deletes():
    """The whole life of a connection through boto3; the client sees 1000 at the end."""
    async with running() as stage:
        async with stage.connected() as (client, connection_id):
            at = {"ConnectionId": connection_id}
            await stage.management("post_to_connection", **at, Data="héllo".encode())
            assert await client.recv() == "héllo"
            info = await stage.management("get_connection", **at)
            assert info["Identity"]["SourceIp"] == "127.0.0.1"
            assert info["Identity"]["UserAgent"] == client.request.headers["User-Agent"]
            assert isinstance(info["ConnectedAt"], datetime.datetime)
            assert info["LastActiveAt"] >= info["ConnectedAt"]
            deleted = await stage.management("delete_connection", **at)
            assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 1000
            for operation in ("get_connection", "delete_connection"):
                assert (await raised(stage.management(operation, **at)))[0] == "GoneException"
            posted = stage.management("post_to_connection", **at, Data=b"late")
            assert (await raised(posted))[0] == "GoneException"
        context = (await stage.disconnects.next())["requestContext"]
        assert context["disconnectStatusCode"] == 1000
        assert context["disconnectReason"] == "Connection Closed Normally"


async def test_errors_are_typed_and_checked_in_order():
    """Signature before id before existence before size."""
    async with running() as stage, stage.connected() as (_, connection_id):
        port, large = stage.gateway.port, b"x" * 131_073
        forged = management_client(port, "wrong")
        call = asyncio.to_thread(forged.post_to_connection, ConnectionId="bad", Data=large)
        assert (await raised(call))[0] == "ForbiddenException"
        call = stage.management("post_to_connection", ConnectionId="cjy8i76bx002884le", Data=large)
        assert (await raised(call))[1] == "BadRequestException"
        call = stage.management("post_to_connection", ConnectionId=UNKNOWN, Data=large)
        assert (await raised(call))[0] == "GoneException"
        call = stage.management("post_to_connection", ConnectionId=connection_id, Data=large)
        assert (await raised(call))[0] == "PayloadTooLargeException"
        fits = await http(port, "POST", f"/dev/@connections/{connection_id}", large[1:])
        assert (fits[0], fits[2]) == (200, b"")


async def test_refusals_on_the_wire():
    """Statuses and bodies as SDKs in other languages see them."""
    async with running() as stage, stage.connected() as (_, connection_id):
        port = stage.gateway.port
        path = f"/dev/@connections/{connection_id}"
        status, headers, body = await http(port, "POST", path, b"x", sign=False)
        assert (status, headers["x-amzn-errortype"]) == (403, "ForbiddenException")
        assert json.loads(body) == {"message": "Missing Authentication Token"}
        status, headers, body = await http(port, "GET", "/dev/@connections/abc")
        assert (status, headers["x-amzn-errortype"]) == (400, "BadRequestException")
        assert json.loads(body) == {"message": "Invalid connectionId: abc"}
        status, _, body = await http(port, "GET", f"/@connections/{connection_id}")
        assert (status, json.loads(body)) == (403, {"message": "Forbidden"})
        assert (await http(port, "PUT", path, b"x"))[0] == 403
        status, headers, body = await http(port, "GET", f"/dev/@connections/{UNKNOWN}")
        assert (status, headers["x-amzn-errortype"], body) == (410, "GoneException", b"")


@pytest.mark.parametrize("name", ["@connections", "%40connections"])
async def test_encoded_and_plain_paths_are_the_same(name):
    """`=` and `%3D`, `@` and `%40` name the same connection."""
    async with running() as stage, stage.connected() as (client, connection_id):
        for spelled in (connection_id, connection_id.replace("=", "%3D")):
            status, _, _ = await http(stage.gateway.port, "POST", f"/dev/{name}/{spelled}", b"x")
            assert status == 200
            assert await client.recv() == "x"


async def test_session_tokens_are_accepted():
    """Credentials with a session token are checked with it."""
    with_token = Credentials(CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key, "token")
    async with running(credentials=with_token) as stage, stage.connected() as (client, at):
        port = stage.gateway.port
        good = management_client(port, None, "token")
        await asyncio.to_thread(good.post_to_connection, ConnectionId=at, Data=b"x")
        assert await client.recv() == "x"
        call = stage.management("post_to_connection", ConnectionId=at, Data=b"x")
        assert (await raised(call))[0] == "ForbiddenException"


async def test_a_client_that_does_not_read_yields_429_and_disturbs_nobody():
    """The buffer is bounded, a post that does not fit never waits, nothing accepted is lost."""
    async with (
        running() as stage,
        stage.connected() as (slow, slow_id),
        stage.connected() as (other, other_id),
    ):
        slow.transport.pause_reading()
        connection, piece = stage.gateway.connections.get(slow_id), b"x" * 131_072
        accepted = 0
        while connection.post(piece):
            accepted += 1
            assert accepted < 1000, "the buffer has no end"
            await turns(2)
        call = stage.management("post_to_connection", ConnectionId=slow_id, Data=piece)
        assert (await raised(call))[0] == "LimitExceededException"
        assert await stage.post(slow_id, piece) == 429
        assert await stage.post(other_id, b"fine") == 200
        assert await other.recv() == "fine"
        assert connection.transport.get_write_buffer_size() <= 1 << 20
        slow.transport.resume_reading()
        for _ in range(accepted):
            assert await slow.recv() == "x" * 131_072
        assert await stage.post(slow_id, b"again") == 200
        assert await slow.recv() == "again"


async def test_the_rate_is_throttled_when_asked_for():
    """Every call counts, and the bucket fills again."""
    clock = ManualClock(Clock().time_s())
    limits = Limits(management_rate=1, management_burst=2)
    async with running(clock=clock, limits=limits) as stage, stage.connected() as (_, at):
        path = f"/dev/@connections/{at}"
        seen = [(await http(stage.gateway.port, "GET", path))[0] for _ in range(3)]
        assert seen == [200, 200, 429]
        clock.advance(1)
        assert (await http(stage.gateway.port, "GET", path))[0] == 200


async def test_text_that_is_not_utf_8_does_not_break_the_client():
    """What no text message can hold is replaced."""
    async with running() as stage, stage.connected() as (client, at):
        assert await stage.post(at, b"a\xff") == 200
        assert await client.recv() == "a\ufffd"


async def test_requests_may_be_pipelined_on_one_socket():
    """Answers come in the order of the requests, and so do the messages."""
    async with running() as stage, stage.connected() as (client, at):
        port, path = stage.gateway.port, f"/dev/@connections/{at}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(20):
            body = str(number).encode()
            head = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))}
            head |= signed_headers("POST", f"http://127.0.0.1:{port}{path}", body)
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        for number in range(20):
            assert (await read_response(reader))[0] == 200
            assert await client.recv() == str(number)
        writer.close()
        await writer.wait_closed()


async def test_answers_that_nobody_reads_stop_the_requests():
    """A peer that pipelines without reading is waited for, and served on afterwards."""
    async with running() as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port, limit=1024)
        request, count = b"GET /x HTTP/1.1\r\n\r\n", 0
        await until(lambda: len(stage.gateway.wires) == 1)
        (wire,) = stage.gateway.wires
        while not wire._busy:
            writer.write(request * 1000)
            count += 1000
            await turns(5)
        for _ in range(count):
            assert (await read_response(reader))[0] == 403
        writer.close()
        await writer.wait_closed()


async def test_a_peer_that_speaks_no_http_is_told_and_left():
    """A bad request is answered and the socket closed; a silent one is closed in time."""
    clock = ManualClock()
    async with running(clock=clock) as stage:
        for data, first in [
            (b"\x16\x03\x01\r\n\r\n", b"HTTP/1.1 400"),
            (b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 403"),
            (b"", b""),
        ]:
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
            writer.write(data)
            if not data:
                await until(lambda: len(stage.gateway.wires) == 1)
                clock.advance(30)
            assert (await reader.read()).startswith(first)
            writer.close()
            await writer.wait_closed()


async def test_a_peer_that_asks_first_is_told_to_go_on():
    """`Expect: 100-continue` is answered before the body comes."""
    async with running() as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        writer.write(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"x")
        assert (await read_response(reader))[0] == 403
        writer.close()
        await writer.wait_closed()
