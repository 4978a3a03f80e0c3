"""Handlers of a shop's own, as a team would write them: one answers at once, one takes a while.

`docs/handlers.md` explains each part. A service loads this file by its path.
"""

from __future__ import annotations

import re

from streamer_reference.handlers import JSON, Job, Registry
from streamer_reference.handlers.fields import choice, integer, items, payload, text
from streamer_reference.handlers.registry import Next
from streamer_reference.observability.logs import log
from streamer_reference.protocol.errors import ErrorCode, HandlerError

STOCK = {"lamp": 4, "desk": 0}
OUT_OF_STOCK = ErrorCode(
    "OUT_OF_STOCK", "There is less of the article than asked for.", retryable=False, definite=True
)

registry = Registry()


@registry.handler(
    "shop.reserve",
    validate=payload({"article": choice(*STOCK), "count": integer(1, 100)}),
    error_codes=(OUT_OF_STOCK,),
)
async def reserve(job: Job) -> JSON:
    """A short handler: its result is the member `data` of the response."""
    article, count = job.payload["article"], job.payload["count"]
    if STOCK[article] < count:
        raise HandlerError("OUT_OF_STOCK", details={"article": article, "left": STOCK[article]})
    return {"article": article, "reserved": count, "for": job.user_id}


@registry.handler(
    "shop.count",
    estimated_duration_s=60,
    permission="stock",
    time_limit_s=120,
    validate=payload({"pages": items(text(10_000), 1, 100)}),
)
def count(job: Job) -> JSON:
    """A long handler that computes: not `async`, so it runs in a thread and stops nobody else."""
    words, pages = 0, job.payload["pages"]
    for number, page in enumerate(pages, 1):
        words += len(re.findall(r"\w+", page))
        job.set_metadata("words", words)
        job.progress(100 * number / len(pages), f"page {number} of {len(pages)}")
    return {"words": words, "attempt": job.attempt}


@registry.middleware
async def audit(job: Job, call_next: Next) -> JSON:
    """Runs around every handler of the service: who did what, how it ended, how long it took."""
    began_ms, outcome = job.clock.now_ms(), "failed"
    try:
        result = await call_next(job)
        outcome = "succeeded"
        return result
    finally:
        took_ms = job.clock.now_ms() - began_ms
        log("info", f"audit: {job.action} {outcome}", user_id=job.user_id, took_ms=took_ms)
