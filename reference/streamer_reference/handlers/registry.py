"""Which function answers which action, and what stands in front of it.

A module makes a `Registry`, decorates its handlers, and is included in the one that the service
runs. Including is all or nothing, so that a broken module cannot leave half of itself behind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib.machinery
import importlib.metadata
import inspect
import math
import sys
import traceback
import types
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from streamer_reference.handlers.job import JSON, Job, in_thread
from streamer_reference.observability.logs import log
from streamer_reference.protocol import errors
from streamer_reference.protocol.errors import ErrorCode, FieldError, StreamerError
from streamer_reference.protocol.limits import ACTION_PATTERN

ENTRY_POINT_GROUP = "streamer_reference.handlers"
# The router answers these itself; a handler of that name would never be reached.
RESERVED_ACTIONS = frozenset({"status", "cancel", "subscribe", "unsubscribe", "broadcast"})

QUEUE_THRESHOLD_S = 5.0  # ROUTE-3
ALWAYS_QUEUED_S = math.inf  # an estimate above every threshold
REASON_CHARS_MAX = 2_000  # of what a handler raised, in a line of the log

Run = Callable[[Job], Any]  # async, or sync: then it runs in a thread
Next = Callable[[Job], Awaitable[JSON]]
Middleware = Callable[[Job, Next], Awaitable[JSON]]
Validate = Callable[[Mapping[str, JSON]], list[FieldError]]
RunT = TypeVar("RunT", bound=Run)
MiddlewareT = TypeVar("MiddlewareT", bound=Middleware)


class UnregisteredCodeError(LookupError):
    """A handler raised a code that no `error_codes` explain; its cause is what was raised."""

    def __init__(self, action: str, code: str) -> None:
        """`code` as the handler named it."""
        super().__init__(f"{action!r}: {code} is not registered")
        self.code = code


class RegistrationError(ValueError):
    """A handler that cannot be: the second one for an action (ROUTE-5), or a wrong one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One action and how it is run.

    `estimated_duration_s` decides between answering at once and queueing (ROUTE-3).
    `time_limit_s` is a number, or a function of the payload; a short request has 25 s at most.
    `attempts` bounds the runs of a long request that end in a retryable error, the first included.
    `validate` names the bad fields of a payload; it runs before anything else does (ROUTE-2).
    Raises `RegistrationError` for an action, a limit or an error code that cannot be.
    """

    action: str
    run: Run
    estimated_duration_s: float = 0.0
    permission: str | None = None
    time_limit_s: float | Callable[[Mapping[str, JSON]], float] = 300.0
    attempts: int = 3  # ASYNC-5
    validate: Validate = lambda _: []
    error_codes: tuple[ErrorCode, ...] = ()

    def __post_init__(self) -> None:
        limit_is_good = callable(self.time_limit_s) or 0 < self.time_limit_s < math.inf
        bounds_hold = self.estimated_duration_s >= 0 and self.attempts >= 1 and limit_is_good
        if not ACTION_PATTERN.fullmatch(self.action) or not bounds_hold:
            raise RegistrationError(f"{self.action!r}: the action, a time or attempts cannot be")
        for code in self.error_codes:
            if not errors.CODE_PATTERN.fullmatch(code.code) or code.code in errors.ERROR_CODES:
                raise RegistrationError(f"{self.action!r}: {code.code!r} is taken or malformed")

    def is_queued(self, threshold_s: float = QUEUE_THRESHOLD_S) -> bool:
        """Whether a request for this action is queued rather than run at once (ROUTE-3)."""
        return self.estimated_duration_s > threshold_s

    def time_limit_of(self, payload: Mapping[str, JSON]) -> float:
        """The time limit for this payload, in seconds."""
        return self.time_limit_s(payload) if callable(self.time_limit_s) else self.time_limit_s


class Registry:
    """Handlers by action, and middleware in the order of its registration, outermost first."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self.error_codes: Mapping[str, ErrorCode] = errors.ERROR_CODES
        self.middlewares: tuple[Middleware, ...] = ()

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def get(self, action: str) -> Handler | None:
        """The handler of an action, None for an unknown one (ROUTE-1)."""
        return self._handlers.get(action)

    def handler(self, action: str, **options: Any) -> Callable[[RunT], RunT]:
        """Register the decorated function for an action; the options are the fields of `Handler`.

        Raises `RegistrationError`.
        """

        def register(run: RunT) -> RunT:
            self.add(Handler(action=action, run=run, **options))
            return run

        return register

    def add(self, *handlers: Handler) -> None:
        """Register all of them, or none and raise `RegistrationError`."""
        added, codes = dict(self._handlers), dict(self.error_codes)
        for handler in handlers:
            if handler.action in added or handler.action in RESERVED_ACTIONS:
                raise RegistrationError(f"{handler.action!r} has a handler already")
            added[handler.action] = handler
            for code in handler.error_codes:
                if codes.setdefault(code.code, code) != code:
                    raise RegistrationError(f"{handler.action!r}: {code.code} means another thing")
        self._handlers, self.error_codes = added, codes

    def middleware(self, function: MiddlewareT) -> MiddlewareT:
        """Append a middleware; the first one registered is the outermost (ROUTE-4)."""
        self.middlewares += (function,)
        return function

    def include(self, other: Registry) -> None:
        """Take over all handlers and middleware of another registry, or none and raise."""
        self.add(*other)
        self.middlewares += other.middlewares

    def admit(
        self, action: str, payload: Mapping[str, JSON], permissions: Collection[str]
    ) -> Handler:
        """The handler that may run; `StreamerError` for action, permission, payload (MSG-2)."""
        if (handler := self.get(action)) is None:
            raise StreamerError("INVALID_ACTION")
        if handler.permission is not None and handler.permission not in permissions:
            raise StreamerError("FORBIDDEN")
        try:
            bad = handler.validate(payload)
        except Exception as error:  # noqa: BLE001 - a team's validation may raise anything
            log("error", "a validation failed", error_type=type(error).__name__, action=action)
            raise StreamerError("INTERNAL_ERROR") from None
        if bad:
            raise errors.ValidationError(bad)
        return handler

    async def call(self, handler: Handler, job: Job, limit_s: float) -> JSON:
        """The handler's result, behind the middleware; `StreamerError` TIMEOUT after `limit_s`.

        Raises what the handler raises; `UnregisteredCodeError` for a code that nobody registered.
        """
        is_async = inspect.iscoroutinefunction(handler.run)
        bound: Next = handler.run if is_async else functools.partial(in_thread, handler.run)
        for middleware in reversed(self.middlewares):
            bound = functools.partial(_around, middleware, bound)
        deadline, task = asyncio.timeout(limit_s), asyncio.current_task()
        try:
            async with deadline:
                return await bound(dataclasses.replace(job, action=handler.action))
        except StreamerError as error:
            code = self.error_codes.get(error.code)
            if code is None or error.code == errors.NO_OUTCOME:
                raise UnregisteredCodeError(handler.action, error.code) from error
            error.retryable = error.retryable or code.retryable
            if error.message == error.code:  # raised without a message
                error.message = code.meaning
            raise
        except TimeoutError:
            if deadline.expired():
                raise StreamerError("TIMEOUT") from None
            raise
        except asyncio.CancelledError:
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this: the handler awaited something that it had cancelled itself.
            raise RuntimeError("the handler raised CancelledError") from None
        except SystemExit:
            raise RuntimeError("the handler tried to end its process") from None

    def load_file(self, path: Path) -> str | None:
        """Include the `registry` of a Python file; what is wrong is returned, not raised."""
        return self._load(str(path), lambda: getattr(_run_file(path), "registry", None))

    def load_entry_points(self, group: str = ENTRY_POINT_GROUP) -> list[str]:
        """Include each registry that an installed distribution names; return what is wrong."""
        points = sorted(importlib.metadata.entry_points(group=group), key=lambda p: p.name)
        wrong = [self._load(f"{point.name} = {point.value}", point.load) for point in points]
        return [reason for reason in wrong if reason is not None]

    def _load(self, source: str, load: Callable[[], object]) -> str | None:
        try:
            loaded = load()
            if not isinstance(loaded, Registry):
                return f"{source}: it has no Registry of that name"
            self.include(loaded)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a team's module may raise anything
            lines = [line for file, line in _frames(error) if file == source]
            if isinstance(error, SyntaxError) and error.filename == source:
                lines = [error.lineno or 1]
            at = f"{source}:{lines[-1]}" if lines else source
            return f"{at}: {type(error).__name__}: {error}"
        return None


