"""The reference as a system that can be simulated: its functions on ports instead of a network.

Everything of it runs but the management client's HTTP and the store's SQL. What it takes from its
process (chance, death) comes from the simulated one that runs at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import functools
import logging
import types
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import streamer_reference.handlers.probe as probe_module
from streamer_reference.auth import TokenRules
from streamer_reference.connection.errors import NoAnswerError, error_for
from streamer_reference.connection.manager import ConnectionManager
from streamer_reference.core import rate
from streamer_reference.core.states import Status
from streamer_reference.handlers import Job, Registry, default_registry
from streamer_reference.handlers.registry import Next
from streamer_reference.lambdas import connect, disconnect, processor, router, sweeper
from streamer_reference.observability.metrics import Metrics
from streamer_reference.protocol.errors import HandlerError
from streamer_reference.services import HANDSHAKE_MS_MAX, Services
from streamer_reference.settings import Settings
from streamer_reference.store import base
from streamer_reference.worker import Worker
from streamproof.errors import UsageError
from streamproof.simulation import campaign
from streamproof.simulation.store import Vocabulary
from streamproof.simulation.system import EPOCH_MS, Ports, Program, Run
from streamproof.simulation.world import Played, World

KEY_BITS = 2048
START_DISTANCE = 100_000  # between the first seeds of two searches
PROTOCOL_RULES = ("ASYNC", "PROG", "RECOV", "OWN", "CANCEL", "MSG-4")
# Mutants of the reference's own store, and the flaw of the simulated one that is the same mistake.
STORE_FLAWS = {
    "claim-without-a-condition": "claims_what_is_held",
    "ended-requests-run-again": "claims_what_has_ended",
    "fencing-token-unread": "ignores_the_attempt",
    "outcome-overwritten": "ends_what_has_ended",
    "takeover-begins-at-one": "numbers_anything",
    "posted-and-never-stored": "numbers_anything",
    "reused-id-overwrites": "forgets_reused_ids",
    "ended-ids-come-again": "forgets_ended_ids",
    "enqueued-then-acknowledged": "enqueues_before_the_acknowledgment",
    "status-by-delete-and-create": "deletes_and_creates",
}
# Of these the flaw is all: what they do to `SqliteStore` is SQL.
SQL_ALONE = frozenset(STORE_FLAWS) - {"takeover-begins-at-one", "posted-and-never-stored"}
SQLITE, SIMULATED = (
    "streamer_reference.store.sqlite:SqliteStore",
    "streamproof.simulation.store:SimulatedStore",
)

_ports: ContextVar[Ports] = ContextVar("ports")


class _Unwritten(Metrics):
    """Metrics that nobody reads."""

    def add(self, name: str, value: float = 1) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing was kept."""


class _Process:
    """The functions of one process, as `lambdas` has them."""

    def __init__(self, services: Services, name: str) -> None:
        self._services = services
        self._worker = Worker(services, name)

    async def connect(self, event: dict[str, Any]) -> dict[str, Any]:
        """The handshake."""
        answer: dict[str, Any] = await connect.connect(event, self._services, None)
        return answer

    async def disconnect(self, event: dict[str, Any]) -> Any:
        """A connection ended."""
        return await disconnect.disconnect(event, self._services, None)

    async def router(self, event: dict[str, Any]) -> Any:
        """A client's message."""
        return await router.router(event, self._services, None)

    async def processor(self, event: dict[str, Any]) -> Any:
        """Stream records."""
        return await processor.processor(event, self._services, None)

    async def sweeper(self, event: dict[str, Any]) -> Any:
        """The schedule, or a failed invocation."""
        return await sweeper.sweeper(event, self._services, None)

    async def worker(self, event: dict[str, Any], invocation_id: str) -> Any:
        """Keys of requests; the worker is named for its process."""
        keys, alone = event["request_keys"], bool(event.get("alone"))
        await self._worker.work(invocation_id, keys, alone=alone)


class Reference:
    """The system that is judged: the reference of this installation."""

    vocabulary = Vocabulary(
        status=Status,
        outbox=base.Outbox,
        stored=base.Stored,
        held=base.Held,
        store_error=base.StoreError,
        duplicate=base.DuplicateRequestError,
        limit_reached=base.LimitReachedError,
        take=rate.take,
    )

    def store_flaws(self, mutant: str | None) -> tuple[str, ...]:
        """What a mutant of `SqliteStore` is in the simulated store."""
        flaw = STORE_FLAWS.get(mutant or "")
        return () if flaw is None else (flaw,)

    def post_error(self, status: int | None) -> Exception:
        """A `SendError`."""
        return NoAnswerError("no answer") if status is None else error_for(status)

    def token(self, user: str, tenant: str, permissions: tuple[str, ...], expires_s: int) -> str:
        """Signed once per user: every world begins at the same moment."""
        return _token(user, tenant, permissions, expires_s)

    def start(self, ports: Ports) -> Program:
        """One more process, in whose context this is called."""
        _ports.set(ports)
        clock = _Clock(ports)

        async def on_gone(connection_id: str) -> None:
            connection = await ports.store.get_connection(connection_id)
            if connection and ports.now_ms() - connection.connected_at_ms >= HANDSHAKE_MS_MAX:
                await ports.store.delete_connection(connection_id)

        manager = ConnectionManager(
            ports.posts, on_gone=on_gone, clock=clock, dice=ports.chance.random
        )
        services = Services(
            settings=_settings(ports.limits.messages_per_minute, ports.limits.in_flight),
            store=ports.store,
            client=ports.posts,
            manager=manager,
            registry=_registry(),
            objects=None,
            token_rules=_rules(),
            metrics=_Unwritten(),
            clock=clock,
            invoke=ports.invoke,
            chance=ports.chance,
        )
        return _Process(services, ports.name)


