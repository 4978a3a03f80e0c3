"""The table of a request's life."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.states import (
    CLAIMABLE,
    TERMINAL,
    TRANSITIONS,
    Event,
    Status,
    TransitionError,
    move,
    sources,
)


def test_terminal_states_never_change():
    """Nothing leads out of an outcome, so there is no second one."""
    assert {Status.COMPLETED, Status.FAILED, Status.CANCELLED} == TERMINAL
    for status in TERMINAL:
        for event in Event:
            with pytest.raises(TransitionError, match=status):
                move(status, event)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_any_history_keeps_the_order_of_the_contract(events):
    """Acknowledged before it is claimed, claimed before it completes, ended once."""
    status, seen = Status.ACCEPTED, [Status.ACCEPTED]
    for event in events:
        try:
            status = move(status, event)
        except TransitionError:
            continue
        seen.append(status)
    if Status.PROCESSING in seen:
        assert seen[1] is Status.PENDING
    if Status.COMPLETED in seen:
        assert seen[-2] is Status.PROCESSING
    assert all(before not in TERMINAL for before in seen[:-1])


def test_every_open_state_can_be_cancelled_and_failed():
    """CANCEL-1 and RECOV-4 need a way out of each."""
    for event in (Event.CANCELLED, Event.FAILED):
        assert set(sources(event)) == set(Status) - TERMINAL
    assert sources(Event.RETRIED) == (Status.PROCESSING,)
    assert {Status.PENDING, Status.RETRYING} == CLAIMABLE
    assert set(TRANSITIONS) == set(Status)
    targets = {target for moves in TRANSITIONS.values() for target in moves.values()}
    assert targets == set(Status) - {Status.ACCEPTED}
    for event in Event:  # one event leads to one status, wherever it begins
        assert len({move(status, event) for status in sources(event)}) == 1
