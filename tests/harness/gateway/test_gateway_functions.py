"""Functions in the process, in threads, and what an asynchronous invocation ends in (GW-12)."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from streamproof.errors import UsageError
from streamproof.gateway import (
    Api,
    Description,
    EventSourceMapping,
    Function,
    FunctionError,
    Gateway,
    ManualClock,
    Schedule,
    ThrottledError,
)
from streamproof.gateway import functions as functions_module
from support.gateway_host import CREDENTIALS, Notes, running, turns


async def test_an_event_goes_in_and_an_answer_comes_out():
    """Synchronous invocations return what the function returned."""
    async with running(Function("f", run=Notes({"a": 1}))) as stage:
        assert await stage.gateway.invoke("f", {"x": 1}) == {"a": 1}
        with pytest.raises(FunctionError, match="not found"):
            await stage.gateway.invoke("g", {})


async def test_a_handler_runs_in_a_thread_with_a_context():
    """A synchronous handler does not stop the loop, and sees Lambda's context."""
    seen = {}

    def handler(event, context):
        seen["thread"] = threading.current_thread() is not threading.main_thread()
        seen["context"] = context
        seen["left_ms"] = context.get_remaining_time_in_millis()
        if event["fail"]:
            raise KeyError("no")
        return [event]

    function = Function("f", handler=handler, timeout_s=3, memory_mb=256)
    async with running(function, clock=ManualClock()) as stage:
        assert await stage.gateway.invoke("f", {"fail": False}) == [{"fail": False}]
        assert seen["thread"]
        assert seen["left_ms"] == 3000
        context = seen["context"]
        assert context.function_name == "f"
        assert context.memory_limit_in_mb == "256"
        assert context.invoked_function_arn.endswith(":function:f")
        assert context.log_group_name == "/aws/lambda/f"
        with pytest.raises(FunctionError) as raised:
            await stage.gateway.invoke("f", {"fail": True})
        assert raised.value.error_type == "KeyError"


async def test_handlers_beyond_the_concurrency_are_throttled(monkeypatch):
    """More handlers than Lambda's concurrency are refused, not queued for ever."""
    monkeypatch.setattr(functions_module, "CONCURRENT_MAX", 1)
    let, began = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def handler(_event, _context):
        loop.call_soon_threadsafe(began.set)
        let.wait(10)

    async with running(Function("f", handler=handler)) as stage:
        first = asyncio.ensure_future(stage.gateway.invoke("f", {}))
        await began.wait()
        with pytest.raises(ThrottledError):
            await stage.gateway.invoke("f", {})
        let.set()
        await first


