"""How a run is led: what is repeated, extended, joined, given up. The legs are prepared ones."""

from __future__ import annotations

import random

import pytest

from streamproof.errors import ExitCode, HarnessError, TargetUnreachableError
from streamproof.load import conductor as conductor_module
from streamproof.load.arrivals import Poisson
from streamproof.load.conductor import Conductor, Hiccups, Leg
from streamproof.load.endpoint import EchoDialect, Endpoint
from streamproof.load.histogram import Histogram
from streamproof.load.plan import Plan
from streamproof.load.recorder import Recorder
from streamproof.load.selfcheck import Strain
from streamproof.load.thresholds import parse
from streamproof.results import LoadVerdict

MS = 1_000_000
S = 1_000_000_000
PLAN = Plan(
    scenario="request",
    title="Short request",
    connections=2,
    connects_per_s=1_000.0,
    arrivals=Poisson(100),
    settle_s=0.0,
    warm_up_s=1,
    measure_s=6,
    calibrate_s=1,
    time_limit_s=0.01,
    seed=1,
    thresholds=(parse("request.latency_ms", "p(99) < 10"),),
)


class User:
    """A user that connects at once, or not at all."""

    def __init__(self, error=None):
        self.error = error
        self.checker = None
        self.at = []
        self.in_flight = 0
        self.given_up = 0
        self.arrivals = []

    def connect(self, endpoint):
        if self.error is not None:
            raise self.error
        self.at.append(endpoint.name)

    def disconnect(self):
        self.at.append("disconnected")

    def assign(self, arrival):
        self.arrivals.append(arrival)
        arrival.recorder.sent(arrival.second, 0)

    def give_up(self):
        self.given_up += 1


