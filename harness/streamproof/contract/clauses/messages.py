"""Section 2, messages: MSG-1 to MSG-5."""

from __future__ import annotations

import json
import time
from typing import Any

from streamproof.contract import exact
from streamproof.contract.context import Context
from streamproof.contract.failures import Broken, expect
from streamproof.contract.registry import Group, clause
from streamproof.contract.session import Session, shown
from streamproof.dialect import Kind
from streamproof.targets import Capability

STREAMER = (Capability.TOKEN, Capability.MINT, Capability.PROBE)
CLOCK_SKEW_MS = 60_000  # between this machine and the target
MESSAGES_PER_CONNECTION = 40  # below the default limit of 100 a minute, with room


async def _echo(session: Session, text: str, request_id: str) -> Any:
    """Send this text, which must be answered with an echo; its `data.echo`."""
    await session.send_text(text)
    item = await session.answer(request_id)
    data = item.message.get("data") if item.reading.kind is Kind.ANSWER else None
    if not isinstance(data, dict) or "echo" not in data:
        raise Broken(f"a response with data.echo to {text[:200]}", shown(item))
    return data["echo"]


@clause(
    "MSG-1",
    group=Group.STREAMER,
    sentence="A message needs an action alone; id, payload, metadata and type are optional, "
    "unknown members are ignored, and a message without id gets a unique one.",
    why="Clients in ten languages write these by hand: what is optional must really be so.",
    origin="Streamer",
    messages=30,
)
async def every_allowed_shape(ctx: Context) -> None:
    """The edges of what is allowed, then messages without an id."""
    session = await ctx.connect()
    base = ctx.new_id()
    ids = ["!", "~", base + "x" * (128 - len(base)), f"{base}:/#|\\\"'<>{{}}"]
    wide = {f"{'k' * 61}{n:03d}": "v" * (1024 if n < 4 else 1) for n in range(32)}
    shapes: list[dict[str, Any]] = [{"id": ids[index], "payload": {}} for index in range(4)]
    shapes += [
        {"payload": {"a": [1]}, "type": "request"},
        {"metadata": {}},
        {"metadata": wide},
        {"metadata": {"": "", "Grüße": "☃"}},
        {"priority": 9, "payload": {}, "x": {"id": "not-this"}, "sequence": 5},
    ]
    for shape in shapes:
        request_id = shape.get("id") or ctx.new_id()
        message = {"id": request_id, "action": "echo", **shape}
        echo = await _echo(session, json.dumps(message), request_id)
        payload = shape.get("payload", {})
        expect(echo == payload, f"the echo of {payload} for {str(shape)[:200]}", echo)
    known = {item.reading.request_id for item in session.received}
    named = []
    for number in range(5):
        await session.send_text(json.dumps({"action": "echo", "payload": {"n": number}}))
        item = await session.wait(
            lambda item, n=number: item.reading.value == {"n": n},  # type: ignore[misc]  # n is bound
            f"the echo of {number}, sent without an id",
        )
        named.append(item.reading.request_id)
    expect(
        all(named) and len(set(named) | known) == len(named) + len(known),
        "a new unique request_id for each message without an id",
        named,
    )
    other = await ctx.connect()
    await other.send_text('{"action": "ping"}')
    item = await other.wait(lambda item: item.reading.kind is Kind.ANSWER, "the answer to ping")
    expect(item.reading.request_id not in named, "an id of its own", item.reading.request_id)


def _deep(levels: int) -> str:
    return '{"action":"echo","payload":{"a":' + "[" * levels + "]" * levels + "}}"


