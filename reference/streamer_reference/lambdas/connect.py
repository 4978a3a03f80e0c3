"""$connect: who is this, may they connect, and remember them before the handshake completes."""

from __future__ import annotations

import json
from typing import Any

from streamer_reference.auth import TokenError, token_of, verify
from streamer_reference.lambdas.runtime import face, function
from streamer_reference.observability.logs import bind, log
from streamer_reference.services import Services
from streamer_reference.store.base import Connection, StoreError


@function
async def connect(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """200 opens; 401 for a missing or bad token, 403 for a tenant or origin, 500 for the store."""
    context, settings = event["requestContext"], services.settings
    now_ms = services.clock.now_ms()
    try:
        identity = verify(token_of(event), services.token_rules, now_ms / 1000)
    except TokenError as error:
        services.metrics.add("AuthenticationFailed")
        log("warning", "a token was refused", reason=str(error))
        return {"statusCode": 401}
    bind(tenant_id=identity.tenant_id)
    if settings.tenants and identity.tenant_id not in json.loads(settings.tenants):
        log("warning", "a tenant was refused")
        return {"statusCode": 403}
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    # Browsers always name an origin, and nobody else has to.
    if settings.origins and headers.get("origin", "") not in ["", *json.loads(settings.origins)]:
        log("warning", "an origin was refused")
        return {"statusCode": 403}
    source = context.get("identity", {})
    connection = Connection(
        connection_id=context["connectionId"],
        tenant_id=identity.tenant_id,
        user_id=identity.user_id,
        permissions=identity.permissions,
        endpoint=f"https://{context['domainName']}/{context['stage']}",
        connected_at_ms=int(context["connectedAt"]),
        last_ping_ms=now_ms,
        token_expires_at_s=identity.expires_at_s,
        source_ip=source.get("sourceIp", ""),
        user_agent=source.get("userAgent", ""),
        expires_at_s=now_ms // 1000 + settings.connection_ttl_s,
    )
    try:
        await services.store.put_connection(connection)
    except StoreError as error:
        log("error", "a connection was not stored", reason=error.reason)
        return {"statusCode": 500}
    services.metrics.add("ConnectionEstablished")
    log("info", "connected")
    return {"statusCode": 200}


handler = face(connect)
