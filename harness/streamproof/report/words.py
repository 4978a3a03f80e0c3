"""What a run found, in sentences: the same words on the terminal and at the top of the report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streamproof.errors import ExitCode
from streamproof.results import LoadVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamproof.results import (
        ContractResult,
        LoadResult,
        LoadTarget,
        NemesisResult,
        Results,
    )

NO_FIGURE = "–"  # noqa: RUF001 - an en dash, as in a printed table
_DOUBT_OF_BOUND = 0.05  # an upper bound of a quantile is sought at 95 %


def number(value: float) -> str:
    """A figure with three significant digits and no exponent: 0.0412, 4.21, 12.6, 11,984."""
    if value != value:  # noqa: PLR0124 - only NaN differs from itself
        return NO_FIGURE
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.1 else 4
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """A length of time as people say it: 48 s, 2 min 22 s."""
    if seconds < 60:
        return f"{number(seconds)} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def listed(words: Sequence[str]) -> str:
    """Words as a list in prose: a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 clause, 2 clauses."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def contract_words(contract: ContractResult) -> str:
    """What the target does with the contract, as a verb phrase."""
    version = f"version {contract.contract_version} of the contract"
    if contract.exit_code is ExitCode.HOLDS:
        return f"keeps {version}"
    if contract.exit_code is ExitCode.BROKEN:
        return f"does not keep {version}"
    return f"left {version} undecided"


def load_words(load: LoadResult) -> str:
    """What the target does with its performance targets, as a verb phrase."""
    targets = [target for scenario in load.scenarios for target in scenario.targets]
    noun = "performance targets" if len(targets) > 1 else "performance target"
    if load.exit_code is ExitCode.HOLDS:
        return f"meets its {noun}"
    if any(target.verdict is LoadVerdict.FAIL for target in targets):
        return f"misses its {noun}"
    if load.exit_code is ExitCode.BROKEN:
        return "lost or repeated messages under load"
    if not targets:
        return "was not measured"
    if any(target.verdict is LoadVerdict.INVALID for target in targets):
        return "could not be measured: the generator did not keep up"
    return f"left its {noun} undecided"


def nemesis_words(nemesis: NemesisResult) -> str:
    """What the target does while it is harmed, as a verb phrase."""
    seeds = plural(len(nemesis.seeds), "seed")
    if nemesis.exit_code is ExitCode.HOLDS:
        return f"keeps its promises under the faults of {seeds}"
    if nemesis.exit_code is ExitCode.BROKEN:
        broken = sum(bool(seed.violations) for seed in nemesis.seeds)
        return f"breaks a promise under the faults of {broken} of {seeds}"
    return f"left the faults of {seeds} undecided"


def headline(results: Results) -> str:
    """The verdict in one sentence."""
    name = f"The target {results.run.target.get('name', '')}".rstrip()
    parts = []
    if results.contract is not None:
        parts.append((results.contract.exit_code, contract_words(results.contract)))
    if results.load is not None:
        parts.append((results.load.exit_code, load_words(results.load)))
    if results.nemesis is not None:
        parts.append((results.nemesis.exit_code, nemesis_words(results.nemesis)))
    if not parts:
        return f"{name} was not judged."
    agree = len({code is ExitCode.HOLDS for code, _ in parts}) == 1
    return f"{name} {(' and ' if agree else ', but ').join(phrase for _, phrase in parts)}."


def clause_counts(contract: ContractResult) -> str:
    """How the clauses ended, the bad news first; what holds is counted against what was judged."""
    order = (
        (Verdict.FAIL, "failed"),
        (Verdict.ERROR, "broke the harness"),
        (Verdict.INCONCLUSIVE, "inconclusive"),
        (Verdict.NON_STRICT, "missed a SHOULD"),
    )
    judged = len(contract.clauses) - sum(
        contract.count(verdict) for verdict in (Verdict.INFO, Verdict.NOT_APPLICABLE)
    )
    words = [f"{contract.count(v)} {text}" for v, text in order if contract.count(v)]
    words.append(f"{contract.count(Verdict.PASS)} of {plural(judged, 'clause')} hold")
    if observed := contract.count(Verdict.INFO):
        words.append(f"{observed} observed")
    if absent := contract.count(Verdict.NOT_APPLICABLE):
        words.append(f"{absent} not applicable")
    return ", ".join(words)


def quantile(limit_text: str) -> float | None:
    """The quantile (0 to 1) in `p(99) < 10`; None for a limit on something else."""
    found = re.search(r"\bp\((\d+(?:\.\d+)?)\)", limit_text)
    return float(found[1]) / 100 if found and float(found[1]) < 100 else None


def figure(target: LoadTarget) -> str:
    """The statistic that a target limits: `p99` for `p(99) < 10`."""
    share = quantile(target.limit_text)
    return "" if share is None else f"p{share * 100:g}"


def _undecidable(target: LoadTarget) -> bool:
    """Whether an upper 95 % bound cannot exist: for a p99 below 299 samples, 0.99**299 < 0.05."""
    share = quantile(target.limit_text)
    return share is not None and share**target.effective_samples > _DOUBT_OF_BOUND


def target_name(target: LoadTarget) -> str:
    """What was measured, as people say it: `request p99` for `request.latency_ms`."""
    return f"{target.name.removesuffix('.latency_ms')} {figure(target)}".rstrip()


def target_words(target: LoadTarget) -> str:
    """One performance target against its limit, with the interval that decided."""
    unit = target.unit
    return (
        f"{target_name(target)} {number(target.measured)} {unit} "
        f"({number(target.interval_low)} to {number(target.interval_high)}) "
        f"against {number(target.limit)} {unit}: {target.verdict.value}"
    )


def not_shown(results: Results) -> list[str]:
    """What this run says nothing about: what the parts declare, then what did not apply."""
    lines: list[str] = []
    for part in (results.contract, results.load):
        lines += part.not_shown if part is not None else ()
    if results.contract is None:
        lines.append("The contract: no clause was run.")
    else:
        lines += _not_applicable(results.contract)
    if results.load is None:
        lines.append("Performance: no load was run.")
    else:
        lines += [
            f"{target_name(target)}: {number(target.effective_samples)} effective samples "
            f"decide no {figure(target)}."
            for scenario in results.load.scenarios
            for target in scenario.targets
            if _undecidable(target)
        ]
    return list(dict.fromkeys(lines))


def _not_applicable(contract: ContractResult) -> list[str]:
    """One line per reason for which clauses did not apply."""
    by_reason: dict[str, list[str]] = {}
    for clause in contract.clauses:
        if clause.verdict is Verdict.NOT_APPLICABLE:
            by_reason.setdefault(clause.reason or "not applicable", []).append(clause.id)
    return [f"{listed(ids)}: {reason}" for reason, ids in by_reason.items()]


def closing(results: Results) -> str:
    """The closing sentence of `verify`: the verdict, the groups shown, and what was not shown."""
    parts = [headline(results)]
    if results.contract is not None:
        groups = listed(results.contract.groups)
        shown = f"Shown: {groups} ({clause_counts(results.contract)})." if groups else ""
        parts.append(shown)
    if results.load is not None:
        targets = [t for scenario in results.load.scenarios for t in scenario.targets]
        parts += [f"{target_words(target)}." for target in targets]
    if missing := not_shown(results):
        parts.append(f"Not shown: {'; '.join(line.rstrip('.') for line in missing)}.")
    return " ".join(filter(None, parts))
