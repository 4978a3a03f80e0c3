"""On a schedule, and as the destination of workers' failed invocations."""

from __future__ import annotations

from typing import Any

from streamer_reference.lambdas.runtime import face, function
from streamer_reference.services import Services
from streamer_reference.sweeper import after_failure, sweep


@function
async def sweeper(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """Take a dead worker's requests back at once when told of it; otherwise look for everything."""
    if "requestPayload" in event:
        await after_failure(event, services)
    else:
        await sweep(services)
    return {"statusCode": 200}


handler = face(sweeper)
