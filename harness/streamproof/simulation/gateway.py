"""The simulated gateway: handshakes, messages, posts to connections, and the way to the store.

A post is on its way, arrives, and is answered; the process that made it may die at any of these
moments, and what was on its way arrives all the same. A message for a client is judged at its
arrival. What may go wrong with a post and with a call to the store is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from streamproof.simulation.cloud import Cloud, CrashedError
from streamproof.simulation.faults import LAG_S_MAX, Faults
from streamproof.simulation.loop import SimulationLoop
from streamproof.simulation.system import EPOCH_MS, System
from streamproof.simulation.trace import Trace

T = TypeVar("T")

CALL_S_MAX = 3.0  # the system's own limit for a post: then there is no answer
SERVERS = 2  # processes that answer clients
DISCONNECT_TWICE = 0.2


class Receiver(Protocol):
    """A client's end of a connection."""

    deaf: bool  # it does not read, and its buffer is full

    def receive(self, text: str) -> None:
        """A message arrived."""
        ...

    def dropped(self) -> None:
        """The server closed the connection."""
        ...


class Network:
    """The way from a process to the store's tables: latency, and what can go wrong on it."""

    def __init__(self, loop: SimulationLoop, faults: Faults, trace: Trace, cloud: Cloud) -> None:
        """`error` is set by the world: what the system calls a failed store."""
        self._loop = loop
        self._faults = faults
        self._trace = trace
        self._cloud = cloud
        self.error: Callable[[str], Exception] = RuntimeError
        self.verbose = False

    def lag_s(self) -> float:
        """How old an index is that is asked now."""
        if not self._faults.hits("index stale"):
            return 0.0
        self._trace.classes["fault: index stale"] += 1
        return self._faults.between(0.01, LAG_S_MAX)

    def ask(self, name: str, key: str, function: Callable[[], T], *, writes: bool) -> Awaitable[T]:
        """One call to the store."""
        faults, answer = self._faults, self._loop.create_future()
        died = self._cloud.at_call()
        if died in ("dead", "before"):
            return answer
        there_s, back_s = faults.between(0.0005, 0.004), faults.between(0.0005, 0.004)
        if faults.strikes("store slow", name):
            there_s += faults.between(0.05, 1.5)
        fate = ""
        if faults.strikes("store throttled", name):
            fate = "throttled"
        elif writes and faults.strikes("store unanswered", name):
            fate = "unanswered"
        if fate:
            self._cloud.harm()
        self._loop.outside(there_s, self._arrive, name, key, function, answer, back_s, fate)
        return answer

    def _arrive(
        self,
        name: str,
        key: str,
        function: Callable[[], Any],
        answer: asyncio.Future[Any],
        back_s: float,
        fate: str,
    ) -> None:
        value, error = None, None
        if fate == "throttled":
            error = self.error("throttled")
        else:
            try:
                value = function()
            except Exception as refusal:  # noqa: BLE001 - the caller's, like any answer
                error = refusal
            if self.verbose:
                self._trace.add("store", name, f"{key} -> {_short(value, error)}", key)
            if fate == "unanswered":
                error = self.error("no answer")
        self._loop.outside(back_s, _settle, answer, value, error)


class Posts:
    """`@connections`, as every process of a world reaches it."""

    def __init__(self, gateway: Gateway) -> None:
        """Shared by all processes: who calls is known from the context."""
        self._gateway = gateway

    async def post_to_connection(
        self, connection_id: str, data: bytes, *, timeout_s: float | None = None
    ) -> int:
        """200, or the system's error for a status or for no answer."""
        limit_s = CALL_S_MAX if timeout_s is None else min(timeout_s, CALL_S_MAX)
        return await self._gateway.post(connection_id, data.decode(), limit_s)

    async def delete_connection(self, connection_id: str) -> int:
        """Close it; 204, or the system's error."""
        return await self._gateway.delete(connection_id)

    async def aclose(self) -> None:
        """Nothing is held."""


