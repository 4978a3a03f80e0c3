"""The harness signs as botocore does."""

from __future__ import annotations

import datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from streamproof.targets.sigv4 import Credentials, sign_headers

MOMENT = datetime.datetime(2025, 3, 16, 1, 2, 3, tzinfo=datetime.UTC)


@pytest.mark.parametrize("token", [None, "session/token+=="])
@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("POST", "http://127.0.0.1:8080/dev/%40connections/AAAAAAAAAAIAAAA%3D", b"hello"),
        ("GET", "https://abc.execute-api.eu-west-1.amazonaws.com/dev/@connections/AAA=", b""),
        ("DELETE", "http://localhost/dev/@connections/A-_%3D", b""),
        ("GET", "http://localhost/dev/x?b=2&a=1", b""),
        ("GET", "http://localhost", b""),
    ],
)
def test_signatures_equal_botocores(method, url, body, token, monkeypatch) -> None:
    """The same request at the same moment has the same signature."""
    keys = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: MOMENT.replace(tzinfo=None))
    request = AWSRequest(method=method, url=url, data=body)
    SigV4Auth(BotoCredentials(*keys), "execute-api", "eu-west-1").add_auth(request)
    made = sign_headers(
        method, url, body, credentials=Credentials(*keys), region="eu-west-1", now=MOMENT
    )
    assert made["authorization"] == request.headers["Authorization"]
    assert made["x-amz-date"] == request.headers["X-Amz-Date"]
    assert made.get("x-amz-security-token") == request.headers.get("X-Amz-Security-Token")


def test_secrets_are_not_shown() -> None:
    """A log of the credentials holds neither key nor session token."""
    shown = repr(Credentials("AKID", "secret", "session"))
    assert "secret" not in shown.replace("secret_", "")
    assert "session'" not in shown
