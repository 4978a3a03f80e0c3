"""What a target that is not on this machine gets; nothing here opens a socket."""

from __future__ import annotations

import dataclasses

import pytest

from streamproof.errors import UsageError
from streamproof.load.arrivals import Poisson
from streamproof.load.caps import admit, lowered, messages_most, refuse_production
from streamproof.load.plan import Overrides, Plan
from streamproof.targets.safety import NO_CAPS, Caps, Clearance

PLAN = Plan(
    scenario="request",
    title="Short request",
    connections=500,
    connects_per_s=100.0,
    arrivals=Poisson(200),
    settle_s=1.0,
    warm_up_s=5,
    measure_s=300,
    calibrate_s=15,
    time_limit_s=5.0,
    seed=1,
    thresholds=(),
)
REMOTE = Clearance("example.test", False, "dev", Caps())
HERE = Clearance("127.0.0.1", True, None, NO_CAPS)


def test_a_plan_is_lowered_to_what_a_remote_target_gets_and_says_so():
    """Connections, rate and time, each with the word that names more."""
    (plan,) = lowered([PLAN], Caps(), Overrides())
    assert (plan.connections, plan.arrivals.rate_per_s, plan.measure_s) == (200, 50, 195)
    said = plan.settings()["lowered"]
    for part in ("200 connections instead of 500", "50 per second instead of 200", "195 s", "-t"):
        assert part in said
        assert part in plan.sentence()


def test_what_is_named_is_not_lowered():
    """Whoever says a figure means it."""
    named = Overrides(connections=500, measure_s=100, rate_per_s=100)
    plan = dataclasses.replace(PLAN, arrivals=Poisson(100), measure_s=100)
    assert lowered([plan], Caps(), named) == [plan]
    assert "lowered" not in plan.settings()


def test_a_target_on_this_machine_gets_the_plan_as_it_is():
    """No caps, nothing lowered."""
    assert lowered([PLAN], NO_CAPS, Overrides()) == [PLAN]


def test_several_plans_share_the_time():
    """The whole run with its repeats fits the cap, whatever it is made of."""
    plans = lowered([PLAN, PLAN], Caps(), Overrides())
    assert sum(3 * (plan.warm_up_s + plan.measure_s) for plan in plans) <= 600


def test_every_leg_counts_against_the_messages():
    """A plan may be repeated and extended: three times its messages have to fit."""
    plan = dataclasses.replace(PLAN, arrivals=Poisson(100), measure_s=395)
    assert messages_most(plan) == 120_000
    with pytest.raises(UsageError, match=r"120,000 messages planned; .* 100,000"):
        lowered([plan], Caps(), Overrides(measure_s=395, rate_per_s=100))


def test_users_without_a_schedule_stay_on_this_machine():
    """Nobody knows how much they send."""
    admit(HERE, ["visitor"])
    admit(REMOTE, [])
    with pytest.raises(UsageError, match="visitor has no schedule"):
        admit(REMOTE, ["visitor"])


def test_production_gets_no_load():
    """Even where its host was named: that is for its connections."""
    clearance = dataclasses.replace(
        REMOTE, environment="production", groups=frozenset({"connection"})
    )
    with pytest.raises(UsageError, match="load is not run on production"):
        admit(clearance, [])
    refuse_production("dev")
    refuse_production(None)
