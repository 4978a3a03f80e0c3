"""Section 3 of the contract, broken: ASYNC, OWN, CANCEL."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

from streamer_reference import actions
from streamer_reference.core.states import Event, Status
from streamer_reference.protocol import messages
from streamer_reference.protocol.errors import RetryableError, StreamerError
from streamer_reference.store import base, statements
from streamproof.targets.mutants.base import Patch, SeamError, execute, mutant

STATEMENTS = "streamer_reference.store.statements"
STORE = "streamer_reference.store.sqlite:SqliteStore"
WORKER = "streamer_reference.worker"
OUTBOX = "streamer_reference.outbox:Outbox"
ACTIONS = "streamer_reference.actions"


@mutant("ASYNC-1")
def acknowledged_although_not_stored(patch: Patch) -> None:
    """A request is acknowledged although storing it failed."""

    @patch.around("streamer_reference.router:_queue")
    async def queue(
        original: Any, connection: Any, request: Any, request_id: str, services: Any
    ) -> None:
        try:
            await original(connection, request, request_id, services)
        except base.StoreError:
            message = messages.acknowledgment(request_id, services.clock.now_ms())
            data = json.dumps(message).encode()
            await services.manager.send(connection.connection_id, data)


@mutant("ASYNC-1")
def acknowledged_before_stored(patch: Patch) -> None:
    """A request is acknowledged, and stored afterwards."""

    @patch.around(f"{STORE}.accept")
    async def accept(original: Any, *args: Any) -> None:
        asyncio.get_running_loop().call_later(0.5, _start, original, *args)


def _start(function: Callable[..., Any], *args: Any) -> None:
    _TASKS.add(asyncio.ensure_future(function(*args)))


_TASKS: set[asyncio.Future[Any]] = set()  # what nobody waits for


class _Splitting:
    """A worker's store whose change of status deletes a request and creates it again."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, key: str, *args: Any, **options: Any) -> Any:
        await self._store.put_in(await self._store.take_out(key))
        return await self._store.claim(key, *args, **options)


@mutant("ASYNC-1")
def status_by_delete_and_create(patch: Patch) -> None:
    """A change of status deletes the request and creates it again: a crash between loses it."""

    async def take_out(store: Any, key: str) -> Any:
        def take(db: Any) -> Any:
            row = db.execute("SELECT * FROM requests WHERE key = ?", (key,)).fetchone()
            db.execute("DELETE FROM requests WHERE key = ?", (key,))
            return row

        return await store.writer.write(take)

    async def put_in(store: Any, row: Any) -> None:
        if row is not None:
            places = ", ".join("?" * len(row))
            await execute(store, f"INSERT INTO requests VALUES ({places})", *row)  # noqa: S608 - no text of others

    patch.add(f"{STORE}.take_out", take_out)
    patch.add(f"{STORE}.put_in", put_in)

    @patch.around(f"{WORKER}:Worker.__init__")
    def init(original: Any, worker: Any, *args: Any) -> None:
        original(worker, *args)
        worker._store = _Splitting(worker._store)


@mutant("ASYNC-2")
def enqueued_then_acknowledged(patch: Patch) -> None:
    """A request is handed over before its acknowledgment was posted."""

    @patch.around(f"{STORE}.accept")
    async def accept(original: Any, store: Any, request: Any, *args: Any) -> None:
        await original(store, dataclasses.replace(request, status=Status.PENDING), *args)
        await execute(store, "UPDATE outbox SET taken = 1 WHERE key = ?", request.key)

    @patch.around(f"{STORE}.acknowledged")
    async def acknowledged(_original: Any, *_args: Any) -> bool:
        return True


@mutant("ASYNC-2")
def progress_after_the_outcome(patch: Patch) -> None:
    """A last progress message follows the outcome."""

    @patch.around(f"{WORKER}:Worker._deliver")
    async def deliver(original: Any, worker: Any, outbox: Any, *args: Any) -> None:
        await original(worker, outbox, *args)
        late = messages.progress(
            outbox.request.request_id, outbox._sequence + 1, worker._clock.now_ms(), 100.0, None, {}
        )
        await outbox._manager.send(outbox.request.connection_id, json.dumps(late).encode())


