"""Whether the generator kept up, by its own clocks."""

from __future__ import annotations

import pytest

from streamproof.load import selfcheck
from streamproof.load.histogram import Histogram
from streamproof.load.recorder import Recorder
from streamproof.load.selfcheck import Doubts, Strain, Usage, check, doubts_of

MS = 1_000_000
S = 1_000_000_000


def recorded(lag_ms=0.1, planned=100, sent=100):
    """A second in which `sent` of `planned` arrivals went out."""
    recorder = Recorder(1)
    for _ in range(planned):
        recorder.planned(0)
    for _ in range(sent):
        recorder.sent(0, round(lag_ms * MS))
    return recorder


def strain(processor=0.1, run_queue=0.01, hiccup_ms=0.1):
    """A second of wall time, shares of it, and one hiccup."""
    hiccups = Histogram()
    hiccups.record(round(hiccup_ms * MS))
    waited = None if run_queue is None else round(run_queue * S)
    return Strain(S, round(processor * S), waited, hiccups)


def test_a_generator_that_keeps_up_is_valid():
    """Every figure holds and nothing is said."""
    figures = check(recorded(), strain(), 10)
    assert all(figure["ok"] for figure in figures.values())
    assert doubts_of(figures) == Doubts()


def test_what_found_no_connection_is_not_the_generators_fault():
    """The target had no connection to send it on."""
    recorder = recorded(sent=50)
    for _ in range(50):
        recorder.failed_to_send(0, S)
    assert doubts_of(check(recorder, strain(), 10)) == Doubts()


@pytest.mark.parametrize(
    ("recorder", "strained", "name"),
    [
        (recorded(lag_ms=1.2), strain(), "send lag p99"),
        (recorded(), strain(hiccup_ms=2.5), "hiccup p99"),
        (recorded(sent=98), strain(), "arrivals sent"),
        (recorded(), strain(processor=0.8), "generator processor"),
        (recorded(), strain(run_queue=0.05), "run queue delay"),
    ],
)
def test_each_figure_alone_makes_a_run_invalid(recorder, strained, name):
    """The figure that does not hold is named with its value and its limit."""
    doubts = doubts_of(check(recorder, strained, 10))
    assert bool(doubts.unplanned) == (name == "arrivals sent")
    words = doubts.late or doubts.unplanned
    assert words.startswith(name)
    assert "allowed" in words
    assert ";" not in words


def test_limits_follow_the_tightest_target():
    """What is too late for 10 ms is in time for 100 ms."""
    assert doubts_of(check(recorded(lag_ms=5), strain(hiccup_ms=5), 100)) == Doubts()


def test_a_system_without_run_queue_figures_is_judged_by_the_others():
    """Where the kernel does not say, the figure is left out instead of invented."""
    assert "run_queue_delay" not in check(recorded(), strain(run_queue=None), 10)


def test_strain_is_the_difference_of_two_readings():
    """Wall, processor and run queue are counted from the first reading."""
    hiccups = Histogram()
    between = Strain.between(Usage(10, 5, 1), Usage(30, 12, 4), hiccups)
    assert (between.wall_ns, between.processor_ns, between.run_queue_ns) == (20, 7, 3)
    assert Strain.between(Usage(0, 0, None), Usage(1, 1, 1), hiccups).run_queue_ns is None


def test_strain_of_an_extension_is_added():
    """A phase and its extension are judged as one."""
    both = strain(processor=0.1).plus(strain(processor=0.3))
    assert both.processor_ns == round(0.4 * S)
    assert both.run_queue_ns == round(0.02 * S)
    assert both.hiccups.count == 2
    assert strain().plus(strain(run_queue=None)).run_queue_ns is None


def test_usage_reads_the_clocks(monkeypatch, tmp_path):
    """The readings rise; without the kernel's file the run queue is unknown."""
    first = Usage.now()
    second = Usage.now()
    assert second.wall_ns >= first.wall_ns
    assert second.processor_ns >= first.processor_ns
    monkeypatch.setattr(selfcheck, "SCHEDSTAT", tmp_path / "none")
    assert Usage.now().run_queue_ns is None
