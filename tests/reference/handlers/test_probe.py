"""The probes do what a clause asks of them, failures included."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import support
from streamer_reference.handlers import default_registry
from streamer_reference.handlers.probe import FOREIGN_TEXT
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import HandlerError, RetryableError
from support.fake_job import Bench

CRASH = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from support.fake_job import Bench
from streamer_reference.handlers import default_registry
run = default_registry(probe=True).get("probe.async").run
asyncio.run(run(Bench().job({"end": "crash"})))
"""


def _handler(name: str):
    handler = default_registry(probe=True).get(f"probe.{name}")
    assert handler is not None
    return handler


async def _run(name: str, bench: Bench, payload=None, **changes):
    assert _handler(name).validate(payload or {}) == []
    return await _handler(name).run(bench.job(payload, **changes))


def test_every_probe_needs_the_permission_and_only_one_is_queued():
    """AUTH-7 and ROUTE-3: `probe.async` is always queued, the others never."""
    names = ("whoami", "count", "sync", "async")
    assert {_handler(name).permission for name in names} == {"probe"}
    assert [_handler(name).is_queued(1e300) for name in names] == [False, False, False, True]
    assert not any(_handler(name).is_queued(0) for name in names[:3])


async def test_whoami_is_the_server_s_view_of_the_sender():
    """AUTH-5: what the payload claims changes nothing."""
    assert await _run("whoami", Bench(), {"user_id": "eve", "_metadata": {}}) == {
        "user_id": "ann",
        "tenant_id": "acme",
        "permissions": ["probe", "broadcast"],
        "connection_id": "L0SM9cOFIAMCIdw=",
    }


async def test_runs_are_counted_by_key_and_tenant_attempts_too():
    """A count is taken before the end, so an attempt that fails counts as well."""
    bench = Bench()
    await _run("sync", bench, {"count_key": "k"})
    with pytest.raises(RetryableError):
        await _run("async", bench, {"count_key": "k", "end": "retryable"})
    await _run("async", bench, {"count_key": "k"}, tenant_id="other")
    await _run("sync", bench)
    assert await _run("count", bench, {"key": "k"}) == {"count": 2}
    assert await _run("count", bench, {"key": "k"}, tenant_id="other") == {"count": 1}
    assert await _run("count", bench, {"key": "new"}) == {"count": 0}


async def test_sync_waits_and_answers_with_nothing():
    """`end` is `ok` unless told otherwise."""
    bench = Bench()
    assert await _run("sync", bench, {"ms": 40}) == {}
    assert bench.events == [("sleep", 0.04)]


@pytest.mark.parametrize("name", ["sync", "async"])
@pytest.mark.parametrize("code", [None, "NOT_FOUND", "INTERNAL_ERROR"])
async def test_fail_raises_a_typed_error_with_its_code_and_details(name, code):
    """SYNC-2: a handler's own typed error keeps its code, message and details."""
    payload = {"end": "fail"} | ({"code": code} if code else {})
    with pytest.raises(HandlerError) as caught:
        await _run(name, Bench(), payload)
    assert caught.value.code == (code or "PROCESSING_FAILED")
    assert caught.value.details == {"end": "fail"}
    assert not caught.value.retryable


async def test_raise_is_a_foreign_exception_that_says_too_much():
    """SYNC-2: a path, a table's name and a word are there to be kept from the client."""
    with pytest.raises(LookupError) as caught:
        await _run("sync", Bench(), {"end": "raise"})
    assert str(caught.value) == FOREIGN_TEXT
    assert not isinstance(caught.value, HandlerError)


