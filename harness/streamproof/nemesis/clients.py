"""The clients of a run: they send, come back when they were cut off, and record what they see.

A client that comes back subscribes to every request of its own that has not ended; what it sent
without an acknowledgment and the service does not know was never accepted, and is not sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamproof.history import HistoryChecker, Recorder
from streamproof.nemesis.schedule import Arrival

ASKED_AT_ONCE = 50  # questions under way on one connection
ANSWER_S = 30.0
READY_S = 10.0  # so long one that is coming back is waited for
MESSAGE_BYTES_MAX = 1 << 20
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close sends RST
_NAME = "/"  # between a request's id and what is asked about it


@dataclasses.dataclass(slots=True)
class Track:
    """One request as its client saw it."""

    arrival: Arrival
    acknowledged: bool = False
    refused: str = ""  # the code of its refusal
    outcomes: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # differing ones
    known: bool = True  # False: cut off before its acknowledgment, and the service knows nothing
    sent_s: float = 0.0
    cut_off_s: float | None = None  # when its connection ended, if before its acknowledgment
    status: dict[str, Any] | None = None  # the answer to `status` after the drain, or its error


@dataclasses.dataclass(frozen=True, slots=True)
class Journal:
    """Where everything that goes over a wire is told."""

    recorder: Recorder
    checker: HistoryChecker
    clock: Callable[[], float]


class Client:
    """One user with one connection at a time."""

    def __init__(self, number: int, url: str, token: str, journal: Journal) -> None:
        """Nothing is opened before `open`."""
        self.tracks: dict[str, Track] = {}
        self.open_requests = 0  # sent, and neither refused nor ended nor unknown
        self.last_outcome_s = journal.clock()
        self.cut_off = 0  # connections that ended though nobody ended them
        self._user = f"user-{number}"
        self._url = url
        self._token = token
        self._journal = journal
        self._connections = 0
        self._socket: ClientConnection | None = None
        self._raw: socket.socket | None = None
        self._reader: asyncio.Task[None] | None = None
        self._name = ""
        self._ready = asyncio.Event()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked = 0
        self._left: list[ClientConnection] = []  # half-open ones
        self._dropping = False
        self._leaving = asyncio.Lock()

    async def open(self) -> None:
        """Connect, and read from now on."""
        parts = urlsplit(self._url)
        raw = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80))
        self._socket = await connect(
            self._url,
            sock=raw,
            additional_headers={"Authorization": self._token},
            proxy=None,
            compression=None,
            ping_interval=None,
            max_size=MESSAGE_BYTES_MAX,
            max_queue=None,  # what waits is bounded by the requests of the run
        )
        self._raw = raw
        self._connections += 1
        self._name = f"{self._user}.{self._connections}"
        self._journal.recorder.opened(self._name, self._user)
        self._journal.checker.opened(self._name, user=self._user)
        self._reader = asyncio.create_task(self._read(self._socket, self._name))
        self._ready.set()

    async def close(self) -> None:
        """Go away for good, whatever is under way."""
        self._dropping = True
        for task in list(self._tasks):
            task.cancel()
        for left in self._left:
            left.transport.abort()
            await left.wait_closed()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                await self._socket.close()
        if self._reader is not None:
            await asyncio.wait({self._reader})

    async def send(self, arrival: Arrival) -> None:
        """Send a request, on the next connection when there is none at the moment."""
        await self._ready.wait()
        self.tracks[arrival.request_id] = Track(arrival, sent_s=self._journal.clock())
        self.open_requests += 1
        await self._say(arrival.request_id, "probe.async", arrival.payload)

    async def drop(self, how: str) -> bool:
        """Leave the connection by `close`, `reset` or `half-open`; False when there is none.

        A half-open one stays where it is, unread, as after a network that went away. The client
        comes back on another.
        """
        async with self._leaving:
            try:
                await asyncio.wait_for(self._ready.wait(), READY_S)
            except TimeoutError:
                return False
            assert self._socket is not None  # noqa: S101 - there is one when it is ready
            assert self._reader is not None  # noqa: S101 - likewise
            self._ready.clear()
            self._note_cut_off()
            self._dropping = True
            if how == "half-open":
                self._socket.transport.pause_reading()
                self._reader.cancel()
                self._left.append(self._socket)
            elif how == "reset" and self._raw is not None:
                self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._socket.transport.abort()
            else:
                await self._socket.close()
            await asyncio.wait({self._reader})
            self._dropping = False
            await self._come_back()
            return True

    async def settle(self) -> None:
        """Follow once more what the service did not know: its message may have been on the way."""
        for request_id, track in self.tracks.items():
            if not track.known:
                track.known = True
                self.open_requests += 1
                await self._follow(request_id)

    async def ask_all(self) -> None:
        """Ask for the status of every request, some at a time; after the drain."""
        room = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(request_id: str) -> None:
            async with room:
                self.tracks[request_id].status = await self._ask(request_id, "status")

        await asyncio.gather(*(ask(request_id) for request_id in self.tracks))

    def _note_cut_off(self) -> None:
        for track in self.tracks.values():
            if track.cut_off_s is None and self._waits(track) and not track.acknowledged:
                track.cut_off_s = self._journal.clock()

    async def _come_back(self) -> None:
        waiting = [name for name, track in self.tracks.items() if self._waits(track)]
        await self.open()
        for request_id in waiting:
            self._start(self._follow(request_id))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, request_id: str) -> None:
        """Subscribe; what the service does not know will never come, unless it was acknowledged."""
        answer = await self._ask(request_id, "subscribe")
        track = self.tracks[request_id]
        if answer is None or answer.get("code") != "NOT_FOUND":
            return
        if self._waits(track) and not track.acknowledged:
            track.known = False
            self._no_longer_open()

    def _waits(self, track: Track) -> bool:
        return track.known and not track.outcomes and not track.refused

    async def _ask(self, request_id: str, action: str) -> dict[str, Any] | None:
        """The data of an answer about a request, or its error; None when no answer came."""
        self._asked += 1
        name = f"{request_id}{_NAME}{action}-{self._asked}"
        answer = self._answers[name] = asyncio.get_running_loop().create_future()
        try:
            await self._say(name, action, {"request_id": request_id}, subscribes=action)
            return await asyncio.wait_for(answer, ANSWER_S)
        except TimeoutError:
            return None
        finally:
            del self._answers[name]

    async def _say(
        self, name: str, action: str, payload: dict[str, Any], subscribes: str = ""
    ) -> None:
        text = json.dumps({"id": name, "action": action, "payload": payload})
        to = payload["request_id"] if subscribes == "subscribe" else None
        self._journal.recorder.sent(self._name, text, name, to)
        self._journal.checker.sent(self._name, name, subscribes_to=to)
        with contextlib.suppress(ConnectionClosed):  # what became of it is asked on the next one
            if self._socket is not None:
                await self._socket.send(text)

    async def _read(self, connection: ClientConnection, name: str) -> None:
        try:
            async for data in connection:
                self._take(name, data if isinstance(data, str) else data.decode("utf-8", "replace"))
        except ConnectionClosed:
            pass  # how it ended is told below
        finally:
            self._journal.recorder.closed(name, connection.close_code)
            self._journal.checker.closed(name)
        if not self._dropping:
            self.cut_off += 1
            self._ready.clear()
            self._note_cut_off()
            self._start(self._come_back())

    def _take(self, name: str, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        self._journal.recorder.received(name, text, message)
        self._journal.checker.observe(name, message, self._journal.clock(), text=text)
        if not isinstance(message, dict):
            return
        request_id = message.get("request_id")
        if not isinstance(request_id, str):
            return
        waiting = self._answers.get(request_id)
        if waiting is not None and not waiting.done():
            answer = message.get("data") if message.get("type") == "response" else None
            waiting.set_result(answer or message.get("error") or {})
        elif request_id in self.tracks:
            self._apply(self.tracks[request_id], message)

    def _apply(self, track: Track, message: dict[str, Any]) -> None:
        kind, waited = message.get("type"), self._waits(track)
        if kind == "acknowledgment":
            track.acknowledged = True
        elif kind == "error" and message.get("sequence") == 0 and not track.acknowledged:
            track.refused = str(message["error"].get("code"))
        elif kind in ("complete", "error") and message not in track.outcomes:
            track.outcomes.append(message)
            self.last_outcome_s = self._journal.clock()
        if waited and not self._waits(track):
            self._no_longer_open()

    def _no_longer_open(self) -> None:
        self.open_requests -= 1
