"""The registry refuses what it cannot keep apart, and loads what it can."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import threading
from typing import Any

import pytest

from streamer_reference.handlers import default_registry
from streamer_reference.handlers.job import JobEndedError
from streamer_reference.handlers.registry import (
    ALWAYS_QUEUED_S,
    Handler,
    RegistrationError,
    Registry,
    log_failure,
)
from streamer_reference.protocol.errors import ErrorCode, HandlerError, StreamerError
from support.fake_job import Bench
from support.virtual_time import virtual_time

OUT_OF_STOCK = ErrorCode("OUT_OF_STOCK", "Nothing is left.", retryable=False, definite=True)
BUSY = ErrorCode("WAREHOUSE_BUSY", "Ask again.", retryable=True, definite=True)
GOOD_FILE = """
from streamer_reference.handlers import Registry

registry = Registry()


@registry.handler("invoice")
async def invoice(job):
    return 1
"""


async def _nothing(job: Any) -> None:
    return None


async def _call(registry, action, job, limit_s=60):
    return await registry.call(registry.get(action), job, limit_s)


def _registry(*actions: str, **options: Any) -> Registry:
    registry = Registry()
    for action in actions:
        registry.handler(action, **options)(_nothing)
    return registry


def test_a_decorated_function_is_found_by_its_action_and_stays_itself():
    """ROUTE-1: an action has its handler, an unknown one has none."""
    registry = Registry()
    assert registry.handler("invoice", permission="billing")(_nothing) is _nothing
    handler = registry.get("invoice")
    assert handler is not None
    assert (handler.run, handler.permission) == (_nothing, "billing")
    assert registry.get("__proto__") is None


@pytest.mark.parametrize("action", ["invoice", "status", "cancel", "subscribe", "broadcast"])
def test_a_second_handler_for_an_action_is_refused(action):
    """ROUTE-5: neither another handler nor the router's own actions can be replaced."""
    registry = _registry("invoice")
    with pytest.raises(RegistrationError, match=f"{action}' has a handler"):
        registry.handler(action)(_nothing)
    assert [handler.action for handler in registry] == ["invoice"]


@pytest.mark.parametrize(
    ("action", "options"),
    [
        ("$connect", {}),
        ("", {}),
        ("a" * 65, {}),
        ("late\n", {}),
        ("a", {"estimated_duration_s": -1}),
        ("a", {"estimated_duration_s": float("nan")}),
        ("a", {"time_limit_s": 0}),
        ("a", {"time_limit_s": float("inf")}),
        ("a", {"attempts": 0}),
        ("a", {"error_codes": (ErrorCode("out of stock", "", False, False),)}),
        ("a", {"error_codes": (ErrorCode("TIMEOUT", "", False, False),)}),
    ],
)
def test_what_cannot_be_is_an_error_at_registration(action, options):
    """A mistake shows when the service starts, not when the first client asks."""
    with pytest.raises(RegistrationError):
        Registry().handler(action, **options)(_nothing)


def test_a_handlers_own_codes_join_the_registry_and_mean_one_thing():
    """ERR-1: every code is in one registry, also when two handlers share it."""
    registry = _registry("buy", "reserve", error_codes=(OUT_OF_STOCK,))
    assert registry.error_codes["OUT_OF_STOCK"] == OUT_OF_STOCK
    assert "TIMEOUT" in registry.error_codes
    other = ErrorCode("OUT_OF_STOCK", "Something else.", retryable=True, definite=True)
    with pytest.raises(RegistrationError, match="OUT_OF_STOCK"):
        registry.handler("sell", error_codes=(other,))(_nothing)
    assert registry.get("sell") is None


