"""Stored objects by presigned URL: who signed gets the file, nobody else does."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from streamproof.gateway import Clock, ManualClock
from streamproof.gateway.wire import SEND_TIMEOUT_S
from streamproof.targets.object_downloads import PREFIX, ObjectDownloads
from support.gateway_host import CREDENTIALS, http, running, turns, until


def sites(directory, clock=None):
    """The downloads of a folder, as the embedded target mounts them."""
    return {PREFIX: ObjectDownloads(directory, CREDENTIALS, "us-east-1", clock).handle}


def presign(stage, key, *, method="GET", expires_s=60):
    """The target of a presigned URL, by botocore."""
    url = f"http://127.0.0.1:{stage.gateway.port}/objects/{key}"
    request = AWSRequest(method, url)
    credentials = BotoCredentials(CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key)
    S3SigV4QueryAuth(credentials, "s3", "us-east-1", expires=expires_s).add_auth(request)
    parts = urlsplit(request.url)
    return f"{parts.path}?{parts.query}"


async def get(stage, target, method="GET"):
    """One request without a signature of its own."""
    return await http(stage.gateway.port, method, target, sign=False)


async def test_a_presigned_url_downloads_the_file(tmp_path):
    """Body, type and name; HEAD has a signature of its own and no body."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "my répört.csv").write_text("a,b\n")
    async with running(sites=sites(tmp_path)) as stage:
        key = "t/my%20r%C3%A9p%C3%B6rt.csv"
        status, headers, body = await get(stage, presign(stage, key))
        assert (status, body) == (200, b"a,b\n")
        assert headers["content-type"] == "text/csv"
        name = "my%20r%C3%A9p%C3%B6rt.csv"
        assert headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
        status, headers, body = await get(stage, presign(stage, key, method="HEAD"), "HEAD")
        assert (status, headers["content-length"], body) == (200, "4", b"")


async def test_expired_forged_and_unsigned_urls_are_refused(tmp_path):
    """Each is 403, and says no more than that."""
    (tmp_path / "a.bin").write_bytes(b"secret")
    clock = ManualClock(Clock().time_s())
    async with running(sites=sites(tmp_path, clock), clock=clock) as stage:
        target = presign(stage, "a.bin")
        assert (await get(stage, target))[1]["content-type"] == "application/octet-stream"
        for other in ("/objects/a.bin", target[:-1] + "g", target.replace("a.bin", "b.bin")):
            status, _, body = await get(stage, other)
            assert status == 403
            assert b"secret" not in body
        clock.advance(61)
        assert (await get(stage, target))[0] == 403
        assert (await get(stage, target, "DELETE"))[0] == 405


@pytest.mark.parametrize(
    "key",
    [
        "missing",
        "",
        "../secret",
        "%2e%2e/secret",
        "a/../../secret",
        "..%2fsecret",
        "..%5csecret",
        "a%00",
        "dir",
        "./a",
        "dir//a",
        "link",
        "x" * 5000,
    ],
)
async def test_nothing_outside_the_directory_is_served(tmp_path, key):
    """Signed or not, only files below the directory are there."""
    inside = tmp_path / "objects"
    (inside / "dir").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (inside / "link").symlink_to(tmp_path / "secret")
    async with running(sites=sites(inside)) as stage:
        status, _, body = await get(stage, presign(stage, key))
        assert status in (403, 404)  # 403 where a client normalises the path that it signs
        assert b"secret</" not in body


async def test_a_file_that_cannot_be_read_is_not_there(tmp_path, monkeypatch):
    """An error of the disk is a missing key, not a stack."""
    (tmp_path / "a").write_text("x")

    def broken(self, *arguments):
        raise OSError

    async with running(sites=sites(tmp_path)) as stage:
        target = presign(stage, "a")
        monkeypatch.setattr("pathlib.Path.open", broken)
        assert (await get(stage, target))[0] == 404


async def test_a_large_file_comes_in_pieces_and_the_socket_stays_usable(tmp_path):
    """No more than a piece is in memory for a reader that is slow; the next request is served."""
    content = bytes(range(256)) * 40_000
    (tmp_path / "large").write_bytes(content)
    (tmp_path / "small").write_bytes(b"small")
    async with running(sites=sites(tmp_path)) as stage:
        host = f"127.0.0.1:{stage.gateway.port}"
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        for key in ("large", "small"):
            writer.write(f"GET {presign(stage, key)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await turns(200)
        (wire,) = stage.gateway.wires
        assert wire.transport.get_write_buffer_size() < 200_000
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(content)) == content
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"small"
        writer.close()
        await writer.wait_closed()


async def test_a_download_that_is_given_up_ends(tmp_path):
    """A reader that goes away in the middle leaves nothing behind."""
    (tmp_path / "large").write_bytes(b"x" * 30_000_000)
    async with running(sites=sites(tmp_path)) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        host = f"127.0.0.1:{stage.gateway.port}"
        writer.write(f"GET {presign(stage, 'large')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        async with asyncio.timeout(10):
            while stage.gateway.wires or len(stage.gateway._tasks):
                await turns(1)


@pytest.mark.parametrize("rest", ["HTTP/1.0\r\n", "HTTP/1.1\r\nConnection: close\r\n"])
async def test_a_socket_that_should_not_stay_open_ends_with_its_file(tmp_path, rest):
    """A reader that waits for the end gets the whole file, and the end."""
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    async with running(sites=sites(tmp_path)) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        host = f"127.0.0.1:{stage.gateway.port}"
        writer.write(f"GET {presign(stage, 'large')} {rest}Host: {host}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
            assert len(await reader.read(-1)) == 1_000_000
        writer.close()
        await writer.wait_closed()


async def test_a_file_that_is_cut_off_meanwhile_breaks_the_download_off(tmp_path, caplog):
    """What was promised cannot come, and the reader is not left waiting for it."""
    (tmp_path / "large").write_bytes(b"x" * 30_000_000)
    async with running(sites=sites(tmp_path)) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
        host = f"127.0.0.1:{stage.gateway.port}"
        writer.write(f"GET {presign(stage, 'large')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        os.truncate(tmp_path / "large", 0)
        async with asyncio.timeout(10):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(30_000_000)
        writer.transport.abort()
    assert "a download broke off" in caplog.text


async def test_a_reader_that_takes_nothing_for_long_is_cut_off(tmp_path):
    """One that takes a little now and then is not."""
    (tmp_path / "large").write_bytes(b"x" * 30_000_000)
    clock = ManualClock(Clock().time_s())
    async with running(sites=sites(tmp_path, clock), clock=clock) as stage:
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port, limit=1024)
        host = f"127.0.0.1:{stage.gateway.port}"
        writer.write(f"GET {presign(stage, 'large')} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await until(lambda: len(stage.gateway.wires) == 1)
        (wire,) = stage.gateway.wires
        for _ in range(3):
            await reader.readexactly(8_000_000)
            await until(lambda: wire._drained is not None)
            clock.advance(SEND_TIMEOUT_S - 1)
        assert stage.gateway.wires
        await turns(200)
        clock.advance(SEND_TIMEOUT_S)
        await until(lambda: not stage.gateway.wires)
        assert wire.transport.is_closing()
        writer.transport.abort()


async def test_without_a_directory_there_are_no_objects():
    """The path is like any other."""
    async with running() as stage:
        assert (await get(stage, presign(stage, "a")))[0] == 403
