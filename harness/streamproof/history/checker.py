"""The one checker of histories: what no correct system shows, whatever was asked of it.

Feed it each message as it happens; it keeps a few words per request, costs a few microseconds per
message and needs no event loop, so a load run can afford it. Linear in the messages. Source:
docs/contract.md, "One history"; each violation names the rule that it breaks.

Repeats: a message of a long request that arrives again unchanged is no fault (MSG-4, outbox). It is
counted and dropped before anything else is judged. So is a repeated answer to a short one, but only
where posts were made to fail (`faults`): a post without an answer is made again (SEND-1), and
without a fault there is none.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from streamproof.history.schema import schema_fault

VIOLATIONS_MAX = 200  # beyond that a run is broken enough; the rest is counted
_NO_REQUEST_OUTCOME = "DUPLICATE_REQUEST"


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A rule broken on the wire, with where and when; `at_s` is on the run's own clock."""

    rule: str
    connection: str
    request_id: str
    what: str
    at_s: float

    def __str__(self) -> str:
        where = f" of {self.request_id}" if self.request_id else ""
        return f"{self.rule} on {self.connection}{where}: {self.what}"


class RequestHistory:
    """One request as one connection saw it."""

    __slots__ = (
        "acknowledged",
        "answered",
        "answers",
        "contents",
        "ended",
        "hundred",
        "last",
        "percentage",
        "sends",
        "subscribed",
    )

    def __init__(self) -> None:
        self.sends = 0  # how often it was sent here; 0 for a subscriber
        self.answers = 0  # short answers and refusals
        self.acknowledged = False
        self.subscribed = False
        self.ended = False
        self.hundred = False  # 100 % was seen
        self.last = -1  # the last number applied
        self.percentage: float | Decimal = -1.0
        self.contents: dict[int, int] = {}  # number -> hash of the message
        self.answered: set[int] = set()  # hashes of the answers, apart: a refused id may come again


class _Connection:
    __slots__ = ("anonymous", "closed", "nameless_errors", "requests", "sends", "user")

    def __init__(self, user: str) -> None:
        self.user = user
        self.requests: dict[str, RequestHistory] = {}
        self.sends = 0
        self.anonymous = 0  # sent without a readable id: the server names these
        self.nameless_errors = 0
        self.closed = False


