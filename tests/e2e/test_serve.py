"""`streamproof serve` as a user meets it: another process, reached with public libraries alone."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import select
import signal
import sqlite3
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import openpyxl
import pytest
import websockets
from botocore.config import Config

from streamer_reference.client import Progress, StreamerClient

SERVE = (sys.executable, "-m", "streamproof.cli", "serve", "--port", "0")


class Serve:
    """One running stack."""

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
        self.target: dict[str, Any] = json.loads(self.process.stdout.readline())

    def token(self, user: str, *permissions: str) -> str:
        """A token, as the command line prints it."""
        words = [word for permission in permissions for word in ("--permission", permission)]
        command = [sys.executable, "-m", "streamproof.cli", "token", "--state", str(self.state)]
        done = subprocess.run(
            [*command, "--user", user, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def workers(self) -> list[int]:
        """The process ids of the workers, which are the only children."""
        pid = self.target["pid"]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in children.split()]

    def management(self, secret: str | None = None) -> Any:
        """boto3's client for `@connections`."""
        return boto3.client(
            "apigatewaymanagementapi",
            endpoint_url=self.target["management_url"],
            region_name=self.target["region"],
            aws_access_key_id=self.target["access_key_id"],
            aws_secret_access_key=secret or self.target["secret_access_key"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> int:
        """Stop it in order; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A stack without limits, stopped in order."""
    stack = Serve(tmp_path_factory.mktemp("state"), "--rate-limit", "0", "--in-flight-limit", "0")
    try:
        yield stack
    finally:
        assert stack.stop() == 0
        assert not (stack.state / "target.json").exists()


async def read(socket: websockets.ClientConnection) -> dict[str, Any]:
    """The next message, within a bound."""
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await socket.recv())
        return message


def test_the_state_is_private_and_described_once(serve: Serve) -> None:
    """Keys and description are readable by their owner alone, and say what was printed."""
    for name in ("target.json", "jwt-private.pem", "credentials.json", "store.sqlite"):
        assert stat.S_IMODE((serve.state / name).stat().st_mode) == 0o600
    assert json.loads((serve.state / "target.json").read_text()) == serve.target
    assert serve.target["pid"] == serve.process.pid


@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf"])
async def test_a_report_is_acknowledged_reported_on_completed_and_opens(
    serve: Serve, form: str
) -> None:
    """The main job over a bare WebSocket: order, numbers, and a file behind the URL."""
    token = serve.token("reader")
    async with websockets.connect(f"{serve.target['url']}?Authorization={token}") as socket:
        payload = {"start_date": "2025-01-01", "end_date": "2025-03-31", "format": form}
        await socket.send(json.dumps({"action": "generate_report", "payload": payload}))
        messages = [await read(socket)]
        while messages[-1]["type"] not in ("complete", "error"):
            messages.append(await read(socket))
    kinds = [message["type"] for message in messages]
    assert kinds[0] == "acknowledgment"
    assert kinds[-1] == "complete", messages[-1]
    assert set(kinds[1:-1]) == {"progress"}
    assert [message["sequence"] for message in messages] == list(range(len(messages)))
    percentages = [m["percentage"] for m in messages if m["type"] == "progress"]
    assert percentages == sorted(percentages)
    result = messages[-1]["result"]
    data = await asyncio.to_thread(fetch, result["url"])
    assert len(data) == result["size_bytes"]
    if form == "csv":
        assert len(list(csv.reader(io.StringIO(data.decode())))) > 2
    elif form == "xlsx":
        book = openpyxl.load_workbook(io.BytesIO(data))
        assert book.active is not None
        assert book.active.max_row > 2
    else:
        assert data.startswith(b"%PDF-")
        assert data.rstrip().endswith(b"%%EOF")
    with pytest.raises(urllib.error.HTTPError) as refused:
        await asyncio.to_thread(fetch, result["url"][:-4] + "0000")
    assert refused.value.code == 403
    refused.value.close()


async def test_data_is_processed_and_a_bulk_partly_fails(serve: Serve) -> None:
    """With the client library: a file of an aggregate, and a result for each item."""
    query = {
        "source": "sales",
        "filter": [{"field": "day", "op": "ge", "value": "2025-12"}],
        "aggregate": {"group_by": ["region"], "metrics": [{"op": "sum", "field": "units"}]},
    }
    shown: list[Progress] = []
    async with StreamerClient(serve.target["url"], serve.token("ada")) as client:
        rows = (await client.request("process_data", query, on_progress=shown.append))["rows"]
        file = await client.request("process_data", {**query, "output": "csv"})
        items = [{"action": "ping"}, {"action": "nothing"}, {"action": "probe.whoami"}]
        bulk = await client.request("bulk", {"items": items})
    text = (await asyncio.to_thread(fetch, file["url"])).decode()
    expected = [{name: str(value) for name, value in row.items()} for row in rows]
    assert list(csv.DictReader(io.StringIO(text))) == expected
    assert [row["region"] for row in rows] == ["East", "North", "South", "West"]
    assert shown[-1].percentage == 90
    assert (bulk["succeeded"], bulk["failed"]) == (1, 2)
    codes = [result.get("error", {}).get("code") for result in bulk["results"]]
    assert codes == [None, "INVALID_ACTION", "FORBIDDEN"]


def fetch(url: str) -> bytes:
    """What is behind a URL of the stack."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


async def test_boto3_posts_reads_deletes_and_gets_typed_exceptions(serve: Serve) -> None:
    """`@connections` is AWS's for AWS's own client."""
    token = serve.token("posted", "probe")
    async with websockets.connect(f"{serve.target['url']}?Authorization={token}") as socket:
        await socket.send(json.dumps({"action": "probe.whoami"}))
        connection_id = (await read(socket))["data"]["connection_id"]
        client = serve.management()
        await asyncio.to_thread(
            client.post_to_connection, ConnectionId=connection_id, Data=b'{"hello":1}'
        )
        assert await read(socket) == {"hello": 1}
        info = await asyncio.to_thread(client.get_connection, ConnectionId=connection_id)
        assert info["Identity"]["SourceIp"] == "127.0.0.1"
        stranger = serve.management(secret="wrong")
        with pytest.raises(stranger.exceptions.ForbiddenException):
            await asyncio.to_thread(
                stranger.post_to_connection, ConnectionId=connection_id, Data=b"{}"
            )
        await asyncio.to_thread(client.delete_connection, ConnectionId=connection_id)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await read(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
        with pytest.raises(client.exceptions.GoneException):
            await asyncio.to_thread(
                client.post_to_connection, ConnectionId=connection_id, Data=b"{}"
            )


async def test_no_request_is_lost_when_every_worker_is_killed_three_times(serve: Serve) -> None:
    """Fifty requests, three massacres: each ends with one `complete`, no number missing."""
    count = 50
    token = serve.token("survivor", "probe")
    steps = [{"percentage": 20 * step, "ms": 60} for step in range(1, 5)]
    async with websockets.connect(f"{serve.target['url']}?Authorization={token}") as socket:
        for number in range(count):
            payload = {"steps": steps, "result": {"number": number}}
            request = {"action": "probe.async", "id": f"k-{number}", "payload": payload}
            await socket.send(json.dumps(request))
        by_request: dict[str, dict[int, dict[str, Any]]] = {}
        ended, kills, killed = 0, 3, set[int]()
        while ended < count:
            message = await read(socket)
            numbers = by_request.setdefault(message["request_id"], {})
            known = numbers.setdefault(message["sequence"], message)
            assert known == message, "one number with two contents"
            if known is message and message["type"] in ("complete", "error"):
                ended += 1
            running = [pid for pid in serve.workers() if pid not in killed]
            if kills and message["type"] == "progress" and running:
                kills -= 1
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        # Those that were held by dead workers now run one by one; nobody else waits for them.
        await socket.send(json.dumps({"action": "probe.async", "id": "fresh"}))
        while (await read(socket)).get("request_id") != "fresh":
            pass
    assert kills == 0
    for number in range(count):
        numbers = by_request[f"k-{number}"]
        assert sorted(numbers) == list(range(len(numbers)))
        outcomes = [m for m in numbers.values() if m["type"] in ("complete", "error")]
        assert [m["type"] for m in outcomes] == ["complete"]
        assert outcomes[0]["result"] == {"number": number}


async def test_processes_end_with_the_one_that_was_started(tmp_path: Path) -> None:
    """After kill -9 of the gateway no worker is left behind."""
    stack = Serve(tmp_path / "state")
    try:
        token = stack.token("orphan", "probe")
        async with websockets.connect(f"{stack.target['url']}?Authorization={token}") as socket:
            await socket.send(json.dumps({"action": "probe.async"}))
            while (await read(socket))["type"] != "complete":
                pass
        workers = [os.pidfd_open(pid) for pid in stack.workers()]
        assert workers, "one of them has just run a request"
    finally:
        stack.kill()
    for worker in workers:
        poll = select.poll()
        poll.register(worker, select.POLLIN)
        assert poll.poll(5_000), "a worker outlived the gateway"
        os.close(worker)


def test_the_protocol_pages_first_program_runs_as_it_stands(serve: Serve, tmp_path: Path) -> None:
    """What a newcomer copies out of docs/protocol.md prints the messages to the outcome."""
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("```")[0]
    command = f'"{sys.executable}", "-m", "streamproof.cli"'
    program = program.replace('"streamproof"', command).replace("DIR", str(serve.state))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    kinds = [line.split("'")[3] for line in done.stdout.splitlines()]
    assert kinds[0] == "acknowledgment"
    assert kinds[-1] == "complete"


def test_the_protocol_pages_client_runs_as_it_stands(serve: Serve) -> None:
    """The library's few lines print an answer, and an error that names its bad fields."""
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[2].split("```")[0]
    command = f'"{sys.executable}", "-m", "streamproof.cli"'
    program = program.replace('"streamproof"', command).replace("DIR", str(serve.state))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    answer, error, fields = done.stdout.splitlines()
    assert answer == "{'echo': {'n': 1}}"
    assert error.startswith("VALIDATION_ERROR: ")
    assert "payload.format" in error
    assert "payload.start_date" in fields


def test_a_port_that_is_taken_is_one_clear_line(serve: Serve, tmp_path: Path) -> None:
    """Exit 2, the port named, no traceback."""
    port = serve.target["url"].split(":")[2].split("/")[0]
    done = subprocess.run(
        [*SERVE[:-1], port, "--state", str(tmp_path / "other")],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert f"port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_of_another_version_is_one_clear_line(tmp_path: Path) -> None:
    """Exit 2, the file named, no traceback; what to do is said."""
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as store:
        store.execute("CREATE TABLE requests (key TEXT)")
    done = subprocess.run(
        [*SERVE, "--state", str(tmp_path)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert f"{tmp_path / 'store.sqlite'} was made by another version" in done.stderr
    assert "--state" in done.stderr
    assert "Traceback" not in done.stderr
