"""Section 2 of the contract, broken: messages, routes, answers, errors."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import math
import unicodedata
from collections.abc import Callable
from typing import Any

from streamer_reference.handlers.job import Job
from streamer_reference.protocol import errors
from streamer_reference.protocol.errors import StreamerError, ValidationError
from streamproof.targets.mutants.base import Patch, WrongError, mutant

CODEC = "streamer_reference.protocol.codec"
MESSAGES = "streamer_reference.protocol.messages"
ROUTER = "streamer_reference.router"
REGISTRY = "streamer_reference.handlers.registry:Registry"
HANDLER = "streamer_reference.handlers.registry:Handler"
OUTBOX = "streamer_reference.outbox:Outbox"


def _reading(patch: Patch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a message before it is looked at."""

    @patch.around(f"{MESSAGES}:parse_request")
    def parse_request(original: Any, text: str) -> Any:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return original(text)
        return original(json.dumps(change(message)) if isinstance(message, dict) else text)


@mutant("MSG-1")
def bad_id_replaced(patch: Patch) -> None:
    """A malformed id is silently replaced by one of the server's."""

    def change(message: dict[str, Any]) -> dict[str, Any]:
        request_id = message.get("id")
        good = isinstance(request_id, str) and request_id.isascii() and 0 < len(request_id) < 129
        return message if good else {k: v for k, v in message.items() if k != "id"}

    _reading(patch, change)


@mutant("MSG-1")
def ids_from_a_clock(patch: Patch) -> None:
    """The ids that the server makes are moments: two in one millisecond are equal."""

    def new_id(_services: Any) -> str:
        return f"r-{int(asyncio.get_running_loop().time() * 1000)}"

    patch.value("streamer_reference.services:Services.new_id", new_id)


@mutant("MSG-1")
def null_is_absent(patch: Patch) -> None:
    """A member that is null counts as absent."""
    _reading(patch, lambda message: {k: v for k, v in message.items() if v is not None})


@mutant("MSG-1")
def unknown_members_refused(patch: Patch) -> None:
    """A member that the contract does not name is an error."""
    known = {"id", "action", "payload", "metadata", "type"}
    _reading(patch, lambda message: message if known >= set(message) else {"action": None})


@mutant("MSG-1")
def metadata_unbounded(patch: Patch) -> None:
    """Metadata may have any number of entries of any length."""

    @patch.around(f"{MESSAGES}:_bad_metadata")
    def bad_metadata(_original: Any, _metadata: Any) -> list[Any]:
        return []


