"""`@connections`: post to, look at and delete a connection (ApiGatewayManagementApi 2018-11-29).

Order of the checks: signature, id, existence, size, rate and buffer. SDKs choose the exception
class from the header `x-amzn-ErrorType`. Source: botocore's model, answers recorded in issues.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.parse import unquote

from streamproof.gateway import http11
from streamproof.gateway.clock import Clock, iso_time, sleep
from streamproof.gateway.connections import Connections
from streamproof.gateway.description import Description, PostFault
from streamproof.gateway.identifiers import is_well_formed
from streamproof.gateway.sigv4 import SignatureError, Verifier
from streamproof.gateway.throttle import TokenBucket

_POSTED = http11.response(200)
_DELETED = http11.response(204)


class ConnectionsApi:
    """Answers requests below `/STAGE/@connections/`; every call is over when it returns."""

    def __init__(self, description: Description, connections: Connections, clock: Clock) -> None:
        """Serve the connections in `connections`."""
        api, limits = description.api, description.limits
        self._prefix = f"/{api.stage}/@connections/"
        self._message_bytes_max = limits.message_bytes
        self._connections = connections
        self._clock = clock
        self._faults = description.faults
        self._verifier = Verifier(description.credentials, api.region, "execute-api", clock)
        self._bucket = TokenBucket(clock, limits.management_rate, limits.management_burst)

    def handle(self, request: http11.Request) -> bytes | AsyncIterator[bytes]:
        """Answer one request."""
        try:
            self._verifier.check_headers(
                request.method, request.path, request.query, request.header, request.body_sha256
            )
        except SignatureError as error:
            return _refusal(403, "ForbiddenException", str(error))
        path = unquote(request.path)
        if not path.startswith(self._prefix):
            return _refusal(403, "ForbiddenException", "Forbidden")
        connection_id = path[len(self._prefix) :]
        if not is_well_formed(connection_id):
            return _refusal(400, "BadRequestException", f"Invalid connectionId: {connection_id}")
        if request.method not in ("POST", "GET", "DELETE"):
            return _refusal(403, "ForbiddenException", "Missing Authentication Token")
        connection = self._connections.get(connection_id)
        if connection is None:
            return _GONE
        if request.method == "POST" and request.body_bytes > self._message_bytes_max:
            return _refusal(413, "PayloadTooLargeException", "Payload too large")
        if not self._bucket.take():
            return _LIMITED
        if request.method == "POST":
            if self._faults and (fault := self._faults.on_post(connection_id, request.body)):
                return self._faulty_post(fault, connection_id, request.body)
            return _POSTED if connection.post(request.body) else _LIMITED
        if request.method == "DELETE":
            connection.close(1000, "Connection Closed Normally")
            return _DELETED
        session = connection.session
        identity = {"sourceIp": session.source_ip, "userAgent": session.user_agent or ""}
        document = {
            "connectedAt": iso_time(session.connected_at_ms / 1000),
            "identity": identity,
            "lastActiveAt": iso_time(connection.last_active_s),
        }
        return http11.response(200, json.dumps(document).encode(), [_JSON])

    async def _faulty_post(
        self, fault: PostFault, connection_id: str, data: bytes
    ) -> AsyncIterator[bytes]:
        await sleep(self._clock, fault.delay_s)
        answer = _GONE
        if fault.delivered and (connection := self._connections.get(connection_id)):
            answer = _POSTED if connection.post(data) else _LIMITED
        yield answer if fault.status is None else _FAULTS[fault.status]


_JSON = ("Content-Type", "application/json")


def _refusal(status: int, error_type: str, message: str) -> bytes:
    body = json.dumps({"message": message}).encode()
    return http11.response(status, body, [("x-amzn-ErrorType", error_type), _JSON])


# The real 410 has no body that parses as JSON.
_GONE = http11.response(410, b"", [("x-amzn-ErrorType", "GoneException")])
_LIMITED = _refusal(429, "LimitExceededException", "Rate or buffer exceeded")
_FAULTS = {
    410: _GONE,
    429: _LIMITED,
    500: _refusal(500, "InternalServerErrorException", "Internal server error"),
    503: _refusal(503, "ServiceUnavailableException", "Service Unavailable"),
}
