"""The connection manager on virtual time, over a client that does as it is told."""

from __future__ import annotations

import asyncio
import collections
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer_reference.connection import manager as manager_module
from streamer_reference.connection.errors import (
    BadRequestError,
    CircuitOpenError,
    ForbiddenError,
    GoneError,
    ManagerClosedError,
    NoAnswerError,
    NotSentError,
    PayloadTooLargeError,
    QueueFullError,
    SendError,
    ServiceError,
    ThrottledError,
)
from streamer_reference.connection.http import POOL_MAX
from streamer_reference.connection.manager import (
    BroadcastResult,
    ConnectionManager,
    Health,
    Outcome,
)
from streamer_reference.core.circuit import State
from support.virtual_time import pass_time, run_virtual, virtual_time

HANG = "hang"


class FakeClient:
    """Takes its answers for each connection from a script; after its end it takes everything."""

    def __init__(self, scripts=None, latency_s=0.01):
        self.scripts = {key: collections.deque(steps) for key, steps in (scripts or {}).items()}
        self.latency_s = latency_s
        self.posts = []  # (virtual second of its start, connection, data)
        self.taken = []  # (connection, data), in the order of the answers
        self.under_way = self.most_under_way = 0
        self.closed = asyncio.Event()

    async def post_to_connection(self, connection_id, data, *, timeout_s=None):
        self.posts.append((round(asyncio.get_running_loop().time(), 3), connection_id, data))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            script = self.scripts.get(connection_id)
            step = script.popleft() if script else None
            try:
                async with asyncio.timeout(min(timeout_s, 3.0)):
                    await asyncio.wait_for(
                        self.closed.wait(), 1e6 if step is HANG else self.latency_s
                    )
                raise NoAnswerError("closed")
            except TimeoutError:
                if step is HANG:
                    raise NoAnswerError("no answer") from None
            if step is not None:
                raise step("scripted")
            self.taken.append((connection_id, data))
            return 200
        finally:
            self.under_way -= 1

    async def aclose(self):
        self.closed.set()


class _Clock:
    def now_ms(self):
        return 1000 + int(asyncio.get_running_loop().time() * 1000)


def _manager(client, dice=lambda: 0.5, **options):
    return ConnectionManager(client, dice=dice, clock=_Clock(), **options)


def _now():
    return asyncio.get_running_loop().time()


@virtual_time
async def test_a_send_is_one_post():
    """Without trouble there is one HTTP call and no pause."""
    client = FakeClient()
    result = await _manager(client).send("c", b"x")
    assert (result.outcome, result.attempts, result.error) == (Outcome.DELIVERED, 1, None)
    assert client.posts == [(0.0, "c", b"x")]


@pytest.mark.parametrize("kind", [ThrottledError, ServiceError, NotSentError, NoAnswerError])
@virtual_time
async def test_passing_trouble_is_retried_with_growing_pauses(kind):
    """Half of 50 ms, of 100 ms, of 200 ms: the dice always show one half."""
    client = FakeClient({"c": [kind] * 3}, latency_s=0)
    result = await _manager(client).send("c", b"x")
    assert (result.outcome, result.attempts) == (Outcome.DELIVERED, 4)
    assert [at for at, _, _ in client.posts] == [0.0, 0.025, 0.075, 0.175]


@virtual_time
async def test_attempts_are_bounded_to_five():
    """The sixth is never made, and the last error is told."""
    client = FakeClient({"c": [ThrottledError] * 9})
    result = await _manager(client).send("c", b"x")
    assert (result.outcome, result.attempts) == (Outcome.FAILED, 5)
    assert isinstance(result.error, ThrottledError)
    assert len(client.posts) == 5


@virtual_time
async def test_time_is_bounded_to_ten_seconds():
    """Three hanging posts of 3 s leave a second for the fourth."""
    client = FakeClient({"c": [HANG] * 9})
    result = await _manager(client).send("c", b"x")
    assert result.outcome is Outcome.FAILED
    assert isinstance(result.error, NoAnswerError)
    assert len(client.posts) == 4
    assert _now() == pytest.approx(10.0)