@mutant("MSG-2")
def json_as_python_reads_it(patch: Patch) -> None:
    """NaN, repeated members and lone surrogates pass."""

    @patch.around(f"{CODEC}:decode")
    def decode(original: Any, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return original(text)


@mutant("MSG-2")
def nesting_unbounded(patch: Patch) -> None:
    """What is nested deeper than 128 passes."""
    patch.value(f"{CODEC}:NESTING_MAX", 100_000)


@mutant("MSG-2")
def first_bad_field_alone(patch: Patch) -> None:
    """Of several bad fields only the first is named."""

    @patch.around("streamer_reference.protocol.errors:ValidationError.__init__")
    def init(original: Any, self: Any, fields: list[Any], *args: Any) -> None:
        original(self, fields[:1], *args)


@mutant("MSG-2")
def validation_before_permission(patch: Patch) -> None:
    """A payload is judged before the permission is asked for."""

    @patch.around(f"{ROUTER}:_decide")
    def decide(original: Any, connection: Any, request: Any, services: Any) -> Any:
        handler = services.registry.get(request.action)
        if handler is not None and (bad := handler.validate(request.payload)):
            raise ValidationError(bad)
        return original(connection, request, services)


@mutant("MSG-2")
def unreadable_ends_the_connection(patch: Patch) -> None:
    """What is not JSON ends the connection."""

    @patch.around(f"{ROUTER}:route")
    async def route(original: Any, connection_id: str, text: str, services: Any) -> None:
        await original(connection_id, text, services)
        if not text.startswith("{"):
            await services.client.delete_connection(connection_id)


_BUILDERS = ("acknowledgment", "response", "progress", "complete", "error", "broadcast")


def _writing(
    patch: Patch, change: Callable[[dict[str, Any]], dict[str, Any]], *builders: str
) -> None:
    """Change server messages as they are built."""
    for builder in builders or _BUILDERS:

        @patch.around(f"{MESSAGES}:{builder}")
        def build(original: Any, *args: Any) -> dict[str, Any]:
            return change(original(*args))


@mutant("MSG-3")
def timestamp_in_seconds(patch: Patch) -> None:
    """Timestamps are seconds."""
    _writing(patch, lambda message: {**message, "timestamp": message["timestamp"] / 1000})


@mutant("MSG-3")
def error_without_request_id(patch: Patch) -> None:
    """An error does not say which request it is of."""
    _writing(patch, lambda m: {k: v for k, v in m.items() if k != "request_id"}, "error")


@mutant("MSG-4")
def duplicate_is_numbered(patch: Patch) -> None:
    """DUPLICATE_REQUEST carries a number, as if it were a message of the request."""
    _writing(patch, lambda message: {**message, "sequence": 0}, "error")


@mutant("MSG-4")
def posted_before_it_is_stored(patch: Patch) -> None:
    """A message is posted first and stored afterwards."""

    @patch.around(f"{OUTBOX}.progress")
    async def progress(original: Any, outbox: Any, update: Any, now_ms: int) -> None:
        text = outbox._progress_text(update.percentage, now_ms, update.message, update.metadata)
        await outbox._manager.send(outbox.request.connection_id, text.encode())
        await original(outbox, update, now_ms)


@mutant("MSG-4")
def posted_and_never_stored(patch: Patch) -> None:
    """Progress takes its number without being stored."""
    _unconditional_numbers(patch)

    @patch.around("streamer_reference.store.sqlite:SqliteStore.save_progress")
    async def save_progress(
        _original: Any, store: Any, key: str, attempt: int, *_args: Any
    ) -> tuple[str, ...] | None:
        found = await store.get(key)
        held = found is not None and found.request.attempt == attempt
        return found.subscribers if held else None


@mutant("MSG-4")
def next_before_the_last_is_taken(patch: Patch) -> None:
    """The next number is taken while the message before it is still under way."""
    tasks = set()

    @patch.around(f"{OUTBOX}.deliver")
    async def deliver(original: Any, outbox: Any) -> None:
        if outbox._closed:
            await original(outbox)
            return
        data = outbox._message.encode()
        tasks.add(asyncio.create_task(outbox._manager.send(outbox.request.connection_id, data)))
        outbox.taken = True


@mutant("MSG-4", "ASYNC-3")
def takeover_begins_at_one(patch: Patch) -> None:
    """An attempt that takes a request over counts from one again."""
    _unconditional_numbers(patch)

    @patch.around(f"{OUTBOX}.__init__")
    def init(original: Any, outbox: Any, stored: Any, *args: Any) -> None:
        original(outbox, stored, *args)
        if stored.request.attempt > 1:
            outbox._sequence = 0


def _unconditional_numbers(patch: Patch) -> None:
    @patch.around("streamer_reference.store.statements:close")
    def close(original: Any, db: Any, key: str, sequence: int, *args: Any) -> Any:
        statement = "UPDATE outbox SET sequence = ? WHERE key = ? AND NOT closed"
        db.execute(statement, (sequence - 1, key))
        return original(db, key, sequence, *args)


@mutant("MSG-4")
def repeat_with_a_new_time(patch: Patch) -> None:
    """A message that is posted again gets a new timestamp."""

    @patch.around(f"{OUTBOX}.deliver")
    async def deliver(original: Any, outbox: Any) -> None:
        message = {**json.loads(outbox._message), "timestamp": outbox._clock.now_ms()}
        outbox._message = json.dumps(message)
        await original(outbox)


def _each_value(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _each_value(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_each_value(inner, change) for inner in value]
    return change(value)


def _decoding(patch: Patch, change: Callable[[Any], Any]) -> None:
    @patch.around(f"{CODEC}:decode")
    def decode(original: Any, text: str) -> Any:
        return _each_value(original(text), change)


@mutant("MSG-5")
def integers_through_doubles(patch: Patch) -> None:
    """Large integers are read as doubles."""

    def change(value: Any) -> Any:
        large = isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53
        return int(float(value)) if large else value

    _decoding(patch, change)


@mutant("MSG-5")
def small_numbers_rounded(patch: Patch) -> None:
    """Numbers are rounded to six decimals."""
    _decoding(patch, lambda value: round(value, 6) if isinstance(value, float) else value)


@mutant("MSG-5")
def text_normalised(patch: Patch) -> None:
    """Text is brought to its composed form."""
    _decoding(patch, lambda v: unicodedata.normalize("NFC", v) if isinstance(v, str) else v)


@mutant("MSG-5")
def success_in_the_handlers_map(patch: Patch) -> None:
    """The member `success` is written into the handler's own result."""

    def change(message: dict[str, Any]) -> dict[str, Any]:
        data = message.get("data")
        return {**message, "data": {**data, "success": True}} if isinstance(data, dict) else message

    _writing(patch, change, "response")


@mutant("MSG-5")
def metadata_in_the_payload(patch: Patch) -> None:
    """The metadata is written into the payload that a handler gets."""

    def job(**fields: Any) -> Job:
        payload = {**fields["payload"], "_metadata": dict(fields["metadata"])}
        return Job(**{**fields, "payload": payload})

    patch.value(f"{ROUTER}:Job", job)


@mutant("ROUTE-1")
def unknown_action_is_our_fault(patch: Patch) -> None:
    """An unknown action answers INTERNAL_ERROR."""

    @patch.around(f"{ROUTER}:_decide")
    def decide(original: Any, *args: Any) -> Any:
        try:
            return original(*args)
        except StreamerError as error:
            if error.code == "INVALID_ACTION":
                raise StreamerError("INTERNAL_ERROR") from None
            raise


@mutant("ROUTE-2")
def queued_before_validation(patch: Patch) -> None:
    """A long request is queued before its payload was validated."""

    @patch.around(f"{ROUTER}:_decide")
    def decide(original: Any, connection: Any, request: Any, services: Any) -> Any:
        try:
            return original(connection, request, services)
        except ValidationError:
            handler = services.registry.get(request.action)
            if handler is None:
                raise
            return handler, None


@mutant("ROUTE-3")
def threshold_unread(patch: Patch) -> None:
    """The threshold between answering and queueing is always 5 seconds, whatever is configured."""

    @patch.around(f"{HANDLER}.is_queued")
    def is_queued(original: Any, handler: Any, *_args: Any, **_options: Any) -> Any:
        return original(handler, 5.0)


@mutant("ROUTE-3")
def everything_is_queued(patch: Patch) -> None:
    """Short requests are queued too."""

    @patch.around(f"{HANDLER}.is_queued")
    def is_queued(_original: Any, *_args: Any, **_options: Any) -> bool:
        return True


def _middlewares(patch: Patch, change: Callable[[Any, Any], Any]) -> None:
    """Run handlers behind other middlewares than were registered."""

    @patch.around(f"{REGISTRY}.call")
    async def call(original: Any, registry: Any, handler: Any, *args: Any) -> Any:
        other = copy.copy(registry)
        other.middlewares = change(handler, registry.middlewares)
        return await original(other, handler, *args)


@mutant("ROUTE-4")
def middleware_innermost_first(patch: Patch) -> None:
    """The middleware that was registered first is the innermost."""
    _middlewares(patch, lambda _handler, registered: registered[::-1])


@mutant("ROUTE-4")
def middleware_for_short_ones_alone(patch: Patch) -> None:
    """Long requests run without the middleware."""
    _middlewares(patch, lambda handler, all_: () if handler.is_queued(5.0) else all_)


@mutant("ROUTE-5")
def second_handler_wins(patch: Patch) -> None:
    """A second handler for an action takes the first one's place."""

    @patch.around(f"{REGISTRY}.add")
    def add(original: Any, registry: Any, *handlers: Any) -> None:
        for handler in handlers:
            registry._handlers.pop(handler.action, None)
        original(registry, *handlers)


@mutant("ROUTE-5")
def broken_file_takes_all_down(patch: Patch) -> None:
    """A file of handlers that cannot be loaded ends the service."""

    @patch.around(f"{REGISTRY}.load_file")
    def load_file(original: Any, *args: Any) -> Any:
        failure = original(*args)
        if failure is not None:
            raise WrongError(str(failure))
        return failure


@mutant("ROUTE-5")
def broken_file_unnamed(patch: Patch) -> None:
    """A file of handlers that cannot be loaded is passed over in silence."""

    @patch.around(f"{REGISTRY}.load_file")
    def load_file(original: Any, *args: Any) -> None:
        original(*args)


@mutant("SYNC-1")
def answered_twice(patch: Patch) -> None:
    """A short request is answered a second time."""

    @patch.around(f"{ROUTER}:_answer")
    async def answer(original: Any, *args: Any) -> None:
        await original(*args)
        await original(*args)


@mutant("SYNC-1")
def failure_unanswered(patch: Patch) -> None:
    """A short request that fails gets no answer."""

    @patch.around(f"{ROUTER}:_refuse")
    async def refuse(_original: Any, *_args: Any) -> None:
        return


@mutant("SYNC-2", "ERR-1")
def exception_text_sent(patch: Patch) -> None:
    """A handler's exception is shown with its class and text."""

    @patch.around(f"{ROUTER}:_run")
    async def run(original: Any, *args: Any) -> Any:
        try:
            return await original(*args)
        except StreamerError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the handler raised
            raise StreamerError("INTERNAL_ERROR", f"{type(error).__name__}: {error}") from None


@mutant("SYNC-2")
def typed_error_flattened(patch: Patch) -> None:
    """A handler's own error loses its code, message and details."""

    @patch.around(f"{ROUTER}:_run")
    async def run(original: Any, *args: Any) -> Any:
        try:
            return await original(*args)
        except StreamerError:
            raise StreamerError("INTERNAL_ERROR") from None


@mutant("SYNC-3")
def short_request_without_end(patch: Patch) -> None:
    """A short request may take as long as its handler's own limit."""
    patch.default("streamer_reference.settings:Settings", short_limit_s=math.inf)


@mutant("SYNC-3")
def short_request_of_a_minute(patch: Patch) -> None:
    """A short request may take a minute, longer than the gateway waits."""
    patch.default("streamer_reference.settings:Settings", short_limit_s=60.0)


@mutant("SYNC-3")
def built_in_without_end(patch: Patch) -> None:
    """A built-in action waits for the store for ever."""

    @patch.around(f"{ROUTER}:_run_built_in")
    async def run_built_in(
        _original: Any, action: Any, connection: Any, payload: Any, services: Any
    ) -> Any:
        return await action(connection, payload, services)


@mutant("ERR-1")
def unregistered_codes_pass(patch: Patch) -> None:
    """A code that nobody registered is sent."""

    @patch.around(f"{REGISTRY}.call")
    async def call(original: Any, *args: Any) -> Any:
        try:
            return await original(*args)
        except LookupError as error:
            raise error.__cause__ or error from None


@mutant("ERR-1")
def refused_twice(patch: Patch) -> None:
    """One cause is answered with two errors."""

    @patch.around(f"{ROUTER}:_refuse")
    async def refuse(original: Any, *args: Any) -> None:
        await original(*args)
        await original(*args)


@mutant("ERR-1")
def timeout_is_definite(patch: Patch) -> None:
    """TIMEOUT claims that the work surely did not happen."""
    code = dataclasses.replace(errors.ERROR_CODES["TIMEOUT"], definite=True)
    patch.constant(
        "streamer_reference.protocol.errors:ERROR_CODES", {**errors.ERROR_CODES, "TIMEOUT": code}
    )


@mutant("ERR-1")
def retry_unsaid(patch: Patch) -> None:
    """An error does not say whether asking again can help."""

    @patch.around("streamer_reference.protocol.errors:StreamerError.to_json")
    def to_json(original: Any, error: Any) -> dict[str, Any]:
        return {name: value for name, value in original(error).items() if name != "retry"}
