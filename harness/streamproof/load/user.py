"""`StreamUser`: a Locust user that holds one WebSocket and speaks Streamer's messages.

As a scenario, with a plan of arrivals (an open loop that this package times and judges):

    from streamproof.load.user import Poisson, StreamUser, operation

    class Request(StreamUser):
        connections = 100
        arrivals = Poisson(rate_per_s=200)
        latency_ms = "p(99) < 10"

        @operation
        def echo(self) -> None:
            self.short({"nonce": self.nonce()})

As any Locust user, with Locust's own tasks and wait times (a closed loop, Locust's figures):

    class Visitor(StreamUser):
        wait_time = constant(1)

        @task
        def echo(self) -> None:
            self.request("echo", {"text": "hello"}).result()
"""

from __future__ import annotations

import json
import random
import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar

from gevent.queue import SimpleQueue
from locust import User
from locust.exception import StopUser

from streamproof.dialect import Kind, Reading, Role
from streamproof.dialect.codes import DEFINITE
from streamproof.errors import TargetUnreachableError
from streamproof.load import plugin
from streamproof.load.arrivals import Arrivals, Poisson
from streamproof.load.exchange import Exchange
from streamproof.load.wire import ConnectionLostError, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamproof.history import HistoryChecker
    from streamproof.load.endpoint import Endpoint
    from streamproof.load.recorder import Arrival, Recorder

__all__ = ["Poisson", "StreamUser", "operation"]

plugin.install()  # a locustfile that imports this module gets the options and the run

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
ENDED_IDS_MAX = 10_000  # per connection: how far back a repeated answer is recognised
RECONNECT_PAUSE_NS = 500_000_000  # a target that is down is not asked more often by one connection
UNCHECKED: Any = object()  # any value is right


def operation(function: Callable[..., None]) -> Callable[..., None]:
    """Mark a method of a `StreamUser` as what an arrival of its plan does."""
    function.__dict__["streamproof_operation"] = True
    return function


