"""Progress: the newest wins, the interval is kept, no percentage falls."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.core.coalescing import Coalescing, Update

REPORTS = st.lists(
    st.tuples(st.integers(0, 150), st.floats(allow_nan=True, allow_infinity=True)), max_size=60
)


@given(REPORTS, st.floats(0, 100))
def test_what_leaves_keeps_every_rule(reports, floor):
    """PROG-1, PROG-2, PROG-6: finite, in range, rising, spaced, one 100, newest last."""
    state, now_ms, left, newest = Coalescing(floor=floor), 0, [], None

    def send(until_ms):
        nonlocal state
        while (
            due_ms := state.due_in_ms(at := max(now_ms, left[-1][0] if left else 0))
        ) is not None:
            if at + due_ms > until_ms:
                return
            left.append((at + due_ms, state.waiting))
            state = state.sent(state.waiting, at + due_ms)

    for number, (gap_ms, percentage) in enumerate(reports):
        send(now_ms + gap_ms)
        now_ms += gap_ms
        state = state.report(Update(percentage, str(number)))
        newest = str(number)
    send(now_ms + 1000)
    percentages = [update.percentage for _, update in left]
    assert all(math.isfinite(p) and floor <= p <= 100 for p in percentages)
    assert percentages == sorted(percentages)
    assert percentages.count(100) <= 1
    stamps = [at_ms for at_ms, _ in left]
    assert all(b - a >= 100 for a, b in itertools.pairwise(stamps))
    if left and percentages[-1] < 100:
        assert left[-1][1].message == newest
    if reports and floor < 100:
        assert left
    assert state.waiting is None


def test_an_update_reported_while_another_is_sent_still_waits():
    """What was stored is not what waits now."""
    first, second = Update(10.0), Update(20.0, "b", {"k": 1})
    state = Coalescing().report(first)
    sending = state.waiting
    state = state.report(second).sent(sending, 1000)
    assert state.waiting == second
    assert state.due_in_ms(1030) == 70
    assert state.due_in_ms(5000) == 0
    assert state.sent(state.waiting, 1100).due_in_ms(1100) is None


def test_after_a_hundred_only_the_outcome_is_left():
    """Later reports are dropped, those waiting too."""
    state = Coalescing().report(Update(100.0))
    sending = state.waiting
    state = state.report(Update(100.0, "again")).sent(sending, 0)
    assert state.waiting is None
    assert state.report(Update(100.0)) is state
    lower = Coalescing().report(Update(50.0)).report(Update(40.0, "newer"))
    assert lower.waiting == Update(50.0, "newer")
