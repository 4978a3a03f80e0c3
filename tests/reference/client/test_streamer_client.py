"""The client library against a scripted server, on virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
import types

import pytest

from streamer_reference.client import Broadcast, Progress, StoredResult, StreamerClient
from streamer_reference.client import streamer_client as client_module
from streamer_reference.client.errors import (
    ClientClosedError,
    ClientError,
    ConnectionLostError,
    RequestFailedError,
    TokenRefusedError,
    UnreachableError,
)
from support.http_server import answer_with, http_server
from support.streamer_server import streamer_server
from support.virtual_time import pass_time, virtual_time


@pytest.fixture(autouse=True)
def no_chance(monkeypatch):
    """Every pause is half of its ceiling."""
    monkeypatch.setattr(client_module, "random", types.SimpleNamespace(random=lambda: 0.5))


def _client(server, token="token"):
    return StreamerClient(server.url, token)


async def echo(peer):
    """Answer everything at once until the connection ends."""
    async for text in peer.connection:
        request = json.loads(text)
        await peer.send("response", request, sequence=0, data={"echo": request["payload"]})


async def _stay(peer):
    await peer.connection.wait_closed()


@virtual_time
async def test_a_short_request_returns_its_data():
    """The request has an id of its own, its payload and metadata; the answer is `data`."""
    seen = []

    async def script(peer):
        seen.append(await peer.receive("echo"))
        await peer.send("response", seen[0], sequence=0, data={"n": 10**299, "x": -0.0})
        seen.append(await peer.receive("echo"))
        await peer.send("response", seen[1], sequence=0, data=None)
        await _stay(peer)

    async with streamer_server(script) as server, _client(server) as client:
        first = await client.request("echo", {"a": 1}, metadata={"k": "v"})
        second = await client.request("echo", request_id="r-1")
    assert first == {"n": 10**299, "x": -0.0}
    assert second is None
    assert seen[0] | {"id": "?"} == {
        "id": "?",
        "action": "echo",
        "payload": {"a": 1},
        "metadata": {"k": "v"},
    }
    assert seen[1] == {"id": "r-1", "action": "echo", "payload": {}}
    assert server.peers[0].token == "token"


@virtual_time
async def test_a_long_request_shows_its_progress_and_returns_its_result():
    """Acknowledgment, progress with or without text, complete."""

    async def script(peer):
        request = await peer.receive()
        await peer.long(request, 0, 1)
        await peer.send(
            "progress", request, sequence=2, percentage=45.5, message="half", metadata={"a": 1}
        )
        await peer.send("complete", request, sequence=3, success=True, result=[1, 2])
        request = await peer.receive()
        await peer.long(request, 0)
        await peer.send("complete", request, sequence=1, result_url="http://h/objects/k")
        await _stay(peer)

    shown = []
    async with streamer_server(script) as server, _client(server) as client:
        assert await client.request("report", {}, on_progress=shown.append) == [1, 2]
        assert await client.request("report") == StoredResult("http://h/objects/k")
    assert shown == [Progress(10), Progress(45.5, "half", {"a": 1})]


@virtual_time
async def test_requests_run_side_by_side():
    """Answers find their requests, in whatever order they come."""

    async def script(peer):
        first, second = await peer.receive(), await peer.receive()
        await peer.send("response", second, sequence=0, data=2)
        await peer.send("response", first, sequence=0, data=1)
        await _stay(peer)

    async with streamer_server(script) as server, _client(server) as client:
        assert await asyncio.gather(client.request("a"), client.request("b")) == [1, 2]


@virtual_time
async def test_an_error_is_raised_with_all_its_fields():
    """Code, message, details, what to do, and whether anything happened."""

    async def script(peer):
        await peer.refuse(
            await peer.receive(),
            "RATE_LIMITED",
            details={"limit": 100},
            retry={"retryable": True, "after_ms": 600},
        )
        request = await peer.receive()
        await peer.long(request, 0)
        await peer.send("error", request, sequence=1, error={"code": "OWN_CODE"})
        await _stay(peer)

    async with streamer_server(script) as server, _client(server) as client:
        with pytest.raises(RequestFailedError, match="RATE_LIMITED: RATE_LIMITED") as caught:
            await client.request("echo")
        error = caught.value
        assert (error.code, error.details) == ("RATE_LIMITED", {"limit": 100})
        assert (error.retryable, error.after_ms) == (True, 600)
        with pytest.raises(RequestFailedError) as caught:
            await client.request("report")
        error = caught.value
        assert (error.code, error.message, error.retryable) == ("OWN_CODE", "", False)


@virtual_time
async def test_repeats_are_dropped():
    """A number seen before has no effect, whatever it carries; a missing one does no harm."""

    async def script(peer):
        request = await peer.receive()
        await peer.long(request, 0, 1, 1, 0, 2, 1)
        await peer.long(request, 5, 5, outcome="done")
        await peer.refuse(await peer.receive(), "DUPLICATE_REQUEST")
        await _stay(peer)

    shown = []
    async with streamer_server(script) as server, _client(server) as client:
        assert await client.request("r", on_progress=shown.append) == "done"
        assert [progress.percentage for progress in shown] == [10, 20, 50]
        with pytest.raises(RequestFailedError, match="DUPLICATE_REQUEST"):
            await client.request("r")


@virtual_time
async def test_a_late_duplicate_is_no_outcome():
    """When the server got a message twice, the first one's answer counts."""

    async def script(peer):
        request = await peer.receive()
        await peer.long(request, 0)
        await peer.refuse(request, "DUPLICATE_REQUEST")
        await peer.long(request, 1, outcome="done")
        await _stay(peer)

    async with streamer_server(script) as server, _client(server) as client:
        assert await client.request("r") == "done"


