"""What happened in a world, in order, on its virtual clock; and it as lines for a reader."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `about` is a request's id, or nothing."""

    at_s: float
    kind: str
    who: str
    what: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.at_s:9.3f}  {self.kind:9} {self.who:14} {self.what}"

    def to_json(self) -> dict[str, Any]:
        """The event as JSON values."""
        return {"at_s": round(self.at_s, 6), **dataclasses.asdict(self)} | {
            "at_s": round(self.at_s, 6)
        }


class Trace:
    """Gathers events, and counts the classes of what occurred."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """`now_s` is the world's clock."""
        self._now_s = now_s
        self.events: list[Event] = []
        self.classes: Counter[str] = Counter()

    def add(self, kind: str, who: str, what: str, about: str = "") -> None:
        """One more event."""
        self.events.append(Event(self._now_s(), kind, who, what, about))

    def lines(self) -> list[str]:
        """All events, one per line."""
        return [str(event) for event in self.events]

    def digest(self) -> str:
        """What two runs of a seed must have in common: all of it."""
        text = "\n".join(json.dumps(event.to_json()) for event in self.events)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def witness(events: Iterable[Event], about: str, connection: str) -> list[Event]:
    """The smallest part that shows a violation: this request's events, and the faults around."""
    events = list(events)
    own = [
        event
        for event in events
        if (about and event.about == about) or (not about and event.who == connection)
    ]
    if not own:
        return events
    first, last = own[0].at_s, own[-1].at_s
    chosen = set(map(id, own))
    return [
        event
        for event in events
        if id(event) in chosen or (event.kind == "fault" and first <= event.at_s <= last)
    ]
