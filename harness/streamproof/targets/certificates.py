"""The certificate of a local gateway, and what makes its clients and functions trust it.

Made at the first start and kept. The authority signs one certificate and its key is thrown away,
so that whoever trusts the authority trusts this gateway and nothing else.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streamproof.errors import UsageError
from streamproof.targets.state import write_private

HOSTS = ("127.0.0.1", "::1", "localhost")
VALID_DAYS = 397  # browsers refuse longer ones
RENEWED_DAYS = 30  # before the end
ROOTS_BYTES_MAX = 4 << 20

# Where an SDK finds its roots: botocore, requests, OpenSSL (Python, Ruby) and Go, curl; and Node.
_REPLACING = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_ADDING = "NODE_EXTRA_CA_CERTS"
_USUAL_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Certificates:
    """The files of one gateway; `bundle` is the authority together with the machine's own roots."""

    authority: Path
    chain: Path  # certificate and private key
    bundle: Path

    def server_context(self) -> ssl.SSLContext:
        """What the gateway's port is opened with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        return context

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """What SDKs read, to be added to `environment`: trust, and no proxy on the way to here."""
        excepted = environment.get("NO_PROXY") or environment.get("no_proxy")
        proxyless = ",".join(filter(None, [excepted, *HOSTS]))
        return {
            **dict.fromkeys(_REPLACING, str(self.bundle)),
            _ADDING: str(self.bundle),
            "NO_PROXY": proxyless,
            "no_proxy": proxyless,
        }


def prepare(
    directory: Path, now: datetime.datetime, environment: Mapping[str, str] | None = None
) -> Certificates:
    """The certificate in `directory`, made when there is none that lasts; `UsageError` if it fails.

    `environment` (default: this process's) tells where the machine's roots are.
    """
    files = Certificates(*(directory / name for name in ("ca.pem", "tls.pem", "ca-bundle.pem")))
    try:
        if not _lasts(files, now):
            _make(files, now)
        roots = _roots(os.environ if environment is None else environment, files.bundle)
        write_private(files.bundle, files.authority.read_bytes() + b"\n" + roots)
    except OSError as error:
        raise UsageError(
            f"the certificate in {directory} cannot be made: {error.strerror or error}",
            "name another folder with --state, or use --no-tls",
        ) from error
    return files


def _lasts(files: Certificates, now: datetime.datetime) -> bool:
    if not (files.authority.exists() and files.chain.exists()):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(files.chain.read_bytes())
    except ValueError:
        return False
    return certificate.not_valid_after_utc - now > datetime.timedelta(days=RENEWED_DAYS)


def _make(files: Certificates, now: datetime.datetime) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("streamproof development authority")
    key_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(authority_name, authority_name, authority_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    addresses = [_general_name(host) for host in HOSTS]
    certificate = (
        _builder(_name("streamproof serve"), authority_name, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(files.authority, authority.public_bytes(pem))
    write_private(files.chain, certificate.public_bytes(pem) + private)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ, also those of guests
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _roots(environment: Mapping[str, str], own: Path) -> bytes:
    """The roots that this machine trusts, so that a function still reaches the rest of the world.

    Our own file is none of them: a `serve` inside another's environment would grow it each time.
    """
    usual = ssl.get_default_verify_paths().openssl_cafile
    places = [*(environment.get(name, "") for name in _REPLACING), usual, *_USUAL_ROOTS]
    roots = next(filter(None, (_read(place, own) for place in places)), b"")
    added = _read(environment.get(_ADDING, ""), own)  # Node reads one such file, and it is ours now
    return roots if added in roots else roots + b"\n" + added


def _read(place: str, own: Path) -> bytes:
    path = Path(place)
    if not place or not path.is_file() or path.name == own.name:
        return b""
    with path.open("rb") as file:
        return file.read(ROOTS_BYTES_MAX)
