"""One client connection of a clause: sends, waits for what must come, keeps what came.

Everything is bounded: what is kept, how long a wait lasts. A wait that ends without what it waited
for raises `Broken`: on a live connection a message that never comes is a failure of the target.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from streamproof.contract import exact
from streamproof.contract.failures import Broken
from streamproof.contract.journal import Journal
from streamproof.dialect import Dialect, Kind, Reading, Role
from streamproof.targets.safety import Pacer

MESSAGE_BYTES_MAX = 1024 * 1024  # eight times what API Gateway passes
KEPT_BYTES_MAX = 4 * 1024 * 1024
_SHOWN = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long what must come is waited for, in seconds."""

    answer_s: float = 10.0  # the contract allows a short answer 25 s, a busy machine needs one
    outcome_s: float = 30.0  # a long request of a clause works for a few seconds at most
    takeover_s: float = 80.0  # RECOV-1: lease + 75 s

    def shortened(self) -> Patience:
        """For a target that did not answer its first words: what never came is not waited for."""
        return Patience(
            min(self.answer_s, 2.0), min(self.outcome_s, 4.0), min(self.takeover_s, 4.0)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """A message as it came: when (seconds on the loop's clock), its text, what it is."""

    at_s: float
    text: str
    message: Any
    reading: Reading


class Session:
    """An open connection; made by `Context.connect`, which also closes it."""

    def __init__(
        self,
        socket: ClientConnection,
        lane: str,
        journal: Journal,
        *,
        dialect: Dialect,
        pacer: Pacer,
        new_id: Callable[[], str],
        patience: Patience = Patience(),
    ) -> None:
        self.lane = lane
        self.patience = patience
        self.received: list[Received] = []
        self.close_code: int | None = None
        self.flooded = False
        self._socket = socket
        self._journal = journal
        self._dialect = dialect
        self._pacer = pacer
        self._new_id = new_id
        self._kept_bytes = 0
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def send_text(self, text: str) -> None:
        """Send exactly this as one text message."""
        await self._pacer.send()
        self._journal.sent(self.lane, text)
        with contextlib.suppress(ConnectionClosed):  # the wait that follows says so, with the code
            await self._socket.send(text)

    async def send_frames(self, frames: Sequence[str]) -> None:
        """Send one text message in these frames."""
        await self._pacer.send()
        self._journal.sent(self.lane, "".join(frames))
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(frames)

    async def send_binary(self, data: bytes) -> None:
        """Send one binary message."""
        await self._pacer.send()
        self._journal.note(self.lane, f"binary message of {len(data)} bytes")
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(data)

    async def ping(self) -> None:
        """Send a ping frame; `Broken` when no pong comes."""
        try:
            async with asyncio.timeout(self.patience.answer_s):
                await (await self._socket.ping())
        except (TimeoutError, ConnectionClosed) as error:
            raise Broken("a pong", f"none within {self.patience.answer_s:g} s") from error

    async def request(
        self, action: str, payload: dict[str, Any] | None = None, **members: Any
    ) -> str:
        """Send a Streamer message and return its id; `id=` chooses one, members are added."""
        message: dict[str, Any] = {"id": self._new_id(), "action": action}
        if payload is not None:
            message["payload"] = payload
        message.update(members)
        await self.send_text(json.dumps(message))
        request_id: str = message["id"]
        return request_id

    async def start(self, role: Role, payload: dict[str, Any], request_id: str = "") -> str:
        """Send a request of this role in the target's dialect and return its id."""
        request_id = request_id or self._new_id()
        await self.send_text(json.dumps(self._dialect.request(role, request_id, payload)))
        return request_id

    async def wait(
        self, matches: Callable[[Received], bool], expected: str, timeout_s: float | None = None
    ) -> Received:
        """The first message, past or future, that matches."""
        index = 0
        timeout_s = self.patience.answer_s if timeout_s is None else timeout_s
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while True:
            while index < len(self.received):
                if matches(self.received[index]):
                    return self.received[index]
                index += 1
            if self.flooded:
                raise Broken(expected, f"over {KEPT_BYTES_MAX:,} bytes of other messages")
            if self.close_code is not None:
                raise Broken(expected, f"the connection closed with {self.close_code}")
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self._news.wait()
            except TimeoutError as error:
                raise Broken(expected, f"nothing within {timeout_s:g} s{self._last()}") from error

    async def first(self, request_id: str, timeout_s: float | None = None) -> Received:
        """The first message of a request."""
        return await self.wait(
            lambda item: item.reading.request_id == request_id,
            f"a message of {request_id}",
            timeout_s,
        )

    async def acknowledged(self, request_id: str, timeout_s: float | None = None) -> Received:
        """The acknowledgment of a request, which must be its first message."""
        item = await self.first(request_id, timeout_s)
        if item.reading.kind is not Kind.ACKNOWLEDGMENT:
            raise Broken(f"the acknowledgment of {request_id} first", shown(item))
        return item

    async def outcome(self, request_id: str, timeout_s: float | None = None) -> Received:
        """The message that ends a request; its first message must come as fast as any answer."""
        await self.first(request_id)
        return await self.wait(
            lambda item: item.reading.request_id == request_id and item.reading.final,
            f"the outcome of {request_id}",
            self.patience.outcome_s if timeout_s is None else timeout_s,
        )

    async def result(self, request_id: str, timeout_s: float | None = None) -> Received:
        """The outcome of a request, which must be a result."""
        item = await self.outcome(request_id, timeout_s)
        if item.reading.kind is not Kind.RESULT:
            raise Broken(f"{request_id} to end well", shown(item))
        return item

    async def failure(self, request_id: str, *codes: str, timeout_s: float | None = None) -> Any:
        """The `error` that ends a request, with one of these codes."""
        item = await self.outcome(request_id, timeout_s)
        if item.reading.kind is not Kind.FAILURE or item.reading.code not in codes:
            raise Broken(f"{request_id} to end with {' or '.join(codes)}", shown(item))
        return item.message

    async def answer(self, request_id: str, timeout_s: float | None = None) -> Received:
        """The one answer of a short request, or its refusal."""
        return await self.wait(
            lambda item: (
                item.reading.request_id == request_id
                and item.reading.kind in (Kind.ANSWER, Kind.FAILURE, Kind.ACKNOWLEDGMENT)
            ),
            f"an answer to {request_id}",
            timeout_s,
        )

    async def data(
        self, action: str, payload: dict[str, Any] | None = None, **members: Any
    ) -> dict[str, Any]:
        """The `data` of a short request, which must be answered with a `response`."""
        item = await self.answer(await self.request(action, payload, **members))
        data = item.message.get("data") if item.reading.kind is Kind.ANSWER else None
        if not isinstance(data, dict):
            raise Broken(f"a response to {action} with an object as data", shown(item))
        return data

    async def refusal(
        self, action: str, payload: dict[str, Any] | None = None, *, code: str, **members: Any
    ) -> dict[str, Any]:
        """The `error` member of a request that must be refused with `code`."""
        item = await self.answer(await self.request(action, payload, **members))
        if item.reading.kind is not Kind.FAILURE or item.reading.code != code:
            raise Broken(f"{code} for {action}", shown(item))
        error: dict[str, Any] = item.message["error"]
        return error

    def of(self, request_id: str) -> list[Received]:
        """What came for a request so far, unchanged repeats dropped."""
        found: dict[str, Received] = {}
        for item in self.received:
            if item.reading.request_id == request_id:
                found.setdefault(item.text, item)
        return list(found.values())

    def progress(self, request_id: str) -> list[Received]:
        """The progress messages of a request so far."""
        return [item for item in self.of(request_id) if item.reading.kind is Kind.PROGRESS]

    async def quiet(self, seconds: float) -> None:
        """Let time pass, in which `received` may grow."""
        await asyncio.sleep(seconds)

    async def closed(self) -> int:
        """The close code, once the server has closed; `Broken` when it does not."""
        try:
            async with asyncio.timeout(self.patience.answer_s):
                await asyncio.shield(self._reader)
        except TimeoutError as error:
            raise Broken("the server to close the connection", "it stays open") from error
        return self.close_code if self.close_code is not None else 1006

    async def close(self) -> None:
        """Close from our side; safe to call twice."""
        await self._socket.close()
        await self._reader

    async def abort(self) -> None:
        """Drop the connection without a closing handshake."""
        self._socket.transport.abort()
        await self._reader

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                text = data if isinstance(data, str) else data.decode("utf-8", "replace")
                self._keep(text)
                if self._kept_bytes > KEPT_BYTES_MAX:
                    self.flooded = True
                    self._news.set()
                    self._socket.transport.abort()
                    break
        except ConnectionClosed:
            pass  # the code below tells how
        finally:
            self._pacer.close()
            code = self._socket.close_code
            self.close_code = code if code is not None else 1006
            self._journal.closed(self.lane, self.close_code)
            self._news.set()

    def _keep(self, text: str) -> None:
        self._kept_bytes += len(text)
        message = exact.parse(text)
        at_s = asyncio.get_running_loop().time()
        self.received.append(Received(at_s, text, message, self._dialect.read(message)))
        self._journal.received(self.lane, text, message)
        self._news.set()

    def _last(self) -> str:
        return f"; the last message was {shown(self.received[-1])}" if self.received else ""


def shown(item: Received) -> str:
    """A message for a sentence about it."""
    return item.text if len(item.text) <= _SHOWN else f"{item.text[:_SHOWN]}..."