@virtual_time
async def test_what_nobody_can_read_harms_nothing(caplog):
    """No JSON, binary, wrong shapes, answers that nobody waits for."""

    async def script(peer):
        request = await peer.receive()
        for junk in ("{", b"\x00", "[]", "{}", '{"type":"broadcast"}', '{"type":"response"}'):
            await peer.connection.send(junk)
        await peer.send("error", request, error="text")
        await peer.send("progress", request, sequence=0)
        await peer.send("response", {"id": "other"}, sequence=0, data=1)
        await peer.send("novelty", request, sequence=1)
        await peer.send("response", request, sequence=2, data="fine")
        await _stay(peer)

    async with streamer_server(script) as server, _client(server) as client:
        assert await client.request("r", on_progress=print) == "fine"
    told = [record for record in caplog.records if "nobody can read" in record.getMessage()]
    assert len(told) == 8


@virtual_time
async def test_what_was_under_way_is_subscribed_to():
    """After a reconnect the rest arrives, repeats are dropped, and lost progress is no gap."""
    subscribed = []

    async def before(peer):
        await peer.long(await peer.receive(), 0, 1)

    async def after(peer):
        request = await peer.receive("subscribe")
        subscribed.append(request["payload"])
        await peer.send("response", request, sequence=0, data={"status": "PROCESSING"})
        about = {"id": request["payload"]["request_id"]}
        await peer.long(about, 1, 4, 5, outcome="done")
        await _stay(peer)

    shown = []
    async with streamer_server(before, after) as server, _client(server) as client:
        result = await client.request("r", on_progress=shown.append, request_id="r-1")
    assert result == "done"
    assert [progress.percentage for progress in shown] == [10, 40, 50]
    assert subscribed == [{"request_id": "r-1"}]
    assert len(server.peers) == 2


