"""Our signatures are botocore's, byte for byte."""

from __future__ import annotations

import datetime
from unittest import mock

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.sigv4 import Credentials, presign_url, sign_headers

REGION = "eu-central-1"
SECRET = "secret/with+marks"
TOKENS = st.none() | st.text("abc+/=", min_size=1)
MOMENTS = st.integers(0, 4_000_000_000_000)
PATHS = st.lists(st.text("aZ09-_.~=@ %", min_size=1).filter(lambda part: part.strip(".")))


def _both(token):
    ours = Credentials("AKIDEXAMPLE", SECRET, token)
    theirs = BotocoreCredentials("AKIDEXAMPLE", SECRET, token)
    return ours, theirs


def _at(now_ms):
    moment = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC)
    return mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment)


@given(st.sampled_from(["POST", "GET", "DELETE"]), PATHS, st.binary(max_size=64), TOKENS, MOMENTS)
def test_headers_equal_botocores(method, parts, body, token, now_ms):
    """Any method, path, body, session token and moment give the header that boto3 would send."""
    ours, theirs = _both(token)
    path = "/dev/%40connections/" + "/".join(parts).replace(" ", "%20")
    request = AWSRequest(method, f"https://x.example:8443{path}", data=body)
    with _at(now_ms):
        botocore.auth.SigV4Auth(theirs, "execute-api", REGION).add_auth(request)
    signed = sign_headers(
        method,
        "x.example:8443",
        path,
        body,
        credentials=ours,
        region=REGION,
        service="execute-api",
        now_ms=now_ms,
    )
    expected = {name.lower(): value for name, value in request.headers.items()}
    assert signed == {**expected, "host": "x.example:8443"}


@given(PATHS, TOKENS, MOMENTS, st.integers(1, 604_800), st.sampled_from(["GET", "HEAD"]))
def test_presigned_urls_equal_botocores(parts, token, now_ms, expires_s, method):
    """The query is botocore's, in its order."""
    ours, theirs = _both(token)
    url = "http://127.0.0.1:8080/objects/" + "/".join(parts).replace(" ", "%20")
    request = AWSRequest(method, url)
    with _at(now_ms):
        signer = botocore.auth.S3SigV4QueryAuth(theirs, "s3", REGION, expires=expires_s)
        signer.add_auth(request)
    assert request.url == presign_url(
        method, url, credentials=ours, region=REGION, now_ms=now_ms, expires_s=expires_s
    )


@pytest.mark.parametrize("expires_s", [0, -1, 604_801])
def test_a_presigned_url_has_a_bounded_life(expires_s):
    """S3 takes one second to seven days."""
    with pytest.raises(ValueError, match="lives 1 to 604800 s"):
        presign_url(
            "GET",
            "http://h/k",
            credentials=Credentials("a", "b"),
            region=REGION,
            now_ms=0,
            expires_s=expires_s,
        )


def test_secrets_are_not_shown():
    """A credential that ends up in a log shows its id alone."""
    shown = repr(Credentials("AKID", "very-secret", "very-token"))
    assert "very" not in shown
    assert "AKID" in shown
