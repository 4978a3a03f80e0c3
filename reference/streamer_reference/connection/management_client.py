"""The `@connections` API of API Gateway: post to a connection, close it.

One logical call is one HTTP call; repeating is the manager's business. boto3 does the same at ten
times the cost, which is why this module exists. Source: ApiGatewayManagementApi 2018-11-29.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from streamer_reference.clock import Clock, SystemClock
from streamer_reference.connection.errors import error_for
from streamer_reference.connection.http import HttpClient
from streamer_reference.sigv4 import Credentials, sign_headers

CALL_S_MAX = 3.0  # one call; a slower answer is no answer


class ManagementClient:
    """Signed calls to one stage, at `endpoint_url` such as `https://ID.execute-api.REGION.../STAGE`."""

    def __init__(
        self, endpoint_url: str, credentials: Credentials, region: str, clock: Clock | None = None
    ) -> None:
        """`clock` dates the signatures."""
        self._http = HttpClient(endpoint_url)
        self._path = urlsplit(endpoint_url).path.rstrip("/") + "/@connections/"
        self._credentials = credentials
        self._region = region
        self._clock = clock or SystemClock()

    async def post_to_connection(
        self, connection_id: str, data: bytes, *, timeout_s: float = CALL_S_MAX
    ) -> None:
        """Send `data` (131,072 bytes at most) to a client.

        Raises a `SendError`; `timeout_s` can shorten the 3 s that a call may take.
        """
        await self._call("POST", connection_id, data, timeout_s)

    async def delete_connection(self, connection_id: str) -> None:
        """Close a connection; the client sees 1000. Raises a `SendError`."""
        await self._call("DELETE", connection_id)

    async def aclose(self) -> None:
        """Close all sockets, at once; calls under way end with `NoAnswerError`."""
        await self._http.aclose()

    async def _call(
        self, method: str, connection_id: str, body: bytes = b"", timeout_s: float = CALL_S_MAX
    ) -> None:
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
        limit_s = min(timeout_s, CALL_S_MAX)
        status = await self._http.request(method, path, headers, body, timeout_s=limit_s)
        if not 200 <= status < 300:
            raise error_for(status)