class StreamUser(User):
    """One connection. Class attributes are the scenario's settings; options override them."""

    abstract = True

    connections: ClassVar[int] = 100
    connects_per_s: ClassVar[float] = 100.0
    arrivals: ClassVar[Arrivals | None] = None  # none: Locust's own tasks and wait times
    settle_s: ClassVar[float] = 1.0
    warm_up_s: ClassVar[int] = 5
    measure_s: ClassVar[Mapping[str, int]] = {"full": 60, "smoke": 20}
    calibrate_s: ClassVar[Mapping[str, int]] = {"full": 15, "smoke": 5}
    time_limit_s: ClassVar[float] = 5.0
    latency_ms: ClassVar[str] = ""  # the target, where no configuration names one: "p(99) < 10"
    endpoint: ClassVar[Endpoint | None] = None  # set by the run before any user starts

    _operations: ClassVar[tuple[Callable[..., None], ...]] = ()
    _numbers: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        """Find the operations; a class with a plan follows it instead of Locust's wait times."""
        super().__init_subclass__()
        named = {name: getattr(cls, name) for name in dir(cls) if not name.startswith("__")}
        cls._operations = tuple(
            function
            for _, function in sorted(named.items())
            if getattr(function, "streamproof_operation", False)
        )
        if cls.arrivals is not None:
            cls.tasks = [_follow_plan]

    @classmethod
    def scenario(cls) -> str:
        """The scenario's name in options, thresholds and reports: the class name in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        """The first line of the class's docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def __init__(self, environment: Any) -> None:
        """Users are numbered within the process: a number is an identity at the target."""
        super().__init__(environment)
        StreamUser._numbers += 1
        self.number = StreamUser._numbers
        self._draw = random.Random(self.number)  # noqa: S311 - payloads to repeat, not secrets
        self._plan: SimpleQueue = SimpleQueue()
        self._arrival: Arrival | None = None
        self._waiting: Arrival | None = None  # taken up, and its connection is not open yet
        self._at: Endpoint | None = None
        self._wire: Wire | None = None
        self._sequence = 0
        self._generation = 0
        self._name = ""
        self.checker: HistoryChecker | None = None  # judges every message, where it knows them
        self._pending: dict[str, Exchange] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._free_ns = 0  # when this connection's answer before came
        self._retry_ns = 0
        self._reconnected_ns = 0
        self.recorder: Recorder | None = None  # where what names no request is counted

    # Locust's hooks

    def on_start(self) -> None:
        """Connect, unless a plan is followed: then the run connects in its own time."""
        if self.arrivals is None:
            endpoint = type(self).endpoint
            if endpoint is None:
                raise StopUser
            self.connect(endpoint)

    def on_stop(self) -> None:
        """Close the connection."""
        self.disconnect()

    # The connection

    def connect(self, endpoint: Endpoint) -> None:
        """Open a connection to `endpoint`, or raise `TargetUnreachableError`."""
        if self._pending:  # its reader has not noticed yet that the connection before is gone
            self._on_end("closed")
        self.disconnect()
        self._at = endpoint
        self._free_ns = 0
        self._generation += 1
        self._name = f"{self.number}.{self._generation}"
        if self.checker is not None:
            self.checker.opened(self._name, user=f"load-{self.number}")
        self._wire = Wire(
            endpoint.url,
            endpoint.headers(self.number),
            self._on_text,
            self._on_end,
            ca=endpoint.ca,
        )

    def disconnect(self) -> None:
        """Close the connection, if there is one."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        self._pending.clear()
        self._ended.clear()

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._wire is not None and self._wire.open

    def _open_wire(self) -> Wire:
        """The open connection; one that was lost is opened again, twice a second at most."""
        if self._wire is not None and self._wire.open:
            return self._wire
        now_ns = time.monotonic_ns()
        if self._at is None or now_ns < self._retry_ns:
            raise ConnectionLostError("not connected")
        self._retry_ns = now_ns + RECONNECT_PAUSE_NS
        try:
            self.connect(self._at)
        except TargetUnreachableError as error:
            raise ConnectionLostError(error.message) from error
        self._reconnected_ns = time.monotonic_ns()
        if self.recorder is not None:
            self.recorder.counts.reconnects += 1
        if self._wire is None:
            raise ConnectionLostError("not connected")
        return self._wire

    # What an operation calls

    def nonce(self) -> str:
        """Sixteen hexadecimal digits that no other request of this run carries by accident."""
        return f"{self._draw.getrandbits(64):016x}"

    def short(self, payload: dict[str, Any]) -> Exchange:
        """Send the target's short request, whose right answer carries `payload` unchanged."""
        return self._start("short", Role.SHORT, payload, payload)

    def request(self, action: str, payload: dict[str, Any], expect: Any = UNCHECKED) -> Exchange:
        """Send a request of Streamer's form; `expect` is the value of the right answer."""
        return self._start(action, None, payload, expect)

    def _start(
        self, action: str, role: Role | None, payload: dict[str, Any], expect: Any
    ) -> Exchange:
        """Send and return at once; `Exchange.result` waits for the end.

        In an operation of a plan the first request counts, from the moment that the plan intended.
        """
        arrival, self._arrival = self._arrival, None
        self._sequence += 1
        request_id = f"{self.number:x}-{self._sequence:x}"
        now_ns = time.monotonic_ns()
        exchange = Exchange(
            request_id, action, expect, now_ns if arrival is None else arrival.intended_ns
        )
        if arrival is not None:
            exchange.recorder, exchange.second = arrival.recorder, arrival.second
        self._send(exchange, role, payload, arrival)
        return exchange

    def _send(
        self,
        exchange: Exchange,
        role: Role | None,
        payload: dict[str, Any],
        arrival: Arrival | None,
    ) -> None:
        self._waiting = arrival
        try:
            wire = self._open_wire()
            if self._given_up(arrival):
                exchange.end(None, "given up")
                return
            if self._at is None:
                raise ConnectionLostError("not connected")
            if role is None:
                message = {"id": exchange.request_id, "action": exchange.action, "payload": payload}
            else:
                message = self._at.dialect.request(role, exchange.request_id, payload)
            text = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
            if self.checker is not None:
                self.checker.sent(self._name, exchange.request_id)
            self._pending[exchange.request_id] = exchange
            exchange.sent_ns = time.monotonic_ns()
            if arrival is not None:
                self._record_sent(exchange, arrival, wire)
                self._waiting = None
            wire.send(text)
        except ConnectionLostError as error:
            self._pending.pop(exchange.request_id, None)
            if exchange.sent_ns == 0:
                if arrival is not None and not self._given_up(arrival):
                    self._unsent(arrival)
                exchange.recorder = None
            if not exchange.error:
                self._end(exchange, None, f"connection lost: {error}")
        finally:
            self._waiting = None

    def _given_up(self, arrival: Arrival | None) -> bool:
        """Whether the drain gave up an arrival while it waited for its connection."""
        return self._waiting is not arrival

    def _unsent(self, arrival: Arrival) -> None:
        """An arrival that found no connection: its time counts all the same."""
        age_ns = time.monotonic_ns() - arrival.intended_ns
        limit_ns = max(age_ns, round(self.time_limit_s * NS_PER_S))
        arrival.recorder.failed_to_send(arrival.second, limit_ns)

    def _record_sent(self, exchange: Exchange, arrival: Arrival, wire: Wire) -> None:
        """Count it as sent, and as late only by what this process is to blame for."""
        since_ns = arrival.dispatched_ns
        blameless = wire.held_up(since_ns) or self._reconnected_ns > since_ns
        until_ns = since_ns if blameless else exchange.sent_ns
        arrival.recorder.sent(arrival.second, until_ns - arrival.intended_ns)

    # What the reader calls

    def _on_text(self, text: bytes, received_ns: int) -> None:
        if self._at is None:
            return
        try:
            message = json.loads(text)
        except ValueError as error:
            self._wrong(f"connection {self.number}: not JSON: {error}")
            return
        if self.checker is not None:
            self.checker.observe(
                self._name, message, received_ns / NS_PER_S, text=text.decode(errors="replace")
            )
        reply = self._at.dialect.read(message)
        if not reply.final:
            return
        exchange = self._pending.pop(reply.request_id or "", None)
        if exchange is None:
            self._unasked(reply)
            return
        self._remember(exchange.request_id)
        self._end(exchange, reply, "", received_ns)

    def _unasked(self, reply: Reading) -> None:
        """Count it; the checker, where there is one, finds the words."""
        if self.recorder is None:
            return
        name = f"request {reply.request_id} on connection {self.number}"
        if reply.request_id in self._ended:
            self.recorder.repeated("" if self.checker else f"{name}: its answer came again")
        else:
            self.recorder.wrong("" if self.checker else f"{name}: an answer that nobody asked for")

    def _wrong(self, words: str) -> None:
        if self.recorder is not None:
            self.recorder.wrong(words)

    def _remember(self, request_id: str) -> None:
        self._ended[request_id] = None
        if len(self._ended) > ENDED_IDS_MAX:
            self._ended.popitem(last=False)

    def _on_end(self, reason: str) -> None:
        """The connection died: what was under way on it stays unknown."""
        if self.checker is not None:
            self.checker.closed(self._name)
        pending, self._pending = self._pending, {}
        for exchange in pending.values():
            self._end(exchange, None, f"connection lost: {reason}")

    def give_up(self) -> None:
        """After the drain: whatever has no end yet gets one, at its time limit or its age.

        What was sent is lost. What waited for a connection, or behind one that did, was not sent.
        """
        waiting = [] if self._waiting is None else [self._waiting]
        self._waiting = None
        while self._plan.qsize():
            waiting.append(self._plan.get_nowait())
        for arrival in waiting:
            self._unsent(arrival)
        pending, self._pending = self._pending, {}
        for exchange in pending.values():
            words = f"request {exchange.request_id} ({exchange.action}): no answer came"
            self._end(exchange, None, words, lost=True, words="" if self.checker else words)

    @property
    def in_flight(self) -> int:
        """Arrivals not sent yet, and requests that have no end yet."""
        return len(self._pending) + int(self._plan.qsize()) + (self._waiting is not None)

    def _end(
        self,
        exchange: Exchange,
        reply: Reading | None,
        error: str,
        received_ns: int = 0,
        *,
        lost: bool = False,
        words: str = "",
    ) -> None:
        """One request's end, counted once."""
        received_ns = received_ns or time.monotonic_ns()
        corrected_ns = max(0, received_ns - exchange.intended_ns)
        if reply is not None and reply.kind is Kind.FAILURE:
            error = f"{reply.code or 'error'}"
        elif reply is not None and not _equal(reply.value, exchange.expected):
            error = "the answer is not what was asked"
            if exchange.recorder is not None:
                exchange.recorder.wrong(
                    f"request {exchange.request_id}: expected {_short(exchange.expected)}, "
                    f"got {_short(reply.value)}"
                )
        if exchange.recorder is not None:
            why = error
            if reply is None:
                why = "no answer in time" if lost else "connection lost"
            if lost:
                exchange.recorder.lost(words)
            self._record_end(exchange, exchange.recorder, reply, received_ns, why)
        exchange.end(reply, error)
        self._free_ns = max(self._free_ns, received_ns)
        self.environment.events.request.fire(
            request_type="WS",
            name=exchange.action,
            response_time=corrected_ns / NS_PER_MS,
            response_length=0,
            exception=RuntimeError(error) if error else None,
            context={},
        )

    def _record_end(
        self,
        exchange: Exchange,
        recorder: Recorder,
        reply: Reading | None,
        received_ns: int,
        why: str,
    ) -> None:
        age_ns = received_ns - exchange.intended_ns
        limit_ns = max(age_ns, round(self.time_limit_s * NS_PER_S))
        if reply is None or (reply.kind is Kind.FAILURE and reply.code not in DEFINITE):
            recorder.indeterminate(exchange.second, limit_ns, why)
        elif reply.kind is Kind.FAILURE:
            recorder.refused(exchange.second, limit_ns, why)
        else:
            recorder.answered(
                exchange.second,
                corrected_ns=age_ns,
                uncorrected_ns=received_ns - max(exchange.sent_ns, self._free_ns),
                service_ns=received_ns - exchange.sent_ns,
            )

    # What the run calls

    def assign(self, arrival: Arrival) -> None:
        """Give this user an arrival; never blocks."""
        self._plan.put(arrival)

    def follow(self) -> None:
        """Do one operation per arrival, as they come, until the user is stopped."""
        while True:
            arrival: Arrival = self._plan.get()
            self.recorder = arrival.recorder
            self._arrival = arrival
            count = len(self._operations)
            chosen = self._operations[0 if count == 1 else self._draw.randrange(count)]
            chosen(self)


def _follow_plan(user: StreamUser) -> None:
    """The one Locust task of a user with a plan."""
    user.follow()


def _equal(value: Any, expected: Any) -> bool:
    return expected is UNCHECKED or value == expected


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."
