"""The first half of a request's life: read it, decide, answer it or queue it.

The order of the checks is the contract's: shape, message rate, action, permission, the handler's
own validation, duplicate, in flight. Every refusal is one error message; the connection stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from streamer_reference import actions
from streamer_reference.connection.errors import SendError
from streamer_reference.connection.manager import Outcome
from streamer_reference.core.rate import take
from streamer_reference.handlers.job import Job
from streamer_reference.handlers.registry import Handler, log_failure
from streamer_reference.observability import traces
from streamer_reference.observability.logs import bind, bound, log
from streamer_reference.protocol import messages
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import StreamerError, ValidationError
from streamer_reference.protocol.limits import CORRELATION_ID_PATTERN, MESSAGE_BYTES_MAX
from streamer_reference.services import Services
from streamer_reference.store import base as store

LOOKS_AGAIN_S = (0.0, 0.1, 0.5, 2.0)  # for a request whose acceptance was not answered
# Refusals of the store, which counted the message in the same write, or could not.
_COUNTED = (store.LimitReachedError, store.DuplicateRequestError, store.StoreError)


async def route(connection_id: str, text: str, services: Services) -> None:
    """Handle one text message of a client; every outcome is a message to it."""
    try:
        connection = await services.store.get_connection(connection_id)
    except store.StoreError as failure:
        await _refuse(connection_id, services, *_refusal(text, failure, services))
        return
    if connection is None:
        log("warning", "a message of a connection that is not stored")
        await _end_session(connection_id, services)  # nothing can be answered: let it come back
        return
    now_ms = services.clock.now_ms()
    services.metrics.add("MessageSize", len(text.encode(errors="replace")))
    expired = now_ms >= connection.token_expires_at_s * 1000
    request_id = None
    try:
        request = messages.parse_request(text)
        request_id = request.id or services.new_id()
        bind(
            request_id=request_id,
            correlation_id=_correlation_id(request, services),
            tenant_id=connection.tenant_id,
        )
        if expired:
            raise StreamerError("UNAUTHORIZED")
        _, early_ms = take(services.settings.rate_limit, connection.bucket_empty_at_ms, now_ms)
        if early_ms:
            raise store.LimitReachedError("too many messages on this connection", early_ms)
        handler, built_in = _decide(connection, request, services)
        if handler is not None and handler.is_queued(services.settings.queue_threshold_s):
            await _queue(connection, request, request_id, services)
            return
    except StreamerError as failure:
        if isinstance(failure, ValidationError) and request_id is None:
            request_id = failure.request_id
        if expired:
            failure = StreamerError("UNAUTHORIZED")
        if not isinstance(failure, _COUNTED):
            await _count(connection, services)
        await _refuse(connection_id, services, failure, request_id)
        if expired:
            await _end_session(connection_id, services)
        return
    await _answer(connection, request, request_id, handler, built_in, services)


def _decide(
    connection: store.Connection, request: messages.Request, services: Services
) -> tuple[Handler | None, actions.Action | None]:
    """What runs the request, one of the two; `StreamerError` for action, permission, payload."""
    if (built_in := actions.BUILT_IN.get(request.action)) is None:
        permissions = connection.permissions
        return services.registry.admit(request.action, request.payload, permissions), None
    permission = actions.PERMISSIONS.get(request.action)
    if permission is not None and permission not in connection.permissions:
        raise StreamerError("FORBIDDEN")
    if bad := actions.VALIDATE[request.action](request.payload):
        raise ValidationError(bad)
    return None, built_in


def _correlation_id(request: messages.Request, services: Services) -> str:
    """The client's own, when it gave one of that shape; else the one of the gateway's event."""
    given = request.metadata.get("correlation_id", "")
    if CORRELATION_ID_PATTERN.fullmatch(given):
        return given
    return str(bound().get("correlation_id") or services.new_id())


def _refusal(
    text: str, failure: StreamerError, services: Services
) -> tuple[StreamerError, str | None]:
    """What a message is refused with while its sender cannot be known, and its id; shape first."""
    try:
        return failure, messages.parse_request(text).id or services.new_id()
    except ValidationError as unreadable:
        return unreadable, unreadable.request_id


async def _end_session(connection_id: str, services: Services) -> None:
    """Close the connection of a token that has expired; the client sees 1000."""
    try:
        await services.client.delete_connection(connection_id)
    except SendError as error:
        log("info", "a connection was not closed", reason=repr(error))


async def _count(connection: store.Connection, services: Services) -> None:
    """Count a refused message too: a client that sends only nonsense is limited all the same."""
    try:
        await services.store.touch(
            connection.connection_id, services.settings.rate_limit, services.clock.now_ms()
        )
    except StreamerError as error:
        log("info", "a refused message was not counted", reason=str(error))


async def _answer(
    connection: store.Connection,
    request: messages.Request,
    request_id: str,
    handler: Handler | None,
    built_in: actions.Action | None,
    services: Services,
) -> None:
    """Run a short request and answer it with one message."""
    began_ms = services.clock.now_ms()
    after: Callable[[], Awaitable[None]] | None = None
    try:
        await services.store.touch(connection.connection_id, services.settings.rate_limit, began_ms)
        if handler is not None:
            data = await _run(connection, request, request_id, handler, services)
        elif built_in is not None:
            data, after = await _run_built_in(built_in, connection, request.payload, services)
        text = encode(messages.response(request_id, services.clock.now_ms(), data))
        if len(text.encode()) > MESSAGE_BYTES_MAX:
            raise StreamerError("RESULT_TOO_LARGE")
    except Exception as error:  # noqa: BLE001 - a handler may raise anything
        if not isinstance(error, StreamerError):
            log_failure(error, request.action, handler)
            error = StreamerError("INTERNAL_ERROR")
        await _refuse(connection.connection_id, services, error, request_id)
        return
    await services.manager.send(connection.connection_id, text.encode())
    services.metrics.add("ProcessingLatency", services.clock.now_ms() - began_ms)
    if after is not None:
        await after()


async def _run_built_in(
    action: actions.Action,
    connection: store.Connection,
    payload: dict[str, Any],
    services: Services,
) -> tuple[Any, actions.After | None]:
    try:
        async with asyncio.timeout(services.settings.short_limit_s):
            return await action(connection, payload, services)
    except TimeoutError:
        raise StreamerError("TIMEOUT") from None


async def _run(
    connection: store.Connection,
    request: messages.Request,
    request_id: str,
    handler: Handler,
    services: Services,
) -> Any:
    job = Job(
        payload=request.payload,
        metadata=request.metadata,
        user_id=connection.user_id,
        tenant_id=connection.tenant_id,
        permissions=connection.permissions,
        connection_id=connection.connection_id,
        request_id=request_id,
        objects=services.objects,
        counter=services.store,
        clock=services.clock,
    )
    limit_s = min(handler.time_limit_of(request.payload), services.settings.short_limit_s)
    return await services.registry.call(handler, job, limit_s)


async def _queue(
    connection: store.Connection, request: messages.Request, request_id: str, services: Services
) -> None:
    """Store a long request with its acknowledgment, post that, and let the stream have it."""
    settings = services.settings
    now_ms = services.clock.now_ms()
    acknowledgment = encode(messages.acknowledgment(request_id, now_ms))
    key = store.request_key(connection.tenant_id, connection.user_id, request_id)
    accepted = store.Request(
        key=key,
        tenant_id=connection.tenant_id,
        user_id=connection.user_id,
        request_id=request_id,
        connection_id=connection.connection_id,
        action=request.action,
        payload=encode(request.payload),
        metadata=encode(request.metadata),
        permissions=json.dumps(connection.permissions),
        correlation_id=bound()["correlation_id"],
        created_at_ms=now_ms,
        changed_at_ms=now_ms,
        expires_at_s=now_ms // 1000 + settings.retention_s,
        trace_header=traces.header(),
    )
    try:
        await services.store.accept(
            accepted, acknowledgment, settings.rate_limit, settings.in_flight
        )
    except store.StoreError:
        # The answer may be all that was lost; an error would then give number 0 a second content.
        if (is_stored := await _is_stored(accepted, services)) is None:
            log("error", "whether a request is stored is not known: it is not answered")
            return
        if not is_stored:
            raise
    log("info", "accepted", action=request.action)
    sent = await services.manager.send(connection.connection_id, acknowledgment.encode())
    taken = sent.outcome is not Outcome.FAILED
    try:
        if not await services.store.acknowledged(key, taken, services.clock.now_ms()):
            await actions.send_cancelled(key, services, acknowledged=taken)
    except store.StoreError as error:
        # It is stored and acknowledged, so it is no refusal: the sweeper moves it on.
        log("warning", "an acceptance was not noted", reason=error.reason)


async def _is_stored(accepted: store.Request, services: Services) -> bool | None:
    """Whether it is this message's request that is there; None when the store does not say."""
    for pause_s in LOOKS_AGAIN_S:
        await asyncio.sleep(pause_s)
        with contextlib.suppress(store.StoreError):
            stored = await services.store.get(accepted.key)
            ours = stored and (stored.request.correlation_id, stored.request.created_at_ms)
            # One that is equal in both gets an equal acknowledgment.
            return ours == (accepted.correlation_id, accepted.created_at_ms)
    return None


async def _refuse(
    connection_id: str,
    services: Services,
    failure: StreamerError,
    request_id: str | None,
) -> None:
    if isinstance(failure, store.StoreError):
        log("error", "the store failed", reason=failure.reason)
    failure = messages.sendable(failure)
    message = messages.error(failure, services.clock.now_ms(), request_id, 0)
    # Without a number a client could not tell a repeat from another refusal (SEND-1).
    data, numbered = encode(message).encode(), "sequence" in message
    await services.manager.send(connection_id, data, repeatable=numbered)
