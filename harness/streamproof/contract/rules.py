"""The contract's rules as data: each in its section, whether or not a clause looks at it yet.

A rule with clauses is worded by them. One without is worded here, so that a run can name what it
did not look at and `docs/contract.md` holds the whole contract.
"""

from __future__ import annotations

from collections.abc import Iterable

CONTRACT_VERSION = 1

SECTIONS = {
    1: "Connecting",
    2: "Messages",
    3: "Long requests",
    4: "Broadcast and delivery",
    5: "Limits",
    6: "The platform",
    7: "Operators",
}
_FAMILIES = {  # family -> its section, how many rules it has
    "AUTH": (1, 9),
    "CONN": (1, 5),
    "MSG": (2, 5),
    "ROUTE": (2, 5),
    "SYNC": (2, 3),
    "ERR": (2, 1),
    "ASYNC": (3, 6),
    "PROG": (3, 7),
    "RECOV": (3, 5),
    "OWN": (3, 1),
    "CANCEL": (3, 1),
    "BCAST": (4, 3),
    "SEND": (4, 5),
    "LIMIT": (5, 3),
    "GW": (6, 12),
    "OBS": (7, 5),
}
RULES = {  # rule -> its section, in the contract's order
    f"{family}-{number}": section
    for family, (section, count) in _FAMILIES.items()
    for number in range(1, count + 1)
}
WITHOUT_CLAUSE = {
    "AUTH-6": "Tokens appear in no log line, metric, trace, stored item or message.",
    "AUTH-9": "Where a list of origins is configured, a handshake with another `Origin` is "
    "refused (SHOULD).",
    "CONN-1": "Before the handshake completes, the connection is stored with its user, tenant, "
    "permissions, expiry, addresses and a time to live.",
    "CONN-2": "A disconnect removes the connection and its subscriptions, also when the event "
    "comes twice; nothing brings a removed connection back.",
    "CONN-3": "A disconnect event that never comes is survived: a send that answers 410 removes "
    "the connection, and so does the sweeper once its time to live is over.",
    "ROUTE-4": "Middleware runs in the order of its registration, outermost first, for short and "
    "long requests.",
    "ROUTE-5": "A second handler for an action is refused at registration; a handler that cannot "
    "be loaded is named at start and takes no other down.",
    "PROG-7": "A receiver that is slow or gone does not slow the handler.",
    "RECOV-2": "An outcome that is stored and perhaps not delivered is posted again, unchanged, "
    "until it is taken, its connection is gone, or its retention ends.",
    "RECOV-4": "A stream record that cannot be handed over is parked; the others go on, and its "
    "request fails where its key can be read.",
    "BCAST-3": "A broadcast is serialised once and sent in parallel from a bounded pool; one that "
    "meets a shutdown ends.",
    "SEND-1": "429 and 5xx are retried with exponential backoff and full jitter, within bounds; "
    "400, 403, 410 and 413 never; without an answer only what the receiver can tell apart.",
    "SEND-2": "After 3 failed sends in a row a connection's circuit opens; one try passes after "
    "30 s; memory is held only for connections that exist.",
    "SEND-3": "A 410 deletes the connection, unless it was stored less than 30 s ago.",
    "SEND-4": "Messages of one request arrive in the order of their numbers, and what one sender "
    "was given for one connection arrives in that order, retries included.",
    "SEND-5": "A connection's health can be asked: circuit, consecutive failures, last success.",
    "GW-1": "Events have exactly the members that AWS sends.",
    "GW-4": "The route selection expression picks the exact route, else `$default`; `$connect` "
    "and `$disconnect` cannot be reached by naming them.",
    "GW-9": "Connections and messages beyond the stage's rates are throttled; off by default.",
    "GW-10": "Time can be injected: a test moves the clock two hours and sees the close.",
    "GW-11": "The stream mapping behaves as a Lambda event source mapping on DynamoDB Streams.",
    "GW-12": "A function's environment runs one invocation at a time, is reused, is killed at its "
    "timeout, and stands still between invocations.",
    "OBS-1": "A log line is one JSON object, and one correlation id follows a request through all "
    "functions.",
    "OBS-2": "Metrics are written in CloudWatch's embedded metric format.",
    "OBS-3": "Each alarm watches a metric, a namespace and a dimension set that the code emits.",
    "OBS-4": "One trace covers a request across router, processor and worker.",
    "OBS-5": "Calls to store and gateway stay within the budget of their operation.",
}


def compact(rules: Iterable[str]) -> str:
    """Rules in the contract's order, runs and families joined: `AUTH-6, 9, CONN-1 to 3`."""
    given = set(rules)
    texts = []
    for family, (_, count) in _FAMILIES.items():
        numbers = [n for n in range(1, count + 1) if f"{family}-{n}" in given]
        if numbers:
            texts.append(f"{family}-{', '.join(_runs(numbers))}")
    return ", ".join(texts)


def _runs(numbers: list[int]) -> list[str]:
    """Rising numbers as texts, three or more in a row as `1 to 3`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return [
        text
        for run in runs
        for text in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))
    ]
