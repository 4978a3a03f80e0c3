"""A scripted Streamer behind a WebSocket: a test says what each connection answers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


class Peer:
    """The server's end of one connection; `number` counts them from 0."""

    def __init__(self, connection: ServerConnection, number: int, token: str) -> None:
        self.connection = connection
        self.number = number
        self.token = token

    async def receive(self, action: str | None = None) -> dict[str, Any]:
        """The next request, which must be of that action."""
        message: dict[str, Any] = json.loads(await self.connection.recv())
        assert action in (None, message["action"]), message
        return message

    async def send(self, kind: str, request: dict[str, Any] | None, **members: Any) -> None:
        """Send a message of that type, to that request."""
        about = {} if request is None else {"request_id": request["id"]}
        message = {"type": kind, **about, "timestamp": 0, **members}
        await self.connection.send(json.dumps(message))

    async def refuse(self, request: dict[str, Any], code: str, **error: Any) -> None:
        """Answer with an error of that code."""
        numbered = {} if code == "DUPLICATE_REQUEST" else {"sequence": 0}
        await self.send(
            "error", request, error={"code": code, "message": code, **error}, **numbered
        )

    async def long(self, request: dict[str, Any], *numbers: int, outcome: Any = None) -> None:
        """The messages of a long request with these numbers; the outcome is the next one."""
        for sequence in numbers:
            if sequence == 0:
                await self.send("acknowledgment", request, sequence=0, status="queued")
            else:
                await self.send("progress", request, sequence=sequence, percentage=sequence * 10)
        if outcome is not None:
            await self.send("complete", request, sequence=numbers[-1] + 1, result=outcome)


@dataclasses.dataclass
class StreamerServer:
    """Where it listens, which handshake statuses are still to come, and whom it has seen."""

    url: str = ""
    refusals: list[int] = dataclasses.field(default_factory=list)
    peers: list[Peer] = dataclasses.field(default_factory=list)
    handshakes: int = 0


@contextlib.asynccontextmanager
async def streamer_server(
    *scripts: Callable[[Peer], Awaitable[None]], refusals: tuple[int, ...] = ()
) -> AsyncIterator[StreamerServer]:
    """Run one script for each connection in turn (the last one for all later ones).

    A connection is closed when its script ends. `refusals` are the statuses of the first
    handshakes; 101 lets one pass.
    """
    state = StreamerServer(refusals=list(refusals))

    def check(connection: ServerConnection, request: Request) -> Response | None:
        state.handshakes += 1
        status = state.refusals.pop(0) if state.refusals else 101
        return None if status == 101 else connection.respond(status, "refused\n")

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        token = connection.request.headers["Authorization"]
        peer = Peer(connection, len(state.peers), token)
        state.peers.append(peer)
        await scripts[min(peer.number, len(scripts) - 1)](peer)

    async with serve(handle, "127.0.0.1", 0, process_request=check) as server:
        state.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
        yield state
