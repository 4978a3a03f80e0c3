"""The gateway's signature checks against botocore's signatures."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from streamproof.gateway import Clock, Credentials, ManualClock
from streamproof.gateway.http11 import RequestReader
from streamproof.gateway.sigv4 import SignatureError, Verifier

OURS = Credentials("AKIDEXAMPLE", "secret")


def signed(method, url, body=b"", headers=None, *, token=None, secret="secret", service=None):
    """A request as it comes out of the reader, signed by botocore."""
    request = AWSRequest(method, url, data=body, headers={"Host": "h:1", **(headers or {})})
    credentials = BotoCredentials("AKIDEXAMPLE", secret, token)
    SigV4Auth(credentials, service or "execute-api", "us-east-1").add_auth(request)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    reader = RequestReader(1 << 20, 1 << 20, hashes=True)
    head = f"{method} {target} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    reader.feed(head.encode() + body)
    read = reader.next()
    assert read is not None
    return read


def check(request, credentials=OURS, clock=None):
    """Check a request's headers."""
    verifier = Verifier(credentials, "us-east-1", "execute-api", clock or Clock())
    for _ in range(2):  # the second time from the cache
        verifier.check_headers(
            request.method, request.path, request.query, request.header, request.body_sha256
        )


@pytest.mark.parametrize(
    "path",
    [
        "/dev/@connections/L0SM9cOFvHcCIhw=",
        "/dev/%40connections/L0SM9cOFvHcCIhw%3D",
        "/dev/@connections/L0SM9cOFvHcCIhw%3D?b=2&a=1&a=0&a-b=3&c",
    ],
)
@pytest.mark.parametrize(("method", "body"), [("POST", b"x" * 1000), ("GET", b""), ("DELETE", b"")])
def test_what_botocore_signs_is_accepted(method, path, body):
    """Every spelling of the path, with and without query and body."""
    check(signed(method, "http://h:1" + path, body, {"X-Other": "two  blanks "}))


def test_a_session_token_must_be_the_configured_one():
    """A token is asked for when one is configured, and refused when none is."""
    with_token = Credentials("AKIDEXAMPLE", "secret", "token")
    url = "http://h:1/dev/@connections/x"
    check(signed("GET", url, token="token"), with_token)
    for request, credentials in [
        (signed("GET", url, token="other"), with_token),
        (signed("GET", url), with_token),
        (signed("GET", url, token="token"), OURS),
    ]:
        with pytest.raises(SignatureError):
            check(request, credentials)


def change(request, **header):
    """The same request with headers changed."""
    for name, value in header.items():
        request.header[name.replace("_", "-")] = value
    return request


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: change(r, authorization="Bearer x"), "not in the form"),
        (lambda r: change(r, authorization=r.header["authorization"][:-1] + "g"), "does not match"),
        (lambda r: change(r, authorization=r.header["authorization"] + "é"), "does not match"),
        (lambda r: change(r, host="other"), "does not match"),
        (
            lambda r: change(r, authorization=r.header["authorization"].replace("AKID", "BKID")),
            "invalid",
        ),
        (
            lambda r: change(r, authorization=r.header["authorization"].replace("us-east", "eu-w")),
            "scoped",
        ),
        (
            lambda r: change(r, authorization=r.header["authorization"].replace("host;", "")),
            "SignedHeaders",
        ),
        (lambda r: change(r, x_amz_date="20200101T000000Z"), "differ"),
        (lambda r: change(r, x_amz_date=""), "differ"),
    ],
)
def test_a_changed_request_is_refused(spoil, message):
    """One changed piece is enough."""
    request = signed("POST", "http://h:1/dev/@connections/x", b"body")
    with pytest.raises(SignatureError, match=message):
        check(spoil(request))


def test_no_signature_another_body_and_another_secret_are_refused():
    """What is not signed, or signed with another key or for another body, is not taken."""
    request = signed("POST", "http://h:1/dev/@connections/x", b"body")
    request.body_sha256 = "0" * 64
    with pytest.raises(SignatureError, match="does not match"):
        check(request)
    with pytest.raises(SignatureError, match="does not match"):
        check(signed("GET", "http://h:1/x", secret="other"))
    with pytest.raises(SignatureError, match="scoped"):
        check(signed("GET", "http://h:1/x", service="s3"))
    del request.header["authorization"]
    with pytest.raises(SignatureError, match="Missing"):
        check(request)


