"""Section 6 of the contract, broken: the gateway, the stream mapping, the function host.

The mutants of the stream mapping and the function host are in `hosting.py`.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import secrets
from typing import Any

from streamproof.gateway import http11
from streamproof.gateway.clock import iso_time
from streamproof.gateway.handshake import Decision
from streamproof.gateway.identifiers import new_id
from streamproof.targets.mutants.base import Patch, mutant

EVENTS = "streamproof.gateway.events"
IDENTIFIERS = "streamproof.gateway.identifiers"
HANDSHAKE = "streamproof.gateway.handshake"
MESSAGES = "streamproof.gateway.messages:MessageDispatcher"
CONNECTION = "streamproof.gateway.websocket:Connection"
API = "streamproof.gateway.connections_api"
GATEWAY = "streamproof.gateway.server:Gateway"
LIMITS = "streamproof.gateway.description:Limits"

_TASKS: set[asyncio.Future[Any]] = set()  # what nobody waits for


@mutant("GW-1")
def query_always_there(patch: Patch) -> None:
    """The event of a handshake without a query has empty members for it."""

    @patch.around(f"{EVENTS}:connect_event")
    def connect_event(original: Any, *args: Any) -> Any:
        absent: dict[str, Any] = {
            "queryStringParameters": {},
            "multiValueQueryStringParameters": {},
        }
        return {**absent, **original(*args)}


@mutant("GW-1")
def messages_with_headers(patch: Patch) -> None:
    """The event of a message has the headers of the handshake's."""

    @patch.around(f"{EVENTS}:message_event")
    def message_event(original: Any, *args: Any) -> Any:
        return {"headers": {}, "multiValueHeaders": {}, **original(*args)}


@mutant("GW-1")
def disconnect_without_a_reason(patch: Patch) -> None:
    """The event of a disconnect does not say why."""

    @patch.around(f"{EVENTS}:disconnect_event")
    def disconnect_event(original: Any, *args: Any) -> Any:
        event = original(*args)
        del event["requestContext"]["disconnectReason"]
        return event


@mutant("GW-1")
def request_time_in_iso(patch: Patch) -> None:
    """The time of a request is written as ISO 8601."""

    @patch.around(f"{EVENTS}:request_time")
    def request_time(_original: Any, time_s: float) -> str:
        return iso_time(time_s)


@mutant("GW-1")
def two_request_ids(patch: Patch) -> None:
    """The request id and the extended one differ."""

    @patch.around(f"{EVENTS}:_context")
    def context(original: Any, *args: Any, **early: Any) -> Any:
        return {**original(*args, **early), "extendedRequestId": new_id()}


@mutant("GW-2")
def ids_without_padding(patch: Patch) -> None:
    """An id is 12 random bytes, without padding."""

    @patch.around(f"{IDENTIFIERS}:new_id")
    def new_id(_original: Any) -> str:
        return base64.urlsafe_b64encode(secrets.token_bytes(12)).decode()


@mutant("GW-2", "GW-7")
def any_text_is_an_id(patch: Patch) -> None:
    """Any 16 characters are taken for an id."""

    @patch.around(f"{IDENTIFIERS}:is_well_formed")
    def is_well_formed(_original: Any, text: str) -> bool:
        return len(text) == 16


@mutant("GW-3")
def opens_before_connect_has_run(patch: Patch) -> None:
    """The handshake completes while `$connect` runs."""

    @patch.around(f"{HANDSHAKE}:Handshake.decide")
    async def decide(original: Any, *args: Any) -> Any:
        _TASKS.add(asyncio.ensure_future(original(*args)))
        return Decision(200)


@mutant("GW-3")
def refused_with_403(patch: Patch) -> None:
    """Every refusal is 403, whatever the function said."""

    @patch.around(f"{HANDSHAKE}:Handshake.decide")
    async def decide(original: Any, *args: Any) -> Any:
        decision = await original(*args)
        return decision if decision.status == 200 else dataclasses.replace(decision, status=403)


