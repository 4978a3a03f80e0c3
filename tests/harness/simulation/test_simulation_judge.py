"""The judge of a simulated world: what it needs to hear, and what it takes for no reason."""

from __future__ import annotations

import pytest

from streamproof.simulation import judge
from streamproof.simulation.world import World
from streamproof.targets import simulated

SEED = 2  # its requests end, without faults in the judgment


@pytest.fixture
def world():
    """A world of the reference that is not played yet."""
    with simulated.simulated() as system:
        yield World(SEED, system)


def rules(played):
    """What was broken."""
    return {violation.rule for violation in played.violations}


def test_a_world_that_nobody_can_connect_to_after_the_faults_is_broken(world, monkeypatch):
    """The handshake is refused from then on: no status can be asked."""
    stop = world.faults.stop

    async def refused(*_):
        return 500

    def healed():
        stop()
        world.gateway.connect = refused

    monkeypatch.setattr(world.faults, "stop", healed)
    played = world.play()
    assert {"CONN-1", "SYNC-1"} <= rules(played)
    assert played.classes["status asked"] == 0


def test_a_judgment_without_answers_to_status_is_broken(world, monkeypatch):
    """Each long request has to be asked for."""

    async def asked_nothing(_):
        pass

    monkeypatch.setattr(judge, "ask_for_all", asked_nothing)
    played = world.play()
    assert rules(played) == {"SYNC-1"}
    assert len(played.violations) == len(
        {(s.user, s.request_id) for s in world.clients.sent if s.tag}
    )


def test_the_same_world_holds_when_it_is_asked(world):
    """As many answers as there are long requests."""
    played = world.play()
    assert played.holds
    asked = {(sent.user, sent.request_id) for sent in world.clients.sent if sent.tag}
    assert played.classes["status asked"] == len(asked) > 0