@virtual_time
async def test_a_subscription_is_tried_again_when_it_is_refused_for_now():
    """RATE_LIMITED is waited out; the time is the server's."""
    moments = []

    async def before(peer):
        await peer.long(await peer.receive(), 0)

    async def after(peer):
        for after_ms in (600, None):
            request = await peer.receive("subscribe")
            moments.append(asyncio.get_running_loop().time())
            await peer.refuse(
                request, "RATE_LIMITED", retry={"retryable": True, "after_ms": after_ms}
            )
        request = await peer.receive("subscribe")
        moments.append(asyncio.get_running_loop().time())
        await peer.send("response", request, sequence=0, data={})
        await peer.long({"id": request["payload"]["request_id"]}, 1, outcome="done")
        await _stay(peer)

    async with streamer_server(before, after) as server, _client(server) as client:
        assert await client.request("r") == "done"
    assert moments[1] - moments[0] == pytest.approx(0.6)
    assert moments[2] - moments[1] == pytest.approx(1.0)


@virtual_time
async def test_an_answer_that_the_server_does_not_keep_is_lost():
    """A short request whose connection broke is unknown, and not sent twice behind one's back."""

    async def before(peer):
        await peer.receive("pay")

    async def after(peer):
        await peer.refuse(await peer.receive("subscribe"), "NOT_FOUND")
        await echo(peer)

    async with streamer_server(before, after) as server, _client(server) as client:
        with pytest.raises(ConnectionLostError):
            await client.request("pay")
        assert await client.request("echo", {"a": 1}) == {"echo": {"a": 1}}


@virtual_time
async def test_subscribing_is_given_up_after_five_refusals():
    """A server that is always busy ends the request as lost, not the client."""

    async def before(peer):
        await peer.receive()

    async def after(peer):
        for _ in range(5):
            await peer.refuse(
                await peer.receive("subscribe"), "SERVICE_UNAVAILABLE", retry={"retryable": True}
            )
        await _stay(peer)

    async with streamer_server(before, after) as server, _client(server) as client:
        with pytest.raises(ConnectionLostError):
            await client.request("r")


@virtual_time
async def test_what_is_asked_between_connections_is_sent_on_the_next():
    """Nothing is lost that was never sent, and nothing of it is subscribed to."""

    async def close_at_once(peer):
        await peer.connection.close()

    async with streamer_server(close_at_once, echo) as server, _client(server) as client:
        await pass_time(0.01)
        assert client._connection is None
        assert await client.request("echo", {"a": 1}) == {"echo": {"a": 1}}
    assert len(server.peers) == 2


@virtual_time
async def test_reconnecting_pauses_longer_each_time():
    """Half of 250 ms, of 500 ms, of 1 s; a refusal that passes is waited out."""
    moments = []

    async def token():
        moments.append(asyncio.get_running_loop().time())
        return f"token-{len(moments)}"

    async def once(peer):
        await pass_time(60)

    async with (
        streamer_server(once, echo, refusals=(101, 503, 429)) as server,
        _client(server, token) as client,
    ):
        await pass_time(62)
        assert await client.request("echo") == {"echo": {}}
    assert moments == pytest.approx([0, 60.125, 60.375, 60.875], abs=0.01)
    assert [peer.token for peer in server.peers] == ["token-1", "token-4"]


@virtual_time
async def test_the_server_has_five_minutes_to_come_back():
    """After that all requests end with the reason, and new ones at once."""

    async def once(peer):
        await peer.receive()

    refusals = (101, *[503] * 999)
    async with streamer_server(once, refusals=refusals) as server, _client(server) as client:
        with pytest.raises(UnreachableError, match="did not come back"):
            await client.request("r")
        with pytest.raises(UnreachableError):
            await client.request("r")
    assert 270 < asyncio.get_running_loop().time() <= 310
    assert server.handshakes < 60


@virtual_time
async def test_a_server_that_accepts_and_hangs_up_does_not_reset_the_pauses():
    """Only a connection that lived for a while ends a row of failures."""

    async def hang_up(peer):
        await peer.connection.close()

    async with streamer_server(hang_up) as server, _client(server) as client:
        with pytest.raises(UnreachableError):
            await client.request("never sent")
    assert len(server.peers) < 60


