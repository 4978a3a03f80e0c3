"""Tokens: what proves an identity, and everything that does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.auth import TokenError, TokenRules, token_of, verify

NOW_S = 1_742_086_800.0
CLAIMS = {"sub": "u", "tenant_id": "t", "exp": NOW_S + 600, "iat": NOW_S, "iss": "https://issuer"}


@cache
def _key(number):
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def _public(number):
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return _key(number).public_key().public_bytes(*pem).decode()


def _rules(**options):
    return TokenRules({"k1": _public(1)}, **options)


def _token(key=None, algorithm="RS256", headers=None, **claims):
    merged = {k: v for k, v in {**CLAIMS, **claims}.items() if v is not ...}
    return jwt.encode(merged, key or _key(1), algorithm, headers=headers)


def _raw(header, claims, sign=None):
    """A token that no library would make."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (header, claims)
    ]
    signed = b".".join(parts)
    signature = base64.urlsafe_b64encode(sign(signed) if sign else b"").rstrip(b"=")
    return (signed + b"." + signature).decode()


def _refused(token, rules=None, now_s=NOW_S):
    with pytest.raises(TokenError) as caught:
        verify(token, rules or _rules(), now_s)
    if len(token) > 20:
        assert token not in str(caught.value)


def test_a_good_token_proves_an_identity():
    """AUTH-3: user, tenant, permissions and end; absent permissions are none."""
    identity = verify(_token(permissions=["a", "b"]), _rules(), NOW_S)
    assert (identity.user_id, identity.tenant_id) == ("u", "t")
    assert identity.permissions == ("a", "b")
    assert identity.expires_at_s == NOW_S + 600
    assert verify(_token(headers={"kid": "k1"}), _rules(), NOW_S).permissions == ()


def test_a_key_id_selects_among_configured_keys():
    """AUTH-2: with two keys an id is needed, and it cannot name anything else."""
    rules = TokenRules({"k1": _public(1), "k2": _public(2)})
    assert verify(_token(_key(2), headers={"kid": "k2"}), rules, NOW_S).user_id == "u"
    _refused(_token(), rules)
    _refused(_token(_key(2), headers={"kid": "k1"}), rules)
    for kid in ("../../etc/passwd", "k3", "' OR 1=1", ""):
        _refused(_token(headers={"kid": kid}), rules)
        _refused(_token(headers={"kid": kid}))
    _refused(_raw({"alg": "RS256", "kid": 7}, CLAIMS))


def test_no_other_algorithm_is_accepted():
    """RFC 8725: none in any spelling, HS256 with the public key, RS, PS and ES."""
    for none in ("none", "None", "NONE", "nOnE", "", None, ["RS256"]):
        _refused(_raw({"alg": none, "typ": "JWT"}, CLAIMS))
    for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        header = {"alg": algorithm, "typ": "JWT"}
        _refused(
            _raw(header, CLAIMS, lambda d, h=digest: hmac.new(_public(1).encode(), d, h).digest())
        )
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        _refused(_token(algorithm=algorithm))
    _refused(_token(ec.generate_private_key(ec.SECP256R1()), "ES256"))


def test_a_token_that_brings_its_key_is_refused():
    """Whatever it brings, and a `crit` that nobody knows."""
    for name in ("jwk", "jku", "x5u", "x5c", "crit"):
        _refused(_token(headers={name: ["exp"] if name == "crit" else "https://evil.test"}))
    _refused(_token(_key(2)))
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_key(2).public_key()))
    _refused(_token(_key(2), headers={"jwk": own}))
    _refused(_token(headers={"b64": False}))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": ...},
        {"sub": ...},
        {"tenant_id": ...},
        {"exp": NOW_S - 60},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": 10**400},
        {"exp": 253_402_300_800},
        {"exp": -1},
        {"nbf": NOW_S + 61},
        {"nbf": "now"},
        {"iat": NOW_S + 61},
        {"iat": None},
        {"iat": [1]},
        {"sub": ""},
        {"sub": "u" * 257},
        {"sub": 7},
        {"sub": "\ud800"},
        {"tenant_id": ""},
        {"tenant_id": None},
        {"tenant_id": ["t"]},
        {"permissions": "probe"},
        {"permissions": None},
        {"permissions": ["probe", 1]},
        {"iss": ...},
        {"iss": "https://issuer/"},
        {"aud": ...},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": {"api": 1}},
    ],
)
def test_a_bad_claim_is_refused(claims):
    """AUTH-3: each of them alone makes a good token bad."""
    rules = _rules(issuer="https://issuer", audience="api")
    assert verify(_token(aud="api"), rules, NOW_S).user_id == "u"
    _refused(_token(**{"aud": "api", **claims}), rules)


def test_what_is_not_configured_is_not_asked():
    """An `aud` is ignored, any `iss` will do, and one list of audiences holds ours."""
    assert verify(_token(aud="x", iss=...), _rules(), NOW_S)
    assert verify(_token(aud=["x", "api"]), _rules(audience="api"), NOW_S)


def test_the_leeway_is_a_minute():
    """At most 60 s for each of the dates."""
    token = _token(exp=NOW_S, iat=NOW_S, nbf=NOW_S)
    assert verify(token, _rules(), NOW_S + 59.9)
    _refused(token, now_s=NOW_S + 60)
    assert verify(token, _rules(), NOW_S - 60)
    _refused(token, now_s=NOW_S - 60.1)


@given(st.text(max_size=80) | st.text("abcABC0123._-=", max_size=80))
def test_whatever_is_no_token_is_refused(text):
    """`TokenError`, and no other exception."""
    _refused(text)


def test_a_token_may_not_be_endless():
    """Longer than a header may be."""
    _refused(_token(permissions=["x" * 8192]))
    _refused("[" * 8000)
    _refused(_raw({"alg": "RS256"}, []))


def test_the_query_comes_before_the_header():
    """AUTH-1: the header of any case, with or without `Bearer `."""
    query = {"queryStringParameters": {"Authorization": "Bearer q"}}
    assert token_of({**query, "headers": {"Authorization": "h"}}) == "q"
    for name in ("Authorization", "authorization", "AUTHORIZATION"):
        assert token_of({"headers": {"Host": "x", name: "Bearer h "}}) == "h"
    assert token_of({"queryStringParameters": {"authorization": "q"}, "headers": None}) == ""
    assert token_of({"queryStringParameters": None}) == ""
