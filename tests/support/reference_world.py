"""The reference without a network: its functions, a store on disk, and clients that do as told.

One `World` is one deployment on virtual time. `run` plays the cloud: it reads the stream, invokes
the processor, and runs what was handed over in a worker, which a `Fuse` can kill at any call.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import itertools
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from streamer_reference.auth import TokenRules
from streamer_reference.connection.errors import GoneError, NoAnswerError, SendError
from streamer_reference.connection.manager import ConnectionManager
from streamer_reference.handlers import Registry, default_registry
from streamer_reference.lambdas.processor import processor
from streamer_reference.observability.metrics import Metrics
from streamer_reference.router import route
from streamer_reference.services import Services
from streamer_reference.settings import Settings
from streamer_reference.store.base import Connection, Stored, StoreError, request_key
from streamer_reference.store.sqlite import SqliteStore
from streamer_reference.sweeper import after_failure, sweep
from streamer_reference.worker import Worker
from support.virtual_time import pass_time

EPOCH_MS = 1_742_086_800_000  # 2025-03-16T01:00:00Z
LATENCY_S = 0.002
TERMINAL = ("complete", "error")


class LoopClock:
    """Wall time that follows the loop's."""

    def now_ms(self) -> int:
        return EPOCH_MS + round(asyncio.get_running_loop().time() * 1000)


class Fuse:
    """Ends a process at its `at`-th call to the outside, before or after the call took effect."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.calls = 0
        self.blown = asyncio.Event()

    async def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.blown.is_set():
            raise asyncio.CancelledError  # the process is dead: it does nothing any more
        self.calls += 1
        if self.calls == self.at:
            if self.after:
                await function(*args, **options)
            self.blown.set()
            raise asyncio.CancelledError
        return await function(*args, **options)


class FusedStore:
    """A process's own view of the store; `failing` names methods that raise `StoreError`.

    A failing method with a number fails so many times; "after" says that the write was made.
    """

    def __init__(self, store: SqliteStore, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse
        self.failing: dict[str, int] = {}
        self.after: set[str] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def call(*args: Any, **options: Any) -> Any:
            self.calls.append(name)
            await asyncio.sleep(0)
            if self.failing.get(name, 0) > 0:
                self.failing[name] -= 1
                if name in self.after:
                    await value(*args, **options)
                raise StoreError("the disk is on fire")
            return await self._fuse.call(value, *args, **options)

        return call


@dataclasses.dataclass
class Arrival:
    """One message as a client got it."""

    at_s: float
    text: str
    message: dict[str, Any]


class Clients:
    """Every client's end, shared by all processes; `behave` decides what a post gets."""

    def __init__(self) -> None:
        self.arrived: dict[str, list[Arrival]] = {}
        self.closed: list[str] = []
        self.posts = 0
        self.faults: dict[str, Any] = {}
        self.open: dict[str, asyncio.Event] = {}

    def fail(self, connection_id: str, *faults: type[SendError] | None, then: Any = None) -> None:
        """The next posts fail so, one after the other; afterwards `then`, for ever."""
        self.faults[connection_id] = itertools.chain(faults, itertools.repeat(then))

    def hang(self, connection_id: str) -> asyncio.Event:
        """Posts wait until the event is set."""
        self.open[connection_id] = asyncio.Event()
        return self.open[connection_id]

    async def post(self, connection_id: str, data: bytes, timeout_s: float) -> int:
        self.posts += 1
        await asyncio.sleep(LATENCY_S)
        gate = self.open.get(connection_id)
        if gate is not None and not gate.is_set():
            try:
                async with asyncio.timeout(min(timeout_s, 3.0)):
                    await gate.wait()
            except TimeoutError:
                raise NoAnswerError("it hangs") from None
        fault = next(self.faults.get(connection_id, iter(())), None)
        if fault is not None:
            raise fault("told to")
        if connection_id not in self.arrived:
            raise GoneError("unknown")
        text = data.decode()
        at_s = asyncio.get_running_loop().time()
        self.arrived[connection_id].append(Arrival(at_s, text, json.loads(text)))
        return 200


