"""Checking AWS Signature Version 4, in headers (`@connections`) and in queries (objects).

The gateway checks with code of its own, because what it hosts must be able to be wrong; tests hold
it against botocore. Source: "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

from streamproof.gateway.clock import Clock
from streamproof.gateway.description import Credentials

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_S_MAX = 300.0  # a signature is good for five minutes around its date
PRESIGNED_S_MAX = 604_800  # seven days, S3's bound on X-Amz-Expires
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^/,\s]+)/(\d{{8}})/([^/,\s]+)/([^/,\s]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;\-]+), ?Signature="
)
_CREDENTIAL = re.compile(r"([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")
_SECONDS = re.compile(r"[0-9]{1,6}")
_DATE = re.compile(r"\d{8}T\d{6}Z")
_CACHED_MAX = 64


class SignatureError(Exception):
    """The request is not signed, or not by the holder of the credentials."""


class Verifier:
    """Checks signatures for one key pair, one region and one service."""

    def __init__(self, credentials: Credentials, region: str, service: str, clock: Clock) -> None:
        """`service` is `execute-api` for `@connections` and `s3` for objects."""
        self._credentials = credentials
        self._scope = (region, service)
        self._clock = clock
        self._keys: dict[str, bytes] = {}
        self._prefixes: dict[str, tuple[str, tuple[str, ...], str]] = {}

    def check_headers(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body_sha256: str
    ) -> None:
        """Check the header `authorization`; names in `headers` are lower case.

        `path` is the raw one of the request line. Raises `SignatureError`.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            raise SignatureError("Missing Authentication Token")
        prefix, _, signature = authorization.rpartition("Signature=")
        day, signed, joined = self._read_prefix(prefix + "Signature=")
        date = headers.get("x-amz-date", "")
        self._check_date(date, day, SKEW_S_MAX, SKEW_S_MAX)
        self._check_token(headers.get("x-amz-security-token"))
        lines = "\n".join([f"{name}:{_squeeze(headers.get(name, ''))}" for name in signed])
        encoded = quote(path, safe="/~")  # every service but S3 encodes the encoded path again
        request = f"{method}\n{encoded}\n{_canonical_query(query)}"
        canonical = f"{request}\n{lines}\n\n{joined}\n{body_sha256}"
        self._compare(canonical, date, day, signature)

    def check_query(self, method: str, path: str, query: str, host: str) -> None:
        """Check a presigned URL; `path` is the raw one. Raises `SignatureError`."""
        pairs = parse_qsl(query, keep_blank_values=True)
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise SignatureError("A query parameter is repeated")
        found = _CREDENTIAL.fullmatch(fields.get("X-Amz-Credential", ""))
        if found is None or fields.get("X-Amz-Algorithm") != ALGORITHM:
            raise SignatureError("Missing Authentication Token")
        day = self._check_scope(found[1], found[2], found[3], found[4])
        if fields.get("X-Amz-SignedHeaders") != "host":
            raise SignatureError("SignedHeaders must be host")
        expires = fields.get("X-Amz-Expires", "")
        if not (_SECONDS.fullmatch(expires) and 1 <= int(expires) <= PRESIGNED_S_MAX):
            raise SignatureError("X-Amz-Expires must be 1 to 604800")
        date = fields.get("X-Amz-Date", "")
        self._check_date(date, day, SKEW_S_MAX, int(expires))
        self._check_token(fields.get("X-Amz-Security-Token"))
        unsigned = "&".join(
            field for field in query.split("&") if not field.startswith("X-Amz-Signature=")
        )
        request = f"{method}\n{path}\n{_canonical_query(unsigned)}"
        canonical = f"{request}\nhost:{host.lower()}\n\nhost\nUNSIGNED-PAYLOAD"
        self._compare(canonical, date, day, fields.get("X-Amz-Signature", ""))

    def _read_prefix(self, prefix: str) -> tuple[str, tuple[str, ...], str]:
        known = self._prefixes.get(prefix)  # one client sends the same all day
        if known is not None:
            return known
        found = _AUTHORIZATION.fullmatch(prefix)
        if found is None:
            raise SignatureError("Authorization header is not in the form of Signature Version 4")
        day = self._check_scope(found[1], found[2], found[3], found[4])
        signed = tuple(found[5].split(";"))
        if "host" not in signed or "x-amz-date" not in signed:
            raise SignatureError("SignedHeaders must hold host and x-amz-date")
        if self._credentials.session_token and "x-amz-security-token" not in signed:
            raise SignatureError("SignedHeaders must hold x-amz-security-token")
        if len(self._prefixes) >= _CACHED_MAX:
            self._prefixes.clear()
        self._prefixes[prefix] = (day, signed, found[5])
        return self._prefixes[prefix]

    def _check_scope(self, access_key_id: str, day: str, region: str, service: str) -> str:
        if access_key_id != self._credentials.access_key_id:
            raise SignatureError("The security token included in the request is invalid.")
        if (region, service) != self._scope:
            raise SignatureError(f"Credential should be scoped to {'/'.join(self._scope)}")
        return day

    def _check_token(self, token: str | None) -> None:
        if (token or None) != self._credentials.session_token:
            raise SignatureError("The security token included in the request is invalid.")

    def _check_date(self, date: str, day: str, early_s: float, late_s: float) -> None:
        if _DATE.fullmatch(date) is None or date[:8] != day:
            raise SignatureError("Date of the request and of the credential differ")
        try:
            signed_at_s = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise SignatureError("X-Amz-Date is no date") from None
        age_s = self._clock.time_s() - signed_at_s
        if age_s > late_s:
            raise SignatureError("Signature expired")
        if age_s < -early_s:
            raise SignatureError("Signature not yet current")

    def _compare(self, canonical: str, date: str, day: str, signature: str) -> None:
        region, service = self._scope
        digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
        text = f"{ALGORITHM}\n{date}\n{day}/{region}/{service}/aws4_request\n{digest}"
        expected = hmac.digest(self._day_key(day), text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected, signature.encode("ascii", "replace").decode()):
            raise SignatureError(
                "The request signature we calculated does not match the signature you provided."
            )

    def _day_key(self, day: str) -> bytes:
        key = self._keys.get(day)
        if key is None:
            key = b"AWS4" + self._credentials.secret_access_key.encode()
            for part in (day, *self._scope, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            if len(self._keys) >= _CACHED_MAX:
                self._keys.clear()
            self._keys[day] = key
        return key


def _canonical_query(query: str) -> str:
    pairs = sorted(field.partition("=")[::2] for field in query.split("&") if field)
    return "&".join(f"{name}={value}" for name, value in pairs)


def _squeeze(value: str) -> str:
    return " ".join(value.split()) if "  " in value else value
