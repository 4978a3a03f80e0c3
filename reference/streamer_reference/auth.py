"""Who is connecting: RS256 tokens, verified with the configured keys and nothing that they bring.

The algorithm is pinned (RFC 8725, 3.1): a verifier that believes a token's own `alg`, `jwk` or
`jku` accepts whatever an attacker signs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jwt

from streamer_reference.protocol.limits import CLAIM_CHARS_MAX

LEEWAY_S = 60  # AUTH-3
TOKEN_CHARS_MAX = 8_192  # an API Gateway header may be no longer
DATE_MAX_S = 253_402_300_800  # 9999-12-31, the last moment that a date can hold
KEY_BRINGING_HEADERS = ("jwk", "jku", "x5u", "x5c", "crit")
# The claims are looked at here: the library knows no moment but now.
_SIGNATURE_ALONE: Any = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub")
}


class TokenError(Exception):
    """The token is missing or bad: handshake status 401. The reason is for the log."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who a connection belongs to, from the token alone."""

    user_id: str
    tenant_id: str
    permissions: tuple[str, ...]
    expires_at_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class TokenRules:
    """What tokens must fit: `keys` maps a key id to a PEM public key; one key needs no id."""

    keys: Mapping[str, str]
    issuer: str | None = None
    audience: str | None = None


def token_of(event: Mapping[str, Any]) -> str:
    """The token of a $connect event: the query parameter, or else the header of any case."""
    query = event.get("queryStringParameters") or {}
    token = query.get("Authorization")
    if token is None:
        headers = event.get("headers") or {}
        token = next((v for k, v in headers.items() if k.lower() == "authorization"), "")
    return str(token).removeprefix("Bearer ").strip()


def verify(token: str, rules: TokenRules, now_s: float) -> Identity:
    """The identity that a good token proves; raises `TokenError` for every other."""
    if not token or len(token) > TOKEN_CHARS_MAX:
        raise TokenError("no token, or one that is too long")
    try:
        key = _key(jwt.get_unverified_header(token), rules.keys)
        claims = jwt.decode(token, key, algorithms=["RS256"], options=_SIGNATURE_ALONE)
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
        raise TokenError(f"{type(error).__name__}: {error}") from None
    expires_at_s = _date(claims, "exp", required=True)
    if now_s >= expires_at_s + LEEWAY_S:
        raise TokenError("the token has expired")
    if _date(claims, "nbf") > now_s + LEEWAY_S or _date(claims, "iat") > now_s + LEEWAY_S:
        raise TokenError("the token is not valid yet")
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise TokenError("the issuer is another")
    aud = claims.get("aud")
    if rules.audience not in (None, *(aud if isinstance(aud, list) else [aud])):
        raise TokenError("the audience is another")
    permissions = claims.get("permissions", [])
    if not isinstance(permissions, list) or not all(isinstance(p, str) for p in permissions):
        raise TokenError("permissions are no list of texts")
    user_id, tenant_id = _text(claims, "sub"), _text(claims, "tenant_id")
    return Identity(user_id, tenant_id, tuple(permissions), expires_at_s)


def _key(header: Mapping[str, Any], keys: Mapping[str, str]) -> str:
    if any(name in header for name in KEY_BRINGING_HEADERS):
        raise TokenError("the token brings its own key or a rule that is not known")
    key_id = header.get("kid")
    if key_id is None and len(keys) == 1:
        return next(iter(keys.values()))
    if not isinstance(key_id, str) or key_id not in keys:
        raise TokenError("the token names a key that is not configured")
    return keys[key_id]


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= CLAIM_CHARS_MAX:
        raise TokenError(f"{name} is no text of 1 to {CLAIM_CHARS_MAX} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TokenError(f"{name} holds a lone surrogate") from None
    return value


def _date(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float:
    value = claims.get(name)
    if value is None and name not in claims and not required:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"{name} is no number")
    if not 0 <= value < DATE_MAX_S:  # false for NaN; exact for 400 digits
        raise TokenError(f"{name} is no date")
    return float(value)
