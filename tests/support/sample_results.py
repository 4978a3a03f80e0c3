"""Results as a real run writes them, made up from a seed: the report and its tests use them."""

from __future__ import annotations

import json
import math
import random
from statistics import NormalDist

from streamproof.results import (
    ClauseResult,
    ContractResult,
    Curve,
    Level,
    LoadResult,
    LoadTarget,
    LoadVerdict,
    Results,
    RunInfo,
    ScenarioResult,
    Verdict,
    WireLine,
)

SECONDS = 60
VIOLATION = "request run-prog-1-1: percentage 62.5 (sequence 7) after 63.0 (sequence 6); seed 7"

# id | section | group | level | sentence | why
ROWS = """
AUTH-1|1|connection|MUST|Accepts a token in the query or in the header `Authorization`.|
AUTH-2|1|connection|MUST|Verifies with RS256 and the configured key only.|Headers can lie.
AUTH-3|1|connection|MUST|Requires `exp`, `sub` and `tenant_id`; refuses what expired.|
AUTH-4|1|connection|MUST|Answers a bad token with 401, a tenant not allowed with 403.|
AUTH-8|1|connection|SHOULD|Ends a session when its token expires.|Sockets outlive tokens.
CONN-4|1|streamer|MUST|Does not cancel requests because their connection closed.|
CONN-5|1|connection|MUST|Refuses at the handshake, never by opening and closing.|
MSG-1|2|streamer|MUST|Accepts well-formed requests and makes a unique id where none is.|
MSG-2|2|connection|MUST|Answers what is no request with one VALIDATION_ERROR.|
MSG-3|2|streamer|MUST|Puts `type`, `timestamp` and `request_id` into every message.|
MSG-4|2|streamer|MUST|Numbers the messages of one request without a gap.|Repeats are dropped by it.
MSG-5|2|streamer|MUST|Returns payloads unchanged as JSON values, 300 digits included.|
ROUTE-1|2|streamer|MUST|Answers an unknown action with INVALID_ACTION.|
SYNC-1|2|streamer|MUST|Answers a short request with exactly one response or one error.|
SYNC-2|2|streamer|MUST|Turns a handler's exception into INTERNAL_ERROR without its text.|
ASYNC-1|3|resilience|MUST|Has stored a request durably when it is acknowledged.|It is a promise.
ASYNC-2|3|streamer|MUST|Orders acknowledgment, progress, one outcome, then nothing new.|
ASYNC-4|3|streamer|MUST|Answers a second request of one id with DUPLICATE_REQUEST.|
ASYNC-6|3|streamer|MUST|Runs requests side by side while slots are free.|
PROG-1|3|streamer|MUST|Sends percentages within 0 to 100, never decreasing.|Bars run forwards.
PROG-2|3|streamer|MUST|Keeps 100 ms between progress messages, the newest update winning.|
RECOV-1|3|resilience|MUST|Takes a request over when its worker is gone.|
OWN-1|3|streamer|MUST|Answers for another user's request as for none.|A difference is an oracle.
CANCEL-1|3|streamer|MUST|Ends a request that has not ended with one outcome CANCELLED.|
BCAST-1|4|streamer|MUST|Delivers to every connection of the tenant, to none of another.|
LIMIT-2|5|streamer|MUST|Refuses messages above the rate with RATE_LIMITED.|
LIMIT-3|5|streamer|MUST|Refuses long requests above the number in flight.|
GW-3|6|platform|MUST|The handshake waits for $connect; a refusal is its HTTP status.|
GW-5|6|platform|OBSERVED|A function error leaves the connection open.|
GW-8|6|platform|MUST|Closes with 1009 above the limits, with 1003 on a binary message.|
"""
Row = tuple[str, int, str, str, str, str]


def _rows() -> list[Row]:
    """The clauses, taken apart."""
    split = (line.split("|") for line in ROWS.strip().splitlines())
    return [(one, int(two), *rest) for one, two, *rest in split]  # type: ignore[misc] # six parts


