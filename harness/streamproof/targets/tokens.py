"""Tokens for a target: good ones of any user, and the forgeries that AUTH-2 and AUTH-3 refuse.

Forgeries that need no private key are derived from a good token, so that a target that hands out
one fixed token is attacked as well. Nothing here is ever logged or recorded.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import hmac
import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from streamproof.errors import UsageError

LIFETIME_S = 3600.0
TOKEN_BYTES_MAX = 16 * 1024  # API Gateway takes 10 KiB of headers
COMMAND_TIMEOUT_S = 30.0
KEY_BYTES_MAX = 64 * 1024
ABSENT = object()  # a claim with this value is left out


def base64url(data: bytes) -> str:
    """The encoding of RFC 7515: URL-safe, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compose(
    header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]
) -> str:
    """A compact JWS of these parts; `sign` gets the signing input."""
    parts = [
        base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
    ]
    signing_input = ".".join(parts).encode()
    return f"{signing_input.decode()}.{base64url(sign(signing_input))}"


def claims_of(token: str) -> dict[str, Any]:
    """The claims inside a token, unverified; empty when it is no JWS of ours."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for."""

    user: str
    tenant: str
    permissions: tuple[str, ...] = ()


class TokenSource(Protocol):
    """Where a target's good token comes from."""

    def good(self) -> str:
        """A token that the target should accept."""
        ...


@dataclasses.dataclass(frozen=True)
class FixedToken:
    """The one token that the command line gave."""

    token: str = dataclasses.field(repr=False)

    def good(self) -> str:
        """The token as given."""
        return self.token


@dataclasses.dataclass(frozen=True)
class TokenCommand:
    """A program that prints a token; it is told the kind wanted in STREAMPROOF_TOKEN_KIND."""

    command: str

    def good(self) -> str:
        """Run the program once; `UsageError` when it fails, prints nothing or takes too long."""
        hint = "it must print one token and nothing else within 30 s"
        try:
            words = shlex.split(self.command)
            done = subprocess.run(  # noqa: S603 - the user's own program, as they spelled it
                words, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"the token command did not run: {error}", hint) from error
        token = done.stdout.decode("utf-8", "replace").strip()
        if done.returncode != 0 or not token or len(token) > TOKEN_BYTES_MAX:
            raise UsageError(f"the token command ended with {done.returncode}", hint)
        return token


@dataclasses.dataclass(frozen=True)
class TokenMint:
    """Makes tokens with the target's own private key: RS256, and what the clauses need wrong."""

    private_key: rsa.RSAPrivateKey = dataclasses.field(repr=False)
    issuer: str | None = None
    audience: str | None = None
    identity: Identity = Identity("streamproof", "streamproof", ("probe", "broadcast"))
    clock: Callable[[], float] = time.time  # seconds since the epoch: `exp` is a date

    @classmethod
    def read(cls, path: Path, issuer: str | None, audience: str | None) -> TokenMint:
        """Read a PEM file; `UsageError` when it cannot be read or is no RSA private key."""
        hint = "give the PEM file of the RSA private key whose public half the target trusts"
        try:
            with path.open("rb") as file:
                data = file.read(KEY_BYTES_MAX)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}", hint) from error
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UsageError(f"{path} holds no private key that can be read", hint) from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise UsageError(f"{path} holds a key that is not RSA", hint)
        return cls(key, issuer, audience)

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM, as the target has it."""
        return self.private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def good(self) -> str:
        """A token of the default identity."""
        return self.mint(self.identity)

    def claims(self, identity: Identity, **changes: Any) -> dict[str, Any]:
        """The claims of a good token with `changes`; a change to `ABSENT` removes one."""
        now_s = int(self.clock())
        claims: dict[str, Any] = {
            "sub": identity.user,
            "tenant_id": identity.tenant,
            "permissions": list(identity.permissions),
            "iat": now_s,
            "exp": now_s + int(LIFETIME_S),
        }
        if self.issuer is not None:
            claims["iss"] = self.issuer
        if self.audience is not None:
            claims["aud"] = self.audience
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not ABSENT}

    def mint(self, identity: Identity, **changes: Any) -> str:
        """A token signed as the target expects, with `changes` to its claims."""
        return self.signed({"alg": "RS256", "typ": "JWT"}, self.claims(identity, **changes))

    def signed(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Sign these parts with the real key and RS256, whatever the header says."""
        return compose(header, claims, functools.partial(_rs256, self.private_key))


