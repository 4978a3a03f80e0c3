"""Section 4 of the contract, broken: broadcasts and delivery."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from typing import Any

from streamer_reference.connection import errors, manager
from streamer_reference.core.backoff import Backoff
from streamer_reference.core.circuit import Circuit, State
from streamproof.targets.mutants.base import Patch, mutant

MANAGER = "streamer_reference.connection.manager"
THE_MANAGER = f"{MANAGER}:ConnectionManager"
ERRORS = "streamer_reference.connection.errors"
CIRCUIT = "streamer_reference.core.circuit"
STORE = "streamer_reference.store.sqlite:SqliteStore"


@mutant("BCAST-1")
def broadcast_across_tenants(patch: Patch) -> None:
    """A broadcast reaches every tenant."""

    @patch.around(f"{STORE}.connections_of")
    async def connections_of(_original: Any, store: Any, _tenant_id: str) -> list[str]:
        rows = store.reader.execute("SELECT connection_id FROM connections").fetchall()
        return [row[0] for row in rows]


@mutant("BCAST-1")
def broadcast_is_repeated(patch: Patch) -> None:
    """A post of a broadcast that got no answer is made again."""

    @patch.around(f"{THE_MANAGER}._send")
    async def send(original: Any, self: Any, send: Any) -> Any:
        return await original(self, dataclasses.replace(send, repeatable=True))


@mutant("BCAST-1")
def broadcast_without_its_sender(patch: Patch) -> None:
    """Who broadcasts does not get it."""

    @patch.around(f"{STORE}.connections_of")
    async def connections_of(original: Any, *args: Any) -> list[str]:
        found: list[str] = await original(*args)
        return found[1:]


@mutant("BCAST-2")
def broadcast_one_by_one(patch: Patch) -> None:
    """A recipient waits until the one before has its message."""
    patch.constant(f"{MANAGER}:RECIPIENTS_AT_ONCE_MAX", 1)


@mutant("BCAST-2")
def recipient_has_ten_seconds(patch: Patch) -> None:
    """A recipient of a broadcast has ten seconds for its attempts."""
    patch.constant(f"{MANAGER}:BROADCAST", manager.SEND)


@mutant("BCAST-2")
def slow_recipient_keeps_its_slot(patch: Patch) -> None:
    """A recipient that pauses before a retry keeps others from being posted to."""
    patch.constant(f"{MANAGER}:PROMPT_S", 100.0)

    @patch.around(f"{THE_MANAGER}._attempts")
    async def attempts(original: Any, self: Any, send: Any) -> Any:
        async with send.posts():
            free = dataclasses.replace(send, posts=contextlib.nullcontext)
            return await original(self, free)


@mutant("BCAST-2")
def hanging_post_keeps_its_place(patch: Patch) -> None:
    """A post that is not answered keeps others from being posted to."""
    patch.constant(f"{MANAGER}:PROMPT_S", 100.0)


@mutant("BCAST-2")
def gone_counts_as_delivered(patch: Patch) -> None:
    """Recipients that are gone are counted as delivered."""

    @patch.around(f"{THE_MANAGER}.broadcast")
    async def broadcast(original: Any, *args: Any) -> Any:
        result = await original(*args)
        delivered = result.delivered + result.gone
        return dataclasses.replace(result, delivered=delivered, gone=0)


@mutant("BCAST-3")
def serialised_for_each(patch: Patch) -> None:
    """A broadcast is serialised once for each recipient."""

    @patch.around(f"{THE_MANAGER}._send")
    async def send(original: Any, self: Any, send: Any) -> Any:
        return await original(self, dataclasses.replace(send, data=bytes(bytearray(send.data))))


@mutant("BCAST-3")
def broadcast_pool_unbounded(patch: Patch) -> None:
    """A broadcast posts to all recipients at once."""
    patch.constant(f"{MANAGER}:BROADCAST_POSTS_MAX", 1_000_000)
    patch.constant(f"{MANAGER}:PROMPT_POSTS_MAX", 1_000_000)


@mutant("BCAST-3")
def shutdown_waits_for_ever(patch: Patch) -> None:
    """Shutting down waits for a broadcast, however long it takes."""

    @patch.around(f"{THE_MANAGER}.aclose")
    async def aclose(original: Any, self: Any, *, drain_s: float = 0.0) -> None:
        await original(self, drain_s=drain_s + 100_000.0)


@mutant("SEND-1")
def retries_at_once(patch: Patch) -> None:
    """A post is repeated without a pause."""
    _pauses(patch, lambda _pause_s, _longest_s: 0.0)


@mutant("SEND-1")
def pauses_without_jitter(patch: Patch) -> None:
    """Pauses are always as long as they may be, so that all come back together."""
    _pauses(patch, lambda _pause_s, longest_s: longest_s)


def _pauses(patch: Patch, change: Any) -> None:
    @patch.around("streamer_reference.core.backoff:Backoff.pause_s")
    def pause_s(original: Any, backoff: Backoff, failures: int, *args: float) -> float | None:
        pause = original(backoff, failures, *args)
        return None if pause is None else change(pause, backoff.longest_s(failures))


@mutant("SEND-1")
def pauses_do_not_grow(patch: Patch) -> None:
    """Each pause is drawn from the first ceiling."""

    @patch.around("streamer_reference.core.backoff:Backoff.longest_s")
    def longest_s(_original: Any, backoff: Backoff, _failures: int) -> float:
        return backoff.first_s


@mutant("SEND-1")
def what_cannot_succeed_is_repeated(patch: Patch) -> None:
    """400, 403 and 413 are tried again."""
    patch.value(f"{ERRORS}:CallerError.retryable", True)


@mutant("SEND-1")
def gone_is_repeated(patch: Patch) -> None:
    """410 is tried again."""
    patch.value(f"{ERRORS}:GoneError.retryable", True)


@mutant("SEND-1")
def throttle_is_not_repeated(patch: Patch) -> None:
    """429 is not tried again."""
    patch.value(f"{ERRORS}:ThrottledError.retryable", False)


@mutant("SEND-1")
def attempts_unbounded(patch: Patch) -> None:
    """A send is tried for as long as it fails."""
    endless = dataclasses.replace(manager.SEND, attempts_max=1_000_000, total_s=math.inf)
    patch.constant(f"{MANAGER}:SEND", endless)


@mutant("SEND-1")
def send_takes_a_minute(patch: Patch) -> None:
    """One send may take a minute."""
    patch.constant(f"{MANAGER}:SEND", dataclasses.replace(manager.SEND, total_s=60.0))


@mutant("SEND-1")
def two_calls_per_attempt(patch: Patch) -> None:
    """The client repeats a call by itself, so that an attempt is two."""

    @patch.around("streamer_reference.connection.management_client:ManagementClient._call")
    async def call(original: Any, *args: Any) -> Any:
        try:
            return await original(*args)
        except errors.ServiceError:
            return await original(*args)


@mutant("SEND-2")
def throttle_opens_the_circuit(patch: Patch) -> None:
    """429 counts against the connection."""
    patch.value(f"{ERRORS}:ThrottledError.peer_failed", True)


@mutant("SEND-2")
def too_large_opens_the_circuit(patch: Patch) -> None:
    """413 counts against the connection."""
    patch.value(f"{ERRORS}:PayloadTooLargeError.peer_failed", True)


@mutant("SEND-2")
def cancelled_send_opens_the_circuit(patch: Patch) -> None:
    """A send that its caller gave up counts against the connection."""

    @patch.around(f"{CIRCUIT}:Circuit.inconclusive")
    def inconclusive(_original: Any, circuit: Circuit) -> Circuit:
        return circuit.failed(0.0)


@mutant("SEND-2")
def circuit_never_opens(patch: Patch) -> None:
    """A connection that fails every send is tried for ever."""
    patch.constant(f"{CIRCUIT}:FAILURES_MAX", 1_000_000)


@mutant("SEND-2")
def circuit_opens_at_ten(patch: Patch) -> None:
    """The circuit opens after ten failures."""
    patch.constant(f"{CIRCUIT}:FAILURES_MAX", 10)


@mutant("SEND-2")
def circuit_never_half_opens(patch: Patch) -> None:
    """A circuit that opened stays open."""
    patch.constant(f"{CIRCUIT}:OPEN_S", math.inf)


@mutant("SEND-2")
def circuit_half_opens_after_five_seconds(patch: Patch) -> None:
    """A circuit lets a send through after 5 s."""
    patch.constant(f"{CIRCUIT}:OPEN_S", 5.0)


@mutant("SEND-2")
def trials_without_number(patch: Patch) -> None:
    """A circuit that tries again lets every send through."""

    @patch.around(f"{CIRCUIT}:Circuit.admits")
    def admits(original: Any, circuit: Circuit, now_s: float) -> Any:
        return circuit.state is State.TRIAL or original(circuit, now_s)

    @patch.around(f"{CIRCUIT}:Circuit.begin")
    def begin(original: Any, circuit: Circuit) -> Any:
        return circuit if circuit.state is State.TRIAL else original(circuit)


@mutant("SEND-2")
def one_circuit_for_all(patch: Patch) -> None:
    """A connection that fails opens the circuit of the others."""

    @patch.around(f"{THE_MANAGER}._connection")
    def connection(original: Any, self: Any, _connection_id: str) -> Any:
        return original(self, "all")


@mutant("SEND-2")
def connections_never_forgotten(patch: Patch) -> None:
    """What is known of a connection is kept after its end."""
    patch.constant(f"{MANAGER}:CONNECTIONS_MAX", 1_000_000_000)
    patch.constant(f"{MANAGER}:UNUSED_S_MAX", math.inf)

    @patch.around(f"{THE_MANAGER}.forget")
    def forget(_original: Any, *_args: Any) -> None:
        return


@mutant("SEND-3", "CONN-3")
def gone_connection_stays(patch: Patch) -> None:
    """A 410 leaves the connection in the store."""
    patch.constant("streamer_reference.services:HANDSHAKE_MS_MAX", math.inf)


@mutant("SEND-3")
def gone_during_the_handshake_removes(patch: Patch) -> None:
    """A 410 removes a connection whose handshake is still under way."""
    patch.constant("streamer_reference.services:HANDSHAKE_MS_MAX", 0)


@mutant("SEND-4")
def sends_without_turns(patch: Patch) -> None:
    """A send does not wait for the one before it to the same connection."""

    class NoTurn(contextlib.nullcontext[None]):
        """A turn that is everybody's."""

    @patch.around(f"{MANAGER}:_Connection.__init__")
    def init(original: Any, self: Any) -> None:
        original(self)
        self.turn = NoTurn()


@mutant("SEND-4")
def newest_first(patch: Patch) -> None:
    """Of the sends that wait for a connection the newest goes first."""

    class Stack(asyncio.Lock):
        """A lock that serves the last comer first."""

        def _wake_up_first(self) -> None:
            waiters = getattr(self, "_waiters", None)
            if waiters and not waiters[-1].done():
                waiters[-1].set_result(True)

    @patch.around(f"{MANAGER}:_Connection.__init__")
    def init(original: Any, self: Any) -> None:
        original(self)
        self.turn = Stack()


@mutant("SEND-5")
def health_is_always_good(patch: Patch) -> None:
    """Every connection is said to be well."""

    @patch.around(f"{THE_MANAGER}.health")
    def health(_original: Any, *_args: Any) -> Any:
        return manager.Health()


@mutant("SEND-5")
def last_success_unknown(patch: Patch) -> None:
    """When a connection last took a message is not said."""

    @patch.around(f"{THE_MANAGER}.health")
    def health(original: Any, *args: Any) -> Any:
        return dataclasses.replace(original(*args), last_success_ms=None)
