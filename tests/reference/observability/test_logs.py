"""Log lines: one JSON object each, and each of a request's lines names it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys

import pytest

from streamer_reference.observability import logs
from support.observed import EVENT_ID, observed


@pytest.fixture(autouse=True)
def _unbound():
    """No test knows of the one before."""
    logs.FORMATTER.thread_safe_clear_keys()
    yield
    logs.FORMATTER.thread_safe_clear_keys()


@pytest.fixture
def _every_line():
    """Also what is silent by default."""
    logger = logging.getLogger(logs.SERVICE)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)


def _lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_object(capsys):
    """OBS-1: level, message, timestamp, service and function, and what the caller names."""
    logs.bind(function="router")
    logs.log("warning", "two\nlines", request_id="r\ud800", tenant_id=None)
    (line,) = _lines(capsys)
    assert line.pop("timestamp").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "message": "two\nlines",
        "service": "streamer",
        "function": "router",
        "request_id": "r\ud800",
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [("error", ["ERROR"]), ("debug", ["DEBUG", "INFO", "WARNING", "ERROR"])]
    + [(name, ["INFO", "WARNING", "ERROR"]) for name in ("info", "loud", "")],
)
def test_the_lowest_level_comes_from_the_environment(name, shown):
    """`info` by default, and for a name nobody knows."""
    program = (
        "from streamer_reference.observability.logs import LEVELS, log\n"
        "for level in LEVELS: log(level, 'heard')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"STREAMER_LOG_LEVEL": name},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == shown
    assert done.stdout == ""


class _Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError(len(text))


def test_a_line_that_cannot_be_written_fails_nobody(monkeypatch):
    """The request that it is about goes on, with a closed standard error or with none."""
    closed = io.StringIO()
    closed.close()
    for output in (_Broken(), closed, None):
        monkeypatch.setattr("sys.stderr", output)
        logs.log("error", "unheard")
    heard = io.StringIO()
    monkeypatch.setattr("sys.stderr", heard)
    logs.log("error", "heard")
    assert json.loads(heard.getvalue())["message"] == "heard"


async def test_tasks_side_by_side_keep_their_names(capsys):
    """A worker's 250 requests never borrow each other's names."""

    async def request(name):
        logs.bind(request_id=name)
        await asyncio.sleep(0)
        await asyncio.to_thread(logs.log, "warning", "from a thread", says=name)

    await asyncio.gather(*(request(f"r{number}") for number in range(20)))
    lines = _lines(capsys)
    assert len(lines) == 20
    assert all(line["request_id"] == line["says"] for line in lines)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"correlation_id": "order-7_A"}, "order-7_A"),
        ({"correlation_id": "1-5759e988-bd862e3fe1be46a994272793"}, None),
        ({"correlation_id": "has.dots.as-tokens-have"}, EVENT_ID),
        ({"correlation_id": "x" * 65}, EVENT_ID),
        ({}, EVENT_ID),
    ],
)
@pytest.mark.usefixtures("_every_line")
async def test_the_correlation_id_follows_a_request(tmp_path, capsys, metadata, expected):
    """OBS-1: the client's own when it is one, through router, processor, worker and sends."""
    expected = expected or metadata["correlation_id"]
    async with observed(tmp_path) as world:
        await world.connect("c1")
        payload = {"end": "raise"}
        await world.say("c1", "probe.sync", payload, id="short", metadata=metadata)
        await world.say("c1", "probe.async", {"end": "fail"}, id="long", metadata=metadata)
        (event,) = await world.hand_over()
        await world.work(event)
        lines = _lines(capsys)
    assert world.posts[-1][1]["type"] == "error"
    of_requests = [line for line in lines if "request_id" in line]
    assert {(line["request_id"], line["function"]) for line in of_requests} == {
        ("short", "router"),
        ("long", "router"),
        ("long", "processor"),
        ("long", "worker"),
    }
    for line in of_requests:
        assert line["correlation_id"] == expected
        assert (line["connection_id"], line["tenant_id"]) == ("c1", "t")


def test_what_is_logged_below_the_service_is_a_line_like_any_other(capsys):
    """The connection manager knows no more than the standard library's logging."""
    logs.bind(request_id="r1")
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("streamer.connection").exception("it failed")
    (line,) = _lines(capsys)
    assert (line["level"], line["message"], line["request_id"]) == ("ERROR", "it failed", "r1")
    assert line["exception_name"] == "OSError"