@pytest.mark.parametrize("name", ["sync", "async"])
async def test_hang_never_returns_but_can_be_cancelled(name):
    """SYNC-3 and ASYNC-5: it is the server's time limit that ends it."""
    task = asyncio.create_task(_run(name, Bench(), {"end": "hang"}))
    done, _ = await asyncio.wait({task}, timeout=0)
    assert not done
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_steps_wait_then_set_metadata_then_report():
    """PROG-5: what an update carries was set before it."""
    bench = Bench()
    steps = [
        {"percentage": 10, "ms": 5, "message": "a", "metadata": {"k": 1, "l": None}},
        {"ms": 1},
        {"percentage": 250.5},
    ]
    assert await _run("async", bench, {"steps": steps, "result": [0]}) == [0]
    assert bench.events == [
        ("sleep", 0.005),
        ("metadata", "k", 1),
        ("metadata", "l", None),
        ("progress", 10, "a"),
        ("sleep", 0.001),
        ("sleep", 0),
        ("progress", 250.5, None),
    ]


async def test_only_the_first_attempts_end_badly_when_told_so():
    """`end_attempts` n: the first n attempts end as asked, the next one ends well."""
    payload = {"end": "retryable", "end_attempts": 2, "result": "done"}
    for attempt in (1, 2):
        with pytest.raises(RetryableError):
            await _run("async", Bench(), payload, attempt=attempt)
    assert await _run("async", Bench(), payload, attempt=3) == "done"


async def test_a_retryable_end_keeps_its_code():
    """ASYNC-5: the outcome after the last attempt has the handler's own code."""
    with pytest.raises(HandlerError) as caught:
        await _run("async", Bench(), {"end": "retryable", "code": "NOT_FOUND"}, attempt=9)
    assert (caught.value.code, caught.value.retryable) == ("NOT_FOUND", True)


@pytest.mark.parametrize("result_bytes", [11, 12, 1000, 131_073])
async def test_a_result_has_the_bytes_that_were_asked_for(result_bytes):
    """LIMIT-1: the clause decides whether it fits a message."""
    result = await _run("async", Bench(), {"result_bytes": result_bytes, "result": None})
    assert len(encode(result).encode()) == result_bytes


async def test_the_result_is_null_unless_given():
    """`complete.result` is the given result."""
    assert await _run("async", Bench()) is None


async def test_crash_sends_sigkill_to_its_own_process(monkeypatch):
    """RECOV-1: nothing of the process is left to tidy up."""
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    await _run("async", Bench(), {"end": "crash"})
    assert sent == [(os.getpid(), signal.SIGKILL)]


def test_crash_really_ends_the_process():
    """RECOV-1: the process dies of the signal, not of an exception."""
    command = [sys.executable, "-c", CRASH, str(Path(support.__path__[0]).parent)]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize(
    ("name", "payload", "fields"),
    [
        ("count", {}, ["payload.key"]),
        ("count", {"key": ""}, ["payload.key"]),
        ("count", {"key": "k" * 257}, ["payload.key"]),
        ("sync", {"ms": "1", "end": "crash"}, ["payload.ms", "payload.end"]),
        ("sync", {"code": "MADE_UP", "count_key": 1}, ["payload.code", "payload.count_key"]),
        ("async", {"end": "raise"}, ["payload.end"]),
        ("async", {"end": []}, ["payload.end"]),
        ("async", {"steps": {}}, ["payload.steps"]),
        ("async", {"steps": [{}] * 10_001}, ["payload.steps"]),
        ("async", {"steps": [1, {}, {"ms": -1}]}, ["payload.steps[0]", "payload.steps[2].ms"]),
        (
            "async",
            {"steps": [{"percentage": "1", "message": None, "metadata": []}]},
            [f"payload.steps[0].{name}" for name in ("percentage", "message", "metadata")],
        ),
        ("async", {"end_attempts": -1}, ["payload.end_attempts"]),
        ("async", {"time_limit_ms": 0}, ["payload.time_limit_ms"]),
        ("async", {"result_bytes": 10}, ["payload.result_bytes"]),
        ("async", {"other": None}, []),
    ],
)
def test_each_bad_field_is_named(name, payload, fields):
    """MSG-2: one error for each bad field; members that nobody knows are ignored."""
    assert [error.field for error in _handler(name).validate(payload)] == fields


def test_the_payload_sets_the_time_limit():
    """30 s unless the clause needs another."""
    assert _handler("async").time_limit_of({}) == 30
    assert _handler("async").time_limit_of({"time_limit_ms": 250}) == 0.25
