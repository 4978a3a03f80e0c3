"""The reference as a target: it is described to the gateway as any team would describe its own.

Nothing else in the suite imports the reference, except its simulation and its mutants beside this.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from streamer_reference.handlers import default_registry
from streamer_reference.lambdas import connect, disconnect, processor, router, sweeper
from streamer_reference.observability.logs import FORMATTER
from streamer_reference.observability.metrics import Metrics
from streamer_reference.services import Services, build
from streamer_reference.settings import Settings
from streamer_reference.sigv4 import Credentials as SigningCredentials
from streamer_reference.store.sqlite import OtherVersionError, SqliteStore
from streamer_reference.sweeper import HAND_OVER_MAX, hand_over_keys
from streamproof.errors import UsageError
from streamproof.gateway import (
    Api,
    ChangeRecord,
    Credentials,
    EventSourceMapping,
    Faults,
    Function,
    Gateway,
    Limits,
    Schedule,
)
from streamproof.gateway import Description as GatewayDescription
from streamproof.live_page import LivePage
from streamproof.targets.base import MUTANT_VARIABLE, Description
from streamproof.targets.base import Limits as DeclaredLimits
from streamproof.targets.certificates import Certificates
from streamproof.targets.metric_counters import MetricCounters
from streamproof.targets.object_downloads import PREFIX as OBJECTS_PATH
from streamproof.targets.object_downloads import ObjectDownloads
from streamproof.targets.state import ISSUER, State

STAGE = "dev"
METRICS_PATH = "/metrics"  # each metric's sum, as JSON; the totals that CloudWatch would show
REGION = "us-east-1"
SWEEP_S = 1.0  # the schedule on AWS is a minute, the shortest that EventBridge has
METRICS_FLUSH_S = 1.0
WARM_WORKERS = 2
ISOLATED_PER_WORKER = 2  # processes that run one request each whose worker died, only when needed
WORKER = "streamer_reference.lambdas.worker.handler"
MUTANT = "streamproof.targets.mutants.worker.handler"  # plants what the variable names
WORKER_S = 900.0  # Lambda's longest
OPEN = ("PENDING", "RETRYING")
HELD = "PROCESSING"

Core = Callable[[dict[str, Any], Services, Any], Awaitable[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class StackOptions:
    """What `serve` can change; a limit of 0 is off."""

    port: int = 0
    messages_per_minute: int = 100
    in_flight: int = 100
    workers: int = 4
    tenants: tuple[str, ...] = ()
    audience: str | None = None
    handlers: tuple[str, ...] = ()
    raw_echo: bool = False
    verbose: bool = False
    freeze: bool = False
    certificates: Certificates | None = None
    faults: Faults | None = None
    traces: str = ""  # the file that spans go to


class Stack:
    """The gateway with the reference in it; `start` once, `stop` once."""

    def __init__(self, state: State, options: StackOptions) -> None:
        """Nothing is opened yet."""
        self._state = state
        self._options = options
        self._settings: Settings | None = None
        self._services: Services | None = None
        self._worker_environment: dict[str, str] = {}
        self._flushing: asyncio.Task[None] | None = None
        self.metrics = MetricCounters()  # as CloudWatch would have them, of all functions
        self._downloads = ObjectDownloads(
            state.objects, Credentials(state.access_key_id, state.secret_access_key), REGION
        )
        self.live = LivePage(lambda: len(self.gateway.connections), self._requests_by_state)
        self.gateway = Gateway(self._description())

    async def start(self) -> Description:
        """Open the port and start everything; the description of the target that is now there."""
        state, options = self._state, self._options
        certificates, secure = options.certificates, "s" if options.certificates else ""
        context = certificates.server_context() if certificates else None
        await self.gateway.listen(port=options.port, tls=context)
        base = f"127.0.0.1:{self.gateway.port}"
        settings = Settings(
            store=str(state.store),
            management_url=f"http{secure}://{base}/{STAGE}",
            region=REGION,
            token_keys=json.dumps({state.key_id: str(state.public_key)}),
            token_issuer=ISSUER,
            token_audience=options.audience or "",
            tenants=json.dumps(options.tenants) if options.tenants else "",
            handlers=json.dumps(options.handlers) if options.handlers else "",
            objects_directory=str(state.objects),
            objects_url=f"http{secure}://{base}/objects",
            probe=True,
            traces=options.traces,
            messages_per_minute=options.messages_per_minute,
            burst=options.messages_per_minute,
            in_flight=options.in_flight,
        )
        try:
            self._services = build(
                settings,
                SigningCredentials(state.access_key_id, state.secret_access_key),
                invoke=self._invoke,
                on_change=self.gateway.stream_wake,
                metrics=Metrics(self._count),
            )
        except OtherVersionError as error:
            raise UsageError(
                f"{error} was made by another version of the reference",
                "name another folder with --state, or remove that file",
            ) from error
        self._worker_environment |= settings.to_environment() | {
            "AWS_ACCESS_KEY_ID": state.access_key_id,
            "AWS_SECRET_ACCESS_KEY": state.secret_access_key,
        }
        self.live.follow("streamer", FORMATTER)
        self.live.follow("streamproof.gateway")
        await self.gateway.start_functions()
        await self._hand_over()
        self._flushing = asyncio.create_task(self._flush())
        limit = options.messages_per_minute or None
        return Description(
            url=f"ws{secure}://{base}/{STAGE}",
            management_url=settings.management_url,
            issuer=ISSUER,
            audience=options.audience,
            jwt_private_key=str(state.private_key),
            jwt_public_key=str(state.public_key),
            region=REGION,
            access_key_id=state.access_key_id,
            secret_access_key=state.secret_access_key,
            pid=None,
            ca=str(certificates.authority) if certificates else None,
            limits=DeclaredLimits(
                messages_per_minute=limit,
                burst=limit,
                in_flight=options.in_flight or None,
                message_bytes=Limits().message_bytes,
                frame_bytes=Limits().frame_bytes,
                declared=True,
            ),
        )

    async def stop(self) -> None:
        """Stop in order: what runs is finished or handed back, connections get 1001."""
        await self.gateway.stop()
        if self._flushing is not None:
            self._flushing.cancel()
        if self._services is not None:
            await self._services.aclose()
        await self.live.aclose()

    @property
    def services(self) -> Services:
        """What the reference's functions share; there once `start` has opened the port."""
        assert self._services is not None, "start comes first"  # noqa: S101 - a caller's mistake
        return self._services

    def holders(self) -> dict[int, int]:
        """Return how many requests each worker process holds at the moment, by process id."""
        path = f"{self._state.store.as_uri()}?mode=ro"
        statement = "SELECT worker_id, count(*) FROM requests WHERE status = ? GROUP BY worker_id"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as store:
            held = dict(store.execute(statement, (HELD,)).fetchall())
        return {
            pid: held.get(log_stream, 0)
            for function in self.gateway.process_ids()
            for log_stream, pid in self.gateway.log_streams(function).items()
        }

    async def _hand_over(self) -> None:
        """Begin with what waited when the last stack on this folder ended."""
        waiting = await self.services.store.waiting(self.services.clock.now_ms(), HAND_OVER_MAX)
        if waiting:
            hand_over_keys(waiting, [], self.services)  # of more, the worker takes what it can

    def _invoke(self, function: str, event: dict[str, Any]) -> None:
        self.gateway.invoke_async(function, event)

    def _count(self, line: str) -> None:
        self.metrics.feed(line)
        self.live.line(line)

    def _take_line(self, _function: str, line: str) -> None:
        self._count(line)

    def _requests_by_state(self) -> dict[str, int]:
        """Read with a connection of its own, as it runs in a thread and may take a while."""
        uri = f"{self._state.store.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0)) as reader:
            return dict(reader.execute("SELECT status, count(*) FROM requests GROUP BY status"))

    def _metrics_page(self) -> tuple[str, bytes]:
        self.services.metrics.flush()
        totals = dict(sorted(self.metrics.totals().items()))
        return "application/json", json.dumps(totals).encode()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(METRICS_FLUSH_S)
            self.services.metrics.flush()

    def _in_process(self, name: str, core: Core, timeout_s: float = 29.0) -> Function:
        async def run(event: dict[str, Any]) -> Any:
            return await core(event, self.services, None)

        return Function(name, run=run, timeout_s=timeout_s)

    def _worker(self, name: str, environments_max: int, warm: int) -> Function:
        return Function(
            name,
            command=(sys.executable, "-m", "awslambdaric", MUTANT if _harmed() else WORKER),
            environment=self._worker_environment,
            timeout_s=WORKER_S,
            environments_max=environments_max,
            warm=warm,
            on_failure="sweeper",
            drains=True,
        )

    def _description(self) -> GatewayDescription:
        state, options = self._state, self._options
        functions = (
            self._in_process("connect", connect.connect),
            self._in_process("disconnect", disconnect.disconnect),
            self._in_process("router", router.router),
            self._in_process("processor", processor.processor),
            self._in_process("sweeper", sweeper.sweeper, timeout_s=60.0),
            self._worker("worker", options.workers, min(WARM_WORKERS, options.workers)),
            self._worker("isolated-worker", options.workers * ISOLATED_PER_WORKER, 0),
        )
        return GatewayDescription(
            api=Api(
                routes={
                    "$connect": "connect",
                    "$disconnect": "disconnect",
                    "$default": "router",
                },
                stage=STAGE,
                region=REGION,
            ),
            functions=functions,
            schedules=(Schedule("sweeper", SWEEP_S),),
            mappings=(
                EventSourceMapping(
                    "processor",
                    _Changes(self),
                    filters=({"dynamodb": {"NewImage": {"status": {"S": list(OPEN)}}}},),
                    retries_max=10,
                ),
            ),
            credentials=Credentials(state.access_key_id, state.secret_access_key),
            sites={OBJECTS_PATH: self._downloads.handle},
            on_line=self._take_line,
            on_message=self.live.answered,
            pages={METRICS_PATH: self._metrics_page, **self.live.pages},
            raw_echo=options.raw_echo,
            verbose=options.verbose,
            # A worker that is stopped inside a transaction would keep all others from writing:
            # SQLite has one writer's lock, where DynamoDB has none.
            freeze=options.freeze,
            faults=options.faults,
        )


