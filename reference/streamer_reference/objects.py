"""Where results go that do not fit a message: put once, fetched by a URL that expires.

`LocalObjectStore` keeps files that the gateway of `serve` hands out; on AWS the same protocol is
S3's. Keys name objects for ever: a put of the same key replaces the whole object.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from streamer_reference.clock import Clock, SystemClock
from streamer_reference.sigv4 import Credentials, presign_url

KEY_CHARS_MAX = 512
RETENTION_MS = 7 * 86_400_000 + 3_600_000  # an hour more than the request whose result it is
LOOKED_AT_MAX = 200  # files in one call of `forget`, so that it blocks nobody
_KEY = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


class ObjectStore(Protocol):
    """Objects by key. A key is parts of letters, digits and `. _ -`, joined by `/`."""

    async def put(self, key: str, data: bytes | Path, content_type: str) -> None:
        """Store bytes or a file's content, whole or not at all; `OSError` when it cannot."""
        ...

    def presign(self, key: str, expires_s: int) -> str:
        """A URL that fetches the object for `expires_s` seconds; it is a secret."""
        ...

    def forget(self) -> None:
        """Remove some of what is past its retention; on S3 a lifecycle rule does it."""
        ...


@dataclasses.dataclass(slots=True)
class LocalObjectStore:
    """Files below `directory`, private to the user, served at `base_url` (`http://HOST/objects`).

    The gateway that serves them must hold the same credentials.
    """

    directory: Path
    base_url: str
    credentials: Credentials
    region: str
    clock: Clock = dataclasses.field(default_factory=SystemClock)
    _files: Iterator[os.DirEntry[str]] = dataclasses.field(
        default_factory=lambda: iter(()), init=False, repr=False
    )

    async def put(self, key: str, data: bytes | Path, content_type: str) -> None:
        """Store in one step: nobody sees half an object. `ValueError` for a bad key."""
        del content_type  # the gateway derives it from the key's suffix
        now_s = self.clock.now_ms() / 1000
        await asyncio.to_thread(_write, self.directory / _checked(key), data, now_s)

    def presign(self, key: str, expires_s: int) -> str:
        """A URL signed as S3's are; `ValueError` for a bad key or more than seven days."""
        return presign_url(
            "GET",
            f"{self.base_url.rstrip('/')}/{_checked(key)}",
            credentials=self.credentials,
            region=self.region,
            now_ms=self.clock.now_ms(),
            expires_s=expires_s,
        )

    def forget(self) -> None:
        """Look at some files, each call at those after the last one's, and then at all again."""
        before_s = (self.clock.now_ms() - RETENTION_MS) / 1000
        files: list[os.DirEntry[str]] = []
        with contextlib.suppress(OSError):  # somebody else removes folders
            files = list(itertools.islice(self._files, LOOKED_AT_MAX))
        for file in files:
            with contextlib.suppress(OSError):
                if file.stat(follow_symlinks=False).st_mtime < before_s:
                    Path(file).unlink()
        if len(files) < LOOKED_AT_MAX:
            self._files = _files_below(self.directory)


def _files_below(directory: str | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:  # one by one: there may be very many
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path)
            else:
                yield entry


def _write(path: Path, data: bytes | Path, now_s: float) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".put-") as folder:  # the user's own
        whole = Path(folder, "whole")
        whole.touch(mode=0o600)
        if isinstance(data, Path):
            shutil.copyfile(data, whole)
        else:
            whole.write_bytes(data)
        os.utime(whole, (now_s, now_s))
        whole.replace(path)


def _checked(key: str) -> str:
    if len(key) > KEY_CHARS_MAX or not _KEY.fullmatch(key):
        raise ValueError(f"not a key of an object: {key!r}")
    return key
