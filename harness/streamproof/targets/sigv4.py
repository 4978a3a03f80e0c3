"""AWS Signature Version 4 for calls to `@connections`, small enough to need no AWS library.

Source: "Signing AWS API requests", AWS General Reference; held against botocore in the tests.
Pure: the moment of signing is an argument.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import hmac
from urllib.parse import quote, urlsplit


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """An AWS key pair, with the session token of temporary ones."""

    access_key_id: str
    secret_access_key: str = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)


def sign_headers(
    method: str,
    url: str,
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    now: datetime.datetime,
    service: str = "execute-api",
) -> dict[str, str]:
    """The headers to send, signature included; `url` must be spelled as it goes on the wire."""
    parts = urlsplit(url)
    moment = now.astimezone(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    day = moment[:8]
    headers = {"host": parts.netloc, "x-amz-date": moment}
    if credentials.session_token is not None:
        headers["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(headers))
    canonical_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    # All services but S3 encode the path once more than it is on the wire.
    path = quote(parts.path or "/", safe="/~")
    query = "&".join(sorted(parts.query.split("&"))) if parts.query else ""
    payload = hashlib.sha256(body).hexdigest()
    canonical = "\n".join((method, path, query, canonical_headers, names, payload))
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    sent = {name: value for name, value in headers.items() if name != "host"}
    return {**sent, "authorization": authorization}