@pytest.mark.parametrize("kind", [BadRequestError, ForbiddenError, PayloadTooLargeError])
@virtual_time
async def test_what_cannot_succeed_is_not_repeated(kind):
    """A refusal is final, and no fault of the connection's."""
    manager = _manager(FakeClient({"c": [kind] * 4}))
    for _ in range(4):
        result = await manager.send("c", b"x")
        assert (result.outcome, result.attempts) == (Outcome.FAILED, 1)
        assert isinstance(result.error, kind)
    assert manager.health("c").circuit is State.CLOSED


@virtual_time
async def test_no_answer_is_repeated_only_where_a_repeat_can_be_dropped():
    """A message without a number is posted again when it surely did not arrive, else never."""
    client = FakeClient({"c": [NoAnswerError], "d": [NotSentError]})
    manager = _manager(client)
    lost = await manager.send("c", b"x", repeatable=False)
    assert (lost.outcome, lost.attempts) == (Outcome.FAILED, 1)
    sent = await manager.send("d", b"x", repeatable=False)
    assert (sent.outcome, sent.attempts) == (Outcome.DELIVERED, 2)


@virtual_time
async def test_gone_is_told_and_forgotten():
    """One post, one call of `on_gone`, and no memory of the connection."""
    gone = []

    async def on_gone(connection_id):
        gone.append(connection_id)

    manager = _manager(FakeClient({"c": [ServiceError, GoneError]}), on_gone=on_gone)
    result = await manager.send("c", b"x")
    assert (result.outcome, result.attempts) == (Outcome.GONE, 2)
    assert gone == ["c"]
    assert not manager._connections


@virtual_time
async def test_gone_is_gone_also_when_removing_fails(caplog):
    """A store that cannot remove the connection is logged; the send has its answer."""

    async def on_gone(connection_id):
        raise OSError("store")

    result = await _manager(FakeClient({"c": [GoneError]}), on_gone=on_gone).send("c", b"x")
    assert result.outcome is Outcome.GONE
    assert "could not be removed" in caplog.text


@virtual_time
async def test_gone_with_others_waiting_keeps_their_order():
    """Who waits for the turn keeps it: the connection is forgotten after the last one."""
    client = FakeClient({"c": [GoneError]})
    manager = _manager(client)
    results = await asyncio.gather(*(manager.send("c", b"%d" % n) for n in range(3)))
    assert [result.outcome for result in results] == [Outcome.GONE] + [Outcome.DELIVERED] * 2
    assert [data for _, data in client.taken] == [b"1", b"2"]


@pytest.mark.parametrize("kind", [ServiceError, NotSentError, NoAnswerError])
@virtual_time
async def test_three_failed_sends_open_the_circuit_of_that_connection_alone(kind):
    """Refused for 30 s without a post, then one trial; another connection notices nothing."""
    client = FakeClient({"c": [kind] * 15})
    manager = _manager(client)
    for failures in (1, 2, 3):
        assert (await manager.send("c", b"x")).attempts == 5
        assert manager.health("c").consecutive_failures == failures
    assert manager.health("c").circuit is State.OPEN
    refused = await manager.send("c", b"x")
    assert isinstance(refused.error, CircuitOpenError)
    assert refused.attempts == 0
    assert (await manager.send("d", b"x")).outcome is Outcome.DELIVERED
    await pass_time(30)
    assert (await manager.send("c", b"x")).outcome is Outcome.DELIVERED
    assert manager.health("c").circuit is State.CLOSED


