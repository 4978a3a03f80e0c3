"""Runs clauses against a target and says how each ended.

Clauses run side by side, at most `concurrency` at a time, each within its own time; those that
harm their neighbours run afterwards. An assertion is a finding about the target, any other
exception is the harness's own fault (`error`), and a clause that lacks a capability is not
applicable, never green.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from streamproof.contract.context import Context
from streamproof.contract.discovery import discover
from streamproof.contract.failures import Broken, Inconclusive, NotApplicable
from streamproof.contract.journal import Journal
from streamproof.contract.registry import Clause, Group, all_clauses, select
from streamproof.contract.rules import CONTRACT_VERSION, RULES, compact
from streamproof.contract.session import Patience
from streamproof.dialect import Dialect, StreamerDialect
from streamproof.errors import StreamproofError
from streamproof.history import HistoryChecker, Recorder, Violation, without_tokens
from streamproof.results import ClauseResult, ContractResult, Level, Verdict
from streamproof.targets import Capability, Target
from streamproof.targets.safety import CapReachedError, Pacer, announcement

CONCURRENCY = 10
LOG_LINES_OF_A_PASS = 60
CONNECTIONS_PER_CLAUSE = 8


@dataclasses.dataclass(frozen=True, slots=True)
class ContractOptions:
    """What to run and how; the defaults run everything that applies."""

    clauses: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    platform: bool = False  # judge section 6 on a target that does not claim to be a gateway
    strict: bool = False
    seed: int = 1
    require_all: bool = False
    concurrency: int = CONCURRENCY
    history: Path | None = None  # where the run is recorded
    patience: Patience = dataclasses.field(default_factory=Patience)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Told after each clause, and once before the first with `line` alone."""

    done: int
    total: int
    result: ClauseResult | None = None
    line: str = ""


Tell = Callable[[Progress], None]


def run_contract(
    target: Target, options: ContractOptions | None = None, progress: Tell | None = None
) -> ContractResult:
    """Run the clauses against an entered target; `StreamproofError` when nothing can be judged."""
    return asyncio.run(run(target, options or ContractOptions(), progress or (lambda _: None)))


async def run(
    target: Target, options: ContractOptions, tell: Tell, clauses: Sequence[Clause] | None = None
) -> ContractResult:
    """`run_contract` inside a loop; `clauses` replaces the registry."""
    began_s = time.monotonic()
    chosen = select(options.clauses, options.groups, clauses)
    cleared = target.clearance.groups
    if cleared is not None:
        chosen = tuple(item for item in chosen if item.group in cleared)
    name = secrets.token_hex(4)
    header = {"run": name, "seed": options.seed, "target": target.name}
    with Recorder.open(options.history, lambda: time.monotonic() - began_s, **header) as recorder:
        engine = _Run(target, options, tell, recorder, name, began_s)
        results = await engine.run(chosen)
    return engine.result(results)


