"""Signed calls to a target's `@connections`, as an operator's own code would make them."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
from collections.abc import Mapping
from urllib.parse import quote

from streamproof.targets import http, sigv4
from streamproof.targets.base import Description


@dataclasses.dataclass(frozen=True)
class Management:
    """One endpoint with its credentials; every call is one HTTP exchange, never repeated."""

    url: str
    region: str
    credentials: sigv4.Credentials
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, description: Description) -> Management | None:
        """The endpoint that a description names, or None when it names none or has no keys."""
        keys = (description.access_key_id, description.secret_access_key)
        if description.management_url is None or keys[0] is None or keys[1] is None:
            return None
        credentials = sigv4.Credentials(keys[0], keys[1], description.session_token)
        url = description.management_url.rstrip("/")
        tls = description.tls() if url.startswith("https:") else None
        return cls(url, description.region, credentials, tls)

    def connection_url(self, connection_id: str, *, safe: str = "") -> str:
        """Where a connection is found; `safe="=@"` leaves these characters as they are."""
        at = "@" if "@" in safe else "%40"
        return f"{self.url}/{at}connections/{quote(connection_id, safe=safe)}"

    async def call(
        self,
        method: str,
        connection_id: str,
        body: bytes = b"",
        *,
        safe: str = "",
        credentials: sigv4.Credentials | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http.Answer:
        """Sign and send; given `headers` replace the signature, `{}` sends none."""
        url = self.connection_url(connection_id, safe=safe)
        if headers is None:
            headers = sigv4.sign_headers(
                method,
                url,
                body,
                credentials=credentials or self.credentials,
                region=self.region,
                now=datetime.datetime.now(datetime.UTC),
            )
        return await http.fetch(method, url, headers=headers, body=body, tls=self.tls)
