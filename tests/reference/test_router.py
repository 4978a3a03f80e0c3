"""The router: order of checks, one answer each, stored before it is acknowledged."""

from __future__ import annotations

import asyncio
import json

import pytest

from streamer_reference.connection.errors import ServiceError
from streamer_reference.core.states import Status
from streamer_reference.handlers import Registry, default_registry
from streamer_reference.protocol.errors import FieldError, HandlerError
from streamer_reference.store.base import StoreError
from support.reference_world import EPOCH_MS, World, kinds
from support.virtual_time import pass_time, run_virtual, virtual_time


def _registry(run=None, action="own", **options):
    registry = Registry()
    registry.include(default_registry(probe=True))
    if run is not None:
        registry.handler(action, **options)(run)
    return registry


@virtual_time
async def test_a_short_request_has_one_response_and_its_budget_of_calls(tmp_path):
    """SYNC-1 and OBS-5: one read, one write, one post."""
    world = World(tmp_path)
    await world.connect("c1")
    before = (world.store.reads, world.store.writes, world.clients.posts)
    answer = await world.say("c1", "echo", {"a": 1e-7}, id="r1")
    after = (world.store.reads, world.store.writes, world.clients.posts)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
    assert answer == [
        {
            "type": "response",
            "request_id": "r1",
            "sequence": 0,
            "timestamp": EPOCH_MS,
            "success": True,
            "data": {"echo": {"a": 1e-7}},
        }
    ]
    named = (await world.say("c1", "ping"))[0]["request_id"]
    assert named != (await world.say("c1", "ping"))[0]["request_id"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"action": "nope"}, "INVALID_ACTION"),
        ({"action": "__proto__"}, "INVALID_ACTION"),
        ({"action": "$connect"}, "VALIDATION_ERROR"),
        ({"action": "probe.whoami"}, "FORBIDDEN"),
        ({"action": "probe.async", "payload": {"steps": 1}}, "FORBIDDEN"),
        ({"action": "broadcast"}, "FORBIDDEN"),
        ({"action": "delay", "payload": {}}, "VALIDATION_ERROR"),
        ({"action": "status", "payload": {}}, "VALIDATION_ERROR"),
        ({"action": "status", "payload": {"request_id": "no such"}}, "VALIDATION_ERROR"),
        ({"action": "status", "payload": {"request_id": "r9"}}, "NOT_FOUND"),
    ],
)
def test_a_refusal_is_one_error_with_a_number(tmp_path, message, code):
    """Each with the request's id, `sequence` 0, and nothing run or remembered."""

    async def scenario():
        world = World(tmp_path)
        await world.connect("c1", permissions=())
        got = await world.say_text("c1", json.dumps({"id": "r1", **message}))
        assert [m["error"]["code"] for m in got] == [code]
        assert (got[0]["request_id"], got[0]["sequence"]) == ("r1", 0)
        assert await world.store.get(world.key("r1")) is None
        assert kinds(await world.say("c1", "ping")) == ["response"]

    run_virtual(scenario())


@virtual_time
async def test_what_cannot_be_read_is_refused_without_an_id(tmp_path):
    """MSG-2 and MSG-3: one VALIDATION_ERROR, the id where it could be read."""
    world = World(tmp_path)
    await world.connect("c1")
    for text in ("", "[]", "NaN", '{"action":"echo","action":"echo"}', "[" * 500):
        got = await world.say_text("c1", text)
        assert [m["error"]["code"] for m in got] == ["VALIDATION_ERROR"]
        assert "request_id" not in got[0]
        assert "sequence" not in got[0]
    got = await world.say_text("c1", '{"id":"r1","action":"echo","payload":3}')
    assert got[0]["request_id"] == "r1"
    assert got[0]["error"]["details"]["fields"] == [
        {"field": "payload", "message": "must be an object"}
    ]
    assert world.clients.closed == []
    assert kinds(await world.say("c1", "ping")) == ["response"]


@virtual_time
async def test_ten_thousand_bad_fields_are_answered_with_what_fits(tmp_path):
    """The error fits a message, however much is wrong."""
    world = World(tmp_path)
    await world.connect("c1")
    got = await world.say("c1", "probe.async", {"steps": [1] * 10_000}, id="r1")
    assert [m["error"]["code"] for m in got] == ["VALIDATION_ERROR"]
    assert len(json.dumps(got[0])) < 131_072


@virtual_time
async def test_an_unknown_connection_is_told_nothing(tmp_path):
    """There is nobody whose message it could be."""
    world = World(tmp_path)
    world.clients.arrived["c1"] = []
    assert await world.say("c1", "ping") == []
    assert world.clients.posts == 0


