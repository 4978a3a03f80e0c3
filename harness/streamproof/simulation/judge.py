"""Judging a world that has come to rest: the history checker, and what only the inside shows.

The checker judges what each connection saw. Beyond it: every acknowledged request is asked for with
`status`, which must agree with the wire; each outcome must have a cause among the runs of handlers;
what was refused was not run; an attempt runs once. Two allowances, both from the contract: a lost
answer to a short or refused request is unknown under faults, and a subscriber may miss progress.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from streamproof.history import Violation
from streamproof.simulation.clients import Link
from streamproof.simulation.plan import EXPIRES_S, USERS
from streamproof.simulation.store import ENDED

if TYPE_CHECKING:
    from streamproof.simulation.world import World

ASKING = 9  # the slot of the connections that ask
ASKS_MAX = 10
ASK_S = 25.0  # for one answer, a rate limit's pause included
DEATHS_MAX = 5  # contract, section 5
ATTEMPTS_MAX = 3
PROGRESS_SPACING_MS = 100  # PROG-2; a mutant changes the system's own name for it

Name = tuple[int, str]  # a user of the plan and a request's id


async def ask_for_all(world: World) -> None:
    """Ask `status` for every long request, each user on a connection of its own.

    Every user of the plan can connect again, whether or not it has something to ask.
    """
    clients = world.clients
    for user in sorted({act.user for act in world.plan.acts if not _expires(act.user)}):
        if await clients.connect(user, ASKING) is None:
            world.violate("CONN-1", "", "", f"{USERS[user][0]} could not connect after the faults")
    for user, request_id in _long_requests(world):
        for number in range(ASKS_MAX):
            link = await clients.connect(user, ASKING)
            if link is None:
                break
            message = {
                "id": f"s-{user}-{request_id}-{number}",
                "action": "status",
                "payload": {"request_id": request_id},
            }
            await clients.ask(link, message)
            answers = [m for m in link.messages if m.get("request_id") == message["id"]]
            if answers and _code(answers[-1]) != "RATE_LIMITED":
                world.asked[user, request_id] = answers[-1]
                world.trace.classes["status asked"] += 1
                break
            await world.loop.pass_time(ASK_S)


def judge(world: World) -> None:
    """Add what is broken to the world."""
    calm = not world.faults.happened and not world.gateway.harmed
    for violation in world.clients.checker.finish(world.loop.time()):
        if not _explained(world, violation) and (calm or not _allowed(world, violation)):
            world.broken.append(violation)
    runs = _runs(world)
    stored = {
        (_user(s.request.tenant_id, s.request.user_id), s.request.request_id): s
        for s in world.store.requests.values()
    }
    for name in _long_requests(world):
        _judge_request(world, name, stored.get(name), runs.get(name, []))
    _judge_dead_letters(world)
    _judge_subscribers(world)
    _judge_broadcasts(world)
    if calm:
        _judge_repeats(world)


def _runs(world: World) -> dict[Name, list[tuple[int, str, str]]]:
    """By request: attempt, tag and how it ended, "" for a run that was cut off."""
    senders = {sent.tag: (sent.user, sent.request_id) for sent in world.clients.sent if sent.tag}
    ends = {(r.tenant, r.user, r.request_id, r.attempt): how for r, how in world.ended if r.queued}
    found: dict[Name, list[tuple[int, str, str]]] = defaultdict(list)
    for run in world.began:
        if not run.queued:
            continue
        name = (_user(run.tenant, run.user), run.request_id)
        if senders.get(run.tag) != name:
            what = f"what {senders.get(run.tag)} sent ran as {run.user} of {run.tenant}"
            world.violate("AUTH-5", "", run.request_id, what)
        how = ends.get((run.tenant, run.user, run.request_id, run.attempt), "")
        found[name].append((run.attempt, run.tag, how))
    return found


def _judge_request(world: World, name: Name, stored: Any, runs: list[tuple[int, str, str]]) -> None:
    request_id = name[1]
    _judge_runs(world, request_id, runs)
    status = world.asked.get(name)
    if status is None:
        if not _expires(name[0]):
            world.violate("SYNC-1", "", request_id, "status was not answered after the faults")
        return
    messages = [m for link in _links(world, name[0]) for m in _numbered(link, request_id)]
    if stored is None:
        if runs:
            world.violate("ASYNC-4", "", request_id, "it was run, though it is not stored")
        if any(m["type"] == "acknowledgment" for m in messages):
            world.violate("ASYNC-1", "", request_id, "acknowledged, and it is not stored")
        if _code(status) != "NOT_FOUND":
            world.violate("ASYNC-4", "", request_id, f"status of what is not stored: {status}")
        return
    data = status.get("data")
    if not isinstance(data, dict) or data.get("status") not in ENDED:
        world.violate("ASYNC-1", "", request_id, f"after the drain status says {status}")
        return
    _judge_outcome(world, name, data, stored, runs)
    outcome = next((m for m in messages if _is_outcome(m)), None)
    if outcome is not None and _told(outcome) != _said(data):
        what = f"the wire had {_told(outcome)}, status says {_said(data)}"
        world.violate("RECOV-3", "", request_id, what)
    earlier = [how for _, _, how in sorted(runs)[:-1]]
    if any(how != "retryable" for how in earlier) or len(earlier) >= ATTEMPTS_MAX:
        return  # an attempt flushed before an outcome that it could not record
    for link in _links(world, name[0]):
        for gap_ms in _gaps(list(_numbered(link, request_id))):
            world.violate("PROG-2", link.name, request_id, f"progress after {gap_ms} ms")


def _judge_runs(world: World, request_id: str, runs: list[tuple[int, str, str]]) -> None:
    """An attempt runs once, and of the sends with one id at most one was accepted."""
    for attempt, count in Counter(attempt for attempt, _, _ in runs).items():
        if count > 1:
            world.violate("ASYNC-3", "", request_id, f"attempt {attempt} ran {count} times")
    tags = {tag for _, tag, _ in runs}
    if len(tags) > 1:
        world.violate("ASYNC-4", "", request_id, f"{len(tags)} sends of one id were run")


def _judge_outcome(
    world: World, name: Name, data: dict[str, Any], stored: Any, runs: list[tuple[int, str, str]]
) -> None:
    """The outcome that is recorded must have a cause."""
    ends = [how for _, _, how in runs]
    code = data["error"]["code"] if "error" in data else "ok"
    payload = json.loads(stored.request.payload)
    match code:
        case "ok":
            wanted = payload.get("result", payload.get("payload"))
            caused = "ok" in ends and data.get("result") == wanted
        case "CANCELLED":
            caused = any(
                sent.action == "cancel" and (sent.user, sent.about) == name
                for sent in world.clients.sent
            )
        case "PROCESSING_FAILED":
            caused = (
                ends.count("retryable") >= ATTEMPTS_MAX
                or stored.request.deaths + 1 >= DEATHS_MAX
                or stored.request.key in _unreadable(world)
            )
        case "STORAGE_ERROR":  # the handler's own call to the store failed
            caused = "StoreError" in ends
        case "TIMEOUT":
            caused = "cancelled" in ends and payload.get("end") == "hang"
        case "RESULT_TOO_LARGE":
            caused = "ok" in ends and "result_bytes" in payload
        case _:
            caused = code in ends
    world.trace.classes[f"ended {code}"] += 1
    if not caused:
        what = f"{code} has no cause: its runs ended {ends}, deaths {stored.request.deaths}"
        world.violate("ASYNC-5", "", name[1], what)
    if stored.request.deaths >= DEATHS_MAX:
        what = f"{stored.request.deaths} deaths recorded, and it went on"
        world.violate("RECOV-5", "", name[1], what)
    excuses = _excuses(world, stored.request)
    once = 1 + ends.count("retryable")
    if not excuses and code not in ("CANCELLED", "PROCESSING_FAILED") and len(runs) != once:
        world.violate("ASYNC-3", "", name[1], f"{len(runs)} runs, ended {ends}")
    if stored.request.deaths > excuses:
        what = f"{stored.request.deaths} deaths recorded, {excuses} reasons for one"
        world.violate("RECOV-1", "", name[1], what)


def _excuses(world: World, request: Any) -> int:
    """How often this request may have lost its worker: died or stopped, or failed by the store.

    An attempt without a run may have been on any process that was harmed.
    """
    harmed = {
        fault.where.split()[0]
        for fault in world.faults.happened
        if fault.kind in ("handler crash", "crash", "pause")
    }
    places = {
        run.attempt: place
        for run, place in world.places.items()
        if (run.tenant, run.user, run.request_id, run.queued)
        == (request.tenant_id, request.user_id, request.request_id, True)
    }
    lost = sum(
        places[attempt] in harmed if attempt in places else bool(harmed)
        for attempt in range(1, request.attempt + 1)
    )
    return lost + world.faults.count("store throttled", "store unanswered", "store slow")


def _unreadable(world: World) -> Counter[str]:
    """By the key of a request: its stream records that could not be read."""
    return Counter(
        fault.where for fault in world.faults.happened if fault.kind == "record unreadable"
    )


def _judge_dead_letters(world: World) -> None:
    """What could not be read is kept for an operator, each record at least once."""
    kept = Counter(record["dynamodb"]["Keys"]["key"]["S"] for record, _ in world.store.dead_letters)
    for key, count in _unreadable(world).items():
        if kept[key] < count:
            what = f"{count} records could not be read, {kept[key]} dead letters"
            world.violate("RECOV-4", "", key, what)


def _judge_subscribers(world: World) -> None:
    """Who subscribed in time gets the outcome, while the connection lives."""
    left = {
        (sent.connection, sent.about) for sent in world.clients.sent if sent.action == "unsubscribe"
    }
    links = {link.name: link for link in world.clients.all_links}
    for sent in world.clients.sent:
        link = links[sent.connection]
        if sent.action != "subscribe" or not link.open or (link.name, sent.about) in left:
            continue
        answers = [m for m in link.messages if m.get("request_id") == sent.request_id]
        running = any(m["type"] == "response" and m["data"]["status"] not in ENDED for m in answers)
        if running and not any(_is_outcome(m) for m in _numbered(link, sent.about)):
            what = "subscribed while it ran, and no outcome came"
            world.violate("ASYNC-1", link.name, sent.about, what)


def _judge_repeats(world: World) -> None:
    """A world without faults has none, but for whom asked and then subscribes."""
    for link in world.clients.all_links:
        seen: Counter[tuple[str, int]] = Counter()
        for message in link.messages:
            if message["type"] in ("acknowledgment", "progress", "complete", "error"):
                name = message.get("request_id", "")
                if "sequence" in message and not _subscribed(world, link.name, name):
                    refused = message["type"] == "error" and message["sequence"] == 0
                    seen[name, message["sequence"]] += not refused
        for (request_id, sequence), count in seen.items():
            if count > 1:
                what = f"number {sequence} came {count} times in a world without faults"
                world.violate("MSG-4", link.name, request_id, what)


def _judge_broadcasts(world: World) -> None:
    """One copy at most on each connection, and only in the sender's tenant."""
    for link in world.clients.all_links:
        seen = Counter(m["broadcast_id"] for m in link.messages if m["type"] == "broadcast")
        for count in seen.values():
            if count > 1:
                world.violate("BCAST-1", link.name, "", f"one broadcast came {count} times")
        for message in link.messages:
            if message["type"] != "broadcast":
                continue
            said = message["payload"].get("said")
            sender = next((s.user for s in world.clients.sent if s.request_id == said), None)
            if sender is not None and USERS[sender][1] != USERS[link.user][1]:
                world.violate("BCAST-1", link.name, "", "a broadcast of another tenant")