class _Run:
    """One run: what its clauses share."""

    def __init__(
        self,
        target: Target,
        options: ContractOptions,
        tell: Tell,
        recorder: Recorder,
        name: str,
        began_s: float,
    ) -> None:
        self._target = target
        self._options = options
        self._tell = tell
        self._recorder = recorder
        self._name = name
        self._began_s = began_s
        self._checker = HistoryChecker()
        self._pacer = Pacer(target.clearance.caps)
        self._capabilities = target.capabilities
        self._dialect: Dialect = StreamerDialect()
        self._patience = options.patience
        self._done = 0
        self._total = 0

    async def run(self, chosen: Sequence[Clause]) -> list[ClauseResult]:
        """Ask for capabilities, then run each clause; results in the order given."""
        self._total = len(chosen)
        connections = min(len(chosen), self._options.concurrency) * CONNECTIONS_PER_CLAUSE
        messages = sum(item.messages for item in chosen)
        line = announcement(self._target.clearance, connections=connections, messages=messages)
        self._tell(Progress(0, self._total, line=line))
        async with self._context("smoke") as (ctx, _):
            found = await discover(ctx)
        self._capabilities = found.capabilities
        if not found.answers:
            self._patience = self._patience.shortened()
        self._dialect = StreamerDialect(probe=Capability.PROBE in self._capabilities)
        results: dict[str, ClauseResult] = {}
        # Where sends are paced, clauses would take each other's turns and time.
        paced = self._pacer.caps.messages_per_s is not None
        slots = asyncio.Semaphore(1 if paced else self._options.concurrency)

        async def one(item: Clause) -> None:
            async with slots:
                results[item.id] = await self._clause(item)

        # The longest first, so that none of them is alone at the end.
        together = sorted((c for c in chosen if not c.alone), key=lambda c: -c.timeout_s)
        async with asyncio.TaskGroup() as group:
            for item in together:
                group.create_task(one(item))
        async with asyncio.TaskGroup() as group:
            for item in chosen:
                if item.alone:
                    group.create_task(one(item))
        return [results[item.id] for item in chosen]

    def result(self, results: Sequence[ClauseResult]) -> ContractResult:
        """All clauses with what the whole history shows."""
        violations = self._checker.finish(time.monotonic() - self._began_s)
        held = tuple(_held_against(result, violations) for result in results)
        shown = [group for group in Group if any(item.group == group for item in held)]
        return ContractResult(
            contract_version=CONTRACT_VERSION,
            seed=self._options.seed,
            strict=self._options.strict,
            duration_s=round(time.monotonic() - self._began_s, 3),
            clauses=held,
            groups=tuple(str(group) for group in shown),
            history_violations=tuple(without_tokens(str(violation)) for violation in violations),
            not_shown=_not_shown(held, shown),
        )

    def _context(self, name: str, judged: bool = True) -> _Opened:
        clock = time.monotonic
        journal = Journal(name, lambda: clock() - self._began_s, self._recorder, self._checker)
        ctx = Context(
            self._target,
            self._dialect,
            journal,
            self._pacer,
            run=self._name,
            clause=name,
            seed=self._options.seed,
            judged=judged,
            patience=self._patience,
        )
        return _Opened(ctx, journal)

    async def _clause(self, item: Clause) -> ClauseResult:
        began_s = time.monotonic()
        missing = item.needs - self._capabilities
        judged = self._judges(item)
        level = item.level if judged else Level.OBSERVED
        result = _blank(item, level)
        longest_s = self._pacer.caps.duration_s
        if longest_s is not None and began_s - self._began_s > longest_s:
            reason = f"the run's {longest_s:g} s for a remote target were over"
            result = dataclasses.replace(result, verdict=Verdict.INCONCLUSIVE, reason=reason)
        elif missing:
            reason = f"the target lacks: {', '.join(sorted(missing))}"
            result = dataclasses.replace(result, verdict=Verdict.NOT_APPLICABLE, reason=reason)
        else:
            async with self._context(item.id, judged) as (ctx, journal):
                ended = await _attempt(item, ctx)
            result = _without_secrets(_conclude(result, ended, item))
            lines = journal.log
            passed = result.verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)
            kept = lines[-LOG_LINES_OF_A_PASS:] if passed else lines
            result = dataclasses.replace(result, log=kept)
        took_s = round(time.monotonic() - began_s, 3)
        result = dataclasses.replace(result, duration_s=took_s)
        self._done += 1
        self._tell(Progress(self._done, self._total, result))
        return result

    def _judges(self, item: Clause) -> bool:
        """Platform rules bind emulators; elsewhere they are observations (docs/contract.md)."""
        if item.group is not Group.PLATFORM or self._options.platform:
            return True
        gateway = self._target.kind != "url" or Capability.MANAGEMENT in self._capabilities
        return gateway and self._target.loopback


class _Opened:
    """A context with its journal, closed at the end."""

    def __init__(self, ctx: Context, journal: Journal) -> None:
        self._ctx = ctx
        self._journal = journal

    async def __aenter__(self) -> tuple[Context, Journal]:
        await self._ctx.__aenter__()
        return self._ctx, self._journal

    async def __aexit__(self, *_: object) -> None:
        await self._ctx.__aexit__()


async def _attempt(item: Clause, ctx: Context) -> BaseException | None:
    """Run a clause's check; what it raised, or None."""
    try:
        async with asyncio.timeout(item.timeout_s):
            await item.check(ctx)
    except Exception as error:  # noqa: BLE001 - whatever it is becomes the clause's verdict
        return error
    return None


def _blank(item: Clause, level: Level) -> ClauseResult:
    return ClauseResult(
        id=item.id,
        section=item.section,
        group=str(item.group),
        level=level,
        sentence=item.sentence,
        why=item.why,
        origin=item.origin,
        verdict=Verdict.PASS,
    )


