"""The contract as a page, `docs/contract.md`, from the rules and their clauses."""

from __future__ import annotations

from collections.abc import Sequence

from streamproof.contract.registry import Clause, all_clauses
from streamproof.contract.rules import CONTRACT_VERSION, RULES, SECTIONS, WITHOUT_CLAUSE
from streamproof.dialect.codes import CODES, DEFINITE, RETRYABLE

COMMAND = "streamproof contract --markdown > docs/contract.md"

_OPENING = f"""\
# The Streamer contract, version {CONTRACT_VERSION}

What an implementation of Streamer promises: to its clients on the wire, and to its operators.
Written by `{COMMAND}` from the rules in the code: change them there.

Streamer takes long work out of the 29-second limit of API Gateway.
A client opens a WebSocket with a JWT and sends requests.
A short request is answered at once.
A long one is acknowledged and queued, reports progress, and ends with one outcome.

## How a target is judged

A rule (`AUTH-3`) is one promise.
A clause (`AUTH-3/audience`) is one attempt to break it; a rule has one clause or more.
`streamproof contract AUTH-3` runs the clauses of one rule.
`streamproof contract --explain AUTH-3` tells how they try.
A rule without a clause is marked below, and every run names those rules under "not shown".
It is a MUST unless it says otherwise.

| level | what a miss does |
|---|---|
| MUST | fails the run |
| SHOULD | is reported as `non-strict`, and fails the run with `--strict` |
| OBSERVED | is reported as `info` and fails nothing |

Section 6 is about the platform that Streamer runs on.
It judges our gateway, and other emulators with `--platform`.
On a deployed system its clauses are OBSERVED, since no team answers for what AWS does.

A clause belongs to the group of what it needs of a target.

| group | asks of the target |
|---|---|
| connection | a WebSocket and a token |
| requests | a short, a long and a failing request, in whatever dialect it speaks |
| streamer | tokens of several users, and the probe pack |
| resilience | that its processes may be harmed: only on this machine |
| ops | its logs, metrics and stored items, or its code |
| platform | management calls, or a gateway that runs functions of ours |

| outcome | meaning |
|---|---|
| pass | tried, and it held |
| fail | it did not hold; the report shows what was expected, what was seen, and the wire log |
| non-strict | a SHOULD did not hold |
| info | an OBSERVED rule did not hold |
| not applicable | the target lacks what the clause needs; never counted as held |
| inconclusive | what had to be seen could not be brought about |
| error | the harness broke: nothing is said about the target |

| exit code | meaning |
|---|---|
| 0 | what was judged holds |
| 1 | something does not hold |
| 2 | the words, the configuration or the connection were wrong |
| 3 | no verdict: inconclusive, or the harness broke; with `--require-all` also not applicable |
| 130 | interrupted |

Where several fit, 2 comes before 1, 1 before 3, and 3 before 0.

## One history

All that goes over the wire in a run is recorded, with times of one clock.
One checker reads the whole of it, and judges every message whatever its clause was after:

- a message fits its schema and belongs to a request of that connection;
- the numbers of a request have no gap, and no number has a second content;
- the acknowledgment comes first, and nothing new comes after the outcome;
- percentages do not fall;
- no request stays without its end.

A violation names the rule that it breaks and fails the run.
A message that comes again unchanged is no violation.
Delivery is at least once, and a client drops the repeat by its number.

## Error codes

*Retryable*: the same request may be sent again.
*Definite*: the work surely did not happen; without it, it may have.

| code | sent when | retryable | definite |
|---|---|---|---|
"""


def markdown() -> str:
    """The whole page, one section per section of the contract, one heading per rule."""
    by_rule: dict[str, list[Clause]] = {rule: [] for rule in RULES}
    for item in all_clauses():
        by_rule[item.rule].append(item)
    parts = [_OPENING + "".join(map(_code, CODES))]
    section = 0
    for rule, clauses in by_rule.items():
        if RULES[rule] != section:
            section = RULES[rule]
            parts.append(f"## {section} {SECTIONS[section]}\n")
        parts.append(_rule(rule, clauses))
    return "\n".join(parts)


def _code(code: str) -> str:
    retryable, definite = ("yes" if code in known else "no" for known in (RETRYABLE, DEFINITE))
    return f"| {code} | {CODES[code]} | {retryable} | {definite} |\n"


def _rule(rule: str, clauses: Sequence[Clause]) -> str:
    if not clauses:
        return f"### {rule}\n\nNo clause yet. {WITHOUT_CLAUSE[rule]}\n"
    return f"### {rule}\n\n" + "\n".join(_clause(item) for item in clauses)


def _clause(item: Clause) -> str:
    name = "" if item.id == item.rule else f"`{item.id}`: "
    return (
        f"{name}**{item.level}**, group {item.group}. {item.sentence}\n\n"
        f"- why: {item.why}\n"
        f"- origin: {item.origin}\n"
    )