@virtual_time
async def test_a_token_that_expires_ends_the_session(tmp_path):
    """AUTH-8: UNAUTHORIZED with the request's id, nothing run, the connection deleted."""
    world = World(tmp_path)
    await world.connect("c1", token_expires_at_s=EPOCH_MS / 1000 + 10)
    assert kinds(await world.say("c1", "ping")) == ["response"]
    await pass_time(10)
    got = await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    assert [m["error"]["code"] for m in got] == ["UNAUTHORIZED"]
    assert got[0]["request_id"] == "r1"
    assert world.clients.closed == ["c1"]
    assert await world.store.get(world.key("r1")) is None
    world.services.client.deleting = ServiceError
    got = await world.say_text("c1", "{")
    assert [m["error"]["code"] for m in got] == ["UNAUTHORIZED"]
    assert world.clients.closed == ["c1"]


@virtual_time
async def test_the_message_rate_is_kept_and_refused_messages_count(tmp_path):
    """LIMIT-2: nonsense uses the bucket up too, and `after_ms` says how long to wait."""
    world = World(tmp_path, messages_per_minute=60, burst=4)
    await world.connect("c1")
    await world.say_text("c1", "{")
    await world.say("c1", "nope")
    await world.say("c1", "ping")
    await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    refused = (await world.say("c1", "delay", {"duration_ms": 1}, id="r2"))[0]["error"]
    assert refused["code"] == "RATE_LIMITED"
    assert refused["retry"]["retryable"] is True
    assert await world.store.get(world.key("r2")) is None
    await pass_time(refused["retry"]["after_ms"] / 1000)
    assert kinds(await world.say("c1", "ping")) == ["response"]
    await world.connect("c2")
    assert kinds(await world.say("c2", "ping")) == ["response"]


@virtual_time
async def test_the_wait_that_is_said_is_the_wait_that_it_is(tmp_path):
    """LIMIT-2: before `after_ms` has passed a message is refused, and then it is not."""
    world = World(tmp_path, messages_per_minute=6, burst=1)
    await world.connect("c1")
    await world.say("c1", "ping")
    after_ms = (await world.say("c1", "ping"))[0]["error"]["retry"]["after_ms"]
    assert 9_000 < after_ms <= 10_000
    await pass_time(after_ms / 1000 - 0.1)
    assert kinds(await world.say("c1", "ping")) == ["error"]
    await pass_time(0.1)
    assert kinds(await world.say("c1", "ping")) == ["response"]


@virtual_time
async def test_ids_that_the_server_makes_are_unique(tmp_path):
    """MSG-1: also of messages in one millisecond."""
    world = World(tmp_path)
    await world.connect("c1")
    await asyncio.gather(*(world.say("c1", "ping") for _ in range(5)))
    await asyncio.gather(*(world.say("c1", "delay", {"duration_ms": 1}) for _ in range(5)))
    assert len({message["request_id"] for message in world.got("c1")}) == 10


@virtual_time
async def test_nothing_is_handed_over_before_its_acknowledgment_was_posted(tmp_path):
    """ASYNC-1, ASYNC-2: stored before its post, however long that takes; handed over after it."""
    world = World(tmp_path)
    await world.connect("c1")
    gate = world.clients.hang("c1")
    accepting = asyncio.create_task(world.say("c1", "delay", {"duration_ms": 1}, id="r1"))
    await pass_time(0.1)
    assert (await world.stored("r1")).request.status is Status.ACCEPTED
    await pass_time(0.4)
    await world.stream()
    assert world.invocations == []
    gate.set()
    await accepting
    await world.run()
    assert kinds(world.check("c1", "r1"))[0] == "acknowledgment"
    assert world.got("c1")[0]["type"] == "acknowledgment"


@virtual_time
async def test_users_whose_names_run_together_are_different_users(tmp_path):
    """ASYNC-4: the key keeps tenant, user and id apart, whatever is in them."""
    world = World(tmp_path)
    people = [
        ("a:b", "c"),
        ("a", "b:c"),
        ('a","b', "c"),
        ("a", 'b","c'),
        ("a,b", "c"),
        ("a/b", "c"),
    ]
    for number, (tenant_id, user_id) in enumerate(people):
        await world.connect(f"c{number}", tenant_id=tenant_id, user_id=user_id)
        got = await world.say(f"c{number}", "delay", {"duration_ms": 1}, id="r1")
        assert kinds(got) == ["acknowledgment"]


