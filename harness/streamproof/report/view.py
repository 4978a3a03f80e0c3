"""What the page shows, arranged: values in, values out, no HTML and no judgment."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from streamproof.contract.rules import SECTIONS
from streamproof.errors import ExitCode
from streamproof.report import words
from streamproof.results import LoadVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamproof.results import (
        ClauseResult,
        ContractResult,
        LoadTarget,
        Results,
        ScenarioResult,
        WireLine,
    )

LOG_LINES_MAX = 200  # per clause; results.json has the whole log
LOG_LINES_OF_GOOD_MAX = 40  # what went well is seldom read to the end
LOG_TEXT_MAX = 2_000  # characters of one message
GLANCE_MAX = 160  # characters of what was seen, in the list of what needs a look
VIOLATIONS_MAX = 50

# The five ways a thing can look; each has a colour and a mark of its own in the page.
GOOD, BAD, DOUBT, QUIET = "good", "bad", "doubt", "quiet"
_TONE = {
    Verdict.PASS: GOOD,
    Verdict.FAIL: BAD,
    Verdict.NON_STRICT: DOUBT,
    Verdict.INFO: QUIET,
    Verdict.NOT_APPLICABLE: QUIET,
    Verdict.INCONCLUSIVE: DOUBT,
    Verdict.ERROR: DOUBT,
    LoadVerdict.PASS: GOOD,
    LoadVerdict.FAIL: BAD,
    LoadVerdict.INCONCLUSIVE: DOUBT,
    LoadVerdict.INVALID: DOUBT,
}
_TROUBLE = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.NON_STRICT)

COUNT_WORDS = {
    "intended": "arrivals that the schedule intended",
    "sent": "sent",
    "answered": "answered",
    "refused": "refused, so surely not run",
    "indeterminate": "without an answer in time",
    "lost": "acknowledged and never ended",
    "repeated": "answers that came twice",
    "wrong": "answers with a wrong content",
}
_COUNTS_OF_HARM = ("indeterminate", "lost", "repeated", "wrong")


def tone(verdict: Verdict | LoadVerdict) -> str:
    """How a verdict looks."""
    return _TONE[verdict]


def tone_of_code(code: ExitCode) -> str:
    """How a part looks that ended with this code."""
    return {ExitCode.HOLDS: GOOD, ExitCode.BROKEN: BAD}.get(code, DOUBT)


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One section of the contract with its clauses."""

    number: int
    title: str
    clauses: tuple[ClauseResult, ...]

    @property
    def summary(self) -> str:
        """How many of the clauses that were judged hold."""
        judged = [c for c in self.clauses if tone(c.verdict) != QUIET]
        held = sum(c.verdict is Verdict.PASS for c in judged)
        if not judged:
            return "nothing judged"
        return f"all {held} hold" if held == len(judged) else f"{held} of {len(judged)} hold"

    @property
    def tone(self) -> str:
        """The worst of the section's clauses."""
        tones = {tone(clause.verdict) for clause in self.clauses}
        return next((t for t in (BAD, DOUBT, GOOD) if t in tones), QUIET)


def sections(contract: ContractResult) -> list[Section]:
    """The clauses by section, in the contract's order."""
    numbers = sorted({clause.section for clause in contract.clauses})
    return [
        Section(
            number,
            SECTIONS.get(number, f"Section {number}"),
            tuple(c for c in contract.clauses if c.section == number),
        )
        for number in numbers
    ]


def troubled(contract: ContractResult) -> list[ClauseResult]:
    """What did not end well, worst first."""
    clauses = [clause for clause in contract.clauses if clause.verdict in _TROUBLE]
    return sorted(clauses, key=lambda clause: _TROUBLE.index(clause.verdict))


def glance(clause: ClauseResult) -> str:
    """What was wrong with a clause, short enough for a list; all of it stands at the clause."""
    text = clause.seen or clause.reason or clause.sentence
    return text if len(text) <= GLANCE_MAX else f"{text[:GLANCE_MAX].rstrip()} …"


