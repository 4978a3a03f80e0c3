"""The examples of docs/hosting.md as a user runs them: `serve` in the folder, a client over TLS."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

EXAMPLES = Path(__file__).parents[3] / "examples"


class Serve:
    """`serve` in a copy of an example's folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.state = folder / ".streamproof"
        command = [sys.executable, "-m", "streamproof.cli", "serve", *options]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.target: dict[str, Any] = json.loads(self.process.stdout.readline())

    def connect(self) -> Any:
        """Open a WebSocket that trusts what target.json names."""
        context = ssl.create_default_context(cafile=self.target["ca"])
        return websockets.connect(self.target["url"], ssl=context, proxy=None)

    def stop(self) -> str:
        """Stop it in order; what it said on standard error."""
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=20)[1]
        assert self.process.returncode == 0
        return said


@pytest.fixture
def serve(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Serve]:
    """A running example by its folder's name."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLES / request.param, folder, ignore=shutil.ignore_patterns("node_*"))
    running = Serve(folder)
    yield running
    if running.process.returncode is None:
        running.stop()


async def asked(socket: Any, text: str) -> str:
    """The message that comes after this one."""
    async with asyncio.timeout(20):
        await socket.send(text)
        return str(await socket.recv())


@pytest.mark.parametrize("serve", ["hosting-python"], indirect=True)
async def test_an_unmodified_handler_posts_back_to_the_domain_of_its_event(serve: Serve) -> None:
    """boto3, with the endpoint built from the event, over TLS, without a line of ours in it."""
    async with serve.connect() as socket:
        for text in ('{"n": 1}', "héllo"):
            answer = json.loads(await asked(socket, text))
            assert answer["echo"] == text
            assert len(answer["request_id"]) == 36
    page = (EXAMPLES.parent / "docs" / "hosting.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[2].split("```")[0]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program],
        cwd=serve.state.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["echo"] == "hello"
    assert serve.target["url"].startswith("wss://127.0.0.1:")
    assert serve.target["management_url"] == serve.target["url"].replace("wss", "https", 1)
    assert serve.target["issuer"] is None
    assert serve.target["limits"] is None
    for name in ("tls.pem", "ca.pem", "target.json"):
        assert stat.S_IMODE((serve.state / name).stat().st_mode) == 0o600
    said = await asyncio.to_thread(serve.stop)
    assert "chat: CONNECT " in said
    assert "chat: MESSAGE " in said
    assert "chat: DISCONNECT " in said


@pytest.mark.parametrize("serve", ["hosting-shell"], indirect=True)
async def test_a_shell_script_is_a_function_and_ends_with_its_gateway(serve: Serve) -> None:
    """Its body comes back on a two-way route; after kill -9 neither it nor its curl is left."""
    assert shutil.which("curl"), "the example is a shell script that calls curl: install curl"
    async with serve.connect() as socket:
        answers = [await asked(socket, "hello") for _ in range(3)]
    assert all(answer.startswith("invocation ") for answer in answers)
    (pid,) = {int(answer.rpartition(" ")[2]) for answer in answers}
    group = [pid, *children(pid)]
    watches = [os.pidfd_open(member) for member in group]
    serve.process.kill()
    serve.process.communicate()
    for watch in watches:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert await asyncio.to_thread(poll.poll, 10_000), "a process outlived the gateway"
        os.close(watch)


def children(pid: int) -> list[int]:
    """The process ids of what a process started and still has."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]