class FusedClient:
    """A process's management client."""

    def __init__(self, clients: Clients, fuse: Fuse) -> None:
        self._clients = clients
        self._fuse = fuse
        self.deleting: type[SendError] | None = None

    async def post_to_connection(
        self, connection_id: str, data: bytes, *, timeout_s: float | None = None
    ) -> int:
        status: int = await self._fuse.call(
            self._clients.post, connection_id, data, timeout_s or 3.0
        )
        return status

    async def delete_connection(self, connection_id: str) -> None:
        if self.deleting is not None:
            raise self.deleting("told to")
        self._clients.closed.append(connection_id)

    async def aclose(self) -> None:
        return None


class World:
    """One deployment."""

    def __init__(
        self, directory: Path, *, registry: Registry | None = None, **options: Any
    ) -> None:
        """`objects` is an object store; the other options are settings."""
        self.objects = options.pop("objects", None)
        self.settings = Settings(
            store=str(directory / "store.sqlite"),
            management_url="http://127.0.0.1:9/dev",
            region="us-east-1",
            token_keys="{}",
            **options,
        )
        self.registry = registry or default_registry(probe=True)
        self.clock = LoopClock()
        self.store = SqliteStore(Path(self.settings.store), threaded=False, clock=self.clock)
        self.clients = Clients()
        self.chance = random.Random(1)
        self.invocations: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self._seen = 0
        self._names = itertools.count(1)
        self.services = self.process()

    def process(self, fuse: Fuse | None = None) -> Services:
        """The services of one more process."""
        fuse = fuse or Fuse()
        client: Any = FusedClient(self.clients, fuse)
        store: Any = FusedStore(self.store, fuse)
        return Services(
            self.settings,
            store,
            client,
            ConnectionManager(client, clock=self.clock, dice=lambda: 0.5),
            self.registry,
            self.objects,
            TokenRules({}),
            Metrics(lambda line: self.metrics.append(json.loads(line)), lambda: 0.0),
            self.clock,
            lambda _function, event: self.invocations.append(event),
            self.chance,
        )

    async def connect(self, connection_id: str, **fields: Any) -> Connection:
        """A stored connection whose client listens."""
        self.clients.arrived.setdefault(connection_id, [])
        now_ms = self.clock.now_ms()
        connection = Connection(
            **{
                "connection_id": connection_id,
                "tenant_id": "t",
                "user_id": "u",
                "permissions": ("probe", "broadcast"),
                "endpoint": "https://example.test/dev",
                "connected_at_ms": now_ms,
                "last_ping_ms": now_ms,
                "token_expires_at_s": now_ms / 1000 + 90_000,
                "source_ip": "127.0.0.1",
                "user_agent": "test",
                "expires_at_s": now_ms // 1000 + 4 * 3600,
                **fields,
            }
        )
        await self.store.put_connection(connection)
        return connection

    async def say(
        self, connection_id: str, action: str, payload: Any = None, /, **members: Any
    ) -> list[dict[str, Any]]:
        """Send a request; what that client got until the router was done with it."""
        message = {"action": action, **members}
        if payload is not None:
            message["payload"] = payload
        return await self.say_text(connection_id, json.dumps(message))

    async def say_text(self, connection_id: str, text: str) -> list[dict[str, Any]]:
        """Send any text."""
        before = len(self.clients.arrived.get(connection_id, ()))
        await route(connection_id, text, self.services)
        return self.got(connection_id)[before:]

    def got(self, connection_id: str) -> list[dict[str, Any]]:
        """All messages of a client."""
        return [arrival.message for arrival in self.clients.arrived[connection_id]]

    def of(self, connection_id: str, request_id: str) -> list[dict[str, Any]]:
        """The numbered messages of one request at one client, repeats dropped; checks MSG-4."""
        contents: dict[int, str] = {}
        messages = []
        for arrival in self.clients.arrived[connection_id]:
            message = arrival.message
            if message.get("request_id") != request_id or "sequence" not in message:
                continue
            if message["type"] == "response":
                continue
            number = message["sequence"]
            assert contents.setdefault(number, arrival.text) == arrival.text, "two contents"
            if len(contents) > len(messages):
                messages.append(message)
        return messages

    def repeats(self, connection_id: str) -> int:
        """How many messages came again."""
        texts = [arrival.text for arrival in self.clients.arrived[connection_id]]
        return len(texts) - len(set(texts))

    def key(self, request_id: str, user: str = "u", tenant: str = "t") -> str:
        """The key of a request."""
        return request_key(tenant, user, request_id)

    async def stored(self, request_id: str) -> Stored:
        """A request as the store has it."""
        found = await self.store.get(self.key(request_id))
        assert found is not None
        return found

    async def stream(self) -> None:
        """Bring what the stream's filter lets pass to the processor."""
        records = []
        for sequence, _name, key, _old, new, _at in self.store.changes(self._seen, 1000):
            self._seen = sequence
            image = json.loads(new) if new else {}
            if image.get("status") in ("PENDING", "RETRYING"):
                typed = {k: {"S" if isinstance(v, str) else "N": str(v)} for k, v in image.items()}
                records.append({"dynamodb": {"Keys": {"key": {"S": key}}, "NewImage": typed}})
        if records:
            await processor({"Records": records}, self.services)

    async def run(self, *fuses: Fuse) -> None:
        """Run what is handed over until nothing is; each fuse kills one worker after another."""
        left = list(fuses)
        worker = None
        while True:
            await self.stream()
            if not self.invocations:
                return
            event = self.invocations.pop(0)
            if worker is None:
                fuse = left.pop(0) if left else Fuse()
                worker = Worker(self.process(fuse), f"worker-{next(self._names)}")
            if not await self.invoke(worker, fuse, event):
                worker = None

    async def invoke(self, worker: Worker, fuse: Fuse, event: dict[str, Any]) -> bool:
        """One invocation; False when the process died, which the sweeper is then told."""
        name = f"invocation-{next(self._names)}"
        others = asyncio.all_tasks()
        task = asyncio.create_task(
            worker.work(name, event["request_keys"], alone=event.get("alone", False))
        )
        blown = asyncio.create_task(fuse.blown.wait())
        await asyncio.wait({task, blown}, return_when=asyncio.FIRST_COMPLETED)
        if not fuse.blown.is_set():
            blown.cancel()
            await task
            return True
        rest = asyncio.all_tasks() - others
        for other in rest:
            other.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        failure = {"requestContext": {"requestId": name}, "requestPayload": event}
        await after_failure(failure, self.services)
        return False

    async def settle(self, seconds: int = 15) -> None:
        """Let time pass, with a sweep each second and workers for whatever that finds."""
        for _ in range(seconds):
            await pass_time(1)
            await sweep(self.services)
            await self.run()

    def check(self, connection_id: str, request_id: str) -> list[dict[str, Any]]:
        """A long request's messages, which keep order, numbers and percentages; the last ended."""
        messages = self.of(connection_id, request_id)
        assert [m["sequence"] for m in messages] == list(range(len(messages)))
        kinds = [m["type"] for m in messages]
        assert kinds[0] == "acknowledgment"
        assert kinds[-1] in TERMINAL
        assert set(kinds[1:-1]) <= {"progress"}
        percentages = [m["percentage"] for m in messages if m["type"] == "progress"]
        assert percentages == sorted(percentages)
        assert percentages.count(100) <= 1
        return messages


def kinds(messages: Iterable[dict[str, Any]]) -> list[str]:
    """The types of messages."""
    return [message["type"] for message in messages]


class MemoryObjects:
    """Objects in memory; each signature differs, as real ones do."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.signed = itertools.count(1)

    async def put(self, key: str, data: bytes | Path, content_type: str) -> None:
        assert isinstance(data, bytes)
        assert content_type == "application/json"
        self.files[key] = data

    def forget(self) -> None:
        """Nothing is."""

    def presign(self, key: str, expires_s: int) -> str:
        assert key in self.files
        return f"https://objects.test/{key}?expires={expires_s}&signature={next(self.signed)}"
