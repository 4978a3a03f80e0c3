"""The pauses between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.backoff import Backoff

SEND = Backoff(first_s=0.05, ceiling_s=2.0, attempts_max=5, total_s=10.0)


def test_ceilings_double_up_to_the_highest():
    """50 ms, 100 ms, 200 ms ... and never more than the ceiling."""
    assert [SEND.longest_s(n) for n in (1, 2, 3, 6, 7, 5000)] == [0.05, 0.1, 0.2, 1.6, 2.0, 2.0]


@given(st.integers(1, 4), st.floats(0, 9), st.floats(0, 1, exclude_max=True))
def test_a_pause_lies_between_nothing_and_the_ceiling(failures, elapsed_s, fraction):
    """Full jitter: the fraction of the ceiling, no more and no less."""
    pause_s = SEND.pause_s(failures, elapsed_s, fraction)
    assert pause_s == fraction * SEND.longest_s(failures)


def test_attempts_are_bounded():
    """After the last attempt there is no pause, because there is no attempt to wait for."""
    assert SEND.pause_s(4, 0.0, 0.5) is not None
    assert SEND.pause_s(5, 0.0, 0.5) is None


def test_time_is_bounded():
    """A pause that would end after the whole time is not begun."""
    assert SEND.pause_s(1, 9.96, 0.5) is not None
    assert SEND.pause_s(1, 9.98, 0.5) is None
    assert SEND.pause_s(1, 10.0, 0.0) is None
