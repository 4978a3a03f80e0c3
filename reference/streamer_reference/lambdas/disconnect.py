"""$disconnect: forget the connection and its subscriptions; its requests go on."""

from __future__ import annotations

from typing import Any

from streamer_reference.lambdas.runtime import face
from streamer_reference.observability.logs import log
from streamer_reference.services import Services


async def disconnect(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """Safe to run twice, and for a connection that is gone already."""
    context = event["requestContext"]
    connection_id = context["connectionId"]
    if await services.store.delete_connection(connection_id):
        duration_s = (services.clock.now_ms() - context["connectedAt"]) / 1000
        services.metrics.add("ConnectionClosed")
        services.metrics.add("ConnectionDuration", duration_s)
        log("info", "disconnected", connection_id=connection_id)
    services.manager.forget(connection_id)
    return {"statusCode": 200}


handler = face(disconnect)
