"""A seed for a reader: what happened, what broke, the smallest witness, and how to see it again."""

from __future__ import annotations

import json
from typing import Any

from streamproof.simulation.trace import witness
from streamproof.simulation.world import Played


def command(seed: int, mutant: str | None) -> str:
    """What plays this seed again."""
    return f"streamproof replay {seed}" + (f" --mutant {mutant}" if mutant else "")


def lines(played: Played, mutant: str | None) -> list[str]:
    """The history of a seed, its verdict, and for each violation the events that show it."""
    told = [f"seed {played.seed}: {', '.join(played.faults) or 'no faults'}", ""]
    told += [str(event) for event in played.events]
    told += ["", *verdict(played, mutant)]
    return told


def verdict(played: Played, mutant: str | None) -> list[str]:
    """What became of it, in a few lines."""
    told = [f"history {played.digest[:16]}, {played.seconds:.1f} virtual seconds"]
    if played.holds:
        return [*told, "holds", *unfound(mutant)]
    first = played.violations[0]
    told.append(f"broken: {len(played.violations)}")
    told += [f"  {violation.at_s:9.3f}  {violation}" for violation in played.violations]
    told.append("smallest witness of the first:")
    told += [f"  {event}" for event in witness(played.events, first.request_id, first.connection)]
    return [*told, f"again: {command(played.seed, mutant)}"]


def unfound(mutant: str | None) -> list[str]:
    """That a seed which holds did not find what was planted, and what looks for one that does."""
    if mutant is None:
        return []
    search = f"python -m streamproof.simulation --mutants --only {mutant} --starts 1"
    return [f"the mutant {mutant} was planted, and this seed does not find it", f"  {search}"]


def as_json(played: Played, mutant: str | None) -> dict[str, Any]:
    """The same for a program."""
    first = played.violations[0] if played.violations else None
    shown = () if first is None else witness(played.events, first.request_id, first.connection)
    return {
        "schema": "streamproof.replay/1",
        "seed": played.seed,
        "mutant": mutant,
        "holds": played.holds,
        "digest": played.digest,
        "virtual_s": round(played.seconds, 3),
        "faults": list(played.faults),
        "violations": [
            {
                "rule": violation.rule,
                "connection": violation.connection,
                "request_id": violation.request_id,
                "what": violation.what,
                "at_s": round(violation.at_s, 6),
            }
            for violation in played.violations
        ],
        "witness": [event.to_json() for event in shown],
        "events": [event.to_json() for event in played.events],
        "command": command(played.seed, mutant),
    }


def dumped(value: object) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
