"""The probe pack: handlers that do on demand what a clause needs to see, failures included.

They are for tests: off unless switched on, and behind the permission `probe`. `probe.async` can end
its own process, so a service that serves anybody else must leave them off.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal

from streamer_reference.handlers import fields
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry
from streamer_reference.protocol import errors

PERMISSION = "probe"
STEPS_MAX = 10_000
RESULT_BYTES_MIN = len('{"data":""}')
RESULT_BYTES_MAX = 16 * 1024 * 1024
TIME_LIMIT_MS = 30_000
# What a careless exception shows: a path, a table, and a word to look for (SYNC-2, ERR-1).
FOREIGN_TEXT = "/var/task/probe.py: no item in table streamer-requests: streamproof-canary"

registry = Registry()


@registry.handler("probe.whoami", permission=PERMISSION)
async def whoami(job: Job) -> JSON:
    """Answer with the sender's identity as the server believes it (AUTH-5)."""
    names = ("user_id", "tenant_id", "connection_id")
    return {"permissions": list(job.permissions), **{name: getattr(job, name) for name in names}}


_COUNT = {"key": fields.text()}


@registry.handler("probe.count", permission=PERMISSION, validate=fields.payload(_COUNT))
async def count(job: Job) -> JSON:
    """Answer how often probes of this tenant with that `count_key` began to run."""
    return {"count": await job.counter.read(_counter_key(job, job.payload["key"]))}


_CODES = [code for code in errors.ERROR_CODES if code != errors.NO_OUTCOME]
_END = {"code": fields.choice(*_CODES), "count_key": fields.text()}
_SYNC = {"ms": fields.MILLISECONDS, "end": fields.choice("ok", "fail", "raise", "hang")}


@registry.handler("probe.sync", permission=PERMISSION, validate=fields.payload({}, _SYNC | _END))
async def short_probe(job: Job) -> JSON:
    """Wait `ms`, then end as asked: an empty answer, a typed error, a foreign one, or never."""
    await _note_run(job)
    await job.sleep(job.payload.get("ms", 0) / 1000)
    await _end(job)
    return {}


_STEP = {
    "percentage": fields.NUMBER,  # in range or not is what PROG-1 watches
    "ms": fields.MILLISECONDS,
    "message": fields.TEXT,
    "metadata": fields.OBJECT,
}
_ASYNC = {
    "end": fields.choice("ok", "fail", "retryable", "crash", "hang"),
    "end_attempts": fields.integer(0, 1000),
    "time_limit_ms": fields.number(1, fields.WORK_MS_MAX),
    "result_bytes": fields.integer(RESULT_BYTES_MIN, RESULT_BYTES_MAX),
    "steps": fields.items(fields.members({}, _STEP), 0, STEPS_MAX),
}


@registry.handler(
    "probe.async",
    estimated_duration_s=ALWAYS_QUEUED_S,
    permission=PERMISSION,
    time_limit_s=lambda payload: payload.get("time_limit_ms", TIME_LIMIT_MS) / 1000,
    validate=fields.payload({}, _ASYNC | _END),
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


async def _end(job: Job) -> None:
    code, end = job.payload.get("code", "PROCESSING_FAILED"), job.payload.get("end", "ok")
    if end in ("fail", "retryable"):
        again = end == "retryable"
        message, details = "the probe was told to fail", {"end": end}
        if again and "code" not in job.payload:
            raise errors.RetryableError(message, details)
        raise errors.HandlerError(code, message, details, retryable=again)
    if end == "raise":
        raise LookupError(FOREIGN_TEXT)
    if end == "crash":
        # Windows has no SIGKILL; there SIGTERM ends a process as abruptly.
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    if end == "hang":
        await asyncio.get_running_loop().create_future()


async def _note_run(job: Job) -> None:
    """Count before anything else happens: what is asked is how often a probe *began* to run."""
    if "count_key" in job.payload:
        await job.counter.increment(_counter_key(job, job.payload["count_key"]))


def _counter_key(job: Job, key: str) -> str:
    return json.dumps([job.tenant_id, key])  # unambiguous: no key reaches into another tenant
