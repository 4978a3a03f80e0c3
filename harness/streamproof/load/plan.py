"""What a run is going to do, as data: settings of a scenario after options have overridden them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from streamproof.errors import UsageError
from streamproof.load import thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamproof.load.arrivals import Arrivals
    from streamproof.load.thresholds import Threshold

SIZES = ("smoke", "full")
CONNECTIONS_MAX = 10_000  # of one process
MEASURE_S_MAX = 24 * 3_600  # one second of figures costs some kilobytes


@dataclasses.dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says instead of the scenario; None where it says nothing."""

    connections: int | None = None
    connects_per_s: float | None = None
    measure_s: int | None = None
    rate_per_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One scenario's run."""

    scenario: str
    title: str
    connections: int
    connects_per_s: float
    arrivals: Arrivals
    settle_s: float
    warm_up_s: int
    measure_s: int
    calibrate_s: int
    time_limit_s: float
    seed: int
    thresholds: tuple[Threshold, ...]
    lowered: tuple[str, ...] = ()  # what a remote target gets less than the scenario says

    @property
    def tightest_limit_ms(self) -> float:
        """What the generator is measured by; without a target, the time limit."""
        limits = [threshold.limit_ms for threshold in self.thresholds]
        return min(limits, default=self.time_limit_s * 1000)

    def settings(self) -> dict[str, Any]:
        """For the report."""
        return {
            "connections": self.connections,
            "rate_per_s": self.arrivals.rate_per_s,
            "arrivals": type(self.arrivals).__name__,
            "connects_per_s": self.connects_per_s,
            "settle_s": self.settle_s,
            "warm_up_s": self.warm_up_s,
            "measure_s": self.measure_s,
            "calibrate_s": self.calibrate_s,
            "time_limit_s": self.time_limit_s,
            "seed": self.seed,
        } | ({"lowered": ", ".join(self.lowered)} if self.lowered else {})

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.scenario}: {self.connections} connections, "
            f"{self.arrivals.rate_per_s:g} per second ({type(self.arrivals).__name__}, seed "
            f"{self.seed}), warm-up {self.warm_up_s} s, measure {self.measure_s} s"
        ) + (f"; lowered for a remote target: {', '.join(self.lowered)}" if self.lowered else "")


def plan_of(
    user_class: Any,
    size: str,
    seed: int,
    overrides: Overrides,
    texts: Mapping[str, str],
    defaults: Mapping[str, str],
) -> Plan:
    """The plan of a `StreamUser` class; `texts` are targets by name and replace the class's own.

    `defaults` are targets by name for a class that names none.

    `UsageError` for what cannot be run.
    """
    scenario = user_class.scenario()
    own = {f"{scenario}.{figure}": getattr(user_class, figure) for figure in thresholds.FIGURES}
    named = {key: text for key, text in own.items() if text} or _of(scenario, defaults)
    named |= _of(scenario, texts)
    connections = overrides.connections or user_class.connections
    measure_s = overrides.measure_s or user_class.measure_s[size]
    _within("connections", connections, CONNECTIONS_MAX)
    _within("seconds to measure", measure_s, MEASURE_S_MAX)
    arrivals = user_class.arrivals
    if overrides.rate_per_s is not None:
        try:
            arrivals = arrivals.at_rate(overrides.rate_per_s)
        except ValueError as error:
            raise UsageError(f"--rate {overrides.rate_per_s:g}: {error}") from error
    return Plan(
        scenario=scenario,
        title=user_class.title(),
        connections=connections,
        connects_per_s=overrides.connects_per_s or user_class.connects_per_s,
        arrivals=arrivals,
        settle_s=user_class.settle_s,
        warm_up_s=user_class.warm_up_s,
        measure_s=measure_s,
        calibrate_s=min(user_class.calibrate_s[size], measure_s),
        time_limit_s=user_class.time_limit_s,
        seed=seed,
        thresholds=tuple(thresholds.parse(key, text) for key, text in named.items()),
    )


def _of(scenario: str, texts: Mapping[str, str]) -> dict[str, str]:
    return {key: text for key, text in texts.items() if key.partition(".")[0] == scenario}


def _within(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"{value} {what}: from 1 to {most} are possible")
