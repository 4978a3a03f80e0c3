"""The smallest part of a history that shows a violation: one request, and the faults around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamproof.history import read

LINES_MAX = 80
TEXT_MAX = 300
AROUND_S = 2.0  # faults so long before the first event of the request are shown


def witness(history: Path, request_id: str) -> list[str]:
    """The lines about a request, the middle left out when they are many; none without an id."""
    if not request_id:
        return []
    events = [event for event in read(history) if "at_s" in event and "connection" in event]
    own = [event["at_s"] for event in events if _is_about(event, request_id)]
    if not own:
        return []
    first_s, last_s = own[0] - AROUND_S, own[-1] + AROUND_S
    lines = list(_lines(events, request_id, first_s, last_s))
    if len(lines) > LINES_MAX:
        half = LINES_MAX // 2
        lines[half:-half] = [f"... {len(lines) - 2 * half} lines ..."]
    return lines


def _is_about(event: dict[str, Any], request_id: str) -> bool:
    return f'"{request_id}"' in event.get("text", "")


def _lines(
    events: list[dict[str, Any]], request_id: str, first_s: float, last_s: float
) -> Iterator[str]:
    connections = {event["connection"] for event in events if _is_about(event, request_id)}
    for event in events:
        if not first_s <= event["at_s"] <= last_s:
            continue
        head = f"{event['at_s']:9.3f} s  {event['connection'] or 'nemesis':<10}"
        match event["kind"]:
            case "fault":
                yield f"{head} ! {event['fault']}: {event['what']}"
            case "open" | "close" if event["connection"] in connections:
                yield f"{head} - {event['kind']}"
            case "sent" if _is_about(event, request_id):
                yield f"{head} > {event['text'][:TEXT_MAX]}"
            case "received" if _is_about(event, request_id):
                yield f"{head} < {event['text'][:TEXT_MAX]}"