@pytest.mark.parametrize("status", [401, 403])
@virtual_time
async def test_a_refused_token_is_a_clear_error(status):
    """It names the status and never the token."""
    async with streamer_server(echo, refusals=(status,)) as server:
        with pytest.raises(TokenRefusedError, match=str(status)) as caught:
            async with _client(server, "secret-token"):
                pass
    assert caught.value.status == status
    assert "secret-token" not in str(caught.value)


@virtual_time
async def test_a_token_refused_on_the_way_ends_the_session():
    """The same token would be refused again: what is under way ends with the reason."""

    async def once(peer):
        await peer.receive()

    async with streamer_server(once, refusals=(101, 401)) as server, _client(server) as client:
        with pytest.raises(TokenRefusedError):
            await client.request("r")


@virtual_time
async def test_a_token_function_that_fails_is_named():
    """Its own error is the cause."""

    def token():
        raise LookupError("no key")

    async with streamer_server(echo) as server:
        with pytest.raises(UnreachableError, match="no token could be made: no key"):
            await _client(server, token).__aenter__()


@virtual_time
async def test_a_server_that_is_not_there_is_a_clear_error():
    """Nobody listening, another protocol, another status, no URL of this kind."""
    async with streamer_server(echo, refusals=(500,)) as server:
        with pytest.raises(UnreachableError, match="HTTP 500"):
            await _client(server).__aenter__()
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await _client(server).__aenter__()
    async with http_server(answer_with(b"SSH-2.0\r\n", close=True)) as other:
        with pytest.raises(UnreachableError, match="cannot be reached"):
            await StreamerClient(f"ws://127.0.0.1:{other.port}", "t").__aenter__()
    with pytest.raises(ValueError, match="not the URL"):
        await StreamerClient("http://127.0.0.1/", "t").__aenter__()


@virtual_time
async def test_a_quiet_connection_is_kept_alive():
    """A ping every nine and a half minutes without a message, counted from the last one."""
    moments = []

    async def script(peer):
        while True:
            request = await peer.receive()
            moments.append((request["action"], asyncio.get_running_loop().time()))
            if request["action"] == "refused":
                break
            await peer.send("response", request, sequence=0, data={"pong": True})

    async with streamer_server(script) as server, _client(server) as client:
        await pass_time(500)
        await client.request("echo")
        await pass_time(1500)
    assert [action for action, _ in moments] == ["echo", "ping", "ping"]
    assert [at for _, at in moments] == pytest.approx([500, 1070, 1640], abs=0.1)


@virtual_time
async def test_a_ping_without_an_answer_ends_the_connection():
    """The server takes data and says nothing: after 30 s another connection is made."""

    async def silent(peer):
        await peer.receive("ping")
        await _stay(peer)

    async with streamer_server(silent, echo) as server, _client(server) as client:
        await pass_time(620)
        assert len(server.peers) == 2
        assert await client.request("echo") == {"echo": {}}


@virtual_time
async def test_a_refused_ping_is_an_answer():
    """Any message keeps the connection."""

    async def refuse(peer):
        await peer.refuse(await peer.receive("ping"), "INVALID_ACTION")
        await echo(peer)

    async with streamer_server(refuse) as server, _client(server) as client:
        await pass_time(700)
        assert await client.request("echo") == {"echo": {}}
    assert len(server.peers) == 1


@virtual_time
async def test_broadcasts_are_kept_and_bounded(monkeypatch):
    """Also those from before anyone looked; the oldest are dropped."""
    monkeypatch.setattr(client_module, "BROADCASTS_MAX", 3)

    async def script(peer):
        for number in range(5):
            await peer.send(
                "broadcast",
                None,
                broadcast_id=f"b-{number}",
                payload=number,
                **{"from": {"user_id": "u"}},
            )
        await peer.receive()
        await peer.send(
            "broadcast", None, broadcast_id="b", payload=9, **{"from": {"user_id": "v"}}
        )
        await _stay(peer)

    async def watch():
        return [broadcast async for broadcast in client.broadcasts()]

    async with streamer_server(script) as server:
        async with _client(server) as client:
            await pass_time(0.1)
            watching = asyncio.create_task(watch())
            await pass_time(0.1)
            with pytest.raises(TimeoutError):
                await client.request("x", timeout_s=0.1)
        seen = await watching
    assert [broadcast.payload for broadcast in seen] == [2, 3, 4, 9]
    assert seen[-1] == Broadcast("b", "v", 9)


