"""Refusals while the store or the gateway fails: what the simulation found, one test each."""

from __future__ import annotations

import pytest

from streamer_reference import router
from streamer_reference.connection.errors import NoAnswerError
from support.reference_world import World
from support.virtual_time import virtual_time


@pytest.fixture
def world(tmp_path):
    """One deployment; each test runs on virtual time."""
    return World(tmp_path)


@virtual_time
async def test_an_unreadable_message_is_told_so_though_the_store_fails(world):
    """MSG-2: shape first, and never another error; seed 1038."""
    await world.connect("c")
    world.services.store.failing["get_connection"] = 1
    (answer,) = await world.say_text("c", "[]")
    assert answer["error"]["code"] == "VALIDATION_ERROR"
    assert "request_id" not in answer


@virtual_time
async def test_a_refusal_without_a_number_is_not_repeated(world):
    """SEND-1: the client could not drop the repeat; seed 2306."""
    await world.connect("c")
    world.clients.fail("c", NoAnswerError)
    await world.say_text("c", "[]")
    assert world.clients.posts == 1


@virtual_time
async def test_a_request_that_may_be_stored_is_not_refused(world, monkeypatch):
    """MSG-4: number 0 may be its acknowledgment; while the store does not say, nobody does."""
    monkeypatch.setattr(router, "LOOKS_AGAIN_S", (0.0, 0.1))
    await world.connect("c")
    store = world.services.store
    store.failing.update(accept=1, get=2)
    store.after.add("accept")
    assert await world.say("c", "delay", {"duration_ms": 1}, id="r") == []
    assert (await world.stored("r")).request.status == "ACCEPTED"