def test_a_session_token_that_is_not_signed_is_refused():
    """A token beside a signature that does not cover it counts for nothing."""
    request = change(signed("GET", "http://h:1/x"), x_amz_security_token="token")
    with pytest.raises(SignatureError, match="x-amz-security-token"):
        check(request, Credentials("AKIDEXAMPLE", "secret", "token"))


@pytest.mark.parametrize(("moved_s", "message"), [(301, "expired"), (-400, "not yet")])
def test_a_signature_is_good_for_five_minutes(moved_s, message):
    """A date too far from the gateway's is refused, either way."""
    request = signed("GET", "http://h:1/x")
    with pytest.raises(SignatureError, match=message):
        check(request, clock=ManualClock(Clock().time_s() + moved_s))


def test_a_date_that_is_none_is_refused():
    """Digits in the right places are no date yet."""
    request = signed("GET", "http://h:1/x")
    day = request.header["x-amz-date"][:8]
    spoiled = request.header["authorization"].replace(day, "20251399")
    with pytest.raises(SignatureError, match="no date"):
        check(change(request, authorization=spoiled, x_amz_date="20251399T000000Z"))


def test_caches_are_bounded():
    """A client that makes up headers and days does not fill the memory."""
    request = signed("GET", "http://h:1/x")
    verifier = Verifier(OURS, "us-east-1", "execute-api", Clock())
    day = request.header["x-amz-date"][:8]
    for number in range(200):
        other = f"2{number:07d}"
        header = dict(request.header)
        header["authorization"] = header["authorization"].replace(day, other)
        with pytest.raises(SignatureError):
            verifier.check_headers("GET", "/x", "", header, request.body_sha256)
        verifier._day_key(other)
    assert len(verifier._prefixes) <= 64
    assert len(verifier._keys) <= 64


def presign(url, expires=60, method="GET", token=None):
    """A URL presigned by botocore; its path, query and host."""
    request = AWSRequest(method, url)
    credentials = BotoCredentials("AKIDEXAMPLE", "secret", token)
    S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=expires).add_auth(request)
    parts = urlsplit(request.url)
    return parts.path, parts.query, parts.netloc


def check_url(path, query, host, *, method="GET", clock=None, credentials=OURS):
    """Check a presigned URL."""
    verifier = Verifier(credentials, "us-east-1", "s3", clock or Clock())
    verifier.check_query(method, path, query, host)


def test_what_botocore_presigns_is_accepted():
    """Keys with folders and escapes, other query parameters, a session token."""
    check_url(*presign("http://127.0.0.1:8080/objects/t/r%C3%A9port%20%281%29.csv"))
    check_url(*presign("http://127.0.0.1:8080/objects/a?response-content-type=text%2Fplain"))
    with_token = Credentials("AKIDEXAMPLE", "secret", "to/ken+=")
    check_url(*presign("http://h/objects/a", token="to/ken+="), credentials=with_token)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-Expires=60", "X-Amz-Expires=61"),
        ("X-Amz-Expires=60", "X-Amz-Expires=0"),
        ("X-Amz-Expires=60", "X-Amz-Expires=604801"),
        ("X-Amz-Expires=60", "X-Amz-Expires=x"),
        ("X-Amz-Expires=60", "X-Amz-Expires=00000060" + "0" * 5000),
        ("X-Amz-Expires=60", "X-Amz-Expires=60" + "&a" * 5000),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=other"),
        ("X-Amz-Algorithm=AWS4", "X-Amz-Algorithm=AWS5"),
        ("X-Amz-Credential=AKID", "X-Amz-Credential=BKID"),
        ("X-Amz-Credential=AKID", "X-Amz-Credential=x&Other=AKID"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=60"),
    ],
)
def test_a_changed_url_is_refused(old, new):
    """Every parameter of the signature matters, once."""
    path, query, host = presign("http://h/objects/a")
    assert old in query
    with pytest.raises(SignatureError):
        check_url(path, query.replace(old, new), host)


def test_a_url_is_for_one_method_one_key_one_host_and_a_time():
    """Another method, key, host or hour is refused."""
    path, query, host = presign("http://h/objects/a")
    now_s = Clock().time_s()
    check_url(path, query, host, clock=ManualClock(now_s + 50))
    for arguments in [
        {"method": "HEAD"},
        {"path": "/objects/b"},
        {"host": "other"},
        {"clock": ManualClock(now_s + 120)},
        {"clock": ManualClock(now_s - 900)},
    ]:
        with pytest.raises(SignatureError):
            check_url(**{"path": path, "query": query, "host": host, **arguments})
