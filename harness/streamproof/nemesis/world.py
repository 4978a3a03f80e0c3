"""The world that faults strike: the embedded stack's processes, its gateway, and the clients."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from streamproof.gateway import PostFault
from streamproof.gateway.description import StreamItem
from streamproof.nemesis.faults import Item, PostRule, RecordRule
from streamproof.targets.embedded import Stack

MESSAGES_KEPT = 20_000  # names of messages whose attempts are counted
FREE_S = 0.2  # a transaction takes milliseconds
EARLIER_KEPT = 2_000  # records that can be delivered again

Drop = Callable[[int, str], Awaitable[bool]]


class GatewayFaults:
    """What the gateway asks: the rules in force decide, and everything is counted."""

    def __init__(self) -> None:
        """No rule is in force."""
        self.posts: list[PostRule] = []
        self.records: list[RecordRule] = []
        self.counts: Counter[str] = Counter()
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._earlier: collections.deque[StreamItem] = collections.deque(maxlen=EARLIER_KEPT)

    def on_post(self, connection_id: str, data: bytes) -> PostFault | None:
        """The first rule that has something to say decides."""
        self.counts["posts"] += 1
        if not self.posts:
            return None
        message = f"{connection_id} {message_name(data)}"
        attempt = self._attempts.pop(message, 0)
        self._attempts[message] = attempt + 1
        if len(self._attempts) > MESSAGES_KEPT:
            self._attempts.popitem(last=False)
        # Connection ids are drawn by the gateway, so they must not decide what the seed decides.
        for rule in self.posts:
            if (fault := rule.on_post(message_name(data), attempt)) is not None:
                self._count(fault)
                return fault
        return None

    def _count(self, fault: PostFault) -> None:
        if fault.status is None:
            self.counts["posts taken late"] += 1
            return
        self.counts[f"posts answered {fault.status}"] += 1
        if fault.delivered:
            self.counts[f"posts answered {fault.status} and delivered"] += 1

    def deliveries(self, batch: list[Item]) -> list[list[Item]]:
        """A batch as the rules have it."""
        if not self.records:
            return [batch]
        found = [batch]
        earlier: Any = self._earlier  # what this gateway handed over is of one kind
        for rule in self.records:
            found = rule.deliveries(found, earlier)
        new = {item.record.sequence for item in batch}
        self._earlier.extend(batch)
        self.counts["records"] += len(batch)
        delivered = [item.record.sequence in new for part in found for item in part]
        self.counts["records delivered"] += sum(delivered)
        self.counts["records replayed"] += len(delivered) - sum(delivered)
        return found


def message_name(data: bytes) -> str:
    """What stands for a posted message: its request and number, else its text."""
    with contextlib.suppress(ValueError, AttributeError):
        message = json.loads(data)
        request_id, sequence = message.get("request_id"), message.get("sequence")
        if isinstance(request_id, str) and sequence is not None:
            return f"{request_id} {sequence}"
    return data.decode("utf-8", "replace")


def is_free(store: Path) -> bool:
    """Whether a SQLite file takes a write within `FREE_S`."""
    with contextlib.closing(sqlite3.connect(store, timeout=FREE_S)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        database.rollback()
        return True


class EmbeddedWorld:
    """The embedded stack, in this process, and its workers, in theirs."""

    def __init__(self, stack: Stack, store: Path, faults: GatewayFaults, drop: Drop) -> None:
        """`faults` is what the stack was built with; `drop` ends a client's connection."""
        self._store = store
        self.posts = faults.posts
        self.records = faults.records
        self.memory: dict[Any, Any] = {}
        self._stack = stack
        self._drop = drop

    def victims(self, function: str) -> dict[int, int]:
        """The processes of a function that hold requests and are not stopped by a fault."""
        own = self._stack.gateway.process_ids()[function]
        stopped = set(self.memory.values())
        holders = self._stack.holders()
        return {pid: holders[pid] for pid in own if holders.get(pid) and pid not in stopped}

    def held(self, pid: int) -> int:
        """How many requests a process holds; 0 when it is gone."""
        return self._stack.holders().get(pid, 0)

    def store_is_free(self) -> bool:
        """Whether the store takes a write: nobody stands still inside a transaction."""
        return is_free(self._store)

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal, only ever to a process that the stack runs at this moment."""
        if not any(pid in pids for pids in self._stack.gateway.process_ids().values()):
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    async def disconnect(self, client: int, how: str) -> bool:
        """End a client's connection from its side."""
        return await self._drop(client, how)