@mutant("ASYNC-2", "ASYNC-5")
def error_for_each_retry(patch: Patch) -> None:
    """Each attempt that fails sends an `error`, and the last one too."""

    @patch.around(f"{WORKER}:Worker._retry")
    async def retry(original: Any, worker: Any, outbox: Any, *args: Any) -> Any:
        failure = StreamerError("PROCESSING_FAILED")
        message = messages.error(
            failure, worker._clock.now_ms(), outbox.request.request_id, outbox._sequence + 1
        )
        await outbox._manager.send(outbox.request.connection_id, json.dumps(message).encode())
        return await original(worker, outbox, *args)


def _statement(patch: Patch, event: Event, old: str, new: str) -> None:
    """Rewrite a piece of the write that changes a status."""
    moves = dict(statements._MOVES)
    if old not in moves[event]:
        raise SeamError(f"the write of {event} does not hold {old!r}")
    moves[event] = moves[event].replace(old, new)
    patch.value(f"{STATEMENTS}:_MOVES", moves)


@mutant("ASYNC-2")
def subscriber_misses_the_outcome(patch: Patch) -> None:
    """A connection that subscribed gets the progress and not the outcome."""

    @patch.around(f"{OUTBOX}.deliver")
    async def deliver(original: Any, outbox: Any) -> None:
        if outbox._closed:
            outbox._subscribers = ()
        await original(outbox)


@mutant("ASYNC-3")
def claim_without_a_condition(patch: Patch) -> None:
    """A request that another worker holds can be claimed."""
    _statement(patch, Event.CLAIMED, "status IN ('PENDING', 'RETRYING')", "outcome IS NULL")


@mutant("ASYNC-3")
def ended_requests_run_again(patch: Patch) -> None:
    """A record that comes again runs an ended request again."""
    _statement(patch, Event.CLAIMED, "status IN ('PENDING', 'RETRYING')", "status <> 'ACCEPTED'")
    patch.value("streamer_reference.lambdas.processor:CLAIMABLE", frozenset(Status))


@mutant("ASYNC-3")
def fencing_token_unread(patch: Patch) -> None:
    """An attempt that lost its request writes as if it held it."""
    _statement(patch, Event.RETRIED, " AND attempt = :attempt", "")

    @patch.around(f"{STATEMENTS}:_is_held")
    def is_held(_original: Any, db: Any, key: str, _attempt: int) -> bool:
        statement = "SELECT 1 FROM requests WHERE key = ? AND outcome IS NULL"
        return db.execute(statement, (key,)).fetchone() is not None


@mutant("ASYNC-3")
def lost_attempt_sends_on(patch: Patch) -> None:
    """An attempt that lost its request sends what it could not store."""

    @patch.around(f"{OUTBOX}._stored")
    def stored(original: Any, outbox: Any, text: str, subscribers: Any, **options: Any) -> None:
        original(outbox, text, subscribers or (), **options)


@mutant("ASYNC-3")
def outcome_overwritten(patch: Patch) -> None:
    """Ending a request that has ended records a second outcome."""
    for event in (Event.COMPLETED, Event.FAILED, Event.CANCELLED):
        _statement(patch, event, " AND status IN", " AND '' NOT IN")


def _keys(patch: Patch, key: Callable[[str, str, str], str]) -> None:
    @patch.around("streamer_reference.store.base:request_key")
    def request_key(_original: Any, tenant_id: str, user_id: str, request_id: str) -> str:
        return key(tenant_id, user_id, request_id)


@mutant("ASYNC-4")
def tenant_missing_from_the_key(patch: Patch) -> None:
    """Equal ids of users of the same name in two tenants are one request."""
    _keys(patch, lambda _tenant_id, user_id, request_id: json.dumps([user_id, request_id]))


@mutant("ASYNC-4", "OWN-1")
def user_missing_from_the_key(patch: Patch) -> None:
    """Equal ids of two users of a tenant are one request."""
    _keys(patch, lambda tenant_id, _user_id, request_id: json.dumps([tenant_id, request_id]))


@mutant("ASYNC-4")
def key_with_a_plain_separator(patch: Patch) -> None:
    """Tenant, user and id are joined by a separator that they may hold themselves."""
    _keys(patch, lambda *parts: ":".join(parts))


