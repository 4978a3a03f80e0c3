"""What a handler is given: one `Job` per attempt, made by the router or the worker.

A handler reads what it needs from here and nowhere else: time, waiting, storage and progress are
members, so that a handler runs in a test without a server and without a clock.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from streamer_reference.clock import Clock, SystemClock
from streamer_reference.objects import ObjectStore

JSON = Any  # null, bool, int, float, str, list or dict with text keys, nested
T = TypeVar("T")
# As many as a worker has slots, so that synchronous handlers run side by side (ASYNC-6).
THREADS = ThreadPoolExecutor(max_workers=250, thread_name_prefix="handler")


class JobEndedError(Exception):
    """Raised in a thread by `progress` once its request has ended: nobody waits for the work."""


class Progress(Protocol):
    """Where updates go; neither method blocks, and both may be called from any thread (PROG-7)."""

    def progress(self, percentage: float, message: str | None = None) -> None:
        """Take an update; newer ones replace older ones that were not sent yet (PROG-2)."""
        ...

    def set_metadata(self, key: str, value: JSON) -> None:
        """Set what goes out with every later update, and with none before (PROG-5)."""
        ...


class Counter(Protocol):
    """Counts that outlive the process, so that a probe can say how often it ran."""

    async def increment(self, key: str) -> int:
        """Add one, durably, and return the new count; the first is 1."""
        ...

    async def read(self, key: str) -> int:
        """The count, 0 for a key that was never incremented."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at one request.

    Identity comes from the token alone (AUTH-5).
    `attempt` is 1 for the first run and rises with every retry and takeover.
    `updates` is None for a short request, which has one answer and no progress (SYNC-1).
    `sleep` takes seconds.
    """

    payload: dict[str, JSON]
    metadata: Mapping[str, str]
    user_id: str
    tenant_id: str
    permissions: tuple[str, ...]
    connection_id: str
    request_id: str
    counter: Counter
    action: str = ""
    objects: ObjectStore | None = None
    updates: Progress | None = None
    attempt: int = 1
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Clock = SystemClock()  # noqa: RUF009 - it has no state to share
    ended: threading.Event | None = None  # of the thread that this runs in

    def progress(self, percentage: float, message: str | None = None) -> None:
        """Report how far the work is, 0 to 100; from any thread, never blocking (PROG-7).

        Raises `JobEndedError` in a thread whose request has ended.
        """
        if self.ended is not None and self.ended.is_set():
            raise JobEndedError
        if self.updates is not None:
            self.updates.progress(percentage, message)

    def set_metadata(self, key: str, value: JSON) -> None:
        """Set what goes out with every later update (PROG-5)."""
        if self.updates is not None:
            self.updates.set_metadata(key, value)


async def in_thread(run: Callable[[Job], T], job: Job, pool: Executor = THREADS) -> T:
    """Run a function of the job off the event loop.

    A thread cannot be cancelled. When the caller is, the function ends at its next `job.progress`.
    """
    job = dataclasses.replace(job, ended=threading.Event())
    call = contextvars.copy_context().run
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, call, run, job)
    finally:
        if job.ended is not None:
            job.ended.set()
