"""The probe pack: handlers that do on demand what a clause needs to see, failures included.

They are for tests: off unless switched on, and behind the permission `probe`. `probe.async` can end
its own process, so a service that serves anybody else must leave them off.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping

from streamer_reference.handlers.fields import Fields, is_number
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, ALWAYS_SHORT_S, Registry
from streamer_reference.protocol.errors import (
    ERROR_CODES,
    FieldError,
    HandlerError,
    RetryableError,
)

PERMISSION = "probe"
STEPS_MAX = 10_000
COUNT_KEY_CHARS_MAX = 256
RESULT_BYTES_MIN = len('{"data":""}')
RESULT_BYTES_MAX = 16 * 1024 * 1024
TIME_LIMIT_MS = 30_000
# What a careless exception shows: a path, a table, and a word to look for (SYNC-2, ERR-1).
FOREIGN_TEXT = "/var/task/probe.py: no item in table streamer-requests: streamproof-canary"

registry = Registry()


@registry.handler("probe.whoami", estimated_duration_s=ALWAYS_SHORT_S, permission=PERMISSION)
async def whoami(job: Job) -> JSON:
    """Answer with the sender's identity as the server believes it (AUTH-5)."""
    return {
        "user_id": job.user_id,
        "tenant_id": job.tenant_id,
        "permissions": list(job.permissions),
        "connection_id": job.connection_id,
    }


def _bad_count(payload: Mapping[str, JSON]) -> list[FieldError]:
    fields = Fields(payload)
    fields.text("key", COUNT_KEY_CHARS_MAX, required=True)
    return fields.errors


@registry.handler(
    "probe.count",
    estimated_duration_s=ALWAYS_SHORT_S,
    permission=PERMISSION,
    validate=_bad_count,
)
async def count(job: Job) -> JSON:
    """Answer how often probes of this tenant with that `count_key` began to run."""
    return {"count": await job.counter.read(_counter_key(job, job.payload["key"]))}


def _bad_sync(payload: Mapping[str, JSON]) -> list[FieldError]:
    fields = Fields(payload)
    fields.milliseconds("ms")
    _check_end(fields, "ok", "fail", "raise", "hang")
    return fields.errors


@registry.handler(
    "probe.sync",
    estimated_duration_s=ALWAYS_SHORT_S,
    permission=PERMISSION,
    validate=_bad_sync,
)
async def short_probe(job: Job) -> JSON:
    """Wait `ms`, then end as asked: an empty answer, a typed error, a foreign one, or never."""
    await _note_run(job)
    await job.sleep(job.payload.get("ms", 0) / 1000)
    await _end(job)
    return {}


def _bad_async(payload: Mapping[str, JSON]) -> list[FieldError]:
    fields = Fields(payload)
    _check_end(fields, "ok", "fail", "retryable", "crash", "hang")
    fields.integer("end_attempts", 0, 1000)
    fields.milliseconds("time_limit_ms", low=1)
    fields.integer("result_bytes", RESULT_BYTES_MIN, RESULT_BYTES_MAX)
    if "result_bytes" in payload and payload.get("result") is not None:
        fields.bad("result_bytes", "cannot be given together with result")
    must = f"must be a list of at most {STEPS_MAX} steps"
    if fields.check("steps", lambda v: isinstance(v, list) and len(v) <= STEPS_MAX, must):
        for index, step in enumerate(payload["steps"]):
            fields.errors += _bad_step(step, f"payload.steps[{index}]")
    return fields.errors


def _bad_step(step: JSON, path: str) -> list[FieldError]:
    if not isinstance(step, dict):
        return [FieldError(path, "must be an object")]
    fields = Fields(step, path)
    # Any number passes: keeping percentages in range is what the clause watches (PROG-1).
    fields.check("percentage", is_number, "must be a number")
    fields.milliseconds("ms")
    fields.check("message", lambda v: isinstance(v, str), "must be a text")
    fields.check("metadata", lambda v: isinstance(v, dict), "must be an object")
    return fields.errors


@registry.handler(
    "probe.async",
    estimated_duration_s=ALWAYS_QUEUED_S,
    permission=PERMISSION,
    time_limit_s=lambda payload: payload.get("time_limit_ms", TIME_LIMIT_MS) / 1000,
    validate=_bad_async,
)
async def long_probe(job: Job) -> JSON:
    """Take the steps, then end as asked; after `end_attempts` attempts, end well."""
    await _note_run(job)
    for step in job.payload.get("steps", ()):
        await job.sleep(step.get("ms", 0) / 1000)
        for key, value in step.get("metadata", {}).items():
            job.set_metadata(key, value)
        if "percentage" in step:
            job.progress(step["percentage"], step.get("message"))
    if job.attempt <= job.payload.get("end_attempts", job.attempt):
        await _end(job)
    if "result_bytes" in job.payload:
        return {"data": "x" * (job.payload["result_bytes"] - RESULT_BYTES_MIN)}
    return job.payload.get("result")


def _check_end(fields: Fields, *ends: str) -> None:
    fields.choice("end", ends)
    fields.choice("code", ERROR_CODES)
    fields.text("count_key", COUNT_KEY_CHARS_MAX)


async def _end(job: Job) -> None:
    code, details = job.payload.get("code"), {"end": job.payload.get("end", "ok")}
    match details["end"]:
        case "fail":
            raise HandlerError(code or "PROCESSING_FAILED", "the probe was told to fail", details)
        case "retryable" if code:
            raise HandlerError(code, "the probe was told to fail", details, retryable=True)
        case "retryable":
            raise RetryableError("the probe was told to fail", details)
        case "raise":
            raise LookupError(FOREIGN_TEXT)
        case "crash":
            # Windows has no SIGKILL; there SIGTERM ends a process as abruptly.
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        case "hang":
            await asyncio.get_running_loop().create_future()


async def _note_run(job: Job) -> None:
    """Count before anything else happens: what is asked is how often a probe *began* to run."""
    if "count_key" in job.payload:
        await job.counter.increment(_counter_key(job, job.payload["count_key"]))


def _counter_key(job: Job, key: str) -> str:
    return json.dumps([job.tenant_id, key])  # unambiguous: no key reaches into another tenant
