"""One event loop and one set of services per process, kept from invocation to invocation."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from streamer_reference.observability import logs, traces
from streamer_reference.services import Services, from_environment

THREADS_MAX = 32  # synchronous handlers that run at once in a process

Core = Callable[[dict[str, Any], Services, Any], Awaitable[Any]]


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS_MAX, "handler"))
    return loop


async def _build() -> Services:
    return from_environment()


@functools.cache
def _services() -> Services:
    return _loop().run_until_complete(_build())


def function(core: Core) -> Core:
    """A core whose log lines name the function, and of a client's event also its connection.

    Until a request is known, what it logs is correlated by the id of the gateway's event.
    """

    @functools.wraps(core)
    async def named(event: dict[str, Any], services: Services, context: Any = None) -> Any:
        client = event.get("requestContext", {})
        logs.bind(
            function=core.__name__,
            connection_id=client.get("connectionId"),
            correlation_id=client.get("requestId"),
            request_id=None,
            tenant_id=None,
        )
        return await core(event, services, context)

    return named


def face(core: Core) -> Callable[[dict[str, Any], Any], Any]:
    """The synchronous handler of an asynchronous core."""

    def handler(event: dict[str, Any], context: Any) -> Any:
        services = _services()
        try:
            return _loop().run_until_complete(core(event, services, context))
        finally:  # Lambda may freeze the process now, for good
            services.metrics.flush()
            traces.flush()

    return handler
