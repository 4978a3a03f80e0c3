"""Handlers that give back what they got: for trying a client, and for the demonstration."""

from __future__ import annotations

import math

from streamer_reference.handlers.fields import MILLISECONDS, WORK_MS_MAX, integer, payload
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry

STEPS_MAX = 1000
STEPS, STEP_MS = 4, 50  # of echo_async when it is told nothing
DELAY_STEP_MS, DELAY_STEPS_MAX = 250, 100  # how often delay reports
TIME_LIMIT_S = WORK_MS_MAX / 1000 + 30  # for a machine that is busy

registry = Registry()


@registry.handler("echo")
async def echo(job: Job) -> JSON:
    """Answer with the payload, exactly as it came (MSG-5)."""
    return {"echo": job.payload}


@registry.handler("ping")
async def ping(job: Job) -> JSON:  # noqa: ARG001 - every handler takes a job
    """Answer that somebody is there; clients send it to keep an idle connection open."""
    return {"pong": True}


@registry.handler(
    "echo_async",
    estimated_duration_s=ALWAYS_QUEUED_S,
    time_limit_s=TIME_LIMIT_S,
    validate=payload({}, {"steps": integer(0, STEPS_MAX), "step_ms": MILLISECONDS}),
)
async def echo_async(job: Job) -> JSON:
    """Wait `steps` times `step_ms`, reporting each, and end with the member `payload`."""
    await _wait(job, job.payload.get("steps", STEPS), job.payload.get("step_ms", STEP_MS))
    return job.payload.get("payload", {})


@registry.handler(
    "delay",
    estimated_duration_s=ALWAYS_QUEUED_S,
    time_limit_s=TIME_LIMIT_S,
    validate=payload({"duration_ms": MILLISECONDS}),
)
async def delay(job: Job) -> JSON:
    """Wait `duration_ms`, reporting as it goes, and end with it."""
    duration_ms = job.payload["duration_ms"]
    steps = min(DELAY_STEPS_MAX, math.ceil(duration_ms / DELAY_STEP_MS))
    await _wait(job, steps, duration_ms / max(steps, 1))
    return {"duration_ms": duration_ms}


async def _wait(job: Job, steps: int, step_ms: float) -> None:
    for step in range(1, steps + 1):
        await job.sleep(step_ms / 1000)
        job.progress(100 * step / steps, f"step {step} of {steps}")