_OF_A_MISS = {
    Level.MUST: Verdict.FAIL,
    Level.SHOULD: Verdict.NON_STRICT,
    Level.OBSERVED: Verdict.INFO,
}


def _conclude(result: ClauseResult, ended: BaseException | None, item: Clause) -> ClauseResult:
    miss = _OF_A_MISS[result.level]
    match ended:
        case None:
            return result
        case Broken():
            return dataclasses.replace(
                result, verdict=miss, expected=ended.expected, seen=ended.seen
            )
        case NotApplicable():
            return dataclasses.replace(result, verdict=Verdict.NOT_APPLICABLE, reason=str(ended))
        case Inconclusive() | CapReachedError():
            return dataclasses.replace(result, verdict=Verdict.INCONCLUSIVE, reason=str(ended))
        case TimeoutError():
            expected = f"the clause to end within {item.timeout_s:g} s"
            return dataclasses.replace(result, verdict=miss, expected=expected, seen="it did not")
        case StreamproofError():
            return dataclasses.replace(result, verdict=Verdict.ERROR, reason=ended.message)
        case _:
            return _of_an_exception(result, ended, miss)


def _without_secrets(result: ClauseResult) -> ClauseResult:
    """The same result, fit to be kept: what a clause saw may hold a token or a signed URL."""
    return dataclasses.replace(
        result,
        expected=without_tokens(result.expected),
        seen=without_tokens(result.seen),
        reason=without_tokens(result.reason),
    )


def _of_an_exception(result: ClauseResult, ended: BaseException, miss: Verdict) -> ClauseResult:
    """Ours, except where a clause met a value that lacks a part or has another type."""
    place = ended.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    code = place.tb_frame.f_code if place is not None else None
    where = f" ({code.co_name}:{place.tb_lineno})" if code is not None and place else ""
    reason = f"{type(ended).__name__}: {ended}"[:500] + where
    in_a_clause = code is not None and Path(code.co_filename).parent.name == "clauses"
    if in_a_clause and isinstance(ended, (AttributeError, TypeError)):
        expected = "values of the types that the contract gives"
        return dataclasses.replace(result, verdict=miss, expected=expected, seen=reason)
    if in_a_clause and isinstance(ended, (KeyError, IndexError)):
        missing = "an item of a list" if isinstance(ended, IndexError) else f"the member {ended}"
        expected = f"{missing}, which was not there"
        return dataclasses.replace(result, verdict=miss, expected=expected, seen=reason)
    return dataclasses.replace(result, verdict=Verdict.ERROR, reason=reason)


def _held_against(result: ClauseResult, violations: Sequence[Violation]) -> ClauseResult:
    """A clause that passed fails after all when the history of the run breaks its rule."""
    mine = [violation for violation in violations if violation.rule == result.id]
    if not mine or result.verdict is not Verdict.PASS:
        return result
    expected = "the history of the whole run to keep the rule"
    seen = without_tokens(f"{mine[0]} ({len(mine)} in all)")
    return dataclasses.replace(
        result, verdict=_OF_A_MISS[result.level], expected=expected, seen=seen
    )


def _unjudged(results: Sequence[ClauseResult]) -> list[str]:
    """The rules that this run says nothing about because no clause of theirs was in it."""
    absent = set(RULES) - {item.id.partition("/")[0] for item in results}
    bare = absent - {item.rule for item in all_clauses()}
    lines = []
    if bare:
        lines.append(f"no clause yet for {len(bare)} rules: {compact(bare)}")
    if left_out := absent - bare:
        lines.append(f"left out of this run: {compact(left_out)}")
    return lines


_ALWAYS_UNSEEN = "faults of store, stream and gateway were not provoked"
_UNRUN = {Group.OPS: "group ops was not run: logs, metrics and traces were not looked at"}


def _not_shown(results: Sequence[ClauseResult], shown: Sequence[Group]) -> tuple[str, ...]:
    """What no clause looked at; clauses that did not apply say so themselves."""
    unrun = [group for group in Group if group not in shown]
    lines = [_UNRUN.get(group, f"group {group} was not run") for group in unrun]
    lines += _unjudged(results)
    lines.append(_ALWAYS_UNSEEN)
    observed = [item.id for item in results if item.section == 6 and item.level is Level.OBSERVED]
    if observed:
        lines.append(f"{', '.join(observed)}: observed, not judged, on this target")
    return tuple(lines)
