"""How figures are arranged for the page."""

from __future__ import annotations

import dataclasses

import pytest

from streamproof.errors import ExitCode
from streamproof.report import view, words
from streamproof.results import LoadVerdict, Results, Verdict, WireLine
from support.sample_results import sample_contract, sample_results, sample_run, sample_scenario


def test_every_verdict_has_a_look():
    """No verdict is left without a tone, and only pass looks good."""
    for verdict in (*Verdict, *LoadVerdict):
        assert view.tone(verdict) in (view.GOOD, view.BAD, view.DOUBT, view.QUIET)
        assert (view.tone(verdict) == view.GOOD) == (verdict.value == "pass")


@pytest.mark.parametrize(
    ("code", "tone"),
    [
        (ExitCode.HOLDS, "good"),
        (ExitCode.BROKEN, "bad"),
        (ExitCode.NO_VERDICT, "doubt"),
        (ExitCode.USAGE, "doubt"),
    ],
)
def test_a_codes_look(code, tone):
    """Only what holds looks good, only what is broken looks bad."""
    assert view.tone_of_code(code) == tone


def test_sections_count_what_was_judged():
    """A section's tally leaves out what was not judged and takes the worst look."""
    by_number = {section.number: section for section in view.sections(sample_contract(red=True))}
    assert by_number[1].summary == "5 of 7 hold"
    assert by_number[1].tone == "doubt"
    assert by_number[3].tone == "bad"
    assert by_number[2].summary == "all 8 hold"
    only = dataclasses.replace(by_number[2].clauses[0], verdict=Verdict.INFO)
    quiet = view.Section(9, "x", (only,))
    assert (quiet.summary, quiet.tone) == ("nothing judged", "quiet")


def test_a_section_that_nobody_named_has_a_number():
    """A later contract's sections are shown all the same."""
    contract = sample_contract()
    clause = dataclasses.replace(contract.clauses[0], section=12)
    assert view.sections(dataclasses.replace(contract, clauses=(clause,)))[0].title == "Section 12"


def test_trouble_is_sorted_worst_first():
    """Failures come before doubts."""
    ids = [clause.id for clause in view.troubled(sample_contract(red=True))]
    assert ids == ["PROG-1", "CONN-4", "RECOV-1", "AUTH-8"]


def test_long_messages_are_cut():
    """One message of a log has a bound, and says that it was cut."""
    clause = dataclasses.replace(
        sample_contract().clauses[0],
        log=(WireLine(0, "a", "<", "x" * 3000), WireLine(1, "a", "<", "y")),
    )
    lines, left_out = view.log_lines(clause)
    assert len(lines[0].text) == view.LOG_TEXT_MAX + 2
    assert lines[1].text == "y"
    assert left_out == 0


def test_a_bar_holds_all_figures():
    """Whatever is largest, everything lies on the bar in order."""
    for red in (False, True):
        target = sample_scenario(red=red).targets[0]
        bar = view.bar(target)
        assert 0 <= bar.low < bar.measured < bar.high < 100
        assert (bar.limit < bar.measured) is red
    zero = dataclasses.replace(target, limit=0, measured=0, interval_low=-1.0, interval_high=0)
    assert view.bar(zero) == view.Bar(0, 0, 0, 0)
    assert view.margin(zero) == words.NO_FIGURE


@pytest.mark.parametrize(("measured", "text"), [(4.21, "58 % below"), (14.6, "46 % above")])
def test_margins_are_said_in_words(measured, text):
    """A margin is a share of the limit, below or above."""
    target = dataclasses.replace(sample_scenario().targets[0], measured=measured)
    assert view.margin(target) == text


def test_counts_of_harm_stand_out():
    """A lost message is never a quiet number; an unknown count is shown by its name."""
    scenario = dataclasses.replace(sample_scenario(red=True))
    rows = {name: tone for name, _, tone in view.counts(scenario)}
    assert rows["acknowledged and never ended"] == "bad"
    assert rows["answers that came twice"] == "quiet"
    odd = dataclasses.replace(scenario, counts={"re_connects": 2})
    assert view.counts(odd) == [("re connects", 2, "quiet")]


def test_the_self_check_shows_which_way_a_bound_goes():
    """At most and at least are told apart; a figure may have no bound."""
    checks = {check["name"]: check for check in view.self_check(sample_scenario(invalid=True))}
    assert checks["arrivals sent"]["limit"] == "≥ 99"
    assert checks["arrivals sent"]["tone"] == "doubt"
    assert checks["send lag p99"]["limit"] == "≤ 1"
    free = dataclasses.replace(sample_scenario(), self_check={"x": {"value": 1, "ok": True}})
    assert view.self_check(free)[0]["limit"] == ""


def test_settings_are_one_sentence():
    """What was offered reads as a sentence; unknown settings keep their names."""
    scenario = dataclasses.replace(
        sample_scenario(),
        settings={
            "connections": 100,
            "rate_per_s": 200.0,
            "arrivals": "Poisson",
            "connects_per_s": 50.0,
            "settle_s": 1.0,
            "warm_up_s": 5,
            "measure_s": 60,
            "calibrate_s": 10,
            "time_limit_s": 25.0,
            "seed": 1,
            "timer_precise": True,
            "other_thing": "x",
        },
    )
    assert view.settings(scenario) == (
        "100 connections, 200 requests per second in an open loop, Poisson arrivals, seed 1, "
        "5 s of warm-up, 1 min measured."
    )
    assert view.small_print(scenario) == (
        "Connections opened at 50 per second, 1 s to settle, 10 s of calibration, a request counts "
        "as lost after 25 s, arrivals by a precise timer, other thing x."
    )
    coarse = dataclasses.replace(scenario, settings={"timer_precise": False})
    assert view.settings(coarse) == ""
    assert view.small_print(coarse) == "Arrivals by a timer of milliseconds."


def test_what_was_seen_is_short_in_a_list():
    """A long sighting is cut where it stands in a list."""
    clause = dataclasses.replace(sample_contract().clauses[0], seen="x" * 500)
    assert view.glance(clause) == "x" * view.GLANCE_MAX + " …"
    assert view.glance(dataclasses.replace(clause, seen="", reason="why")) == "why"


def test_facts_leave_out_what_is_not_known():
    """A machine that tells little makes a short list."""
    bare = dataclasses.replace(sample_run(), machine={}, versions={}, target={"name": "embedded"})
    terms = [term for term, _ in view.facts(Results(bare))]
    assert terms == ["Target", "Started", "Took"]
    whole = dict(view.facts(sample_results()))
    assert whole["Machine"] == "AMD EPYC 7B13, 2 cores, 7.8 GiB"
    assert whole["Started"] == "2026-11-23 21:52:55 UTC"
    assert whole["Load"] == "size full, seed 1"
