"""Execution environments: a function's processes, one invocation at a time in each.

The life of an environment: starting -> idle -> busy -> answered -> idle, and gone from anywhere. It
is idle once its process asks for the next event, not when it has answered the last one. An
environment that dies takes its invocation with it, at once; a function whose processes die before
they are ready is started again with growing pauses. An idle process is stopped (SIGSTOP), so that
work left behind after an answer makes no progress until the next event, as on Lambda.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
import json
import logging
import os
import secrets
from pathlib import Path
from typing import Any

from streamproof.gateway.clock import Clock, Timer
from streamproof.gateway.description import Description, Function
from streamproof.gateway.errors import FunctionError, ThrottledError
from streamproof.gateway.identifiers import new_trace_id
from streamproof.gateway.processes import (
    Guard,
    Process,
    how_it_ended,
    kill,
    read_lines,
    signal_group,
    start_process,
)
from streamproof.gateway.runtime_api import RuntimeProtocol
from streamproof.gateway.tasks import Tasks

RESTART_S = 0.1  # the first pause after a start that failed, doubling
RESTART_S_MAX = 5.0
POLL_AGAIN_S = 10.0  # for a process whose poll was lost to ask anew, as long as Lambda's init
TERMINATED_S = 0.3  # what is busy when all ends may take so long to go, like Lambda's shutdown
KILLED_S = 0.5
# awslambdaric's, of 600 characters, before each exception: a runtime that Lambda replaced.
_RUNTIME_UPDATES = "LAMBDA_WARNING: Unhandled exception. The most likely cause"
_NOT_INHERITED = {
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_EXECUTION_ENV",
}
_LOG = logging.getLogger("streamproof.gateway")


class State(enum.Enum):
    """Where an environment is in its life."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ANSWERED = "answered"
    GONE = "gone"


