"""Good tokens are good, and every forgery is really bad."""

from __future__ import annotations

import shlex
import sys

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streamproof.errors import UsageError
from streamproof.targets import Identity, TokenMint
from streamproof.targets.tokens import (
    ABSENT,
    FixedToken,
    TokenCommand,
    bad_claims,
    claims_of,
    forgeries_of_a_good_token,
    forgeries_with_the_key,
)
from support.fake_rules import InvalidError, read_token
from support.fake_streamer import ISSUER, KEY

ADA = Identity("ada", "acme", ("probe",))
REFUSALS = (InvalidError, jwt.InvalidTokenError, ValueError, TypeError)


def pem(key) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def mint() -> TokenMint:
    """A mint for the fake's key."""
    return TokenMint(KEY, ISSUER, "aud")


def refused(token: str) -> bool:
    """Whether a careful reader refuses it."""
    try:
        read_token(token, KEY.public_key(), ISSUER, "")
    except REFUSALS:
        return True
    return False


def test_a_good_token_reads_as_what_was_asked_for(mint) -> None:
    """Claims, issuer, audience and changes arrive; a claim can be left out."""
    claims = jwt.decode(mint.mint(ADA), KEY.public_key(), ["RS256"], audience="aud", issuer=ISSUER)
    assert claims["sub"] == "ada"
    assert claims["tenant_id"] == "acme"
    assert claims["permissions"] == ["probe"]
    assert claims["exp"] - claims["iat"] == 3600
    assert claims_of(mint.mint(ADA, aud=ABSENT, x=1)) == {**claims, "x": 1} | {
        "aud": None
    } or "aud" not in claims_of(mint.mint(ADA, aud=ABSENT))
    assert not refused(mint.good())
    assert "aud" not in claims_of(TokenMint(KEY).good())


def test_forgeries_are_refused_by_a_careful_reader(mint) -> None:
    """Each of them, made from a good token or with the key itself; a dozen kinds at least."""
    forgeries = [
        *forgeries_of_a_good_token(mint.mint(ADA), mint.public_pem),
        *forgeries_with_the_key(mint, ADA),
    ]
    assert [forgery.name for forgery in forgeries if not refused(forgery.token)] == []
    assert len({forgery.name for forgery in forgeries}) == len(forgeries) > 25


def test_bad_claims_are_refused_by_a_careful_reader(mint) -> None:
    """Each has exactly one bad claim; audiences are for a reader that has one."""
    made = [forgery for forgery in bad_claims(mint, ADA) if "aud" not in forgery.name]
    assert [forgery.name for forgery in made if not refused(forgery.token)] == []
    names = {forgery.name for forgery in bad_claims(mint, ADA)}
    assert {"no exp", "wrong auds", "a wrong iss", "sub empty"} <= names
    fewer = {forgery.name for forgery in bad_claims(TokenMint(KEY), ADA)}
    assert not {"wrong auds", "a wrong iss"} & fewer


def test_tokens_that_are_none_have_no_claims() -> None:
    """Anything else than a token of ours reads as empty."""
    assert claims_of("secret") == claims_of("a.b.c") == claims_of("a.WzFd.c") == {}


def test_a_fixed_token_is_handed_out_and_not_shown() -> None:
    """It is what it is, and a log of the object does not hold it."""
    source = FixedToken("secret")
    assert source.good() == "secret"
    assert "secret" not in repr(source)


def test_a_command_prints_a_token() -> None:
    """Its output is the token; what fails, hangs or prints nothing is a usage error."""
    python = shlex.quote(sys.executable)
    assert TokenCommand(f"{python} -c 'print(42)'").good() == "42"
    for command in (f"{python} -c ''", f"{python} -c 'exit(3)'", "/no/such/program", "'"):
        with pytest.raises(UsageError, match="token command"):
            TokenCommand(command).good()


def test_keys_that_cannot_be_used_are_named(tmp_path) -> None:
    """Missing, no PEM, not RSA: one line each; a good one is read."""
    good = tmp_path / "good.pem"
    good.write_bytes(pem(KEY))
    assert not refused(TokenMint.read(good, ISSUER, None).good())
    text = tmp_path / "text.pem"
    text.write_text("hello")
    curve = tmp_path / "curve.pem"
    curve.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    for path, words in (
        (tmp_path / "none.pem", "cannot read"),
        (tmp_path, "cannot read"),
        (text, "no private key"),
        (curve, "not RSA"),
    ):
        with pytest.raises(UsageError, match=words):
            TokenMint.read(path, None, None)