def log_failure(error: Exception, action: str, handler: Handler | None, **about: Any) -> None:
    """Log the line that raised, the innermost in the handler's own file if it is in there.

    What the error says may hold a token, so it stands at the level debug alone (AUTH-6).
    """
    run = inspect.unwrap(handler.run) if handler is not None else None
    own = getattr(getattr(run, "__code__", None), "co_filename", None)
    raised: BaseException
    raised, at = error, _frames(error)[-1:]
    for candidate in (error, error.__cause__, error.__context__):  # ours may stand for theirs
        if frames := [frame for frame in _frames(candidate) if frame[0] == own]:
            raised, at = candidate or error, frames[-1:]
            break
    about |= {"action": action, "error_type": type(error).__name__}
    about["code"] = error.code if isinstance(error, UnregisteredCodeError) else None
    log("error", "a handler failed", at="".join(f"{file}:{line}" for file, line in at), **about)
    said = "".join(traceback.format_exception_only(raised)).strip()
    log("debug", "what the handler raised", action=action, reason=said[:REASON_CHARS_MAX])


def _frames(error: BaseException | None) -> list[tuple[str, int]]:
    """File and line of each frame that the error came through, the innermost last."""
    trace = error.__traceback__ if error is not None else None
    return [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]


async def _around(middleware: Middleware, inner: Next, job: Job) -> JSON:
    return await middleware(job, inner)


def _run_file(path: Path) -> types.ModuleType:
    """Run a file as a module named by its path, so that two files called handlers.py can coexist.

    It stays in `sys.modules`: who reads annotations when it is used looks its module up there.
    """
    module = sys.modules[str(path)] = types.ModuleType(str(path))
    module.__file__ = str(path)
    importlib.machinery.SourceFileLoader(module.__name__, str(path)).exec_module(module)
    return module