@dataclasses.dataclass(slots=True, eq=False)
class Invocation:
    """An event on its way through an environment; its future is the answer, None if none waits."""

    request_id: str
    payload: bytes
    future: asyncio.Future[Any] | None

    def end(self, answer: Any) -> None:
        """The function answered."""
        if self.future is not None and not self.future.done():
            self.future.set_result(answer)

    def fail(self, error: Exception) -> None:
        """The function did not."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)


class Environment:
    """One process and its Runtime API listener."""

    def __init__(self, pool: EnvironmentPool, function: Function) -> None:
        """Belong to `pool`; `run` brings it to life."""
        self.state = State.STARTING
        self._pool = pool
        self._function = function
        self._process: Process | None = None
        self._poll: RuntimeProtocol | None = None
        self._taker: RuntimeProtocol | None = None  # whose poll got the current event
        self._current: Invocation | None = None
        self._timer: Timer | None = None
        self._init_error: FunctionError | None = None
        self._killed = False
        self.printed_why = False
        self.log_stream = f"[$LATEST]{secrets.token_hex(16)}"

    @property
    def process_id(self) -> int | None:
        """The process's id once there is one."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Start the process and stay until it has ended."""
        how = "cancelled"
        server: asyncio.Server | None = None
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: RuntimeProtocol(self), "127.0.0.1", 0
            )
            port = server.sockets[0].getsockname()[1]
            self._process = await start_process(
                self._function.command or (),
                self._pool.variables(self.log_stream, port),
                self._function.directory,
            )
            if self._killed:
                kill(self._process)
            how = await self._live(self._process)
        except OSError as error:
            how = error.strerror or str(error)
            self._init_error = FunctionError("Runtime.InvalidEntrypoint", how)
        finally:
            if self._process is not None:
                kill(self._process)
            if server is not None:
                server.close()
            self._gone(how)

    async def _live(self, process: Process) -> str:
        output = [
            asyncio.ensure_future(read_lines(stream, self._pool.take_line))
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]
        try:
            guard = self._pool.guard
            with guard.watching(process.pid) if guard else contextlib.nullcontext():
                await asyncio.shield(process.exited)
                signal_group(process.pid, "SIGKILL")  # what it started goes with it
            how = how_it_ended(process.returncode or 0)
            self._gone(how)
            await asyncio.wait(output, timeout=1.0)
        finally:
            for task in output:
                task.cancel()
        return how

    def invoke(self, invocation: Invocation) -> None:
        """Hand an event to the idle process."""
        assert self._poll is not None  # noqa: S101 - idle means that a poll waits
        self.state = State.BUSY
        self._current = invocation
        self._timer = self._pool.clock.call_later(self._function.timeout_s, self._time_out)
        poll, self._poll = self._poll, None
        self._taker = poll
        if self._pool.guard and self._process:
            signal_group(self._process.pid, "SIGCONT")
        poll.send_next(invocation.payload, self._pool.headers(invocation))

    def freeze(self) -> None:
        """Stop the process, which has asked for its next event and so has nothing left to post."""
        if self._pool.guard and self._process:
            signal_group(self._process.pid, "SIGSTOP")

    def terminate(self) -> None:
        """Send SIGTERM to a busy process, even to one that somebody stopped; kill another."""
        if self.state is not State.BUSY or self._process is None:
            self.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        signal_group(self._process.pid, "SIGCONT")

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._killed = True
        if self._process is not None:
            kill(self._process)

    def may_poll(self, poll: RuntimeProtocol) -> bool:
        """Tell whether `poll` can be the process's own: it polls once, and ends what it took."""
        return self._poll is None and (self._current is None or poll is self._taker)

    def poll_lost(self, poll: RuntimeProtocol) -> None:
        """Nobody waits behind `poll` any more; the process has to ask again, in time."""
        if self._poll is not poll:
            return
        self._poll = None
        if self.state is State.IDLE:
            self.state = State.ANSWERED
            self._pool.is_not_idle(self)
            if self._pool.guard and self._process:
                signal_group(self._process.pid, "SIGCONT")
            self._timer = self._pool.clock.call_later(POLL_AGAIN_S, self._end_silent)

    def next_asked(self, poll: RuntimeProtocol) -> None:
        """The process is free; `poll`, which may poll, takes its next event once there is one."""
        if self.state is State.GONE:
            return
        self._poll = poll
        self._end_current().fail(FunctionError("Runtime.Unknown", "no answer before the next poll"))
        self.state = State.IDLE
        self._pool.is_idle(self)

    def answered(self, request_id: str, answer: Any) -> bool:
        """The process answered; False when that is not what is under way."""
        if self._current is None or self._current.request_id != request_id:
            return False
        self._end_current().end(answer)
        self.state = State.ANSWERED
        return True

    def failed(self, request_id: str, error: dict[str, Any]) -> bool:
        """The process raised; False when that is not what is under way."""
        if self._current is None or self._current.request_id != request_id:
            return False
        self._end_current().fail(_as_error(error))
        self.state = State.ANSWERED
        return True

    def init_failed(self, error: dict[str, Any]) -> None:
        """The process could not load its function, which it has printed; it will end."""
        self._init_error = _as_error(error)
        self.printed_why = True

    def _end_current(self) -> Invocation:
        invocation, self._current = self._current, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return invocation or _NOBODY

    def _time_out(self) -> None:
        invocation = self._end_current()
        error = FunctionError.timed_out(invocation.request_id, self._function.timeout_s)
        self._pool.take_line(error.line())
        invocation.fail(error)
        self.kill()
        self._gone("timed out")

    def _end_silent(self) -> None:
        self.kill()
        self._gone("no poll")

    def _gone(self, how: str) -> None:
        if self.state is State.GONE:
            return
        was_ready = self.state is not State.STARTING
        self.state = State.GONE
        invocation = self._end_current()
        error = FunctionError.exited(invocation.request_id, how)
        if invocation is not _NOBODY:
            self._pool.take_line(error.line())
        invocation.fail(error)
        self._pool.is_gone(self, None if was_ready else self._init_error or error)


_NOBODY = Invocation("", b"", None)


def _as_error(error: dict[str, Any]) -> FunctionError:
    trace = error.get("stackTrace")
    return FunctionError(
        str(error.get("errorType", "Unknown"))[:256],
        str(error.get("errorMessage", ""))[:4096],
        tuple(str(line) for line in trace[:100]) if isinstance(trace, list) else (),
    )