@mutant("GW-3")
def subprotocol_is_kept_back(patch: Patch) -> None:
    """The subprotocol that the function chose is not passed on."""

    @patch.around(f"{HANDSHAKE}:Handshake.decide")
    async def decide(original: Any, *args: Any) -> Any:
        return dataclasses.replace(await original(*args), subprotocol=None)


@mutant("GW-3")
def authorizer_unread(patch: Patch) -> None:
    """What the authorizer says changes nothing."""

    @patch.around(f"{HANDSHAKE}:Handshake._authorize")
    async def authorize(original: Any, *args: Any) -> int:
        await original(*args)
        return 200


@mutant("GW-4")
def connect_by_name(patch: Patch) -> None:
    """A message that names `$connect` reaches its function."""
    patch.value("streamproof.gateway.routing:_SYSTEM_KEYS", frozenset({"$default"}))


@mutant("GW-4")
def only_texts_select(patch: Patch) -> None:
    """A number or a boolean selects no route."""

    @patch.around("streamproof.gateway.routing:_as_text")
    def as_text(_original: Any, value: Any) -> str:
        return value if isinstance(value, str) and not value.isdecimal() else ""


@mutant("GW-4")
def no_default_route(patch: Patch) -> None:
    """What selects no route of its own does not go to `$default`."""

    @patch.around("streamproof.gateway.routing:RouteSelector.select")
    def select(original: Any, *args: Any) -> Any:
        found = original(*args)
        return None if found == "$default" else found


@mutant("GW-5")
def every_route_answers(patch: Patch) -> None:
    """A route without a response sends the function's body too."""

    @patch.around(f"{MESSAGES}.__init__")
    def init(original: Any, self: Any, description: Any, *args: Any) -> None:
        original(self, description, *args)
        self._api = dataclasses.replace(self._api, two_way=frozenset(self._api.routes))


@mutant("GW-5")
def error_closes(patch: Patch) -> None:
    """A function that fails ends the connection."""

    @patch.around(f"{MESSAGES}._envelope")
    def envelope(original: Any, self: Any, connection: Any, *args: Any) -> None:
        original(self, connection, *args)
        connection.close(1011, "error", "error")


@mutant("GW-5")
def failure_is_silent(patch: Patch) -> None:
    """A function that fails is told to nobody."""

    @patch.around(f"{MESSAGES}._envelope")
    def envelope(_original: Any, *_args: Any) -> None:
        return


@mutant("GW-5")
def integration_of_a_minute(patch: Patch) -> None:
    """The gateway waits a minute for a function."""
    patch.default(LIMITS, integration_timeout_s=60.0)


@mutant("GW-5")
def messages_in_turn(patch: Patch) -> None:
    """A message waits until the one before it is dealt with."""
    turn: list[asyncio.Lock] = []

    @patch.around(f"{MESSAGES}._run")
    async def run(original: Any, *args: Any) -> None:
        if not turn:
            turn.append(asyncio.Lock())
        async with turn[0]:
            await original(*args)


@mutant("GW-6")
def disconnect_only_from_the_client(patch: Patch) -> None:
    """`$disconnect` does not run when the gateway ended the connection."""

    @patch.around(f"{GATEWAY}._ended")
    def ended(original: Any, self: Any, connection: Any) -> None:
        if connection.end_reason in ("Connection Closed Normally", "Going away"):
            self.connections.forget(connection)
            return
        original(self, connection)


@mutant("GW-6")
def disconnect_twice(patch: Patch) -> None:
    """`$disconnect` runs twice."""

    @patch.around(f"{GATEWAY}._disconnect")
    async def disconnect(original: Any, *args: Any) -> None:
        await original(*args)
        await original(*args)


@mutant("GW-6")
def disconnect_always_1005(patch: Patch) -> None:
    """`$disconnect` is always told 1005."""

    @patch.around(f"{EVENTS}:disconnect_event")
    def disconnect_event(original: Any, *args: Any) -> Any:
        *rest, _code, reason = args
        return original(*rest, 1005, reason)


@mutant("GW-7")
def gone_is_posted(patch: Patch) -> None:
    """A post to a connection that is gone is answered 200."""
    patch.value(f"{API}:_GONE", http11.response(200))


