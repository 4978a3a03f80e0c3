"""The judge of a simulated world: what it needs to hear, and what it takes for no reason."""

from __future__ import annotations

import pytest

from streamproof.simulation import judge
from streamproof.simulation.faults import Fault
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


def test_a_record_that_could_not_be_read_leaves_a_dead_letter(world, monkeypatch):
    """Its fault names the key; nothing was kept for an operator."""
    monkeypatch.setattr(
        world.faults, "stop", lambda: world.faults.record("record unreadable", "somebody's key")
    )
    played = world.play()
    assert "RECOV-4" in rules(played)
    assert any("1 records could not be read, 0 dead" in v.what for v in played.violations)


def test_the_excuse_for_a_death_is_the_requests_own(world):
    """The process of another request that died excuses nothing, its own does."""
    world.play()
    stored = next(s for s in world.store.requests.values() if s.request.attempt == 1)
    request = stored.request
    (place,) = [
        place
        for run, place in world.places.items()
        if run.queued
        and run.request_id == request.request_id
        and run.attempt == 1
        and (run.tenant, run.user) == (request.tenant_id, request.user_id)
    ]
    world.faults.happened[:] = [Fault(1.0, "crash", "worker-of-another")]
    assert judge._excuses(world, request) == 0
    world.faults.happened.append(Fault(1.0, "pause", f"{place} for 2.0 s"))
    assert judge._excuses(world, request) == 1
    world.faults.happened.append(Fault(1.0, "store throttled", "renew"))
    assert judge._excuses(world, request) == 2


def test_an_unreadable_record_excuses_its_own_request_alone(world):
    """By its key."""
    world.faults.happened[:] = [Fault(1.0, "record unreadable", "a"), Fault(1.0, "crash", "b")]
    assert dict(judge._unreadable(world)) == {"a": 1}


@pytest.mark.parametrize("mutant", ["deaths-without-end", "poison-record-swallowed"])
def test_what_only_the_inside_shows_is_found(mutant):
    """A request that is run for ever, also after right worlds; a record that nobody can see."""
    assert simulated.play(SEED).holds
    _, needed = simulated.seeds_to_detection((mutant, 1, 300))
    assert needed[0] is not None


def test_what_is_flushed_before_an_outcome_that_was_not_recorded_keeps_no_interval():
    """The third failure's write was unanswered, so a fourth attempt followed its last progress."""
    assert simulated.play(21_166).holds


def test_a_subscriber_may_get_the_acknowledgment_late():
    """Its post was under way while higher numbers came; it is dropped for its lower one."""
    assert simulated.play(83_302).holds