def leg(scale_ms=1.0, seconds=6, lag_ms=0.1, lost=0, rate=200):
    """A leg of exponential latencies: p99 is 4.6 times the scale."""
    recorder = Recorder(seconds)
    draw = random.Random(seconds)
    for second in range(seconds):
        for _ in range(rate):
            ns = round(draw.expovariate(1 / scale_ms) * MS)
            recorder.planned(second)
            recorder.sent(second, round(lag_ms * MS))
            recorder.answered(second, corrected_ns=ns, uncorrected_ns=ns, service_ns=ns)
    for _ in range(lost):
        recorder.indeterminate(0, MS, "no answer in time")
        recorder.lost("request 1-1: no answer came")
    return Leg(recorder, Strain(seconds * S, S // 10, 0, Histogram()), Recorder(1))


GOOD, BAD, OPEN = leg(), leg(scale_ms=10), leg(rate=20)
LATE = leg(scale_ms=3, lag_ms=5)  # a p99 of 14 ms, of which 5 may be the generator's


class Led(Conductor):
    """A conductor whose legs are given; it remembers which phases it went through."""

    def __init__(self, users, *legs, checked=False):
        target = Endpoint("the target", "ws://127.0.0.1:1/", EchoDialect(), checked=checked)
        echo = Endpoint("echo", "ws://127.0.0.1:2/", EchoDialect(), checked=False)
        self.said = []
        self.phases = []
        self.legs = list(legs)
        self.floor = leg(seconds=1)
        super().__init__(
            [(object, PLAN)], lambda _: users, target, echo, "smoke", self.said.append,
            self.said.append,
        )  # fmt: skip

    def _leg(self, users, plan, phase, warm_up_s, measure_s, number, hiccups):
        self.phases.append(phase)
        return self.floor if phase == "calibrate" else self.legs.pop(0)


def led(*legs, users=None, checked=False):
    """A conductor that has run to its end."""
    conductor = Led(users or [User(), User()], *legs, checked=checked)
    conductor.run()
    return conductor


def verdict(conductor):
    """The verdict on the one target."""
    return conductor.result.scenarios[0].targets[0].verdict


def test_a_good_run_is_measured_once():
    """Calibrate, measure, judge; the echo server first, then the target, then nobody."""
    users = [User(), User()]
    conductor = led(GOOD, users=users, checked=True)
    assert conductor.phases == ["calibrate", "measure"]
    assert verdict(conductor) is LoadVerdict.PASS
    assert conductor.result.exit_code is ExitCode.HOLDS
    assert users[0].at == ["echo", "disconnected", "the target", "disconnected"]
    scenario = conductor.result.scenarios[0]
    assert [curve.name for curve in scenario.curves] == ["corrected", "uncorrected", "calibration"]
    assert [curve.name for curve in scenario.beside] == ["service", "lag"]
    assert scenario.settings["measured_s"] == 6


@pytest.mark.parametrize(
    ("legs", "phases", "expected"),
    [
        ((BAD,), ["measure"], LoadVerdict.FAIL),
        ((LATE, GOOD), ["measure", "repeat"], LoadVerdict.PASS),
        ((LATE, LATE), ["measure", "repeat"], LoadVerdict.INVALID),
        ((LATE, None), ["measure", "repeat"], LoadVerdict.INVALID),
        ((OPEN, GOOD), ["measure", "extend"], LoadVerdict.PASS),
        ((OPEN, OPEN), ["measure", "extend"], LoadVerdict.INCONCLUSIVE),
        ((OPEN, None), ["measure", "extend"], LoadVerdict.INCONCLUSIVE),
        ((LATE, OPEN, GOOD), ["measure", "repeat", "extend"], LoadVerdict.PASS),
    ],
)
def test_an_invalid_run_is_repeated_and_an_open_one_extended_once(legs, phases, expected):
    """Neither is done twice, and a failure is a failure at once."""
    conductor = led(*legs)
    assert conductor.phases == ["calibrate", *phases]
    assert verdict(conductor) is expected


@pytest.mark.parametrize(("looks_max", "phases"), [(1, ["measure"]), (2, ["measure", "repeat"])])
def test_no_more_looks_than_allowed(looks_max, phases):
    """A run that must end by some time says what it knows instead of being cut off."""
    conductor = Led([User(), User()], LATE, OPEN, GOOD)
    conductor._looks_max = looks_max
    conductor.run()
    assert conductor.phases == ["calibrate", *phases]
    assert verdict(conductor) is not LoadVerdict.PASS


def test_an_extension_is_judged_together_with_what_it_extends():
    """The seconds of both count; those of a repeated run do not."""
    assert len(led(OPEN, GOOD).result.scenarios[0].seconds) == 12
    assert len(led(LATE, GOOD).result.scenarios[0].seconds) == 6


def test_every_look_is_in_the_report():
    """What was repeated and what was extended, with the verdict and figures of each look."""
    looks = led(LATE, OPEN, GOOD).result.scenarios[0].settings["looks"].split("; then ")
    assert [words.partition(" at ")[0] for words in looks] == [
        "measured: invalid",
        "repeated: inconclusive",
        "extended: pass",
    ]
    assert "send lag" in looks[0]
    assert "looks" not in led(GOOD).result.scenarios[0].settings


def test_a_late_generator_is_no_excuse_for_a_slow_target():
    """A failure that stays one without the lag is not measured again."""
    conductor = led(leg(scale_ms=10, lag_ms=5))
    assert conductor.phases == ["calibrate", "measure"]
    assert verdict(conductor) is LoadVerdict.FAIL


def test_lost_messages_decide_without_measuring_again():
    """Whatever the latencies, a lost message fails the run."""
    conductor = led(leg(rate=20, lost=1))
    assert conductor.phases == ["calibrate", "measure"]
    assert conductor.result.exit_code is ExitCode.BROKEN


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("refused", "RATE_LIMITED", "were refused: RATE_LIMITED (2)"),
        ("indeterminate", "INTERNAL_ERROR", "have no known outcome: INTERNAL_ERROR (2)"),
    ],
)
def test_requests_that_did_not_succeed_fail_the_run(kind, code, words):
    """However few and however fast the others: they are named, and not measured away."""
    measured = leg()
    for _ in range(2):
        getattr(measured.recorder, kind)(0, MS, code)
    conductor = led(measured)
    assert conductor.phases == ["calibrate", "measure"]
    assert verdict(conductor) is LoadVerdict.PASS
    assert conductor.result.scenarios[0].violations == (f"2 of 1,200 requests {words}",)
    assert conductor.result.exit_code is ExitCode.BROKEN


@pytest.mark.parametrize("harm", [{"lost": 1}, {"wrong": 1}])
def test_what_our_own_echo_server_does_is_not_the_targets_fault(harm):
    """A calibration that went wrong says nothing about the target: no verdict."""
    conductor = Led([User(), User()], GOOD)
    conductor.floor = leg(seconds=1, lost=harm.get("lost", 0))
    for _ in range(harm.get("wrong", 0)):
        conductor.floor.recorder.wrong("request 1-1: expected 1, got 2")
    conductor.run()
    assert isinstance(conductor.failure, HarnessError)
    assert "echo server" in conductor.failure.message
    assert conductor.result.scenarios == ()


