"""The clients against a server of a few lines: they follow, come back, and record what they see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from streamproof.history import HistoryChecker, Recorder
from streamproof.nemesis import clients as module
from streamproof.nemesis.clients import Client, Journal
from streamproof.nemesis.schedule import Arrival
from support.gateway_host import turns

NOW_MS = 1_742_086_800_000
NOT_FOUND = {"code": "NOT_FOUND", "message": "m", "retry": {"retryable": False}}


class Service:
    """Accepts requests and ends them when it is told to, on the newest connection that asked."""

    def __init__(self) -> None:
        """It knows nothing yet."""
        self.known: dict[str, ServerConnection] = {}
        self.sockets: list[ServerConnection] = []
        self.deaf = False  # takes messages and does nothing
        self.refuses = False
        self.messages = 0
        self.heard = asyncio.Event()

    async def serve(self, socket: ServerConnection) -> None:
        """Answer one connection."""
        self.sockets.append(socket)
        try:
            async for text in socket:
                message = json.loads(text)
                self.messages += 1
                if not self.deaf:
                    await self._answer(socket, message)
                self.heard.set()
        except ConnectionClosed:
            return

    async def _answer(self, socket: ServerConnection, message: dict[str, Any]) -> None:
        name, action = message["id"], message["action"]
        if action == "probe.async" and self.refuses:
            await self.tell(socket, "error", name, 0, error={**NOT_FOUND, "code": "RATE_LIMITED"})
        elif action == "probe.async":
            self.known[name] = socket
            await self.tell(socket, "acknowledgment", name, 0, status="queued", message="m")
        elif (about := message["payload"]["request_id"]) in self.known:
            self.known[about] = socket if action == "subscribe" else self.known[about]
            data = {"request_id": about, "status": "COMPLETED", "result": 1}
            await self.tell(socket, "response", name, 0, success=True, data=data)
        else:
            await self.tell(socket, "error", name, 0, error=NOT_FOUND)

    async def end(self, request_id: str, result: Any = 1, sequence: int = 1) -> None:
        """Send an outcome."""
        socket = self.known[request_id]
        await self.tell(socket, "complete", request_id, sequence, success=True, result=result)

    async def tell(self, socket: ServerConnection, kind: str, name: str, n: int, **m: Any) -> None:
        """Send one message."""
        message = {"type": kind, "request_id": name, "sequence": n, "timestamp": NOW_MS, **m}
        await socket.send(json.dumps(message))


@asynccontextmanager
async def met() -> AsyncIterator[tuple[Service, Client, HistoryChecker]]:
    """A client that is connected to a service."""
    service, checker = Service(), HistoryChecker(faults=True)
    journal = Journal(Recorder(None, lambda: 0.0, {}), checker, lambda: 0.0)
    async with serve(service.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Client(0, f"ws://127.0.0.1:{port}/dev", "token", journal)
        await client.open()
        try:
            yield service, client, checker
        finally:
            await client.close()


async def seen(condition: Any) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(10):
        while not condition():
            await turns()


async def test_a_request_is_followed_to_its_outcome_and_asked_about() -> None:
    """Sent, acknowledged, ended once, and `status` kept beside it."""
    async with met() as (service, client, checker):
        await client.send(Arrival(0.0, 0, "r", {}))
        track = client.tracks["r"]
        await seen(lambda: track.acknowledged)
        assert client.open_requests == 1
        for _ in range(2):  # a repeat is one outcome
            await service.end("r")
        await service.sockets[0].send("[]")
        await service.sockets[0].send("{")
        await seen(lambda: checker.violation_count == 2)
        assert client.open_requests == 0
        await client.ask_all()
    assert [outcome["result"] for outcome in track.outcomes] == [1]
    assert track.status == {"request_id": "r", "status": "COMPLETED", "result": 1}
    assert client.cut_off == 0
    assert checker.repeat_count == 1


async def test_another_outcome_is_kept_and_a_refusal_too() -> None:
    """Both are for the judge."""
    async with met() as (service, client, _):
        await client.send(Arrival(0.0, 0, "r", {}))
        await seen(lambda: client.tracks["r"].acknowledged)
        await service.end("r", 1)
        await service.end("r", 2, sequence=2)
        await seen(lambda: len(client.tracks["r"].outcomes) == 2)
        service.refuses = True
        await client.send(Arrival(0.0, 0, "q", {}))
        await seen(lambda: client.tracks["q"].refused)
        assert client.tracks["q"].refused == "RATE_LIMITED"
        assert client.open_requests == 0


async def test_a_client_that_went_away_comes_back_and_gets_its_outcomes() -> None:
    """However it went; it subscribes to what has not ended."""
    async with met() as (service, client, checker):
        await client.send(Arrival(0.0, 0, "r", {}))
        await seen(lambda: client.tracks["r"].acknowledged)
        for number, how in enumerate(("close", "reset", "half-open"), 2):
            service.heard.clear()
            assert await client.drop(how)
            await service.heard.wait()
            assert len(service.sockets) == number
        await service.end("r")
        await seen(lambda: client.tracks["r"].outcomes)
        assert client.cut_off == 0
        assert checker.violations == []


async def test_what_was_cut_off_before_its_acknowledgment_is_asked_for_again() -> None:
    """First it is unknown; if it was only late, the next question finds it."""
    async with met() as (service, client, _):
        service.deaf = True
        await client.send(Arrival(0.0, 0, "late", {}))
        await client.send(Arrival(0.0, 0, "never", {}))
        await seen(lambda: service.messages == 2)
        service.deaf = False
        assert await client.drop("reset")
        await seen(lambda: client.open_requests == 0)
        assert not any(track.known for track in client.tracks.values())
        assert [track.cut_off_s for track in client.tracks.values()] == [0.0, 0.0]
        service.known["late"] = service.sockets[-1]
        await client.settle()
        assert client.open_requests == 1
        await service.end("late")
        await seen(lambda: client.open_requests == 0)
        await client.ask_all()
        assert client.tracks["never"].status == NOT_FOUND


async def test_a_question_that_nobody_answers_ends(monkeypatch: Any) -> None:
    """Its answer is None, which the judge names."""
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    async with met() as (service, client, _):
        await client.send(Arrival(0.0, 0, "r", {}))
        await seen(lambda: client.tracks["r"].acknowledged)
        service.deaf = True
        await client.ask_all()
        assert client.tracks["r"].status is None


async def test_a_connection_that_the_service_ends_is_counted(monkeypatch: Any) -> None:
    """Nobody asked for it; the client comes back, and until then it cannot be dropped."""
    async with met() as (service, client, _):
        monkeypatch.setattr(module, "READY_S", 0.0)
        await service.sockets[0].close()
        await seen(lambda: client.cut_off == 1)
        assert await client.drop("close") is False
        await client.send(Arrival(0.0, 0, "r", {}))
        await seen(lambda: client.tracks["r"].acknowledged)
        assert len(service.sockets) == 2
