"""JUnit XML: what continuous integration is told."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree as ET

from streamproof.report import junit
from streamproof.results import LoadVerdict, Results, Verdict
from support.sample_results import sample_contract, sample_load, sample_results, sample_run


def parsed(results: Results) -> ET.Element:
    """The document, read back."""
    return ET.fromstring(junit.to_junit(results))


def case(root: ET.Element, start: str) -> ET.Element:
    """The test case whose name begins so."""
    return next(c for c in root.iter("testcase") if c.get("name", "").startswith(start))


def test_a_green_run_has_no_failure_and_no_error():
    """Green in the report is green in the pipeline; what did not apply is skipped."""
    root = parsed(sample_results())
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "1")
    assert root.get("tests") == "31"
    names = [suite.get("name") for suite in root]
    assert names[:2] == ["contract.1 Connecting", "contract.2 Messages"]
    assert names[-1] == "load.request"


def test_each_ending_has_its_element():
    """A failure fails, doubt is an error, a missed SHOULD passes unless strict."""
    root = parsed(sample_results(red=True))
    failure = case(root, "PROG-1").find("failure")
    assert failure is not None
    assert failure.get("message") == "62.5 after 63.0 (sequence 7 after 6)"
    assert "expected: never decreasing" in (failure.text or "")
    error = case(root, "RECOV-1").find("error")
    assert error is not None
    assert error.get("message") == "inconclusive: no worker could be killed here"
    assert case(root, "AUTH-8").find("failure") is None
    assert case(root, "request.latency_ms").find("failure") is not None
    assert case(root, "violation 1").find("failure") is not None


def test_strict_makes_a_missed_should_fail():
    """With `--strict` a SHOULD is as binding here as in the exit code."""
    contract = dataclasses.replace(sample_contract(red=True), strict=True)
    root = parsed(Results(sample_run(), contract=contract))
    assert case(root, "AUTH-8").find("failure") is not None


def test_an_undecided_target_is_an_error():
    """INVALID and INCONCLUSIVE are never green."""
    root = parsed(sample_results(invalid=True))
    assert case(root, "request.latency_ms").find("error") is not None
    assert root.get("errors") == "1"


def test_characters_that_xml_cannot_hold_are_made_visible():
    """A wire log may carry control characters and lone surrogates; the file stays XML."""
    contract = sample_contract()
    bad = dataclasses.replace(
        contract.clauses[0], verdict=Verdict.FAIL, seen="a\x00b\ud800c <&>", expected=""
    )
    root = parsed(Results(sample_run(), contract=dataclasses.replace(contract, clauses=(bad,))))
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.get("message") == "a�b�c <&>"


def test_a_clause_that_says_nothing_has_no_output():
    """Nothing expected, seen or reasoned leaves an empty test case."""
    contract = sample_contract()
    silent = dataclasses.replace(contract.clauses[0], expected="", seen="", reason="", section=9)
    root = parsed(Results(sample_run(), contract=dataclasses.replace(contract, clauses=(silent,))))
    assert list(case(root, silent.id)) == []
    assert root[0].get("name") == "contract.9"


def test_a_run_of_nothing_is_an_empty_document():
    """Without parts there are no suites."""
    root = parsed(Results(sample_run()))
    assert root.get("tests") == "0"


def test_an_inconclusive_target_keeps_its_reason():
    """The reason of a verdict stands in the test case."""
    load = sample_load()
    scenario = load.scenarios[0]
    target = dataclasses.replace(
        scenario.targets[0], verdict=LoadVerdict.INCONCLUSIVE, reason="the interval straddles"
    )
    scenario = dataclasses.replace(scenario, targets=(target,))
    results = Results(sample_run(), load=dataclasses.replace(load, scenarios=(scenario,)))
    error = parsed(results).find(".//error")
    assert error is not None
    assert "the interval straddles" in (error.text or "")