_MALFORMED: tuple[tuple[str, str], ...] = (
    # what is sent, the field that the error must name ("" where any will do)
    ("", "$"),
    ("{", "$"),
    ("null", "$"),
    ("7", "$"),
    ('"echo"', "$"),
    ("[]", "$"),
    ('[{"action":"echo"}]', "$"),
    ('{"action":"echo"} {"action":"echo"}', "$"),
    ('{"action":"echo",}', "$"),
    ("{'action':'echo'}", "$"),
    ('{"action":"echo","payload":{"a":NaN}}', ""),
    ('{"action":"echo","payload":{"a":Infinity}}', ""),
    ('{"action":"echo","payload":{"a":-Infinity}}', ""),
    ('{"action":"echo","payload":{"a":"\\ud800"}}', ""),
    ('{"action":"echo","payload":{"\\udfff":1}}', ""),
    ('{"action":"echo","action":"ping"}', ""),
    ('{"action":"echo","payload":{"a":1,"a":2}}', ""),
    ('{"action":"echo","payload":{"a":1e400}}', ""),
    ('{"action":"echo","payload":{"a":' + "9" * 400 + "}}", ""),
    (_deep(200), ""),
    (_deep(15_000), ""),
    ("{}", "action"),
    ('{"action":null}', "action"),
    ('{"action":7}', "action"),
    ('{"action":""}', "action"),
    ('{"action":"' + "a" * 65 + '"}', "action"),
    ('{"action":"ec ho"}', "action"),
    ('{"action":"écho"}', "action"),
    ('{"action":["echo"]}', "action"),
    ('{"action":"echo","payload":null}', "payload"),
    ('{"action":"echo","payload":[]}', "payload"),
    ('{"action":"echo","payload":"{}"}', "payload"),
    ('{"action":"echo","metadata":null}', "metadata"),
    ('{"action":"echo","metadata":["k"]}', "metadata"),
    ('{"action":"echo","metadata":{"k":1}}', "metadata"),
    ('{"action":"echo","metadata":{"k":null}}', "metadata"),
    ('{"action":"echo","metadata":{"' + "k" * 65 + '":"v"}}', "metadata"),
    ('{"action":"echo","metadata":{"k":"' + "v" * 1025 + '"}}', "metadata"),
    (
        '{"action":"echo","metadata":' + json.dumps({str(n): "" for n in range(33)}) + "}",
        "metadata",
    ),
    ('{"action":"echo","type":"response"}', "type"),
    ('{"action":"echo","type":null}', "type"),
    ('{"action":"echo","id":null}', "id"),
    ('{"action":"echo","id":7}', "id"),
    ('{"action":"echo","id":""}', "id"),
    ('{"action":"echo","id":"a b"}', "id"),
    ('{"action":"echo","id":"a\\u007f"}', "id"),
    ('{"action":"echo","id":"\\u00e9"}', "id"),
    ('{"action":"echo","id":"' + "x" * 129 + '"}', "id"),
)


@clause(
    "MSG-2",
    group=Group.CONNECTION,
    sentence="What is no JSON object, no I-JSON, too deep, or breaks MSG-1 is answered with one "
    "VALIDATION_ERROR that names the fields, and the connection stays usable.",
    why="One client's broken message must neither kill its connection nor vanish.",
    origin="Streamer, RFC 7493",
    messages=100,
)
async def malformed_messages_are_answered(ctx: Context) -> None:
    """Send each malformed message, one after the other, and see exactly one error for each."""
    cases = list(_MALFORMED)
    ctx.random.shuffle(cases)
    for start in range(0, len(cases), MESSAGES_PER_CONNECTION):
        session = await ctx.connect()
        for number, (text, field) in enumerate(cases[start : start + MESSAGES_PER_CONNECTION], 1):
            await session.send_text(text)
            await _one_error(session, text, field, number)
        await session.data("ping")
        expected = len(cases[start : start + MESSAGES_PER_CONNECTION]) + 1
        expect(
            len(session.received) == expected,
            f"{expected} messages in all",
            [shown(item) for item in session.received[-3:]],
        )
        await session.close()


async def _one_error(session: Session, text: str, field: str, number: int) -> None:
    await session.wait(
        lambda _: len(session.received) >= number, f"VALIDATION_ERROR for {text[:200]!r}"
    )
    item = session.received[number - 1]
    expect(
        item.reading.code == "VALIDATION_ERROR",
        f"VALIDATION_ERROR for {text[:200]!r}",
        shown(item),
    )
    details = item.message["error"].get("details")
    fields = details.get("fields") if isinstance(details, dict) else None
    well_formed = isinstance(fields, list) and bool(fields)
    for entry in fields if isinstance(fields, list) else ():
        names = isinstance(entry, dict) and {"field", "message"} <= entry.keys()
        well_formed = well_formed and names and all(isinstance(v, str) for v in entry.values())
    expect(well_formed, 'details.fields [{"field", "message"}, ..]', shown(item))
    named = [entry["field"] for entry in fields or ()]
    expect(
        not field or any(name == field or name.startswith(f"{field}.") for name in named),
        f"details.fields to name {field} for {text[:200]!r}",
        named,
    )