def _log(chance: random.Random, request_id: str) -> tuple[WireLine, ...]:
    """A long request's wire log with four messages."""
    messages = (
        (">", {"id": request_id, "action": "probe.async", "payload": {"end": "ok"}}),
        ("<", {"type": "acknowledgment", "request_id": request_id, "sequence": 0}),
        ("<", {"type": "progress", "request_id": request_id, "sequence": 1, "percentage": 50}),
        ("<", {"type": "complete", "request_id": request_id, "sequence": 2, "success": True}),
    )
    lines, at_ms = [], 0.0
    for direction, message in messages:
        stamped = message if direction == ">" else {**message, "timestamp": 1_795_470_775_120}
        lines.append(WireLine(round(at_ms, 3), "a", direction, json.dumps(stamped)))
        at_ms += chance.expovariate(1 / 40)
    return tuple(lines)


def _clause(chance: random.Random, row: Row, red: bool) -> ClauseResult:
    """One row as a result; with `red` a few of them end in every other way."""
    identity, section, group, level, sentence, why = row
    endings = {
        "PROG-1": (Verdict.FAIL, "never decreasing", "62.5 after 63.0 (sequence 7 after 6)", ""),
        "AUTH-8": (Verdict.NON_STRICT, "UNAUTHORIZED after exp", "response 41 s after exp", ""),
        "RECOV-1": (Verdict.INCONCLUSIVE, "a takeover", "", "no worker could be killed here"),
        "CONN-4": (Verdict.ERROR, "", "", "the suite lost its own connection"),
    }
    verdict, expected, seen, reason = Verdict.PASS, "", "", ""
    if level == "OBSERVED":
        verdict, seen = Verdict.INFO, "the connection stayed open after the error"
    if identity == "ASYNC-1":
        verdict, reason = Verdict.NOT_APPLICABLE, "the target declares no admin capability"
    if red and identity in endings:
        verdict, expected, seen, reason = endings[identity]
    if verdict is Verdict.PASS:
        expected, seen = "as the sentence says", "as expected, 12 of 12 times"
    shown = identity in ("PROG-1", "ASYNC-2", "MSG-4", "CANCEL-1")
    return ClauseResult(
        id=identity,
        section=section,
        group=group,
        level=Level(level),
        sentence=sentence,
        why=why,
        origin="Streamer" if section < 6 else "AWS, recorded 2025",
        verdict=verdict,
        expected=expected,
        seen=seen,
        reason=reason,
        duration_s=round(chance.expovariate(1 / 0.35), 3),
        log=_log(chance, f"run-{identity.lower()}-1") if shown else (),
    )


def sample_contract(*, red: bool = False) -> ContractResult:
    """All clauses; with `red` one fails and others end in every way that is not green."""
    chance = random.Random(7)
    return ContractResult(
        contract_version=1,
        seed=7,
        strict=False,
        duration_s=48.2,
        clauses=tuple(_clause(chance, row, red) for row in _rows()),
        groups=("connection", "streamer", "resilience", "platform"),
        history_violations=(VIOLATION,) if red else (),
        not_shown=(
            "group ops: needs the capability inside, which no target has yet",
            "SEND-1 to SEND-5: the target offers no way to make a post fail",
            "a power cut: a commit survives kill -9 of any process, and no more is claimed",
        ),
    )


def sample_curve(name: str, median_ms: float, spread: float, samples: int) -> Curve:
    """A log-normal latency curve with points as dense as the tail needs."""
    quantiles = [0.0]
    rest = 1.0
    while rest > 1 / samples:
        quantiles += [1 - rest * step / 100 for step in range(99, 10, -3)]
        rest /= 10
    normal = NormalDist(math.log(median_ms), spread)
    points = {
        round(q, 7): round(math.exp(normal.inv_cdf(min(max(q, 1e-4), 1 - 1 / samples))), 3)
        for q in quantiles
    }
    return Curve(name, samples, tuple(sorted(points.items())))