@virtual_time
async def test_an_id_is_used_up_only_by_a_request_that_was_queued(tmp_path):
    """ASYNC-4: a short request's id may come again, and so may one that was refused."""
    world = World(tmp_path)
    await world.connect("c1")
    for _ in range(2):
        assert kinds(await world.say("c1", "ping", id="r1")) == ["response"]
    assert kinds(await world.say("c1", "delay", {"duration_ms": -1}, id="r1")) == ["error"]
    assert kinds(await world.say("c1", "delay", {"duration_ms": 1}, id="r1")) == ["acknowledgment"]
    assert (await world.say("c1", "ping", id="r1"))[0]["type"] == "response"


@virtual_time
async def test_a_built_in_action_ends_with_timeout(tmp_path):
    """SYNC-3: within 25 s, however long the store takes."""
    world = World(tmp_path)
    await world.connect("c1")

    async def hang(_key):
        await pass_time(100)

    world.services.store.get = hang
    began_s = asyncio.get_running_loop().time()
    got = await world.say("c1", "status", {"request_id": "r1"}, id="ask")
    assert [m["error"]["code"] for m in got] == ["TIMEOUT"]
    assert 24 < asyncio.get_running_loop().time() - began_s < 26


@virtual_time
async def test_messages_side_by_side_cannot_pass_the_rate_together(tmp_path):
    """The bucket is taken from in the write, not in the read before it."""
    world = World(tmp_path, messages_per_minute=60, burst=3)
    await world.connect("c1")
    texts = [json.dumps({"id": f"r{n}", "action": "ping"}) for n in range(8)]
    await asyncio.gather(*(world.say_text("c1", text) for text in texts))
    assert sorted(kinds(world.got("c1"))) == ["error"] * 5 + ["response"] * 3


@virtual_time
async def test_a_duplicate_is_refused_while_it_runs_and_after_it_ended(tmp_path):
    """ASYNC-4: no number, `details.status`, counted once, and another user's id is another."""
    world = World(tmp_path, messages_per_minute=60, burst=5)
    await world.connect("c1")
    await world.connect("c2", user_id="other")
    await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    for status in ("PENDING", "COMPLETED"):
        got = (await world.say("c1", "delay", {"duration_ms": 1}, id="r1"))[0]
        assert got["error"]["code"] == "DUPLICATE_REQUEST"
        assert got["error"]["details"] == {"status": status}
        assert got["request_id"] == "r1"
        assert "sequence" not in got
        await world.run()
    assert kinds(await world.say("c1", "ping", id="r1")) == ["response"]
    assert kinds(await world.say("c1", "ping", id="r1")) == ["response"]
    assert kinds(await world.say("c2", "delay", {"duration_ms": 1}, id="r1")) == ["acknowledgment"]


@virtual_time
async def test_requests_in_flight_are_limited(tmp_path):
    """LIMIT-3: the third is refused, does not use up its id, and runs when there is room."""
    world = World(tmp_path, in_flight=2)
    await world.connect("c1")
    for number in (1, 2):
        await world.say("c1", "delay", {"duration_ms": 1}, id=f"r{number}")
    refused = (await world.say("c1", "delay", {"duration_ms": 1}, id="r3"))[0]["error"]
    assert refused["code"] == "RATE_LIMITED"
    assert refused["retry"]["after_ms"] > 0
    await world.run()
    assert kinds(await world.say("c1", "delay", {"duration_ms": 1}, id="r3")) == ["acknowledgment"]


async def _raise(job):
    raise LookupError("/var/task: table streamer-requests")


async def _typed(job):
    raise HandlerError("NOT_FOUND", "no such file", {"name": "x"})


async def _hang(job):
    await asyncio.get_running_loop().create_future()


async def _own_timeout(job):
    raise TimeoutError


async def _no_json(job):
    return {1}


async def _large(job):
    return "x" * 131_072


async def _cancelled(job):
    raise asyncio.CancelledError


async def _unregistered(job):
    raise HandlerError("MADE_UP", "of nobody's registry")


async def _no_json_details(job):
    raise HandlerError("NOT_FOUND", "no", {"k": object()})


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (_raise, "INTERNAL_ERROR"),
        (_typed, "NOT_FOUND"),
        (_hang, "TIMEOUT"),
        (_own_timeout, "INTERNAL_ERROR"),
        (_no_json, "INTERNAL_ERROR"),
        (_large, "RESULT_TOO_LARGE"),
        (_cancelled, "INTERNAL_ERROR"),
        (_unregistered, "INTERNAL_ERROR"),
        (_no_json_details, "NOT_FOUND"),
    ],
)
def test_a_short_handler_fails_in_every_way(tmp_path, run, code):
    """SYNC-2, SYNC-3: one error, without the cause's text, within 25 s."""

    async def scenario():
        world = World(tmp_path, registry=_registry(run))
        await world.connect("c1")
        got = await world.say("c1", "own", id="r1")
        assert [m["error"]["code"] for m in got] == [code]
        assert "/var" not in json.dumps(got)
        assert asyncio.get_running_loop().time() <= 25.01
        assert got[0]["sequence"] == 0

    run_virtual(scenario())


