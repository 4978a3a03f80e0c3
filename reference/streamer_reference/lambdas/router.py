"""$default: one message of a client. What it says is answered through `@connections`."""

from __future__ import annotations

from typing import Any

from streamer_reference.lambdas.runtime import face, function
from streamer_reference.observability import traces
from streamer_reference.router import route
from streamer_reference.services import Services


@function
async def router(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """Always 200: refusals are messages, as a status would reach nobody."""
    with traces.span("router"):
        await route(event["requestContext"]["connectionId"], event.get("body") or "", services)
    return {"statusCode": 200}


handler = face(router)
