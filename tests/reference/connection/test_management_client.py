"""The management client: what it puts on the wire, and what answers mean."""

from __future__ import annotations

import datetime
import ipaddress
import json
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


def _client(server, **options):
    url = f"http://127.0.0.1:{server.port}/dev/"
    return ManagementClient(url, CREDENTIALS, "us-east-1", clock=_Clock(), **options)


@virtual_time
async def test_a_post_is_signed_and_whole():
    """The line, the body and the signature that AWS expects, nothing else."""
    async with http_server(answer_with(OK)) as server:
        client = _client(server)
        assert await client.post_to_connection(CONNECTION_ID, b'{"a":1}') == 200
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
async def test_a_connection_can_be_asked_about_and_closed():
    """GET gives the API's own members, DELETE its status."""
    info = {"connectedAt": "2025-03-16T00:46:22.306Z", "identity": {"sourceIp": "1.2.3.4"}}
    body = json.dumps(info).encode()
    found = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def answer(got, writer):
        writer.write(found if got.line[0] == "G" else b"HTTP/1.1 204 No Content\r\n\r\n")

    async with http_server(answer) as server:
        client = _client(server)
        assert await client.get_connection(CONNECTION_ID) == info
        assert await client.delete_connection(CONNECTION_ID) == 204
        await client.aclose()
    methods = [got.line.split()[0] for got in server.received]
    assert methods == ["GET", "DELETE"]
    assert server.connections == 1


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
        client = _client(server, timeout_s=3)
        for timeout_s, limit in ((None, "3"), (0.5, "0.5"), (99, "3")):
            with pytest.raises(NoAnswerError, match=f"within {limit} s"):
                await client.post_to_connection(CONNECTION_ID, b"x", timeout_s=timeout_s)
        await client.aclose()


@virtual_time
async def test_an_answer_that_is_no_json_is_none():
    """GET promises JSON."""
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"
    async with http_server(answer_with(page)) as server:
        client = _client(server)
        with pytest.raises(NoAnswerError, match="no JSON"):
            await client.get_connection(CONNECTION_ID)
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
async def test_https_is_spoken_and_certificates_are_checked(tmp_path):
    """A trusted certificate passes; an unknown one means that nothing was sent."""
    path = _certificate(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(path)
    async with http_server(answer_with(OK), serving) as server:
        url = f"https://127.0.0.1:{server.port}/dev"
        trusting = ssl.create_default_context(cafile=path)
        client = ManagementClient(url, CREDENTIALS, "us-east-1", ssl_context=trusting)
        assert await client.post_to_connection(CONNECTION_ID, b"x") == 200
        await client.aclose()
        client = ManagementClient(url, CREDENTIALS, "us-east-1")
        with pytest.raises(NotSentError):
            await client.post_to_connection(CONNECTION_ID, b"x")
        await client.aclose()
    assert len(server.received) == 1