@virtual_time
async def test_a_validation_that_raises_is_an_internal_error(tmp_path):
    """A team's mistake is answered, and shows nothing."""

    def validate(payload):
        raise KeyError("/var/secret")

    world = World(tmp_path, registry=_registry(_typed, validate=validate))
    await world.connect("c1")
    got = await world.say("c1", "own", id="r1")
    assert [m["error"]["code"] for m in got] == ["INTERNAL_ERROR"]
    assert "/var" not in json.dumps(got)


@virtual_time
async def test_middleware_surrounds_short_and_long_requests_alike(tmp_path):
    """ROUTE-4: in the order of registration, outermost first."""
    order = []
    registry = _registry()

    def layer(name):
        async def middleware(job, inner):
            order.append(name)
            return await inner(job)

        registry.middleware(middleware)

    layer("outer")
    layer("inner")
    world = World(tmp_path, registry=registry)
    await world.connect("c1")
    await world.say("c1", "ping")
    await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    await world.run()
    assert order == ["outer", "inner"] * 2


@virtual_time
async def test_the_threshold_decides_between_answer_and_queue(tmp_path):
    """ROUTE-3: at the threshold it still runs at once."""
    registry = _registry(_own_timeout, estimated_duration_s=5.1)
    registry.handler("quick", estimated_duration_s=5.0)(_typed)
    world = World(tmp_path, registry=registry)
    await world.connect("c1")
    assert kinds(await world.say("c1", "own", id="r1")) == ["acknowledgment"]
    assert kinds(await world.say("c1", "quick", id="r2")) == ["error"]
    assert world.store.latest_change() == 2  # INSERT as ACCEPTED, MODIFY to PENDING


@virtual_time
async def test_the_threshold_is_the_one_that_is_configured(tmp_path):
    """ROUTE-3: the same handler is answered at once or queued."""
    registry = _registry(_typed, estimated_duration_s=2)
    for threshold_s, kind in ((1.0, "acknowledgment"), (2.0, "error"), (100.0, "error")):
        directory = tmp_path / str(threshold_s)
        directory.mkdir()
        world = World(directory, registry=registry, queue_threshold_s=threshold_s)
        await world.connect("c1")
        assert kinds(await world.say("c1", "own")) == [kind]


@virtual_time
async def test_identity_comes_from_the_connection_alone(tmp_path):
    """AUTH-5: whatever a message claims, short and long."""
    registry = _registry(estimated_duration_s=60)
    seen = []

    async def run(job):
        seen.append((job.user_id, job.tenant_id, job.permissions, job.connection_id))

    registry.handler("own", estimated_duration_s=60)(run)
    world = World(tmp_path, registry=registry)
    await world.connect("c1")
    claims = {"metadata": {"user_id": "root"}, "connection_id": "c9", "user_id": "root"}
    payload = {"_metadata": {"user_id": "root"}, "tenant_id": "other"}
    got = await world.say("c1", "probe.whoami", payload, **claims)
    assert got[0]["data"]["user_id"] == "u"
    await world.say("c1", "own", payload, id="r1", **claims)
    await world.run()
    assert seen == [("u", "t", ("probe", "broadcast"), "c1")]


@pytest.mark.parametrize("method", ["get_connection", "touch", "accept", "acknowledged"])
def test_a_store_that_fails_is_answered_once(tmp_path, method):
    """STORAGE_ERROR, or nothing more once the request is acknowledged."""

    async def scenario():
        world = World(tmp_path)
        await world.connect("c1")
        world.services.store.failing[method] = 1
        action = "ping" if method == "touch" else "delay"
        got = await world.say("c1", action, {"duration_ms": 1}, id="r1")
        if method == "acknowledged":
            assert kinds(got) == ["acknowledgment"]
            await world.settle(13)
            assert world.check("c1", "r1")[-1]["type"] == "complete"
        else:
            assert [m["error"]["code"] for m in got] == ["STORAGE_ERROR"]
            assert got[0]["request_id"] == "r1"
            assert "fire" not in json.dumps(got)

    run_virtual(scenario())