def log_lines(clause: ClauseResult) -> tuple[list[WireLine], int]:
    """The wire log as it is shown, long messages cut; and how many lines are left out."""
    most = LOG_LINES_OF_GOOD_MAX if tone(clause.verdict) == GOOD else LOG_LINES_MAX
    shown = [
        line
        if len(line.text) <= LOG_TEXT_MAX
        else dataclasses.replace(line, text=f"{line.text[:LOG_TEXT_MAX]} …")
        for line in clause.log[:most]
    ]
    return shown, max(len(clause.log) - most, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """Where a target's figures lie on a bar, in percent of its width."""

    limit: float
    low: float
    high: float
    measured: float


def bar(target: LoadTarget) -> Bar:
    """The bar from zero to a little beyond the largest figure."""
    end = max(target.limit, target.interval_high, target.measured) * 1.12 or 1.0
    figures = (target.limit, target.interval_low, target.interval_high, target.measured)
    return Bar(*(round(100 * max(figure, 0) / end, 2) for figure in figures))


def margin(target: LoadTarget) -> str:
    """How far the measured figure is from its limit, in words."""
    if target.limit == 0:
        return words.NO_FIGURE
    share = 100 * (target.limit - target.measured) / target.limit
    return f"{abs(share):.0f} % {'below' if share >= 0 else 'above'}"


def counts(scenario: ScenarioResult) -> list[tuple[str, int, str]]:
    """What happened to the requests: words, count, tone. Any harm above zero looks bad."""
    return [
        (
            COUNT_WORDS.get(name, name.replace("_", " ")),
            count,
            BAD if name in _COUNTS_OF_HARM and count else QUIET,
        )
        for name, count in scenario.counts.items()
    ]


def self_check(scenario: ScenarioResult) -> list[dict[str, Any]]:
    """What the generator measured of itself: name, value, limit, unit, ok."""
    return [
        {
            "name": name.replace("_", " "),
            "value": words.number(float(figure["value"])),
            "unit": figure.get("unit", ""),
            "limit": _allowed(figure),
            "tone": GOOD if figure.get("ok") else DOUBT,
        }
        for name, figure in scenario.self_check.items()
    ]


def _allowed(figure: dict[str, Any]) -> str:
    """The bound of a self-check figure: `≤ 1`; nothing where there is none."""
    if "limit" not in figure:
        return ""
    sign = "≥" if figure.get("bound") == "at least" else "≤"
    return f"{sign} {words.number(float(figure['limit']))}"


# How each setting reads, in the order of the sentence; the second half is small print.
_SETTINGS: dict[str, Callable[[Any], str]] = {
    "connections": lambda value: words.plural(value, "connection"),
    "rate_per_s": lambda value: f"{words.number(value)} requests per second in an open loop",
    "arrivals": lambda value: f"{value} arrivals",
    "seed": lambda value: f"seed {value}",
    "warm_up_s": lambda value: f"{words.duration(value)} of warm-up",
    "measure_s": lambda value: f"{words.duration(value)} measured",
}
_SMALL_PRINT: dict[str, Callable[[Any], str]] = {
    "connects_per_s": lambda value: f"connections opened at {words.number(value)} per second",
    "settle_s": lambda value: f"{words.duration(value)} to settle",
    "calibrate_s": lambda value: f"{words.duration(value)} of calibration",
    "measured_s": lambda value: f"{words.duration(value)} measured in the end",
    "time_limit_s": lambda value: f"a request counts as lost after {words.duration(value)}",
    "timer_precise": lambda value: (
        "arrivals by a precise timer" if value else "arrivals by a timer of milliseconds"
    ),
}


def settings(scenario: ScenarioResult) -> str:
    """What was offered, in one sentence."""
    given = scenario.settings
    return _sentence([say(given[name]) for name, say in _SETTINGS.items() if name in given])


def small_print(scenario: ScenarioResult) -> str:
    """The other settings, in one sentence; those that nobody knows keep their names."""
    given = scenario.settings
    known = [say(given[name]) for name, say in _SMALL_PRINT.items() if name in given]
    named = _SETTINGS.keys() | _SMALL_PRINT.keys()
    other = [f"{k.replace('_', ' ')} {v}" for k, v in given.items() if k not in named]
    return _sentence(known + other)


def _sentence(parts: list[str]) -> str:
    """Parts as a sentence of their own; nothing for none."""
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def facts(results: Results) -> list[tuple[str, str]]:
    """Where, when and with what: term and description."""
    run, machine = results.run, results.run.machine
    target = run.target
    described = [
        (
            "Target",
            " · ".join(str(target[k]) for k in ("name", "url", "environment") if target.get(k)),
        ),
        ("Can", ", ".join(target.get("capabilities", ()))),
        ("Started", run.started_at.replace("T", " ").replace("Z", " UTC")),
        ("Took", words.duration(run.duration_s)),
        (
            "Machine",
            ", ".join(
                text
                for text in (
                    str(machine.get("cpu", "")),
                    words.plural(machine["cores"], "core") if machine.get("cores") else "",
                    f"{machine['memory_gib']:.1f} GiB" if machine.get("memory_gib") else "",
                )
                if text
            ),
        ),
        ("System", ", ".join(str(machine[k]) for k in ("system", "python") if machine.get(k))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
    ]
    if results.contract is not None:
        described.append(("Contract seed", str(results.contract.seed)))
    if results.load is not None:
        described.append(("Load", f"size {results.load.size}, seed {results.load.seed}"))
    return [(term, text) for term, text in described if text]
