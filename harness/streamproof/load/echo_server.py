"""A bare WebSocket echo server in a process of its own: the noise floor that a run is shown beside.

websockets' protocol core on an asyncio protocol, on uvloop where there is one, and nothing else.
Started as `python -m streamproof.load.echo_server`; prints one JSON line with its `url` when ready
and serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_BYTES_MAX = 131_072  # as API Gateway's


class EchoProtocol(asyncio.Protocol):
    """One connection: each text message is answered by `answer(text)`, None with nothing."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        """`answer` must be quick: it runs on the loop."""
        self._answer = answer
        self._protocol = ServerProtocol(max_size=MESSAGE_BYTES_MAX)
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the protocol, answer what is complete, write what it wants sent."""
        self._protocol.receive_data(data)
        self._turn()

    def eof_received(self) -> None:
        """Tell the protocol that the peer is done."""
        self._protocol.receive_eof()
        self._turn()

    def _turn(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._protocol.send_response(self._protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    self._reply(b"".join(self._parts))
                    self._parts.clear()
        if self._transport is None or self._transport.is_closing():
            return
        for piece in self._protocol.data_to_send():
            if piece:
                self._transport.write(piece)
        if self._protocol.close_expected():
            self._transport.close()

    def _reply(self, text: bytes) -> None:
        reply = self._answer(text)
        if reply is not None and self._protocol.state.name == "OPEN":
            self._protocol.send_text(reply)


async def serve(
    answer: Callable[[bytes], bytes | None], protocol: type[EchoProtocol] = EchoProtocol
) -> None:
    """Serve on a free port of 127.0.0.1 until the process ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(answer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps(ready_line(port)) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


def ready_line(port: int) -> dict[str, Any]:
    """What is printed when the port accepts connections."""
    return {"url": f"ws://127.0.0.1:{port}/", "pid": os.getpid()}


def run(
    answer: Callable[[bytes], bytes | None], protocol: type[EchoProtocol] = EchoProtocol
) -> None:
    """Serve on the fastest loop that is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows, and only where the extra is installed
    except ImportError:
        asyncio.run(serve(answer, protocol))
    else:
        uvloop.run(serve(answer, protocol))


if __name__ == "__main__":
    run(lambda text: text)