async def test_a_code_that_nobody_registered_is_a_failure_like_any_other():
    """ERR-1: a client never sees a code that the registry does not explain."""
    registry = Registry()

    async def buy(job: Any) -> None:
        raise HandlerError(job.payload["code"])

    registry.handler("buy", error_codes=(OUT_OF_STOCK, BUSY))(buy)
    bench = Bench()
    with pytest.raises(LookupError, match="MADE_UP"):
        await _call(registry, "buy", bench.job({"code": "MADE_UP"}))
    for code in (OUT_OF_STOCK, BUSY):
        with pytest.raises(HandlerError) as caught:
            await _call(registry, "buy", bench.job({"code": code.code}))
        assert caught.value.retryable is code.retryable
        assert caught.value.message == code.meaning


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("raise HandlerError('MADE_UP', 'token abc')", "MADE_UP"),
        ("job['token abc']", None),
        ("json.loads('token abc')", None),
        ("raise SystemExit('token abc')", None),
    ],
)
async def test_a_failure_is_logged_with_the_line_that_raised(line, code, tmp_path, capsys, caplog):
    """The handler's own line, not the library's below it; AUTH-6: what it says, for debug alone."""
    file = tmp_path / "shop.py"
    head = "import json\nfrom streamer_reference.handlers import Registry\n"
    head += "from streamer_reference.protocol.errors import HandlerError\nregistry = Registry()\n"
    file.write_text(f"{head}@registry.handler('buy')\nasync def buy(job):\n    {line}\n")
    registry = Registry()
    assert registry.load_file(file) is None
    with pytest.raises((LookupError, TypeError, ValueError, RuntimeError)) as caught:
        await _call(registry, "buy", Bench().job())
    log_failure(caught.value, "buy", registry.get("buy"))
    (shown,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (shown["message"], shown["action"]) == ("a handler failed", "buy")
    assert shown["at"] == f"{file}:7"
    assert shown.get("code") == code
    assert "token" not in str(shown)
    caplog.set_level(logging.DEBUG, logger="streamer")
    log_failure(caught.value, "buy", registry.get("buy"))
    why = json.loads(capsys.readouterr().err.splitlines()[1])
    assert why["level"] == "DEBUG"
    assert "reason" in why


def test_a_failure_without_a_handler_is_logged_too(capsys):
    """The router's own action, or one that no worker has any more."""
    log_failure(KeyError("token abc"), "status", None)
    shown = json.loads(capsys.readouterr().err)
    assert (shown["error_type"], shown["action"]) == ("KeyError", "status")
    assert "token" not in str(shown)


async def test_a_handler_cannot_say_that_its_request_is_a_duplicate():
    """MSG-4: no client takes that for an outcome, so the request would never end."""
    registry = Registry()

    async def buy(job: Any) -> None:
        raise StreamerError("DUPLICATE_REQUEST")

    registry.handler("buy")(buy)
    with pytest.raises(LookupError, match="DUPLICATE_REQUEST"):
        await _call(registry, "buy", Bench().job({}))


@pytest.mark.parametrize(
    ("estimated_duration_s", "queued"), [(0, False), (5, False), (5.1, True), (1e9, True)]
)
def test_an_estimate_above_the_threshold_is_queued(estimated_duration_s, queued):
    """ROUTE-3: the default threshold is 5 seconds, and it can be another."""
    handler = Handler(action="a", run=_nothing, estimated_duration_s=estimated_duration_s)
    assert handler.is_queued() is queued
    assert not handler.is_queued(threshold_s=1e9)


def test_some_handlers_are_queued_whatever_the_threshold():
    """The probes' kinds do not depend on a setting."""
    handler = Handler(action="a", run=_nothing, estimated_duration_s=ALWAYS_QUEUED_S)
    assert handler.is_queued(threshold_s=1e300)


def test_a_time_limit_is_a_number_or_depends_on_the_payload():
    """A handler that knows its work from the payload can say how long it may take."""
    assert Handler(action="a", run=_nothing, time_limit_s=7).time_limit_of({}) == 7
    handler = Handler(action="a", run=_nothing, time_limit_s=lambda payload: payload["s"] * 2)
    assert handler.time_limit_of({"s": 3}) == 6


def test_a_handler_that_names_no_validation_takes_every_payload():
    """Validation is for those who ask for it."""
    assert Handler(action="a", run=_nothing).validate({"x": None}) == []


async def test_middleware_runs_in_registration_order_outermost_first():
    """ROUTE-4: the first one registered sees the request first and the result last."""
    registry, order = Registry(), []

    def layer(name: str) -> None:
        @registry.middleware
        async def around(job, call_next):
            order.append(f"{name} in")
            result = await call_next(job)
            order.append(f"{name} out")
            return [name, result]

    layer("outer")
    layer("inner")
    registry.handler("a")(_nothing)
    result = await _call(registry, "a", Bench().job())
    assert result == ["outer", ["inner", None]]
    assert order == ["outer in", "inner in", "inner out", "outer out"]


async def test_a_synchronous_handler_runs_in_a_thread_an_async_one_does_not():
    """A handler that burns the processor must not stop the event loop."""
    registry = Registry()
    registry.handler("sync")(lambda job: threading.get_ident())

    @registry.handler("async")
    async def ident(job):
        return threading.get_ident()

    job = Bench().job()
    assert await _call(registry, "sync", job) != threading.get_ident()
    assert await _call(registry, "async", job) == threading.get_ident()


async def test_synchronous_handlers_run_side_by_side():
    """ASYNC-6: as many as a worker has slots, not as many as asyncio's own pool has threads."""
    registry, barrier = Registry(), threading.Barrier(40)
    registry.handler("meet")(lambda job: barrier.wait(10))
    met = await asyncio.gather(*(_call(registry, "meet", Bench().job()) for _ in range(40)))
    assert sorted(met) == list(range(40))


async def test_a_synchronous_handler_ends_at_its_next_progress_when_its_request_has():
    """A thread cannot be cancelled, so `progress` tells it that nobody waits."""
    registry = Registry()
    began, go_on, ended = (threading.Event() for _ in range(3))

    @registry.handler("sync")
    def work(job):
        job.progress(1)
        began.set()
        go_on.wait(10)
        try:
            job.progress(50)
        except JobEndedError:
            ended.set()

    bench = Bench()
    task = asyncio.create_task(_call(registry, "sync", bench.job()))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert bench.percentages() == [1]


@virtual_time
async def test_a_handler_past_its_limit_ends_with_timeout():
    """SYNC-3: the limit is the caller's, and a time-out of the handler's own is none."""
    registry = Registry()

    @registry.handler("hang")
    async def hang(job):
        async with asyncio.timeout(job.payload.get("own_limit_s")):
            await asyncio.Event().wait()

    with pytest.raises(StreamerError, match="TIMEOUT"):
        await _call(registry, "hang", Bench().job(), 7)
    assert asyncio.get_running_loop().time() == pytest.approx(7)
    with pytest.raises(TimeoutError):
        await _call(registry, "hang", Bench().job({"own_limit_s": 1}), 7)


async def _cancel_itself(job):
    lost = asyncio.get_running_loop().create_future()
    lost.cancel()
    await lost


async def _exit(job):
    raise SystemExit(3)


@pytest.mark.parametrize("run", [_cancel_itself, _exit])
async def test_a_handler_can_end_only_itself(run):
    """What would end a worker or look like a cancellation is a failure like any other."""
    registry = Registry()
    registry.handler("a")(run)
    with pytest.raises(RuntimeError, match="the handler"):
        await _call(registry, "a", Bench().job())


def _fail(payload):
    raise LookupError


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("nothing", {}, "INVALID_ACTION"),
        ("secret", {}, "FORBIDDEN"),
        ("delay", {}, "VALIDATION_ERROR"),
        ("broken", {}, "INTERNAL_ERROR"),
        ("delay", {"duration_ms": 1}, None),
    ],
)
def test_a_handler_is_admitted_in_the_order_of_the_checks(action, payload, code):
    """MSG-2: action, permission, the handler's validation."""
    registry = default_registry()
    registry.handler("secret", permission="p", validate=_fail)(_nothing)
    registry.handler("broken", validate=_fail)(_nothing)
    if code is None:
        assert registry.admit(action, payload, ("q",)) is registry.get(action)
    else:
        with pytest.raises(StreamerError) as caught:
            registry.admit(action, payload, ("q",))
        assert caught.value.code == code


