"""What the functions share: built once per process, from its settings."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from streamer_reference.auth import TokenRules
from streamer_reference.clock import Clock, SystemClock
from streamer_reference.connection.management_client import ManagementClient
from streamer_reference.connection.manager import ConnectionManager, Outcome, SendResult
from streamer_reference.core.circuit import State
from streamer_reference.handlers import Registry, default_registry
from streamer_reference.objects import LocalObjectStore, ObjectStore
from streamer_reference.observability import traces
from streamer_reference.observability.logs import log
from streamer_reference.observability.metrics import Metrics
from streamer_reference.settings import Settings
from streamer_reference.sigv4 import Credentials
from streamer_reference.store.base import Store
from streamer_reference.store.sqlite import SqliteStore

HANDSHAKE_MS_MAX = 30_000  # SEND-3


class Invoker(Protocol):
    """Asynchronous invocation of a function, as Lambda's `InvocationType=Event`."""

    def __call__(self, function: str, event: dict[str, Any], /) -> None:
        """Queue one invocation; raises when it is refused."""
        ...


def nobody(function: str, _event: dict[str, Any]) -> None:
    """The invoker of functions that invoke none."""
    raise RuntimeError(f"this function may not invoke {function}")


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """Everything a function's core works with."""

    settings: Settings
    store: Store
    client: ManagementClient
    manager: ConnectionManager
    registry: Registry
    objects: ObjectStore | None
    token_rules: TokenRules
    metrics: Metrics
    clock: Clock
    invoke: Invoker
    chance: random.Random = dataclasses.field(default_factory=random.SystemRandom)
    sending: set[str] = dataclasses.field(default_factory=set)  # outcomes, by sweeps under way

    def new_id(self) -> str:
        """An id that nobody else makes."""
        return f"{self.chance.getrandbits(128):032x}"

    def connection_closed(self, connected_at_ms: int) -> None:
        """Count a connection that was removed, whoever found that it had ended."""
        self.metrics.add("ConnectionClosed")
        self.metrics.add("ConnectionDuration", (self.clock.now_ms() - connected_at_ms) / 1000)

    async def aclose(self) -> None:
        """Let go of sockets and files, in the order in which they are needed."""
        await self.manager.aclose()
        self.metrics.flush()
        traces.stop()
        await self.store.aclose()


def credentials_of(environment: dict[str, str]) -> Credentials:
    """The AWS credentials of the process, by their usual variables."""
    return Credentials(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        environment.get("AWS_SESSION_TOKEN"),
    )


def build(
    settings: Settings,
    credentials: Credentials,
    *,
    invoke: Invoker = nobody,
    on_change: Callable[[], None] | None = None,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
) -> Services:
    """The services of one process. `on_change` is called after each commit of the store."""
    clock, chance = clock or SystemClock(), random.SystemRandom()
    metrics = metrics or Metrics(environment=settings.environment)
    if settings.traces:
        traces.start(settings.traces)
    store = SqliteStore(Path(settings.store), on_change, clock=clock)

    async def on_gone(connection_id: str) -> None:
        # Its handshake may still be under way: removed now, it would open without its entry.
        connection = await store.get_connection(connection_id)
        if (
            connection
            and clock.now_ms() - connection.connected_at_ms >= HANDSHAKE_MS_MAX
            and await store.delete_connection(connection_id)
        ):
            services.connection_closed(connection.connected_at_ms)

    def observe(connection_id: str, result: SendResult) -> None:
        delivered = result.outcome is Outcome.DELIVERED
        metrics.add("MessageSent" if delivered else "MessageFailed")
        opens = result.error is not None and result.error.peer_failed
        if opens and services.manager.health(connection_id).circuit is State.OPEN:
            metrics.add("CircuitOpen")

    client = ManagementClient(settings.management_url, credentials, settings.region)
    objects = None
    if settings.objects_directory:
        objects = LocalObjectStore(
            Path(settings.objects_directory),
            settings.objects_url,
            credentials,
            settings.region,
            clock,
        )
    registry = default_registry(probe=settings.probe)
    for path in json.loads(settings.handlers or "[]"):
        if (failure := registry.load_file(Path(path))) is not None:
            log("error", "handlers not loaded", reason=str(failure))
    for failure in registry.load_entry_points():
        log("error", "handlers not loaded", reason=str(failure))
    services = Services(
        settings,
        store,
        client,
        ConnectionManager(
            client, on_gone=on_gone, observe=observe, clock=clock, dice=chance.random
        ),
        registry,
        objects,
        settings.token_rules(),
        metrics,
        clock,
        invoke,
        chance,
    )
    return services


def from_environment() -> Services:
    """The services of a function that runs in a process of its own."""
    environment = dict(os.environ)
    return build(Settings.from_environment(environment), credentials_of(environment))
