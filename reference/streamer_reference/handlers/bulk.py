"""`bulk`: many short requests in one long one; each has its own result, and some may fail."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools

from streamer_reference.handlers import fields
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry, log_failure
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import FieldError, StreamerError, ValidationError
from streamer_reference.protocol.limits import MESSAGE_BYTES_MAX
from streamer_reference.protocol.messages import sendable

ITEMS_MAX, SIDE_BY_SIDE = 100, 10
ITEM_LIMIT_S = 25.0  # of a short request

_ITEM = fields.members({"action": fields.text(64)}, {"payload": fields.OBJECT})


def register_bulk(registry: Registry) -> None:
    """Register `bulk` for the handlers of this registry, those that join it later too."""

    @registry.handler(
        "bulk",
        estimated_duration_s=ALWAYS_QUEUED_S,
        validate=fields.payload({"items": fields.items(_ITEM, 1, ITEMS_MAX)}),
    )
    async def bulk(job: Job) -> JSON:
        """Run the items side by side; end with a result for each, in their order, and counts."""
        todo = job.payload["items"]
        slots, ended = asyncio.Semaphore(SIDE_BY_SIDE), itertools.count(1)

        async def run(index: int) -> dict[str, JSON]:
            async with slots:
                result = await _run(registry, job, index)
            done = next(ended)
            job.progress(round(100 * done / len(todo), 1), f"{done} of {len(todo)} items")
            return result

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(index)) for index in range(len(todo))]
        results = [task.result() for task in tasks]
        succeeded = sum(result["success"] for result in results)
        counts = {"total": len(todo), "succeeded": succeeded, "failed": len(todo) - succeeded}
        return {**counts, "results": results}


async def _run(registry: Registry, bulk: Job, index: int) -> dict[str, JSON]:
    """What the item would have been answered alone: `data`, or `error`."""
    item = bulk.payload["items"][index]
    payload = item.get("payload", {})
    # No client's id has a space, so an item is never taken for another request.
    request_id = f"{bulk.request_id} {index}"
    job = dataclasses.replace(bulk, payload=payload, request_id=request_id, updates=None)
    try:
        handler = registry.admit(item["action"], payload, job.permissions)
        if handler.is_queued():
            raise ValidationError([FieldError("action", "must be one that is answered at once")])
        limit_s = min(handler.time_limit_of(payload), ITEM_LIMIT_S)
        data = await registry.call(handler, job, limit_s)
        if len(encode(data).encode()) > MESSAGE_BYTES_MAX:
            raise StreamerError("RESULT_TOO_LARGE")
        return {"index": index, "success": True, "data": data}
    except StreamerError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - a handler may raise anything
        action = item["action"]
        log_failure(error, action, registry.get(action), request_id=request_id)
        failure = StreamerError("INTERNAL_ERROR")
    return {"index": index, "success": False, "error": sendable(failure).to_json()}
