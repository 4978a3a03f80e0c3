"""Broadcast to 100 connections of `streamproof serve` of which ten do not read: who notices?

    python tests/benchmarks/broadcast_non_readers.py          under a minute
    python tests/benchmarks/broadcast_non_readers.py --help

Printed: how long the other 90 wait for a broadcast, from the moment it is asked for, first with all
reading and then without the ten; how long a post to one of the ten takes to be answered 429; and by
how much the process of `serve` grows. Exit 0 when each bound holds and every reader had each
broadcast once, 1 when not, 2 when it could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from connections import Client, judge, open_one, resident_bytes, serving

from streamproof.targets.management import Management
from streamproof.targets.tokens import TokenMint
from streamproof.terminal import note, say

READERS, SLOW = 90, 10
DELIVERY_MS_P99_MAX = 50.0
REFUSAL_MS_MAX = 50.0  # "at once": a post that waited for the buffer would take its 2 s
GROWTH_BYTES_MAX = 20_000_000
POST_BYTES = 131_072, 8_192, 64  # until a connection's buffers are full to the last bit
POSTS_MAX = 1000  # of each size, to one connection
REFUSALS = 5  # asked of each that does not read
WAIT_S = 10.0


class Member(Client):
    """A client that keeps its answers, and when each broadcast came and how often."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        super().__init__()
        self.answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.came_s: dict[int, list[float]] = collections.defaultdict(list)

    def note(self, message: dict[str, Any], now_s: float) -> None:
        """Take a broadcast or an answer."""
        if message["type"] == "broadcast":
            self.came_s[message["payload"]].append(now_s)
        else:
            self.answers[message["request_id"]].set_result(message)

    async def ask(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for what it is answered."""
        name = f"r-{len(self.answers)}"
        self.answers[name] = asyncio.get_running_loop().create_future()
        self.send({"id": name, "action": action, "payload": payload})
        async with asyncio.timeout(WAIT_S):
            answer = await self.answers[name]
        if answer["type"] != "response":
            raise OSError(f"{action} was answered {answer}")
        data: dict[str, Any] = answer["data"]
        return data


async def open_members(url: str, token: str, count: int) -> list[Member]:
    """Open connections, one after the other."""
    members = []
    for _ in range(count):
        member = await open_one(url, token, kind=Member)
        assert isinstance(member, Member)
        members.append(member)
    return members


async def measure(readers: list[Member], rounds: range) -> tuple[list[float], set[tuple[int, int]]]:
    """Broadcast once a round; sorted latencies in ms, and which (delivered, failed) were told."""
    asked_s, told = {}, set()
    for number in rounds:
        asked_s[number] = time.perf_counter()
        answer = await readers[0].ask("broadcast", {"payload": number})
        told.add((answer["delivered"], answer["failed"]))
    times = []
    for member in readers:
        for number in rounds:
            if len(member.came_s[number]) != 1:
                raise OSError(f"a reader had broadcast {number} {len(member.came_s[number])} times")
            times.append((member.came_s[number][0] - asked_s[number]) * 1000)
    return sorted(times), told


async def fill(management: Management, connection_id: str) -> None:
    """Post to a connection that does not read until its buffers are full."""
    for size in POST_BYTES:
        for _ in range(POSTS_MAX):
            answer = await management.call("POST", connection_id, b"x" * size)
            if answer.status != 200:
                break
        if answer.status != 429:
            raise OSError(f"posts to one that does not read end with {answer.status}")


async def refusals(management: Management, ids: list[str]) -> list[float]:
    """Post to each of those that do not read: sorted latencies of the 429s, in ms."""
    times = []
    for connection_id in ids * REFUSALS:
        began_s = time.perf_counter()
        answer = await management.call("POST", connection_id, b"x" * POST_BYTES[-1])
        times.append((time.perf_counter() - began_s) * 1000)
        if answer.status != 429:
            raise OSError(f"a post to a full buffer was answered {answer.status}")
    return sorted(times)


async def run(rounds: int, folder: Path) -> bool:
    """Measure everything; whether each bound holds."""
    with serving(folder) as target:
        mint = TokenMint.read(Path(str(target.jwt_private_key)), target.issuer, target.audience)
        management = Management.of(target)
        assert management is not None
        readers = await open_members(target.url, mint.good(), READERS)
        slow = await open_members(target.url, mint.good(), SLOW)
        ids = [(await member.ask("probe.whoami", {}))["connection_id"] for member in slow]
        gc.collect()
        gc.disable()
        await measure(readers, range(5))
        calm, told = await measure(readers, range(5, 5 + rounds))
        say(f"all {READERS + SLOW} read: {_percentiles(calm)}")
        before = resident_bytes(int(target.pid or 0))
        for member, connection_id in zip(slow, ids, strict=True):
            member.transport.pause_reading()
            await fill(management, connection_id)
        times, told_then = await measure(readers, range(5 + rounds, 5 + 2 * rounds))
        refused = await refusals(management, ids)
        growth = resident_bytes(int(target.pid or 0)) - before
        held = [
            judge(
                f"{SLOW} do not read, the other {READERS}",
                times[len(times) * 99 // 100],
                DELIVERY_MS_P99_MAX,
                f"ms p99 ({_percentiles(times)})",
            ),
            judge("a post to one that does not read is 429", refused[-1], REFUSAL_MS_MAX, "ms max"),
            judge("the process of serve grows by", growth, GROWTH_BYTES_MAX, "bytes"),
        ]
    expected = [{(READERS + SLOW, 0)}, {(READERS, SLOW)}]
    if [told, told_then] != expected:
        say(f"MISSED  (delivered, failed) as told: {told}, then {told_then}; not {expected}")
    return all(held) and [told, told_then] == expected


def _percentiles(times: list[float]) -> str:
    p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    return f"p50 {p50:.1f}, p99 {p99:.1f}, max {times[-1]:.1f} ms, n {len(times)}"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="broadcasts of each phase")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="broadcast-") as name:
            return 0 if asyncio.run(run(args.rounds, Path(name))) else 1
    except (OSError, ValueError, TimeoutError) as error:
        note(f"could not be run: {error!r}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