@virtual_time
async def test_a_trial_that_fails_is_the_only_one_for_thirty_seconds():
    """Whoever waits behind the trial is refused with it; the next trial may succeed."""
    client = FakeClient({"c": [ServiceError] * 20})
    manager = _manager(client)
    for _ in range(3):
        await manager.send("c", b"x")
    await pass_time(30)
    posts = len(client.posts)
    trial, *others = await asyncio.gather(*(manager.send("c", b"x") for _ in range(10)))
    assert isinstance(trial.error, ServiceError)
    assert {type(other.error) for other in others} == {CircuitOpenError}
    assert len(client.posts) == posts + 5
    await pass_time(29)
    assert isinstance((await manager.send("c", b"x")).error, CircuitOpenError)
    await pass_time(1.01)
    assert (await manager.send("c", b"x")).outcome is Outcome.DELIVERED


@virtual_time
async def test_a_broadcast_counts_for_the_circuit_too():
    """Three broadcasts without an answer, and the fourth loses no time with that recipient."""
    manager = _manager(FakeClient({"c": [HANG] * 9}))
    for _ in range(3):
        assert (await manager.broadcast(["c"], b"x")).failed == 1
    assert manager.health("c").circuit is State.OPEN
    began_s = _now()
    assert (await manager.broadcast(["c", "d"], b"x")) == BroadcastResult(1, 0, 1)
    assert _now() - began_s < 0.1


@virtual_time
async def test_throttles_and_cancellations_never_open_a_circuit():
    """They say nothing about the peer, also when they end a trial."""
    client = FakeClient({"c": [ThrottledError] * 20 + [HANG] * 3})
    manager = _manager(client)
    for _ in range(4):
        assert isinstance((await manager.send("c", b"x")).error, ThrottledError)
    for _ in range(3):
        task = asyncio.create_task(manager.send("c", b"x"))
        await pass_time(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert manager.health("c") == Health()
    assert (await manager.send("c", b"x")).outcome is Outcome.DELIVERED


@virtual_time
async def test_health_can_be_asked():
    """Circuit, failures in a row, last success in milliseconds; nothing for an unknown one."""
    manager = _manager(FakeClient({"c": [None] + [ServiceError] * 5}))
    assert manager.health("c") == Health()
    await manager.send("c", b"x")
    await manager.send("c", b"x")
    assert manager.health("c") == Health(State.CLOSED, 1, 1010)
    manager.forget("c")
    manager.forget("c")
    assert manager.health("c") == Health()


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from([ThrottledError, ServiceError, None]), max_size=4)))
def test_messages_for_one_connection_arrive_in_their_order(scripts):
    """Whatever fails in between: retries hold the turn, connections do not wait for each other."""

    async def scenario():
        steps = [step for script in scripts for step in (*script, None)]
        client = FakeClient({"c": steps})
        manager = _manager(client, dice=random.Random(1).random)
        messages = [b"%d" % number for number in range(20)]
        others = asyncio.create_task(manager.send("d", b"other"))
        await asyncio.gather(*(manager.send("c", data) for data in messages))
        assert (await others).outcome is Outcome.DELIVERED
        delivered = [data for connection, data in client.taken if connection == "c"]
        assert delivered == sorted(delivered, key=messages.index)
        assert client.taken[0] == ("d", b"other") or delivered[0] == b"0"

    run_virtual(scenario())


@virtual_time
async def test_what_waits_is_bounded_in_number_and_time(monkeypatch):
    """A connection that takes nothing cannot fill the memory, and no send waits for ever."""
    monkeypatch.setattr(manager_module, "WAITING_MAX", 3)
    manager = _manager(FakeClient({"c": [HANG] * 99}))
    results = await asyncio.gather(*(manager.send("c", b"x") for _ in range(5)))
    kinds = [type(result.error) for result in results]
    assert kinds == [NoAnswerError] + [QueueFullError] * 4
    assert [result.attempts for result in results] == [4, 0, 0, 0, 0]
    assert _now() == pytest.approx(10.0)


