"""Invoked asynchronously with keys of requests: runs them, many at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from threading import current_thread, main_thread
from typing import Any

from streamer_reference.lambdas.runtime import face, function
from streamer_reference.services import Services
from streamer_reference.worker import Worker

_workers: dict[int, Worker] = {}


@function
async def worker(event: dict[str, Any], services: Services, context: Any) -> Any:
    """Run the requests in `event["request_keys"]`, and what else waits while slots are free.

    A process that gets SIGTERM meanwhile ends with the invocation, which fails thereby: so its
    destination hands over again what was not begun.
    """
    held = _workers.get(id(services))
    if held is None:
        # The log stream is the one name that Lambda gives to an environment and to no other.
        name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME") or services.new_id()
        held = _workers[id(services)] = Worker(services, name)
    loop = asyncio.get_running_loop()
    if can_be_told := sys.platform != "win32" and current_thread() is main_thread():
        loop.add_signal_handler(signal.SIGTERM, held.stop)
    try:
        await held.work(
            context.aws_request_id,
            event["request_keys"],
            alone=bool(event.get("alone")),
            remaining_ms=context.get_remaining_time_in_millis,
        )
    finally:
        if can_be_told:  # between invocations the runtime waits in C, where Python hears nothing
            loop.remove_signal_handler(signal.SIGTERM)
    if held.stopping:
        raise SystemExit
    return {"statusCode": 200}


handler = face(worker)
