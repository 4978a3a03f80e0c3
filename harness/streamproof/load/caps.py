"""What a target that is not on this machine gets: little, unless more is named, and no surprise."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from streamproof.errors import UsageError
from streamproof.targets.safety import PRODUCTION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamproof.load.plan import Overrides, Plan
    from streamproof.targets.safety import Caps, Clearance

LEGS_MAX = 3  # a plan is measured, repeated when it was invalid, extended when it was inconclusive


def refuse_production(environment: str | None) -> None:
    """`UsageError` for production: its connections are judged, it is not loaded."""
    if environment == PRODUCTION:
        raise UsageError(
            "load is not run on production: there only connections are judged",
            "streamproof contract --group connection --i-accept-load-on HOST",
        )


def admit(clearance: Clearance, unplanned: Sequence[str]) -> None:
    """`UsageError` for a target that gets no load, or none whose amount nobody knows before.

    `unplanned` names the user classes without a schedule.
    """
    refuse_production(clearance.environment)
    if not clearance.loopback and unplanned:
        raise UsageError(
            f"{unplanned[0]} has no schedule: how much it sends to {clearance.host} is not known",
            "give the class `arrivals = Poisson(rate_per_s=..)`, or use a target on this machine",
        )


def messages_most(plan: Plan) -> int:
    """How many messages a plan sends if it is repeated and extended."""
    return round(plan.arrivals.rate_per_s * (plan.warm_up_s + plan.measure_s) * LEGS_MAX)


def lowered(plans: Sequence[Plan], caps: Caps, named: Overrides) -> list[Plan]:
    """The plans, brought down to the caps where the command line names no figure of its own.

    `UsageError` when all together would send more messages than the caps allow.
    """
    found = [_lowered(plan, caps, named, len(plans)) for plan in plans]
    messages = sum(messages_most(plan) for plan in found)
    if caps.messages is not None and messages > caps.messages:
        raise UsageError(
            f"up to {messages:,} messages planned; a remote target allows {caps.messages:,}",
            "name a lower --rate or a shorter time",
        )
    return found


def _lowered(plan: Plan, caps: Caps, named: Overrides, plans: int) -> Plan:
    changes: dict[str, Any] = {}
    said: list[str] = []
    most = caps.connections
    if named.connections is None and most is not None and plan.connections > most:
        changes["connections"] = most
        said.append(f"{most} connections instead of {plan.connections} (more with -u)")
    rate, rate_most = plan.arrivals.rate_per_s, caps.messages_per_s
    if named.rate_per_s is None and rate_most is not None and rate > rate_most:
        changes["arrivals"] = plan.arrivals.at_rate(rate_most)
        said.append(f"{rate_most:g} per second instead of {rate:g} (more with --rate)")
    if named.measure_s is None and caps.duration_s is not None:
        measure_s = max(1, int(caps.duration_s / LEGS_MAX / plans) - plan.warm_up_s)
        if plan.measure_s > measure_s:
            changes["measure_s"] = measure_s
            said.append(f"{measure_s} s to measure instead of {plan.measure_s} (more with -t)")
    return dataclasses.replace(plan, **changes, lowered=tuple(said)) if said else plan