@clause(
    "MSG-2/fields",
    group=Group.STREAMER,
    sentence="Each bad field of a message is named, not only the first.",
    why="A person who fixes one field at a time needs one round trip for each.",
    origin="ours",
)
async def every_bad_field_is_named(ctx: Context) -> None:
    """Three bad members in one message."""
    session = await ctx.connect()
    error_id = ctx.new_id()
    text = json.dumps({"id": error_id, "action": 7, "payload": [], "metadata": {"k": 1}})
    await session.send_text(text)
    item = await session.wait(lambda item: item.reading.kind is Kind.FAILURE, "an error")
    expect(item.reading.request_id == error_id, f"request_id {error_id}", shown(item))
    names = {
        entry["field"].partition(".")[0] for entry in item.message["error"]["details"]["fields"]
    }
    expect(names == {"action", "payload", "metadata"}, "action, payload and metadata", names)


@clause(
    "MSG-3",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Every server message has its type, an integer timestamp in milliseconds, and the "
    "request_id that was sent.",
    why="Without the id a client with two requests under way cannot tell whose answer this is.",
    origin="Streamer has three versions of its messages; this one holds",
    messages=20,
)
async def every_message_says_what_it_is(ctx: Context) -> None:
    """One message of each type, held against the clock and the ids that were sent."""
    session = await ctx.connect()
    before_ms = time.time() * 1000  # the contract's timestamps are dates
    short = await session.request("echo", {"n": 1})
    refused = await session.request("no.such.action")
    long = await session.request(
        "probe.async", {"steps": [{"percentage": 10, "ms": 10}], "result": {}}
    )
    failing = await session.request("probe.async", {"end": "fail", "code": "PROCESSING_FAILED"})
    await session.send_text("{")
    await session.send_text(json.dumps({"id": "", "action": "echo"}))
    for request_id in (short, refused, long, failing):
        await session.outcome(request_id)
    await session.request("broadcast", {"payload": {}})
    await session.wait(lambda item: item.reading.kind is Kind.BROADCAST, "the broadcast")
    nameless = [item for item in session.received if item.reading.request_id is None]
    sent = {short, refused, long, failing}
    for item in session.received:
        message = item.message if isinstance(item.message, dict) else {}
        stamp = message.get("timestamp")
        expect(isinstance(message.get("type"), str), "a type", shown(item))
        now_ms = time.time() * 1000
        near = type(stamp) is int and before_ms - CLOCK_SKEW_MS <= stamp <= now_ms + CLOCK_SKEW_MS
        expect(near, "an integer timestamp in milliseconds of now", shown(item))
    expect(
        sent <= {item.reading.request_id for item in session.received}, f"the ids {sent}", "others"
    )
    kinds = [item.reading.kind for item in nameless]
    expect(
        kinds.count(Kind.FAILURE) <= 2 and kinds.count(Kind.BROADCAST) <= 1 and len(kinds) <= 3,
        "only the broadcast and the two unreadable messages without request_id",
        [shown(item) for item in nameless],
    )


