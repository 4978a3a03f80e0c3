"""What a system has to offer to be simulated, and what the world gives to each of its processes."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any, Protocol

from streamproof.simulation.store import Vocabulary

EPOCH_MS = 1_742_086_800_000  # 2025-03-16T01:00:00Z, when every world begins


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """All that a process reaches: nothing else of it may touch the world.

    `posts` has `post_to_connection`, `delete_connection` and `aclose`; `invoke` queues an
    asynchronous invocation or raises; `began` and `ended` are told of each run of a handler; `die`
    is SIGKILL to oneself.
    """

    name: str
    store: Any
    posts: Any
    now_ms: Callable[[], int]
    chance: random.Random
    invoke: Callable[[str, dict[str, Any]], None]
    began: Callable[[Run], None]
    ended: Callable[[Run, str], None]
    die: Callable[[], None]
    limits: Limits


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Limits that a world sets, so that they are met now and then."""

    messages_per_minute: int
    in_flight: int


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run of a handler: whose, which attempt, and the tag of the message that asked for it."""

    tenant: str
    user: str
    request_id: str
    attempt: int
    tag: str
    queued: bool


class Program(Protocol):
    """The functions of one process: an event in, an answer out, as the cloud calls them."""

    async def connect(self, event: dict[str, Any]) -> dict[str, Any]:
        """The answer to a handshake: its `statusCode` opens or refuses."""
        ...

    async def disconnect(self, event: dict[str, Any]) -> Any:
        """Told of a connection that ended, once, twice or never."""
        ...

    async def router(self, event: dict[str, Any]) -> Any:
        """One message of a client."""
        ...

    async def processor(self, event: dict[str, Any]) -> Any:
        """A batch of stream records; an exception brings it again."""
        ...

    async def sweeper(self, event: dict[str, Any]) -> Any:
        """On a schedule, and with a failed invocation of a worker."""
        ...

    async def worker(self, event: dict[str, Any], invocation_id: str) -> Any:
        """Invoked asynchronously with keys of requests."""
        ...


class System(Protocol):
    """A judged system: its words, and a new process of it."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What its store takes and gives."""
        ...

    def store_flaws(self, mutant: str | None) -> tuple[str, ...]:
        """The flaws of the simulated store that stand for a mutant of the system's own store."""
        ...

    def post_error(self, status: int | None) -> Exception:
        """What a post raises for an HTTP status, or for no answer at all."""
        ...

    def token(self, user: str, tenant: str, permissions: tuple[str, ...], expires_s: int) -> str:
        """A token that its connect function takes, good for so long from `EPOCH_MS`."""
        ...

    def start(self, ports: Ports) -> Program:
        """A new process."""
        ...