@virtual_time
async def test_memory_holds_for_connections_that_exist(monkeypatch):
    """Past a connection's longest life, or past the bound, the longest unused is forgotten."""
    monkeypatch.setattr(manager_module, "CONNECTIONS_MAX", 3)
    manager = _manager(FakeClient({"busy": [HANG]}))
    for name in ("a", "b", "a", "c", "d"):
        await manager.send(name, b"x")
    assert list(manager._connections) == ["a", "c", "d"]
    await pass_time(7201)
    await manager.send("e", b"x")
    assert list(manager._connections) == ["e"]
    busy = asyncio.create_task(manager.send("busy", b"x"))
    await manager.send("e", b"x")
    for name in ("f", "g", "h"):
        await manager.send(name, b"x")
    assert "busy" in manager._connections
    await busy


@virtual_time
async def test_a_broadcast_counts_everyone_once():
    """Delivered, gone and failed add up to the connections addressed, each addressed once."""
    observed = {}
    client = FakeClient({"gone": [GoneError], "refused": [ForbiddenError], "slow": [ServiceError]})
    manager = _manager(client, observe=observed.__setitem__)
    ids = ["a", "gone", "refused", "slow", "a", "b"]
    assert await manager.broadcast(ids, b"news") == BroadcastResult(delivered=3, gone=1, failed=1)
    assert sorted(connection for connection, _ in client.taken) == ["a", "b", "slow"]
    assert {data for _, data in client.taken} == {b"news"}
    assert {name: result.outcome for name, result in observed.items()}["gone"] is Outcome.GONE
    assert await manager.broadcast([], b"news") == BroadcastResult()


@virtual_time
async def test_the_slow_delay_nobody():
    """Thirty that hang and hundreds that are throttled: the others have it within milliseconds."""
    hanging = {f"hang{n}": [HANG] for n in range(30)}
    throttled = {f"throttled{n}": [ThrottledError] * 99 for n in range(300)}
    client = FakeClient(hanging | throttled, latency_s=0.001)
    manager = _manager(client)
    good = [f"good{n}" for n in range(100)]
    began = asyncio.create_task(manager.broadcast([*hanging, *throttled, *good], b"news"))
    await pass_time(0.5)
    assert {connection for connection, _ in client.taken} == set(good)
    assert await began == BroadcastResult(delivered=100, gone=0, failed=330)
    assert _now() <= 2.01
    assert client.most_under_way <= 32 + 30


@pytest.mark.parametrize("count", [10, 40, 60])
@pytest.mark.parametrize("step", [HANG, GoneError, ServiceError, NotSentError, ThrottledError])
@virtual_time
async def test_who_does_not_take_a_broadcast_delays_nobody(step, count):
    """The others have theirs within 50 ms, whoever comes first, and each gets one copy."""

    async def on_gone(connection_id):
        await pass_time(3600)

    bad, good = [f"bad{n}" for n in range(count)], [f"good{n}" for n in range(100)]
    client = FakeClient({name: [step] * 9 for name in bad}, latency_s=0.001)
    manager = _manager(client, on_gone=on_gone)
    broadcast = asyncio.create_task(manager.broadcast([*bad, *good], b"news"))
    await pass_time(0.05)
    assert sorted(name for name, _ in client.taken) == sorted(good)
    if step is GoneError:
        broadcast.cancel()
        return
    assert await broadcast == BroadcastResult(delivered=100, gone=0, failed=count)
    assert _now() <= 2.05


@virtual_time
async def test_posts_that_hang_leave_room_for_others():
    """However many hang, a broadcast takes no more than its part of the sockets."""
    client = FakeClient({str(n): [HANG] for n in range(500)})
    manager = _manager(client)
    broadcast = asyncio.create_task(manager.broadcast(map(str, range(500)), b"x"))
    await pass_time(1)
    assert client.under_way == manager_module.BROADCAST_POSTS_MAX
    assert client.under_way <= POOL_MAX - 64
    assert (await broadcast).failed == 500
    assert not client.under_way
    assert manager._prompt_posts._value == manager_module.PROMPT_POSTS_MAX


