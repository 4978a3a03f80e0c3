"""JUnit XML of a run: what continuous integration shows beside a commit.

Clauses are test cases of the suite `contract.SECTION`, performance targets of `load.SCENARIO`.
What did not apply is skipped with its reason; what was left undecided is an error, never green.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from streamproof.contract.rules import SECTIONS
from streamproof.report import words
from streamproof.results import LoadVerdict, Verdict

if TYPE_CHECKING:
    from streamproof.results import ClauseResult, ContractResult, LoadTarget, Results

# What XML 1.0 cannot hold, not even escaped: a wire log may carry any of it.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    """The text with what XML cannot hold made visible."""
    return _FORBIDDEN.sub("\ufffd", text)


def _clause_case(clause: ClauseResult, strict: bool) -> ET.Element:
    """One clause as a test case."""
    case = ET.Element(
        "testcase",
        name=f"{clause.id} {_clean(clause.sentence)}",
        classname=f"contract.{clause.group}",
        time=f"{clause.duration_s:.3f}",
    )
    told = _clean(
        "\n".join(
            f"{name}: {text}"
            for name, text in (
                ("expected", clause.expected),
                ("seen", clause.seen),
                ("reason", clause.reason),
            )
            if text
        )
    )
    verdict = clause.verdict
    if verdict is Verdict.FAIL or (strict and verdict is Verdict.NON_STRICT):
        ET.SubElement(case, "failure", message=_clean(clause.seen or clause.reason)).text = told
    elif verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE):
        message = f"{verdict.value}: {_clean(clause.reason)}"
        ET.SubElement(case, "error", message=message).text = told
    elif verdict is Verdict.NOT_APPLICABLE:
        ET.SubElement(case, "skipped", message=_clean(clause.reason))
    elif told:
        ET.SubElement(case, "system-out").text = f"{verdict.value}\n{told}"
    return case


def _target_case(scenario: str, target: LoadTarget) -> ET.Element:
    """One performance target as a test case."""
    case = ET.Element("testcase", name=f"{target.name} {target.limit_text}")
    case.set("classname", f"load.{scenario}")
    told = _clean(f"{words.target_words(target)}\n{target.reason}".strip())
    if target.verdict is LoadVerdict.FAIL:
        ET.SubElement(case, "failure", message=told.splitlines()[0]).text = told
    elif target.verdict is not LoadVerdict.PASS:
        ET.SubElement(case, "error", message=told.splitlines()[0]).text = told
    else:
        ET.SubElement(case, "system-out").text = told
    return case


def _violation_cases(classname: str, violations: tuple[str, ...]) -> list[ET.Element]:
    """What the history's checker found, each as a failed test case."""
    cases = []
    for position, violation in enumerate(violations, start=1):
        case = ET.Element("testcase", name=f"violation {position}", classname=classname)
        ET.SubElement(case, "failure", message=_clean(violation.splitlines()[0])).text = _clean(
            violation
        )
        cases.append(case)
    return cases


def _suite(name: str, cases: list[ET.Element]) -> ET.Element:
    """Test cases with their counts."""
    kinds = {kind: sum(case.find(kind) is not None for case in cases) for kind in _KINDS}
    suite = ET.Element("testsuite", name=name, tests=str(len(cases)))
    for kind, attribute in _KINDS.items():
        suite.set(attribute, str(kinds[kind]))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
    suite.extend(cases)
    return suite


_KINDS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def _contract_suites(contract: ContractResult) -> list[ET.Element]:
    """One suite per section of the contract, one for the history."""
    sections = sorted({clause.section for clause in contract.clauses})
    suites = [
        _suite(
            f"contract.{section} {SECTIONS.get(section, '')}".rstrip(),
            [_clause_case(c, contract.strict) for c in contract.clauses if c.section == section],
        )
        for section in sections
    ]
    if contract.history_violations:
        cases = _violation_cases("contract.history", contract.history_violations)
        suites.append(_suite("contract.history", cases))
    return suites


def to_junit(results: Results) -> str:
    """The text of `junit.xml`."""
    root = ET.Element("testsuites", name=f"streamproof {results.run.id}")
    if results.contract is not None:
        root.extend(_contract_suites(results.contract))
    for scenario in results.load.scenarios if results.load is not None else ():
        cases = [_target_case(scenario.name, target) for target in scenario.targets]
        cases += _violation_cases(f"load.{scenario.name}", scenario.violations)
        root.append(_suite(f"load.{scenario.name}", cases))
    root.set("tests", str(sum(int(suite.get("tests", "0")) for suite in root)))
    for attribute in _KINDS.values():
        root.set(attribute, str(sum(int(suite.get(attribute, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
