"""The management client: what it puts on the wire, and what answers mean."""

from __future__ import annotations

import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streamer_reference.connection.errors import (
    BadRequestError,
    CallerError,
    ForbiddenError,
    GoneError,
    NoAnswerError,
    NotSentError,
    PayloadTooLargeError,
    ServiceError,
    ThrottledError,
)
from streamer_reference.connection.management_client import ManagementClient
from streamer_reference.sigv4 import Credentials, sign_headers
from support.http_server import OK, answer_with, http_server
from support.virtual_time import pass_time, virtual_time

CREDENTIALS = Credentials("AKIDEXAMPLE", "secret", "session")
NOW_MS = 1_742_085_982_306
CONNECTION_ID = "L0SM9cOFvHcCIhw="


class _Clock:
    def now_ms(self):
        return NOW_MS


def _client(server):
    url = f"http://127.0.0.1:{server.port}/dev/"
    return ManagementClient(url, CREDENTIALS, "us-east-1", clock=_Clock())


@virtual_time
async def test_a_post_is_signed_and_whole():
    """The line, the body and the signature that AWS expects, nothing else."""
    async with http_server(answer_with(OK)) as server:
        client = _client(server)
        await client.post_to_connection(CONNECTION_ID, b'{"a":1}')
        await client.aclose()
    (got,) = server.received
    assert got.line == "POST /dev/@connections/L0SM9cOFvHcCIhw%3D HTTP/1.1"
    assert got.body == b'{"a":1}'
    signed = sign_headers(
        "POST",
        f"127.0.0.1:{server.port}",
        "/dev/@connections/L0SM9cOFvHcCIhw%3D",
        got.body,
        credentials=CREDENTIALS,
        region="us-east-1",
        service="execute-api",
        now_ms=NOW_MS,
    )
    assert got.headers == {**signed, "content-length": "7"}


@virtual_time
async def test_a_connection_can_be_closed():
    """DELETE is one signed call on the same path; a connection that is gone says so."""
    answers = iter([b"204 No Content", b"410 Gone"])

    async def answer(got, writer):
        writer.write(b"HTTP/1.1 " + next(answers) + b"\r\n\r\n")

    async with http_server(answer) as server:
        client = _client(server)
        await client.delete_connection(CONNECTION_ID)
        with pytest.raises(GoneError):
            await client.delete_connection(CONNECTION_ID)
        await client.aclose()
    assert {got.line for got in server.received} == {
        "DELETE /dev/@connections/L0SM9cOFvHcCIhw%3D HTTP/1.1"
    }


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "peer_failed"),
    [
        (400, BadRequestError, False, False),
        (403, ForbiddenError, False, False),
        (404, CallerError, False, False),
        (410, GoneError, False, False),
        (413, PayloadTooLargeError, False, False),
        (429, ThrottledError, True, False),
        (500, ServiceError, True, True),
        (503, ServiceError, True, True),
    ],
)
@virtual_time
async def test_each_status_is_an_error_of_its_kind(status, kind, retryable, peer_failed):
    """Whether to repeat and whom to blame follows from the kind alone."""
    head = b"HTTP/1.1 %d Text\r\nContent-Length: 2\r\n\r\n{}" % status
    async with http_server(answer_with(head)) as server:
        client = _client(server)
        with pytest.raises(kind) as caught:
            await client.post_to_connection(CONNECTION_ID, b"x")
        await client.aclose()
    assert len(server.received) == 1  # repeating is the manager's business (SEND-1)
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert (caught.value.retryable, caught.value.peer_failed) == (retryable, peer_failed)
    assert not caught.value.may_have_arrived


@virtual_time
async def test_a_call_has_a_time_limit_that_a_caller_can_shorten():
    """One attempt: the client's own limit, or less."""

    async def answer(got, writer):
        await pass_time(60)

    async with http_server(answer) as server:
        client = _client(server)
        for options, limit in (({}, "3"), ({"timeout_s": 0.5}, "0.5"), ({"timeout_s": 99}, "3")):
            with pytest.raises(NoAnswerError, match=f"within {limit} s"):
                await client.post_to_connection(CONNECTION_ID, b"x", **options)
        await client.aclose()


def _certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    encoding, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(encoding, pkcs8, plain) + certificate.public_bytes(encoding))
    return path


@virtual_time
async def test_https_is_spoken_and_certificates_are_checked(tmp_path, monkeypatch):
    """A trusted certificate passes; an unknown one means that nothing was sent."""
    path = _certificate(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(path)
    async with http_server(answer_with(OK), serving) as server:
        url = f"https://127.0.0.1:{server.port}/dev"
        client = ManagementClient(url, CREDENTIALS, "us-east-1")
        with pytest.raises(NotSentError):
            await client.post_to_connection(CONNECTION_ID, b"x")
        await client.aclose()
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        client = ManagementClient(url, CREDENTIALS, "us-east-1")
        await client.post_to_connection(CONNECTION_ID, b"x")
        await client.aclose()
    assert len(server.received) == 1
