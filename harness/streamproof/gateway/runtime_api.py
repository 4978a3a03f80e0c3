"""The Lambda Runtime API: what a function's process asks for work and gives answers to.

Each environment has a listener of its own on loopback, so the port says who asks. Source: "Using
the Lambda runtime API", paths of version 2018-06-01; awslambdaric runs against it unmodified.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

from streamproof.gateway import http11

if TYPE_CHECKING:
    from streamproof.gateway.environments import Environment

BODY_BYTES_MAX = 6 << 20  # Lambda's bound on a synchronous payload, either way
_ROOT = "/2018-06-01/runtime/"
_JSON = [("Content-Type", "application/json")]
_ACCEPTED = http11.response(202, b'{"status":"OK"}', _JSON)
_UNKNOWN = http11.response(
    400, b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}', _JSON
)
_NOT_NOW = http11.response(
    403, b'{"errorMessage":"Not this one, not now","errorType":"InvalidStateTransition"}', _JSON
)


class RuntimeProtocol(asyncio.Protocol):
    """One HTTP connection from a function's process."""

    def __init__(self, runtime: Environment) -> None:
        """Report to `runtime`."""
        self._runtime = runtime
        self._reader = http11.RequestReader(BODY_BYTES_MAX, BODY_BYTES_MAX, hashes=False)
        self._polling = False
        self._transport: asyncio.Transport | None = None
        self._host = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for requests."""
        self._transport = cast(asyncio.Transport, transport)
        host, port = transport.get_extra_info("sockname")[:2]
        self._host = f"{host}:{port}"

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, asyncio's signature
        """Take the poll back: nobody would get its event."""
        self._withdraw()

    def eof_received(self) -> None:
        """Take the poll back at once; the transport closes by itself, but a little later."""
        self._withdraw()

    def data_received(self, data: bytes) -> None:
        """Read requests; while a poll waits, nothing else is read."""
        self._reader.feed(data)
        if not self._polling:
            self._serve()

    def send_next(self, payload: bytes, headers: list[tuple[str, str]]) -> None:
        """End the poll."""
        self._polling = False
        self._write(http11.response(200, payload, [*_JSON, *headers]))
        self._serve()

    def _withdraw(self) -> None:
        if self._polling:
            self._polling = False
            self._runtime.poll_lost(self)

    def _serve(self) -> None:
        while not self._polling:
            try:
                request = self._reader.next()
            except http11.HttpError as error:
                self._write(http11.response(error.status, keep_alive=False))
                if self._transport is not None:
                    self._transport.close()
                return
            if request is None:
                if self._reader.awaits_continue():
                    self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._handle(request)

    def _handle(self, request: http11.Request) -> None:
        path = request.path.removeprefix(_ROOT) if request.path.startswith(_ROOT) else ""
        parts = path.split("/")
        if request.header.get("host") != self._host:
            # A page in a browser reaches this port under a name of its own.
            self._write(http11.response(403))
        elif request.method == "GET" and path == "invocation/next":
            self._polling = self._runtime.may_poll(self)
            if self._polling:
                self._runtime.next_asked(self)
            else:
                self._write(_NOT_NOW)
        elif request.method == "POST" and path == "init/error":
            self._runtime.init_failed(_error(request.body))
            self._write(_ACCEPTED)
        elif request.method == "POST" and len(parts) == 3 and parts[0] == "invocation":
            self._write(self._end(parts[1], parts[2], request.body))
        else:
            self._write(http11.response(404))

    def _end(self, request_id: str, how: str, body: bytes) -> bytes:
        if how == "error":
            known = self._runtime.failed(request_id, _error(body))
        elif how == "response":
            try:
                answer = json.loads(body) if body else None
            except (ValueError, RecursionError):
                error = {"errorType": "Runtime.MarshalError", "errorMessage": "answer is no JSON"}
                known = self._runtime.failed(request_id, error)
            else:
                known = self._runtime.answered(request_id, answer)
        else:
            return http11.response(404)
        return _ACCEPTED if known else _UNKNOWN

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _error(body: bytes) -> dict[str, Any]:
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        error = None
    return error if isinstance(error, dict) else {}