def test_including_takes_all_or_nothing():
    """A registry with one bad handler leaves none of its good ones behind."""
    registry, other = _registry("invoice"), _registry("refund", "invoice")
    other.middleware(_nothing)
    with pytest.raises(RegistrationError):
        registry.include(other)
    assert [handler.action for handler in registry] == ["invoice"]
    assert registry.middlewares == ()


def test_a_file_of_handlers_is_loaded(tmp_path):
    """ROUTE-5: two files of one name can both be there."""
    registry = Registry()
    for folder, action in (("one", "invoice"), ("two", "refund")):
        path = tmp_path / folder / "handlers.py"
        path.parent.mkdir()
        path.write_text(GOOD_FILE.replace('"invoice"', f'"{action}"'))
        assert registry.load_file(path) is None
    assert [handler.action for handler in registry] == ["invoice", "refund"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def (", "SyntaxError"),
        ("registry = {}", "no Registry"),
        ("", "no Registry"),
        (GOOD_FILE.replace("invoice", "ping"), "RegistrationError"),
    ],
)
def test_a_broken_file_is_named_and_takes_no_other_down(tmp_path, text, reason):
    """ROUTE-5: what is broken is said at start, and everything else works."""
    registry, path, good = default_registry(), tmp_path / "broken.py", tmp_path / "good.py"
    path.write_text(text)
    good.write_text(GOOD_FILE)
    failure = registry.load_file(path)
    assert failure is not None
    assert str(path) in failure
    assert reason in failure
    assert registry.load_file(good) is None
    assert registry.get("invoice") is not None


