"""The local object store: whole, private, and fetched by a signature."""

from __future__ import annotations

import itertools
import shutil
import stat
from urllib.parse import parse_qs, urlsplit

import pytest

from streamer_reference.objects import LOOKED_AT_MAX, LocalObjectStore
from streamer_reference.sigv4 import Credentials, presign_url

CREDENTIALS = Credentials("AKID", "secret")


class _Clock:
    at_ms = 1_742_085_982_306

    def now_ms(self):
        return self.at_ms


def _store(folder) -> LocalObjectStore:
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


async def test_objects_are_kept_for_seven_days_and_an_hour(tmp_path):
    """By the clock that stored them; each call looks at a bounded number, the next one goes on."""
    store, count = _store(tmp_path), LOOKED_AT_MAX + 50
    clock = store.clock = _Clock()
    store.forget()  # there is no folder yet
    for number in range(count):
        await store.put(f"results/{number}", b"x", "text/plain")
    clock.at_ms += 7 * 86_400_000 + 3_599_000
    await store.put("results/young", b"x", "text/plain")
    for _ in range(4):
        store.forget()
    folder = tmp_path / "objects" / "results"
    assert len(list(folder.iterdir())) == count + 1
    clock.at_ms += 2_000
    left = []
    for _ in range(6):
        store.forget()
        left.append(len(list(folder.iterdir())))
    assert all(before - after <= LOOKED_AT_MAX for before, after in itertools.pairwise(left))
    assert [path.name for path in folder.iterdir()] == ["young"]


async def test_a_folder_that_somebody_removes_meanwhile_disturbs_nothing(tmp_path):
    """What is gone needs no removing."""
    store = _store(tmp_path)
    for number in range(LOOKED_AT_MAX + 1):
        await store.put(f"results/{number}", b"x", "text/plain")
    store.forget()
    store.forget()
    shutil.rmtree(tmp_path / "objects")
    for _ in range(3):
        store.forget()
    await store.put("results/0", b"x", "text/plain")
    assert (tmp_path / "objects" / "results" / "0").exists()
