"""One bounded HTTP/1.1 exchange: what GW-3, GW-7 and LIMIT-1 need, and no HTTP library.

One connection per call, closed afterwards; the answer is read whole, up to a bound.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request; `OSError` or `TimeoutError` when there is no answer, `ValueError` when the
    answer is no HTTP or too long. `tls` replaces the system's trust where the scheme is `https`.
    """
    parts = urlsplit(url)
    tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=tls, limit=HEAD_BYTES_MAX
        )
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            if body or method == "POST":
                lines.append(f"Content-Length: {len(body)}")
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            return await _read(reader, method)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, method: str) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the connection ended before an answer") from error
    except asyncio.LimitOverrunError as error:
        raise ValueError("the head of the answer is too long") from error
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError(f"the answer is no HTTP: {first[:80]!r}")
    pairs = (line.split(":", 1) for line in rest if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    status = int(words[1])
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, headers, await _chunks(reader))
    length = headers.get("content-length", "")
    if length.isdigit():
        if int(length) > ANSWER_BYTES_MAX:
            raise ValueError(f"the answer has {length} bytes")
        return Answer(status, headers, await reader.readexactly(int(length)))
    return Answer(status, headers, await reader.read(ANSWER_BYTES_MAX))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        if len(body) + size > ANSWER_BYTES_MAX:
            raise ValueError(f"the answer has over {ANSWER_BYTES_MAX} bytes")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return bytes(body)
