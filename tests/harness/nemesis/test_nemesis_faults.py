"""Each fault on a world of paper: what it does, what it says, and that it can be undone."""

from __future__ import annotations

import dataclasses
import json
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproof.gateway import ChangeRecord, PostFault
from streamproof.nemesis import world as worlds
from streamproof.nemesis.faults import (
    ISOLATED_WORKER,
    WORKER,
    Disconnect,
    FailPosts,
    KillWorker,
    PauseWorker,
    ReorderRecords,
    RepeatRecords,
    SlowPosts,
    share,
)
from support.virtual_time import virtual_time


class Paper:
    """A world that writes down what is done to it."""

    def __init__(self, **holders: dict[int, int]) -> None:
        """`holders`: of each function, its processes and what they hold."""
        self.posts: list[Any] = []
        self.records: list[Any] = []
        self.memory: dict[Any, Any] = {}
        self.holders = holders
        self.signals: list[tuple[int, int]] = []
        self.dropped: list[tuple[int, str]] = []
        self.locked: list[bool] = []

    def victims(self, function: str) -> dict[int, int]:
        """The processes that hold something."""
        return {pid: n for pid, n in self.holders.get(function, {}).items() if n}

    def held(self, pid: int) -> int:
        """What one holds."""
        return sum(held.get(pid, 0) for held in self.holders.values())

    def store_is_free(self) -> bool:
        """Nobody stands still inside a transaction, unless told otherwise."""
        return not self.locked.pop() if self.locked else True

    def signal(self, pid: int, number: int) -> bool:
        """Take a signal for a process that is there."""
        self.signals.append((pid, number))
        return any(pid in held for held in self.holders.values())

    async def disconnect(self, client: int, how: str) -> bool:
        """Client 9 has no connection."""
        self.dropped.append((client, how))
        return client != 9


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """A record on its way."""

    record: ChangeRecord


def item(sequence: int, key: str = "k") -> Item:
    """A record of a key."""
    return Item(ChangeRecord(sequence, "INSERT", {"key": {"S": key}}, None, None, 0.0))


@given(st.integers(), st.text())
def test_a_share_is_a_fraction_that_its_parts_decide(seed: int, text: str) -> None:
    """In [0, 1), the same each time, another for other parts."""
    assert 0 <= share(seed, text) < 1
    assert share(seed, text) == share(seed, text)
    assert share(seed, text) != share(seed + 1, text)


@virtual_time
async def test_a_kill_strikes_the_process_that_its_rank_chooses() -> None:
    """Lowest and highest rank hit the first and the last of those that hold requests."""
    world = Paper(worker={7: 2, 8: 0, 9: 1})
    for number, (rank, pid) in enumerate(((0.0, 7), (0.99, 9))):
        assert f"{pid}, which held" in str(await KillWorker(number, WORKER, rank).inject(world))
    assert world.signals == [(7, signal.SIGKILL), (9, signal.SIGKILL)]


@virtual_time
async def test_a_kill_falls_back_on_a_shared_worker_and_misses_when_nobody_works() -> None:
    """Without an isolated worker a shared one is struck; without any, the fault says so."""
    world = Paper(worker={7: 1})
    fault = KillWorker(0, ISOLATED_WORKER, 0.5)
    assert str(await fault.inject(world)).startswith("worker 7")
    world.holders = {}
    assert await fault.inject(world) is None
    assert await fault.heal(world)


@virtual_time
async def test_a_paused_worker_goes_on_and_shows_whether_it_lost_what_it_held() -> None:
    """A pause that ended before the lease had no effect, and that is said."""
    world = Paper(worker={7: 3})
    fault = PauseWorker(0, 0.5)
    assert "held 3" in str(await fault.inject(world))
    assert await fault.heal(world) is None
    await fault.inject(world)
    world.holders = {"worker": {7: 0}}
    assert "taken over" in str(await fault.heal(world))
    assert [number for _, number in world.signals] == [signal.SIGSTOP, signal.SIGCONT] * 2
    assert await fault.heal(world) == "nothing was stopped"
    world.holders = {}
    assert await fault.inject(world) is None


@virtual_time
async def test_a_pause_needs_a_process_that_still_holds_something_when_it_stands() -> None:
    """One that ended its last request just then, or holds the store's lock, goes on at once."""
    world = Paper(worker={7: 3})
    held = iter([0, 5, 2])
    world.locked = [False, True]
    world.held = lambda pid: next(held)  # type: ignore[method-assign]  # a process at its end
    assert "held 2" in str(await PauseWorker(0, 0.5).inject(world))
    stop, go_on = signal.SIGSTOP, signal.SIGCONT
    assert [number for _, number in world.signals] == [stop, go_on, stop, go_on, stop]
    world.held = lambda pid: 0  # type: ignore[method-assign]  # likewise
    assert await PauseWorker(1, 0.5).inject(world) is None
    assert world.signals[-1] == (7, go_on)


async def test_disconnects_reach_the_client() -> None:
    """Client and manner are passed on; a client without a connection is a miss."""
    world = Paper()
    assert await Disconnect(0, 3, "reset").inject(world)
    assert await Disconnect(1, 9, "close").inject(world) is None
    assert await Disconnect(0, 3, "reset").heal(world)
    assert world.dropped == [(3, "reset"), (9, "close")]


