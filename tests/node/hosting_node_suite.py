"""The Node.js example with the AWS SDK, which npm installs: `tox -e node`, not the ordinary run."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from streamproof.gateway import Function
from support.gateway_host import running

EXAMPLE = Path(__file__).parents[2] / "examples" / "hosting-node"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What `serve` describes in a copy of the example, stopped in order afterwards."""
    assert shutil.which("npm"), "install nodejs and npm"
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "streamproof.cli", "serve"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert "chat: MESSAGE " in said


async def test_an_unmodified_node_handler_posts_back_to_the_domain_of_its_event(
    target: dict[str, Any],
) -> None:
    """SDK v3, with the endpoint built from the event, over TLS."""
    trust = ssl.create_default_context(cafile=target["ca"])
    async with websockets.connect(target["url"], ssl=trust, proxy=None) as socket:
        for number in range(3):
            await socket.send(f"message {number}")
            async with asyncio.timeout(30):
                assert json.loads(await socket.recv())["echo"] == f"message {number}"


async def test_the_loop_waits_for_an_event_for_longer_than_fetch_would(tmp_path: Path) -> None:
    """`fetch` gives up after five minutes, which ends a process that is not frozen meanwhile."""
    shutil.copy(EXAMPLE / "bootstrap.mjs", tmp_path)
    (tmp_path / "index.mjs").write_text(
        "export const handler = async (event, context) => [event, context.awsRequestId.length];"
    )
    (tmp_path / "impatient.mjs").write_text("""
        const { fetch } = globalThis;
        globalThis.fetch = async (url, options) => {
          if (url.endsWith("/next")) throw new TypeError("fetch failed: HeadersTimeoutError");
          return fetch(url, options);
        };
    """)
    function = Function(
        "f",
        command=("node", "--import", "./impatient.mjs", "bootstrap.mjs"),
        directory=tmp_path,
        environment={"_HANDLER": "index.handler"},
    )
    async with running(function, freeze=False) as stage, asyncio.timeout(30):
        for text in ("one", "zwölf"):
            assert await stage.gateway.invoke("f", {"text": text}) == [{"text": text}, 36]
        assert len(stage.gateway.process_ids()["f"]) == 1