def test_an_interruption_before_anything_was_measured_gives_nothing():
    """No leg, no scenario, no verdict."""
    conductor = led(None)
    assert conductor.result.scenarios == ()
    assert conductor.result.exit_code is ExitCode.NO_VERDICT


def test_after_an_interruption_nothing_new_begins():
    """What runs is judged, the next is not begun, and the result says so."""
    conductor = Led([User(), User()], LATE)
    conductor.interrupt()
    conductor.run()
    assert conductor.phases == []
    assert any("interrupted" in words for words in conductor.result.not_shown)


def test_a_target_that_cannot_be_reached_ends_the_run():
    """The first refused connection is the answer; the run keeps it for its exit code."""
    error = TargetUnreachableError("no connection")
    conductor = led(GOOD, users=[User(error), User()])
    assert conductor.failure is error
    assert conductor.result.scenarios == ()


def test_a_target_that_answered_and_is_gone_has_failed():
    """Between two scenarios it went away: its verdict and a report, no usage error."""
    error = TargetUnreachableError("no connection")
    conductor = Led([User(error), User()], GOOD)
    conductor._answered = True
    conductor._calibrate = lambda *_: None
    conductor.run()
    assert conductor.failure is None
    assert verdict(conductor) is LoadVerdict.FAIL
    assert conductor.result.exit_code is ExitCode.BROKEN
    assert conductor.result.scenarios[0].violations == (
        "the target stopped answering: no connection",
    )


def test_users_that_locust_does_not_spawn_are_not_waited_for_for_ever(monkeypatch):
    """Too few users is the harness's fault, told."""
    monkeypatch.setattr(conductor_module, "USERS_TIMEOUT_S", -1)
    conductor = led(GOOD, users=[User()])
    assert isinstance(conductor.failure, HarnessError)
    assert "1 of 2 users" in conductor.failure.message


def test_a_coarse_timer_is_confessed(monkeypatch):
    """Without timerfd the report says what that means."""
    conductor = Led([User(), User()], GOOD)
    conductor._timer.close()
    conductor._timer = conductor_module.timer.__globals__["SleepTimer"]()
    conductor.run()
    assert any("millisecond" in words for words in conductor.result.not_shown)


def test_a_plan_is_followed_to_the_nanosecond_and_to_its_end():
    """Each arrival goes to a user with its moment, its second and its phase."""
    users = [User(), User()]
    conductor = Led(users)
    hiccups = Hiccups()
    found = Conductor._leg(conductor, users, PLAN, "measure", 1, 1, 0, hiccups)
    hiccups.close()
    arrivals = sorted((a for user in users for a in user.arrivals), key=lambda a: a.intended_ns)
    planned = [m for m, _ in zip(PLAN.arrivals.moments(PLAN.seed), arrivals, strict=False)]
    start_ns = arrivals[0].intended_ns - planned[0]
    assert [a.intended_ns - start_ns for a in arrivals] == planned
    assert all(a.dispatched_ns >= a.intended_ns for a in arrivals)
    assert found.warm_up.counts.intended + found.recorder.counts.intended == len(arrivals)
    assert {a.recorder for a in arrivals} == {found.warm_up, found.recorder}
    assert users[0].arrivals
    assert users[1].arrivals
    assert users[0].given_up == 1
    assert found.strain.wall_ns > 0


def test_a_target_that_answers_nothing_is_not_loaded_for_minutes(monkeypatch):
    """After the silence the run ends and says how much went unanswered."""
    monkeypatch.setattr(conductor_module, "SILENCE_S_MIN", 0.05)
    conductor = Led([User()])
    hiccups = Hiccups()
    with pytest.raises(TargetUnreachableError, match=r"the target answered none of \d+ requests"):
        Conductor._leg(conductor, [User()], PLAN, "measure", 1, 60, 0, hiccups)
    hiccups.close()


def test_silence_after_an_answer_is_measured(monkeypatch):
    """A target that answered in an earlier leg and now does not is judged, not refused."""
    monkeypatch.setattr(conductor_module, "SILENCE_S_MIN", 0.05)
    conductor = Led([User()])
    assert not conductor._answering([Recorder(1)], 0, PLAN)
    assert conductor._answering([GOOD.recorder], 0, PLAN)
    assert conductor._answering([Recorder(1)], 60 * S, PLAN)


def test_the_drain_waits_for_the_time_limit_at_most():
    """What is in flight for ever is given up, not waited for."""
    user = User()
    user.in_flight = 1
    conductor = Led([user])
    conductor._drain([user], 0.01)
    assert user.given_up == 1
