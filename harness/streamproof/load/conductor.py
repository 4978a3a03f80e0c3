"""Leads one locust process through its scenarios: connect, settle, warm up, measure, drain, judge.

The users follow arrivals, and this greenlet gives them out when they are due. Each scenario is
first run against the bare echo server, by the same users at the same rate, which gives the noise
floor; then against the target. Looks at the verdict once, extends once, repeats an invalid run
once.
"""

from __future__ import annotations

import dataclasses
import gc
import random
import time
from typing import TYPE_CHECKING

import gevent
from gevent.pool import Group

from streamproof.errors import HarnessError, StreamproofError, TargetUnreachableError
from streamproof.history import HistoryChecker
from streamproof.load import priority
from streamproof.load.histogram import NS_PER_MS, Histogram
from streamproof.load.recorder import Arrival, Recorder
from streamproof.load.selfcheck import Doubts, Strain, Usage, check, doubts_of
from streamproof.load.timer import EARLY_NS, timer
from streamproof.load.verdict import judge
from streamproof.load.words import Progress
from streamproof.results import Curve, LoadResult, LoadVerdict, ScenarioResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamproof.load.endpoint import Endpoint
    from streamproof.load.plan import Plan
    from streamproof.load.user import StreamUser
    from streamproof.results import LoadTarget

NS_PER_S = 1_000_000_000
LEAD_NS = 100_000_000  # the plan begins this much after it was made
HICCUP_PERIOD_NS = 10_000_000
USERS_TIMEOUT_S = 60.0  # Locust spawns 100 users in well under a second
DRAIN_POLL_S = 0.02
SILENCE_S_MIN = 5.0  # a target that has answered nothing for so long answers nothing
CALIBRATION_WARM_UP_S = 2
CALIBRATE = "calibrate"
SEED_STEP = 1_000_003  # keeps the plans of a scenario's legs apart
LOOKS_MAX = 3  # measured, repeated when invalid, extended when inconclusive


@dataclasses.dataclass(slots=True)
class Leg:
    """What one stretch of plan gave."""

    recorder: Recorder
    strain: Strain
    warm_up: Recorder


