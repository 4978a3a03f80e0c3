"""Handlers that wait say how far they are and end with what they were given."""

from __future__ import annotations

import pytest

from streamer_reference.handlers import default_registry
from support.fake_job import Bench


def _handler(action: str):
    handler = default_registry().get(action)
    assert handler is not None
    assert handler.is_queued()
    return handler


async def test_echo_async_waits_reports_and_ends_with_the_payload():
    """Each step is a wait and an update, the last of them 100 %."""
    bench, payload = Bench(), {"payload": [1, None], "steps": 2, "step_ms": 30}
    assert await _handler("echo_async").run(bench.job(payload)) == [1, None]
    assert bench.events == [
        ("sleep", 0.03),
        ("progress", 50, "step 1 of 2"),
        ("sleep", 0.03),
        ("progress", 100, "step 2 of 2"),
    ]


async def test_echo_async_needs_nothing():
    """Every member has a default."""
    bench = Bench()
    assert await _handler("echo_async").run(bench.job()) == {}
    assert bench.percentages() == [25, 50, 75, 100]


@pytest.mark.parametrize(("duration_ms", "updates"), [(0, 0), (0.5, 1), (1000, 4), (600_000, 100)])
async def test_delay_waits_as_long_as_asked(duration_ms, updates):
    """The waits add up to the duration, however it is cut into steps."""
    bench = Bench()
    assert await _handler("delay").run(bench.job({"duration_ms": duration_ms})) == {
        "duration_ms": duration_ms
    }
    waited_s = sum(event[1] for event in bench.events if event[0] == "sleep")
    assert waited_s == pytest.approx(duration_ms / 1000)
    assert len(bench.percentages()) == updates


@pytest.mark.parametrize(
    ("action", "payload", "fields"),
    [
        ("delay", {}, ["payload.duration_ms"]),
        ("delay", {"duration_ms": -1}, ["payload.duration_ms"]),
        ("delay", {"duration_ms": True}, ["payload.duration_ms"]),
        ("delay", {"duration_ms": "5"}, ["payload.duration_ms"]),
        ("delay", {"duration_ms": None}, ["payload.duration_ms"]),
        ("delay", {"duration_ms": 840_001}, ["payload.duration_ms"]),
        ("delay", {"duration_ms": 840_000}, []),
        ("echo_async", {}, []),
        ("echo_async", {"steps": 1.5, "step_ms": None}, ["payload.steps", "payload.step_ms"]),
        ("echo_async", {"steps": 1001}, ["payload.steps"]),
        ("echo_async", {"steps": False}, ["payload.steps"]),
        ("echo_async", {"steps": 1000, "step_ms": 840_000}, []),
    ],
)
def test_each_bad_field_is_named(action, payload, fields):
    """MSG-2: one error for each bad field, and none for a good payload."""
    assert [error.field for error in _handler(action).validate(payload)] == fields


def test_the_time_limit_leaves_room_for_the_waiting():
    """A handler that was asked to wait is not ended for waiting."""
    for action in ("delay", "echo_async"):
        assert _handler(action).time_limit_of({}) == 870