def check_handlers(paths: Iterable[Path]) -> None:
    """Load each file beside the handlers that are built in; raises `UsageError` with its line.

    A deployment goes on without a file that is wrong; who names one by hand wants to know.
    """
    registry = default_registry(probe=True)
    for path in paths:
        if (reason := registry.load_file(path.resolve())) is not None:
            raise UsageError(f"--handlers: {reason}", "docs/handlers.md shows a file that loads")


def _harmed() -> bool:
    return MUTANT_VARIABLE in os.environ


class _Changes:
    """The store's change log as a DynamoDB stream of the requests table."""

    def __init__(self, stack: Stack) -> None:
        """The store is there once the stack has started."""
        self._stack = stack

    @property
    def _store(self) -> SqliteStore:
        store = self._stack.services.store
        assert isinstance(store, SqliteStore)  # noqa: S101 - the embedded stack has no other
        return store

    def read(self, after: int, limit: int) -> list[ChangeRecord]:
        """Records after a sequence number, oldest first."""
        return [
            ChangeRecord(
                sequence, name, {"key": {"S": key}}, _image(key, new), _image(key, old), at_s
            )
            for sequence, name, key, old, new, at_s in self._store.changes(after, limit)
        ]

    def latest(self) -> int:
        """The newest record's number."""
        return self._store.latest_change()


def _image(key: str, image: str | None) -> dict[str, Any] | None:
    """An item in DynamoDB JSON: texts are S, numbers are N and written as texts."""
    if image is None:
        return None
    return {"key": {"S": key}} | {
        name: {"S": value} if isinstance(value, str) else {"N": str(value)}
        for name, value in json.loads(image).items()
    }
