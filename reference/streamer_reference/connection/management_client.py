"""The `@connections` API of API Gateway: post to a connection, ask about it, close it.

One logical call is one HTTP call; repeating is the manager's business. boto3 does the same at ten
times the cost, which is why this module exists. Source: ApiGatewayManagementApi 2018-11-29.
"""

from __future__ import annotations

import json
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

from streamer_reference.clock import Clock, SystemClock
from streamer_reference.connection.errors import NoAnswerError, error_for
from streamer_reference.connection.http import POOL_MAX, HttpClient, Response
from streamer_reference.sigv4 import Credentials, sign_headers

CALL_S_MAX = 3.0  # one call; a slower answer is no answer


class ManagementClient:
    """Signed calls to one stage, at `endpoint_url` such as `https://ID.execute-api.REGION.../STAGE`."""

    def __init__(
        self,
        endpoint_url: str,
        credentials: Credentials,
        region: str,
        *,
        pool_max: int = POOL_MAX,
        timeout_s: float = CALL_S_MAX,
        clock: Clock | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """At most `pool_max` connections; `clock` dates the signatures."""
        self._http = HttpClient(endpoint_url, pool_max=pool_max, ssl_context=ssl_context)
        self._path = urlsplit(endpoint_url).path.rstrip("/") + "/@connections/"
        self._credentials = credentials
        self._region = region
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()

    async def post_to_connection(
        self, connection_id: str, data: bytes, *, timeout_s: float | None = None
    ) -> int:
        """Send `data` (131,072 bytes at most) to a client; the status, 200.

        Raises a `SendError`; `timeout_s` shortens the client's own.
        """
        return (await self._call("POST", connection_id, data, timeout_s)).status

    async def get_connection(self, connection_id: str) -> dict[str, Any]:
        """`connectedAt`, `lastActiveAt` and `identity` of a connection, as the API spells them.

        Raises a `SendError`.
        """
        response = await self._call("GET", connection_id)
        try:
            answer: dict[str, Any] = json.loads(response.body)
        except ValueError:
            raise NoAnswerError("the answer is no JSON", response.status) from None
        return answer

    async def delete_connection(self, connection_id: str) -> int:
        """Close a connection; the client sees 1000. The status, 204. Raises a `SendError`."""
        return (await self._call("DELETE", connection_id)).status

    async def aclose(self) -> None:
        """Close all sockets, within a second; calls under way end with `NoAnswerError`."""
        await self._http.aclose()

    async def _call(
        self, method: str, connection_id: str, body: bytes = b"", timeout_s: float | None = None
    ) -> Response:
        path = self._path + quote(connection_id, safe="")
        headers = sign_headers(
            method,
            self._http.host,
            path,
            body,
            credentials=self._credentials,
            region=self._region,
            service="execute-api",
            now_ms=self._clock.now_ms(),
        )
        limit_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        response = await self._http.request(method, path, headers, body, timeout_s=limit_s)
        if not 200 <= response.status < 300:
            raise error_for(response.status)
        return response
