"""Virtual time: an event loop whose clock jumps to the next timer when nothing is ready.

Two hours of keepalives pass in milliseconds, and nothing in a test waits for a wall clock. Real
sockets on loopback work beside it, and so do threads started with `asyncio.to_thread`: while one
runs, or bytes are under way, the clock stands still. A loop that waits for something that can never
come raises `DeadlockError`, which says what each task waits at, instead of hanging.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SETTLE_S = 0.005  # real seconds that bytes between two sockets of this process may take
DEADLOCK_S = 1.0  # real seconds without a timer, a thread's result or a byte
VIRTUAL_S_MAX = 86_400.0  # a loop that only re-arms timers ends here,
JUMPS_MAX = 5_000  # or here: the longest test takes 1,400


class DeadlockError(AssertionError):
    """Every task waits, and nothing is left that could wake one or end the test."""

    def __init__(self, why: str) -> None:
        tasks = "".join(f"\n  {_place(task)}" for task in asyncio.all_tasks())
        super().__init__(f"{why}; what waits:{tasks}")


def _place(task: asyncio.Task[Any]) -> str:
    """A task's coroutine and the line that it waits at."""
    frames = task.get_stack()
    code = frames[-1].f_code if frames else None
    at = f" at {code.co_filename}:{frames[-1].f_lineno}" if code else ""
    return f"{getattr(task.get_coro(), '__qualname__', task.get_name())}{at}"


class _JumpingSelector(selectors.DefaultSelector):
    """Asks the real selector first, and moves the clock when it has nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.jumps = 0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Ready descriptors; without any, time passes by `timeout` seconds at once."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.threads:
            ready = super().select(DEADLOCK_S if timeout is None else timeout)
            if not ready and timeout is None:
                raise DeadlockError("every task waits, and no timer is set")
            return ready
        if len(self.get_map()) > 1:  # more than the loop's own wake-up pipe
            ready = super().select(SETTLE_S)
        if not ready:
            self.now_s += timeout
            self.jumps += 1
            if self.now_s > VIRTUAL_S_MAX or self.jumps > JUMPS_MAX:
                passed = f"{self.now_s:.0f} virtual seconds passed in {self.jumps} steps"
                self.jumps = 0  # what is cancelled now may still end
                raise DeadlockError(f"{passed} without an end")
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop on virtual seconds that begin at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now_s

    def run_in_executor(  # type: ignore[override]  # typeshed spells the variadic differently
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run in a thread; the clock stands still until it has answered."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1


async def pass_time(seconds: float) -> None:
    """Let so many virtual seconds pass; what is due in them happens first."""
    loop = asyncio.get_running_loop()
    moment: asyncio.Future[None] = loop.create_future()
    loop.call_later(seconds, moment.set_result, None)
    await moment


def run_virtual(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a fresh loop in virtual time, and return or raise what comes out."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an asynchronous test (fixtures and all) a synchronous one that runs on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(test(*args, **kwargs))

    return run