@clause(
    "MSG-4",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="A request's messages are numbered 0, 1, 2 ..: no gap, no number with two contents; "
    "short and refused ones have 0; broadcasts and DUPLICATE_REQUEST have none.",
    why="The numbers are how a client knows after a fault that it has missed nothing.",
    origin="ours",
    messages=30,
)
async def numbers_have_no_gaps(ctx: Context) -> None:
    """Twenty requests side by side, with a subscriber to one of them, and every kind of answer."""
    me = ctx.identity()
    session, follower = await ctx.connect(me), await ctx.connect(me)
    steps = [{"percentage": 10 * step, "ms": 40 + 10 * (step % 3)} for step in range(1, 10)]
    ids = [await session.request("probe.async", {"steps": steps, "result": n}) for n in range(20)]
    await session.acknowledged(ids[0])
    await follower.data("subscribe", {"request_id": ids[0]})
    for request_id in ids:
        await session.result(request_id)
        numbers = [item.reading.sequence for item in session.of(request_id)]
        wanted = list(range(len(numbers)))
        expect(numbers == wanted, f"the numbers {wanted} for {request_id}", numbers)
    await follower.result(ids[0])
    own = {item.reading.sequence: item.text for item in session.of(ids[0])}
    followed = follower.of(ids[0])
    strange = [item.text for item in followed if own.get(item.reading.sequence) != item.text]
    expect(not strange, "a subscriber to get the same messages", strange)
    for action, payload in (("echo", {}), ("no.such.action", {}), ("probe.sync", {"end": "fail"})):
        item = await session.answer(await session.request(action, payload))
        expect(item.reading.sequence == 0, f"number 0 for the answer to {action}", shown(item))
    again = await session.request("probe.async", {}, id=ids[0])
    item = await session.wait(
        lambda item: item.reading.request_id == again and item.reading.code is not None,
        "DUPLICATE_REQUEST",
    )
    expect("sequence" not in item.message, "DUPLICATE_REQUEST without a number", shown(item))


def _nested(levels: int) -> str:
    return "[" * levels + '"deep"' + "]" * levels


_EXACT = (
    '{"n":' + "1234567890" * 30 + "}",
    '{"n":-' + "9" * 300 + "}",
    '{"n":[1e-7,-0.0,0.1,1.10,1E5,5e-324,1.7976931348623157e308,9007199254740993]}',
    '{"n":[123456789012345678901234567890,0.30000000000000004,2.5,100,1e2]}',
    '{"b":[true,false,null,1,0,"1","true",""]}',
    '{"success":false,"error":{"code":"X"},"metadata":{"a":1},"_metadata":{"user_id":"x"}}',
    '{"type":"error","request_id":"other","sequence":99,"timestamp":"now","result":null}',
    '{"t":"Gr\\u00fc\\u00dfe \\u2603 \\ud83d\\ude00 e\\u0301 \\u00e9 \\u0000\\u001f\\u2028 \\/"}',
    '{"":{" ":[]},"__proto__":{"a":1},"constructor":null,"\\u00e9":1,"e\\u0301":2}',
    '{"d":' + _nested(60) + "}",
    '{"e":[{},[],"",[[]],{"a":{}}]}',
)


@clause(
    "MSG-5",
    group=Group.STREAMER,
    needs=STREAMER,
    sentence="Payloads and results come back as the same JSON values: every digit, every code "
    "point, every level, members of any name.",
    why="An amount that passes through a float comes back as another amount.",
    origin="ours; the original wrote success and _metadata into the handler's own map",
    messages=25,
)
async def values_come_back_exact(ctx: Context) -> None:
    """The same hard values through a short request, a long one, and `status`."""
    session = await ctx.connect()
    for payload in _EXACT:
        sent = exact.parse(payload)
        request_id = ctx.new_id()
        text = f'{{"id":{json.dumps(request_id)},"action":"echo","payload":{payload}}}'
        if difference := exact.difference(sent, await _echo(session, text, request_id)):
            raise Broken(f"the echo of {payload[:100]}", f"{difference} (short request)")
        request_id = ctx.new_id()
        body = f'{{"end":"ok","result":{payload}}}'
        text = f'{{"id":{json.dumps(request_id)},"action":"probe.async","payload":{body}}}'
        await session.send_text(text)
        item = await session.result(request_id)
        if difference := exact.difference(sent, item.message.get("result")):
            raise Broken(f"the result {payload[:100]}", f"{difference} (long request)")
        data = await session.data("status", {"request_id": request_id})
        if difference := exact.difference(sent, data.get("result")):
            raise Broken(f"the result {payload[:100]}", f"{difference} (status)")
    for value in ("null", "0", '""', "false", "[]", "-0.0"):
        request_id = ctx.new_id()
        body = f'{{"end":"ok","result":{value}}}'
        text = f'{{"id":{json.dumps(request_id)},"action":"probe.async","payload":{body}}}'
        await session.send_text(text)
        item = await session.result(request_id)
        if difference := exact.difference(exact.parse(value), item.message.get("result")):
            raise Broken(f"the result {value}", difference)
