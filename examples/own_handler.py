"""Two handlers of a shop's own, as a team would write them: one answers at once, one takes a while.

`docs/handlers.md` explains each part. A service loads this file by its path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from streamer_reference.handlers import JSON, Job, Registry
from streamer_reference.handlers.registry import Next
from streamer_reference.protocol.errors import ErrorCode, FieldError, HandlerError

STOCK = {"lamp": 4, "desk": 0}
OUT_OF_STOCK = ErrorCode(
    "OUT_OF_STOCK", "There is less of the article than asked for.", retryable=False, definite=True
)

registry = Registry()


def bad_order(payload: Mapping[str, JSON]) -> list[FieldError]:
    """One error for each bad field; an empty list lets the request through."""
    errors = []
    if payload.get("article") not in STOCK:
        errors.append(FieldError("payload.article", "must be one of " + ", ".join(STOCK)))
    if type(payload.get("count")) is not int or not 1 <= payload["count"] <= 100:
        errors.append(FieldError("payload.count", "must be an integer from 1 to 100"))
    return errors


@registry.handler("shop.reserve", validate=bad_order, error_codes=(OUT_OF_STOCK,))
async def reserve(job: Job) -> JSON:
    """A short handler: its result is the member `data` of the response."""
    article, count = job.payload["article"], job.payload["count"]
    if STOCK[article] < count:
        raise HandlerError("OUT_OF_STOCK", details={"article": article, "left": STOCK[article]})
    return {"article": article, "reserved": count, "for": job.user_id}


@registry.handler("shop.count", estimated_duration_s=60, permission="stock", time_limit_s=120)
def count(job: Job) -> JSON:
    """A long handler that computes: not `async`, so it runs in a thread and stops nobody else."""
    words = 0
    pages = job.payload.get("pages", [])
    for number, page in enumerate(pages, 1):
        words += len(re.findall(r"\w+", page))
        job.set_metadata("words", words)
        job.progress(100 * number / len(pages), f"page {number} of {len(pages)}")
    return {"words": words, "attempt": job.attempt}


@registry.middleware
async def label(job: Job, call_next: Next) -> JSON:
    """Runs around every handler of the service: here it adds a version to results of the shop."""
    result = await call_next(job)
    return {"version": 1, **result} if isinstance(result, dict) and "reserved" in result else result