def _rs256(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


@functools.cache
def _foreign_key() -> rsa.RSAPrivateKey:
    """A key that no target trusts; made once, because making one takes 100 ms."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _integer_bytes(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _jwk(key: rsa.RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "RSA",
        "n": base64url(_integer_bytes(numbers.n)),
        "e": base64url(_integer_bytes(numbers.e)),
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Forgery:
    """A token that must be refused, and what is wrong with it."""

    name: str
    token: str = dataclasses.field(repr=False)


def forgeries_of_a_good_token(good: str, public_pem: bytes | None) -> Iterator[Forgery]:
    """What anybody can make who has seen one good token and, mostly, the public key."""
    claims = claims_of(good)
    head, body, signature = [*good.split("."), "", ""][:3]
    for spelling in ("none", "None", "NONE", "nOnE"):
        yield Forgery(f"alg {spelling}", compose({"alg": spelling}, claims, lambda _: b""))
    yield Forgery("no signature", f"{head}.{body}.")
    yield Forgery("two parts", f"{head}.{body}")
    yield Forgery("four parts", f"{head}.{body}.{signature}.{signature}")
    flipped = ("B" if signature[:1] == "A" else "A") + signature[1:]
    yield Forgery("a changed signature", f"{head}.{body}.{flipped}")
    promoted = {**claims, "permissions": ["probe", "broadcast", "admin"], "sub": "root"}
    changed = base64url(json.dumps(promoted).encode())
    yield Forgery("changed claims under the old signature", f"{head}.{changed}.{signature}")
    foreign = _foreign_key()
    sign = functools.partial(_rs256, foreign)
    rs256 = {"alg": "RS256", "typ": "JWT"}
    yield Forgery("a foreign key", compose(rs256, claims, sign))
    jwk = _jwk(foreign.public_key())
    elsewhere = "http://127.0.0.1:9/keys.json"
    for name, header in (
        ("an embedded jwk", {"jwk": jwk}),
        ("a jku", {"jku": elsewhere}),
        ("an x5u", {"x5u": elsewhere}),
        ("a kid that is a path", {"kid": "../../../../../../dev/null"}),
        ("a kid that is a query", {"kid": "x' UNION SELECT 'key' --"}),
        ("a kid of 2,000 characters", {"kid": "k" * 2000}),
        ("a kid that is a list", {"kid": ["a"]}),
    ):
        yield Forgery(
            f"{name}, signed by a foreign key", compose({**rs256, **header}, claims, sign)
        )
    yield Forgery(
        "HS256 with an empty key",
        compose({"alg": "HS256", "kid": "/dev/null"}, claims, functools.partial(_hs256, b"")),
    )
    if public_pem is not None:
        for name, key in (
            ("its PEM", public_pem),
            ("its PEM without the last newline", public_pem.rstrip(b"\n")),
            ("its DER", _der(public_pem)),
        ):
            yield Forgery(
                f"HS256 keyed with the public key ({name})",
                compose({"alg": "HS256", "typ": "JWT"}, claims, functools.partial(_hs256, key)),
            )
    curve_key = ec.generate_private_key(ec.SECP256R1())
    yield Forgery("ES256", compose({"alg": "ES256"}, claims, functools.partial(_es256, curve_key)))


def forgeries_with_the_key(mint: TokenMint, identity: Identity) -> Iterator[Forgery]:
    """Tokens under the right key with another algorithm than RS256, or with a hostile header."""
    claims = mint.claims(identity)
    for bits, digest in ((384, hashes.SHA384()), (512, hashes.SHA512())):
        yield Forgery(
            f"RS{bits}",
            compose(
                {"alg": f"RS{bits}"},
                claims,
                functools.partial(
                    mint.private_key.sign, padding=padding.PKCS1v15(), algorithm=digest
                ),
            ),
        )
    for bits, size in ((256, hashes.SHA256()), (384, hashes.SHA384()), (512, hashes.SHA512())):
        pss = padding.PSS(mgf=padding.MGF1(size), salt_length=size.digest_size)
        yield Forgery(
            f"PS{bits}",
            compose(
                {"alg": f"PS{bits}"},
                claims,
                functools.partial(mint.private_key.sign, padding=pss, algorithm=size),
            ),
        )
    crit = {"alg": "RS256", "crit": ["urn:streamproof:unknown"], "urn:streamproof:unknown": 1}
    yield Forgery("an unknown crit", mint.signed(crit, claims))
    yield Forgery("alg none over a real signature", mint.signed({"alg": "none"}, claims))
    yield Forgery("no alg", mint.signed({"typ": "JWT"}, claims))


def bad_claims(mint: TokenMint, identity: Identity) -> Iterator[Forgery]:
    """Well signed tokens whose claims AUTH-3 refuses."""
    now_s = int(mint.clock())
    changes: list[tuple[str, dict[str, Any]]] = [
        ("no exp", {"exp": ABSENT}),
        ("expired two minutes ago", {"exp": now_s - 120, "iat": now_s - 240}),
        ("expired in 2001", {"exp": 1_000_000_000, "iat": ABSENT}),
        ("exp as text", {"exp": str(now_s + 600)}),
        ("exp null", {"exp": None}),
        ("exp as a list", {"exp": [now_s + 600]}),
        ("exp true", {"exp": True}),
        ("exp beyond any date", {"exp": 10**400}),
        ("exp in the year 3 million", {"exp": 10**14}),
        ("valid in two minutes (nbf)", {"nbf": now_s + 120}),
        ("nbf as text", {"nbf": "0"}),
        ("nbf beyond any date", {"nbf": -(10**400)}),
        ("issued two minutes ahead (iat)", {"iat": now_s + 120}),
        ("iat as text", {"iat": "now"}),
        ("permissions as a text", {"permissions": "probe"}),
        ("permissions with a number", {"permissions": ["probe", 1]}),
        ("permissions as an object", {"permissions": {"probe": True}}),
    ]
    for name in ("sub", "tenant_id"):
        changes += [
            (f"no {name}", {name: ABSENT}),
            (f"{name} empty", {name: ""}),
            (f"{name} null", {name: None}),
            (f"{name} a number", {name: 7}),
            (f"{name} a list", {name: ["a"]}),
            (f"{name} of 257 characters", {name: "x" * 257}),
        ]
    if mint.issuer is not None:
        changes += [
            ("no iss", {"iss": ABSENT}),
            ("a wrong iss", {"iss": f"{mint.issuer}.example"}),
            ("iss as a list", {"iss": [mint.issuer]}),
        ]
    if mint.audience is not None:
        changes += [
            ("no aud", {"aud": ABSENT}),
            ("a wrong aud", {"aud": f"{mint.audience}-other"}),
            ("wrong auds", {"aud": ["a", "b"]}),
        ]
    for name, change in changes:
        yield Forgery(name, mint.mint(identity, **change))


def _hs256(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def _es256(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _der(public_pem: bytes) -> bytes:
    return serialization.load_pem_public_key(public_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
