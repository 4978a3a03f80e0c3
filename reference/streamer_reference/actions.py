"""The built-in actions that work on requests and connections: status, cancel, subscribe, broadcast.

Another user's request is answered exactly as one that does not exist: whoever could tell the two
apart could find out what others run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from streamer_reference.core.states import TERMINAL, Status
from streamer_reference.outbox import post
from streamer_reference.protocol import messages
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import FieldError, StreamerError, ValidationError
from streamer_reference.protocol.limits import ID_PATTERN, MESSAGE_BYTES_MAX
from streamer_reference.services import Services
from streamer_reference.store.base import Connection, Stored, request_key
from streamer_reference.worker import DELIVERY_S, outcome_message, result_name, send_outcome

After = Callable[[], Awaitable[None]]  # what follows the answer
Action = Callable[[Connection, dict[str, Any], Services], Awaitable[tuple[Any, After | None]]]
ENVELOPE_BYTES = 1_024  # what an answer adds to a result, generously


async def status(
    connection: Connection, payload: dict[str, Any], services: Services
) -> tuple[Any, After | None]:
    """How a request of the sender's stands, with its result once it has ended."""
    stored = await services.store.get(_key(connection, payload))
    return await _describe(stored, services), None


async def cancel(
    connection: Connection, payload: dict[str, Any], services: Services
) -> tuple[Any, After | None]:
    """End a request; its holder sends the outcome, or this does, after the answer."""
    key = _key(connection, payload)
    outcome = encode({"error": StreamerError("CANCELLED").to_json()})
    before = await services.store.end(key, Status.CANCELLED, outcome, services.clock.now_ms())
    if before is None:
        stored = await services.store.get(key)
        if stored is None:
            raise StreamerError("NOT_FOUND")
        raise StreamerError("ALREADY_ENDED", details={"status": stored.request.status})
    data = {"request_id": payload["request_id"], "status": Status.CANCELLED}
    if before.request.status not in (Status.PENDING, Status.RETRYING):
        return data, None

    async def after() -> None:
        await send_cancelled(key, services)

    return data, after


async def send_cancelled(key: str, services: Services, *, acknowledged: bool = False) -> None:
    """Number and send the outcome of a request that was ended while nobody held it.

    `acknowledged` says that the acknowledgment was taken, though the store was not told.
    """
    stored = await services.store.get(key)
    if stored is not None and stored.request.status in TERMINAL and not stored.outbox.closed:
        taken = acknowledged and stored.outbox.sequence == 0
        await send_outcome(stored, services, taken=taken)


async def subscribe(
    connection: Connection, payload: dict[str, Any], services: Services
) -> tuple[Any, After | None]:
    """As `status`, and every later message of the request comes to this connection too."""
    stored = await services.store.subscribe(_key(connection, payload), connection.connection_id)
    data = await _describe(stored, services)
    if stored is None or not stored.outbox.closed:
        return data, None

    async def after() -> None:
        # Nobody posts it later: for others it may be taken already. So it is posted until it is.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_S):
                receivers = {connection.connection_id}
                await post(services.manager, receivers, stored.outbox.message.encode())

    return data, after


async def unsubscribe(
    connection: Connection, payload: dict[str, Any], services: Services
) -> tuple[Any, After | None]:
    """No later message of the request comes to this connection because of a subscription."""
    key = _key(connection, payload)
    if await services.store.get(key) is None:
        raise StreamerError("NOT_FOUND")
    await services.store.unsubscribe(key, connection.connection_id)
    return {"request_id": payload["request_id"]}, None


async def broadcast(
    connection: Connection, payload: dict[str, Any], services: Services
) -> tuple[Any, After | None]:
    """One message to every connection of the sender's tenant, the sender's too."""
    began_ms = services.clock.now_ms()
    broadcast_id = services.new_id()
    message = messages.broadcast(broadcast_id, began_ms, connection.user_id, payload["payload"])
    data = encode(message).encode()
    if len(data) > MESSAGE_BYTES_MAX:
        raise ValidationError([FieldError("payload.payload", "does not fit a message")])
    members = await services.store.connections_of(connection.tenant_id)
    result = await services.manager.broadcast(members, data)
    services.metrics.add("BroadcastLatency", services.clock.now_ms() - began_ms)
    return {
        "broadcast_id": broadcast_id,
        "delivered": result.delivered,
        "gone": result.gone,
        "failed": result.failed,
    }, None


def _key(connection: Connection, payload: dict[str, Any]) -> str:
    return request_key(connection.tenant_id, connection.user_id, payload["request_id"])


async def _describe(stored: Stored | None, services: Services) -> dict[str, Any]:
    if stored is None:
        raise StreamerError("NOT_FOUND")
    request = stored.request
    ended = request.status is Status.COMPLETED
    data: dict[str, Any] = {
        "request_id": request.request_id,
        "action": request.action,
        "status": request.status,
        "percentage": 100.0 if ended else stored.outbox.percentage,
    }
    if request.outcome is None:
        return data
    outcome = outcome_message(request.outcome, services)
    if isinstance(outcome, StreamerError):
        return {**data, "error": outcome.to_json()}
    if "result" in outcome and services.objects is not None:
        text = encode(outcome["result"]).encode()
        if len(text) + ENVELOPE_BYTES > MESSAGE_BYTES_MAX:
            name = result_name(request)
            await services.objects.put(name, text, "application/json")
            url = services.objects.presign(name, services.settings.result_url_s)
            outcome = {"result_url": url}
    return {**data, **outcome}


def _valid_request_id(payload: dict[str, Any]) -> list[FieldError]:
    request_id = payload.get("request_id")
    if isinstance(request_id, str) and ID_PATTERN.fullmatch(request_id):
        return []
    return [FieldError("payload.request_id", "must be 1 to 128 visible ASCII characters")]


def _valid_broadcast(payload: dict[str, Any]) -> list[FieldError]:
    if "payload" not in payload:
        return [FieldError("payload.payload", "must be there")]
    return []


BUILT_IN: dict[str, Action] = {
    "status": status,
    "cancel": cancel,
    "subscribe": subscribe,
    "unsubscribe": unsubscribe,
    "broadcast": broadcast,
}
PERMISSIONS = {"broadcast": "broadcast"}
VALIDATE: dict[str, Callable[[dict[str, Any]], list[FieldError]]] = {
    action: _valid_broadcast if action == "broadcast" else _valid_request_id for action in BUILT_IN
}
