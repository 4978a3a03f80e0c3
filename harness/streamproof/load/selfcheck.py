"""Whether the generator kept up: if it did not, its figures say nothing about the target.

The limits, and why. They are shares of the tightest limit of the scenario (10 ms for `request`).

send lag p99       10 %   what the generator adds to a latency counted from the plan
arrivals sent      99 %   fewer, and the load was not the one that was planned; one that was given
                          out and found no connection counts here, since the target had none
hiccup p99         20 %   a timer that wakes late means a reader that stamps late
run-queue delay     4 %   of the wall: the kernel had other work for our core
generator          70 %   of a core: beyond it queues form inside the generator

On a verdict of the tail a stall of the whole machine looks like one of the target. Lag and hiccups
are measured with timers of our own in the same process, so such a stall shows here.

What delays the generator can only add to a latency that is counted from the plan. So a delay voids
a failure, and doubt, but not a pass: a target that is fast enough with the generator's lateness on
its account is fast enough. Nor does it void a failure that stays one without them: a target that is
too slow by more than the lag of sends and the hiccups together, both at p99. Arrivals that were
never sent void a pass too: that was a lighter load.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproof.load.histogram import NS_PER_MS, Histogram

if TYPE_CHECKING:
    from streamproof.load.recorder import Recorder

LAG_SHARE_OF_LIMIT_MAX = 0.10
SENT_SHARE_MIN = 0.99
HICCUP_SHARE_OF_LIMIT_MAX = 0.20
RUN_QUEUE_SHARE_MAX = 0.04
PROCESSOR_SHARE_MAX = 0.70

LAG = "send_lag_p99"
HICCUP = "hiccup_p99"
SENT = "arrivals_sent"

SCHEDSTAT = Path("/proc/self/schedstat")  # ns on a processor, ns waiting for one, slices


@dataclasses.dataclass(frozen=True, slots=True)
class Doubts:
    """Why the generator's figures are not believed; empty texts when they are."""

    late: str = ""  # it was delayed, which voids every verdict but a pass
    late_ms: float = math.inf  # what its delays can have added to a latency at most, at p99
    unplanned: str = ""  # it sent less than was planned, which voids every verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Clocks of this process at one moment, in nanoseconds."""

    wall_ns: int
    processor_ns: int
    run_queue_ns: int | None  # None where the system does not say

    @classmethod
    def now(cls) -> Usage:
        """Read them; the run queue is Linux's, of the thread that runs gevent's loop."""
        try:
            run_queue = int(SCHEDSTAT.read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            run_queue = None
        return cls(time.monotonic_ns(), time.process_time_ns(), run_queue)


@dataclasses.dataclass(frozen=True, slots=True)
class Strain:
    """What the generator itself went through in a phase."""

    wall_ns: int
    processor_ns: int
    run_queue_ns: int | None
    hiccups: Histogram

    @classmethod
    def between(cls, before: Usage, after: Usage, hiccups: Histogram) -> Strain:
        """From two readings of the clocks."""
        waited = (
            None
            if before.run_queue_ns is None or after.run_queue_ns is None
            else after.run_queue_ns - before.run_queue_ns
        )
        return cls(
            after.wall_ns - before.wall_ns,
            after.processor_ns - before.processor_ns,
            waited,
            hiccups,
        )

    def plus(self, other: Strain) -> Strain:
        """Both together: a phase and its extension."""
        waited = (
            None
            if self.run_queue_ns is None or other.run_queue_ns is None
            else self.run_queue_ns + other.run_queue_ns
        )
        return Strain(
            self.wall_ns + other.wall_ns,
            self.processor_ns + other.processor_ns,
            waited,
            Histogram.merged([self.hiccups, other.hiccups]),
        )


def check(recorder: Recorder, strain: Strain, limit_ms: float) -> dict[str, dict[str, Any]]:
    """Each figure with its value, limit, unit and whether it holds; `limit_ms` is the tightest."""
    lag = Histogram.merged(second.lag for second in recorder.seconds)
    given_out = recorder.counts.sent + recorder.counts.failed_to_send
    sent_share = given_out / max(1, recorder.counts.intended)
    figures = {
        LAG: _at_most(lag.quantile(0.99) / NS_PER_MS, limit_ms * LAG_SHARE_OF_LIMIT_MAX),
        HICCUP: _at_most(
            strain.hiccups.quantile(0.99) / NS_PER_MS, limit_ms * HICCUP_SHARE_OF_LIMIT_MAX
        ),
        SENT: {
            "value": round(100 * sent_share, 2),
            "limit": 100 * SENT_SHARE_MIN,
            "ok": sent_share >= SENT_SHARE_MIN,
            "unit": "%",
            "bound": "at least",
        },
        "generator_processor": _at_most(
            100 * strain.processor_ns / max(1, strain.wall_ns), 100 * PROCESSOR_SHARE_MAX, "%"
        ),
    }
    if strain.run_queue_ns is not None:
        figures["run_queue_delay"] = _at_most(
            100 * strain.run_queue_ns / max(1, strain.wall_ns), 100 * RUN_QUEUE_SHARE_MAX, "%"
        )
    return figures


def _at_most(value: float, limit: float, unit: str = "ms") -> dict[str, Any]:
    return {
        "value": round(value, 3),
        "limit": round(limit, 3),
        "ok": value <= limit,
        "unit": unit,
        "bound": "at most",
    }


def doubts_of(figures: dict[str, dict[str, Any]]) -> Doubts:
    """Which figures do not hold, in words."""
    late: list[str] = []
    unplanned: list[str] = []
    for name, figure in figures.items():
        if not figure["ok"]:
            words = (
                f"{name.replace('_', ' ')} {figure['value']:g} {figure['unit']}, "
                f"{figure['bound']} {figure['limit']:g} {figure['unit']} allowed"
            )
            (unplanned if name == SENT else late).append(words)
    late_ms = figures[LAG]["value"] + figures[HICCUP]["value"] if late else math.inf
    return Doubts("; ".join(late), late_ms, "; ".join(unplanned))
