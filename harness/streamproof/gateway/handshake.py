"""The handshake: what must hold before a connection exists, and the status of a refusal.

The upgrade waits for the authorizer and for `$connect`. Of the function's answer only the status
and `Sec-WebSocket-Protocol` go on. Sources: developer guide, serverless-offline#1301, chalice#1768.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

from streamproof.gateway import events, http11
from streamproof.gateway.clock import Clock
from streamproof.gateway.description import Description
from streamproof.gateway.errors import FunctionError, IntegrationTimeoutError, ThrottledError
from streamproof.gateway.events import Session
from streamproof.gateway.functions import FunctionHost
from streamproof.gateway.identifiers import new_id
from streamproof.gateway.proxy_answer import (
    MalformedAnswerError,
    authorizer_context,
    is_allowed,
    read_proxy_answer,
)

TARGET_CHARACTERS_MAX = 4096  # quota: length of the URL
_POLICIES_MAX = 1024  # an authorizer's answers that are kept

_FAILURES = (FunctionError, ThrottledError, IntegrationTimeoutError, MalformedAnswerError)
_LOG = logging.getLogger("streamproof.gateway")
_MESSAGES = {
    401: "Unauthorized",
    403: "Forbidden",
    414: "URI Too Long",
    429: "Too Many Requests",
    500: "Internal server error",
    502: "Internal server error",
    503: "Service Unavailable",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """200 opens the connection; another status refuses it with that status."""

    status: int
    subprotocol: str | None = None


def refusal(status: int, connection_id: str) -> bytes:
    """Write the answer to a handshake that failed; the function's own body is not in it."""
    body = {
        "message": _MESSAGES.get(status, "Forbidden"),
        "connectionId": connection_id,
        "requestId": new_id(),
    }
    headers = [("Content-Type", "application/json")]
    return http11.response(status, json.dumps(body).encode(), headers, keep_alive=False)


class Handshake:
    """Decides about handshakes for one API."""

    def __init__(self, description: Description, functions: FunctionHost, clock: Clock) -> None:
        """Ask the functions of `description`."""
        self._api = description.api
        self._limit_s = description.limits.integration_timeout_s
        self._functions = functions
        self._clock = clock
        self._policies: dict[tuple[str | None, ...], tuple[float, Any]] = {}

    async def decide(self, session: Session, request: http11.Request) -> Decision:
        """Run authorizer and `$connect`; sets `session.authorizer`."""
        if len(request.path) + len(request.query) > TARGET_CHARACTERS_MAX:
            return Decision(414)
        if self._api.authorizer is not None:
            status = await self._authorize(self._api.authorizer, session, request)
            if status != 200:
                return Decision(status)
        name = self._api.routes.get("$connect")
        if name is None:
            return Decision(200)
        event = events.connect_event(
            self._api, session, self._clock.time_s(), request.headers, request.query
        )
        try:
            answer = read_proxy_answer(
                await self._functions.invoke(name, event, limit_s=self._limit_s)
            )
        except _FAILURES as error:
            _LOG.warning("$connect failed: %r", error)
            return Decision(500 if isinstance(error, ThrottledError) else 502)
        if 200 <= answer.status < 300:
            return Decision(200, answer.subprotocol)
        return Decision(answer.status if answer.status >= 300 else 502)

    async def _authorize(self, name: str, session: Session, request: http11.Request) -> int:
        api, asked_s = self._api, self._clock.time_s()
        event = events.authorizer_event(api, session, asked_s, request.headers, request.query)
        identity = tuple(_identity(source, request, event) for source in api.identity_sources)
        if not all(identity):
            return 401
        known = self._policies.get(identity)
        try:
            if known is not None and asked_s < known[0]:
                answer = known[1]
            else:
                answer = await self._functions.invoke(name, event, limit_s=self._limit_s)
                if api.authorizer_ttl_s and identity:  # without one it would be everybody's
                    self._keep(identity, asked_s + api.authorizer_ttl_s, answer)
            if not is_allowed(answer, events.method_arn(api)):
                return 403
            latency_ms = round((self._clock.time_s() - asked_s) * 1000)
            session.authorizer = authorizer_context(answer, latency_ms)
        except _FAILURES as error:
            if isinstance(error, FunctionError) and error.message == "Unauthorized":
                return 401
            _LOG.warning("the authorizer failed: %r", error)
            return 500
        return 200

    def _keep(self, identity: tuple[str | None, ...], until_s: float, answer: Any) -> None:
        if len(self._policies) >= _POLICIES_MAX:
            self._policies.clear()
        self._policies[identity] = (until_s, answer)


def _identity(source: str, request: http11.Request, event: dict[str, Any]) -> str | None:
    _, _, kind, name = source.split(".", 3)
    if kind == "header":
        return request.header.get(name.lower())
    value: str | None = event["queryStringParameters"].get(name)
    return value
