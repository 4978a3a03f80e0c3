"""`bulk` answers each item as if it had been sent alone, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.handlers import default_registry
from streamer_reference.handlers.bulk import SIDE_BY_SIDE
from streamer_reference.handlers.registry import Registry
from streamer_reference.protocol.errors import ErrorCode, FieldError, HandlerError
from support.fake_job import Bench
from support.virtual_time import pass_time, virtual_time

OUT_OF_STOCK = ErrorCode("OUT_OF_STOCK", "Nothing is left.", retryable=False, definite=True)


def _registry() -> Registry:
    registry = default_registry(probe=True)

    @registry.handler("shop.reserve", error_codes=(OUT_OF_STOCK,))
    async def reserve(job):
        raise HandlerError("OUT_OF_STOCK", details={"left": 0})

    @registry.handler("shop.secret", permission="stock")
    async def secret(job):
        return "told"

    @registry.handler("shop.order", validate=lambda payload: [FieldError("payload.count", "!")])
    async def order(job):
        return "never"

    @registry.handler("shop.odd")
    async def odd(job):
        return job

    @registry.handler("shop.large")
    async def large(job):
        return "x" * 131_072

    @registry.handler("shop.who")
    def who(job):
        job.progress(50)
        return [job.request_id, job.user_id, job.attempt, job.payload]

    return registry


async def _bulk(*items: dict[str, Any], bench: Bench | None = None, **changes: Any) -> Any:
    registry, payload = _registry(), {"items": list(items)}
    handler = registry.get("bulk")
    assert handler is not None
    assert handler.is_queued()
    assert handler.validate(payload) == []
    return await registry.call(handler, (bench or Bench()).job(payload, **changes), 300)


async def test_some_items_fail_and_the_others_have_their_results():
    """Results are in the order of the items, and the counts add up."""
    result = await _bulk(
        {"action": "echo", "payload": {"n": 1}}, {"action": "shop.reserve"}, {"action": "ping"}
    )
    assert (result["total"], result["succeeded"], result["failed"]) == (3, 2, 1)
    error = {
        "code": "OUT_OF_STOCK",
        "message": "Nothing is left.",
        "details": {"left": 0},
        "retry": {"retryable": False},
    }
    assert result["results"] == [
        {"index": 0, "success": True, "data": {"echo": {"n": 1}}},
        {"index": 1, "success": False, "error": error},
        {"index": 2, "success": True, "data": {"pong": True}},
    ]


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("nothing", "INVALID_ACTION"),
        ("status", "INVALID_ACTION"),
        ("shop.secret", "FORBIDDEN"),
        ("shop.order", "VALIDATION_ERROR"),
        ("bulk", "VALIDATION_ERROR"),
        ("echo_async", "VALIDATION_ERROR"),
        ("shop.odd", "INTERNAL_ERROR"),
        ("shop.large", "RESULT_TOO_LARGE"),
    ],
)
async def test_an_item_is_refused_as_it_would_be_alone(action, code, capsys):
    """AUTH-7 and MSG-2: a bulk is no way around a check; long actions and bulk itself are none."""
    payload = {"items": [{"action": "ping"}]}  # good for `bulk`, and ignored by the others
    result = await _bulk({"action": action, "payload": payload}, {"action": "ping"})
    refused, ping = result["results"]
    assert refused["error"]["code"] == code
    assert ping["success"]
    capsys.readouterr()


async def test_a_foreign_exception_keeps_its_text_to_itself(capsys):
    """ERR-1: what a careless exception shows is for the log alone, and there only its type."""
    result = await _bulk({"action": "probe.sync", "payload": {"end": "raise"}})
    assert result["results"][0]["error"]["code"] == "INTERNAL_ERROR"
    assert "canary" not in str(result)
    logged = capsys.readouterr()
    assert "LookupError" in logged.out + logged.err
    assert "canary" not in logged.out + logged.err


@virtual_time
async def test_items_run_side_by_side_within_a_bound():
    """Twenty-one waits of a second take three, and one that hangs has a short request's time."""
    second = {"action": "probe.sync", "payload": {"ms": 1000}}
    result = await _bulk(*[second] * (2 * SIDE_BY_SIDE + 1), sleep=asyncio.sleep)
    assert result["succeeded"] == 2 * SIDE_BY_SIDE + 1
    assert asyncio.get_running_loop().time() == pytest.approx(3)
    hang = {"action": "probe.sync", "payload": {"end": "hang"}}
    result = await _bulk(hang, {"action": "ping"})
    assert result["results"][0]["error"]["code"] == "TIMEOUT"
    assert asyncio.get_running_loop().time() == pytest.approx(28)