class _Clock:
    def __init__(self, ports: Ports) -> None:
        self.now_ms = ports.now_ms


@contextlib.contextmanager
def simulated() -> Iterator[Reference]:
    """The reference whose probes kill a simulated process, in this one, for a while."""
    machine = types.SimpleNamespace(kill=lambda _pid, _signal: _ports.get().die(), getpid=lambda: 0)
    names = vars(probe_module)
    before, names["os"] = names["os"], machine
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield Reference()
    finally:
        logging.disable(level)
        names["os"] = before


def play(seed: int, *, mutant: str | None = None, verbose: bool = False) -> Played:
    """One world of the reference; `UsageError` for an unknown mutant."""
    with _planted(mutant), simulated() as system:
        return World(seed, system, mutant=mutant, verbose=verbose).play()


def play_some(seeds: Sequence[int]) -> campaign.Part:
    """Worlds of the reference, one after another."""
    with simulated() as system:
        return campaign.part_of([World(seed, system).play() for seed in seeds])


def mutants() -> list[str]:
    """The wrong protocols that it is measured against: rules of section 3, and MSG-4."""
    from streamproof.targets.mutants import MUTANTS  # noqa: PLC0415 - imports all of the reference

    return [
        name
        for name, mutant in MUTANTS.items()
        if any(rule.startswith(PROTOCOL_RULES) for rule in mutant.rules)
    ]


def check_mutant(name: str) -> None:
    """`UsageError` for an unknown one, with the names that are near it, else all of them."""
    from streamproof.targets.mutants import MUTANTS  # noqa: PLC0415 - imports all of the reference

    if name not in MUTANTS:
        near = difflib.get_close_matches(name, MUTANTS, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"one of: {', '.join(mutants())}"
        raise UsageError(f"there is no mutant {name}", hint)


def seeds_to_detection(asked: tuple[str, int, int]) -> tuple[str, list[int | None]]:
    """(mutant, starts, most): how many seeds each start needed to find it, None for too many."""
    name, starts, most = asked
    needed: list[int | None] = []
    with _planted(name), simulated() as system:
        for start in range(starts):
            worlds = (
                World(start * START_DISTANCE + number, system, mutant=name).play().holds
                for number in range(most)
            )
            needed.append(next((n for n, holds in enumerate(worlds, 1) if not holds), None))
    return name, needed


def seed_of(start: int, needed: int) -> int:
    """The seed that found it, of the search `start` that took so many."""
    return start * START_DISTANCE + needed - 1


@contextlib.contextmanager
def _planted(name: str | None) -> Iterator[None]:
    if name is None:
        yield
        return
    from streamproof.targets.mutants import MUTANTS, Patch  # noqa: PLC0415 - only when asked for

    class Redirected(Patch):
        """What wraps a method of `SqliteStore` wraps the simulated store's."""

        def around(self, seam: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
            return super().around(seam.replace(SQLITE, SIMULATED))

    check_mutant(name)
    patch = Redirected()
    try:
        if name not in SQL_ALONE:
            MUTANTS[name].plant(patch)
        else:
            MUTANTS[name].plant(unused := Patch())
            unused.undo()  # a mutant that cannot be planted any more must say so here too
        _forget()
        yield
    finally:
        patch.undo()
        _forget()


def _forget() -> None:
    """Make settings and handlers anew: a mutant may change their defaults."""
    _settings.cache_clear()
    _handlers.cache_clear()


@functools.cache
def _settings(messages_per_minute: int, in_flight: int) -> Settings:
    return Settings(
        store="",
        management_url="https://simulated.test/dev",
        region="us-east-1",
        token_keys="{}",  # noqa: S106 - not a password; the rules come from `_rules`
        probe=True,
        messages_per_minute=messages_per_minute,
        burst=messages_per_minute,
        in_flight=in_flight,
    )


def _registry() -> Registry:
    registry = _handlers()
    registry.middlewares = (_watch,)
    return registry


@functools.cache
def _handlers() -> Registry:
    return default_registry(probe=True)


async def _watch(job: Job, following: Next) -> Any:
    """Tell the world of each run and of how it ended."""
    ports = _ports.get()
    own = job.payload.get("payload")
    tag = str(job.payload.get("count_key") or (own.get("tag") if isinstance(own, dict) else ""))
    queued = job.updates is not None
    run = Run(job.tenant_id, job.user_id, job.request_id, job.attempt, tag, queued)
    ports.began(run)
    try:
        result = await following(job)
    except HandlerError as error:
        ports.ended(run, "retryable" if error.another_attempt else error.code)
        raise
    except asyncio.CancelledError:
        ports.ended(run, "cancelled")
        raise
    except Exception as error:
        ports.ended(run, type(error).__name__)
        raise
    ports.ended(run, "ok")
    return result


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


@functools.cache
def _rules() -> TokenRules:
    public = _key().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return TokenRules({"k": public.public_bytes(serialization.Encoding.PEM, form).decode()})


@functools.cache
def _token(user: str, tenant: str, permissions: tuple[str, ...], expires_s: int) -> str:
    claims = {
        "sub": user,
        "tenant_id": tenant,
        "permissions": list(permissions),
        "iat": EPOCH_MS // 1000,
        "exp": EPOCH_MS // 1000 + expires_s,
    }
    return jwt.encode(claims, _key(), algorithm="RS256", headers={"kid": "k"})
