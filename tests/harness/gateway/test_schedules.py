"""Schedules fire at their rate, as EventBridge's rules do."""

from __future__ import annotations

from streamproof.gateway import Function, ManualClock, Schedule
from streamproof.gateway import functions as functions_module
from support.gateway_host import Notes, running, turns


async def test_a_schedule_fires_after_each_period():
    """First after one period, then again and again, with EventBridge's event."""
    clock, notes = ManualClock(1_764_085_660.0), Notes()
    async with running(
        Function("sweep", run=notes), clock=clock, schedules=(Schedule("sweep", 60),)
    ):
        clock.advance(59)
        await turns()
        assert notes.events.empty()
        clock.advance(1)
        event = await notes.next()
        assert event["detail-type"] == "Scheduled Event"
        assert event["source"] == "aws.events"
        assert event["time"] == "2025-11-25T15:48:40Z"
        assert event["resources"] == ["arn:aws:events:us-east-1:000000000000:rule/sweep"]
        clock.advance(120)
        await notes.next()
        await notes.next()
    clock.advance(60)
    assert clock.timers() == 0


async def test_a_full_queue_costs_one_firing(monkeypatch, caplog):
    """What cannot be queued is logged, and the schedule goes on."""
    monkeypatch.setattr(functions_module, "ASYNC_QUEUE_MAX", 0)
    clock, notes = ManualClock(), Notes()
    async with running(
        Function("sweep", run=notes), clock=clock, schedules=(Schedule("sweep", 60),)
    ):
        clock.advance(60)
        assert "schedule of sweep" in caplog.text
        monkeypatch.setattr(functions_module, "ASYNC_QUEUE_MAX", 10)
        clock.advance(60)
        await notes.next()
