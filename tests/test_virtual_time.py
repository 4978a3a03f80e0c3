"""Tests of virtual time: the helper that other tests trust."""

from __future__ import annotations

import asyncio
import threading

import pytest

from support.virtual_time import DeadlockError, pass_time, run_virtual, virtual_time


@virtual_time
async def test_two_hours_pass_at_once_and_in_order():
    """Timers fire in their order, each at its own moment."""
    seen: list[tuple[float, str]] = []
    loop = asyncio.get_running_loop()

    async def note(after_s: float, name: str) -> None:
        await pass_time(after_s)
        seen.append((round(loop.time(), 6), name))

    await asyncio.gather(note(7200, "late"), note(0.5, "early"), note(60, "between"))
    assert seen == [(0.5, "early"), (60.0, "between"), (7200.0, "late")]


@virtual_time
async def test_real_sockets_answer_before_a_timeout_passes():
    """Bytes on loopback count as ready: a virtual timeout does not overtake them."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        for _ in range(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            assert await asyncio.wait_for(reader.read(), 0.001) == b"hello\n"
            writer.close()


@virtual_time
async def test_the_clock_waits_for_threads():
    """A thread's work takes no virtual time, however long it really takes."""
    release = threading.Event()
    asyncio.get_running_loop().call_soon(release.set)
    assert await asyncio.wait_for(asyncio.to_thread(release.wait, 5), 1000)
    assert asyncio.get_running_loop().time() < 5


def test_a_deadlock_is_named():
    """Waiting for what can never come raises, and does not hang."""
    with pytest.raises(DeadlockError, match="no timer"):
        run_virtual(asyncio.Event().wait())


def test_endless_timers_end():
    """A loop that only re-arms its timers is stopped after a virtual day."""

    async def tick() -> None:
        while True:
            await pass_time(3600)

    with pytest.raises(DeadlockError, match="virtual seconds"):
        run_virtual(tick())


def test_short_timers_without_an_end_end_too():
    """Polling for what never comes is stopped after so many steps, and says who waits and where."""

    async def poll() -> None:
        while True:
            await pass_time(0.001)

    with pytest.raises(
        DeadlockError, match=r"(?s)in 5001 steps .*poll at .*test_virtual_time\.py:"
    ):
        run_virtual(poll())