class Hiccups:
    """Measures how late a timer of ten milliseconds wakes in this process."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self._timer = timer()
        self._greenlet = gevent.spawn(self._tick)

    def _tick(self) -> None:
        due_ns = time.monotonic_ns()
        while True:
            due_ns += HICCUP_PERIOD_NS
            self._timer.wait_until(due_ns)
            now_ns = time.monotonic_ns()
            self.histogram.record(now_ns - due_ns)
            # What was slept through is one hiccup, not as many as ticks it covers.
            due_ns = max(due_ns, now_ns - HICCUP_PERIOD_NS)

    def restart(self) -> None:
        """Forget what was."""
        self.histogram = Histogram()

    def close(self) -> None:
        """Stop."""
        self._greenlet.kill()
        self._timer.close()


class Conductor:
    """Runs plans one after the other; `result` and `failure` say how it ended."""

    def __init__(
        self,
        plans: Sequence[tuple[type[StreamUser], Plan]],
        users: Callable[[type[StreamUser]], list[StreamUser]],
        target: Endpoint,
        echo: Endpoint,
        size: str,
        report: Callable[[Progress], None],
        note: Callable[[str], None],
        limits: Sequence[str] = (),
        *,
        looks_max: int = LOOKS_MAX,
    ) -> None:
        """`users` answers the running users of a class; `report` and `note` tell people.

        `limits` are what such a run cannot show, in words, for the report. A scenario is measured
        `looks_max` times at most.
        """
        self._looks_max = looks_max
        self._limits = limits
        self._plans = plans
        self._users = users
        self._target = target
        self._echo = echo
        self._size = size
        self._report = report
        self._note = note
        self._timer = timer(EARLY_NS)
        self._interrupted = False
        self._answered = False  # the target, once: from then on silence is its failure
        self._priority = priority.ORDINARY
        self.failure: StreamproofError | None = None
        self.result: LoadResult | None = None

    def interrupt(self) -> None:
        """End the phase that runs, judge what was measured, begin nothing more."""
        self._interrupted = True

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked to stop."""
        return self._interrupted

    def run(self) -> None:
        """Run every plan; keeps what went wrong instead of raising it."""
        began = time.monotonic()
        hiccups = Hiccups()
        scenarios: list[ScenarioResult] = []
        # A full collection stops everything for many milliseconds; what exists now stays anyway.
        gc.collect()
        gc.freeze()
        thresholds = gc.get_threshold()
        gc.set_threshold(50_000, 20, 100)
        try:
            with priority.ahead() as self._priority:
                for user_class, plan in self._plans:
                    if self._interrupted:
                        break
                    scenario = self._scenario(user_class, plan, hiccups)
                    if scenario is not None:
                        scenarios.append(scenario)
        except StreamproofError as error:
            self.failure = error
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()
            hiccups.close()
            self._timer.close()
        seed = self._plans[0][1].seed if self._plans else 0
        self.result = LoadResult(
            size=self._size,
            seed=seed,
            duration_s=round(time.monotonic() - began, 3),
            scenarios=tuple(scenarios),
            not_shown=self._not_shown(),
        )

    def _not_shown(self) -> tuple[str, ...]:
        words = list(self._limits)
        if not self._timer.precise:
            words.append("no timerfd here: sends are planned to the millisecond only")
        if self._interrupted:
            words.append("the run was interrupted: what was measured until then is judged")
        return tuple(words)

    # One scenario

    def _scenario(
        self, user_class: type[StreamUser], plan: Plan, hiccups: Hiccups
    ) -> ScenarioResult | None:
        self._note(plan.sentence())
        users = self._spawned(user_class, plan.connections)
        floor = self._calibrate(users, plan, hiccups)
        checker = HistoryChecker() if self._target.checked else None
        for user in users:
            user.checker = checker
        try:
            self._connect(users, plan, self._target)
        except TargetUnreachableError as error:
            if not self._answered:
                raise
            return self._vanished(plan, floor, error)
        leg = self._leg(users, plan, "measure", plan.warm_up_s, plan.measure_s, 0, hiccups)
        if leg is None:
            return None
        figures, targets = self._look(leg, plan)
        looks = [_look_words("measured", targets)]
        if self._again(leg, targets, LoadVerdict.INVALID, looks):
            self._note(f"{plan.scenario}: invalid ({targets[0].reason}), repeated once")
            again = self._leg(users, plan, "repeat", plan.warm_up_s, plan.measure_s, 2, hiccups)
            leg = again or leg
            figures, targets = self._look(leg, plan)
            looks.append(_look_words("repeated", targets))
        if self._again(leg, targets, LoadVerdict.INCONCLUSIVE, looks):
            self._note(f"{plan.scenario}: inconclusive ({targets[0].reason}), extended once")
            more = self._leg(users, plan, "extend", plan.warm_up_s, plan.measure_s, 3, hiccups)
            if more is not None:
                leg = _joined(leg, more)
                figures, targets = self._look(leg, plan)
                looks.append(_look_words("extended", targets))
        # Asked before the connections close: what has no answer on a live one is lost.
        broken = [str(violation) for violation in checker.finish()] if checker else []
        for user in users:
            user.checker = None
        self._disconnect(users)
        return self._described(plan, leg, floor, figures, targets, broken, looks)

    def _vanished(
        self, plan: Plan, floor: Leg | None, error: TargetUnreachableError
    ) -> ScenarioResult:
        """A target that answered before and takes no connection now has failed, not its user."""
        reason = f"the target stopped answering: {error.message}"
        leg = Leg(Recorder(1), Strain(0, 0, None, Histogram()), Recorder(1))
        targets = tuple(
            dataclasses.replace(judge(t, (), plan.seed, Doubts()), reason=reason)
            for t in plan.thresholds
        )
        return self._described(plan, leg, floor, {}, targets, [reason])

    def _again(
        self,
        leg: Leg,
        targets: tuple[LoadTarget, ...],
        verdict: LoadVerdict,
        looks: Sequence[object],
    ) -> bool:
        """Whether to measure once more; wrong messages have decided already, and so has Ctrl-C."""
        counts = leg.recorder.counts
        harm = counts.refused + counts.indeterminate + counts.repeated + counts.wrong
        if self._interrupted or harm or len(looks) >= self._looks_max:
            return False
        return any(target.verdict is verdict for target in targets)

    def _look(
        self, leg: Leg, plan: Plan
    ) -> tuple[dict[str, dict[str, object]], tuple[LoadTarget, ...]]:
        figures = check(leg.recorder, leg.strain, plan.tightest_limit_ms)
        doubts = doubts_of(figures)
        slices = leg.recorder.corrected()
        return figures, tuple(judge(t, slices, plan.seed, doubts) for t in plan.thresholds)

    def _described(
        self,
        plan: Plan,
        leg: Leg,
        floor: Leg | None,
        figures: dict[str, dict[str, object]],
        targets: tuple[LoadTarget, ...],
        broken: list[str],
        looks: Sequence[str] = (),
    ) -> ScenarioResult:
        recorder = leg.recorder
        curves = [
            _curve("corrected", (s.corrected for s in recorder.seconds)),
            _curve("uncorrected", (s.uncorrected for s in recorder.seconds)),
        ]
        if floor is not None:
            curves.append(_curve("calibration", (s.corrected for s in floor.recorder.seconds)))
        beside = (
            _curve("service", (s.service for s in recorder.seconds)),
            _curve("lag", (s.lag for s in recorder.seconds)),
        )
        violations = [*broken, *leg.warm_up.violations, *recorder.violations]
        violations += recorder.unsuccessful()
        return ScenarioResult(
            name=plan.scenario,
            title=plan.title,
            targets=targets,
            curves=tuple(curves),
            beside=beside,
            settings=plan.settings()
            | {
                "measured_s": len(recorder.seconds),
                "timer_precise": self._timer.precise,
                "generator_priority": self._priority,
            }
            | ({"looks": "; then ".join(looks)} if len(looks) > 1 else {}),
            counts=dataclasses.asdict(recorder.counts),
            self_check=figures,
            seconds=recorder.table(),
            violations=tuple(violations),
        )

    def _calibrate(self, users: list[StreamUser], plan: Plan, hiccups: Hiccups) -> Leg | None:
        """The same users and rate against the bare echo server; none when interrupted before."""
        self._connect(users, plan, self._echo)
        leg = self._leg(
            users,
            plan,
            CALIBRATE,
            min(CALIBRATION_WARM_UP_S, plan.warm_up_s),
            plan.calibrate_s,
            1,
            hiccups,
        )
        self._disconnect(users)
        if leg is not None:
            wrong = [*leg.warm_up.violations, *leg.recorder.violations]
            wrong += leg.recorder.unsuccessful()
            if wrong:
                raise HarnessError(
                    f"{plan.scenario}: the harness's own echo server did not answer right, so "
                    f"nothing is known about the target: {wrong[0]}",
                    "run it again; if it stays, this machine cannot carry the load",
                )
        return leg

    # Users and their connections

    def _spawned(self, user_class: type[StreamUser], count: int) -> list[StreamUser]:
        until = time.monotonic() + USERS_TIMEOUT_S
        while len(users := self._users(user_class)) < count:
            if time.monotonic() > until:
                raise HarnessError(f"Locust spawned {len(users)} of {count} users in a minute")
            gevent.sleep(0.05)
        return users[:count]

    def _connect(self, users: list[StreamUser], plan: Plan, endpoint: Endpoint) -> None:
        """Open all connections, `connects_per_s` of them at most, then let them settle."""
        start_ns = time.monotonic_ns()
        group = Group()
        greenlets = []
        for position, user in enumerate(users):
            self._timer.wait_until(start_ns + round(position / plan.connects_per_s * NS_PER_S))
            if self._interrupted:
                break
            greenlets.append(group.spawn(_connect_or_say, user, endpoint))
            if any(isinstance(g.value, StreamproofError) for g in greenlets):
                break
        group.join()
        for greenlet in greenlets:
            if isinstance(greenlet.value, StreamproofError):
                raise greenlet.value
        self._report(Progress(plan.scenario, f"connected to {endpoint.name}", 0, 0, 0, 0, 0, 0))
        gevent.sleep(0 if self._interrupted else plan.settle_s)

    def _disconnect(self, users: list[StreamUser]) -> None:
        group = Group()
        for user in users:
            group.spawn(user.disconnect)
        group.join()

    # The plan

    def _leg(
        self,
        users: list[StreamUser],
        plan: Plan,
        phase: str,
        warm_up_s: int,
        measure_s: int,
        number: int,
        hiccups: Hiccups,
    ) -> Leg | None:
        """Warm up, measure, drain; none when it was interrupted before anything was measured."""
        warm_up = Recorder(warm_up_s)
        recorder = Recorder(measure_s)
        seed = plan.seed + number * SEED_STEP
        moments = plan.arrivals.moments(seed)
        pick = random.Random(seed)  # noqa: S311 - a plan to repeat, not a secret
        start_ns = time.monotonic_ns() + LEAD_NS
        measure_ns = start_ns + warm_up_s * NS_PER_S
        end_ns = measure_ns + measure_s * NS_PER_S
        before: Usage | None = None
        answering = False
        reporter = gevent.spawn(self._tell, plan, phase, start_ns, warm_up, recorder)
        try:
            for offset_ns in moments:
                moment_ns = start_ns + offset_ns
                if moment_ns >= end_ns or self._interrupted:
                    break
                self._timer.wait_until(moment_ns)
                if moment_ns < measure_ns:
                    current, second = warm_up, offset_ns // NS_PER_S
                else:
                    current, second = recorder, (moment_ns - measure_ns) // NS_PER_S
                    if before is None:
                        hiccups.restart()
                        before = Usage.now()
                if not answering:
                    answering = phase == CALIBRATE or self._answering(
                        (warm_up, recorder), offset_ns, plan
                    )
                current.planned(second)
                users[pick.randrange(len(users))].assign(
                    Arrival(moment_ns, time.monotonic_ns(), second, current)
                )
            after = Usage.now()
            seen = hiccups.histogram
            self._drain(users, plan.time_limit_s)
        finally:
            reporter.kill()
        if before is None:
            return None
        strain = Strain.between(before, after, seen)
        if self._interrupted:
            recorder.cut((after.wall_ns - measure_ns) // NS_PER_S)
        return Leg(recorder, strain, warm_up) if recorder.seconds else None

    def _answering(self, phases: Sequence[Recorder], offset_ns: int, plan: Plan) -> bool:
        """Whether any answer has come; does not wait for minutes on a target that never answers.

        One that did answer is judged by its silence.
        """
        counts = [phase.counts for phase in phases]
        self._answered = self._answered or any(c.answered + c.refused for c in counts)
        if self._answered:
            return True
        silence_s = max(SILENCE_S_MIN, plan.time_limit_s)
        if offset_ns > silence_s * NS_PER_S:
            sent = sum(each.sent for each in counts)
            raise TargetUnreachableError(
                f"{self._target.name} answered none of {sent} requests in {silence_s:g} s",
                "does it speak this dialect?",
            )
        return False

    def _drain(self, users: list[StreamUser], time_limit_s: float) -> None:
        """Wait for what is under way, its time limit at most; then give it up."""
        until = time.monotonic() + time_limit_s
        gevent.sleep(DRAIN_POLL_S)  # whoever got the last arrival sends first
        while time.monotonic() < until and any(user.in_flight for user in users):
            gevent.sleep(DRAIN_POLL_S)
        for user in users:
            user.give_up()

    def _tell(
        self, plan: Plan, phase: str, start_ns: int, warm_up: Recorder, recorder: Recorder
    ) -> None:
        """Report the second before last, whose answers have come, once a second."""
        warm_up_s = len(warm_up.seconds)
        total = warm_up_s + len(recorder.seconds)
        clock = timer()
        try:
            for second in range(1, total + 1):
                clock.wait_until(start_ns + second * NS_PER_S)
                warming = second <= warm_up_s
                source = warm_up if warming else recorder
                at = second if warming else second - warm_up_s
                done = source.seconds[max(0, at - 2)]
                p50, p99 = done.corrected.quantiles([0.5, 0.99])
                self._report(
                    Progress(
                        plan.scenario,
                        f"{phase}: warm-up" if warming else phase,
                        at,
                        len(source.seconds),
                        source.counts.sent,
                        source.counts.answered,
                        round(p50 / NS_PER_MS, 3),
                        round(p99 / NS_PER_MS, 3),
                    )
                )
        finally:
            clock.close()


def _connect_or_say(user: StreamUser, endpoint: Endpoint) -> StreamproofError | None:
    """Connect; the error is the answer, since a greenlet that raises prints a traceback."""
    try:
        user.connect(endpoint)
    except StreamproofError as error:
        return error
    return None


def _look_words(how: str, targets: Iterable[LoadTarget]) -> str:
    """One look at the verdicts, for a report of a run that took more than one."""
    seen = (
        f"{target.verdict.value} at {target.measured:g} {target.unit} "
        f"({target.interval_low:g} to {target.interval_high:g}; {target.reason})"
        for target in targets
    )
    return f"{how}: {', '.join(seen)}"


def _joined(first: Leg, more: Leg) -> Leg:
    """A leg and its extension as one."""
    return Leg(
        first.recorder.joined(more.recorder),
        first.strain.plus(more.strain),
        first.warm_up.joined(more.warm_up),
    )


def _curve(name: str, histograms: Iterable[Histogram]) -> Curve:
    whole = Histogram.merged(histograms)
    return Curve(name, whole.count, whole.curve())
