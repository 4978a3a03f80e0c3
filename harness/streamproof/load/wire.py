"""One WebSocket over one gevent socket: websockets' protocol core, one reader, kernel timestamps.

Sends go out at once when the socket takes them. When it does not, the target is not reading: the
rest waits in the calling greenlet and `held_up` says so, since that is the target's doing.
Over TLS the kernel's stamp belongs to ciphertext; there the moment after reading counts.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import TYPE_CHECKING

import gevent
from gevent import socket as gsocket
from gevent import ssl as gssl
from gevent.lock import RLock
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from streamproof.errors import TargetUnreachableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READ_BYTES_MAX = 65_536
MESSAGE_BYTES_MAX = 1 << 20  # beyond what API Gateway sends (131,072)
CONNECT_TIMEOUT_S = (
    10.0  # API Gateway's own handshake limit is 29 s; a load run does not wait so long
)
CLOSE_TIMEOUT_S = 1.0
STAMP_AGE_NS_MAX = 10_000_000_000  # an older stamp is a clock that was set, not a delay
TLS_SEND_NS_MAX = 1_000_000  # encrypting a message of 128 KiB takes a tenth of it
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; socket.SO_TIMESTAMPNS is missing before Python 3.14
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0


class ConnectionLostError(Exception):
    """The connection ended, or was never open; nothing more can be sent on it."""


class Wire:
    """An open connection; its reader calls what it is given.

    `on_text(text, received_ns)` for each message, `on_end(reason)` once when the connection ended
    without `close` having been called. Neither may block.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        on_text: Callable[[bytes, int], None],
        on_end: Callable[[str], None],
        *,
        ca: str | None = None,
    ) -> None:
        """Connect and shake hands, or raise `TargetUnreachableError` within 10 s.

        `ca` is the PEM file of an authority to trust beside the system's.
        """
        try:
            self._protocol = ClientProtocol(parse_uri(url), max_size=MESSAGE_BYTES_MAX)
        except InvalidURI as error:
            raise UsageError(f"{url} is no WebSocket address", "ws://HOST:PORT/STAGE") from error
        self._on_text = on_text
        self._on_end = on_end
        self._closing = False
        self._parts: list[bytes] = []
        self._writing = RLock()
        self._held_since_ns = 0
        self._held_until_ns = 0
        self.closed_ns = 0  # when the reader saw the end; 0 while the connection lives
        self.close_reason = ""
        self._socket, self._stamped = _connected(self._protocol, ca)
        self._shake_hands(headers)
        self._reader = gevent.spawn(self._read_until_end)

    def _shake_hands(self, headers: Mapping[str, str]) -> None:
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        try:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._flush()
            while self._protocol.state is State.CONNECTING and not self._protocol.handshake_exc:
                data, _ = self._receive()
                self._feed(data, time.monotonic_ns())
                if not data:
                    break
        except OSError as error:
            self._socket.close()
            raise TargetUnreachableError(
                f"no handshake with {_shown(self._protocol)}: {error}",
                "is it a WebSocket server, and does it answer?",
            ) from error
        if self._protocol.state is not State.OPEN:
            self._socket.close()
            raise _refusal(self._protocol)
        self._socket.settimeout(None)

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self.closed_ns == 0 and self._protocol.state is State.OPEN

    def held_up(self, since_ns: int) -> bool:
        """Whether the socket has refused bytes at any time after `since_ns`."""
        return self._held_since_ns > self._held_until_ns or self._held_until_ns > since_ns

    def send(self, text: bytes) -> None:
        """Send one text message, waiting as long as the socket takes nothing.

        Raises `ConnectionLostError` when the connection has ended.
        """
        with self._writing:
            if not self.open:
                raise ConnectionLostError(self.close_reason or "closed")
            self._protocol.send_text(text)
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._protocol.data_to_send())
        if not data:
            return
        try:
            sent = self._send_now(data)
            if sent < len(data):
                self._held_since_ns = time.monotonic_ns()
                try:
                    self._socket.sendall(memoryview(data)[sent:])
                finally:
                    self._held_until_ns = time.monotonic_ns()
        except OSError as error:
            self.close_reason = self.close_reason or str(error)
            raise ConnectionLostError(str(error)) from error

    def _send_now(self, data: bytes) -> int:
        """How many bytes the kernel took at once."""
        if self._protocol.uri.secure:
            # TLS does not say how much it took; what took long was held up.
            began_ns = time.monotonic_ns()
            self._socket.sendall(data)
            ended_ns = time.monotonic_ns()
            if ended_ns - began_ns > TLS_SEND_NS_MAX:
                self._held_since_ns, self._held_until_ns = began_ns, ended_ns
            return len(data)
        try:
            return int(self._socket._sock.send(data))
        except BlockingIOError:
            return 0

    def _receive(self) -> tuple[bytes, int]:
        """The next bytes and the moment of their receipt on the monotonic clock."""
        if not self._stamped:
            data = self._socket.recv(READ_BYTES_MAX)
            return data, time.monotonic_ns()
        data, ancillary, _, _ = self._socket.recvmsg(READ_BYTES_MAX, _ANCILLARY_BYTES)
        now_ns = time.monotonic_ns()
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(content)
                age_ns = time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)
                if 0 <= age_ns < STAMP_AGE_NS_MAX:
                    return data, now_ns - age_ns
        return data, now_ns

    def _read_until_end(self) -> None:
        try:
            while self._protocol.state is not State.CLOSED:
                data, received_ns = self._receive()
                self._feed(data, received_ns)
                if not data:
                    break
        except (OSError, ConnectionLostError) as error:
            self.close_reason = self.close_reason or str(error)
        finally:
            self.closed_ns = time.monotonic_ns()
            received = self._protocol.close_rcvd
            if received is not None:
                self.close_reason = f"closed with {int(received.code)} {received.reason}".rstrip()
            self._socket.close()
            if not self._closing:
                self._on_end(self.close_reason or "closed")

    def _feed(self, data: bytes, received_ns: int) -> None:
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event, received_ns)
        if self._protocol.state is not State.CONNECTING:
            with self._writing:
                self._flush()

    def _take(self, frame: Frame, received_ns: int) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin:
            self._on_text(bytes(frame.data), received_ns)
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT, Opcode.BINARY):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._on_text(whole, received_ns)

    def close(self) -> None:
        """Say goodbye and wait a second at most for the answer; repeatable."""
        self._closing = True
        if self.open:
            try:
                with self._writing:
                    self._protocol.send_close(1000)
                    self._flush()
            except ConnectionLostError:
                self.close_reason = self.close_reason or "closed"
        self._reader.join(timeout=CLOSE_TIMEOUT_S)
        self._reader.kill()


