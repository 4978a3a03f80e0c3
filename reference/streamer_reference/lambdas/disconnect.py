"""$disconnect: forget the connection and its subscriptions; its requests go on."""

from __future__ import annotations

from typing import Any

from streamer_reference.lambdas.runtime import face, function
from streamer_reference.observability.logs import log
from streamer_reference.services import Services


@function
async def disconnect(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """Safe to run twice, and for a connection that is gone already."""
    context = event["requestContext"]
    connection_id = context["connectionId"]
    if await services.store.delete_connection(connection_id):
        services.connection_closed(context["connectedAt"])
        log("info", "disconnected")
    services.manager.forget(connection_id)
    return {"statusCode": 200}


handler = face(disconnect)
