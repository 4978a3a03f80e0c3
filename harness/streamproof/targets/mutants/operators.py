"""Section 7 of the contract, broken: logs, metrics, budgets."""

from __future__ import annotations

from typing import Any

from streamproof.targets.mutants.base import Patch, mutant

STORE = "streamer_reference.store.sqlite:SqliteStore"
WORKER = "streamer_reference.worker"
METRICS = "streamer_reference.observability.metrics"


@mutant("OBS-5")
def a_read_more_per_message(patch: Patch) -> None:
    """The router reads a connection twice."""

    @patch.around(f"{STORE}.get_connection")
    async def get_connection(original: Any, *args: Any) -> Any:
        await original(*args)
        return await original(*args)


@mutant("OBS-5")
def a_write_more_per_progress(patch: Patch) -> None:
    """Each progress message is noted as taken in a write of its own."""

    @patch.around("streamer_reference.outbox:Outbox.deliver")
    async def deliver(original: Any, outbox: Any) -> None:
        await original(outbox)
        await outbox._queue.taken(outbox.request.key, outbox._sequence)