ANNOTATED_FILE = """
from __future__ import annotations
import dataclasses, typing
from streamer_reference.handlers import Registry

registry = Registry()


@dataclasses.dataclass
class Invoice:
    cents: Amount


Amount = int


@registry.handler("invoice")
async def invoice(job):
    return [hint.__name__ for hint in typing.get_type_hints(Invoice).values()] + [__file__]
"""


async def test_a_file_can_use_its_own_types_later(tmp_path):
    """Libraries that read annotations when they are used find the file's module."""
    registry, path = Registry(), tmp_path / "typed.py"
    path.write_text(ANNOTATED_FILE)
    assert registry.load_file(path) is None
    assert await _call(registry, "invoice", Bench().job()) == ["int", str(path)]


@pytest.mark.parametrize("name", ["missing.py", "handlers.txt"])
def test_a_file_that_is_none_is_named(tmp_path, name):
    """A wrong path in a setting is a load failure like any other."""
    failure = Registry().load_file(tmp_path / name)
    assert failure is not None
    assert name in failure


def test_entry_points_are_loaded_and_a_broken_one_takes_no_other_down(tmp_path, monkeypatch):
    """ROUTE-5: an installed distribution adds handlers by naming its registry."""
    (tmp_path / "shop_handlers.py").write_text(GOOD_FILE)
    information = tmp_path / "shop-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[test.handlers]\nbroken = no_such_module:registry\nshop = shop_handlers:registry\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    registry = Registry()
    failures = registry.load_entry_points("test.handlers")
    assert len(failures) == 1
    assert failures[0].startswith("broken = no_such_module:registry: ModuleNotFoundError")
    assert registry.get("invoice") is not None
    assert registry.load_entry_points("test.nobody") == []


@pytest.mark.parametrize("probe", [False, True])
def test_the_probes_are_there_only_when_switched_on(probe):
    """A service that serves anybody must not offer to kill its own workers."""
    actions = {handler.action for handler in default_registry(probe=probe)}
    probes = {"probe.whoami", "probe.count", "probe.sync", "probe.async"}
    shown = {"echo", "ping", "echo_async", "delay", "generate_report", "process_data", "bulk"}
    assert actions - probes == shown
    assert actions & probes == (probes if probe else set())
