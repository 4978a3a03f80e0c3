"""What a load run says to people: one line while it runs, a few when it is over."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from streamproof.results import LoadResult, LoadVerdict, ScenarioResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamproof.results import Curve, LoadTarget

VIOLATIONS_SHOWN = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is, once a second."""

    scenario: str
    phase: str
    second: int
    of_s: int
    sent: int
    answered: int
    p50_ms: float
    p99_ms: float


def progress_line(progress: Progress) -> str:
    """One line for the terminal."""
    where = f"{progress.scenario} {progress.phase}"
    if progress.of_s == 0:
        return where
    return (
        f"{where} {progress.second}/{progress.of_s} s  sent {progress.sent}  "
        f"answered {progress.answered}  p50 {progress.p50_ms:.2f} ms  p99 {progress.p99_ms:.2f} ms"
    )


def closing_lines(result: LoadResult) -> list[str]:
    """The verdicts, each with its figures and doubts."""
    lines = [line for scenario in result.scenarios for line in _scenario_lines(scenario)]
    if not result.scenarios:
        lines.append("nothing was measured")
    lines += [f"not shown: {words}" for words in result.not_shown]
    return lines


def _scenario_lines(scenario: ScenarioResult) -> Iterator[str]:
    for target in scenario.targets:
        yield _target_line(target)
    counts = scenario.counts
    unsent = counts.get("failed_to_send", 0)
    not_sent = f" + not sent {unsent}" if unsent else ""
    yield (
        f"  sent {counts['sent']}{not_sent} = answered {counts['answered']} "
        f"+ refused {counts['refused']} + indeterminate {counts['indeterminate']}; "
        f"lost {counts['lost']}, repeated {counts['repeated']}, wrong {counts['wrong']}"
    )
    curves = {curve.name: curve for curve in (*scenario.curves, *scenario.beside)}
    for name, meaning in (
        ("corrected", "from the plan"),
        ("uncorrected", "as a closed loop would say"),
        ("calibration", "bare echo server"),
        ("lag", "generator's lag"),
    ):
        if name in curves:
            yield f"  {meaning:<27}" + _percentiles(curves[name])
    failed = [name for name, figure in scenario.self_check.items() if not figure["ok"]]
    checked = ", ".join(
        f"{name.replace('_', ' ')} {figure['value']:g} {figure['unit']}"
        for name, figure in scenario.self_check.items()
    )
    yield f"  self-check {'FAILED' if failed else 'ok'}: {checked}"
    for words in scenario.violations[:VIOLATIONS_SHOWN]:
        yield f"  violation: {words}"
    if len(scenario.violations) > VIOLATIONS_SHOWN:
        yield f"  and {len(scenario.violations) - VIOLATIONS_SHOWN} violations more"


def _target_line(target: LoadTarget) -> str:
    word = target.verdict.value.upper()
    line = f'{word}  {target.name} = "{target.limit_text}"'
    if target.effective_samples:
        line += (
            f"  measured {target.measured:.2f} {target.unit} "
            f"({target.interval_low:.2f} to {target.interval_high:.2f}, "
            f"worth {target.effective_samples:.0f} independent samples)"
        )
    return line if target.verdict is LoadVerdict.PASS else f"{line}: {target.reason}"


def _percentiles(curve: Curve) -> str:
    found = []
    for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")):
        value = next((ms for quantile, ms in curve.points if quantile >= share), None)
        if value is not None:
            found.append(f"{name} {value:.2f}")
    return "  ".join(found) + " ms" if found else "no samples"