def sample_scenario(*, red: bool = False, invalid: bool = False) -> ScenarioResult:
    """The scenario `request`: met, or with `red` missed, or with `invalid` not to be believed."""
    chance = random.Random(11)
    measured = 14.62 if red else 4.21
    verdict = LoadVerdict.INVALID if invalid else LoadVerdict.FAIL if red else LoadVerdict.PASS
    seconds = tuple(
        {
            "second": second,
            "count": 200 + chance.randint(-24, 24),
            "p50_ms": round(chance.gauss(0.86, 0.05), 3),
            "p99_ms": round(chance.lognormvariate(1.1, 0.25) * (3 if red else 1), 3),
            "lag_p99_ms": round(abs(chance.gauss(0.16, 0.05)), 3),
        }
        for second in range(SECONDS)
    )
    return ScenarioResult(
        name="request",
        title="Short requests, whole path from client to client",
        targets=(
            LoadTarget(
                name="request.latency_ms",
                limit_text="p(99) < 10",
                unit="ms",
                limit=10.0,
                measured=measured,
                interval_low=measured - 0.61,
                interval_high=measured + 0.94,
                effective_samples=2140.0,
                verdict=verdict,
                reason="the generator sent 96.1 % of the intended arrivals" if invalid else "",
            ),
        ),
        curves=(
            sample_curve("corrected", 3.0 if red else 0.86, 0.68, 11_984),
            sample_curve("uncorrected", 2.7 if red else 0.83, 0.60, 11_984),
            sample_curve("calibration", 0.27, 0.45, 5_990),
        ),
        settings={
            "connections": 100,
            "rate_per_s": 200,
            "warm_up_s": 5,
            "measure_s": 60,
            "seed": 1,
        },
        counts={
            "intended": 11_984,
            "sent": 11_984,
            "answered": 11_984,
            "refused": 0,
            "indeterminate": 0,
            "lost": 1 if red else 0,
            "repeated": 0,
            "wrong": 0,
        },
        self_check={
            "send_lag_p99": {"value": 0.31, "limit": 1.0, "ok": True, "unit": "ms"},
            "arrivals_sent": {
                "value": 96.1 if invalid else 100.0,
                "limit": 99.0,
                "ok": not invalid,
                "unit": "%",
                "bound": "at least",
            },
            "hiccup_p99": {"value": 0.62, "limit": 2.0, "ok": True, "unit": "ms"},
            "run_queue_delay": {"value": 1.4, "limit": 4.0, "ok": True, "unit": "%"},
            "generator_processor": {"value": 34.0, "limit": 70.0, "ok": True, "unit": "%"},
        },
        seconds=seconds,
        violations=("request run-load-4711 was acknowledged and never answered",) if red else (),
    )


def sample_load(*, red: bool = False, invalid: bool = False) -> LoadResult:
    """One scenario at size full."""
    return LoadResult(
        size="full",
        seed=1,
        duration_s=83.4,
        scenarios=(sample_scenario(red=red, invalid=invalid),),
        not_shown=("latency beyond one machine: client, gateway and store share two cores here",),
    )


def sample_run() -> RunInfo:
    """A run on a small machine."""
    return RunInfo(
        id="2026-11-23T215255Z-verify",
        command="streamproof verify --target embedded --size full --seed 1",
        started_at="2026-11-23T21:52:55Z",
        duration_s=141.8,
        target={
            "name": "embedded",
            "url": "ws://127.0.0.1:40123/dev",
            "environment": "this machine",
            "capabilities": ["wire", "mint", "probe", "management"],
        },
        machine={
            "cpu": "AMD EPYC 7B13",
            "cores": 2,
            "memory_gib": 7.8,
            "system": "Linux 6.1",
            "python": "CPython 3.11.2",
        },
        versions={
            "streamproof": "0.1.0",
            "websockets": "15.0.1",
            "locust": "2.47.0",
            "pytest": "9.0.1",
        },
    )


def sample_results(*, red: bool = False, invalid: bool = False) -> Results:
    """A whole run of `verify`: green, or `red` in every part, or its load not to be believed."""
    return Results(
        run=sample_run(),
        contract=sample_contract(red=red),
        load=sample_load(red=red, invalid=invalid),
    )
