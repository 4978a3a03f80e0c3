"""The event source mapping: a stream's records, in batches, to a function, in order per key.

A lane holds the records of its keys and has one batch under way at a time; a batch that fails is
tried again and holds up its lane alone. What the function answers is read as recorded from Lambda
on 2025-11-25: nothing reported is success, valid sequence numbers mean "go on at the lowest",
anything else fails the whole batch. Delivery is at least once.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import logging
import random
import uuid
import zlib
from typing import Any, cast

from streamproof.gateway.clock import Clock, deadline, iso_time, sleep
from streamproof.gateway.description import Api, ChangeRecord, EventSourceMapping, Faults
from streamproof.gateway.errors import FunctionError, ThrottledError
from streamproof.gateway.filter_patterns import matches
from streamproof.gateway.functions import FunctionHost, function_arn
from streamproof.gateway.stream_records import sequence_number, stream_arn, to_event
from streamproof.gateway.tasks import Tasks

READ_MAX = 1000  # GetRecords' bound
BATCH_BYTES_MAX = 6 << 20  # a batch is handed over at 6 MB
RETENTION_S = 86_400.0  # a stream keeps its records for 24 hours
BACKOFF_S, BACKOFF_FACTOR, BACKOFF_S_MAX, BACKOFF_JITTER = 0.5, 1.5, 60.0, 0.5
_LOG = logging.getLogger("streamproof.gateway")


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    record: ChangeRecord
    event: dict[str, Any]

    @property
    def number(self) -> str:
        return sequence_number(self.record.sequence)

    @property
    def bytes(self) -> int:
        return cast(int, self.event["dynamodb"]["SizeBytes"])


@dataclasses.dataclass(frozen=True, slots=True)
class _Outcome:
    """`failed_at` is where to go on, None when all is done."""

    failed_at: int | None = None
    reported: bool = False
    error: str | None = None
    request_id: str = ""


class _Lane:
    def __init__(self, number: int) -> None:
        self.number = number
        self.items: collections.deque[_Item] = collections.deque()
        self.arrived = asyncio.Event()


class MappingRunner:
    """Reads one source and feeds one function; `start` and `stop` bracket its life."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        api: Api,
        functions: FunctionHost,
        clock: Clock,
        faults: Faults | None = None,
    ) -> None:
        """Nothing is read before `start`."""
        self._mapping = mapping
        self._api = api
        self._functions = functions
        self._clock = clock
        self._faults = faults
        self._random = random.Random(mapping.function)  # noqa: S311, jitter is no secret
        self._position = 0
        self._lanes = [_Lane(number) for number in range(mapping.lanes)]
        self._held = 0
        self._held_max = mapping.lanes * mapping.batch_size * 4
        self._wake = asyncio.Event()
        self._tasks = Tasks()
        self._calls = Tasks()

    def start(self) -> None:
        """Begin to read, where the mapping's starting position says."""
        if self._mapping.starting_position == "LATEST":
            self._position = self._mapping.source.latest()
        self._tasks.start(self._poll())
        for lane in self._lanes:
            self._tasks.start(self._run(lane))

    def wake(self) -> None:
        """Look for records at once, not at the next poll."""
        self._wake.set()

    async def stop(self, timeout_s: float) -> None:
        """Hand over nothing more and wait for the invocations that run."""
        await self._tasks.cancel()
        await self._calls.finish(timeout_s)
        await self._calls.cancel()

    async def _poll(self) -> None:
        while True:
            room = min(READ_MAX, self._held_max - self._held)
            records = self._read(room) if room > 0 else []
            for record in records:
                self._take(record)
            if not records:
                timer = self._clock.call_later(self._mapping.poll_s, self._wake.set)
                await self._wake.wait()
                timer.cancel()
                self._wake.clear()
            else:
                await asyncio.sleep(0)  # the lanes' turn, however much there is to read

    def _read(self, limit: int) -> list[ChangeRecord]:
        try:
            return self._mapping.source.read(self._position, limit)
        except Exception:  # noqa: BLE001 - a source that fails is asked again at the next poll
            _LOG.exception("the stream of %s cannot be read", self._mapping.function)
            return []

    def _take(self, record: ChangeRecord) -> None:
        self._position = record.sequence
        if record.event_name == "MODIFY" and record.new_image == record.old_image is not None:
            return  # recorded: a write that changes nothing makes no record
        event = to_event(record, self._api, self._mapping)
        filters = self._mapping.filters
        if filters and not any(matches(pattern, event) for pattern in filters):
            return
        key = json.dumps(record.keys, sort_keys=True).encode()
        lane = self._lanes[zlib.crc32(key) % len(self._lanes)]
        lane.items.append(_Item(record, event))
        lane.arrived.set()
        self._held += 1

    async def _run(self, lane: _Lane) -> None:
        while True:
            while not lane.items:
                lane.arrived.clear()
                await lane.arrived.wait()
            await self._gather(lane)
            batch = self._cut(lane)
            try:
                for part in self._faults.deliveries(batch) if self._faults else [batch]:
                    await self._deliver(lane, part)
            finally:
                self._held -= len(batch)
                self._wake.set()

    async def _gather(self, lane: _Lane) -> None:
        """Wait for a full batch, as long as the window allows."""
        if self._mapping.batching_window_s <= 0:
            return
        try:
            async with deadline(self._clock, self._mapping.batching_window_s):
                while (
                    len(lane.items) < self._mapping.batch_size
                    and sum(item.bytes for item in lane.items) < BATCH_BYTES_MAX
                ):
                    lane.arrived.clear()
                    await lane.arrived.wait()
        except TimeoutError:
            return

    def _cut(self, lane: _Lane) -> list[_Item]:
        batch: list[_Item] = []
        batch_bytes = 0
        while lane.items and len(batch) < self._mapping.batch_size:
            batch_bytes += lane.items[0].bytes
            if batch and batch_bytes > BATCH_BYTES_MAX:
                break
            batch.append(lane.items.popleft())
        return batch

    async def _deliver(self, lane: _Lane, batch: list[_Item]) -> None:
        mapping = self._mapping
        work = [(batch, 0)]  # parts of the batch in order, with the attempts they have had
        while work:
            items, attempts = work.pop(0)
            items = self._without_old(lane, items, attempts)
            if not items:
                continue
            outcome = await self._invoke(items)
            if outcome.failed_at is None:
                continue
            if (
                mapping.bisect
                and len(items) > 1
                and not (outcome.reported and not outcome.failed_at)
            ):
                at = outcome.failed_at if outcome.reported else len(items) // 2
                # A split costs no attempt; what comes before a reported record is done.
                parts = [items[at:]] if outcome.reported else [items[:at], items[at:]]
                work[:0] = [(part, attempts) for part in parts]
                continue
            attempts += 1
            items = items[outcome.failed_at :]
            if 0 <= mapping.retries_max < attempts:
                self._give_up(lane, items, attempts, "RetryAttemptsExhausted", outcome)
                continue
            await self._back_off(attempts)
            work.insert(0, (items, attempts))

    async def _invoke(self, items: list[_Item]) -> _Outcome:
        """Invoke until the function took the batch; a throttle is no attempt."""
        throttled = 0
        while True:
            event = {"Records": [item.event for item in items]}
            request_id = str(uuid.uuid4())
            call = self._calls.start(
                self._functions.invoke(self._mapping.function, event, request_id=request_id)
            )
            try:
                # An invocation that runs is let finish when the mapping stops.
                answer = await asyncio.shield(call)
            except ThrottledError:
                throttled += 1
                await self._back_off(throttled)
                continue
            except FunctionError:
                return _Outcome(0, error="Unhandled", request_id=request_id)
            if not self._mapping.report_item_failures:
                return _Outcome()
            return self._read_report(answer, items, request_id)

    def _read_report(self, answer: Any, items: list[_Item], request_id: str) -> _Outcome:
        failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
        if not failures:
            return _Outcome()
        whole = _Outcome(0, request_id=request_id)
        if not isinstance(failures, list):
            return whole
        places = {item.number: place for place, item in enumerate(items)}
        lowest = len(items)
        for failure in failures:
            number = failure.get("itemIdentifier") if isinstance(failure, dict) else None
            if not isinstance(number, str) or number not in places:
                return whole
            lowest = min(lowest, places[number])
        return _Outcome(lowest, reported=True, request_id=request_id)

    async def _back_off(self, attempts: int) -> None:
        pause_s = min(BACKOFF_S_MAX, BACKOFF_S * BACKOFF_FACTOR ** min(attempts - 1, 20))
        await sleep(self._clock, pause_s * (1 + BACKOFF_JITTER * (self._random.random() * 2 - 1)))

    def _without_old(self, lane: _Lane, items: list[_Item], attempts: int) -> list[_Item]:
        own_s = self._mapping.record_age_max_s
        limit_s = min(RETENTION_S, own_s) if own_s >= 0 else RETENTION_S
        oldest_s = self._clock.time_s() - limit_s
        old = [item for item in items if item.record.created_at_s < oldest_s]
        if old:
            self._give_up(lane, old, attempts, "RecordAgeExceeded", _Outcome())
        return [item for item in items if item.record.created_at_s >= oldest_s]

    def _give_up(
        self, lane: _Lane, items: list[_Item], attempts: int, condition: str, outcome: _Outcome
    ) -> None:
        name = self._mapping.function
        _LOG.error("%d records for %s given up: %s", len(items), name, condition)
        if self._mapping.on_failure is None:
            return
        document = {
            "requestContext": {
                "requestId": outcome.request_id or str(uuid.uuid4()),
                "functionArn": function_arn(self._api, name),
                "condition": condition,
                "approximateInvokeCount": attempts,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": outcome.error,
            },
            "version": "1.0",
            "timestamp": iso_time(self._clock.time_s()),
            "DDBStreamBatchInfo": {
                "shardId": f"shardId-{lane.number:020d}-00000000",
                "startSequenceNumber": items[0].number,
                "endSequenceNumber": items[-1].number,
                "approximateArrivalOfFirstRecord": iso_time(items[0].record.created_at_s),
                "approximateArrivalOfLastRecord": iso_time(items[-1].record.created_at_s),
                "batchSize": len(items),
                "streamArn": stream_arn(self._api, self._mapping),
            },
            "payload": {"Records": [item.event for item in items]},
        }
        try:
            self._mapping.on_failure(document)
        except Exception:  # noqa: BLE001 - it is theirs, and the lane goes on as Lambda's does
            _LOG.exception("the on_failure of the mapping to %s raised", name)
