"""The messages of one long request, sent by whoever holds it.

A number is taken by storing its message, then the message is posted until every receiver has it or
is gone, and only then is the next number taken. So a crash leaves no gap and no number with two
contents: whoever takes the request over posts the stored message again, byte for byte. The newest
progress behind it is noted without a number, for `status` and for whoever takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from streamer_reference.clock import Clock
from streamer_reference.connection.errors import CallerError
from streamer_reference.connection.manager import ConnectionManager, Outcome, SendResult
from streamer_reference.core.coalescing import INTERVAL_MS, Coalescing, Update
from streamer_reference.core.states import Status
from streamer_reference.observability.logs import log
from streamer_reference.protocol import messages
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import StreamerError
from streamer_reference.protocol.limits import MESSAGE_BYTES_MAX
from streamer_reference.store.base import RequestQueue, Stored, StoreError

BEHIND_MAX = 10  # progress messages under way to one subscriber, a second's worth
REPOST_PAUSE_S = 0.25  # after a send that failed with all its retries
TELLING_S = 0.1  # no longer than progress messages are apart, so that it delays none
DRAIN_S = 2.0  # how long an outcome, or an attempt that lost, waits for the message under way
TELLING_GONE_S = 2.0  # while the request's own connection is gone


class LostError(Exception):
    """The attempt does not hold the request any more: it stops, and sends nothing more."""


async def post(manager: ConnectionManager, receivers: set[str], data: bytes) -> set[str]:
    """Post until all receivers have it or are gone, and return these; it may take for ever."""
    gone: set[str] = set()
    while receivers:
        each = sorted(receivers)
        results = await asyncio.gather(*(manager.send(receiver, data) for receiver in each))
        answers = list(zip(each, results, strict=True))
        gone |= {receiver for receiver, result in answers if result.outcome is Outcome.GONE}
        receivers = {receiver for receiver, result in answers if not _settled(result)}
        if receivers:
            await asyncio.sleep(REPOST_PAUSE_S)
    return gone


def _settled(result: SendResult) -> bool:
    """Whether posting again is pointless: taken, gone, or refused for what the message is."""
    if isinstance(result.error, CallerError):
        log("error", "a message was refused", reason=type(result.error).__name__)
        return True
    return result.outcome is not Outcome.FAILED


class Outbox:
    """Numbers, stores and posts the messages of one request."""

    def __init__(
        self, stored: Stored, queue: RequestQueue, manager: ConnectionManager, clock: Clock
    ) -> None:
        """`stored` is the request as it was claimed or found."""
        self.request = stored.request
        self._queue = queue
        self._manager = manager
        self._clock = clock
        self._sequence = stored.outbox.sequence
        self._message = stored.outbox.message
        self._subscribers = stored.subscribers
        self._closed = stored.outbox.closed
        self._ended = stored.request.outcome is not None
        self.taken = stored.outbox.taken
        noted = stored.outbox.waiting
        self.waiting = None if noted is None else Update(**json.loads(noted))
        self._telling: dict[str, set[asyncio.Task[SendResult]]] = {}
        self._own_gone = False

    def has_taken(self, sequence: int) -> bool:
        """Whether the last stored message has this number and is known to be taken."""
        return self.taken and self._sequence == sequence

    async def deliver(self) -> None:
        """Post the last stored message until its receivers have it or are gone.

        It may take for ever: callers bound it. A subscriber may miss progress, never the outcome,
        and a slow one delays nobody's progress.
        """
        data = self._message.encode()
        receivers = {self.request.connection_id}
        if self._closed:
            receivers.update(self._subscribers)
        else:
            self._tell_subscribers(data)
        self._own_gone |= self.request.connection_id in await post(self._manager, receivers, data)
        await self._until_told()
        self.taken = True
        if self._closed:
            await self._queue.taken(self.request.key, self._sequence)

    def _tell_subscribers(self, data: bytes) -> None:
        """Start sending progress, in order, to those who are not far behind with it."""
        for subscriber in self._subscribers:
            behind = self._telling.setdefault(subscriber, set())
            if len(behind) < BEHIND_MAX:
                send = asyncio.create_task(self._manager.send(subscriber, data))
                behind.add(send)
                send.add_done_callback(behind.discard)

    async def _until_told(self) -> None:
        """Let subscribers that keep up take it: a worker that died now would leave them a gap."""
        sends = [send for behind in self._telling.values() if len(behind) == 1 for send in behind]
        if sends:
            await asyncio.wait(sends, timeout=TELLING_GONE_S if self._own_gone else TELLING_S)

    async def progress(self, update: Update, now_ms: int) -> None:
        """Take the next number for a progress message; raises `LostError`.

        Once the outcome is recorded nobody holds the request; the number alone is the condition.
        """
        message = self._progress_text(update.percentage, now_ms, update.message, update.metadata)
        if len(message.encode()) > MESSAGE_BYTES_MAX:  # never taken, it would leave a gap
            log("warning", "progress does not fit", request_id=self.request.request_id)
            message = self._progress_text(update.percentage, now_ms, None, {})
        self.taken = False  # until the write has answered, nobody knows what the last message is
        key, sequence, subscribers = self.request.key, self._sequence + 1, None
        if not self._ended:
            subscribers = await self._queue.save_progress(
                key, self.request.attempt, sequence, message, update.percentage, now_ms
            )
        if subscribers is None and self._ended:  # perhaps since that write began
            subscribers = await self._queue.close(key, sequence, message, now_ms, update.percentage)
        self.taken = True  # it was before; now it is known that this is still the last message
        self._stored(message, subscribers, closed=False)

    async def note(self, update: Update) -> None:
        """Keep what waits for its number: readable, and for a takeover; raises `LostError`."""
        if self._ended:
            return
        key, attempt = self.request.key, self.request.attempt
        text = encode(dataclasses.asdict(update))
        noted = await self._queue.note(key, attempt, text, update.percentage)
        if not (noted or self._ended):
            raise LostError

    async def finish(
        self, status: Status, outcome: Mapping[str, Any], message: Any, waiting: Update | None
    ) -> None:
        """Record the outcome of the attempt that holds the request; raises `LostError`.

        The outcome takes its number in the same write when what went before was taken and nothing
        is `waiting`; otherwise `progress` and `close` number the two afterwards.
        """
        now_ms = self._clock.now_ms()
        text = self._outcome_text(message, now_ms) if self.taken and waiting is None else None
        subscribers = await self._queue.finish(
            self.request.key,
            self.request.attempt,
            status,
            encode(outcome),
            None if text is None else (self._sequence + 1, text),
            now_ms,
            None if waiting is None else encode(dataclasses.asdict(waiting)),
        )
        if text is not None:
            self._stored(text, subscribers, closed=True)
        elif subscribers is None:
            raise LostError
        self._ended = True

    async def close(self, message: Any) -> None:
        """Number the outcome of a request that has ended; raises `LostError` when another did."""
        if self._closed:
            return
        now_ms = self._clock.now_ms()
        text = self._outcome_text(message, now_ms)
        subscribers = await self._queue.close(self.request.key, self._sequence + 1, text, now_ms)
        self._stored(text, subscribers, closed=True)

    def _progress_text(
        self, percentage: float, now_ms: int, message: str | None, metadata: Mapping[str, Any]
    ) -> str:
        request_id, sequence = self.request.request_id, self._sequence + 1
        return encode(
            messages.progress(request_id, sequence, now_ms, percentage, message, dict(metadata))
        )

    def _outcome_text(self, outcome: Any, now_ms: int) -> str:
        request_id, sequence = self.request.request_id, self._sequence + 1
        if isinstance(outcome, StreamerError):
            return encode(messages.error(outcome, now_ms, request_id, sequence))
        return encode(messages.complete(request_id, sequence, now_ms, outcome))

    def _stored(self, text: str, subscribers: tuple[str, ...] | None, *, closed: bool) -> None:
        if subscribers is None:
            raise LostError
        self._sequence += 1
        self._message = text
        self._subscribers = subscribers
        self._closed = closed
        self.taken = False


class ProgressReporter:
    """What a handler reports to: never blocks it, coalesces, and sends from a task of its own."""

    def __init__(
        self, outbox: Outbox, floor: float, clock: Clock, last_sent_ms: int | None = None
    ) -> None:
        """`floor` is the percentage that was stored last: a retry never goes below it (PROG-6).

        `last_sent_ms` is the moment of the progress that an earlier attempt sent last (PROG-2).
        """
        self._outbox = outbox
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._coalescing = Coalescing(floor, last_sent_ms, outbox.waiting)
        self._metadata: dict[str, Any] = {}
        self._wake = asyncio.Event()
        self._wake.set()
        self._draining = False
        self._flushing = asyncio.Event()
        self._task = asyncio.create_task(self._pump())

    def progress(self, percentage: float, message: str | None = None) -> None:
        """Report, from any thread; raises `ValueError` or `TypeError` for what cannot be sent."""
        text = None if message is None else str(message)
        encode(text)  # a lone surrogate is the handler's mistake, not the sender's
        update = Update(float(percentage), text, self._metadata)
        self._loop.call_soon_threadsafe(self._report, update)

    def set_metadata(self, key: str, value: Any) -> None:
        """Set metadata for the updates that follow; earlier ones keep what they had (PROG-5).

        The value is copied: what the handler does to it later is in no message. What is no JSON
        raises `ValueError` or `TypeError` here, in the handler.
        """
        self._metadata = {**self._metadata, **json.loads(encode({key: value}))}

    @property
    def waiting(self) -> Update | None:
        """The newest update for which no number is being taken yet."""
        return self._coalescing.waiting

    @property
    def pump(self) -> asyncio.Task[None]:
        """The sending task: it ends by itself after `drain`, or with `LostError`."""
        return self._task

    def drain(self, *, at_once: bool = True) -> None:
        """Send what waits and then end: `at_once` before an outcome, without the interval (PROG-3).

        Before another attempt the interval is kept.
        """
        self._loop.call_soon(self._start_draining, at_once)

    def _start_draining(self, at_once: bool) -> None:
        self._draining = True
        if at_once:
            self._flushing.set()
        self._wake.set()

    def _report(self, update: Update) -> None:
        self._coalescing = self._coalescing.report(update)
        self._wake.set()

    async def _pump(self) -> None:
        if not self._outbox.taken:
            await self._deliver()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (update := self._coalescing.waiting) is not None:
                now_ms = self._clock.now_ms()
                due_in_ms = self._coalescing.due_in_ms(now_ms)
                if due_in_ms and not self._flushing.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(due_in_ms / 1000):
                            await self._flushing.wait()
                    continue
                self._coalescing = self._coalescing.sent(update, now_ms)
                await self._outbox.progress(update, now_ms)
                await self._deliver()
            if self._draining:
                return

    async def _deliver(self) -> None:
        """Deliver, and meanwhile note the newest update once per interval (PROG-4)."""
        delivery = asyncio.create_task(self._outbox.deliver())
        noted = self._outbox.waiting
        try:
            while not (await asyncio.wait({delivery}, timeout=INTERVAL_MS / 1000))[0]:
                if (update := self._coalescing.waiting) is None or update is noted:
                    continue
                try:
                    await self._outbox.note(update)
                    noted = update
                except StoreError as error:
                    log("warning", "progress was not noted", reason=error.reason)
                except LostError:
                    await asyncio.wait({delivery}, timeout=DRAIN_S)  # cut off, it would come twice
                    raise
            delivery.result()
        finally:
            delivery.cancel()
