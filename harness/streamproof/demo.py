"""What `streamproof demo` shows: five scenes against a live stack, through a WebSocket and no more.

Every message that is printed came over the wire; at the end the client's own counts stand beside
the metrics that the system wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from streamproof.errors import HarnessError, TargetUnreachableError
from streamproof.targets.http import fetch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SCENE_TIMEOUT_S = 30.0  # a killed worker is noticed at once; its request waits half a second
MESSAGES_WAITING_MAX = 1000  # of one request
STEPS = 10  # of each of the three
FINAL = frozenset({"complete", "error", "response"})
REPORT = {
    "start_date": "2025-01-01",
    "end_date": "2025-12-31",
    "format": "pdf",
    "report_type": "monthly",
    "include_charts": True,
}

Message = dict[str, Any]


class Client:
    """One connection whose messages are handed to the requests that they belong to."""

    def __init__(self, socket: ClientConnection) -> None:
        """Use `opened`."""
        self.seen: Counter[str] = Counter()  # messages by type
        self.codes: Counter[str] = Counter()  # errors by code
        self._socket = socket
        self._waiting: dict[str, asyncio.Queue[Message]] = {}
        self._sent = 0

    async def messages(self, action: str, payload: Message) -> AsyncIterator[Message]:
        """Send a request and yield its messages until one ends it.

        Raises HarnessError when they stop coming.
        """
        self._sent += 1
        request_id = f"demo-{self._sent}"
        queue = self._waiting[request_id] = asyncio.Queue(MESSAGES_WAITING_MAX)
        request = {"id": request_id, "action": action, "payload": payload}
        await self._socket.send(json.dumps(request))
        self.seen["sent"] += 1
        try:
            while True:
                message = await asyncio.wait_for(queue.get(), SCENE_TIMEOUT_S)
                yield message
                if message.get("type") in FINAL:
                    return
        except TimeoutError as error:
            raise HarnessError(
                f"{action} did not end within {SCENE_TIMEOUT_S:.0f} s",
                "run `streamproof verify`: it says what is broken",
            ) from error
        finally:
            del self._waiting[request_id]

    async def read(self) -> None:
        """Hand out what comes, until the connection closes."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self._socket:
                message = json.loads(text)
                self.seen[str(message.get("type"))] += 1
                if message.get("type") == "error":
                    self.codes[str(message["error"].get("code"))] += 1
                queue = self._waiting.get(str(message.get("request_id")))
                if queue is not None and not queue.full():
                    queue.put_nowait(message)


@contextlib.asynccontextmanager
async def opened(url: str, token: str) -> AsyncIterator[Client]:
    """A client on an open connection, which is closed at the end."""
    try:
        socket = await connect(url, additional_headers={"Authorization": token}, proxy=None)
    except (OSError, WebSocketException) as error:
        raise TargetUnreachableError(
            f"no connection to {url}: {error}", "is the stack still running?"
        ) from error
    client = Client(socket)
    reading = asyncio.create_task(client.read())
    try:
        yield client
    finally:
        await socket.close()
        await reading


def _bars(console: Console) -> Progress:
    """Progress bars that a pipe gets once, at their end."""
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=36),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )


async def _with_bar(
    client: Client, bars: Progress, name: str, action: str, payload: Message
) -> Message:
    """Follow one request on a bar of its own; answers the message that ended it."""
    bar = bars.add_task(name, total=100)
    last: Message = {}
    async for last in client.messages(action, payload):
        if last["type"] == "progress":
            bars.update(bar, completed=last["percentage"])
    if last.get("type") != "error":
        bars.update(bar, completed=100)
    return last


def line(message: Message, at_s: float) -> str:
    """A message as the demo prints it: when, its number, its type, and what matters in it."""
    match message:
        case {"type": "acknowledgment", "status": status}:
            said = str(status)
        case {"type": "progress", "percentage": percentage}:
            said = f"{percentage:g} %  {message.get('message') or ''}"
        case {"type": "complete"}:
            said = json.dumps(message.get("result"))
        case {"type": "error", "error": {"code": code, "message": text}}:
            said = f"{code}: {text}"
        case _:
            said = ""
    number = message.get("sequence", "-")
    return f"  {at_s:6.2f} s  #{number}  {message.get('type', ''):<14}  {said}".rstrip()


