"""The circuit breaker's table, and what follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.circuit import CLOSED, Circuit, State


def _opened(at_s=100.0):
    circuit = CLOSED
    for _ in range(3):
        circuit = circuit.begin().failed(at_s)
    return circuit


def test_three_failures_in_a_row_open_it():
    """Two do not, and a success between starts the count again."""
    circuit = CLOSED.begin().failed(1.0).begin().failed(2.0)
    assert circuit.state is State.CLOSED
    circuit = circuit.begin().succeeded()
    assert circuit == CLOSED
    assert _opened().state is State.OPEN


def test_what_says_nothing_is_not_counted():
    """A throttle neither opens the circuit nor forgives failures."""
    circuit = CLOSED.begin().failed(1.0).begin().failed(2.0).begin().inconclusive()
    assert circuit.failures == 2
    assert circuit.begin().failed(3.0).state is State.OPEN


def test_an_open_one_refuses_for_thirty_seconds_then_tries_one():
    """While the one is on its way, others are still refused."""
    circuit = _opened(100.0)
    assert not circuit.admits(129.999)
    assert circuit.admits(130.0)
    trial = circuit.begin()
    assert trial.state is State.TRIAL
    assert not trial.admits(1000.0)


def test_the_trial_decides():
    """Success closes, failure opens for thirty more seconds, the rest leaves a new trial."""
    trial = _opened(100.0).begin()
    assert trial.succeeded() == CLOSED
    again = trial.failed(130.0)
    assert again.state is State.OPEN
    assert not again.admits(159.0)
    assert again.admits(160.0)
    assert trial.inconclusive().admits(130.0)


def test_a_result_without_a_send_raises():
    """The table has no such move: an open circuit has no send on its way."""
    with pytest.raises(KeyError):
        _opened().succeeded()


@given(st.lists(st.sampled_from(["succeeded", "failed", "inconclusive", "wait"])))
def test_at_most_three_failures_before_a_pause(history):
    """Whatever happens, a peer never sees a send within 30 s of a third failure in a row."""
    circuit, now_s, failures, failed_at_s = Circuit(), 0.0, 0, 0.0
    for step in history:
        if step == "wait":
            now_s += 15.0
            continue
        if not circuit.admits(now_s):
            assert failures >= 3
            assert now_s - failed_at_s < 30.0
            continue
        assert failures < 3 or now_s - failed_at_s >= 30.0
        circuit = circuit.begin()
        if step == "failed":
            failures, failed_at_s = failures + 1, now_s
            circuit = circuit.failed(now_s)
        elif step == "succeeded":
            failures = 0
            circuit = circuit.succeeded()
        else:
            circuit = circuit.inconclusive()
