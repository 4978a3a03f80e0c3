"""`streamproof token`: a token alone, minted with the key that is at hand."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamproof import cli

ISSUER = "https://issuer.test"


@pytest.fixture(scope="module")
def key():
    """A signing key, made once: making one takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def state(tmp_path, monkeypatch, key):
    """A state folder as `serve` leaves it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".streamproof"
    folder.mkdir()
    pem = folder / "private.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    described = {"url": "ws://127.0.0.1:1/dev", "issuer": ISSUER, "jwt_private_key": str(pem)}
    (folder / "target.json").write_text(json.dumps(described))
    return folder


def claims_of(token: str, key) -> dict:
    """The verified claims."""
    return jwt.decode(
        token, key.public_key(), algorithms=["RS256"], issuer=ISSUER, options={"verify_exp": False}
    )


def test_the_token_stands_alone(state, key, capsys):
    """Without options: the state folder of `serve`, a user of its own, an hour."""
    assert cli.main(["token"]) == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    claims = claims_of(out.strip(), key)
    assert (claims["sub"], claims["tenant_id"]) == ("dev-user", "dev-tenant")
    assert claims["permissions"] == []
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize("by", ["state", "target", "file"])
def test_claims_and_place_can_be_chosen(state, key, capsys, by, tmp_path):
    """User, tenant, permissions and time are options; the place may stand in the file."""
    place = {
        "state": ["--state", str(state)],
        "target": ["--target", f"file:{state}/target.json"],
        "file": [],
    }[by]
    if by == "file":
        text = f'target = "file:{state}/target.json"\n[auth]\ntoken = "not wanted"\n'
        (tmp_path / "streamproof.toml").write_text(text)
    words = ["--user", "ada", "--tenant", "acme", "--permission", "probe", "--permission", "x"]
    assert cli.main(["token", *place, *words, "--expires-in", "-60"]) == 0
    claims = claims_of(capsys.readouterr().out.strip(), key)
    assert (claims["sub"], claims["tenant_id"]) == ("ada", "acme")
    assert claims["permissions"] == ["probe", "x"]
    assert claims["exp"] - claims["iat"] == -60


def test_a_key_and_an_issuer_make_a_token_for_any_url(state, key, capsys):
    """A running system of somebody else needs its key and issuer."""
    words = ["--target", "ws://127.0.0.1:9/dev", "--jwt-key", str(state / "private.pem")]
    assert cli.main(["token", *words, "--issuer", ISSUER]) == 0
    assert claims_of(capsys.readouterr().out.strip(), key)["iss"] == ISSUER


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--state", "nowhere"], "cannot read"),
        (["--target", "ws://127.0.0.1:9/dev"], "names no signing key"),
        (["--target", "embedded"], "embedded lives only while a command runs it"),
        (["--expires-in", "9999999999"], "beyond ten years"),
        (["--target", "x", "--state", "y"], "not allowed with argument"),
    ],
)
def test_wrong_starts(state, words, said, capsys):
    """What cannot be minted is told in one line, and no token is printed."""
    assert cli.main(["token", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
