"""The example of docs/handlers.md loads as a service loads it, and does what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer_reference.handlers import Registry, default_registry
from streamer_reference.protocol.errors import HandlerError, StreamerError
from support.fake_job import Bench

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_handler.py"


@pytest.fixture
def registry() -> Registry:
    """The built-in handlers with those of the example."""
    registry = default_registry()
    assert registry.load_file(EXAMPLE) is None
    return registry


async def _run(registry: Registry, action: str, bench: Bench, payload):
    handler = registry.admit(action, payload, ("stock",))
    return await registry.call(handler, bench.job(payload), 60)


async def test_the_short_handler_answers(registry):
    """It is not queued, and knows the sender from the job."""
    assert not registry.get("shop.reserve").is_queued()
    result = await _run(registry, "shop.reserve", Bench(), {"article": "lamp", "count": 2})
    assert result == {"article": "lamp", "reserved": 2, "for": "ann"}


async def test_its_own_error_has_its_own_code(registry):
    """The code is in the registry, so a client can look it up."""
    with pytest.raises(HandlerError) as caught:
        await _run(registry, "shop.reserve", Bench(), {"article": "desk", "count": 1})
    assert caught.value.code == "OUT_OF_STOCK"
    assert caught.value.message == registry.error_codes["OUT_OF_STOCK"].meaning
    assert caught.value.details == {"article": "desk", "left": 0}


@pytest.mark.parametrize(
    ("action", "payload", "fields"),
    [
        ("shop.reserve", {}, ["payload.article", "payload.count"]),
        ("shop.reserve", {"article": "lamp", "count": True}, ["payload.count"]),
        ("shop.reserve", {"article": "lamp", "count": 101}, ["payload.count"]),
        ("shop.count", {"pages": ["one", 2]}, ["payload.pages[1]"]),
    ],
)
def test_its_validation_names_each_bad_field(registry, action, payload, fields):
    """Nothing runs and nothing is queued for a bad payload."""
    assert [error.field for error in registry.get(action).validate(payload)] == fields


async def test_the_long_handler_is_queued_and_reports(registry):
    """It is synchronous, and sets metadata before each update."""
    assert registry.get("shop.count").is_queued()
    bench = Bench()
    result = await _run(registry, "shop.count", bench, {"pages": ["one two", "three"]})
    assert result == {"words": 3, "attempt": 1}
    assert bench.events == [
        ("metadata", "words", 2),
        ("progress", 50, "page 1 of 2"),
        ("metadata", "words", 3),
        ("progress", 100, "page 2 of 2"),
    ]


def test_the_long_handler_needs_a_permission(registry):
    """AUTH-7: it is refused before anything runs."""
    with pytest.raises(StreamerError, match="FORBIDDEN"):
        registry.admit("shop.count", {"pages": ["one"]}, ())


async def test_the_audit_tells_how_every_request_ended(registry, capsys):
    """The middleware runs around the built-in handlers too, and changes no result."""
    assert await _run(registry, "ping", Bench(), {}) == {"pong": True}
    with pytest.raises(HandlerError):
        await _run(registry, "shop.reserve", Bench(), {"article": "desk", "count": 1})
    logged = capsys.readouterr().err
    assert "audit: ping succeeded" in logged
    assert "audit: shop.reserve failed" in logged
    assert logged.count("ann") == 2
