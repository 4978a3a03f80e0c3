"""The page and its figures: what is counted, what is asked only while somebody looks, and JSON."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import dataclasses
import hashlib
import importlib.resources
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from streamproof.live_page.recent import Recent

PAGE_PATH = "/"
FIGURES_PATH = "/live.json"
ERRORS_KEPT = 20
TEXT_CHARS_MAX = 300
LINE_CHARS_MAX = 64 * 1024
FIGURES_S = 0.25  # figures are made at most so often, however many look
REQUESTS_S = 1.0  # and requests are counted at most so often,
REQUESTS_SHARE = 0.05  # with at most this share of one processor
LEVELS = ("WARNING", "ERROR", "CRITICAL")
NAMED = ("level", "message", "timestamp", "service", "function", "request_id", "correlation_id")
# What awslambdaric writes unless it is told to write JSON: of a logger's, and of what was raised.
_PLAIN_LINE = re.compile(
    r"\[(?P<level>WARNING|ERROR|CRITICAL)\]"
    r"(?:\t[^\t]*\t(?P<request_id>[^\t]*)\t|\s+)(?P<message>.*)",
    re.DOTALL,
)
HIDDEN = (*NAMED, "connection_id", "tenant_id", "xray_trace_id", "stack_trace")

Count = Callable[[], Mapping[str, int]]


class LivePage:
    """Counts what it is told, and answers `pages` from it; used on one event loop."""

    def __init__(
        self,
        connections: Callable[[], int],
        requests: Count | None = None,
        now_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`requests` counts the stored requests by state; it is called in a thread.

        Without it the functions are somebody's own, whose metrics have names of their own.
        """
        self._connections = connections
        self._requests = requests
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._began_s = now_s()
        self._recent = Recent()
        self._totals: collections.Counter[str] = collections.Counter()
        self._errors: collections.deque[dict[str, Any]] = collections.deque(maxlen=ERRORS_KEPT)
        self._error_number = 0
        self._states: Mapping[str, int] | None = None
        self._counting: asyncio.Task[None] | None = None
        self._count_again_s = 0.0
        self._figures = b""
        self._figures_until_s = 0.0
        self._page = _page()
        self._followed: list[tuple[logging.Logger, logging.Handler]] = []

    @property
    def pages(self) -> dict[str, Callable[[], tuple[str, bytes]]]:
        """For a gateway's description."""
        return {PAGE_PATH: self.page, FIGURES_PATH: self.figures}

    def page(self) -> tuple[str, bytes]:
        """The page, which is always the same."""
        return "text/html; charset=utf-8", self._page

    def answered(self, latency_ns: int) -> None:
        """A message of a client was dealt with."""
        self._recent.took("messages", int(self._now_s()), latency_ns)
        self._totals["messages"] += 1

    def line(self, line: str, function: str = "") -> None:
        """A function wrote a line: a metric, an error, or what does not matter here."""
        if len(line) > LINE_CHARS_MAX:
            return
        if plain := _PLAIN_LINE.match(line):
            self._note({"function": function, **plain.groupdict("")})
        if not line.startswith("{"):
            return
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return
        if "_aws" in document:
            self._measure(document)
        elif document.get("level") in LEVELS:
            self._note({"function": function, **document})

    def follow(self, name: str, formatter: logging.Formatter | None = None) -> None:
        """Show what this logger of this process warns of, until `aclose`; needs a running loop."""
        logger, handler = logging.getLogger(name), LogLines(self, formatter)
        logger.addHandler(handler)
        self._followed.append((logger, handler))

    async def aclose(self) -> None:
        """Follow no logger any more, and wait for a count that is under way."""
        for logger, handler in self._followed:
            logger.removeHandler(handler)
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=1.0)

    def figures(self) -> tuple[str, bytes]:
        """Everything that the page shows, as JSON; a document may be `FIGURES_S` old."""
        now_s = self._now_s()
        if not self._figures or not now_s < self._figures_until_s <= now_s + FIGURES_S:
            self._count_requests()
            self._figures = json.dumps(self._document(now_s)).encode()
            self._figures_until_s = now_s + FIGURES_S
        return "application/json", self._figures

    def _document(self, now_s: float) -> dict[str, Any]:
        second = int(now_s)
        rates = {name: self._recent.rates(name, second) for name in ("messages", "sent", "failed")}
        latency = {
            name: dataclasses.asdict(self._recent.quantiles(name, second))
            for name in ("messages", "outcomes", "queue")
        }
        return {
            "up_s": now_s - self._began_s,
            "connections": self._connections(),
            "totals": {name: self._totals[name] for name in TOTALS},
            "rates": rates,
            "latency": latency,
            "requests": self._states,
            "is_reference": self._requests is not None,
            "errors": list(self._errors),
        }

    def _measure(self, document: dict[str, Any]) -> None:
        second = int(self._now_s())
        for metric, (name, is_latency) in METRICS.items():
            for value in _numbers(document.get(metric)):
                if not is_latency:
                    self._recent.count(name, second, value)
                    self._totals[name] += int(value)
                elif name != "outcomes" or document.get("function") == "worker":
                    self._recent.took(name, second, int(value * 1e6))

    def _note(self, document: dict[str, Any]) -> None:
        self._error_number += 1
        details = {key: value for key, value in document.items() if key not in HIDDEN}
        self._errors.appendleft(
            {
                "number": self._error_number,
                "at_ms": int(self._now_s() * 1000),
                "level": document["level"],
                "function": str(document.get("function", ""))[:64],
                "message": str(document.get("message", ""))[:TEXT_CHARS_MAX],
                "request_id": str(document.get("request_id", ""))[:128],
                "correlation_id": str(document.get("correlation_id", ""))[:128],
                "details": " ".join(f"{k}={v}" for k, v in details.items())[:TEXT_CHARS_MAX],
            }
        )

    def _count_requests(self) -> None:
        busy = self._counting is not None and not self._counting.done()
        if self._requests is not None and not busy and self._monotonic_s() >= self._count_again_s:
            self._counting = asyncio.get_running_loop().create_task(self._count(self._requests))

    async def _count(self, requests: Count) -> None:
        began_s = self._monotonic_s()
        try:
            self._states = await asyncio.to_thread(requests)
        except Exception:
            logging.getLogger("streamproof.live_page").exception("requests were not counted")
        ended_s = self._monotonic_s()
        pause_s = max(REQUESTS_S, (ended_s - began_s) / REQUESTS_SHARE)
        self._count_again_s = ended_s + pause_s


