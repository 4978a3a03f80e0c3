"""Hold 10,000 idle connections to `streamproof serve`, and see what hostile ones do to the others.

    python tests/benchmarks/connections.py            three minutes
    python tests/benchmarks/connections.py --help

Printed: what one idle connection costs in resident memory of the process of `serve`, the store's
rows being on disk; and the latency of short requests of others, from the moment each was planned
for, beside clients that do not read, clients that are gone without a word, and 500 connects per
second. Each of these must have happened: buffers are full, half-open sockets were posted to, and
the connects were answered. Exit 0 when each bound holds, 1 when one is missed, 2 when it could not
be run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streamproof.targets.base import Description
from streamproof.targets.tokens import Identity, TokenMint
from streamproof.terminal import note, say

MEMORY_BYTES_MAX = 15_000  # per idle connection
LATENCY_MS_P99_MAX = 10.0
CONNECTS_PER_S = 500
PROBES, PROBES_PER_S = 50, 100
SLOW, SLOW_PER_S, SLOW_BYTES = 5, 20, 30_000
SLOW_AT_ONCE = 250  # 7.5 MB: 1 MiB in the gateway and what Linux lets a socket send ahead
SLOW_REQUEST = {"action": "echo", "payload": {"text": "x" * SLOW_BYTES}}
GONE = 50  # of each kind: open connections, and handshakes that were never finished
OPENED_SHARE_MIN = 0.95  # of `CONNECTS_PER_S`
TELLS_S = 1.0  # a broadcast to the hostile ones so often
OPENING_MAX = 64  # handshakes under way at once
TEXT = 0x81  # the first byte of a text message in one frame
SERVE = "import sys; from streamproof.cli import main; sys.exit(main())"


class Client(asyncio.Protocol):
    """A WebSocket client that costs next to nothing: frames masked with zeros, text only."""

    def __init__(self) -> None:
        """Wait for the handshake's answer."""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered: dict[str, float] = {}
        self._buffer = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """A handshake that ends so has failed."""
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed during the handshake"))

    def data_received(self, data: bytes) -> None:
        """Read the handshake's answer, then frames; note when each request was answered."""
        now_s = time.perf_counter()
        self._buffer += data
        if not self.opened.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = self._buffer.split(b" ", 2)[1]
            del self._buffer[: end + 4]
            if status == b"101":
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionError(f"status {status.decode()}"))
        while (text := self._next_text()) is not None:
            self.note(json.loads(text), now_s)

    def note(self, message: dict[str, Any], now_s: float) -> None:
        """Take one message; a broadcast answers no request."""
        if request_id := message.get("request_id"):
            self.answered[request_id] = now_s

    def _next_text(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size:
            return None
        text = bytes(buffer[start : start + size]) if buffer[0] == TEXT else None
        del buffer[: start + size]
        return text

    def send(self, message: dict[str, Any]) -> None:
        """Send one text message."""
        text = json.dumps(message).encode()
        size = len(text)
        short = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.transport.write(bytes([TEXT]) + short + bytes(4) + text)


class Teller(Client):
    """Broadcasts to its tenant, and counts the posts that were taken and that were refused."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        super().__init__()
        self.delivered = self.failed = 0

    def note(self, message: dict[str, Any], now_s: float) -> None:
        """Take one message; of a broadcast's answer, what became of its posts."""
        super().note(message, now_s)
        if message["type"] == "response":
            self.delivered += message["data"]["delivered"] - 1  # it is of its tenant, too
            self.failed += message["data"]["failed"]

    async def tell(self) -> None:
        """Broadcast until cancelled."""
        while True:
            self.send({"action": "broadcast", "payload": {"payload": "x" * SLOW_BYTES}})
            await asyncio.sleep(TELLS_S)


async def open_one(
    url: str, token: str, part: int | None = None, kind: type[Client] = Client
) -> Client:
    """Open a connection; with `part`, send so many bytes of the handshake and no more."""
    address = urlsplit(url)
    request = (
        f"GET {address.path}?Authorization={token} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(
        kind, str(address.hostname), int(address.port or 0)
    )
    transport.write(request.encode()[:part])
    if part is None:
        async with asyncio.timeout(30):
            await client.opened
    return client


async def open_many(url: str, token: str, count: int) -> list[Client]:
    """Open `count` connections, some at a time."""
    turn = asyncio.Semaphore(OPENING_MAX)

    async def one() -> Client:
        async with turn:
            return await open_one(url, token)

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def hold(url: str, token: str, count: int) -> None:
    """Hold idle connections until the end of standard input."""
    clients = await open_many(url, token, count)
    await _until_told()
    del clients


async def vanish(url: str, token: str, count: int) -> None:
    """Open connections and begin handshakes; the process is stopped once it has told of them."""
    clients = await open_many(url, token, count)
    clients += [await open_one(url, token, part=40) for _ in range(count)]
    await _until_told()
    del clients


async def read_nothing(url: str, token: str, count: int) -> None:
    """Ask for answers of 30 KB, twenty a second on each connection, and never read one.

    More than all buffers hold is asked for at once, so that they are full from the beginning.
    """
    clients = await open_many(url, token, count)
    for client in clients:
        client.transport.pause_reading()
        receiving: socket.socket = client.transport.get_extra_info("socket")
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BYTES)
        for _ in range(SLOW_AT_ONCE):
            client.send(SLOW_REQUEST)
    asking = asyncio.ensure_future(_ask(clients))
    await _until_told()
    asking.cancel()


