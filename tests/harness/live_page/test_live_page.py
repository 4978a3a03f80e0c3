"""The live page's figures and its document, without a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import re
from typing import Any

import pytest

from streamproof.live_page import FIGURES_PATH, PAGE_PATH, LivePage, LogLines
from streamproof.live_page.page import ERRORS_KEPT, FIGURES_S, LINE_CHARS_MAX
from streamproof.live_page.recent import SECONDS_KEPT, Recent


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s


def _page(**options: Any) -> tuple[LivePage, Clock]:
    clock = Clock()
    return LivePage(lambda: 3, now_s=clock, **{"monotonic_s": clock, **options}), clock


def _figures(page: LivePage, clock: Clock) -> dict[str, Any]:
    clock.s += FIGURES_S
    content_type, body = page.figures()
    assert content_type == "application/json"
    figures: dict[str, Any] = json.loads(body)
    return figures


def test_the_page_lets_in_nothing_but_its_own() -> None:
    """Its policy names the hashes of its one style and one script, and it loads nothing."""
    page, _ = _page()
    assert set(page.pages) == {PAGE_PATH, FIGURES_PATH}
    content_type, body = page.page()
    text = body.decode()
    assert content_type.startswith("text/html")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy.group(1).startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy.group(1)
    assert not re.search(r"(src|href)=\"(?!data:,)", text)
    assert "innerHTML" not in text


def test_metrics_and_messages_become_figures() -> None:
    """Counts with their rates, and quantiles of the last seconds."""
    page, clock = _page()
    for latency_ms in (1, 2, 100):
        page.answered(latency_ms * 1_000_000)
    document = {"_aws": {}, "MessageSent": [2.0, 3.0], "MessageFailed": [1], "QueueDelay": [5]}
    page.line(json.dumps({**document, "ProcessingLatency": [70.0], "function": "worker"}))
    page.line(json.dumps({"_aws": {}, "ProcessingLatency": [9_999.0], "function": "router"}))
    page.line(json.dumps({"_aws": {}, "MessageSent": ["x", True, -1, 1e300], "other": 1}))
    clock.s += 1
    figures = _figures(page, clock)
    assert figures["connections"] == 3
    assert figures["totals"]["messages"] == 3
    assert (figures["totals"]["sent"], figures["totals"]["failed"]) == (5, 1)
    assert figures["rates"]["sent"][-1] == 5
    assert len(figures["rates"]["messages"]) == SECONDS_KEPT
    assert figures["latency"]["messages"]["p50_ms"] == pytest.approx(2, rel=0.04)
    assert figures["latency"]["messages"]["p99_ms"] == pytest.approx(100, rel=0.04)
    assert figures["latency"]["outcomes"]["p99_ms"] == pytest.approx(70, rel=0.04)
    assert figures["latency"]["queue"]["count"] == 1
    assert figures["requests"] is None
    clock.s += 20
    assert _figures(page, clock)["latency"]["messages"] == {
        "count": 0,
        "p50_ms": None,
        "p99_ms": None,
    }


def test_figures_are_made_at_most_four_times_a_second() -> None:
    """However many look."""
    page, clock = _page()
    before = _figures(page, clock)
    page.answered(1)
    assert json.loads(page.figures()[1]) == before
    assert _figures(page, clock)["totals"]["messages"] == 1


def test_the_last_errors_are_kept_and_bounded() -> None:
    """The newest first; what is no line of a log is left alone."""
    page, clock = _page()
    for number in range(ERRORS_KEPT + 5):
        line = {"level": "ERROR", "message": f"m{number}", "function": "router", "key": "k" * 999}
        page.line(json.dumps({**line, "request_id": "r", "correlation_id": "c", "tenant_id": "t"}))
    for other in (
        "plain text",
        "{broken",
        "{" + " " * LINE_CHARS_MAX,
        json.dumps({"level": "INFO", "message": "quiet"}),
        "{" * 5000,
    ):
        page.line(other)
    errors = _figures(page, clock)["errors"]
    assert [error["message"] for error in errors[:2]] == ["m24", "m23"]
    assert len(errors) == ERRORS_KEPT
    assert errors[0]["details"].startswith("key=kkk")
    assert len(errors[0]["details"]) == 300
    assert (errors[0]["request_id"], errors[0]["correlation_id"]) == ("r", "c")


async def test_requests_are_counted_only_while_somebody_looks_and_seldom() -> None:
    """In a thread, at most once a second; a count that fails is logged and tried again."""
    calls: list[int] = []

    def count() -> dict[str, int]:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("busy")
        return {"PENDING": len(calls)}

    page, clock = _page(requests=count)
    assert calls == []
    for _ in range(3):
        _figures(page, clock)
        await page.aclose()
    assert _figures(page, clock)["requests"] == {"PENDING": 1}
    assert len(calls) == 1
    for _ in range(2):
        clock.s += 100
        _figures(page, clock)
        await page.aclose()
    assert _figures(page, clock)["requests"] == {"PENDING": 3}


async def test_requests_are_counted_again_though_the_wall_clock_was_put_back() -> None:
    """An hour back by NTP or by hand is no hour without a count."""
    calls: list[int] = []
    steady = Clock()
    page, clock = _page(
        requests=lambda: calls.append(1) or {"PENDING": len(calls)}, monotonic_s=steady
    )
    for count in (1, 2):
        _figures(page, clock)
        await page.aclose()
        assert len(calls) == count
        clock.s -= 3_600
        steady.s += 1


async def test_a_record_that_makes_no_line_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when there is no standard error to tell of it."""
    page, clock = _page()
    handler = LogLines(page)
    closed = io.StringIO()
    closed.close()
    for error_output in (closed, None):
        monkeypatch.setattr("sys.stderr", error_output)
        handler.emit(logging.makeLogRecord({"levelno": 40, "msg": "%d", "args": ("text",)}))
    assert _figures(page, clock)["errors"] == []


async def test_what_this_process_logs_is_shown_too(loop_turn: Any) -> None:
    """The gateway's own warnings have no JSON; the reference's come with a formatter."""
    page, clock = _page()
    logger = logging.getLogger("test.live_page")
    handler = LogLines(page)
    logger.addHandler(handler)
    try:
        logger.info("quiet")
        logger.warning("a %s", "warning")
        await loop_turn()
    finally:
        logger.removeHandler(handler)
    (error,) = _figures(page, clock)["errors"]
    assert (error["message"], error["function"]) == ("a warning", "gateway")


@pytest.fixture
def loop_turn() -> Any:
    """Let what was handed to the loop happen."""
    import asyncio

    async def turn() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    return turn


def test_seconds_are_forgotten_after_a_minute() -> None:
    """Memory does not grow with time; a clock that steps back counts into the newest second."""
    recent = Recent()
    for second in range(500):
        recent.count("n", second)
    recent.count("n", 100)
    assert len(recent._seconds) == SECONDS_KEPT + 1
    assert recent.rates("n", 500) == [1] * (SECONDS_KEPT - 1) + [2]
