"""A job without a server: it remembers what a handler waited for, reported, stored and counted."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from streamer_reference.handlers.job import Job

NOW_MS = 1_742_086_800_000  # 2025-03-16T01:00:00Z


class FakeCounter:
    """Counts in memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    async def increment(self, key: str) -> int:
        self.counts[key] += 1
        return self.counts[key]

    async def read(self, key: str) -> int:
        return self.counts[key]


class FakeObjects:
    """Objects in memory, whose URLs are their keys."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[bytes, str]] = {}

    async def put(self, key: str, data: bytes | Path, content_type: str) -> None:
        content = data if isinstance(data, bytes) else data.read_bytes()  # noqa: ASYNC240 - small
        self.files[key] = (content, content_type)

    def presign(self, key: str, expires_s: int) -> str:
        assert key in self.files
        return f"http://127.0.0.1/objects/{key}?X-Amz-Expires={expires_s}"


class FixedClock:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return NOW_MS


@dataclasses.dataclass
class Bench:
    """Makes jobs and remembers what became of them; `events` has waits and updates in order."""

    events: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    counter: FakeCounter = dataclasses.field(default_factory=FakeCounter)
    objects: FakeObjects = dataclasses.field(default_factory=FakeObjects)

    async def sleep(self, delay_s: float) -> None:
        self.events.append(("sleep", delay_s))

    def progress(self, percentage: float, message: str | None = None) -> None:
        self.events.append(("progress", percentage, message))

    def set_metadata(self, key: str, value: Any) -> None:
        self.events.append(("metadata", key, value))

    def job(self, payload: dict[str, Any] | None = None, **changes: Any) -> Job:
        """A job of user `ann` of tenant `acme`, with the changes that a test needs."""
        job = Job(
            payload={} if payload is None else payload,
            metadata={},
            user_id="ann",
            tenant_id="acme",
            permissions=("probe", "broadcast"),
            connection_id="L0SM9cOFIAMCIdw=",
            request_id="r-1",
            counter=self.counter,
            objects=self.objects,
            updates=self,
            sleep=self.sleep,
            clock=FixedClock(),
        )
        return dataclasses.replace(job, **changes)

    def percentages(self) -> list[float]:
        """The percentages that were reported, in order."""
        return [event[1] for event in self.events if event[0] == "progress"]