async def _ask(clients: list[Client]) -> None:
    while True:
        for client in clients:
            client.send(SLOW_REQUEST)
        await asyncio.sleep(1 / SLOW_PER_S)


async def churn(url: str, token: str, per_s: int) -> None:
    """Open connections at a rate and drop each a second later; tell how many a second opened."""
    tasks: set[asyncio.Task[None]] = set()
    opened = 0

    async def one() -> None:
        nonlocal opened
        client = await open_one(url, token)
        opened += 1
        await asyncio.sleep(1)
        client.transport.abort()

    began_s = time.perf_counter()
    opening = asyncio.ensure_future(_at_rate(per_s, lambda: tasks.add(asyncio.create_task(one()))))
    await _until_told()
    opening.cancel()
    lasted_s = time.perf_counter() - began_s
    done, _ = await asyncio.wait(tasks, timeout=5)
    note(f"{len(tasks)} connects, {sum(task.exception() is not None for task in done)} refused")
    say(f"{opened / lasted_s}")


async def _at_rate(per_s: float, start: Any) -> None:
    began_s, count = time.perf_counter(), 0
    while True:
        start()
        count += 1
        await asyncio.sleep(max(0.0, began_s + count / per_s - time.perf_counter()))


async def _until_told() -> None:
    """Tell that all is in place, and wait for the end of standard input."""
    say("ready")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


ROLES = {"hold": hold, "vanish": vanish, "read-nothing": read_nothing, "churn": churn}


async def measure(clients: list[Client], seconds: float) -> list[float]:
    """Ask each client in turn, at a rate; sorted latencies from the planned moment, in ms."""
    for client in clients:
        client.answered.clear()
    began_s = time.perf_counter() + 0.1
    planned = {}
    for number in range(int(seconds * PROBES_PER_S)):
        planned[f"{number}"] = at_s = began_s + number / PROBES_PER_S
        await asyncio.sleep(max(0.0, at_s - time.perf_counter()))
        clients[number % len(clients)].send({"id": f"{number}", "action": "echo"})
    for _ in range(3000):
        if sum(len(client.answered) for client in clients) == len(planned):
            break
        await asyncio.sleep(0.01)
    else:
        raise OSError("some requests were not answered within 30 s")
    answered = {key: at_s for client in clients for key, at_s in client.answered.items()}
    return sorted((answered[key] - at_s) * 1000 for key, at_s in planned.items())