@virtual_time
async def test_unreadable_messages_are_answered_while_the_store_fails(tmp_path):
    """Without an id where there is none, and with a new one where it was left out."""
    world = World(tmp_path)
    await world.connect("c1")
    world.services.store.failing["get_connection"] = 2
    assert "request_id" not in (await world.say_text("c1", "{"))[0]
    assert (await world.say("c1", "ping"))[0]["request_id"]
    world.services.store.failing["touch"] = 1
    assert (await world.say("c1", "nope"))[0]["error"]["code"] == "INVALID_ACTION"


@virtual_time
async def test_an_acknowledgment_that_was_not_taken_is_posted_again_by_the_worker(tmp_path):
    """Stored first: the client sees it before any progress, byte for byte the same."""
    world = World(tmp_path)
    await world.connect("c1")
    world.clients.fail("c1", *[ServiceError] * 5)
    assert await world.say("c1", "delay", {"duration_ms": 300}, id="r1") == []
    assert not (await world.stored("r1")).outbox.taken
    await world.run()
    messages = world.check("c1", "r1")
    assert messages[0]["timestamp"] == EPOCH_MS
    assert messages[-1]["type"] == "complete"


@virtual_time
async def test_a_cancel_during_the_acknowledgment_is_sent_by_the_router(tmp_path):
    """The canceller finds ACCEPTED and leaves the outcome to the one that posts just then."""
    world = World(tmp_path)
    await world.connect("c1")
    await world.connect("c2")
    gate = world.clients.hang("c1")
    accepting = asyncio.create_task(world.say("c1", "delay", {"duration_ms": 1}, id="r1"))
    await pass_time(0.5)
    answer = await world.say("c2", "cancel", {"request_id": "r1"}, id="x")
    assert answer[0]["data"]["status"] == "CANCELLED"
    gate.set()
    await accepting
    messages = world.check("c1", "r1")
    assert kinds(messages) == ["acknowledgment", "error"]
    assert messages[-1]["error"]["code"] == "CANCELLED"
    assert (await world.stored("r1")).request.status is Status.CANCELLED
    await world.run()
    assert len(world.got("c1")) == 2


@virtual_time
async def test_a_fields_error_of_a_long_handler_comes_before_it_is_stored(tmp_path):
    """ROUTE-2: validation runs before queueing, and the handler's own words are shown."""
    registry = _registry(
        _typed, estimated_duration_s=60, validate=lambda _: [FieldError("payload.x", "is missing")]
    )
    world = World(tmp_path, registry=registry)
    await world.connect("c1")
    got = await world.say("c1", "own", id="r1")
    assert got[0]["error"]["details"]["fields"] == [{"field": "payload.x", "message": "is missing"}]
    assert world.store.latest_change() == 0


@virtual_time
async def test_an_acceptance_whose_answer_was_lost_is_no_refusal(tmp_path, monkeypatch):
    """MSG-4: an error with number 0, then the stored acknowledgment, would be two contents."""
    world = World(tmp_path)
    await world.connect("c1")
    accept = world.store.accept

    async def accept_with_a_lost_answer(*args):
        await accept(*args)
        raise StoreError("the answer was lost")

    monkeypatch.setattr(world.store, "accept", accept_with_a_lost_answer)
    assert kinds(await world.say("c1", "delay", {"duration_ms": 10}, id="r1")) == ["acknowledgment"]
    await world.run()
    assert kinds(world.check("c1", "r1"))[-1] == "complete"


@virtual_time
async def test_an_acceptance_that_failed_is_refused(tmp_path, monkeypatch):
    """Nothing is stored, and the client is told that it may ask again."""
    world = World(tmp_path)
    await world.connect("c1")

    async def fail(*args):
        raise StoreError("locked")

    monkeypatch.setattr(world.store, "accept", fail)
    [answer] = await world.say("c1", "delay", {"duration_ms": 10}, id="r1")
    assert answer["error"]["code"] == "STORAGE_ERROR"
    assert answer["sequence"] == 0


async def test_the_size_of_a_message_is_in_bytes(tmp_path):
    """OBS-2: `MessageSize` says Bytes, and a letter may have several."""
    world = World(tmp_path)
    await world.connect("c1")
    text = json.dumps({"action": "ping", "id": "größer"}, ensure_ascii=False)
    for sent in (text, "\ud800"):  # no gateway passes the second one on
        await world.say_text("c1", sent)
    world.services.metrics.flush()
    sizes = [line["MessageSize"] for line in world.metrics if "MessageSize" in line]
    assert sizes == [[len(text) + 2, 1]]