class Gateway:
    """All connections of one world."""

    def __init__(
        self, loop: SimulationLoop, faults: Faults, trace: Trace, cloud: Cloud, system: System
    ) -> None:
        """Nothing is connected yet."""
        self._loop = loop
        self._faults = faults
        self._trace = trace
        self._cloud = cloud
        self._system = system
        self._open: dict[str, tuple[Receiver, dict[str, Any]]] = {}
        self._messages = 0
        self.harmed: dict[str, int] = {}  # connection -> posts to it that were not just taken

    # Clients

    async def connect(self, connection_id: str, token: str, receiver: Receiver) -> int:
        """The handshake: 200 when the connection is open."""
        context = _context(connection_id, int(self._loop.time() * 1000))
        event = {
            "headers": {"Authorization": token},
            "requestContext": {**context, "eventType": "CONNECT", "routeKey": "$connect"},
        }
        try:
            answer = await self._cloud.invoke(self._front(), lambda program: program.connect(event))
        except CrashedError:
            return 502
        status = int(answer["statusCode"])
        if status == 200:
            self._open[connection_id] = (receiver, context)
        return status

    async def message(self, connection_id: str, text: str, harm: Callable[[], None]) -> None:
        """A client's message, to the router; returns when that has ended or died."""
        if connection_id not in self._open:
            return
        self._messages += 1
        context = self._open[connection_id][1]
        event = {
            "body": text,
            "isBase64Encoded": False,
            "requestContext": {
                **context,
                "eventType": "MESSAGE",
                "routeKey": "$default",
                "messageId": f"message-{self._messages}",
                "requestId": f"event-{self._messages}",
            },
        }
        try:
            await self._cloud.invoke(self._front(), lambda program: program.router(event), harm)
        except Exception as error:  # noqa: BLE001 - the client of a one-way route sees nothing
            if not isinstance(error, CrashedError):
                self._trace.classes["failed router"] += 1
                self._trace.add("failed", "router", repr(error))
            harm()

    def closed_by_client(self, connection_id: str) -> None:
        """The socket is gone; $disconnect is told, as a rule."""
        if self._open.pop(connection_id, None) is not None:
            self._ended(connection_id)

    def _ended(self, connection_id: str) -> None:
        if self._faults.strikes("disconnect unheard", connection_id):
            return
        times = 2 if self._faults.between(0, 1) < DISCONNECT_TWICE else 1
        for _ in range(times):
            delay_s = self._faults.between(0.002, 0.1)
            self._loop.outside(delay_s, self._disconnect, connection_id)

    def _disconnect(self, connection_id: str) -> None:
        self._loop.go(self._disconnected(connection_id))

    async def _disconnected(self, connection_id: str) -> None:
        context = _context(connection_id, 0)
        event = {"requestContext": {**context, "eventType": "DISCONNECT"}}
        try:
            await self._cloud.invoke(self._front(), lambda program: program.disconnect(event))
        except Exception:  # noqa: BLE001 - best effort, as on AWS
            self._trace.classes["failed disconnect"] += 1

    def _front(self) -> Any:
        return self._cloud.server("front", int(self._faults.between(0, SERVERS)))

    # Posts

    async def post(self, connection_id: str, text: str, limit_s: float) -> int:
        """One post; returns 200 or raises what the system raises for anything else."""
        faults, answer = self._faults, self._loop.create_future()
        died = self._cloud.at_call()
        if died in ("dead", "before"):
            return int(await answer)
        there_s, back_s = faults.between(0.0005, 0.004), faults.between(0.0005, 0.004)
        no_answer_s = limit_s if faults.between(0, 1) < 0.5 else min(limit_s, 0.05)
        status: int | None = 200
        fate = next(
            (
                kind
                for kind in ("throttled", "failed", "lost", "unanswered", "late", "slow")
                if faults.strikes(f"post {kind}", connection_id)
            ),
            "",
        )
        match fate:
            case "throttled":
                status = 429
            case "failed":
                status = 500 + int(faults.between(0, 5))
            case "lost" | "unanswered" | "late":
                status = None
            case "slow":
                there_s += faults.between(0.1, 4.0)
        if fate == "late":
            there_s = limit_s + faults.between(0, 6.0)
        if fate:
            self._cloud.harm()
            self.harmed[connection_id] = self.harmed.get(connection_id, 0) + 1
        if fate in ("throttled", "failed"):
            self._loop.outside(there_s + back_s, self._answer, answer, status)
        elif fate == "lost":
            self._loop.outside(no_answer_s, self._answer, answer, None)
        else:
            self._loop.outside(there_s, self._arrive, connection_id, text, answer, back_s, status)
            if there_s + back_s > limit_s:
                self._loop.outside(limit_s, self._answer, answer, None)
            elif status is None:
                self._loop.outside(max(no_answer_s, there_s), self._answer, answer, None)
        return int(await answer)

    def _arrive(
        self,
        connection_id: str,
        text: str,
        answer: asyncio.Future[int],
        back_s: float,
        status: int | None,
    ) -> None:
        known = self._open.get(connection_id)
        if known is None:
            status = status and 410
        elif known[0].deaf:
            status = status and 429
            self._trace.classes["post to a client that does not read"] += 1
            self.harmed[connection_id] = self.harmed.get(connection_id, 0) + 1
        else:
            known[0].receive(text)
        if status is not None:
            self._loop.outside(back_s, self._answer, answer, status)

    def _answer(self, answer: asyncio.Future[int], status: int | None) -> None:
        if status != 200:
            self._trace.classes[f"post answered {status or 'nothing'}"] += 1
        error = None if status == 200 else self._system.post_error(status)
        _settle(answer, status, error)

    async def delete(self, connection_id: str) -> int:
        """Close a connection from the server's side."""
        answer = self._loop.create_future()
        if self._cloud.at_call() in ("dead", "before"):
            return int(await answer)
        self._loop.outside(0.002, self._delete, connection_id, answer)
        return int(await answer)

    def _delete(self, connection_id: str, answer: asyncio.Future[int]) -> None:
        known = self._open.pop(connection_id, None)
        if known is not None:
            known[0].dropped()
            self._ended(connection_id)
        error = None if known is not None else self._system.post_error(410)
        _settle(answer, 204, error)


def _settle(answer: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)


def _context(connection_id: str, at_ms: int) -> dict[str, Any]:
    return {
        "connectionId": connection_id,
        "connectedAt": EPOCH_MS + at_ms,
        "domainName": "simulated.test",
        "stage": "dev",
        "identity": {"sourceIp": "127.0.0.1", "userAgent": "simulation"},
    }


def _short(value: object, error: BaseException | None) -> str:
    if error is not None:
        return repr(error)[:120]
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
