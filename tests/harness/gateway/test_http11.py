"""Requests out of bytes, however they are cut; responses into bytes."""

from __future__ import annotations

import hashlib

import pytest

from streamproof.gateway.http11 import HttpError, RequestReader, response


def reader(kept=1000, most=100_000, *, hashes=True):
    """A reader with small bounds."""
    return RequestReader(kept, most, hashes=hashes)


def test_pipelined_requests_come_one_by_one():
    """Two requests in one piece are two requests; a blank line before one is ignored."""
    read = reader()
    read.feed(b"POST /a?x=1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi\r\nGET /b HTTP/1.0\r\n\r\n")
    first, second = read.next(), read.next()
    assert (first.method, first.path, first.query, first.body) == ("POST", "/a", "x=1", b"hi")
    assert first.body_sha256 == hashlib.sha256(b"hi").hexdigest()
    assert first.keep_alive
    assert (second.method, second.path, second.keep_alive) == ("GET", "/b", False)
    assert read.next() is None


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        ("HTTP/1.1", "", True),
        ("HTTP/1.1", "TE, Close", False),
        ("HTTP/1.0", "", False),
        ("HTTP/1.0", "TE, Keep-Alive", True),
        ("HTTP/1.0", "keep-alive, close", False),
    ],
)
def test_the_connection_stays_when_version_and_options_say_so(version, connection, stays):
    """The header is a list, and letters' case says nothing."""
    read = reader()
    read.feed(f"GET / {version}\r\nConnection: {connection}\r\n\r\n".encode())
    assert read.next().keep_alive is stays


def test_line_breaks_before_a_request_are_not_its_head():
    """Also two of them, which look like a head's end."""
    read = reader()
    read.feed(b"\r\n\r\n")
    assert read.next() is None
    read.feed(b"\r\nGET /a HTTP/1.1\r\n\r\n")
    request = read.next()
    assert (request.path, request.head) == ("/a", b"GET /a HTTP/1.1\r\n\r\n")


def test_bytes_may_come_one_at_a_time():
    """No cut is a bad cut."""
    read, found = reader(), []
    for byte in b"POST / HTTP/1.1\r\nA: 1\r\na:2\r\nContent-Length: 3\r\n\r\nabcGET":
        read.feed(bytes([byte]))
        found.append(read.next())
    (request,) = [each for each in found if each is not None]
    assert request.body == b"abc"
    assert request.header["a"] == "1,2"
    assert request.headers[:2] == [("A", "1"), ("a", "2")]
    assert read.rest() == b"GET"


def test_a_large_body_is_hashed_and_not_kept():
    """What is beyond the bound is counted and hashed piece by piece, then thrown away."""
    read, body = reader(kept=10), b"x" * 5000
    read.feed(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n")
    for start in range(0, 5000, 1000):
        assert read.next() is None
        read.feed(body[start : start + 1000])
    request = read.next()
    assert (request.body, request.body_bytes) == (b"", 5000)
    assert request.body_sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: 1\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nContent-Length: 100001\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 129 + b"\r\n", 431),
        (b"GET /" + b"x" * 40_000, 431),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused(data, status):
    """Each has the status that says why."""
    read = reader()
    read.feed(data)
    with pytest.raises(HttpError) as raised:
        read.next()
    assert raised.value.status == status


def test_a_peer_that_asks_first_is_told_to_continue_once():
    """`Expect: 100-continue` is answered before the body, and only once."""
    read = reader()
    assert not read.awaits_continue()
    read.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert read.next() is None
    assert read.awaits_continue()
    assert not read.awaits_continue()


def test_bodies_are_hashed_only_where_asked():
    """A reader that need not check signatures does not hash."""
    read = reader(hashes=False)
    read.feed(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
    assert read.next().body_sha256 == hashlib.sha256().hexdigest()


def test_responses_are_written_with_their_length():
    """A length always, but none with 204; `Connection: close` where the peer must know."""
    assert response(200, b"hi") == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    assert response(204) == b"HTTP/1.1 204 No Content\r\n\r\n"
    closing = response(299, keep_alive=False, length=7)
    assert closing == b"HTTP/1.1 299 Unknown\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