@contextmanager
def serving(folder: Path) -> Iterator[Description]:
    """Run `streamproof serve` without limits of rate."""
    state = ["--state", str(folder), "--rate-limit", "0", "--in-flight-limit", "0"]
    command = [sys.executable, "-c", SERVE, "serve", *state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Description.from_json(process.stdout.readline(), "serve")
        finally:
            process.terminate()


@dataclasses.dataclass
class Other:
    """A process with a role; what it told at its end is known after it."""

    process_id: int
    told: str = ""


@contextmanager
def other(role: str, url: str, token: str, count: int) -> Iterator[Other]:
    """Run a role in a process of its own, from when it is in place."""
    command = [sys.executable, __file__, "--role", role, url, token, str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise OSError(f"{role} did not come into place")
            role_of = Other(process.pid)
            yield role_of
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
            role_of.told = process.stdout.read().strip()
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()


def resident_bytes(process_id: int) -> int:
    """The resident memory of a process."""
    for line in Path(f"/proc/{process_id}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no VmRSS of {process_id}")


def raise_files_limit(wanted: int) -> None:
    """Raise this process's limit of open files, which its children inherit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise OSError(f"{wanted} open files are needed: raise the hard limit with ulimit -Hn")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def run(args: argparse.Namespace, folder: Path) -> bool:
    """Measure everything; whether each bound holds."""
    held = []
    with ExitStack() as stack:
        target = stack.enter_context(serving(folder))
        mint = TokenMint.read(Path(str(target.jwt_private_key)), target.issuer, target.audience)
        url, token, process_id = target.url, mint.good(), int(target.pid or 0)
        with other("hold", url, token, min(1000, args.connections)):
            pass  # what the first connections cost once is no cost of each
        clients = await open_many(url, token, PROBES)
        await measure(clients, 2)
        before = resident_bytes(process_id)
        stack.enter_context(other("hold", url, token, args.connections))
        cost = (resident_bytes(process_id) - before) / args.connections
        held.append(judge(f"{args.connections} idle", cost, MEMORY_BYTES_MAX, "bytes each"))
        gc.collect()
        gc.disable()
        held.append(await quick(clients, args.seconds, "nothing else"))
        theirs = mint.mint(Identity("hostile", "slow", ("broadcast",)))
        with other("read-nothing", url, theirs, SLOW):
            async with telling(url, theirs) as teller:
                held.append(await quick(clients, args.seconds, f"{SLOW} that do not read"))
        held.append(judge("posts refused as a buffer is full", teller.failed, at_least=1))
        theirs = mint.mint(Identity("hostile", "gone", ("broadcast",)))
        with other("vanish", url, theirs, GONE) as hostile:
            os.kill(hostile.process_id, signal.SIGSTOP)
            async with telling(url, theirs) as teller:
                held.append(await quick(clients, args.seconds, f"{2 * GONE} half-open sockets"))
        held.append(judge("posts to half-open sockets", teller.delivered, at_least=GONE))
        with other("churn", url, token, CONNECTS_PER_S) as hostile:
            beside = f"{CONNECTS_PER_S} connects a second"
            held.append(await quick(clients, args.seconds, beside))
        per_s = OPENED_SHARE_MIN * CONNECTS_PER_S
        held.append(judge("connects", float(hostile.told), unit="a second", at_least=per_s))
    return all(held)


async def quick(clients: list[Client], seconds: float, beside: str) -> bool:
    """Measure the others; whether they are answered in time."""
    times = await measure(clients, seconds)
    p50, p99, worst = times[len(times) // 2], times[len(times) * 99 // 100], times[-1]
    detail = f"ms p99 (p50 {p50:.1f}, max {worst:.1f}, n {len(times)})"
    return judge(f"beside {beside}", p99, LATENCY_MS_P99_MAX, detail)


@asynccontextmanager
async def telling(url: str, token: str) -> AsyncIterator[Teller]:
    """One more client of a tenant, which broadcasts to it meanwhile."""
    teller = await open_one(url, token, kind=Teller)
    assert isinstance(teller, Teller)
    task = asyncio.create_task(teller.tell())
    try:
        yield teller
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        teller.transport.abort()


def judge(
    what: str, value: float, bound: float = float("inf"), unit: str = "", *, at_least: float = 0
) -> bool:
    """Print a figure beside its bound, from above or from below; whether it holds."""
    holds = at_least <= value < bound
    limit = f"at least {at_least:,.0f}" if at_least else f"bound {bound:,.0f}"
    say(f"{'holds ' if holds else 'MISSED'}  {what}: {value:,.1f}{unit and ' ' + unit}, {limit}")
    sys.stdout.flush()
    return holds


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=10_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase (default 20)")
    args = parser.parse_args()
    try:
        raise_files_limit(args.connections + 2000)
        with tempfile.TemporaryDirectory(prefix="connections-") as name:
            return 0 if asyncio.run(run(args, Path(name))) else 1
    except (OSError, ValueError, TimeoutError) as error:
        note(f"could not be run: {error!r}")
        return 2


if __name__ == "__main__":
    if sys.argv[1:2] == ["--role"]:
        _, _, name, url, token, count = sys.argv
        os.nice(5)  # they are to disturb the server, not the probes on the same processors
        asyncio.run(ROLES[name](url, token, int(count)))
        sys.exit(0)
    sys.exit(main())
