"""Long handlers that do nothing but wait: for trying a client, and for the demonstration."""

from __future__ import annotations

import math
from collections.abc import Mapping

from streamer_reference.handlers.fields import WORK_MS_MAX, Fields
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry
from streamer_reference.protocol.errors import FieldError

STEPS_MAX = 1000
STEPS, STEP_MS = 4, 50  # of echo_async when it is told nothing
DELAY_STEP_MS, DELAY_STEPS_MAX = 250, 100  # how often delay reports
SPARE_S = 30.0  # time beyond the waiting, for a machine that is busy

registry = Registry()


def _bad_echo(payload: Mapping[str, JSON]) -> list[FieldError]:
    fields = Fields(payload)
    fields.integer("steps", 0, STEPS_MAX)
    fields.milliseconds("step_ms")
    if not fields.errors and _echo_ms(payload) > WORK_MS_MAX:
        fields.bad("steps", f"times step_ms must be at most {WORK_MS_MAX}")
    return fields.errors


def _echo_ms(payload: Mapping[str, JSON]) -> float:
    return float(payload.get("steps", STEPS) * payload.get("step_ms", STEP_MS))


@registry.handler(
    "echo_async",
    estimated_duration_s=ALWAYS_QUEUED_S,
    time_limit_s=lambda payload: _echo_ms(payload) / 1000 + SPARE_S,
    validate=_bad_echo,
)
async def echo_async(job: Job) -> JSON:
    """Wait `steps` times `step_ms`, reporting each, and end with the member `payload`."""
    await _wait(job, job.payload.get("steps", STEPS), job.payload.get("step_ms", STEP_MS))
    return job.payload.get("payload", {})


def _bad_delay(payload: Mapping[str, JSON]) -> list[FieldError]:
    fields = Fields(payload)
    fields.milliseconds("duration_ms", required=True)
    return fields.errors


@registry.handler(
    "delay",
    estimated_duration_s=ALWAYS_QUEUED_S,
    time_limit_s=lambda payload: payload["duration_ms"] / 1000 + SPARE_S,
    validate=_bad_delay,
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
