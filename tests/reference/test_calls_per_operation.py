"""OBS-5: what an operation costs in calls, counted exactly over the real functions."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import inspect
import math

import pytest

from streamer_reference.store.sqlite import SqliteStore
from support.observed import observed

QUERY_ITEMS = 100  # of a tenant's connections in one query


@dataclasses.dataclass
class Calls:
    """Calls since the last look."""

    reads: int
    writes: int
    posts: int
    by_name: collections.Counter


class Counted:
    """Counts the calls of a world's store, by kind and by name, and its posts."""

    def __init__(self, world):
        self.world = world
        self.names = collections.Counter()
        store = world.services.store
        for name, _ in inspect.getmembers(SqliteStore, inspect.isfunction):
            if not name.startswith("_") and name != "aclose":
                setattr(store, name, self._counted(name, getattr(store, name)))
        self.look()

    def _counted(self, name, method):
        def call(*args, **options):
            self.names[name] += 1
            return method(*args, **options)

        return call

    def look(self):
        store, posts = self.world.services.store, len(self.world.posts)
        now = (store.reads, store.writes, posts)
        before = getattr(self, "_before", now)
        self._before = now
        names, self.names = self.names, collections.Counter()
        reads, writes, posts = (later - earlier for later, earlier in zip(now, before, strict=True))
        return Calls(reads, writes, posts, names)


async def test_a_connection_is_one_write_each_way(tmp_path):
    """Connecting stores it; its end removes it with its subscriptions."""
    async with observed(tmp_path) as world:
        counted = Counted(world)
        assert await world.connect("c1") == 200
        calls = counted.look()
        assert (calls.reads, calls.writes, calls.posts) == (0, 1, 0)
        await world.disconnect("c1")
        assert counted.look().writes == 1


async def test_a_send_is_one_read_at_most_and_one_post(tmp_path):
    """The manager needs no read here: one stage has one address."""
    async with observed(tmp_path) as world:
        await world.connect("c1")
        counted = Counted(world)
        await world.services.manager.send("c1", b"{}")
        calls = counted.look()
        assert calls.reads <= 1
        assert (calls.writes, calls.posts) == (0, 1)


@pytest.mark.parametrize("action", ["echo", "ping", "no.such.action"])
async def test_a_short_request_is_one_read_one_write_one_post(tmp_path, action):
    """Answered or refused, it reads its connection and counts in it."""
    async with observed(tmp_path) as world:
        await world.connect("c1")
        counted = Counted(world)
        await world.say("c1", action, id="r")
        calls = counted.look()
        assert (calls.reads, calls.writes, calls.posts) == (1, 1, 1)


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_a_long_request_is_five_writes_and_one_per_progress_message(tmp_path, steps):
    """Accept, acknowledged, claim, outcome, taken; the lease is the worker's, not a request's."""
    async with observed(tmp_path) as world:
        await world.connect("c1")
        counted = Counted(world)
        plan = [{"percentage": 10 * n + 10, "ms": 150} for n in range(steps)]
        await world.say("c1", "probe.async", {"steps": plan}, id="r")
        await world.run()
        calls = counted.look()
        kinds = [message["type"] for _, message in world.posts]
        assert (kinds[0], kinds[-1]) == ("acknowledgment", "complete")
        progress = kinds.count("progress")
        assert progress == steps
        assert calls.writes - calls.by_name["renew"] <= 5 + progress, calls.by_name
        assert calls.posts == 2 + progress


async def test_a_lease_is_one_write_per_renewal_whatever_runs(tmp_path):
    """Fifty requests cost the worker as many renewals as one."""
    async with observed(tmp_path, lease_s=2.0, renewal_s=0.1, in_flight=1000, burst=1000) as world:
        await world.connect("c1")
        for number in range(50):
            await world.say("c1", "probe.async", {"steps": [{"ms": 1000}]}, id=f"r{number}")
        (event,) = await world.hand_over()
        counted = Counted(world)
        working = asyncio.create_task(world.work(event))
        await asyncio.wait({working}, timeout=0.55)
        assert not working.done()
        calls = counted.look()
        others = {"claim", "renew", "increment"}
        assert calls.by_name["claim"] == 50
        assert 2 <= calls.by_name["renew"] <= 7
        assert calls.writes == sum(calls.by_name[name] for name in others)
        await working


@pytest.mark.parametrize("members", [1, 100, 101, 250])
async def test_a_broadcast_is_a_query_per_hundred_and_a_post_each(tmp_path, members):
    """Beside what every short request costs."""
    async with observed(tmp_path) as world:
        for number in range(members):
            await world.connect(f"c{number}")
        counted = Counted(world)
        answer = await world.say("c0", "broadcast", {"payload": "x"}, id="b")
        calls = counted.look()
        assert answer["data"]["delivered"] == members
        assert calls.reads - 1 <= math.ceil(members / QUERY_ITEMS)
        assert (calls.writes, calls.posts - 1) == (1, members)