@virtual_time
async def test_a_broadcast_is_serialised_once():
    """BCAST-3: every recipient is posted the very same bytes."""
    client = FakeClient()
    await _manager(client).broadcast(["a", "b", "c"], b"news")
    assert len({id(data) for _, data in client.taken}) == 1


@virtual_time
async def test_a_broadcast_without_an_answer_is_not_repeated():
    """It may have been delivered, and its receiver could not tell the second copy."""
    client = FakeClient({"c": [NoAnswerError]})
    assert await _manager(client).broadcast(["c"], b"x") == BroadcastResult(0, 0, 1)
    assert len(client.posts) == 1


@virtual_time
async def test_a_send_does_not_wait_behind_a_broadcast():
    """A broadcast to a thousand leaves half of the pool to others."""
    client = FakeClient(latency_s=0.1)
    manager = _manager(client)
    broadcast = asyncio.create_task(manager.broadcast([str(n) for n in range(1000)], b"x"))
    await pass_time(0.05)
    await manager.send("c", b"x")
    assert _now() == pytest.approx(0.15)
    assert (await broadcast).delivered == 1000


@virtual_time
async def test_closing_lets_sends_end():
    """What is under way is delivered; what comes after is refused."""
    client = FakeClient({"c": [ThrottledError]}, latency_s=0.5)
    manager = _manager(client)
    sends = [asyncio.create_task(manager.send("c", b"x")) for _ in range(2)]
    await pass_time(0.1)
    await manager.aclose()
    results = [await send for send in sends]
    assert [result.outcome for result in results] == [Outcome.DELIVERED, Outcome.FAILED]
    assert isinstance(results[1].error, ManagerClosedError)
    assert isinstance((await manager.send("d", b"x")).error, ManagerClosedError)
    assert client.closed.is_set()
    assert _now() < 2


@virtual_time
async def test_closing_during_a_broadcast_drains_it():
    """Who is being posted to has it; who was not begun is refused and counted as failed."""
    client = FakeClient({"slow": [ThrottledError]}, latency_s=0.1)
    manager = _manager(client)
    ids = ["slow", *map(str, range(1500))]
    broadcast = asyncio.create_task(manager.broadcast(ids, b"x"))
    await pass_time(0.05)
    under_way = client.under_way
    await manager.aclose()
    counted = await broadcast
    assert counted.delivered >= under_way > 0
    assert counted.delivered == len({name for name, _ in client.taken})
    assert counted.delivered + counted.failed == 1501
    assert _now() < 6
    assert not client.under_way


@virtual_time
async def test_closing_never_hangs():
    """Sends that hang, pauses and a stuck store end with the drain; a broadcast ends counted."""

    async def on_gone(connection_id):
        await pass_time(3600)

    scripts = {"hang": [HANG] * 9, "throttled": [ThrottledError] * 9, "gone": [GoneError]}
    manager = _manager(FakeClient(scripts), dice=lambda: 0.99, on_gone=on_gone)
    send = asyncio.create_task(manager.send("hang", b"x"))
    stuck = asyncio.create_task(manager.send("gone", b"x"))
    ids = ["hang", "throttled", *map(str, range(2000))]
    broadcast = asyncio.create_task(manager.broadcast(ids, b"x"))
    await pass_time(0.02)
    await manager.aclose(drain_s=0.5)
    assert _now() == pytest.approx(1.52)
    assert (await send).outcome is Outcome.FAILED
    counted = await broadcast
    assert counted.delivered + counted.gone + counted.failed == 2002
    assert _now() < 3
    await manager.aclose(drain_s=0.1)
    stuck.cancel()


def test_the_errors_are_one_tree():
    """Whoever catches `SendError` catches all that a post can end with."""
    for kind in (CircuitOpenError, NoAnswerError, GoneError, PayloadTooLargeError):
        assert issubclass(kind, SendError)
        assert str(kind()) == kind.__name__
