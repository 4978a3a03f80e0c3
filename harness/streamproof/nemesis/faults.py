"""What can go wrong, as values: each fault is injected into a world, and healed.

A fault holds what its seed decided and no state; what it did is the world's to remember. `inject`
says in words what was done, or None when there was nothing to do it to.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import signal
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from streamproof.gateway import PostFault
from streamproof.gateway.description import StreamItem

Item = TypeVar("Item", bound=StreamItem)

WORKER = "worker"
ISOLATED_WORKER = "isolated-worker"
VICTIM_POLL_S = 0.05  # who holds what is a row of the store, which tells nobody when it changes
TRIES_MAX = 20  # for a victim that holds on to what it has
VICTIM_WAIT_S = 10.0  # so long a fault waits for a process that it would hurt
ISOLATED_WAIT_S = 1.0  # then a shared worker is struck: isolated ones are seldom there


def share(*parts: Any) -> float:
    """A number in [0, 1) that these parts decide, the same in every process and on every run."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class World(Protocol):
    """What faults are done to."""

    posts: list[PostRule]
    records: list[RecordRule]
    memory: dict[Any, Any]  # what a fault did, until it is healed

    def victims(self, function: str) -> dict[int, int]:
        """The processes of a function that hold requests: process id to how many."""
        ...

    def held(self, pid: int) -> int:
        """How many requests a process holds; 0 when it is gone."""
        ...

    def store_is_free(self) -> bool:
        """Whether the store takes a write at the moment."""
        ...

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal to a process of the stack; False when it is gone."""
        ...

    async def disconnect(self, client: int, how: str) -> bool:
        """End a client's connection from its side; False when it has none."""
        ...


class Fault(Protocol):
    """One thing that goes wrong."""

    @property
    def name(self) -> str:
        """The kind of fault, in a word."""
        ...

    async def inject(self, world: World) -> str | None:
        """Do it, and say what was done; None when it could not be done."""
        ...

    async def heal(self, world: World) -> str | None:
        """Undo it, and say so; None when that shows that it had no effect."""
        ...


class PostRule(Protocol):
    """Decides about posts while it is in force."""

    def on_post(self, message: str, attempt: int) -> PostFault | None:
        """Decide about the attempt (from 0) to post a message, which a name stands for."""
        ...


class RecordRule(Protocol):
    """Changes what a stream delivers while it is in force."""

    def deliveries(self, batches: list[list[Item]], earlier: Sequence[Item]) -> list[list[Item]]:
        """What is handed over in place of these; `earlier` was handed over before."""
        ...


async def _victim(world: World, function: str, rank: float, wait_s: float) -> int | None:
    """The process that holds the request which `rank` chooses among all held; waits for one."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    while not (found := world.victims(function)):
        if loop.time() >= until_s:
            return None
        await asyncio.sleep(VICTIM_POLL_S)
    held = [pid for pid in sorted(found) for _ in range(found[pid])]
    return held[int(rank * len(held))]


@dataclasses.dataclass(frozen=True, slots=True)
class KillWorker:
    """SIGKILL for a process that holds requests; `rank` in [0, 1) chooses the request to strike."""

    number: int
    function: str
    rank: float

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "kill"

    async def inject(self, world: World) -> str | None:
        """Kill one; another function's when this one has no process that holds anything."""
        waits_s = {ISOLATED_WORKER: ISOLATED_WAIT_S, WORKER: VICTIM_WAIT_S}
        for function in dict.fromkeys((self.function, WORKER)):
            pid = await _victim(world, function, self.rank, waits_s[function])
            if pid is not None:
                held = world.held(pid)
                if world.signal(pid, signal.SIGKILL):
                    return f"{function} {pid}, which held {held}, was killed"
        return None

    async def heal(self, world: World) -> str | None:  # noqa: ARG002 - the interface
        """Nothing: whoever runs workers starts another."""
        return "another is started in its place"


@dataclasses.dataclass(frozen=True, slots=True)
class PauseWorker:
    """SIGSTOP for a process that holds requests, until it is healed by SIGCONT."""

    number: int
    rank: float

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "pause"

    async def inject(self, world: World) -> str | None:
        """Stop one that still holds something once it stands still: what it holds must be lost.

        Not inside a transaction: the lock of a SQLite file has no lease, so nobody could write.
        """
        for _ in range(TRIES_MAX):
            pid = await _victim(world, WORKER, self.rank, VICTIM_WAIT_S)
            if pid is None or not world.signal(pid, signal.SIGSTOP):
                return None
            held = world.held(pid)
            if held and world.store_is_free():
                world.memory[self] = pid
                return f"{WORKER} {pid}, which held {held}, was stopped"
            world.signal(pid, signal.SIGCONT)
            await asyncio.sleep(VICTIM_POLL_S)
        return None

    async def heal(self, world: World) -> str | None:
        """Continue it; None when it still held something, so that its lease had not run out."""
        pid = world.memory.pop(self, None)
        if pid is None:
            return "nothing was stopped"
        held = world.held(pid)
        continued = world.signal(pid, signal.SIGCONT)
        if held or not continued:
            return None
        return f"{WORKER} {pid} goes on; all that it held had been taken over"


