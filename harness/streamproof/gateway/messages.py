"""From a message to its route's function, and from its answer to the client.

Messages of one connection run side by side; nothing here keeps their order, as API Gateway does
not. An error never closes the connection. Envelopes as recorded (middy#1219, aws-cdk#18208).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from streamproof.gateway import events
from streamproof.gateway.clock import Clock
from streamproof.gateway.description import Description
from streamproof.gateway.errors import FunctionError, IntegrationTimeoutError, ThrottledError
from streamproof.gateway.functions import FunctionHost
from streamproof.gateway.identifiers import new_id
from streamproof.gateway.proxy_answer import MalformedAnswerError, read_proxy_answer
from streamproof.gateway.routing import RouteSelector
from streamproof.gateway.tasks import Tasks
from streamproof.gateway.throttle import TokenBucket
from streamproof.gateway.websocket import Connection

_LOG = logging.getLogger("streamproof.gateway")


class MessageDispatcher:
    """Takes messages from connections and runs their routes' functions."""

    def __init__(
        self, description: Description, functions: FunctionHost, clock: Clock, tasks: Tasks
    ) -> None:
        """Run what is dispatched in `tasks`."""
        self._api = description.api
        self._limits = description.limits
        self._on_message = description.on_message
        self._functions = functions
        self._clock = clock
        self._tasks = tasks
        self._selector = RouteSelector(self._api.route_selection_expression, self._api.routes)
        self._bucket = TokenBucket(clock, self._limits.stage_rate, self._limits.stage_burst)

    def dispatch(self, connection: Connection, data: bytes, _is_text: bool) -> None:
        """Take one message, which is text in a gateway that keeps the rules; returns at once."""
        self._tasks.start(self._run(connection, data))

    def _envelope(self, connection: Connection, message: str, request_id: str) -> None:
        # Blanks as recorded: after each comma, and after the first colon only.
        own_id = connection.session.connection_id
        text = f'{{"message": "{message}", "connectionId":"{own_id}", "requestId":"{request_id}"}}'
        connection.answer(text.encode())

    async def _run(self, connection: Connection, data: bytes) -> None:
        began_ns = time.perf_counter_ns()
        try:
            await self._route(connection, data.decode())
        finally:
            connection.done(len(data))
            if self._on_message is not None:
                self._on_message(time.perf_counter_ns() - began_ns)

    async def _route(self, connection: Connection, body: str) -> None:
        if not self._bucket.take():
            self._envelope(connection, "Too Many Requests", new_id())
            return
        route_key = self._selector.select(body)
        if route_key is None:
            self._envelope(connection, "Forbidden", new_id())
            return
        event = events.message_event(
            self._api, connection.session, self._clock.time_s(), route_key, body
        )
        request_id = event["requestContext"]["requestId"]
        name = self._api.routes[route_key]
        try:
            answer = read_proxy_answer(await self._invoke(name, event))
        except IntegrationTimeoutError:
            _LOG.warning("a message to %s timed out", name)
            self._envelope(connection, "Endpoint request timed out", request_id)
        except (FunctionError, ThrottledError, MalformedAnswerError) as error:
            _LOG.warning("a message to %s failed: %s", name, error)
            self._envelope(connection, "Internal server error", request_id)
        else:
            if route_key in self._api.two_way:
                connection.answer(answer.body.encode("utf-8", "replace"))

    async def _invoke(self, name: str, event: dict[str, Any]) -> Any:
        limit_s = self._limits.integration_timeout_s
        return await self._functions.invoke(name, event, limit_s=limit_s)
