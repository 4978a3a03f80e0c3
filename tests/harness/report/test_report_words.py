"""The sentences that say what a run found."""

from __future__ import annotations

import dataclasses

import pytest

from streamproof.report import words
from streamproof.results import LoadVerdict, NemesisResult, Results, SeedResult, Verdict
from support.sample_results import sample_contract, sample_load, sample_results, sample_run

EMBEDDED, VERSION = "The target embedded", "version 1 of the contract"
NOT_KEPT_UP = "could not be measured: the generator did not keep up"


def with_target(**changes) -> Results:
    """A green run whose one performance target differs."""
    load = sample_load()
    scenario = load.scenarios[0]
    target = dataclasses.replace(scenario.targets[0], **changes)
    scenario = dataclasses.replace(scenario, targets=(target,))
    return Results(sample_run(), load=dataclasses.replace(load, scenarios=(scenario,)))


def with_clauses(*verdicts: Verdict) -> Results:
    """A run of the contract whose clauses ended so."""
    contract = sample_contract()
    clauses = tuple(
        dataclasses.replace(clause, verdict=verdict)
        for clause, verdict in zip(contract.clauses, verdicts, strict=False)
    )
    return Results(sample_run(), contract=dataclasses.replace(contract, clauses=clauses))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.04123, "0.0412"),
        (0.31, "0.310"),
        (4.2139, "4.21"),
        (12.64, "12.6"),
        (99.0, "99"),
        (11_984, "11,984"),
        (1234.5, "1,234"),
        (-4.2, "-4.20"),
        (float("nan"), words.NO_FIGURE),
    ],
)
def test_figures_have_three_digits(value, text):
    """Figures carry three significant digits and no exponent."""
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.357, "0.357 s"), (5, "5 s"), (48.2, "48 s"), (60, "1 min"), (141.8, "2 min 22 s")],
)
def test_durations_read_as_people_say_them(seconds, text):
    """Seconds below a minute, minutes and seconds above."""
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("items", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")],
)
def test_lists_read_as_prose(items, text):
    """The last of several words is joined by `and`."""
    assert words.listed(items) == text


@pytest.mark.parametrize(
    ("results", "text"),
    [
        (
            sample_results(),
            "The target embedded keeps version 1 of the contract and meets its performance target.",
        ),
        (
            sample_results(red=True),
            f"{EMBEDDED} does not keep {VERSION} and misses its performance target.",
        ),
        (
            sample_results(invalid=True),
            f"{EMBEDDED} keeps {VERSION}, but {NOT_KEPT_UP}.",
        ),
        (
            with_clauses(Verdict.PASS, Verdict.INCONCLUSIVE),
            "The target embedded left version 1 of the contract undecided.",
        ),
        (
            with_target(verdict=LoadVerdict.INCONCLUSIVE),
            "The target embedded left its performance target undecided.",
        ),
        (Results(sample_run()), "The target embedded was not judged."),
        (
            Results(dataclasses.replace(sample_run(), target={})),
            "The target was not judged.",
        ),
    ],
)
def test_the_headline_says_the_verdict(results, text):
    """One sentence says what holds, and joins with `but` what does not agree."""
    assert words.headline(results) == text


@pytest.mark.parametrize(
    ("violations", "reason", "text"),
    [
        ((), "", "keeps its promises under the faults of 2 seeds"),
        (("v",), "", "breaks a promise under the faults of 1 of 2 seeds"),
        ((), "nothing struck", "left the faults of 2 seeds undecided"),
    ],
)
def test_a_harmed_target_has_its_words(violations, reason, text):
    """The worst seed speaks for all."""
    good = SeedResult(1, 1.0, {}, {}, (), (), "", "command")
    other = dataclasses.replace(good, violations=violations, reason=reason)
    nemesis = NemesisResult({}, 2.0, (good, other))
    results = Results(sample_run(), nemesis=nemesis)
    assert words.headline(results) == f"The target embedded {text}."


def test_messages_lost_under_load_are_no_met_target():
    """A target within its limit does not hide a lost message."""
    load = sample_load()
    scenario = dataclasses.replace(load.scenarios[0], violations=("lost",))
    results = Results(sample_run(), load=dataclasses.replace(load, scenarios=(scenario,)))
    assert "lost or repeated messages under load" in words.headline(results)


def test_a_load_without_targets_was_not_measured():
    """No figure is no success."""
    empty = dataclasses.replace(sample_load(), scenarios=())
    assert "was not measured" in words.headline(Results(sample_run(), load=empty))


def test_several_targets_are_spoken_of_in_the_plural():
    """Two scenarios have two targets."""
    load = sample_load()
    twice = dataclasses.replace(load, scenarios=load.scenarios * 2)
    assert "meets its performance targets" in words.headline(Results(sample_run(), load=twice))


def test_counts_begin_with_the_bad_news():
    """What failed comes before what holds, and what was not judged is counted apart."""
    assert words.clause_counts(sample_contract(red=True)) == (
        "1 failed, 1 broke the harness, 1 inconclusive, 1 missed a SHOULD, "
        "24 of 28 clauses hold, 1 observed, 1 not applicable"
    )
    assert words.clause_counts(with_clauses(Verdict.PASS).contract) == "1 of 1 clause hold"


@pytest.mark.parametrize(
    ("text", "share", "figure"),
    [
        ("p(99) < 10", 0.99, "request p99"),
        ('request.latency_ms = "p(99.9) <= 10"', 0.999, "request p99.9"),
        ("max < 10", None, "request"),
        ("p(100) < 10", None, "request"),
    ],
)
def test_a_threshold_names_its_quantile(text, share, figure):
    """The figure is read from the line of configuration, whole or only its text."""
    target = dataclasses.replace(sample_load().scenarios[0].targets[0], limit_text=text)
    assert words.quantile(text) == (share and pytest.approx(share))
    assert words.target_name(target) == figure


def test_the_closing_names_version_groups_and_what_was_not_shown():
    """The closing sentence holds version, groups, figures and what was not shown."""
    text = words.closing(sample_results())
    for part in (
        "keeps version 1 of the contract",
        "Shown: connection, streamer, resilience and platform (28 of 28 clauses hold",
        "request p99 4.21 ms (3.60 to 5.15) against 10 ms: pass.",
        "Not shown: group ops",
        "ASYNC-1: the target declares no admin capability",
    ):
        assert part in text


def test_what_was_not_run_is_not_shown():
    """A run of one part says that it shows nothing of the other."""
    contract_only = words.not_shown(Results(sample_run(), contract=sample_contract()))
    assert "Performance: no load was run." in contract_only
    load_only = words.closing(Results(sample_run(), load=sample_load()))
    assert "The contract: no clause was run" in load_only
    assert "Shown:" not in load_only


def test_too_few_samples_decide_no_p99():
    """An upper bound of a p99 does not exist below 299 effective samples, and that is said."""
    lines = words.not_shown(with_target(effective_samples=41.0))
    assert "request p99: 41 effective samples decide no p99." in lines


def test_a_contract_without_groups_or_gaps():
    """Nothing is said of groups and gaps that are not there."""
    contract = dataclasses.replace(sample_contract(), groups=(), not_shown=(), clauses=())
    load = dataclasses.replace(sample_load(), not_shown=())
    text = words.closing(Results(sample_run(), contract=contract, load=load))
    assert "Shown" not in text
    assert "Not shown" not in text