# Metric to the page's name for it, and whether its values are milliseconds.
METRICS = {
    "MessageSent": ("sent", False),
    "MessageFailed": ("failed", False),
    "ConnectionEstablished": ("opened", False),
    "ConnectionClosed": ("closed", False),
    "AuthenticationFailed": ("refused", False),
    "ProcessingLatency": ("outcomes", True),
    "QueueDelay": ("queue", True),
}
TOTALS = ("messages", "sent", "failed", "opened", "closed", "refused")


class LogLines(logging.Handler):
    """Gives each record that is logged in this process to a page, as the line it would be."""

    def __init__(self, page: LivePage, formatter: logging.Formatter | None = None) -> None:
        """Without a formatter a record becomes a line with its level and message."""
        super().__init__(logging.WARNING)
        self._page = page
        self._loop = asyncio.get_running_loop()
        self.setFormatter(formatter or _Plain())

    def emit(self, record: logging.LogRecord) -> None:
        """Hand it over to the loop that the page is used on; any thread may log."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - no line fails what it is about
            with contextlib.suppress(Exception):  # standard error may be closed
                self.handleError(record)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the page
            self._loop.call_soon_threadsafe(self._page.line, line)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname, "message": record.getMessage(), "function": "gateway"}
        return json.dumps(line)


def _numbers(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    return [
        number
        for number in values[:100]
        if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < 1e12
    ]


def _page() -> bytes:
    """The page, with a policy that lets its own style and script in and nothing else."""
    html = importlib.resources.files(__package__).joinpath("live.html").read_text("utf-8")

    def allow(tag: str) -> str:
        found = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        text = found.group(1) if found else ""
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    policy = (
        f"default-src 'none'; style-src {allow('style')}; script-src {allow('script')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return html.replace("{{policy}}", policy).encode()