async def test_a_handler_that_is_too_slow_keeps_its_thread_only():
    """The caller is told; what the thread raises afterwards disturbs nobody."""
    clock, let, began = ManualClock(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def handler(_event, _context):
        loop.call_soon_threadsafe(began.set)
        let.wait(10)
        raise RuntimeError("late")

    async with running(Function("f", handler=handler, timeout_s=1), clock=clock) as stage:
        call = asyncio.ensure_future(stage.gateway.invoke("f", {}))
        await began.wait()
        clock.advance(1)
        with pytest.raises(FunctionError, match=r"Task timed out after 1\.00 seconds"):
            await call
        let.set()


async def test_an_error_that_looks_like_a_timeout_is_the_functions_own():
    """A TimeoutError that the function raised is not the gateway's."""

    def answer(_event):
        raise TimeoutError("mine")

    async with running(Function("f", run=Notes(answer))) as stage:
        with pytest.raises(FunctionError) as raised:
            await stage.gateway.invoke("f", {})
        assert raised.value.error_type == "TimeoutError"
        assert raised.value.payload() == {"errorMessage": "mine", "errorType": "TimeoutError"}


@pytest.mark.parametrize("way", ["run", "handler"])
async def test_what_a_function_in_this_process_raises_is_in_its_log(way, capsys):
    """From its own code on, with what caused it, and for the operator alone."""

    def fail():
        try:
            raise ValueError("first")
        except ValueError as error:
            raise KeyError("then") from error

    async def run(event):
        fail()

    def handler(event, context):
        fail()

    function = Function("own", **{way: {"run": run, "handler": handler}[way]})
    async with running(function, verbose=True) as stage:
        with pytest.raises(FunctionError, match="KeyError: 'then'"):
            await stage.gateway.invoke("own", {})
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "own: [ERROR] KeyError: 'then'"
    assert all(line.startswith("own: ") for line in shown)
    assert "own: ValueError: first" in shown
    assert not any("/gateway/functions.py" in line for line in shown)


async def test_a_refusal_of_an_authorizer_is_no_failure(capsys):
    """`Unauthorized` is the word that stands for 401."""

    async def refuse(event):
        raise PermissionError("Unauthorized")

    async with running(Function("own", run=refuse), verbose=True) as stage:
        with pytest.raises(FunctionError):
            await stage.gateway.invoke("own", {})
    assert capsys.readouterr().err == ""


async def test_a_handler_that_is_late_has_a_line_in_its_log():
    """As one in a process."""
    lines, clock = [], ManualClock()
    began = asyncio.Event()

    async def wait(event):
        began.set()
        await asyncio.Event().wait()

    async with running(
        Function("own", run=wait, timeout_s=3),
        clock=clock,
        on_line=lambda *line: lines.append(line),
    ) as stage:
        request_id = stage.gateway.invoke_async("own", {})
        await began.wait()
        clock.advance(3)
        await turns()
    told = "Task timed out after 3.00 seconds; a higher timeout_s gives it longer"
    assert lines == [("own", f"[ERROR] RequestId: {request_id} Error: {told}")]


async def test_an_asynchronous_invocation_returns_at_once():
    """The request id comes back before the function has run; success ends in nothing."""
    notes, failures = Notes(), Notes()
    async with running(
        Function("f", run=notes, on_failure="failed"), Function("failed", run=failures)
    ) as stage:
        request_id = stage.gateway.invoke_async("f", {"x": 1})
        assert len(request_id) == 36
        assert await notes.next() == {"x": 1}
        await turns()
        assert failures.events.empty()


async def test_a_failed_asynchronous_invocation_is_tried_again_and_then_recorded():
    """One minute, then two more; at the end the failure document, as a destination gets it."""
    clock, failures = ManualClock(), Notes()

    def answer(_event):
        raise ValueError("broken")

    notes = Notes(answer)
    async with running(
        Function("f", run=notes, retries_async=2, on_failure="failed"),
        Function("failed", run=failures),
        clock=clock,
    ) as stage:
        request_id = stage.gateway.invoke_async("f", {"x": 1})
        await notes.next()
        for pause_s in (60, 120):
            await turns()
            clock.advance(pause_s - 1)
            await turns()
            assert notes.events.empty()
            clock.advance(1)
            await notes.next()
        document = await failures.next()
        assert json.dumps(document)
        assert list(document) == [
            "version",
            "timestamp",
            "requestContext",
            "requestPayload",
            "responseContext",
            "responsePayload",
        ]
        context = document["requestContext"]
        assert context["requestId"] == request_id
        assert context["functionArn"].endswith(":function:f:$LATEST")
        assert context["condition"] == "RetriesExhausted"
        assert context["approximateInvokeCount"] == 3
        assert document["requestPayload"] == {"x": 1}
        assert document["responseContext"]["functionError"] == "Unhandled"
        assert document["responsePayload"]["errorMessage"] == "broken"


async def test_a_failure_without_a_destination_is_logged_alone(caplog):
    """Nobody is told but the log."""
    notes = Notes(lambda _event: 1 / 0)
    async with running(Function("f", run=notes)) as stage:
        stage.gateway.invoke_async("f", {})
        await notes.next()
        await turns()
    assert "asynchronous invocation of f failed" in caplog.text


async def test_the_queue_of_asynchronous_invocations_is_bounded(monkeypatch):
    """What does not fit is throttled; a failure document takes the place of what failed."""
    monkeypatch.setattr(functions_module, "ASYNC_QUEUE_MAX", 1)
    let = asyncio.Event()

    async def answer(_event):
        await let.wait()
        raise ValueError

    notes = Notes(answer)
    failures = Notes()
    async with running(
        Function("f", run=notes, on_failure="failed"), Function("failed", run=failures)
    ) as stage:
        stage.gateway.invoke_async("f", {})
        await notes.next()
        with pytest.raises(ThrottledError):
            stage.gateway.invoke_async("f", {})
        let.set()
        assert (await failures.next())["requestPayload"] == {}


async def test_what_waits_to_be_tried_again_is_in_the_queue(monkeypatch):
    """A retry in a minute takes a place as well as an invocation that runs."""
    monkeypatch.setattr(functions_module, "ASYNC_QUEUE_MAX", 1)
    clock, notes = ManualClock(), Notes(lambda _event: 1 / 0)
    async with running(Function("f", run=notes, retries_async=1), clock=clock) as stage:
        stage.gateway.invoke_async("f", {})
        await notes.next()
        await turns()
        with pytest.raises(ThrottledError):
            stage.gateway.invoke_async("f", {})
        clock.advance(60)
        await notes.next()
        await turns()
        stage.gateway.invoke_async("f", {})


async def test_a_throttled_asynchronous_invocation_is_no_attempt_and_ages():
    """It is tried again after 1, 2, 4 .. 300 s, until it would be older than its maximum age."""
    clock, failures = ManualClock(), Notes()

    def throttled(_event):
        raise ThrottledError("ConcurrentInvocationLimitExceeded")

    notes = Notes(throttled)
    async with running(
        Function("f", run=notes, on_failure="failed", event_age_max_s=60),
        Function("failed", run=failures),
        clock=clock,
    ) as stage:
        stage.gateway.invoke_async("f", {})
        for pause_s in (1, 2, 4, 8, 16):
            await notes.next()
            await turns()
            clock.advance(pause_s - 0.1)
            await turns()
            assert notes.events.empty()
            clock.advance(0.1)
        await notes.next()
        context = (await failures.next())["requestContext"]
        assert context["condition"] == "EventAgeExceeded"
        assert context["approximateInvokeCount"] == 0


def describe(*functions, api=None, **fields):
    """A description that may be wrong."""
    return Description(api or Api({}), functions, CREDENTIALS, **fields)


async def run(_event):
    """Any function."""


F = Function("f", run=run)


class NoSource:
    """A source that is never asked."""

    def read(self, after, limit):
        """Nothing."""
        return []

    def latest(self):
        """Nothing."""
        return 0


def mapping(**fields):
    """A mapping to F."""
    return EventSourceMapping("f", NoSource(), **fields)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (describe(F, F), "twice"),
        (describe(Function("f")), "exactly one"),
        (describe(Function("f", run=run, command=("x",))), "exactly one"),
        (describe(Function("f", run=run, timeout_s=0)), "timeout_s"),
        (describe(Function("f", command=("x",), warm=2)), "warm"),
        (describe(Function("f", run=run, retries_async=3)), "retries_async"),
        (describe(Function("f", run=run, event_age_max_s=59)), "event_age_max_s"),
        (describe(F, api=Api({}, identity_sources=("token",))), "identity source"),
        (describe(F, api=Api({}, authorizer_ttl_s=3601)), "authorizer_ttl_s"),
        (describe(F, api=Api({}, authorizer_ttl_s=1)), "without identity_sources"),
        (describe(F, mappings=(mapping(record_age_max_s=59),)), "record_age_max_s"),
        (describe(F, mappings=(mapping(retries_max=10_001),)), "retries_max"),
        (describe(F, mappings=(mapping(batching_window_s=301),)), "batching_window_s"),
        (describe(F, api=Api({"$default": "g"})), "not described"),
        (describe(F, schedules=(Schedule("g", 1),)), "not described"),
        (describe(Function("f", run=run, on_failure="g")), "not described"),
        (describe(F, api=Api({}, authorizer="g")), "not described"),
        (describe(F, api=Api({}, stage="a/b")), "stage"),
        (describe(F, api=Api({"$mine": "f"})), "starts with"),
        (describe(F, mappings=(mapping(batch_size=0),)), "batch_size"),
        (describe(F, mappings=(mapping(lanes=0),)), "lanes"),
        (describe(F, mappings=(mapping(starting_position="NOW"),)), "starting position"),
        (describe(F, mappings=(mapping(filters=({"a": 1},)),)), "Invalid filter"),
        (describe(F, mappings=(mapping(filters=({"a": [1]},) * 6),)), "filter patterns"),
    ],
)
def test_a_description_that_cannot_be_hosted_is_refused(description, message):
    """One clear line before anything is opened."""
    with pytest.raises(UsageError, match=message):
        Gateway(description)


async def test_a_port_that_is_taken_is_said_so():
    """The port is named, and so is the way out."""
    async with running() as stage:
        other = Gateway(describe(F))
        with pytest.raises(UsageError, match=f"port {stage.gateway.port} is taken"):
            await other.start(port=stage.gateway.port)
        with pytest.raises(UsageError, match="cannot listen"):
            await other.start(host="192.0.2.1")
        await other.stop()
