"""SIGTERM on `streamproof serve` while requests run, and the next start on its folder (GW-8)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, Self

import pytest
import websockets

SERVE = (sys.executable, "-m", "streamproof.cli", "serve", "--reference")
STOP_S = 10.0
SUBSCRIBE = json.dumps({"id": "s", "action": "subscribe", "payload": {"request_id": "long"}})
HANGS_ONCE: dict[str, Any] = {"end": "hang", "end_attempts": 1}


class Stack:
    """One run of `serve`, and a client of it."""

    def __init__(self, state: Path, *options: str) -> None:
        """Start it and read the line that says it is ready."""
        self.state = state
        self.process = subprocess.Popen(
            [*SERVE, "--state", str(state), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def connect(self) -> Any:
        """A connection that may do everything."""
        words = ["--state", str(self.state), "--user", "u", "--permission", "probe"]
        command = [sys.executable, "-m", "streamproof.cli", "token", *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return websockets.connect(f"{self.url}?Authorization={done.stdout.strip()}")

    async def stop(self, exit_code: int = 0) -> float:
        """Send SIGTERM and wait; how long it took."""
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, 20) == exit_code
        return time.monotonic() - began_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # harmless when it has ended
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


async def say(socket: Any, name: str, action: str, **payload: Any) -> None:
    """Send a request."""
    await socket.send(json.dumps({"id": name, "action": action, "payload": payload}))


async def read_until(socket: Any, request_id: str, kind: str) -> dict[str, Any]:
    """The next message of that request and type."""
    async with asyncio.timeout(15):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if (message["type"], message["request_id"]) == (kind, request_id):
                return message


async def finishes_and_goes_on(state: Path) -> None:
    """The client has its outcome before 1001; what was handed back has lost no attempt."""
    with Stack(state) as stack:
        async with stack.connect() as socket:
            await say(socket, "short", "delay", duration_ms=3_000)
            await say(socket, "long", "probe.async", steps=[{"percentage": 5}], **HANGS_ONCE)
            await read_until(socket, "long", "progress")
            stopping = asyncio.create_task(stack.stop())
            assert (await read_until(socket, "short", "complete"))["result"]
            with pytest.raises(websockets.ConnectionClosed):
                await read_until(socket, "long", "complete")
            assert socket.close_code == 1001
        assert await stopping < STOP_S
    with contextlib.closing(sqlite3.connect(state / "store.sqlite")) as store:
        rows = set(
            store.execute("SELECT request_id, status, attempt, failures + deaths FROM requests")
        )
    assert rows == {("short", "COMPLETED", 1, 0), ("long", "RETRYING", 2, 0)}
    with Stack(state) as again:
        async with again.connect() as socket:
            await socket.send(SUBSCRIBE)
            async with asyncio.timeout(8):  # it begins by itself, nobody had to ask for it
                await read_until(socket, "long", "complete")
            await say(socket, "x", "probe.async")
            await read_until(socket, "x", "complete")
        assert await again.stop() < STOP_S / 2, "nothing ran"


async def ends_all_the_same(folder: Path) -> None:
    """A function in the gateway's own process stops its loop for good."""
    handlers = folder / "stubborn.py"
    handlers.write_text(
        textwrap.dedent("""
            import time
            from streamer_reference.handlers import Registry

            registry = Registry()

            @registry.handler("stubborn", estimated_duration_s=1)
            async def stubborn(job):
                print("stuck", flush=True)
                while True:
                    time.sleep(1)
        """)
    )
    with Stack(folder / "stubborn", "--handlers", str(handlers)) as stack:
        socket = await stack.connect()
        await say(socket, "r", "stubborn")
        assert stack.process.stdout is not None
        assert await asyncio.to_thread(stack.process.stdout.readline) == "stuck\n"
        assert await stack.stop(3) < STOP_S + 1  # of a busy machine
        assert not (stack.state / "target.json").exists()
        socket.transport.abort()


async def test_a_stop_finishes_or_hands_back_what_runs_within_its_bound(tmp_path: Path) -> None:
    """Two stacks side by side, as each takes most of the bound: one orderly, one that is stuck."""
    await asyncio.gather(finishes_and_goes_on(tmp_path / "state"), ends_all_the_same(tmp_path))
