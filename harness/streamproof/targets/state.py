"""The folder of a local stack: its keys, its credentials, its `target.json`. Private to the user.

What is made here is kept for the next start on the same folder, so that tokens and signed URLs
survive a restart. `target.json` is there exactly as long as the stack takes connections.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamproof.errors import UsageError
from streamproof.targets.base import Description

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]  # checked where it is used

ISSUER = "https://issuer.streamproof.test"  # `.test` is reserved: no such host can exist
KEY_BITS = 2048


@dataclass(frozen=True, slots=True)
class State:
    """A prepared folder; all paths are absolute. It is this process's own until `release`."""

    directory: Path
    key_id: str
    access_key_id: str
    secret_access_key: str
    lock: int  # a file descriptor

    @property
    def private_key(self) -> Path:
        """The development key that signs tokens."""
        return self.directory / "jwt-private.pem"

    @property
    def public_key(self) -> Path:
        """What tokens are verified with."""
        return self.directory / "jwt-public.pem"

    @property
    def store(self) -> Path:
        """The SQLite file."""
        return self.directory / "store.sqlite"

    @property
    def objects(self) -> Path:
        """Where stored files are."""
        return self.directory / "objects"

    @property
    def target(self) -> Path:
        """Where the description stands while the stack runs."""
        return self.directory / "target.json"

    def announce(self, description: Description) -> None:
        """Write `target.json` in one step."""
        write_private(self.target, description.to_json().encode())

    def withdraw(self) -> None:
        """Remove `target.json`: nothing takes connections any more."""
        self.target.unlink(missing_ok=True)

    def release(self) -> None:
        """Let another process have the folder; the end of this process does so too."""
        os.close(self.lock)


def prepare(directory: Path) -> State:
    """The folder with everything in it, made at the first start; raises `UsageError`.

    Two stacks on one folder would take each other's requests and answer to connections that they
    do not have, so the second is refused before it touches anything.
    """
    directory = directory.resolve()
    if directory.is_file():
        raise UsageError(f"{directory} is a file, not a folder", "name a folder with --state")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(directory)
        (directory / "objects").mkdir(mode=0o700, exist_ok=True)
        private, public = directory / "jwt-private.pem", directory / "jwt-public.pem"
        if not private.exists():
            _make_keys(private, public)
        credentials = directory / "credentials.json"
        if not credentials.exists():
            access_key_id = "AKIA" + "".join(
                secrets.choice("ABCDEFGHIJKLMNOP234567") for _ in range(16)
            )
            made = {
                "access_key_id": access_key_id,
                "secret_access_key": secrets.token_urlsafe(30),
            }
            write_private(credentials, json.dumps(made).encode())
        known = json.loads(credentials.read_text(encoding="utf-8"))
        state = State(
            directory,
            hashlib.sha256(public.read_bytes()).hexdigest()[:16],
            known["access_key_id"],
            known["secret_access_key"],
            lock,
        )
        state.withdraw()
    except OSError as error:
        raise UsageError(
            f"the folder {directory} cannot be used: {error.strerror or error}",
            "name another with --state",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{directory / 'credentials.json'} cannot be read: {error}",
            "remove it, or name another folder with --state",
        ) from error
    return state


def _lock(directory: Path) -> int:
    """A descriptor that holds the folder for as long as it is open; never handed to a child."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if fcntl is None:
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise UsageError(
            f"the folder {directory} is in use by process {holder or 'unknown'}",
            "name another with --state, or stop that one",
        ) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def _make_keys(private: Path, public: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(public, public_pem)
    write_private(private, private_pem)  # last: its presence says that both are there


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    partial.replace(path)
