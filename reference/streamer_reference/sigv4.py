"""AWS Signature Version 4: headers for a request, and a query that lets a browser fetch an object.

Pure functions, equal to botocore's output (a test holds them together) at a fraction of its cost:
the day's key is derived once, not at every request. Source: "Signature Version 4 signing process",
AWS IAM user guide.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import time
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
PRESIGNED_S_MAX = 7 * 86_400  # Amazon S3 user guide, presigned URLs


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `session_token` comes with temporary ones. Never printed whole."""

    access_key_id: str
    secret_access_key: str = dataclasses.field(repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)


def sign_headers(
    method: str,
    host: str,
    path: str,
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    service: str,
    now_ms: int,
) -> dict[str, str]:
    """The headers that the request must have, in lower case: host and the signature's own.

    `path` is as on the request line, without a query; `host` is with the port unless it is the
    scheme's own. The peer accepts the signature for about five minutes around `now_ms`.
    """
    moment, scope = _moment_and_scope(now_ms // 1000, region, service)
    headers = {"host": host, "x-amz-date": moment}  # in the order of their names, as is signed
    if credentials.session_token is not None:
        headers["x-amz-security-token"] = credentials.session_token
    lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
    names = ";".join(headers)
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"{method}\n{_canonical_path(path)}\n\n{lines}\n{names}\n{digest}"
    signature = _signature(credentials, moment, scope, canonical)
    headers["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers


def presign_url(
    method: str,
    url: str,
    *,
    credentials: Credentials,
    region: str,
    now_ms: int,
    expires_s: int,
) -> str:
    """An object's `url` (without a query, its path quoted), signed for `expires_s` seconds.

    At most seven days. Whoever holds the result may use it: it belongs in no log.
    """
    if not 0 < expires_s <= PRESIGNED_S_MAX:
        raise ValueError(f"a presigned URL lives 1 to {PRESIGNED_S_MAX} s, not {expires_s}")
    moment, scope = _moment_and_scope(now_ms // 1000, region, "s3")
    parameters = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key_id}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(expires_s),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token is not None:
        parameters["X-Amz-Security-Token"] = credentials.session_token
    pairs = [f"{name}={quote(value, safe='-_.~')}" for name, value in parameters.items()]
    parts = urlsplit(url)
    canonical = (
        f"{method}\n{parts.path}\n{'&'.join(sorted(pairs))}\n"
        f"host:{parts.netloc}\n\nhost\n{UNSIGNED_PAYLOAD}"
    )
    signature = _signature(credentials, moment, scope, canonical)
    return f"{url}?{'&'.join(pairs)}&X-Amz-Signature={signature}"


def _signature(credentials: Credentials, moment: str, scope: str, canonical: str) -> str:
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{moment}\n{scope}\n{digest}".encode()
    key = _signing_key(credentials.secret_access_key, scope)
    return hmac.digest(key, to_sign, "sha256").hex()


@functools.lru_cache(maxsize=16)  # a key serves a day
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@functools.lru_cache(maxsize=16)  # one moment serves a second's requests
def _moment_and_scope(now_s: int, region: str, service: str) -> tuple[str, str]:
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    return moment, f"{moment[:8]}/{region}/{service}/aws4_request"


@functools.lru_cache(maxsize=4096)  # a path is a connection's, and a connection gets many posts
def _canonical_path(path: str) -> str:
    return quote(path, safe="/~")
