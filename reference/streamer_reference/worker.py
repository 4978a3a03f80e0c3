"""The second half of a long request's life: claim it, run its handler, record and send the outcome.

One worker is one process. An invocation brings keys; while it runs, the worker also takes waiting
requests into its free slots, so that slots count and not invocations. Its lease covers whatever it
holds and is renewed with one write, however much that is.

The attempt number fences: whoever finds that the request is no longer held by its attempt stops at
that write and sends nothing more, because somebody else is sending now.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

from streamer_reference.core.backoff import Backoff
from streamer_reference.core.states import CLAIMABLE, Status
from streamer_reference.handlers.job import Job
from streamer_reference.handlers.registry import log_failure
from streamer_reference.observability import traces
from streamer_reference.observability.logs import bind_request, log
from streamer_reference.outbox import DRAIN_S, LostError, Outbox, ProgressReporter
from streamer_reference.protocol import messages
from streamer_reference.protocol.codec import decode, encode
from streamer_reference.protocol.errors import HandlerError, RetryableError, StreamerError
from streamer_reference.protocol.errors import ValidationError as InvalidPayloadError
from streamer_reference.protocol.limits import MESSAGE_BYTES_MAX
from streamer_reference.services import Services
from streamer_reference.store.base import Held, Request, Stored, StoreError

FILL_S = 0.05  # how often free slots look for waiting requests
DELIVERY_S = 10.0  # then the sweeper goes on delivering
LETTING_GO_MAX = 20
LETTING_GO_PAUSE_S = 0.5
LOST_MAX = 10  # attempts that no failure and no death ended: the store takes no such outcome
FINISH_S = 7.0  # how long what runs may go on once the process was told to stop
STOP_TAKING_MS = 60_000  # an invocation this near its end takes nothing new
RETRY_BACKOFF = Backoff(first_s=0.5, ceiling_s=30.0, attempts_max=1_000, total_s=float("inf"))


class Worker:
    """Runs long requests, many at a time, for one process."""

    def __init__(self, services: Services, worker_id: str) -> None:
        """`worker_id` names the process for as long as it lives."""
        self._services = services
        self._store = services.store
        self._clock = services.clock
        self._worker_id = worker_id
        self._slots = asyncio.Semaphore(services.settings.slots)
        self._free = services.settings.slots
        self._attended: set[str] = set()  # keys that some task is about to claim, or runs
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._holding: set[asyncio.Task[Any]] = set()  # of a request from its claim on
        self._stopping = asyncio.Event()
        self._tails: set[asyncio.Task[None]] = set()

    async def work(
        self,
        invocation_id: str,
        keys: Iterable[str],
        *,
        alone: bool = False,
        remaining_ms: Callable[[], int] = lambda: 900_000,
    ) -> None:
        """Run these requests, and others that wait while there are slots, until none is left.

        `alone` runs one request and nothing else: its last worker died, and it may be the reason.
        """
        await self._renew(invocation_id)
        keys = dict.fromkeys(keys)
        self._attended.update(keys)
        renewal = asyncio.create_task(self._keep_lease(invocation_id))
        try:
            attending: set[asyncio.Task[Any]] = {
                asyncio.create_task(self._attend(key, alone=alone)) for key in keys
            }
            while True:
                taking = not (alone or self.stopping)
                if taking and remaining_ms() > STOP_TAKING_MS and self._free > 0:
                    waiting = await self._waiting()
                    attending |= {asyncio.create_task(self._attend(key)) for key in waiting}
                    self._attended.update(waiting)
                # A tail waits for a slow client; meanwhile there is room for other requests.
                under_way = attending | self._tails
                if not under_way:
                    break
                done, _ = await asyncio.wait(
                    under_way, timeout=FILL_S, return_when=asyncio.FIRST_COMPLETED
                )
                attending -= done
                for task in done:
                    if not task.cancelled():  # a tail that was cut short
                        task.result()
        finally:
            renewal.cancel()
            self._services.metrics.flush()

    @property
    def stopping(self) -> bool:
        """Whether the process was told to stop: it is of no use for another invocation."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Take nothing new; what still runs after `FINISH_S` is handed back, no worse for it."""
        if not self.stopping:
            self._stopping.set()
            asyncio.get_running_loop().call_later(FINISH_S, self._hand_back_all)

    def _hand_back_all(self) -> None:
        for task in self._holding | self._tails:
            task.cancel()

    async def _renew(self, invocation_id: str) -> None:
        until_ms = self._clock.now_ms() + int(self._services.settings.lease_s * 1000)
        for held in await self._store.renew(self._worker_id, invocation_id, until_ms):
            if held.ended:
                if (task := self._running.get(held.key)) is not None:
                    task.cancel()
            elif held.key not in self._attended:
                # A claim whose answer was lost: in our name, and nobody runs it.
                await self._give_back(held, held.failures)

    async def _keep_lease(self, invocation_id: str) -> None:
        while True:
            await asyncio.sleep(self._services.settings.renewal_s)
            self._services.metrics.flush()
            try:
                await self._renew(invocation_id)
            except StreamerError as error:
                log("warning", "the lease was not renewed", reason=str(error))

    async def _waiting(self) -> list[str]:
        """Requests for the free slots, in any order, so that workers meet seldom."""
        try:
            found = await self._store.waiting(self._clock.now_ms(), self._free)
        except StoreError as error:
            log("warning", "no look for waiting requests", reason=error.reason)
            return []
        waiting = [key for key in found if key not in self._attended]
        self._services.chance.shuffle(waiting)
        return waiting

    async def _attend(self, key: str, *, alone: bool = False) -> None:
        """Claim a request when it is due, and run it; what fails here is the sweeper's."""
        try:
            await self._claim_when_due(key, alone=alone)
        except StreamerError as error:
            log("error", "the store failed a request", key=key, reason=str(error))
        finally:
            self._attended.discard(key)

    async def _claim_when_due(self, key: str, *, alone: bool) -> None:
        while not await self._claim(key, alone=alone):
            stored = await self._store.get(key)
            if stored is None or stored.request.status not in CLAIMABLE:
                return
            wait_ms = stored.request.not_before_ms - self._clock.now_ms()
            if wait_ms <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    await self._stopping.wait()

    async def _claim(self, key: str, *, alone: bool) -> bool:
        """Run the request when it can be had; False when it is to be tried again."""
        async with self._slots:
            if self.stopping:
                return True  # whoever invoked us hands over again what is left
            self._free -= 1
            try:
                now_ms = self._clock.now_ms()
                stored = await self._store.claim(key, self._worker_id, now_ms, alone=alone)
                if stored is None:
                    return False
                bind_request(stored.request)
                with traces.span("worker", stored.request.trace_header):
                    await self._hold(stored)
            finally:
                self._free += 1
        return True

    async def _hold(self, stored: Stored) -> None:
        """Run what was claimed, or hand it back: to another attempt, at once, as no failure."""
        task, request = asyncio.current_task(), stored.request
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._holding.add(task)
        try:
            await self._run(stored)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            handed_back = await self._give_back(request, request.failures)  # or the lease does it
            log("info", "told to stop", attempt=request.attempt, handed_back=handed_back)
        finally:
            self._holding.discard(task)

    async def _run(self, stored: Stored) -> None:
        """One attempt, from the claim to the stored outcome; its delivery goes on in a tail."""
        request = stored.request
        due_ms = max(request.created_at_ms, request.not_before_ms)
        self._services.metrics.add("QueueDelay", self._clock.now_ms() - due_ms)
        outbox = Outbox(stored, self._store, self._services.manager, self._clock)
        last_sent_ms = stored.outbox.stored_at_ms if stored.outbox.sequence else None
        reporter = ProgressReporter(outbox, stored.outbox.percentage, self._clock, last_sent_ms)
        attempt = asyncio.create_task(self._attempt(request, reporter))
        self._running[request.key] = attempt
        try:
            await asyncio.wait({attempt, reporter.pump}, return_when=asyncio.FIRST_COMPLETED)
            retries = attempt.done() and not attempt.cancelled() and attempt.exception()
            reporter.drain(at_once=not isinstance(retries, RetryableError))
            await asyncio.wait({reporter.pump}, timeout=DRAIN_S)
            if reporter.pump.done():
                reporter.pump.result()
            if attempt.cancelled():
                raise LostError
            status, outcome, message = await attempt
            await outbox.finish(status, outcome, message, reporter.waiting)
        except asyncio.CancelledError:
            reporter.pump.cancel()
            raise
        except RetryableError:
            reporter.pump.cancel()
            log("info", "an attempt failed", attempt=request.attempt)
            delay_s = self._jitter_s(request.failures + 1)
            if not await self._retry(outbox, request.failures + 1, delay_s):
                await self._let_go(outbox, request.failures + 1)
        except (LostError, StoreError) as error:
            reporter.pump.cancel()
            log("info", "an attempt lost its request", reason=repr(error))
            await self._let_go(outbox, request.failures)
        else:
            log("info", "ended", status=status, attempt=request.attempt)
            tail = asyncio.create_task(self._deliver(outbox, reporter, message))
            self._tails.add(tail)
            tail.add_done_callback(self._tails.discard)
        finally:
            attempt.cancel()
            self._running.pop(request.key, None)
            latency_ms = self._clock.now_ms() - request.created_at_ms
            self._services.metrics.add("ProcessingLatency", latency_ms)

    async def _attempt(
        self, request: Request, reporter: ProgressReporter
    ) -> tuple[Status, dict[str, Any], Any]:
        """Run the handler: (status, outcome to store, outcome to send); raises `RetryableError`."""
        try:
            result = await self._call(request, reporter)
            outcome, body = await self._fit(request, result)
        except StreamerError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            log_failure(error, request.action, self._services.registry.get(request.action))
            failure = StreamerError("PROCESSING_FAILED")
        else:
            return Status.COMPLETED, outcome, body
        handler = self._services.registry.get(request.action)
        attempts = handler.attempts if handler is not None else 1
        if isinstance(failure, HandlerError) and failure.another_attempt:
            if request.failures + 1 < attempts:
                raise RetryableError(failure.message, failure.details)
            if isinstance(failure, RetryableError):
                failure = StreamerError("PROCESSING_FAILED", failure.message, failure.details)
        failure = messages.sendable(failure)
        return Status.FAILED, {"error": failure.to_json()}, failure

    async def _call(self, request: Request, reporter: ProgressReporter) -> Any:
        handler = self._services.registry.get(request.action)
        if handler is None:
            raise StreamerError("INVALID_ACTION")
        payload = decode(request.payload)
        if bad := handler.validate(payload):
            raise InvalidPayloadError(bad)
        job = Job(
            payload=payload,
            metadata=json.loads(request.metadata),
            user_id=request.user_id,
            tenant_id=request.tenant_id,
            permissions=tuple(json.loads(request.permissions)),
            connection_id=request.connection_id,
            request_id=request.request_id,
            attempt=request.attempt,
            updates=reporter,
            objects=self._services.objects,
            counter=self._services.store,
            clock=self._clock,
        )
        return await self._services.registry.call(handler, job, handler.time_limit_of(payload))

    async def _fit(self, request: Request, result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The outcome to store and the body to send; too large a result becomes an object."""
        text = encode(result).encode()
        if len(text) + len(request.request_id) + messages.ENVELOPE_BYTES <= MESSAGE_BYTES_MAX:
            return {"result": result}, {"result": result}
        objects = self._services.objects
        if objects is None:
            raise StreamerError("RESULT_TOO_LARGE")
        name = result_name(request)
        await objects.put(name, text, "application/json")
        url = objects.presign(name, self._services.settings.result_url_s)
        return {"result_object": name}, {"result_url": url}

    async def _deliver(self, outbox: Outbox, reporter: ProgressReporter, message: Any) -> None:
        """Send a recorded outcome, for a while; what is left is the sweeper's."""
        try:
            async with asyncio.timeout(DELIVERY_S):
                await reporter.pump  # what still waits there is older than the outcome
                await outbox.close(message)
                await outbox.deliver()
        except (TimeoutError, LostError, StreamerError) as error:
            log("warning", "an outcome is not delivered yet", reason=type(error).__name__)
        finally:
            reporter.pump.cancel()

    def _jitter_s(self, attempts: int) -> float:
        return RETRY_BACKOFF.longest_s(attempts) * self._services.chance.random()

    async def _retry(self, outbox: Outbox, failures: int, delay_s: float) -> bool:
        return await self._give_back(outbox.request, failures, delay_s, taken=outbox.taken)

    async def _give_back(
        self, held: Held | Request, failures: int, delay_s: float = 0.0, *, taken: bool = False
    ) -> bool:
        """Leave the request to another attempt; False when that was not stored."""
        now_ms = self._clock.now_ms()
        due_ms = now_ms + int(delay_s * 1000)
        with contextlib.suppress(StoreError):
            return await self._store.retry(
                held.key,
                held.attempt,
                failures=failures,
                not_before_ms=due_ms,
                now_ms=now_ms,
                taken=taken,
            )
        return False

    async def _let_go(self, outbox: Outbox, failures: int) -> None:
        """After losing a request, or the store: leave it so that it goes on.

        While the store fails the lease is not renewed either, so what cannot be left in order here
        is taken back by the sweeper.
        """
        for _ in range(LETTING_GO_MAX):
            with contextlib.suppress(StoreError):
                if await self._let_go_once(outbox, failures):
                    return
            await asyncio.sleep(LETTING_GO_PAUSE_S)

    async def _let_go_once(self, outbox: Outbox, failures: int) -> bool:
        request = outbox.request
        stored = await self._store.get(request.key)
        if stored is None or stored.request.attempt != request.attempt:
            return True
        if stored.request.status is Status.PROCESSING:
            if request.attempt - failures - request.deaths < LOST_MAX:
                # A write whose answer was lost: what was stored is unknown, so begin a new attempt.
                return await self._retry(outbox, failures, self._jitter_s(request.attempt))
            stored = await give_up(stored, self._services, "The outcome could not be stored.")
            if stored is None:
                return True
        taken = outbox.has_taken(stored.outbox.sequence)
        await send_outcome(stored, self._services, taken=taken)
        return True


def result_name(request: Request) -> str:
    """The object of an attempt's result: asking twice stores it once, and no other attempt's."""
    digest = hashlib.sha256(request.key.encode()).hexdigest()
    return f"results/{digest}-{request.attempt}.json"


def outcome_message(outcome: str, services: Services) -> Any:
    """What is sent for a stored outcome: a body for `complete`, or the error."""
    stored = json.loads(outcome)
    if "error" in stored:
        error = stored["error"]
        failure = StreamerError(error["code"], error["message"], error["details"])
        failure.retryable = error["retry"]["retryable"]
        return failure
    if "result_object" in stored and services.objects is not None:
        url = services.objects.presign(stored["result_object"], services.settings.result_url_s)
        return {"result_url": url}
    return decode(outcome)


async def give_up(stored: Stored, services: Services, message: str) -> Stored | None:
    """Record PROCESSING_FAILED for a request in PROCESSING; None when its attempt lost it."""
    bind_request(stored.request)
    failure = StreamerError("PROCESSING_FAILED", message)
    outbox = Outbox(stored, services.store, services.manager, services.clock)
    try:
        await outbox.finish(Status.FAILED, {"error": failure.to_json()}, failure, outbox.waiting)
    except LostError:
        return None
    log("error", "a request is given up", reason=message)
    return await services.store.get(stored.request.key)


async def send_outcome(stored: Stored, services: Services, *, taken: bool = False) -> None:
    """Post what is under way, number the outcome that was recorded, and post it; bounded in time.

    `taken` says that the last message is known to be taken, though the store was not told.

    Raises nothing: what could not be sent stays for the next sweep.
    """
    bind_request(stored.request)
    outbox = Outbox(stored, services.store, services.manager, services.clock)
    try:
        async with asyncio.timeout(DELIVERY_S):
            if not (outbox.taken or taken):
                await outbox.deliver()
            if not stored.outbox.closed and stored.request.outcome is not None:
                if outbox.waiting is not None:
                    await outbox.progress(outbox.waiting, services.clock.now_ms())
                    await outbox.deliver()
                await outbox.close(outcome_message(stored.request.outcome, services))
                await outbox.deliver()
    except (TimeoutError, LostError, StreamerError) as error:
        log("warning", "an outcome is not delivered yet", reason=type(error).__name__)
