"""What one phase of a load run saw: latencies by second of the plan, and where every message went.

An operation belongs to the phase, and to the second, of the moment at which it was *meant* to
start. Four times are kept of each:

corrected    answer received minus intended moment: what a user of that plan waits
uncorrected  answer received minus the moment at which its connection was free of the answer
             before: what a tool says that waits for each answer before it sends again
service      answer received minus the moment of sending
lag          moment of sending minus intended moment, without what the target's socket held up

An operation that did not succeed counts in all three latencies at its time limit.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from streamproof.load.histogram import NS_PER_MS, Histogram

ERROR_KINDS_MAX = 20  # told apart by name; all are counted
ERROR_NAME_MAX = 60  # characters
VIOLATIONS_MAX = 50  # described in words; all are counted


@dataclasses.dataclass(slots=True)
class Second:
    """One second of the plan."""

    planned: int = 0
    sent: int = 0
    corrected: Histogram = dataclasses.field(default_factory=Histogram)
    uncorrected: Histogram = dataclasses.field(default_factory=Histogram)
    service: Histogram = dataclasses.field(default_factory=Histogram)
    lag: Histogram = dataclasses.field(default_factory=Histogram)


@dataclasses.dataclass(slots=True)
class Counts:
    """Where the arrivals went: after the drain every one that was given out has one end.

    sent + failed_to_send = answered + refused + indeterminate. `failed_to_send` found no connection
    to be sent on, which is the target's doing. `lost` are those of the indeterminate whose
    connection lived and still no answer came.
    `repeated` and `wrong` count messages that nobody should have got.
    """

    intended: int = 0
    sent: int = 0
    answered: int = 0
    refused: int = 0
    indeterminate: int = 0
    failed_to_send: int = 0
    lost: int = 0
    repeated: int = 0
    wrong: int = 0
    reconnects: int = 0

    @property
    def in_flight(self) -> int:
        """Sent and not ended yet."""
        ended = self.answered + self.refused + self.indeterminate
        return self.sent + self.failed_to_send - ended


class Recorder:
    """Records a phase of whole seconds; bounded by its length, not by its rate."""

    def __init__(self, length_s: int) -> None:
        """`length_s` is how many seconds of the plan the phase spans, at least 1."""
        self.seconds = [Second() for _ in range(max(1, length_s))]
        self.counts = Counts()
        self.violations: list[str] = []
        self.refusals: Counter[str] = Counter()  # by code
        self.doubts: Counter[str] = Counter()  # why an outcome is not known

    def joined(self, other: Recorder) -> Recorder:
        """Both phases as one, this one first."""
        whole = Recorder(1)
        whole.seconds = [*self.seconds, *other.seconds]
        mine, others = dataclasses.astuple(self.counts), dataclasses.astuple(other.counts)
        whole.counts = Counts(*(a + b for a, b in zip(mine, others, strict=True)))
        whole.violations = [*self.violations, *other.violations][:VIOLATIONS_MAX]
        whole.refusals = self.refusals + other.refusals
        whole.doubts = self.doubts + other.doubts
        return whole

    def cut(self, length_s: int) -> None:
        """Forget the seconds from `length_s` on, which an interruption left incomplete.

        Totals keep them: every message that was sent is accounted for.
        """
        del self.seconds[max(0, length_s) :]

    def planned(self, second: int) -> None:
        """An arrival fell due."""
        self.seconds[second].planned += 1
        self.counts.intended += 1

    def sent(self, second: int, lag_ns: int) -> None:
        """An operation was handed to its connection, `lag_ns` after its moment."""
        entry = self.seconds[second]
        entry.sent += 1
        entry.lag.record(lag_ns)
        self.counts.sent += 1

    def answered(
        self, second: int, *, corrected_ns: int, uncorrected_ns: int, service_ns: int
    ) -> None:
        """A request got its right answer."""
        self.counts.answered += 1
        self._latencies(second, corrected_ns, uncorrected_ns, service_ns)

    def refused(self, second: int, limit_ns: int, code: str) -> None:
        """The target said that it did not do it."""
        self.counts.refused += 1
        _count(self.refusals, code)
        self._latencies(second, limit_ns, limit_ns, limit_ns)

    def indeterminate(self, second: int, limit_ns: int, why: str) -> None:
        """Nobody knows: time ran out, the connection died, or an error that leaves it open."""
        self.counts.indeterminate += 1
        _count(self.doubts, why)
        self._latencies(second, limit_ns, limit_ns, limit_ns)

    def failed_to_send(self, second: int, limit_ns: int) -> None:
        """An arrival was given out and found no connection; counted as indeterminate as well."""
        self.counts.failed_to_send += 1
        self.indeterminate(second, limit_ns, "no connection to send it on")

    def lost(self, words: str) -> None:
        """No answer came over a connection that lived; counted as indeterminate as well."""
        self.counts.lost += 1
        self._violation(words)

    def repeated(self, words: str) -> None:
        """An answer came again."""
        self.counts.repeated += 1
        self._violation(words)

    def wrong(self, words: str) -> None:
        """An answer carried what was not asked, or answered nothing that was."""
        self.counts.wrong += 1
        self._violation(words)

    def _latencies(self, second: int, corrected: int, uncorrected: int, service: int) -> None:
        entry = self.seconds[second]
        entry.corrected.record(corrected)
        entry.uncorrected.record(uncorrected)
        entry.service.record(service)

    def _violation(self, words: str) -> None:
        # Whoever describes a violation elsewhere gives no words here.
        if words and len(self.violations) < VIOLATIONS_MAX:
            self.violations.append(words)

    def unsuccessful(self) -> list[str]:
        """How many requests did not succeed and why, a line for each kind."""
        total = f"of {self.counts.intended:,} requests"
        return [
            f"{kinds.total():,} {total} {words}: "
            + ", ".join(f"{kind} ({count:,})" for kind, count in kinds.most_common())
            for kinds, words in (
                (self.refusals, "were refused"),
                (self.doubts, "have no known outcome"),
            )
            if kinds
        ]

    def corrected(self) -> list[Histogram]:
        """The latencies that are judged, by second."""
        return [second.corrected for second in self.seconds]

    def table(self) -> tuple[dict[str, float], ...]:
        """One row per second for a plot over time, latencies in milliseconds."""
        return tuple(
            {
                "second": float(number),
                "count": float(entry.corrected.count),
                "p50_ms": _ms(entry.corrected.quantile(0.5)),
                "p99_ms": _ms(entry.corrected.quantile(0.99)),
                "max_ms": _ms(entry.corrected.max_ns),
                "lag_p99_ms": _ms(entry.lag.quantile(0.99)),
            }
            for number, entry in enumerate(self.seconds)
        )


@dataclasses.dataclass(slots=True)
class Arrival:
    """One moment of the plan, on its way to a user."""

    intended_ns: int
    dispatched_ns: int
    second: int
    recorder: Recorder


def _count(kinds: Counter[str], kind: str) -> None:
    """Count by a name that the target chose: so many names and no more."""
    name = kind[:ERROR_NAME_MAX]
    kinds[name if name in kinds or len(kinds) < ERROR_KINDS_MAX else "others"] += 1


def _ms(value_ns: int) -> float:
    return round(value_ns / NS_PER_MS, 4)