async def _told(
    client: Client, tell: Callable[[str], None], action: str, payload: Message
) -> list[Message]:
    """Follow one request message by message."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    messages: list[Message] = []
    async for message in client.messages(action, payload):
        repeat = any(message.get("sequence") == seen.get("sequence") for seen in messages)
        again = "  (sent again after the takeover; a client drops it)" if repeat else ""
        tell(line(message, loop.time() - began_s) + again)
        messages.append(message)
    return messages


async def play(url: str, token: str, console: Console) -> bool:
    """Show all scenes; answers whether each ended as it should."""
    async with opened(url, token) as client:
        endings = [
            await scene(client, console) for scene in (_report, _side_by_side, _failing, _killed)
        ]
        endings.append(await _counted(client, console, metrics_url(url)))
    return all(endings)


def metrics_url(url: str) -> str:
    """Where the stack behind a WebSocket URL shows its metrics to its own machine."""
    return f"http://{urlsplit(url).netloc}/metrics"


def _title(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/]", highlight=False)


def _teller(console: Console) -> Callable[[str], None]:
    """Print a line as it is, however long: a URL must stay whole."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


async def _report(client: Client, console: Console) -> bool:
    """A long request with a live bar, and the file behind its URL."""
    _title(console, "1  A report that takes a while")
    with _bars(console) as bars:
        end = await _with_bar(client, bars, "a year's report, pdf", "generate_report", REPORT)
    result = end.get("result") or {}
    tell = _teller(console)
    tell(f"  {result.get('records')} records, {result.get('size_bytes')} bytes, to be fetched from")
    tell(f"  {result.get('url')}")
    return end.get("type") == "complete"


async def _side_by_side(client: Client, console: Console) -> bool:
    """Three requests of different length on one connection."""
    _title(console, "2  Three requests at once: together they take as long as the longest")
    with _bars(console) as bars:
        ends = await asyncio.gather(
            *(
                _with_bar(
                    client,
                    bars,
                    f"{name:<18}",
                    "echo_async",
                    {"payload": {"name": name}, "steps": STEPS, "step_ms": step_ms},
                )
                for name, step_ms in (("first", 60), ("second", 100), ("third", 140))
            )
        )
    return all(end.get("type") == "complete" for end in ends)


async def _failing(client: Client, console: Console) -> bool:
    """A handler's own failure."""
    _title(console, "3  A handler that fails: one error, and the connection goes on")
    payload = {"steps": [{"percentage": 30, "ms": 150}], "end": "fail"}
    messages = await _told(client, _teller(console), "probe.async", payload)
    return messages[-1].get("type") == "error"


async def _killed(client: Client, console: Console) -> bool:
    """A worker that ends itself with SIGKILL in its first attempt."""
    _title(console, "4  A worker that is killed in the middle: another takes the request over")
    payload = {
        "steps": [
            {"percentage": 30, "ms": 250, "message": "begun"},
            {"percentage": 60, "ms": 400, "message": "this far, then kill -9"},
        ],
        "end": "crash",
        "end_attempts": 1,
        "result": {"survived": True},
    }
    messages = await _told(client, _teller(console), "probe.async", payload)
    return messages[-1].get("type") == "complete" and gapless(messages)


async def _counted(client: Client, console: Console, url: str) -> bool:
    """The client's own counts, and the metrics that the system wrote about the same."""
    _title(console, "5  What was just seen, counted by the client")
    tell = _teller(console)
    for name, count in counts(client).items():
        tell(f"  {name:<34}{count:>8}")
    _title(console, "   and in the metrics that the functions wrote")
    try:
        answer = await fetch("GET", url)
        metrics: dict[str, float] = json.loads(answer.body)
    except (OSError, TimeoutError, ValueError) as error:
        raise HarnessError(f"no metrics at {url}: {error}", "run `streamproof verify`") from error
    for name, total in metrics.items():
        tell(f"  {name:<34}{total:>8.0f}")
    tell("  (what the killed worker had not written yet is not in them)")
    return metrics.get("MessageSent", 0) > 0 and metrics.get("LeaseExpired", 0) > 0


def gapless(messages: list[Message]) -> bool:
    """Whether the numbers of one request run 0, 1, 2 ... once repeats are dropped."""
    numbers = {message.get("sequence") for message in messages}
    return numbers == set(range(len(numbers)))


def counts(client: Client) -> dict[str, int]:
    """What the client sent and got, by kind."""
    named = {
        "requests sent": client.seen["sent"],
        "acknowledged": client.seen["acknowledgment"],
        "progress messages": client.seen["progress"],
        "completed": client.seen["complete"],
    }
    return named | {f"failed with {code}": n for code, n in sorted(client.codes.items())}
