"""What the fake Streamer checks in tokens and messages, and how it writes exact JSON."""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_ACTION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID = re.compile(r"[\x21-\x7e]{1,128}")


class InvalidError(Exception):
    """A token that is refused."""


class RefusalError(Exception):
    """A message that is refused."""

    def __init__(
        self,
        code: str = "VALIDATION_ERROR",
        fields: list[str] | None = None,
        request_id: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.fields = fields or []
        self.request_id = request_id
        self.details = details


def read_token(text: str, key: rsa.RSAPublicKey, issuer: str, wrong: str) -> dict[str, Any]:
    """The claims of a good token."""
    if text.startswith("Bearer ") and wrong != "no Bearer":
        text = text.removeprefix("Bearer ")
    if wrong == "checks no signature":
        return _claims(jwt.decode(text, options={"verify_signature": False}), issuer, wrong)
    header = jwt.get_unverified_header(text)
    if wrong == "takes none" and header["alg"].lower() == "none":
        return _claims(jwt.decode(text, options={"verify_signature": False}), issuer, wrong)
    if wrong == "takes HS256":
        claims = _symmetric(text, header, key)
        if claims is not None:
            return _claims(claims, issuer, wrong)
    if wrong == "takes an embedded jwk" and "jwk" in header:
        key = jwt.PyJWK(header["jwk"], "RS256").key
    algorithms = ["RS256"]
    if wrong == "takes any RSA":
        algorithms += ["RS384", "RS512", "PS256", "PS384", "PS512"]
    if wrong == "ignores crit":
        head, body, signature = text.split(".")
        data = f"{head}.{body}".encode()
        raw = jwt.utils.base64url_decode(signature.encode())
        try:
            key.verify(raw, data, padding.PKCS1v15(), hashes.SHA256())
        except Exception as error:
            raise InvalidError("signature") from error
        return _claims(json.loads(jwt.utils.base64url_decode(body.encode())), issuer, wrong)
    options = dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud"), False)
    options |= {"verify_sub": False, "verify_iss": False, "verify_jti": False}
    claims = jwt.decode(text, key, algorithms=algorithms, options=options)  # type: ignore[arg-type]  # a plain dict of options
    return _claims(claims, issuer, wrong)


def _symmetric(text: str, header: dict[str, Any], key: rsa.RSAPublicKey) -> dict[str, Any] | None:
    if header["alg"] != "HS256":
        return None
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    import hashlib
    import hmac

    head, body, signature = text.split(".")
    made = hmac.new(pem, f"{head}.{body}".encode(), hashlib.sha256).digest()
    if made != jwt.utils.base64url_decode(signature.encode()):
        return None
    claims: dict[str, Any] = json.loads(jwt.utils.base64url_decode(body.encode()))
    return claims


def _claims(claims: dict[str, Any], issuer: str, wrong: str) -> dict[str, Any]:  # noqa: PLR0912 - one branch per rule
    now_s = time.time()
    if wrong == "needs no exp" and "exp" not in claims:
        claims["exp"] = now_s + 600
    for name in ("exp", "nbf", "iat"):
        if name == "exp" or name in claims:
            value = claims.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidError(f"{name} is no number")
            if not 0 <= value < 2**40:
                raise InvalidError(f"{name} is no date")
    if claims["exp"] < now_s - 30 and wrong != "takes expired":
        raise InvalidError("expired")
    if claims.get("nbf", 0) > now_s + 30 and wrong != "ignores nbf":
        raise InvalidError("not yet valid")
    if claims.get("iat", 0) > now_s + 60 and wrong != "ignores iat":
        raise InvalidError("issued ahead")
    if claims.get("iss") != issuer and wrong != "ignores iss":
        raise InvalidError("issuer")
    for name in ("sub", "tenant_id"):
        value = claims.get(name)
        if isinstance(value, str) and not value and wrong == "takes an empty sub":
            continue
        if not isinstance(value, str) or not 1 <= len(value) <= 256:
            raise InvalidError(name)
    permissions = claims.get("permissions", [])
    if not isinstance(permissions, list) or not all(isinstance(p, str) for p in permissions):
        raise InvalidError("permissions")
    return claims


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated member")
    return found


def _constant(name: str) -> Any:
    raise ValueError(name)


def _float(text: str) -> Decimal:
    if float(text) in (float("inf"), float("-inf")):
        raise ValueError("too large")
    return Decimal(text)


def _int(text: str) -> int:
    if len(text) > 301:
        raise ValueError("too long")
    return int(text)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def read_message(text: str, wrong: str) -> dict[str, Any]:
    """A message that keeps MSG-1, or `RefusalError` with the fields that do not."""
    lenient = wrong == "takes any JSON"
    try:
        message = json.loads(
            text,
            object_pairs_hook=None if lenient else _pairs,
            parse_constant=None if lenient else _constant,
            parse_float=_float if not lenient else Decimal,
            parse_int=_int if not lenient else int,
        )
        if not lenient:
            json.dumps(message, default=str, ensure_ascii=False).encode()
        deep = _depth(message) > 128
    except (ValueError, RecursionError) as error:
        raise RefusalError(fields=["$"]) from error
    if not isinstance(message, dict) or (deep and not lenient):
        raise RefusalError(fields=["$"])
    bad = []
    if not isinstance(message.get("action"), str) or not _ACTION.fullmatch(message["action"]):
        bad.append("action")
    request_id = message.get("id")
    good_id = isinstance(request_id, str) and bool(_ID.fullmatch(request_id))
    if "id" in message and not good_id:
        if wrong == "replaces bad ids":
            del message["id"]
        else:
            bad.append("id")
    if "payload" in message and not isinstance(message["payload"], dict):
        bad.append("payload")
    if message.get("type", "request") != "request":
        bad.append("type")
    metadata = message.get("metadata", {})
    good = isinstance(metadata, dict) and len(metadata) <= 32
    if good and not all(
        len(k) <= 64 and isinstance(v, str) and len(v) <= 1024 for k, v in metadata.items()
    ):
        good = False
    if not good:
        bad.append("metadata")
    if bad:
        raise RefusalError(fields=bad, request_id=request_id if good_id else None)
    return message


def dump(value: Any, *, floats: bool = False) -> str:
    """JSON with every digit kept; with `floats`, numbers pass through a double."""
    if isinstance(value, dict):
        members = (f"{json.dumps(k)}:{dump(v, floats=floats)}" for k, v in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(item, floats=floats) for item in value) + "]"
    if isinstance(value, Decimal) and not floats:
        return str(value)
    number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    if number and floats and abs(value) > 2**53:
        return json.dumps(float(value)) if abs(value) < 10**300 else "1e300"
    if isinstance(value, Decimal):
        return json.dumps(float(value))
    return json.dumps(value)
