"""The example of docs/handlers.md loads as a service loads it, and does what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer_reference.handlers import Registry, default_registry
from streamer_reference.protocol.errors import HandlerError
from support.fake_job import Bench

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_handler.py"


@pytest.fixture
def registry() -> Registry:
    """The built-in handlers with those of the example."""
    registry = default_registry()
    assert registry.load_file(EXAMPLE) is None
    return registry


async def _run(registry: Registry, action: str, bench: Bench, payload):
    handler = registry.get(action)
    assert handler is not None
    assert handler.validate(payload) == []
    return await registry.call(handler, bench.job(payload), 60)


async def test_the_short_handler_answers_through_the_middleware(registry):
    """It is not queued, and the version was added around it."""
    assert not registry.get("shop.reserve").is_queued()
    result = await _run(registry, "shop.reserve", Bench(), {"article": "lamp", "count": 2})
    assert result == {"version": 1, "article": "lamp", "reserved": 2, "for": "ann"}


async def test_the_middleware_leaves_other_results_alone(registry):
    """It runs around the built-in handlers too."""
    assert await _run(registry, "ping", Bench(), {}) == {"pong": True}


async def test_its_own_error_has_its_own_code(registry):
    """The code is in the registry, so a client can look it up."""
    with pytest.raises(HandlerError) as caught:
        await _run(registry, "shop.reserve", Bench(), {"article": "desk", "count": 1})
    assert caught.value.code == "OUT_OF_STOCK"
    assert caught.value.message == registry.error_codes["OUT_OF_STOCK"].meaning
    assert caught.value.details == {"article": "desk", "left": 0}


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({}, ["payload.article", "payload.count"]),
        ({"article": "lamp", "count": True}, ["payload.count"]),
        ({"article": "lamp", "count": 101}, ["payload.count"]),
    ],
)
def test_its_validation_names_each_bad_field(registry, payload, fields):
    """Nothing runs and nothing is queued for a bad payload."""
    assert [error.field for error in registry.get("shop.reserve").validate(payload)] == fields


async def test_the_long_handler_is_queued_and_reports(registry):
    """It is synchronous, needs a permission, and sets metadata before each update."""
    handler, bench = registry.get("shop.count"), Bench()
    assert (handler.is_queued(), handler.permission) == (True, "stock")
    result = await _run(registry, "shop.count", bench, {"pages": ["one two", "three"]})
    assert result == {"words": 3, "attempt": 1}
    assert bench.events == [
        ("metadata", "words", 2),
        ("progress", 50, "page 1 of 2"),
        ("metadata", "words", 3),
        ("progress", 100, "page 2 of 2"),
    ]