def _explained(world: World, violation: Violation) -> bool:
    """DUPLICATE_REQUEST is an answer too, and who unsubscribed hears of no outcome."""
    connection, request_id = violation.connection, violation.request_id
    if violation.what == "no answer came":
        link = next(link for link in world.clients.all_links if link.name == connection)
        return any(
            _code(message) == "DUPLICATE_REQUEST" and message["request_id"] == request_id
            for message in link.messages
        )
    if violation.rule == "ASYNC-1":
        return any(
            (sent.connection, sent.action, sent.about) == (connection, "unsubscribe", request_id)
            for sent in world.clients.sent
        )
    return False


def _allowed(world: World, violation: Violation) -> bool:
    """What the contract allows while there are faults."""
    connection = violation.connection
    harmed = world.gateway.harmed.get(connection, 0)
    if violation.rule == "SYNC-1" and violation.what == "no answer came":
        return harmed > 0 or any(
            sent.harmed
            for sent in world.clients.sent
            if sent.connection == connection and sent.request_id == violation.request_id
        )
    if violation.what.endswith(("was due", "after the outcome", "is not the first message")):
        # What a subscriber missed may come late, and is dropped for its lower number.
        return _subscribed(world, connection, violation.request_id)
    return False


def _subscribed(world: World, connection: str, request_id: str) -> bool:
    return any(
        sent.connection == connection and sent.action == "subscribe" and sent.about == request_id
        for sent in world.clients.sent
    )