class HistoryChecker:
    """Judges messages as they come; `violations` grows, `finish` adds what never came."""

    def __init__(self, *, violations_max: int = VIOLATIONS_MAX, faults: bool = False) -> None:
        self.violations: list[Violation] = []
        self.violation_count = 0
        self.message_count = 0
        self.sent_count = 0
        self.repeat_count = 0
        self._violations_max = violations_max
        self.faults = faults
        self._connections: dict[str, _Connection] = {}
        self._numbered: dict[tuple[str, str, int], int] = {}  # user, request, number -> hash

    def opened(self, connection: str, *, user: str = "") -> None:
        """A connection exists; those of one `user` share their requests' numbers."""
        self._connections[connection] = _Connection(user or connection)

    def closed(self, connection: str) -> None:
        """It ended: what it did not get yet is unknown, not lost."""
        state = self._connections.get(connection)
        if state is not None:
            state.closed = True

    def sent(
        self, connection: str, request_id: str | None, *, subscribes_to: str | None = None
    ) -> None:
        """A request goes out; call it before the bytes do. None when its id cannot be read."""
        state = self._connection(connection)
        state.sends += 1
        self.sent_count += 1
        if request_id is None:
            state.anonymous += 1
        else:
            request = state.requests.get(request_id)
            if request is None:
                request = state.requests[request_id] = RequestHistory()
            request.sends += 1
        if subscribes_to is not None and subscribes_to not in state.requests:
            followed = state.requests[subscribes_to] = RequestHistory()
            followed.subscribed = True

    def observe(
        self, connection: str, message: Any, at_s: float, *, text: str | None = None
    ) -> None:
        """A message arrived: `message` parsed, `text` its bytes when at hand (faster, exact)."""
        self.message_count += 1
        state = self._connection(connection)
        fault = schema_fault(message)
        request_id = message.get("request_id") if isinstance(message, Mapping) else None
        named = request_id if isinstance(request_id, str) else ""
        if fault is not None:
            self._add(fault.rule, connection, named, fault.what, at_s)
            if fault.unreadable:
                return
        kind = message["type"]
        if kind == "broadcast":
            return
        if not named:
            state.nameless_errors += 1
            if state.nameless_errors > state.sends:
                self._add("CONN-5", connection, "", f"an unasked {kind}", at_s)
            return
        request = state.requests.get(named)
        if request is None:
            if state.anonymous == 0:
                what = f"a {kind} of a request that was not sent here"
                self._add("CONN-5", connection, named, what, at_s)
                return
            state.anonymous -= 1
            request = state.requests[named] = RequestHistory()
            request.sends = 1
        code = message["error"]["code"] if kind == "error" and fault is None else None
        if code == _NO_REQUEST_OUTCOME:
            return
        broken = self._judge(state, named, request, message, text)
        if broken is not None:
            self._add(broken[0], connection, named, broken[1], at_s)

    def finish(self, at_s: float = 0.0) -> list[Violation]:
        """Add what never came on connections that are still open, and return all violations."""
        for name, state in self._connections.items():
            if state.closed:
                continue
            for request_id, request in state.requests.items():
                if request.acknowledged and not request.ended:
                    what = "acknowledged, and no outcome came: lost"
                    self._add("ASYNC-1", name, request_id, what, at_s)
                elif request.sends > request.answers and not request.acknowledged:
                    self._add("SYNC-1", name, request_id, "no answer came", at_s)
        return self.violations

    def unfinished(self, connection: str) -> list[str]:
        """The ids on a connection that still wait for an answer or an outcome."""
        state = self._connections.get(connection)
        if state is None:
            return []
        return [
            request_id
            for request_id, request in state.requests.items()
            if (request.acknowledged and not request.ended)
            or (not request.acknowledged and request.sends > request.answers)
        ]

    def _connection(self, name: str) -> _Connection:
        state = self._connections.get(name)
        if state is None:
            state = self._connections[name] = _Connection(name)
        return state

    def _add(self, rule: str, connection: str, request_id: str, what: str, at_s: float) -> None:
        self.violation_count += 1
        if len(self.violations) < self._violations_max:
            self.violations.append(Violation(rule, connection, request_id, what, at_s))

    def _judge(
        self,
        state: _Connection,
        request_id: str,
        request: RequestHistory,
        message: Mapping[str, Any],
        text: str | None,
    ) -> tuple[str, str] | None:
        kind = message["type"]
        sequence = message.get("sequence")
        if type(sequence) is not int:
            return None  # the schema's fault is on record already
        refused = kind == "error" and sequence == 0
        if (kind == "response" or refused) and not request.subscribed:
            return self._answer(request, kind, refused, _content(message, text))
        content = _content(message, text)
        known = request.contents.get(sequence)
        if known is not None:
            if known == content:
                self.repeat_count += 1
                return None
            return "MSG-4", f"number {sequence} with two contents, the second a {kind}"
        request.contents[sequence] = content
        elsewhere = self._numbered.setdefault((state.user, request_id, sequence), content)
        if elsewhere != content:
            return "MSG-4", f"number {sequence} with two contents on two connections"
        return _in_order(request, kind, sequence, message)

    def _answer(
        self, request: RequestHistory, kind: str, refused: bool, content: int
    ) -> tuple[str, str] | None:
        if self.faults and content in request.answered:
            self.repeat_count += 1
            return None
        request.answers += 1
        answered = request.answers + request.acknowledged
        if answered > request.sends:
            if request.acknowledged and refused:
                return "MSG-4", "number 0 with two contents, the second an error"
            if request.acknowledged:
                return "ASYNC-2", f"a {kind} to a request that was acknowledged"
            return "SYNC-1", f"answer {answered} to a request sent {request.sends} times"
        if self.faults:
            request.answered.add(content)
        return None


def _content(message: Mapping[str, Any], text: str | None) -> int:
    return hash(text if text is not None else json.dumps(message, sort_keys=True, default=str))


def _in_order(
    request: RequestHistory, kind: str, sequence: int, message: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Judge a new number of a long request and apply it; the first fault found."""
    last, request.last = request.last, max(request.last, sequence)
    ended = request.ended
    request.ended = ended or kind in ("complete", "error")
    first = last < 0
    second_acknowledgment = kind == "acknowledgment" and request.acknowledged
    refused_before = kind == "acknowledgment" and 0 < request.sends <= request.answers
    request.acknowledged = request.acknowledged or kind == "acknowledgment"
    if ended:
        return "ASYNC-2", f"a new {kind}, number {sequence}, after the outcome"
    if second_acknowledgment:
        return "ASYNC-2", f"a second acknowledgment, number {sequence}"
    if refused_before and not request.subscribed:
        return "MSG-4", "number 0 with two contents, the second an acknowledgment"
    if first and not request.subscribed and kind != "acknowledgment":
        return "ASYNC-2", f"a {kind} before the acknowledgment"
    if kind == "acknowledgment" and not first:
        return "ASYNC-2", "the acknowledgment is not the first message"
    expected = last + 1
    if sequence != expected and not (first and request.subscribed):
        return "MSG-4", f"number {sequence} where {expected} was due"
    if kind == "progress":
        return _rising(request, message["percentage"])
    return None


def _rising(request: RequestHistory, percentage: Any) -> tuple[str, str] | None:
    if isinstance(percentage, bool) or not isinstance(percentage, (int, float, Decimal)):
        return None  # on record as a fault of the schema
    if not math.isfinite(percentage) or not 0 <= percentage <= 100:
        return None
    before, request.percentage = request.percentage, max(request.percentage, percentage)
    if percentage < before:
        return "PROG-1", f"percentage {percentage} after {before}"
    if request.hundred:
        return "PROG-1", "a progress message after 100 %"
    request.hundred = percentage == 100
    return None