class EnvironmentPool:
    """The environments of one function: started when all are busy, reused when free."""

    def __init__(
        self,
        function: Function,
        description: Description,
        clock: Clock,
        guard: Guard | None,
    ) -> None:
        """At most `environments_max` at a time; with a `guard` they are stopped between events."""
        self.clock = clock
        self.guard = guard
        self._function = function
        self._description = description
        self._environments: set[Environment] = set()
        self._idle: list[Environment] = []
        self._waiting: collections.deque[Invocation] = collections.deque()
        self._tasks = Tasks()
        self._failures = 0
        self._pause: Timer | None = None
        self._closed = False

    def start(self) -> None:
        """Start what is kept warm; does not wait for it."""
        self._grow()

    def close(self) -> None:
        """Start nothing more, throttle what waits, and tell processes that drain to do so."""
        if self._function.drains and not self._closed:
            self._terminate()
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        while self._waiting:
            self._waiting.popleft().fail(ThrottledError("ConcurrentInvocationLimitExceeded"))

    async def stop(self) -> None:
        """End every process."""
        self.close()
        self._terminate()
        if not await self._tasks.finish(TERMINATED_S):
            for environment in list(self._environments):
                environment.kill()
            await self._tasks.finish(KILLED_S)
        await self._tasks.cancel()

    def _terminate(self) -> None:
        for environment in list(self._environments):
            environment.terminate()

    def process_ids(self) -> list[int]:
        """Return the ids of the processes that run."""
        ids = [environment.process_id for environment in self._environments]
        return sorted(process_id for process_id in ids if process_id is not None)

    def log_streams(self) -> dict[str, int]:
        """Return the id of the process that writes each log stream."""
        known = ((e.log_stream, e.process_id) for e in self._environments)
        return {log_stream: process_id for log_stream, process_id in known if process_id}

    async def invoke(self, event: Any, request_id: str, *, wait: bool) -> Any:
        """Run one event; without `wait`, `ThrottledError` when every environment is busy."""
        payload = json.dumps(event, separators=(",", ":")).encode()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        invocation = Invocation(request_id, payload, future)
        if self._idle:
            self._idle.pop().invoke(invocation)
        elif self._closed or not (wait or self._has_room() or self._is_soon_free()):
            raise ThrottledError("ReservedFunctionConcurrentInvocationLimitExceeded")
        else:
            self._waiting.append(invocation)
            self._grow()
        try:
            return await future
        except asyncio.CancelledError:
            if invocation in self._waiting:
                self._waiting.remove(invocation)  # nobody waits for it any more
            raise

    def is_idle(self, environment: Environment) -> None:
        """An environment asks for work."""
        self._failures = 0
        if self._waiting:
            environment.invoke(self._waiting.popleft())
        else:
            self._idle.append(environment)
            environment.freeze()

    def is_not_idle(self, environment: Environment) -> None:
        """An idle environment no longer asks for work."""
        self._idle.remove(environment)

    def is_gone(self, environment: Environment, start_error: FunctionError | None) -> None:
        """An environment ended; `start_error` says why when it never became ready."""
        self._environments.discard(environment)
        if environment in self._idle:
            self.is_not_idle(environment)
        if self._closed:
            return
        if start_error is None:
            self._grow()
            return
        shown = environment.printed_why and self._description.verbose
        why = start_error.error_type if shown else start_error
        _LOG.error("function %s did not start: %s", self._function.name, why)
        if self._waiting:
            self._waiting.popleft().fail(start_error)
        pause_s = min(RESTART_S_MAX, RESTART_S * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        if self._pause is None:
            self._pause = self.clock.call_later(pause_s, self._after_pause)

    def variables(self, log_stream: str, port: int) -> dict[str, str]:
        """Return the environment variables of a new process: ours, the function's, Lambda's."""
        api, credentials = self._description.api, self._description.credentials
        name = self._function.name
        lambda_ = {
            "AWS_ACCESS_KEY_ID": credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
            "AWS_REGION": api.region,
            "AWS_DEFAULT_REGION": api.region,
            "LAMBDA_TASK_ROOT": str(self._function.directory or Path.cwd()),
        }
        if credentials.session_token:
            lambda_["AWS_SESSION_TOKEN"] = credentials.session_token
        # The developer's own session or profile would not fit the keys above.
        outside = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        own = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self._function.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        }
        return {**outside, **lambda_, **self._function.environment, **own}

    def headers(self, invocation: Invocation) -> list[tuple[str, str]]:
        """Return what the Runtime API says about an event."""
        api, now_s = self._description.api, self.clock.time_s()
        arn = f"arn:aws:lambda:{api.region}:{api.account}:function:{self._function.name}"
        return [
            ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(int((now_s + self._function.timeout_s) * 1000))),
            ("Lambda-Runtime-Invoked-Function-Arn", arn),
            ("Lambda-Runtime-Trace-Id", f"{new_trace_id(now_s)};Sampled=0"),
        ]

    def take_line(self, line: str) -> None:
        """Hand on a line of the log, but not what hides the one that follows."""
        if _RUNTIME_UPDATES not in line:
            self._description.take_line(self._function.name, line)

    def _has_room(self) -> bool:
        return len(self._environments) < self._function.environments_max

    def _is_soon_free(self) -> bool:
        return len(self._waiting) < self._count_coming()

    def _count_coming(self) -> int:
        coming = (State.STARTING, State.ANSWERED)
        return sum(environment.state in coming for environment in self._environments)

    def _after_pause(self) -> None:
        self._pause = None
        self._grow()

    def _grow(self) -> None:
        """Start what is missing: an environment for each that waits, and those kept warm."""
        while not self._closed and self._pause is None and self._has_room():
            is_short = len(self._environments) < self._function.warm
            if not is_short and len(self._waiting) <= self._count_coming():
                return
            environment = Environment(self, self._function)
            self._environments.add(environment)
            self._tasks.start(environment.run())