def _gaps(messages: list[dict[str, Any]]) -> Iterator[int]:
    """Intervals between progress messages that are too short; the flush at the end is exempt."""
    last = {m["sequence"]: m for m in messages}
    for number, message in sorted(last.items()):
        before, after = last.get(number - 1), last.get(number + 1)
        if before is None or after is None:
            continue
        if {before["type"], message["type"], after["type"]} == {"progress"}:
            gap_ms = message["timestamp"] - before["timestamp"]
            if gap_ms < PROGRESS_SPACING_MS:
                yield gap_ms


def _long_requests(world: World) -> list[Name]:
    """Who sent which long requests, each once."""
    return sorted({(sent.user, sent.request_id) for sent in world.clients.sent if sent.tag})


def _expires(user: int) -> bool:
    """Whether this user's token has run out by then."""
    return USERS[user][0] in EXPIRES_S


def _links(world: World, user: int) -> Iterable[Link]:
    return [link for link in world.clients.all_links if link.user == user]


def _numbered(link: Link, request_id: str) -> Iterator[dict[str, Any]]:
    """The messages of a long request on one connection; refusals are none."""
    for message in link.messages:
        if message.get("request_id") != request_id or message["type"] == "response":
            continue
        if message["type"] != "error" or message.get("sequence", 0) > 0:
            yield message


def _is_outcome(message: dict[str, Any]) -> bool:
    return message["type"] in ("complete", "error")


def _told(outcome: dict[str, Any]) -> Any:
    """An outcome as the wire had it."""
    if outcome["type"] == "complete":
        return "COMPLETED", outcome.get("result")
    code = outcome["error"]["code"]
    return "CANCELLED" if code == "CANCELLED" else "FAILED", code


def _said(data: dict[str, Any]) -> Any:
    """An outcome as `status` has it."""
    return data["status"], data["error"]["code"] if "error" in data else data.get("result")


def _code(message: dict[str, Any]) -> str | None:
    return message["error"]["code"] if message["type"] == "error" else None


def _user(tenant: str, name: str) -> int:
    return next(i for i, user in enumerate(USERS) if user[:2] == (name, tenant))
