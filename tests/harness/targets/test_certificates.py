"""The development certificate: private, kept, renewed in time, and trusted by who is told to."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import stat

import pytest
from cryptography import x509

from streamproof.errors import UsageError
from streamproof.targets.base import Description
from streamproof.targets.certificates import RENEWED_DAYS, VALID_DAYS, prepare

NOW = datetime.datetime.now(datetime.UTC)  # the handshake below asks the machine's own clock


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_who_trusts_the_authority_gets_a_connection_and_nobody_else(tmp_path, host):
    """By address and by name, also where X.509 is read strictly, as Python 3.13 does."""
    files = prepare(tmp_path, NOW, {})

    async def greet(reader, writer):
        writer.write(b"hello")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=files.server_context())
    port = server.sockets[0].getsockname()[1]
    trusting = Description(f"wss://{host}:{port}/dev", ca=str(files.authority)).tls()
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    bundled = ssl.create_default_context(cafile=str(files.bundle))
    async with server:
        for context in (trusting, bundled):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname=host
            )
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                "127.0.0.1", port, ssl=Description("wss://x/").tls(), server_hostname=host
            )


def test_the_files_are_private_and_the_authority_can_sign_nothing_more(tmp_path):
    """One private key is kept: the certificate's own."""
    files = prepare(tmp_path, NOW, {})
    for path in (files.authority, files.chain, files.bundle):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys = [path for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [files.chain]
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    chain = x509.load_pem_x509_certificate(files.chain.read_bytes())
    assert chain.issuer == authority.subject
    assert authority.public_key() != chain.public_key()


def test_it_is_kept_until_it_would_not_last(tmp_path):
    """A browser that was told to trust it need not be told again before."""
    first = prepare(tmp_path, NOW, {}).chain.read_bytes()
    early = NOW + datetime.timedelta(days=VALID_DAYS - RENEWED_DAYS - 1)
    assert prepare(tmp_path, early, {}).chain.read_bytes() == first
    late = NOW + datetime.timedelta(days=VALID_DAYS - RENEWED_DAYS + 1)
    assert prepare(tmp_path, late, {}).chain.read_bytes() != first
    (tmp_path / "tls.pem").write_text("nonsense")
    assert b"BEGIN CERTIFICATE" in prepare(tmp_path, NOW, {}).chain.read_bytes()


def test_the_bundle_keeps_the_roots_of_the_machine(tmp_path):
    """A function still reaches the rest of the world; our own bundle is not put into itself."""
    roots = tmp_path / "roots.pem"
    roots.write_text("-- the roots of a company --\n")
    files = prepare(tmp_path, NOW, {"REQUESTS_CA_BUNDLE": str(roots)})
    bundle = files.bundle.read_bytes()
    assert bundle == files.authority.read_bytes() + b"\n" + roots.read_bytes()
    own = {"AWS_CA_BUNDLE": str(files.bundle), "SSL_CERT_FILE": str(roots)}
    assert prepare(tmp_path, NOW, own).bundle.read_bytes() == bundle


def test_the_bundle_keeps_what_node_was_told_to_trust_besides(tmp_path):
    """Its one variable names our bundle from now on, so that holds the user's file too, once."""
    roots, extra = tmp_path / "roots.pem", tmp_path / "extra.pem"
    roots.write_text("-- roots --\n")
    extra.write_text("-- a company's proxy --\n")
    told = {"SSL_CERT_FILE": str(roots), "NODE_EXTRA_CA_CERTS": str(extra)}
    bundle = prepare(tmp_path, NOW, told).bundle.read_bytes()
    assert bundle.endswith(b"\n-- roots --\n\n-- a company's proxy --\n")
    both = {**told, "SSL_CERT_FILE": str(extra)}
    assert prepare(tmp_path, NOW, both).bundle.read_bytes().count(b"proxy") == 1


def test_sdks_are_told_where_it_is_and_that_no_proxy_is_on_the_way(tmp_path):
    """Every variable that one of them reads; what was excepted from the proxy stays so."""
    files = prepare(tmp_path, NOW, {})
    told = files.variables({"NO_PROXY": "intranet"})
    names = ("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
    assert {told[name] for name in names} == {str(files.bundle)}
    assert told["NO_PROXY"] == told["no_proxy"] == "intranet,127.0.0.1,::1,localhost"
    told = files.variables({"no_proxy": "intranet"})
    assert told["NO_PROXY"] == told["no_proxy"] == "intranet,127.0.0.1,::1,localhost"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    """With the option that needs no certificate."""
    with pytest.raises(UsageError, match="cannot be made") as caught:
        prepare(tmp_path / "none", NOW, {})
    assert "--no-tls" in caught.value.hint


def test_a_target_whose_authority_is_gone_is_named(tmp_path):
    """Its target.json is older than the folder."""
    with pytest.raises(UsageError, match="cannot be read"):
        Description("wss://127.0.0.1:1/dev", ca=str(tmp_path / "none.pem")).tls()
