"""One WebSocket connection: RFC 6455 by websockets' sans-I/O core, API Gateway's limits by us.

Reading never waits for anybody: what a client sends is handed over at once, and its reading stops
only while too much of its own is under way. Writing never waits either: a post that does not fit
the send buffer is refused. Ends are clean: a close is answered, the stream half-closed, and a peer
that does not go away within `CLOSE_TIMEOUT_S` is cut off.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from streamproof.gateway.clock import Clock, Timer
from streamproof.gateway.description import Limits
from streamproof.gateway.events import Session

CLOSE_TIMEOUT_S = 5.0
IN_FLIGHT_MAX = 1024  # messages of one connection that may be under way before its reading stops
IN_FLIGHT_BYTES_MAX = 8 << 20
_ANSWERS_BYTES_MAX = 64 * 1024  # pongs and answers allowed on top of a full send buffer
_FRAME_OVERHEAD_BYTES = 10
_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
_NO_STATUS = 1005
_ABNORMAL = 1006
_NO_STATUS_REASON = "Client-side close frame status not set"  # recorded 2022 to 2024

OnMessage = Callable[["Connection", bytes, bool], None]
OnEnd = Callable[["Connection"], None]


class FrameProtocol(ServerProtocol):
    """websockets' core, telling of each frame before it reads the next.

    So a message is dealt with before the close behind it, however the network put them together.
    """

    on_frame: Callable[[Frame], None]

    def recv_frame(self, frame: Frame) -> None:
        """Process a frame as the core does, then hand it over."""
        super().recv_frame(frame)
        self.on_frame(frame)


@dataclasses.dataclass(eq=False, slots=True)
class Connection:
    """A connection from its handshake's answer to its end; all calls on the loop."""

    session: Session
    transport: asyncio.Transport
    protocol: FrameProtocol
    clock: Clock
    limits: Limits
    on_message: OnMessage  # gets each whole message with True for text; `done` must follow each
    on_ending: OnEnd  # called when no more can be sent
    on_ended: OnEnd  # called once when all is over
    binary: bool = False  # lets binary messages pass, which API Gateway does not
    ending: bool = False
    ended: bool = False
    end_code: int = _ABNORMAL
    end_reason: str = ""
    _parts: bytearray = dataclasses.field(default_factory=bytearray)
    _text_parts: bool = True
    _paused: bool = False
    _in_flight: int = 0
    _in_flight_bytes: int = 0
    _opened_at: float = 0.0
    _last_active: float = 0.0
    _timer: Timer | None = None
    _end_timer: Timer | None = None

    @property
    def last_active_s(self) -> float:
        """When a data message last went either way, in seconds since the epoch."""
        return self.clock.time_s() - (self.clock.monotonic_s() - self._last_active)

    def open(self, answer: Response) -> None:
        """Complete the handshake with a 101 and begin to count idle time and lifetime."""
        self.protocol.on_frame = self._take
        self.protocol.send_response(answer)
        self._flush()
        self._opened_at = self._last_active = self.clock.monotonic_s()
        self._watch_age()

    def post(self, data: bytes) -> bool:
        """Send a text message, or return False when the send buffer has no room for it."""
        room = self.limits.send_buffer_bytes - self.transport.get_write_buffer_size()
        if len(data) + _FRAME_OVERHEAD_BYTES > room:
            return False
        self._last_active = self.clock.monotonic_s()
        self.protocol.send_text(data if data.isascii() else _as_utf8(data))
        self._flush()
        return True

    def answer(self, data: bytes, *, text: bool = True) -> None:
        """Send what a message caused; the peer's reading stops while it takes none of it."""
        if self.ending:
            return
        self._last_active = self.clock.monotonic_s()
        if text:
            self.protocol.send_text(data)
        else:
            self.protocol.send_binary(data)
        self._flush()
        self._balance()

    def close(self, code: int, reason: str, wire_reason: str = "") -> None:
        """Begin the closing handshake; `reason` is what `$disconnect` will be told."""
        if self.ending:
            return
        self._end(code, reason)
        self.protocol.send_close(code, wire_reason)
        self._flush()
        self._resume()
        self._watch_end()

    def receive(self, data: bytes) -> None:
        """Take what arrived on the socket."""
        self.protocol.receive_data(data)
        self.protocol.events_received()  # dealt with already
        self._after_receiving()

    def receive_eof(self) -> None:
        """The peer will send nothing more."""
        self.protocol.receive_eof()
        self._after_receiving()
        self._watch_end()

    def lost(self) -> None:
        """The socket is gone."""
        if self._end_timer is not None:
            self._end_timer.cancel()
        if not self.ending:
            self._end(_ABNORMAL, "")
        self._finish()

    def done(self, message_bytes: int) -> None:
        """A message that was handed over is dealt with."""
        self._in_flight -= 1
        self._in_flight_bytes -= message_bytes
        if self._paused:
            self._balance()

    def writable(self) -> None:
        """The socket takes data again."""
        if self._paused:
            self._balance()

    def pause(self) -> None:
        """Stop reading for good: the gateway is about to end."""
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def abort(self) -> None:
        """Cut the connection off without a closing handshake."""
        self.transport.abort()

    def _take(self, frame: Frame) -> None:
        if self.ending or self.protocol.state is not OPEN:
            return  # a peer that is being closed is not listened to
        opcode = frame.opcode
        if opcode is _TEXT or opcode is _BINARY:
            is_text = opcode is _TEXT
            if not (is_text or self.binary):
                self.protocol.fail(1003, "binary messages are not supported")
                return
            if frame.fin:
                self._deliver(bytes(frame.data), is_text)
            else:
                self._parts = bytearray(frame.data)
                self._text_parts = is_text
        elif opcode is _CONT:
            self._parts += frame.data
            if frame.fin:
                data, self._parts = bytes(self._parts), bytearray()
                self._deliver(data, self._text_parts)

    def _deliver(self, data: bytes, is_text: bool) -> None:
        if is_text and not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                self.protocol.fail(1007, "text is not UTF-8")
                return
        self._last_active = self.clock.monotonic_s()
        self._in_flight += 1
        self._in_flight_bytes += len(data)
        self.on_message(self, data, is_text)

    def _after_receiving(self) -> None:
        protocol = self.protocol
        self._flush()
        if protocol.state is not OPEN:
            if not self.ending:
                self._end(*self._peer_end())
            if protocol.close_rcvd is not None or protocol.eof_sent:
                self._watch_end()
                self._finish()
        else:
            self._balance()

    def _peer_end(self) -> tuple[int, str]:
        protocol = self.protocol
        if protocol.close_rcvd is not None:
            code, reason = protocol.close_rcvd.code, protocol.close_rcvd.reason
            return code, _NO_STATUS_REASON if code == _NO_STATUS else reason
        if protocol.close_sent is not None:
            return protocol.close_sent.code, protocol.close_sent.reason
        return _ABNORMAL, ""

    def _end(self, code: int, reason: str) -> None:
        self.ending = True
        self.end_code, self.end_reason = int(code), reason
        if self._timer is not None:
            self._timer.cancel()
        self.on_ending(self)

    def _finish(self) -> None:
        if not self.ended:
            self.ended = True
            self.on_ended(self)

    def _flush(self) -> None:
        transport = self.transport
        for data in self.protocol.data_to_send():
            if transport.is_closing():
                return
            if data:
                transport.write(data)
            else:
                if transport.can_write_eof():
                    transport.write_eof()
                else:
                    transport.close()  # TLS has no half: it sends close_notify and waits for theirs
                self._watch_end()

    def _balance(self) -> None:
        """Read on, or stop reading while too much of this peer's is under way."""
        if self.ending:
            return
        held = self.transport.get_write_buffer_size() - self.limits.send_buffer_bytes
        if (
            self._in_flight >= IN_FLIGHT_MAX
            or self._in_flight_bytes >= IN_FLIGHT_BYTES_MAX
            or held >= _ANSWERS_BYTES_MAX
        ):
            self.pause()
        else:
            self._resume()

    def _resume(self) -> None:
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    def _watch_age(self) -> None:
        now = self.clock.monotonic_s()
        limits = self.limits
        left_s = min(
            self._last_active + limits.idle_s - now, self._opened_at + limits.lifetime_s - now
        )
        if left_s <= 0:
            self.close(1001, "Going away", "Going away")
        else:
            self._timer = self.clock.call_later(left_s, self._watch_age)

    def _watch_end(self) -> None:
        if self._end_timer is None:
            self._end_timer = self.clock.call_later(CLOSE_TIMEOUT_S, self.transport.abort)


def _as_utf8(data: bytes) -> bytes:
    """What is no UTF-8 would end the connection at the client: replace it, as text is promised."""
    return data.decode("utf-8", "replace").encode()
