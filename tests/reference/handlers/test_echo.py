"""What goes in comes out."""

from __future__ import annotations

import json

import pytest

from streamer_reference.handlers import default_registry
from streamer_reference.handlers.job import Job
from streamer_reference.protocol.codec import decode, encode
from support.fake_job import Bench

EXACT = [
    '{"n":' + "9" * 300 + "}",
    '{"n":-0.0,"m":1e-07,"k":1.0,"b":true,"z":null}',
    '{"success":false,"error":{"code":"X"},"metadata":1,"_metadata":2}',
    '{"text":"e\\u0301 \\u00e9 \\ud83d\\ude00 \\u0000"}',
    '{"deep":' + "[" * 63 + "]" * 63 + "}",
]


async def _run(action: str, job: Job):
    registry = default_registry()
    handler = registry.get(action)
    assert handler is not None
    assert handler.validate(job.payload) == []
    return await registry.call(handler, job, 60)


@pytest.mark.parametrize("text", EXACT)
async def test_a_payload_comes_back_exactly(text):
    """MSG-5: the decimal value, the sign of zero, the code points and the depth survive."""
    payload = decode(text)
    short = await _run("echo", Bench().job(payload))
    long = await _run("echo_async", Bench().job({"payload": payload, "steps": 0}))
    assert encode(short) == encode({"echo": json.loads(text)})
    assert encode(long) == encode(json.loads(text))


async def test_ping_answers_pong_and_is_short():
    """Clients keep an idle connection open with it."""
    assert await _run("ping", Bench().job()) == {"pong": True}
    assert not default_registry().get("ping").is_queued()


def test_a_short_request_has_no_progress():
    """SYNC-1: it has one answer, so updates of a handler that serves both kinds are dropped."""
    bench = Bench()
    job = bench.job(updates=None)
    job.progress(50, "half")
    job.set_metadata("k", 1)
    assert bench.events == []
