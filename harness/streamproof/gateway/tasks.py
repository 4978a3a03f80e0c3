"""Background tasks that are held, named in one place, waited for and ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

CANCELLED_S = 0.2  # how long a task may take to notice that it was cancelled


class Tasks:
    """A set of running tasks; the loop alone would hold them only weakly."""

    def __init__(self) -> None:
        """Start with none."""
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """Count those that run."""
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` side by side with the rest."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def finish(self, timeout_s: float) -> bool:
        """Wait until all have ended, also those begun meanwhile; False when time ran out."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while self._running:
            left_s = end_s - loop.time()
            if left_s <= 0:
                return False
            await asyncio.wait(self._running, timeout=left_s)
        return True

    async def cancel(self) -> None:
        """Cancel all and wait until they are over, but not for what takes no notice."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + CANCELLED_S
        while self._running and (left_s := end_s - loop.time()) > 0:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=left_s)
