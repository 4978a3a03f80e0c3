"""Section 7 of the contract, broken: logs, metrics, alarms, traces, budgets."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from streamproof.targets.mutants.base import Patch, mutant

OBSERVABILITY = "streamer_reference.observability"
STORE = "streamer_reference.store.sqlite:SqliteStore"
WORKER = "streamer_reference.worker:Worker"


@mutant("OBS-1")
def correlation_id_of_each_function(patch: Patch) -> None:
    """Each function names a request by an id of its own."""

    @patch.around(f"{OBSERVABILITY}.logs:bind")
    def bind(original: Any, **names: Any) -> None:
        own = {"correlation_id": uuid.uuid4().hex} if names.get("correlation_id") else {}
        original(**{**names, **own})


@mutant("OBS-1")
def lines_that_are_no_json(patch: Patch) -> None:
    """What is logged is a sentence."""

    @patch.around(f"{OBSERVABILITY}.logs:log")
    def log(_original: Any, level: str, message: str, **fields: Any) -> None:
        sys.stderr.write(f"{level.upper()} {message} {fields}\n")


@mutant("OBS-1")
def requests_unnamed(patch: Patch) -> None:
    """A worker's lines do not say which request they are about."""

    @patch.around(f"{OBSERVABILITY}.logs:bind_request")
    def bind_request(_original: Any, _request: Any) -> None:
        return


@mutant("OBS-2")
def queue_delay_unmeasured(patch: Patch) -> None:
    """How long requests wait is measured by nobody."""

    @patch.around(f"{OBSERVABILITY}.metrics:Metrics.add")
    def add(original: Any, metrics: Any, name: str, *args: float) -> None:
        if name != "QueueDelay":
            original(metrics, name, *args)


@mutant("OBS-2")
def metrics_of_another_namespace(patch: Patch) -> None:
    """Metrics are written in a namespace of another name."""
    patch.constant(f"{OBSERVABILITY}.metrics:NAMESPACE", "streamer/dev")


@mutant("OBS-3")
def alarms_on_nothing(patch: Patch) -> None:
    """Alarms have a dimension that no metric has."""

    @patch.around(f"{OBSERVABILITY}.alarms:_dimensions")
    def dimensions(original: Any, metric: str, environment: str, *args: Any) -> Any:
        return {**original(metric, environment, *args), "stage": environment}


@mutant("OBS-4")
def trace_of_each_function(patch: Patch) -> None:
    """Each function begins a trace of its own."""

    @patch.around(f"{OBSERVABILITY}.traces:span")
    def span(original: Any, name: str, _parent: str = "", **attributes: str) -> Any:
        return original(name, "", **attributes)


@mutant("OBS-5")
def a_read_more_per_message(patch: Patch) -> None:
    """The router reads a connection twice."""

    @patch.around(f"{STORE}.get_connection")
    async def get_connection(original: Any, *args: Any) -> Any:
        await original(*args)
        return await original(*args)


@mutant("OBS-5")
def a_write_more_per_progress(patch: Patch) -> None:
    """Each message is noted as taken in a write of its own."""

    @patch.around("streamer_reference.outbox:Outbox.deliver")
    async def deliver(original: Any, outbox: Any) -> None:
        await original(outbox)
        await outbox._queue.taken(outbox.request.key, outbox._sequence)


@mutant("OBS-5")
def a_lease_per_request(patch: Patch) -> None:
    """Each request renews its worker's lease for itself."""

    @patch.around(f"{WORKER}._run")
    async def run(original: Any, worker: Any, *args: Any) -> None:
        await worker._renew("of one request")
        await original(worker, *args)


@mutant("OBS-5")
def a_read_per_recipient(patch: Patch) -> None:
    """A broadcast reads each of its recipients."""

    @patch.around(f"{STORE}.connections_of")
    async def connections_of(original: Any, store: Any, tenant_id: str) -> Any:
        found = await original(store, tenant_id)
        for connection_id in found:
            await store.get_connection(connection_id)
        return found
