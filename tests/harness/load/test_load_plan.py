"""What options make of a scenario."""

from __future__ import annotations

import pytest

from streamproof.errors import UsageError
from streamproof.load.arrivals import Poisson
from streamproof.load.plan import CONNECTIONS_MAX, Overrides, plan_of


class Scenario:
    """The attributes of a `StreamUser` class, without Locust."""

    connections = 100
    connects_per_s = 100.0
    arrivals = Poisson(200)
    settle_s = 1.0
    warm_up_s = 5
    measure_s = {"full": 60, "smoke": 20}  # noqa: RUF012 - as scenarios write it
    calibrate_s = {"full": 15, "smoke": 5}  # noqa: RUF012 - as scenarios write it
    time_limit_s = 5.0
    latency_ms = "p(99) < 10"

    @classmethod
    def scenario(cls):
        return "request"

    @classmethod
    def title(cls):
        return "Short request"


class Aimless(Scenario):
    """A scenario that names no target."""

    latency_ms = ""


def plan(size="full", overrides=None, texts=None, defaults=None, scenario=Scenario):
    """A plan with everything else as it is."""
    return plan_of(scenario, size, 7, overrides or Overrides(), texts or {}, defaults or {})


def test_a_scenario_runs_as_it_is_written():
    """Without options the class says everything."""
    planned = plan()
    assert (planned.connections, planned.measure_s, planned.calibrate_s) == (100, 60, 15)
    assert [threshold.line for threshold in planned.thresholds] == [
        'request.latency_ms = "p(99) < 10"'
    ]
    assert planned.tightest_limit_ms == 10
    assert plan("smoke").measure_s == 20


def test_options_override_and_are_printed():
    """Connections, rate and length come from the command line and are said."""
    overrides = Overrides(connections=7, connects_per_s=3.0, measure_s=4, rate_per_s=50.0)
    planned = plan(overrides=overrides)
    assert planned.arrivals == Poisson(50)
    assert planned.calibrate_s == 4
    assert planned.settings()["connects_per_s"] == 3.0
    assert planned.settings()["arrivals"] == "Poisson"
    sentence = planned.sentence()
    for words in ("7 connections", "50 per second", "seed 7", "measure 4 s"):
        assert words in sentence


def test_a_file_beats_the_scenario_which_beats_the_default():
    """The nearer a target is to the user, the more it counts; others' targets do not."""
    said = {"request.latency_ms": "p(99) < 3", "send.latency_ms": "p(99) < 1"}
    assert plan(texts=said).tightest_limit_ms == 3
    default = {"request.latency_ms": "p(99) < 20"}
    assert plan(defaults=default).tightest_limit_ms == 10
    assert plan(defaults=default, scenario=Aimless).tightest_limit_ms == 20


def test_without_a_target_the_time_limit_is_what_the_generator_is_held_to():
    """A scenario may measure without judging."""
    planned = plan(scenario=Aimless)
    assert planned.thresholds == ()
    assert planned.tightest_limit_ms == 5_000


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (Overrides(connections=CONNECTIONS_MAX + 1), "connections"),
        (Overrides(connections=-1), "connections"),
        (Overrides(measure_s=10**6), "seconds to measure"),
        (Overrides(rate_per_s=0.0), "--rate 0"),
    ],
)
def test_what_cannot_be_run_is_refused(overrides, words):
    """A number out of bounds is named before anything starts."""
    with pytest.raises(UsageError, match=words):
        plan(overrides=overrides)
