"""What a run found, as data: the one shape that every report, file and exit code is made from.

A run's folder holds `results.json` (this), `history.ndjson`, `report.html` and `junit.xml`.
The schema's name carries its version; a reader refuses a version that it does not know.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from pathlib import Path
from typing import Any, Self

from streamproof.errors import ExitCode, UsageError

SCHEMA = "streamproof.results/1"
RESULTS_BYTES_MAX = 64 * 1024 * 1024  # a results file beyond this is not one of ours


class Level(enum.StrEnum):
    """How binding a clause is: a failed MUST fails the run, a SHOULD only with `--strict`."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    OBSERVED = "OBSERVED"


class Verdict(enum.StrEnum):
    """How one clause ended."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    NON_STRICT = "non-strict"  # a SHOULD was missed
    INFO = "info"
    NOT_APPLICABLE = "not applicable"  # the target lacks the capability
    INCONCLUSIVE = "inconclusive"  # could not be provoked
    ERROR = "error"  # the harness broke


class LoadVerdict(enum.StrEnum):
    """How one performance target ended."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"  # the interval straddles the limit
    INVALID = "invalid"  # the generator could not keep up: says nothing about the target


@dataclasses.dataclass(frozen=True, slots=True)
class WireLine:
    """One message as the client saw it: when since the clause began, `>` sent or `<` received."""

    at_ms: float
    lane: str
    direction: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ClauseResult:
    """One clause's verdict with what it expected, what it saw and the wire log that shows it."""

    id: str
    section: int
    group: str
    level: Level
    sentence: str
    why: str
    origin: str
    verdict: Verdict
    expected: str = ""
    seen: str = ""
    reason: str = ""
    duration_s: float = 0.0
    log: tuple[WireLine, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ContractResult:
    """All clauses of one run, in the order of the contract."""

    contract_version: int
    seed: int
    strict: bool
    duration_s: float
    clauses: tuple[ClauseResult, ...]
    groups: tuple[str, ...]
    history_violations: tuple[str, ...] = ()
    not_shown: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many clauses ended so."""
        return sum(clause.verdict is verdict for clause in self.clauses)

    @property
    def exit_code(self) -> ExitCode:
        """0 holds, 1 a clause failed, 3 inconclusive or broken harness."""
        broken = {Verdict.FAIL} | ({Verdict.NON_STRICT} if self.strict else set())
        if self.history_violations or any(c.verdict in broken for c in self.clauses):
            return ExitCode.BROKEN
        if not self.clauses or any(
            c.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR) for c in self.clauses
        ):
            return ExitCode.NO_VERDICT
        return ExitCode.HOLDS


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """Latency by quantile: `points` are (quantile 0..1, milliseconds), rising in both."""

    name: str
    samples: int
    points: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class LoadTarget:
    """One performance target: `limit_text` is the line of configuration that it was judged by."""

    name: str
    limit_text: str
    unit: str
    limit: float
    measured: float
    interval_low: float
    interval_high: float
    effective_samples: float
    verdict: LoadVerdict
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One load scenario: what was offered, what was seen, and whether it can be believed."""

    name: str
    title: str
    targets: tuple[LoadTarget, ...]
    curves: tuple[Curve, ...]  # corrected (from the intended moment), uncorrected, calibration
    settings: dict[str, Any]  # connections, rate_per_s, measure_s, warm_up_s, seed ...
    counts: dict[
        str, int
    ]  # intended, sent, answered, refused, indeterminate, lost, repeated, wrong
    self_check: dict[str, Any]  # figure -> {"value", "limit", "ok", "unit"}
    seconds: tuple[
        dict[str, float], ...
    ] = ()  # per second: {"second","count","p50_ms","p99_ms","lag_p99_ms"}
    violations: tuple[str, ...] = ()
    beside: tuple[Curve, ...] = ()  # service (from the moment of sending) and lag of the generator


@dataclasses.dataclass(frozen=True, slots=True)
class LoadResult:
    """All scenarios of one run and the noise floor beside them."""

    size: str
    seed: int
    duration_s: float
    scenarios: tuple[ScenarioResult, ...]
    not_shown: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 met, 1 missed or wrong messages, 3 no verdict."""
        verdicts = [target.verdict for scenario in self.scenarios for target in scenario.targets]
        if LoadVerdict.FAIL in verdicts or any(s.violations for s in self.scenarios):
            return ExitCode.BROKEN
        if not verdicts or any(v is not LoadVerdict.PASS for v in verdicts):
            return ExitCode.NO_VERDICT
        return ExitCode.HOLDS


@dataclasses.dataclass(frozen=True, slots=True)
class SeedResult:
    """What one seed of a nemesis run found: how requests ended, and which faults struck."""

    seed: int
    duration_s: float
    counts: dict[str, int]  # requests: sent, acknowledged, completed, failed, lost ...
    faults: dict[str, int]  # what struck, and what it did
    violations: tuple[str, ...]
    witness: tuple[str, ...]  # the events of the first violation and the faults around it
    reason: str  # why there is no verdict; empty when there is one
    command: str  # repeats this seed alone

    @property
    def exit_code(self) -> ExitCode:
        """1 a promise was not kept, 3 no verdict."""
        if self.violations:
            return ExitCode.BROKEN
        return ExitCode.NO_VERDICT if self.reason else ExitCode.HOLDS


@dataclasses.dataclass(frozen=True, slots=True)
class NemesisResult:
    """All seeds of one nemesis run, with the options that they shared."""

    settings: dict[str, Any]
    duration_s: float
    seeds: tuple[SeedResult, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The worst of the seeds; none is no verdict."""
        if not self.seeds:
            return ExitCode.NO_VERDICT
        return ExitCode.worst([seed.exit_code for seed in self.seeds])


@dataclasses.dataclass(frozen=True, slots=True)
class RunInfo:
    """Which run this was, on what machine, against what, and the command that repeats it."""

    id: str
    command: str
    started_at: str  # ISO 8601, UTC
    duration_s: float
    target: dict[str, Any]  # "name", "url", "environment", "capabilities": no secrets
    machine: dict[str, Any]  # "cpu", "cores", "memory_gib", "system", "python"
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Results:
    """A whole run."""

    run: RunInfo
    contract: ContractResult | None = None
    load: LoadResult | None = None
    nemesis: NemesisResult | None = None
    schema: str = SCHEMA

    @property
    def exit_code(self) -> ExitCode:
        """The worst of what was run; a run of nothing has no verdict."""
        parts = (self.contract, self.load, self.nemesis)
        codes = [part.exit_code for part in parts if part is not None]
        return ExitCode.worst(codes) if codes else ExitCode.NO_VERDICT

    def to_json(self) -> str:
        """The text of `results.json`."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, path: Path) -> None:
        """Write `results.json` in one step, so that a reader never sees half of it."""
        partial = path.with_suffix(".partial")
        partial.write_text(self.to_json(), encoding="utf-8")
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote; `UsageError` names what is wrong with any other file."""
        hint = "name a run's folder or its results.json"
        try:
            if path.stat().st_size > RESULTS_BYTES_MAX:
                raise UsageError(f"{path} is too large to be a results file", hint)
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            missing = path.parent if path.name == "results.json" else path
            what = "has no results.json" if missing.is_dir() else "is no run: it does not exist"
            raise UsageError(f"{missing} {what}", hint) from error
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}", hint) from error
        except ValueError as error:
            raise UsageError(f"cannot read {path}: {error}", hint) from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise UsageError(f"{path} is not a {SCHEMA} file", hint)
        try:
            return cls(
                run=RunInfo(**data["run"]),
                contract=contract_from_json(data["contract"]) if data.get("contract") else None,
                load=load_from_json(data["load"]) if data.get("load") else None,
                nemesis=nemesis_from_json(data["nemesis"]) if data.get("nemesis") else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{path} does not fit {SCHEMA}: {error}", hint) from error


def contract_from_json(data: dict[str, Any]) -> ContractResult:
    """A contract result from its JSON form."""
    clauses = tuple(
        ClauseResult(
            **{
                **clause,
                "level": Level(clause["level"]),
                "verdict": Verdict(clause["verdict"]),
                "log": tuple(WireLine(**line) for line in clause["log"]),
            }
        )
        for clause in data["clauses"]
    )
    texts = {name: tuple(data[name]) for name in ("groups", "history_violations", "not_shown")}
    return ContractResult(**{**data, **texts, "clauses": clauses})


def nemesis_from_json(data: dict[str, Any]) -> NemesisResult:
    """A nemesis result from its JSON form."""
    texts = ("violations", "witness")
    seeds = (
        SeedResult(**{**seed, **{name: tuple(seed[name]) for name in texts}})
        for seed in data["seeds"]
    )
    return NemesisResult(**{**data, "seeds": tuple(seeds)})


def load_from_json(data: dict[str, Any]) -> LoadResult:
    """A load result from its JSON form."""
    scenarios = tuple(
        ScenarioResult(
            **{
                **scenario,
                "targets": tuple(
                    LoadTarget(**{**t, "verdict": LoadVerdict(t["verdict"])})
                    for t in scenario["targets"]
                ),
                "curves": _curves_from_json(scenario["curves"]),
                "beside": _curves_from_json(scenario.get("beside", [])),
                "seconds": tuple(scenario["seconds"]),
                "violations": tuple(scenario["violations"]),
            }
        )
        for scenario in data["scenarios"]
    )
    return LoadResult(**{**data, "scenarios": scenarios, "not_shown": tuple(data["not_shown"])})


def _curves_from_json(data: list[dict[str, Any]]) -> tuple[Curve, ...]:
    return tuple(
        Curve(c["name"], c["samples"], tuple((q, ms) for q, ms in c["points"])) for c in data
    )