def _connected(protocol: ClientProtocol, ca: str | None) -> tuple[gsocket.socket, bool]:
    """A connected socket, with TLS where the address asks for it; whether it stamps receipts."""
    uri = protocol.uri
    try:
        plain = gsocket.create_connection((uri.host, uri.port), timeout=CONNECT_TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if uri.secure:
            context = gssl.SSLContext(gssl.PROTOCOL_TLS_CLIENT)  # checks name and certificate
            context.load_default_certs()
            if ca is not None:
                context.load_verify_locations(ca)
            return context.wrap_socket(plain, server_hostname=uri.host), False
    except OSError as error:
        raise TargetUnreachableError(
            f"no connection to {_shown(protocol)}: {error.strerror or error}",
            "is the target running, and is the address right?",
        ) from error
    return plain, _stamp(plain)


def _stamp(plain: gsocket.socket) -> bool:
    """Ask the kernel for receive timestamps; whether it will give them."""
    if sys.platform != "linux":
        return False
    try:
        plain.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return _ANCILLARY_BYTES > 0 and hasattr(plain, "recvmsg")


def _shown(protocol: ClientProtocol) -> str:
    """The address without its query, which may hold a token."""
    uri = protocol.uri
    return f"{'wss' if uri.secure else 'ws'}://{uri.host}:{uri.port}{uri.path}"


def _refusal(protocol: ClientProtocol) -> TargetUnreachableError:
    """Why the handshake failed, in words."""
    error = protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        hint = "is the token right?" if status in (401, 403) else "what does the target's log say?"
        return TargetUnreachableError(
            f"{_shown(protocol)} refused the handshake with status {status}", hint
        )
    what = str(error) if isinstance(error, InvalidHandshake) else "the connection ended"
    return TargetUnreachableError(
        f"no handshake with {_shown(protocol)}: {what}", "is it a WebSocket server?"
    )
