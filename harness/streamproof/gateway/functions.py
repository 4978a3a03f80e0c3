"""The function host: invokes described functions, wherever they live, as Lambda does.

Synchronous invocations come back with an answer or an error; asynchronous ones are queued, tried
again as described, and end in a failure document when they fail. A function that runs in this
process is cancelled at its time limit; a handler's thread cannot be, and keeps its slot until it
returns. A process is killed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import sys
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor, thread
from typing import Any

from streamproof.gateway.clock import Clock, deadline, iso_time
from streamproof.gateway.description import Api, Context, Description, Function
from streamproof.gateway.environments import EnvironmentPool
from streamproof.gateway.errors import FunctionError, IntegrationTimeoutError, ThrottledError
from streamproof.gateway.processes import Guard
from streamproof.gateway.tasks import Tasks

THREADS_MAX = 32
CONCURRENT_MAX = 1000  # Lambda's concurrency per region; further handlers are throttled
ASYNC_QUEUE_MAX = 10_000  # asynchronous invocations that wait or run
ASYNC_RETRY_S = 60.0  # the first retry after one minute, the second after two more
THROTTLE_RETRY_S, THROTTLE_RETRY_S_MAX = 1.0, 300.0  # what was not invoked is tried again, doubling
_LOG = logging.getLogger("streamproof.gateway")


@dataclasses.dataclass(slots=True)
class _Queued:
    """An asynchronous invocation on its way to its end."""

    function: Function
    event: Any
    since_s: float
    request_id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    attempts: int = 0
    throttles: int = 0


class FunctionHost:
    """Invokes functions by name; `start` and `stop` bracket its life."""

    def __init__(self, description: Description, clock: Clock) -> None:
        """Host the functions of `description`."""
        self._api = description.api
        self._take_line = description.take_line
        self._clock = clock
        self._functions = {function.name: function for function in description.functions}
        self._guard = Guard() if description.freeze and sys.platform != "win32" else None
        self._pools = {
            function.name: EnvironmentPool(function, description, clock, self._guard)
            for function in description.functions
            if function.command is not None
        }
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="function")
        self._threads_used = 0
        self._tasks = Tasks()
        self._queued = 0  # asynchronous invocations that wait, run, or are to be tried again
        self._stopping = False

    def start(self) -> None:
        """Start what is kept warm; does not wait for it."""
        for pool in self._pools.values():
            pool.start()

    def stopping(self) -> None:
        """Queue nothing more, let go of what waits, and write no failure documents from now on."""
        self._stopping = True
        for pool in self._pools.values():
            pool.close()

    async def finish(self, timeout_s: float) -> bool:
        """Wait for asynchronous invocations that run; False when time ran out."""
        return await self._tasks.finish(timeout_s)

    async def stop(self) -> None:
        """End everything that was started."""
        self.stopping()
        await self._tasks.cancel()
        await asyncio.gather(*(pool.stop() for pool in self._pools.values()))
        if self._guard is not None:
            self._guard.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def process_ids(self) -> dict[str, list[int]]:
        """Return the ids of the processes of each function that has any."""
        return {name: pool.process_ids() for name, pool in self._pools.items()}

    def log_streams(self, name: str) -> dict[str, int]:
        """Return the id of the process behind each log stream of a function."""
        return self._pools[name].log_streams()

    async def invoke(
        self,
        name: str,
        event: Any,
        *,
        limit_s: float | None = None,
        request_id: str | None = None,
    ) -> Any:
        """Invoke synchronously and return the answer.

        Raises `FunctionError` when the function raised, died or timed out, `ThrottledError` when
        it was not invoked, `IntegrationTimeoutError` when `limit_s` passed first.
        """
        function = self._function(name)
        return await self._invoke(
            function, event, request_id or str(uuid.uuid4()), limit_s, wait=False
        )

    def invoke_async(self, name: str, event: Any) -> str:
        """Queue an invocation and return its request id at once; raises `ThrottledError`.

        The event is copied as JSON here, so what the caller does with it later changes nothing.
        """
        function, event = self._function(name), json.loads(json.dumps(event))
        if self._stopping or self._queued >= ASYNC_QUEUE_MAX:
            raise ThrottledError("ConcurrentInvocationLimitExceeded")
        queued = _Queued(function, event, self._clock.monotonic_s())
        self._queued += 1
        self._tasks.start(self._attempt(queued))
        return queued.request_id

    def _function(self, name: str) -> Function:
        function = self._functions.get(name)
        if function is None:
            raise FunctionError("ResourceNotFoundException", f"Function not found: {name}")
        return function

    async def _invoke(
        self, function: Function, event: Any, request_id: str, limit_s: float | None, *, wait: bool
    ) -> Any:
        # A process has its own time in its environment, once it is there.
        own_s = function.timeout_s if function.command is None else None
        is_integration = limit_s is not None and limit_s <= function.timeout_s
        try:
            async with deadline(self._clock, limit_s if is_integration else own_s) as limit:
                if function.command is not None:
                    pool = self._pools[function.name]
                    return await pool.invoke(event, request_id, wait=wait)
                if function.run is not None:
                    return await function.run(event)
                return await self._call_handler(function, event, request_id)
        except (FunctionError, ThrottledError):
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                if is_integration:
                    raise IntegrationTimeoutError from None
                late = FunctionError.timed_out(request_id, function.timeout_s)
                self._take_line(function.name, late.line())
                raise late from None
            if str(error) != "Unauthorized":  # an authorizer's word for 401, and no failure
                for line in _lines(error):
                    self._take_line(function.name, line)
            raise FunctionError(type(error).__name__, str(error)) from error

    async def _call_handler(self, function: Function, event: Any, request_id: str) -> Any:
        assert function.handler is not None  # noqa: S101 - checked with the description
        if self._threads_used >= CONCURRENT_MAX:
            raise ThrottledError("ConcurrentInvocationLimitExceeded")
        context = Context(
            function_name=function.name,
            aws_request_id=request_id,
            invoked_function_arn=function_arn(self._api, function.name),
            deadline_s=self._clock.monotonic_s() + function.timeout_s,
            monotonic_s=self._clock.monotonic_s,
            memory_limit_in_mb=str(function.memory_mb),
            log_group_name=f"/aws/lambda/{function.name}",
            log_stream_name="thread",
        )
        self._threads_used += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, function.handler, event, context
        )
        future.add_done_callback(self._thread_is_free)
        return await future

    def _thread_is_free(self, future: asyncio.Future[Any]) -> None:
        self._threads_used -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that the loop does not report it once more

    async def _attempt(self, queued: _Queued) -> None:
        function = queued.function
        try:
            await self._invoke(function, queued.event, queued.request_id, None, wait=True)
        except FunctionError as error:
            queued.attempts += 1
            if queued.attempts > function.retries_async:
                self._fail(queued, "RetriesExhausted", error)
            else:
                self._try_again(queued, ASYNC_RETRY_S * queued.attempts, error)
        except ThrottledError as error:  # not invoked: no attempt
            queued.throttles += 1
            pause_s = THROTTLE_RETRY_S * 2 ** min(queued.throttles - 1, 20)
            self._try_again(queued, min(pause_s, THROTTLE_RETRY_S_MAX), error)
        else:
            self._queued -= 1

    def _try_again(
        self, queued: _Queued, pause_s: float, error: FunctionError | ThrottledError
    ) -> None:
        age_s = self._clock.monotonic_s() - queued.since_s
        if age_s + pause_s > queued.function.event_age_max_s:
            self._fail(queued, "EventAgeExceeded", error)
        else:
            self._clock.call_later(pause_s, lambda: self._start(queued))

    def _start(self, queued: _Queued) -> None:
        if not self._stopping:
            self._tasks.start(self._attempt(queued))

    def _fail(self, queued: _Queued, condition: str, error: FunctionError | ThrottledError) -> None:
        self._queued -= 1
        function = queued.function
        if self._stopping:
            return
        _LOG.warning("asynchronous invocation of %s failed: %s", function.name, error)
        if function.on_failure is None:
            return
        document = {
            "version": "1.0",
            "timestamp": iso_time(self._clock.time_s()),
            "requestContext": {
                "requestId": queued.request_id,
                "functionArn": f"{function_arn(self._api, function.name)}:$LATEST",
                "condition": condition,
                "approximateInvokeCount": queued.attempts,
            },
            "requestPayload": queued.event,
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "responsePayload": error.payload(),
        }
        self.invoke_async(function.on_failure, document)  # it takes the place of what failed


def _lines(error: Exception) -> list[str]:
    """An exception as awslambdaric prints it, from the function's own code on."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename in (__file__, thread.__file__):
        trace = trace.tb_next
    head = f"[ERROR] {type(error).__name__}: {error}\n"
    return "".join([head, *traceback.format_exception(type(error), error, trace)]).splitlines()


def function_arn(api: Api, name: str) -> str:
    """Name a function as Lambda does."""
    return f"arn:aws:lambda:{api.region}:{api.account}:function:{name}"