@mutant("GW-7")
def malformed_is_gone(patch: Patch) -> None:
    """A malformed id is answered 410."""
    _answering(patch, 400, 410, "GoneException")


@mutant("GW-7")
def too_large_is_400(patch: Patch) -> None:
    """A post over 131,072 bytes is answered 400."""
    _answering(patch, 413, 400, "BadRequestException")


def _answering(patch: Patch, status: int, other: int, error_type: str) -> None:
    @patch.around(f"{API}:_refusal")
    def refusal(original: Any, given: int, given_type: str, message: str) -> Any:
        if given == status:
            return original(other, error_type, message)
        return original(given, given_type, message)


@mutant("GW-7")
def errors_without_a_type(patch: Patch) -> None:
    """Refusals do not name their exception."""

    @patch.around(f"{API}:_refusal")
    def refusal(original: Any, status: int, _error_type: str, message: str) -> Any:
        return original(status, "InternalFailure", message)


@mutant("GW-7")
def unsigned_passes(patch: Patch) -> None:
    """A request that is not signed passes."""

    @patch.around("streamproof.gateway.sigv4:Verifier.check_headers")
    def check_headers(_original: Any, *_args: Any) -> None:
        return


@mutant("GW-7")
def signatures_for_a_day(patch: Patch) -> None:
    """A signature is good for a day."""
    patch.constant("streamproof.gateway.sigv4:SKEW_S_MAX", 86_400.0)


@mutant("GW-7")
def post_to_a_full_buffer(patch: Patch) -> None:
    """A post to a client that does not read is taken, however much waits."""
    patch.default(LIMITS, send_buffer_bytes=1 << 40)


@mutant("GW-8")
def idle_for_an_hour(patch: Patch) -> None:
    """A connection may be idle for an hour."""
    patch.default(LIMITS, idle_s=3600.0)


@mutant("GW-8")
def pings_keep_it_open(patch: Patch) -> None:
    """Pings count as activity."""

    @patch.around(f"{CONNECTION}.receive")
    def receive(original: Any, self: Any, data: bytes) -> None:
        self._last_active = self.clock.monotonic_s()
        original(self, data)


@mutant("GW-8")
def posts_do_not_keep_it_open(patch: Patch) -> None:
    """What is sent to the client does not count as activity."""

    @patch.around(f"{CONNECTION}.post")
    def post(original: Any, self: Any, data: bytes) -> Any:
        before = self._last_active
        posted = original(self, data)
        self._last_active = before
        return posted


@mutant("GW-8")
def lifetime_of_a_day(patch: Patch) -> None:
    """A connection lives a day."""
    patch.default(LIMITS, lifetime_s=86_400.0)


@mutant("GW-8")
def messages_of_any_size(patch: Patch) -> None:
    """Messages and frames of any size are taken."""
    patch.default(LIMITS, message_bytes=1 << 30, frame_bytes=1 << 30)


@mutant("GW-8")
def binary_passes(patch: Patch) -> None:
    """Binary messages are taken."""

    @patch.around(f"{CONNECTION}.__init__")
    def init(original: Any, self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **{**options, "binary": True})


@mutant("GW-8")
def stop_cuts_off(patch: Patch) -> None:
    """A gateway that stops cuts its connections off."""

    @patch.around(f"{GATEWAY}._close_connections")
    async def close_connections(original: Any, self: Any) -> None:
        for connection in self.connections.all():
            connection.abort()
        await original(self)


@mutant("GW-9")
def throttles_unread(patch: Patch) -> None:
    """Connections and messages beyond the configured rates pass."""

    @patch.around("streamproof.gateway.throttle:TokenBucket.take")
    def take(_original: Any, _bucket: Any) -> bool:
        return True


@mutant("GW-9")
def throttled_by_default(patch: Patch) -> None:
    """The stage's rates are limited although nobody asked for it."""
    patch.default(LIMITS, connects_per_s=1.0)


@mutant("GW-10")
def the_machines_time(patch: Patch) -> None:
    """The clock that was injected is not asked."""

    @patch.around(f"{GATEWAY}.__init__")
    def init(original: Any, self: Any, description: Any, _clock: Any = None) -> None:
        original(self, description, None)