@pytest.mark.parametrize(
    "fault", [FailPosts(1, ((429, 0.1),)), SlowPosts(1, 0.1, 1.0), RepeatRecords(1, 2)]
)
async def test_rules_are_in_force_until_they_are_healed(fault: Any) -> None:
    """What injecting added, healing removes."""
    world = Paper()
    assert await fault.inject(world)
    assert [*world.posts, *world.records] == [fault]
    assert await fault.heal(world)
    assert not world.posts
    assert not world.records


async def test_reordering_is_in_force_until_it_is_healed() -> None:
    """As every rule."""
    world, fault = Paper(), ReorderRecords(1)
    await fault.inject(world)
    assert world.records == [fault]
    await fault.heal(world)
    assert not world.records


def test_one_post_in_ten_gets_each_status_and_half_of_the_500s_arrive() -> None:
    """Over ten thousand messages the shares are what was asked, within a tenth."""
    fault = FailPosts(3, ((429, 0.1), (500, 0.1)))
    found = Counter(fault.on_post(f"r {number}", 0) for number in range(10_000))
    assert 900 < found[PostFault(429)] < 1100
    assert 400 < found[PostFault(500)] < 600
    assert 400 < found[PostFault(500, delivered=True)] < 600
    assert fault.on_post("r 1", 0) == fault.on_post("r 1", 0)


def test_slow_posts_are_late_within_their_bound() -> None:
    """They all arrive, none later than the bound."""
    fault = SlowPosts(3, 0.2, 1.5)
    found = [fault.on_post(f"r {number}", 0) for number in range(1000)]
    late = [post for post in found if post is not None]
    assert 150 < len(late) < 250
    assert all(p.delivered and p.status is None and 0 <= p.delay_s <= 1.5 for p in late)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(0, 99))
def test_reordered_records_keep_each_keys_order(keys: list[str], seed: int) -> None:
    """Nothing is added or dropped, and one key's records stay in order."""
    batch = [item(number, key) for number, key in enumerate(keys)]
    (mixed,) = ReorderRecords(seed).deliveries([batch], ())
    assert Counter(mixed) == Counter(batch)
    for key in "abc":
        own = [one.record.sequence for one in mixed if one.record.keys["key"]["S"] == key]
        assert own == sorted(own)


def test_every_record_comes_as_often_as_asked_and_some_old_ones_again() -> None:
    """The batch twice, then records of earlier batches alone."""
    batch, earlier = [item(n) for n in range(100, 200)], [item(n) for n in range(50)]
    first, second, *rest = RepeatRecords(1, 2).deliveries([batch], earlier)
    assert first == second == batch
    (old,) = rest
    assert set(old) <= set(earlier)
    assert RepeatRecords(1, 2).deliveries([batch], ()) == [batch, batch]


def test_the_gateway_is_told_by_the_first_rule_and_everything_is_counted() -> None:
    """The attempts of one message are drawn one by one; deliveries pass through every rule."""
    faults = worlds.GatewayFaults()
    data = json.dumps({"request_id": "r", "sequence": 2}).encode()
    assert faults.on_post("c", data) is None
    faults.posts += [FailPosts(1, ((500, 1.0),)), SlowPosts(1, 1.0, 1.0)]
    answers = [faults.on_post("c", data) for _ in range(40)]
    assert {answer.status for answer in answers if answer} == {500}
    assert {answer.delivered for answer in answers if answer} == {True, False}
    faults.posts.pop(0)
    late = faults.on_post("c", data)
    assert late is not None
    assert late.delay_s > 0
    faults.records.append(RepeatRecords(1, 3, replayed=0.0))
    one = item(1)
    assert faults.deliveries([one]) == [[one]] * 3
    assert faults.counts["posts"] == 42
    assert faults.counts["posts answered 500"] == 40
    assert 0 < faults.counts["posts answered 500 and delivered"] < 40
    assert faults.counts["posts taken late"] == 1
    assert (faults.counts["records"], faults.counts["records delivered"]) == (1, 3)


def test_what_comes_again_later_is_counted_apart() -> None:
    """Replays do not stand in for records that came too seldom."""
    faults = worlds.GatewayFaults()
    faults.records.append(RepeatRecords(1, 1, replayed=1.0))
    for number in range(4):
        faults.deliveries([item(number)])
    assert (faults.counts["records"], faults.counts["records delivered"]) == (4, 4)
    assert faults.counts["records replayed"] == 3


def test_the_attempts_of_a_bounded_number_of_messages_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The longest unused is forgotten first."""
    monkeypatch.setattr(worlds, "MESSAGES_KEPT", 2)
    faults = worlds.GatewayFaults()
    faults.posts.append(FailPosts(1, ((429, 0.5),)))
    for number in range(5):
        faults.on_post("c", str(number).encode())
    assert len(faults._attempts) == 2


def test_a_store_in_whose_transaction_somebody_stands_is_not_free(tmp_path: Path) -> None:
    """Any process can hold the file's lock."""
    store = tmp_path / "store.sqlite"
    assert worlds.is_free(store)
    with closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not worlds.is_free(store)
    assert worlds.is_free(store)


def test_a_message_is_named_by_its_number_else_by_its_text() -> None:
    """So the seed decides, and not a timestamp or a connection's id."""
    assert worlds.message_name(b'{"request_id":"r","sequence":0,"timestamp":5}') == "r 0"
    assert worlds.message_name(b'{"request_id":"r"}') == '{"request_id":"r"}'
    assert worlds.message_name(b"[1]") == "[1]"
    assert worlds.message_name(b"\xff") == "\ufffd"
