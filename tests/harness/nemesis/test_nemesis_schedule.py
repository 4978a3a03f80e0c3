"""What a seed decides, as a pure function: the same again, within bounds, never unfair."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from streamproof.nemesis.faults import (
    ISOLATED_WORKER,
    Disconnect,
    FailPosts,
    KillWorker,
    PauseWorker,
    ReorderRecords,
    RepeatRecords,
    SlowPosts,
)
from streamproof.nemesis.schedule import FAIL_CODE, LEASE_S, Options, Schedule, make

DEATHS_MAX = 5  # docs/contract.md, section 5

options = st.builds(
    Options,
    requests=st.integers(1, 60),
    kills=st.integers(0, 30),
    pauses=st.integers(0, 3),
    error_rate=st.sampled_from((0.0, 0.1, 0.3)),
    duplicates=st.integers(1, 3),
    disconnects=st.integers(0, 10),
    slow_rate=st.sampled_from((0.0, 0.02)),
    clients=st.integers(1, 9),
)
seeds = st.integers(0, 2**32 - 1)


def of_kind(schedule: Schedule, kind: type) -> list:
    """The steps whose fault is of a kind."""
    return [step for step in schedule.steps if isinstance(step.fault, kind)]


@given(options, seeds)
def test_a_seed_makes_the_same_schedule_again(asked: Options, seed: int) -> None:
    """Two calls agree, another seed differs."""
    assert make(asked, seed) == make(asked, seed)
    assert make(asked, seed).arrivals != make(asked, seed + 1).arrivals


@given(options, seeds)
def test_a_schedule_holds_what_was_asked(asked: Options, seed: int) -> None:
    """So many requests with ids of their own, so many faults of each kind, none twice the same."""
    schedule = make(asked, seed)
    assert len({arrival.request_id for arrival in schedule.arrivals}) == asked.requests
    assert all(0 <= arrival.client < asked.clients for arrival in schedule.arrivals)
    for kind, count in (
        (KillWorker, asked.kills),
        (PauseWorker, asked.pauses),
        (Disconnect, asked.disconnects),
        (FailPosts, asked.error_rate > 0),
        (SlowPosts, asked.slow_rate > 0),
        (RepeatRecords, asked.duplicates > 1),
        (ReorderRecords, asked.duplicates > 1),
    ):
        assert len(of_kind(schedule, kind)) == count
    faults = [step.fault for step in schedule.steps]
    assert len(set(faults)) == len(faults)


@given(options, seeds)
def test_everything_happens_in_order_and_is_healed_by_the_end(asked: Options, seed: int) -> None:
    """Arrivals and steps by time; nothing begins before 0 or outlasts the schedule."""
    schedule = make(asked, seed)
    arrivals = [arrival.at_s for arrival in schedule.arrivals]
    assert arrivals == sorted(arrivals)
    assert [step.at_s for step in schedule.steps] == sorted(step.at_s for step in schedule.steps)
    assert all(0 <= step.at_s <= step.heal_at_s <= schedule.end_s for step in schedule.steps)
    assert 0 <= arrivals[0] <= arrivals[-1] <= asked.window_s


@given(options, seeds)
def test_no_request_can_be_made_to_fail_by_deaths_alone(asked: Options, seed: int) -> None:
    """One death in a shared worker and those alone stay below the limit."""
    kills = of_kind(make(asked, seed), KillWorker)
    alone = sum(step.fault.function == ISOLATED_WORKER for step in kills)
    assert 1 + alone < DEATHS_MAX


@given(options, seeds)
def test_a_pause_outlasts_the_lease(asked: Options, seed: int) -> None:
    """Otherwise nothing would be taken over."""
    for step in of_kind(make(asked, seed), PauseWorker):
        assert step.heal_at_s - step.at_s > LEASE_S + 1


def test_every_way_to_end_occurs_in_a_full_run() -> None:
    """Results, failures and retries, each with the end that is expected of it."""
    arrivals = make(Options(), 1).arrivals
    failing = [arrival for arrival in arrivals if arrival.payload.get("end") == "fail"]
    retried = [arrival for arrival in arrivals if arrival.payload.get("end") == "retryable"]
    assert failing
    assert retried
    assert all(arrival.code == FAIL_CODE and arrival.result is None for arrival in failing)
    assert all(arrival.result == arrival.payload["result"] for arrival in retried)


def test_the_documented_run_is_the_default() -> None:
    """A thousand requests, ten kills, a pause, one post in ten, every record twice."""
    assert dataclasses.astuple(Options())[:5] == (1000, 10, 1, 0.1, 2)