@mutant("ASYNC-4")
def reused_id_overwrites(patch: Patch) -> None:
    """A second request with the same id takes the place of the first."""

    @patch.around(f"{STORE}.accept")
    async def accept(original: Any, store: Any, request: Any, *args: Any) -> None:
        for table in ("requests", "outbox", "subscriptions"):
            await execute(store, f"DELETE FROM {table} WHERE key = ?", request.key)  # noqa: S608 - our names
        await original(store, request, *args)


@mutant("ASYNC-4")
def ended_ids_come_again(patch: Patch) -> None:
    """The id of a request that has ended is taken for a new one."""

    @patch.around(f"{STORE}.accept")
    async def accept(original: Any, store: Any, request: Any, *args: Any) -> None:
        statement = "DELETE FROM requests WHERE key = ? AND outcome IS NOT NULL"
        await execute(store, statement, request.key)
        statement = "DELETE FROM outbox WHERE key NOT IN (SELECT key FROM requests)"
        await execute(store, statement)
        await original(store, request, *args)


@mutant("ASYNC-4")
def duplicate_without_a_status(patch: Patch) -> None:
    """DUPLICATE_REQUEST does not say how the request stands."""

    @patch.around("streamer_reference.store.base:DuplicateRequestError.__init__")
    def init(original: Any, self: Any, status: Status) -> None:
        original(self, status)
        self.details = {}


@mutant("ASYNC-4")
def short_ids_are_remembered(patch: Patch) -> None:
    """A short request uses its id up."""
    seen: set[tuple[str, str]] = set()

    @patch.around("streamer_reference.router:_answer")
    async def answer(
        original: Any, connection: Any, request: Any, request_id: str, *args: Any
    ) -> None:
        services = args[-1]
        if (connection.user_id, request_id) in seen:
            failure = StreamerError("DUPLICATE_REQUEST")
            message = messages.error(failure, services.clock.now_ms(), request_id, 0)
            await services.manager.send(connection.connection_id, json.dumps(message).encode())
            return
        seen.add((connection.user_id, request_id))
        await original(connection, request, request_id, *args)


@mutant("ASYNC-5")
def unknown_action_says_nothing(patch: Patch) -> None:
    """A worker that does not know the action lets the request lie."""
    _silent(patch, "INVALID_ACTION")


@mutant("ASYNC-5")
def invalid_payload_says_nothing(patch: Patch) -> None:
    """A worker that finds the payload invalid lets the request lie."""
    _silent(patch, "VALIDATION_ERROR")


def _silent(patch: Patch, code: str) -> None:
    @patch.around(f"{WORKER}:Worker._call")
    async def call(original: Any, *args: Any) -> Any:
        try:
            return await original(*args)
        except StreamerError as error:
            if error.code == code:
                await asyncio.get_running_loop().create_future()
            raise


@mutant("ASYNC-5")
def retryability_from_the_text(patch: Patch) -> None:
    """An error is tried again when its text speaks of a time limit or a network."""

    @patch.around(f"{WORKER}:Worker._call")
    async def call(original: Any, *args: Any) -> Any:
        try:
            return await original(*args)
        except StreamerError:
            raise
        except Exception as error:
            if any(word in str(error) for word in ("timeout", "timed out", "temporar", "network")):
                raise RetryableError(str(error)) from error
            raise


@mutant("ASYNC-5")
def attempts_without_end(patch: Patch) -> None:
    """A retryable error is tried again for ever."""
    _handlers(patch, "attempts", 1_000_000)


def _handlers(patch: Patch, field: str, value: Any) -> None:
    @patch.around("streamer_reference.handlers.registry:Registry.get")
    def get(original: Any, *args: Any) -> Any:
        handler = original(*args)
        return handler and dataclasses.replace(handler, **{field: value})


@mutant("ASYNC-5")
def two_attempts_by_default(patch: Patch) -> None:
    """A handler that says nothing about it has two attempts."""
    patch.default("streamer_reference.handlers.registry:Handler", attempts=2)


@mutant("ASYNC-5")
def time_limit_unread(patch: Patch) -> None:
    """A handler may take as long as it likes."""
    _handlers(patch, "time_limit_s", lambda _: math.inf)


@mutant("ASYNC-5")
def retries_without_a_pause(patch: Patch) -> None:
    """A retryable error is tried again at once."""

    @patch.around(f"{WORKER}:Worker._retry")
    async def retry(original: Any, worker: Any, outbox: Any, failures: int, _delay_s: float) -> Any:
        return await original(worker, outbox, failures, 0.0)


