"""The local object store: whole, private, and fetched by a signature."""

from __future__ import annotations

import stat
from urllib.parse import parse_qs, urlsplit

import pytest

from streamer_reference.objects import LocalObjectStore, ObjectStore
from streamer_reference.sigv4 import Credentials, presign_url

CREDENTIALS = Credentials("AKID", "secret")


class _Clock:
    def now_ms(self):
        return 1_742_085_982_306


def _store(folder) -> ObjectStore:
    return LocalObjectStore(
        folder / "objects", "http://127.0.0.1:80/objects/", CREDENTIALS, "us-east-1", _Clock()
    )


async def test_bytes_and_files_are_stored_whole(tmp_path):
    """The object is the bytes, or the file's content; a second put replaces it."""
    store = _store(tmp_path)
    await store.put("reports/r-1.csv", b"a,b", "text/csv")
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    await store.put("reports/r-2.csv", source, "text/csv")
    await store.put("reports/r-1.csv", b"new", "text/csv")
    folder = tmp_path / "objects" / "reports"
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {"r-1.csv": b"new", "r-2.csv": b"from a file"}


async def test_objects_are_private(tmp_path):
    """Nobody but the user reads a file or lists a folder."""
    await _store(tmp_path).put("a/b", b"x", "text/plain")
    modes = [stat.S_IMODE((tmp_path / "objects" / name).stat().st_mode) for name in ("a", "a/b")]
    assert modes == [0o700, 0o600]


async def test_a_failed_put_leaves_the_old_object(tmp_path):
    """Half an object is never seen, and no temporary file stays."""
    store = _store(tmp_path)
    await store.put("k", b"old", "text/plain")
    with pytest.raises(FileNotFoundError):
        await store.put("k", tmp_path / "missing", "text/plain")
    assert [path.name for path in (tmp_path / "objects").iterdir()] == ["k"]
    assert (tmp_path / "objects" / "k").read_bytes() == b"old"


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", "a" * 513]
)
async def test_bad_keys_are_refused(tmp_path, key):
    """No key leads out of the folder, and each is its own quoted form."""
    store = _store(tmp_path)
    with pytest.raises(ValueError, match="not a key"):
        await store.put(key, b"x", "text/plain")
    with pytest.raises(ValueError, match="not a key"):
        store.presign(key, 60)


def test_a_url_is_signed_as_s3s_are(tmp_path):
    """The path is the key's, the life and the moment are in the query."""
    url = _store(tmp_path).presign("reports/r-1.csv", 900)
    assert url == presign_url(
        "GET",
        "http://127.0.0.1:80/objects/reports/r-1.csv",
        credentials=CREDENTIALS,
        region="us-east-1",
        now_ms=_Clock().now_ms(),
        expires_s=900,
    )
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-Date"] == ["20250316T004622Z"]