@dataclasses.dataclass(frozen=True, slots=True)
class FailPosts:
    """`@connections` answers some posts with an error; of those with 5xx, half arrive all the same.

    `shares` are statuses and the share of posts each gets; a further attempt is drawn anew.
    """

    seed: int
    shares: tuple[tuple[int, float], ...]

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "failed posts"

    def on_post(self, message: str, attempt: int) -> PostFault | None:
        """The answer in place of the truth, or None."""
        drawn = share(self.seed, "post", message, attempt)
        for status, part in self.shares:
            if drawn < part:
                delivered = status >= 500 and drawn < part / 2
                return PostFault(status, delivered)
            drawn -= part
        return None

    async def inject(self, world: World) -> str | None:
        """From now on."""
        world.posts.append(self)
        words = ", ".join(f"{status} to {part:.0%} of the posts" for status, part in self.shares)
        return f"the gateway answers {words}"

    async def heal(self, world: World) -> str | None:
        """No longer."""
        world.posts.remove(self)
        return "the gateway answers the truth"


@dataclasses.dataclass(frozen=True, slots=True)
class SlowPosts:
    """`@connections` takes some posts late, by up to `delay_s`."""

    seed: int
    part: float
    delay_s: float

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "slow posts"

    def on_post(self, message: str, attempt: int) -> PostFault | None:
        """A delay, or None."""
        drawn = share(self.seed, "slow", message, attempt)
        if drawn >= self.part:
            return None
        return PostFault(delivered=True, delay_s=self.delay_s * (drawn / self.part))

    async def inject(self, world: World) -> str | None:
        """From now on."""
        world.posts.append(self)
        return f"the gateway takes {self.part:.0%} of the posts up to {self.delay_s:g} s late"

    async def heal(self, world: World) -> str | None:
        """No longer."""
        world.posts.remove(self)
        return "the gateway takes posts at once"


@dataclasses.dataclass(frozen=True, slots=True)
class RepeatRecords:
    """The stream delivers every record `times`, and some of those before once more, much later."""

    seed: int
    times: int
    replayed: float = 0.1  # records of earlier batches, for each record delivered

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "repeated records"

    def deliveries(self, batches: list[list[Item]], earlier: Sequence[Item]) -> list[list[Item]]:
        """Each batch so often, then old records."""
        found = [batch for batch in batches for _ in range(self.times)]
        old = [
            earlier[int(share(self.seed, "which", item.record.sequence) * len(earlier))]
            for batch in batches
            for item in batch
            if earlier and share(self.seed, "replay", item.record.sequence) < self.replayed
        ]
        return [*found, old] if old else found

    async def inject(self, world: World) -> str | None:
        """From now on."""
        world.records.append(self)
        return f"every record is delivered {self.times} times, {self.replayed:.0%} later again"

    async def heal(self, world: World) -> str | None:
        """No longer."""
        world.records.remove(self)
        return "records are delivered once"


@dataclasses.dataclass(frozen=True, slots=True)
class ReorderRecords:
    """The stream delivers records in another order, but those of one key in their own."""

    seed: int

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "reordered records"

    def deliveries(
        self,
        batches: list[list[Item]],
        earlier: Sequence[Item],  # noqa: ARG002 - the interface
    ) -> list[list[Item]]:
        """The same records, keys mixed."""
        return [self._mixed(batch) for batch in batches]

    def _mixed(self, batch: list[Item]) -> list[Item]:
        by_key: dict[str, list[Item]] = {}
        for item in batch:
            by_key.setdefault(repr(item.record.keys), []).append(item)
        places = sorted(batch, key=lambda item: share(self.seed, "order", item.record.sequence))
        return [by_key[repr(item.record.keys)].pop(0) for item in places]

    async def inject(self, world: World) -> str | None:
        """From now on."""
        world.records.append(self)
        return "records of different keys change places"

    async def heal(self, world: World) -> str | None:
        """No longer."""
        world.records.remove(self)
        return "records come in order"


@dataclasses.dataclass(frozen=True, slots=True)
class Disconnect:
    """A client goes away by `close`, `reset` or `half-open`, and comes back on another."""

    number: int
    client: int
    how: str

    @property
    def name(self) -> str:
        """The kind of fault."""
        return "disconnect"

    async def inject(self, world: World) -> str | None:
        """End its connection; it opens another and subscribes to what has not ended."""
        if not await world.disconnect(self.client, self.how):
            return None
        return f"client {self.client} went away by {self.how}"

    async def heal(self, world: World) -> str | None:  # noqa: ARG002 - the interface
        """Nothing: the client comes back by itself."""
        return f"client {self.client} is back"