@mutant("ASYNC-6")
def one_after_the_other(patch: Patch) -> None:
    """A worker runs one request at a time."""
    patch.default("streamer_reference.settings:Settings", slots=1)


@mutant("ASYNC-6")
def invocations_count_not_slots(patch: Patch) -> None:
    """A running worker takes nothing into its free slots."""

    @patch.around(f"{STORE}.waiting")
    async def waiting(_original: Any, *_args: Any) -> list[str]:
        return []


@mutant("ASYNC-6")
def processor_waits(patch: Patch) -> None:
    """The function on the stream waits for the work it hands over."""

    @patch.around("streamer_reference.lambdas.processor:processor")
    async def processor(original: Any, event: Any, services: Any, *args: Any) -> Any:
        answer = await original(event, services, *args)
        keys = [record["dynamodb"]["Keys"]["key"]["S"] for record in event["Records"]]
        for key in keys:
            while (found := await services.store.get(key)) and not found.request.outcome:  # noqa: ASYNC110 - wrong on purpose
                await asyncio.sleep(0.05)
        return answer


def _around_action(patch: Patch, name: str, replacement: Callable[..., Any]) -> None:
    """Change a built-in action: the replacement gets it and its arguments."""
    action = actions.BUILT_IN[name]

    async def call(*args: Any) -> Any:
        return await replacement(action, *args)

    patch.value(f"{ACTIONS}:BUILT_IN", {**actions.BUILT_IN, name: call})


@mutant("OWN-1")
def anothers_is_forbidden(patch: Patch) -> None:
    """Another user's request is answered FORBIDDEN, which says that it is there."""

    async def forbid(action: Any, connection: Any, payload: Any, services: Any) -> Any:
        try:
            return await action(connection, payload, services)
        except StreamerError:
            changes = services.store.changes(0, 1000)
            if any(json.loads(key)[2] == payload["request_id"] for _, _, key, *_ in changes):
                raise StreamerError("FORBIDDEN") from None
            raise

    for name in ("status", "cancel", "subscribe"):
        _around_action(patch, name, forbid)


@mutant("CANCEL-1")
def cancel_says_so_alone(patch: Patch) -> None:
    """A cancelled request is answered as cancelled and runs on."""

    async def cancel(_action: Any, _connection: Any, payload: Any, _services: Any) -> Any:
        return {"request_id": payload["request_id"], "status": "CANCELLED"}, None

    _around_action(patch, "cancel", cancel)


@mutant("CANCEL-1")
def ended_is_cancelled_again(patch: Patch) -> None:
    """Cancelling what has ended is answered as if it had worked."""

    async def cancel(action: Any, connection: Any, payload: Any, services: Any) -> Any:
        try:
            return await action(connection, payload, services)
        except StreamerError as error:
            if error.code != "ALREADY_ENDED":
                raise
            return {"request_id": payload["request_id"], "status": "CANCELLED"}, None

    _around_action(patch, "cancel", cancel)


@mutant("CANCEL-1")
def cancelled_before_what_is_under_way(patch: Patch) -> None:
    """The canceller sends the outcome at once, though a worker has progress under way."""

    async def cancel(action: Any, connection: Any, payload: Any, services: Any) -> Any:
        data, after = await action(connection, payload, services)

        async def send() -> None:
            key = base.request_key(connection.tenant_id, connection.user_id, payload["request_id"])
            stored = await services.store.get(key)
            if stored is not None and not stored.outbox.closed:
                failure = StreamerError("CANCELLED")
                message = messages.error(
                    failure,
                    services.clock.now_ms(),
                    payload["request_id"],
                    stored.outbox.sequence + 1,
                )
                receiver = stored.request.connection_id
                await services.manager.send(receiver, json.dumps(message).encode())

        return data, after or send

    _around_action(patch, "cancel", cancel)


@mutant("CANCEL-1")
def cancelled_without_an_outcome(patch: Patch) -> None:
    """Cancelling what nobody holds sends no outcome."""

    async def cancel(action: Any, *args: Any) -> Any:
        data, _after = await action(*args)
        return data, None

    _around_action(patch, "cancel", cancel)
