"""The two shortest handlers: what came in goes out, exactly as it came (MSG-5)."""

from __future__ import annotations

from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_SHORT_S, Registry

registry = Registry()


@registry.handler("echo", estimated_duration_s=ALWAYS_SHORT_S)
async def echo(job: Job) -> JSON:
    """Answer with the payload."""
    return {"echo": job.payload}


@registry.handler("ping", estimated_duration_s=ALWAYS_SHORT_S)
async def ping(job: Job) -> JSON:  # noqa: ARG001 - every handler takes a job
    """Answer that somebody is there; clients send it to keep an idle connection open."""
    return {"pong": True}
