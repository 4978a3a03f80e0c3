"""No test of the gateway hangs: what never comes fails it, and the failure says where it waited."""

from __future__ import annotations

import asyncio
import functools
import inspect
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.gateway_host import WAIT_S


def pytest_itemcollected(item: pytest.Item) -> None:
    """Bound each asynchronous test in this directory."""
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The test, with `WAIT_S` real seconds to end."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        try:
            async with asyncio.timeout(WAIT_S) as limit:
                await test(*args, **kwargs)
        except TimeoutError as error:
            if not limit.expired():
                raise
            waited = _line(error.__cause__, inspect.getfile(test))
            raise AssertionError(f"after {WAIT_S:.0f} s the test still waits: {waited}") from error

    return run


def _line(error: BaseException | None, file: str) -> str:
    """Where in a test's file an error came through."""
    frames = traceback.extract_tb(error and error.__traceback__)
    return next((f"line {f.lineno}, {f.line}" for f in frames[::-1] if f.filename == file), "?")
