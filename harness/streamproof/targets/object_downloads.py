"""Downloads of stored objects by presigned URL, as S3 serves them: `GET /objects/KEY?X-Amz-..`.

A signature is for one method and one key; a URL that expired or was changed is refused with 403.
"""

from __future__ import annotations

import mimetypes
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote

from streamproof.gateway import http11
from streamproof.gateway.clock import Clock
from streamproof.gateway.description import Credentials
from streamproof.gateway.sigv4 import SignatureError, Verifier

PREFIX = "/objects/"
_PIECE_BYTES = 64 * 1024


class ObjectDownloads:
    """Serves the files below one directory."""

    def __init__(
        self, directory: Path, credentials: Credentials, region: str, clock: Clock | None = None
    ) -> None:
        """URLs are signed with `credentials` for service `s3` in `region`."""
        self._directory = directory.resolve()
        self._verifier = Verifier(credentials, region, "s3", clock or Clock())

    def handle(self, request: http11.Request) -> bytes | AsyncIterator[bytes]:
        """Answer one request below `PREFIX`."""
        if request.method not in ("GET", "HEAD"):
            return _refusal(405, "MethodNotAllowed", "GET and HEAD only")
        try:
            host = request.header.get("host", "")
            self._verifier.check_query(request.method, request.path, request.query, host)
        except SignatureError as error:
            return _refusal(403, "AccessDenied", str(error))
        opened = self._open(unquote(request.path.removeprefix(PREFIX)))
        if opened is None:
            return _refusal(404, "NoSuchKey", "The specified key does not exist.")
        file, path = opened
        length = os.fstat(file.fileno()).st_size
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = [
            ("Content-Type", kind),
            ("Content-Disposition", f"attachment; filename*=UTF-8''{quote(path.name)}"),
            ("Cache-Control", "private, no-store"),
        ]
        head = http11.response(200, b"", headers, length=length)
        if request.method == "HEAD":
            file.close()
            return head
        return _pieces(head, file, length)

    def _open(self, key: str) -> tuple[IO[bytes], Path] | None:
        parts = key.split("/")
        if "\0" in key or "\\" in key or any(part in ("", ".", "..") for part in parts):
            return None
        path = self._directory.joinpath(*parts)
        try:
            # A link in the directory must not lead out of it either.
            if not path.resolve().is_relative_to(self._directory) or not path.is_file():
                return None
            return path.open("rb"), path
        except OSError:
            return None


async def _pieces(head: bytes, file: IO[bytes], length: int) -> AsyncIterator[bytes]:
    """Yield `head` and `length` bytes; raises `OSError` when the file no longer has them."""
    with file:
        yield head
        left = length
        # No more than was promised, also when the file grows meanwhile.
        while left > 0:
            piece = file.read(min(_PIECE_BYTES, left))
            if not piece:
                raise OSError(f"{left} of {length} bytes were cut off meanwhile")
            left -= len(piece)
            yield piece


def _refusal(status: int, code: str, message: str) -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return http11.response(status, body, [("Content-Type", "application/xml")])
