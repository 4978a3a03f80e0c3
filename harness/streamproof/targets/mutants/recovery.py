"""Section 3 of the contract, broken: RECOV."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

from streamer_reference.store.base import Stored
from streamproof.targets.mutants.base import Patch, WrongError, mutant

SETTINGS = "streamer_reference.settings:Settings"
STORE = "streamer_reference.store.sqlite:SqliteStore"
SWEEPER = "streamer_reference.sweeper"
WORKER = "streamer_reference.worker"
PROCESSOR = "streamer_reference.lambdas.processor:processor"


@mutant("RECOV-1")
def lease_never_expires(patch: Patch) -> None:
    """A request whose worker is gone stays with it."""

    @patch.around(f"{STORE}.orphans")
    async def orphans(_original: Any, *_args: Any) -> list[Stored]:
        return []


@mutant("RECOV-1")
def lease_of_an_hour(patch: Patch) -> None:
    """A lease lasts an hour."""
    patch.default(SETTINGS, lease_s=3600.0)


@mutant("RECOV-1")
def lease_is_not_renewed(patch: Patch) -> None:
    """A worker lets its lease run out while it lives."""

    @patch.around(f"{WORKER}:Worker._keep_lease")
    async def keep_lease(_original: Any, *_args: Any) -> None:
        await asyncio.get_running_loop().create_future()


@mutant("RECOV-1")
def lease_is_renewed_too_late(patch: Patch) -> None:
    """A lease of 5 s is renewed every 6 s."""
    patch.default(SETTINGS, renewal_s=6.0)


@mutant("RECOV-1")
def sweeps_wait_for_slow_clients(patch: Patch) -> None:
    """A sweep is left out while the one before still sends outcomes."""
    sweeping = asyncio.Lock()

    @patch.around(f"{SWEEPER}:sweep")
    async def sweep(original: Any, *args: Any) -> None:
        if not sweeping.locked():
            async with sweeping:
                await original(*args)


@mutant("RECOV-1")
def unclaimed_for_a_minute(patch: Patch) -> None:
    """What nobody took is handed over again after a minute."""
    patch.constant(f"{SWEEPER}:OVERDUE_MS", 60_000)


@mutant("RECOV-1")
def death_seen_and_not_told(patch: Patch) -> None:
    """A worker that was seen to die keeps its lease until it runs out."""

    @patch.around(f"{STORE}.worker_gone")
    async def worker_gone(_original: Any, *_args: Any) -> bool:
        return False


@mutant("RECOV-1", "RECOV-5")
def death_counts_as_failure(patch: Patch) -> None:
    """A worker's death uses up one of the handler's attempts."""

    @patch.around(f"{STORE}.take_back")
    async def take_back(
        _original: Any, store: Any, key: str, attempt: int, not_before_ms: int, now_ms: int
    ) -> Any:
        stored = await store.get(key)
        failures = stored.request.failures + 1
        return await store.retry(
            key, attempt, failures=failures, not_before_ms=not_before_ms, now_ms=now_ms
        )


@mutant("RECOV-1")
def unclaimed_is_forgotten(patch: Patch) -> None:
    """What was handed over and never claimed is not handed over again."""

    @patch.around(f"{STORE}.overdue")
    async def overdue(_original: Any, *_args: Any) -> list[Stored]:
        return []


@mutant("RECOV-2")
def undelivered_is_forgotten(patch: Patch) -> None:
    """An outcome whose send failed is never posted again."""

    @patch.around(f"{STORE}.undelivered")
    async def undelivered(_original: Any, *_args: Any) -> list[Stored]:
        return []


@mutant("RECOV-2")
def outcome_is_made_anew(patch: Patch) -> None:
    """An outcome that is posted again has a new timestamp."""

    @patch.around(f"{STORE}.undelivered")
    async def undelivered(original: Any, *args: Any) -> list[Stored]:
        return [_renewed(stored) for stored in await original(*args)]


def _renewed(stored: Stored) -> Stored:
    message = json.loads(stored.outbox.message)
    text = json.dumps({**message, "timestamp": message["timestamp"] + 1})
    return dataclasses.replace(stored, outbox=dataclasses.replace(stored.outbox, message=text))


@mutant("RECOV-3")
def result_is_dropped(patch: Patch) -> None:
    """A result is sent and not kept."""

    @patch.around(f"{STORE}.finish")
    async def finish(original: Any, store: Any, *args: Any, **options: Any) -> Any:
        key, attempt, status, outcome, *rest = args
        kept = outcome if "error" in json.loads(outcome) else '{"result":null}'
        return await original(store, key, attempt, status, kept, *rest, **options)


@mutant("RECOV-3")
def retention_of_a_day(patch: Patch) -> None:
    """Results are kept for a day."""
    patch.default(SETTINGS, retention_s=86_400)


@mutant("RECOV-3")
def retention_without_end(patch: Patch) -> None:
    """Results are kept for ever."""

    @patch.around(f"{STORE}.forget")
    async def forget(_original: Any, *_args: Any) -> None:
        return


@mutant("RECOV-3")
def status_for_its_connection_alone(patch: Patch) -> None:
    """A result can be read from the connection alone that asked for it."""

    @patch.around("streamer_reference.actions:_key")
    def key(original: Any, connection: Any, payload: Any) -> Any:
        found: str = original(connection, payload)
        return found if connection.connection_id == "c1" else f"{found}?"


@mutant("RECOV-4")
def poison_record_raises(patch: Patch) -> None:
    """A record that cannot be read fails its batch, for as long as the stream brings it."""

    @patch.around(f"{STORE}.park")
    async def park(_original: Any, _store: Any, _record: Any, reason: str) -> None:
        raise WrongError(reason)


@mutant("RECOV-4")
def poison_record_swallowed(patch: Patch) -> None:
    """A record that cannot be read is passed over, and nobody can look at it later."""

    @patch.around(f"{STORE}.park")
    async def park(_original: Any, *_args: Any) -> None:
        return


@mutant("RECOV-4")
def parked_and_left_open(patch: Patch) -> None:
    """The request of a record that was parked never ends."""

    @patch.around(f"{SWEEPER}:fail")
    async def fail(_original: Any, *_args: Any) -> None:
        return


@mutant("RECOV-5")
def poisonous_among_the_others(patch: Patch) -> None:
    """A request whose worker died runs together with others again."""

    @patch.around(f"{SWEEPER}:hand_over_keys")
    def hand_over_keys(original: Any, together: list[str], alone: list[str], *args: Any) -> None:
        original([*together, *alone], [], *args)

    @patch.around(f"{STORE}.claim")
    async def claim(original: Any, *args: Any, alone: bool) -> Any:
        return await original(*args, alone=alone or True)


@mutant("RECOV-5")
def deaths_without_end(patch: Patch) -> None:
    """A request that kills its worker is run for ever."""
    patch.default(SETTINGS, deaths_max=1_000_000)


@mutant("RECOV-5")
def three_deaths_are_enough(patch: Patch) -> None:
    """A request is given up after the third death of its worker."""
    patch.default(SETTINGS, deaths_max=3)


@mutant("RECOV-5")
def deaths_without_a_pause(patch: Patch) -> None:
    """A request that killed its worker runs again at once."""
    patch.constant(f"{SWEEPER}:DEATH_PAUSES_MS", (0,))
