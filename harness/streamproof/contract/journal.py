"""What went over a run's sockets: the wire log of each clause, the recorder, the checker."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from streamproof.contract.exact import UNREADABLE
from streamproof.history import HistoryChecker, Recorder, without_tokens
from streamproof.results import WireLine

LOG_LINES_MAX = 300  # the last ones: a failure shows at the end
LOG_TEXT_MAX = 700


class Journal:
    """One clause's view: it keeps the log and passes everything on to the run's history."""

    def __init__(
        self, name: str, clock: Callable[[], float], recorder: Recorder, checker: HistoryChecker
    ) -> None:
        self.name = name
        self._clock = clock
        self._began_s = clock()
        self._recorder = recorder
        self._checker = checker
        self._lines: deque[WireLine] = deque(maxlen=LOG_LINES_MAX)
        self._lanes = 0

    @property
    def log(self) -> tuple[WireLine, ...]:
        """The last lines, oldest first."""
        return tuple(self._lines)

    def lane(self) -> str:
        """A name for the next connection of this clause."""
        self._lanes += 1
        return f"c{self._lanes}"

    def note(self, lane: str, text: str) -> None:
        """A line that is no message: a handshake, a close."""
        self._line(lane, "-", text)

    def opened(self, lane: str, user: str) -> None:
        """A handshake was completed."""
        connection = self._connection(lane)
        self._recorder.opened(connection, user)
        self._checker.opened(connection, user=user)
        self.note(lane, f"open as {user}")

    def closed(self, lane: str, code: int | None) -> None:
        """A connection ended."""
        connection = self._connection(lane)
        self._recorder.closed(connection, code)
        self._checker.closed(connection)
        self.note(lane, f"closed with {code}")

    def sent(self, lane: str, text: str) -> None:
        """A message goes out."""
        request_id, subscribes_to = _names(text)
        connection = self._connection(lane)
        self._recorder.sent(connection, text, request_id, subscribes_to)
        self._checker.sent(connection, request_id, subscribes_to=subscribes_to)
        self._line(lane, ">", text)

    def received(self, lane: str, text: str, message: Any) -> None:
        """A message came in."""
        connection = self._connection(lane)
        parsed = None if message is UNREADABLE else message
        self._recorder.received(connection, text, parsed)
        self._checker.observe(connection, parsed, self._clock(), text=text)
        self._line(lane, "<", text)

    def _connection(self, lane: str) -> str:
        return f"{self.name}#{lane}"

    def _line(self, lane: str, direction: str, text: str) -> None:
        clean = without_tokens(text if len(text) <= LOG_TEXT_MAX else _cut(text))
        at_ms = round((self._clock() - self._began_s) * 1000, 1)
        self._lines.append(WireLine(at_ms, lane, direction, clean))


def _cut(text: str) -> str:
    return f"{text[: LOG_TEXT_MAX - 100]}... ({len(text):,} characters)"


def _names(text: str) -> tuple[str | None, str | None]:
    """The id of what we send and the request it subscribes to, as a server would read them."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(message, dict):
        return None, None
    request_id = message.get("id")
    payload = message.get("payload")
    subscribes_to = None
    if message.get("action") == "subscribe" and isinstance(payload, dict):
        subscribes_to = payload.get("request_id")
    return _readable(request_id), subscribes_to if isinstance(subscribes_to, str) else None


def _readable(request_id: Any) -> str | None:
    """The id when MSG-1 allows it: a server answers others without one."""
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= 128:
        return None
    return request_id if all(0x21 <= ord(character) <= 0x7E for character in request_id) else None