@virtual_time
async def test_a_request_can_end_by_its_caller():
    """A time limit, a cancellation, a progress function that fails: the client goes on."""

    async def script(peer):
        await peer.receive()
        await peer.receive()
        await peer.long(await peer.receive(), 0, 1, 2)
        await echo(peer)

    def fail(progress):
        raise LookupError(progress.percentage)

    async with streamer_server(script) as server, _client(server) as client:
        with pytest.raises(TimeoutError):
            await client.request("r", timeout_s=5)
        task = asyncio.create_task(client.request("r"))
        await pass_time(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(LookupError, match="10"):
            await client.request("r", on_progress=fail)
        assert not client._exchanges
        assert await client.request("echo") == {"echo": {}}


@virtual_time
async def test_closing_ends_what_is_under_way():
    """Before it is entered and after it is left, a client says so."""

    async with streamer_server(_stay) as server:
        client = _client(server)
        with pytest.raises(ClientClosedError, match="not entered"):
            await client.request("r")
        async with client:
            task = asyncio.create_task(client.request("r"))
            await pass_time(0.1)
        with pytest.raises(ClientClosedError, match="was closed"):
            await task
        with pytest.raises(ClientClosedError):
            await client.request("r")
        assert [broadcast async for broadcast in client.broadcasts()] == []
    await _client(server).__aexit__(None, None, None)


@virtual_time
async def test_what_cannot_be_sent_is_refused_here(monkeypatch):
    """Ids, sizes, values that are no JSON, and too many at once: the connection lives on."""
    monkeypatch.setattr(client_module, "REQUESTS_MAX", 2)
    async with streamer_server(_stay) as server, _client(server) as client:
        for bad in ("", "a b", "x" * 129):
            with pytest.raises(ValueError, match="is no id"):
                await client.request("r", request_id=bad)
        with pytest.raises(ValueError, match="at most 131072 bytes"):
            await client.request("r", {"a": "ä" * 65_536})
        with pytest.raises(ValueError, match="JSON"):
            await client.request("r", {"a": float("nan")})
        tasks = [asyncio.create_task(client.request("r", request_id=name)) for name in ("a", "b")]
        await pass_time(0.1)
        with pytest.raises(ValueError, match="under way"):
            await client.request("r", request_id="a")
        with pytest.raises(ClientError, match="more than 2"):
            await client.request("r")
    for task in tasks:
        with pytest.raises(ClientClosedError):
            await task


@virtual_time
async def test_large_messages_leave_in_small_frames():
    """API Gateway closes on a frame over 32 KiB: the message is cut, whatever its characters."""
    sizes = []

    async def script(peer):
        pieces = [piece async for piece in peer.connection.recv_streaming()]
        sizes.extend(len(piece.encode()) for piece in pieces)
        request = json.loads("".join(pieces))
        await peer.send("response", request, sequence=0, data=len(request["payload"]["a"]))
        await _stay(peer)

    async with streamer_server(script) as server, _client(server) as client:
        assert await client.request("r", {"a": "😀" * 30_000}) == 30_000
    assert max(sizes) <= 32_768
    assert len(sizes) > 3


@virtual_time
async def test_tokens_are_not_logged(caplog):
    """Not even by the WebSocket library when everything else logs its details."""
    caplog.set_level(logging.DEBUG)
    async with streamer_server(echo) as server, _client(server, "secret-token") as client:
        logging.getLogger("websockets.server").setLevel(logging.INFO)
        await client.request("echo")
    ours = [record for record in caplog.records if record.name.startswith("streamer_reference")]
    assert not [record for record in ours if "secret-token" in record.getMessage()]
