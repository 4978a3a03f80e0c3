"""Where every message of a phase went, by second of the plan."""

from __future__ import annotations

from streamproof.load.recorder import ERROR_KINDS_MAX, VIOLATIONS_MAX, Recorder

MS = 1_000_000


def answered(recorder, second, ms):
    """One operation from plan to answer."""
    recorder.planned(second)
    recorder.sent(second, MS)
    recorder.answered(
        second, corrected_ns=ms * MS, uncorrected_ns=ms * MS // 2, service_ns=(ms - 1) * MS
    )


def test_every_sent_message_is_in_one_of_three_counts():
    """Sent equals answered plus refused plus indeterminate; lost are among the last."""
    recorder = Recorder(2)
    answered(recorder, 0, 3)
    for second in (0, 1, 1):
        recorder.planned(second)
        recorder.sent(second, 0)
    assert recorder.counts.in_flight == 3
    recorder.refused(0, 5_000 * MS, "FORBIDDEN")
    recorder.indeterminate(1, 5_000 * MS, "no answer in time")
    recorder.lost("request 1-4: no answer came")
    recorder.indeterminate(1, 5_000 * MS, "TIMEOUT")
    counts = recorder.counts
    assert counts.intended == counts.sent == 4
    assert (counts.answered, counts.refused, counts.indeterminate, counts.lost) == (1, 1, 2, 1)
    assert counts.in_flight == 0


def test_what_found_no_connection_is_not_counted_as_sent():
    """It has an end and a latency all the same."""
    recorder = Recorder(1)
    recorder.planned(0)
    recorder.failed_to_send(0, 5_000 * MS)
    counts = recorder.counts
    assert (counts.sent, counts.failed_to_send, counts.indeterminate) == (0, 1, 1)
    assert counts.in_flight == 0
    assert recorder.seconds[0].corrected.count == 1


def test_what_did_not_succeed_counts_at_its_time_limit():
    """A request without an answer is in every latency, as slow as it was allowed to be."""
    recorder = Recorder(1)
    recorder.indeterminate(0, 5_000 * MS, "TIMEOUT")
    recorder.refused(0, 5_000 * MS, "FORBIDDEN")
    entry = recorder.seconds[0]
    for histogram in (entry.corrected, entry.uncorrected, entry.service):
        assert histogram.count == 2
        assert histogram.quantile(0) >= 5_000 * MS


def test_what_did_not_succeed_is_named_by_kind_and_the_kinds_are_bounded():
    """A target that makes up codes fills neither memory nor report."""
    recorder = Recorder(1)
    for number in range(ERROR_KINDS_MAX + 5):
        recorder.refused(0, MS, f"CODE_{number}" * 40)
    recorder.indeterminate(0, MS, "TIMEOUT")
    refused, unknown = recorder.joined(recorder).unsuccessful()
    assert refused.startswith("50 of 0 requests were refused: others (10), CODE_0")
    assert refused.count(",") == ERROR_KINDS_MAX
    assert unknown == "2 of 0 requests have no known outcome: TIMEOUT (2)"
    assert Recorder(1).unsuccessful() == []


def test_the_table_has_a_row_per_second():
    """A plot over time gets count, median, p99 and lag of each second."""
    recorder = Recorder(2)
    answered(recorder, 1, 8)
    first, second = recorder.table()
    assert first["count"] == 0
    assert second["second"] == 1
    assert second["p50_ms"] == second["p99_ms"] == second["max_ms"] == 8.0
    assert second["lag_p99_ms"] == 1.0


def test_phases_are_joined_in_order():
    """A phase and its extension have the seconds and the counts of both."""
    first, more = Recorder(1), Recorder(2)
    answered(first, 0, 2)
    answered(more, 1, 4)
    more.wrong("another's payload")
    whole = first.joined(more)
    assert [entry.corrected.count for entry in whole.seconds] == [1, 0, 1]
    assert (whole.counts.answered, whole.counts.wrong) == (2, 1)
    assert whole.violations == ["another's payload"]


def test_an_interruption_cuts_seconds_and_keeps_counts():
    """What was sent stays accounted for when the seconds that are incomplete go."""
    recorder = Recorder(3)
    answered(recorder, 0, 2)
    answered(recorder, 2, 2)
    recorder.cut(1)
    assert len(recorder.corrected()) == 1
    assert recorder.counts.answered == 2


def test_violations_are_all_counted_and_some_described():
    """A target that is wrong all the time does not fill the memory with words."""
    recorder = Recorder(1)
    for number in range(VIOLATIONS_MAX * 2):
        recorder.repeated(f"answer {number} came again")
    recorder.repeated("")
    assert recorder.counts.repeated == VIOLATIONS_MAX * 2 + 1
    assert len(recorder.violations) == VIOLATIONS_MAX
