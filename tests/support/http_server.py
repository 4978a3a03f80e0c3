"""A scripted HTTP server on a free port of loopback, on which tests decide every byte."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable


@dataclasses.dataclass(frozen=True)
class Received:
    """One request as it came; `connection` counts the server's connections from 0."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclasses.dataclass
class HttpServer:
    """Where it listens, and what it has received."""

    port: int = 0
    received: list[Received] = dataclasses.field(default_factory=list)
    connections: int = 0
    open_connections: int = 0


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def answer_with(data: bytes, *, close: bool = False) -> Answer:
    """A script that answers every request with these bytes."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            writer.close()

    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def http_server(
    answer: Answer, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    """Serve until the end of the block; `answer` may write, close, or wait."""
    state = HttpServer()
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.add(writer)
        number, state.connections = state.connections, state.connections + 1
        state.open_connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:-2])
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                received = Received(head[0], headers, body, number)
                state.received.append(received)
                await answer(received, writer)
        state.open_connections -= 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl_context)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