async def test_progress_counts_the_items_that_have_ended():
    """The items' own progress is not sent: a short request has none."""
    bench = Bench()
    await _bulk(*[{"action": "shop.who"}] * 4, bench=bench)
    assert bench.events == [("progress", 25 * done, f"{done} of 4 items") for done in (1, 2, 3, 4)]


async def test_an_item_has_an_id_of_its_own_that_no_client_can_have():
    """A key made of the request's id makes effects repeatable item by item, also in a retry."""
    result = await _bulk({"action": "ping"}, {"action": "shop.who", "payload": {"a": 1}}, attempt=2)
    assert result["results"][1]["data"] == ["r-1 1", "ann", 2, {"a": 1}]


async def test_middleware_runs_around_each_item():
    """ROUTE-4: an audit sees what a bulk does."""
    registry, seen = _registry(), []

    @registry.middleware
    async def audit(job, call_next):
        seen.append(job.request_id)
        return await call_next(job)

    payload = {"items": [{"action": "ping"}] * 2}
    await registry.call(registry.get("bulk"), Bench().job(payload), 300)
    assert seen == ["r-1", "r-1 0", "r-1 1"]


@virtual_time
async def test_a_cancelled_bulk_cancels_its_items():
    """CANCEL-1: what nobody waits for does not run on, and what waits does not begin."""
    registry, events = _registry(), []

    @registry.handler("shop.wait")
    async def wait(job):
        events.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("ended")

    payload = {"items": [{"action": "shop.wait"}] * (SIDE_BY_SIDE + 5)}
    call = registry.call(registry.get("bulk"), Bench().job(payload), 300)
    task = asyncio.create_task(call)
    await pass_time(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == ["began"] * SIDE_BY_SIDE + ["ended"] * SIDE_BY_SIDE


@given(st.lists(st.sampled_from(["ping", "shop.reserve", "nothing", "shop.who"]), min_size=1))
def test_partial_failures_add_up(actions):
    """Every item has one result at its place, and it succeeds as it would alone."""
    result = asyncio.run(_bulk(*({"action": action} for action in actions)))
    good = [action in ("ping", "shop.who") for action in actions]
    assert [each["success"] for each in result["results"]] == good
    assert [each["index"] for each in result["results"]] == list(range(len(actions)))
    assert (result["succeeded"], result["failed"]) == (good.count(True), good.count(False))
    assert result["total"] == len(actions)
    assert all(("data" in each) != ("error" in each) for each in result["results"])


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({}, ["items"]),
        ({"items": []}, ["items"]),
        ({"items": [{"action": "ping"}] * 101}, ["items"]),
        ({"items": ["ping", {}]}, ["items[0]", "items[1].action"]),
        ({"items": [{"action": "ping", "payload": None}]}, ["items[0].payload"]),
        ({"items": [{"action": "nothing"}] * 100}, []),
    ],
)
def test_each_bad_field_is_named(payload, fields):
    """MSG-2: what is no list of items is refused as a whole; an unknown action is its item's."""
    errors = _registry().get("bulk").validate(payload)
    assert [error.field for error in errors] == [f"payload.{field}" for field in fields]
