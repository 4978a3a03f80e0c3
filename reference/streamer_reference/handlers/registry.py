"""Which function answers which action, and what stands in front of it.

A module makes a `Registry`, decorates its handlers, and is included in the one that the service
runs. Including is all or nothing, so that a broken module cannot leave half of itself behind.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import inspect
import math
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from streamer_reference.handlers.job import JSON, Job
from streamer_reference.protocol.errors import (
    CODE_PATTERN,
    ERROR_CODES,
    ErrorCode,
    FieldError,
    HandlerError,
)
from streamer_reference.protocol.limits import ACTION_PATTERN

ENTRY_POINT_GROUP = "streamer_reference.handlers"
# The router answers these itself; a handler of that name would never be reached.
RESERVED_ACTIONS = frozenset({"status", "cancel", "subscribe", "unsubscribe", "broadcast"})

QUEUE_THRESHOLD_S = 5.0  # ROUTE-3
ALWAYS_SHORT_S = 0.0  # an estimate below every threshold
ALWAYS_QUEUED_S = math.inf  # an estimate above every threshold

Run = Callable[[Job], Any]  # async, or sync: then it runs in a thread
Next = Callable[[Job], Awaitable[JSON]]
Middleware = Callable[[Job, Next], Awaitable[JSON]]
Validate = Callable[[Mapping[str, JSON]], list[FieldError]]
CallSync = Callable[[Run, Job], Awaitable[JSON]]
RunT = TypeVar("RunT", bound=Run)
MiddlewareT = TypeVar("MiddlewareT", bound=Middleware)


class RegistrationError(ValueError):
    """A handler that cannot be registered: the caller's mistake, found at start."""


class DuplicateHandlerError(RegistrationError):
    """A second handler for an action, or one for an action of the router's own (ROUTE-5)."""


class UnregisteredCodeError(Exception):
    """A handler raised a code that nobody registered; a client is told of a failure, no more."""


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
    estimated_duration_s: float = ALWAYS_SHORT_S
    permission: str | None = None
    time_limit_s: float | Callable[[Mapping[str, JSON]], float] = 300.0
    attempts: int = 3  # ASYNC-5
    validate: Validate = lambda _: []
    error_codes: tuple[ErrorCode, ...] = ()

    def __post_init__(self) -> None:
        limit_is_good = callable(self.time_limit_s) or 0 < self.time_limit_s < math.inf
        for good, must in (
            (ACTION_PATTERN.fullmatch(self.action), "the action must be A-Z a-z 0-9 . _ -"),
            (self.estimated_duration_s >= 0, "estimated_duration_s must be 0 or more"),
            (limit_is_good, "time_limit_s must be above 0 and finite"),
            (self.attempts >= 1, "attempts must be 1 or more"),
        ):
            if not good:
                raise RegistrationError(f"{self.action!r}: {must}")
        for code in self.error_codes:
            if not CODE_PATTERN.fullmatch(code.code) or code.code in ERROR_CODES:
                raise RegistrationError(f"{self.action!r}: {code.code!r} is taken or malformed")

    def is_queued(self, threshold_s: float = QUEUE_THRESHOLD_S) -> bool:
        """Whether a request for this action is queued rather than run at once (ROUTE-3)."""
        return self.estimated_duration_s > threshold_s

    def is_async(self) -> bool:
        """Whether `run` is a coroutine function; any other one belongs in a thread."""
        return inspect.iscoroutinefunction(self.run) or inspect.iscoroutinefunction(
            getattr(self.run, "__call__", None)  # noqa: B004 - an object may have an async __call__
        )

    def time_limit_of(self, payload: Mapping[str, JSON]) -> float:
        """The time limit for this payload, in seconds."""
        return self.time_limit_s(payload) if callable(self.time_limit_s) else self.time_limit_s


@dataclasses.dataclass(frozen=True, slots=True)
class LoadFailure:
    """A source of handlers that could not be loaded, to be named in the log at start."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class Registry:
    """Handlers by action, and middleware in the order of its registration, outermost first."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self.error_codes: Mapping[str, ErrorCode] = ERROR_CODES
        self.middlewares: tuple[Middleware, ...] = ()

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def get(self, action: str) -> Handler | None:
        """The handler of an action, None for an unknown one (ROUTE-1)."""
        return self._handlers.get(action)

    def handler(self, action: str, **options: Any) -> Callable[[RunT], RunT]:
        """Register the decorated function for an action; the options are the fields of `Handler`.

        Raises `DuplicateHandlerError` when the action is taken, `RegistrationError` otherwise.
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
                raise DuplicateHandlerError(f"{handler.action!r} has a handler already")
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

    def bind(self, handler: Handler, call_sync: CallSync = asyncio.to_thread) -> Next:
        """The handler behind the middleware; `call_sync` runs a sync one off the event loop.

        Awaiting it raises what the handler raises, and `UnregisteredCodeError` (ERR-1).
        """
        is_async, codes = handler.is_async(), self.error_codes

        async def run(job: Job) -> JSON:
            return await handler.run(job) if is_async else await call_sync(handler.run, job)

        bound: Next = run
        for middleware in reversed(self.middlewares):
            bound = _around(middleware, bound)

        async def checked(job: Job) -> JSON:
            try:
                return await bound(job)
            except HandlerError as error:
                if error.code not in codes:
                    raise UnregisteredCodeError(f"{handler.action!r}: {error.code}") from error
                error.retryable = error.retryable or codes[error.code].retryable
                if error.message == error.code:  # raised without a message
                    error.message = codes[error.code].meaning
                raise

        return checked

    def load_file(self, path: Path) -> LoadFailure | None:
        """Include the `registry` of a Python file; what is wrong is returned, not raised."""
        return self._load(str(path), lambda: getattr(_run_file(path), "registry", None))

    def load_entry_points(self, group: str = ENTRY_POINT_GROUP) -> tuple[LoadFailure, ...]:
        """Include each registry that an installed distribution names; return the broken ones."""
        points = sorted(importlib.metadata.entry_points(group=group), key=lambda p: p.name)
        results = [self._load(f"{point.name} = {point.value}", point.load) for point in points]
        return tuple(failure for failure in results if failure is not None)

    def _load(self, source: str, load: Callable[[], object]) -> LoadFailure | None:
        try:
            loaded = load()
            if not isinstance(loaded, Registry):
                return LoadFailure(source, "it has no Registry of that name")
            self.include(loaded)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a team's module may raise anything
            return LoadFailure(source, f"{type(error).__name__}: {error}")
        return None


def _around(middleware: Middleware, inner: Next) -> Next:
    async def call(job: Job) -> JSON:
        return await middleware(job, inner)

    return call


def _run_file(path: Path) -> object:
    """Run a file as a module of its own name, so that two files called handlers.py can coexist."""
    name = f"streamer_handlers_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("this is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
