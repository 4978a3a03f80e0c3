"""One request under way and how it ended, for whoever waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult

if TYPE_CHECKING:
    from streamproof.dialect import Reading
    from streamproof.load.recorder import Recorder


class Exchange:
    """One request under way, and later its end."""

    __slots__ = (
        "_result",
        "action",
        "error",
        "expected",
        "intended_ns",
        "recorder",
        "reply",
        "request_id",
        "second",
        "sent_ns",
    )

    def __init__(self, request_id: str, action: str, expected: Any, intended_ns: int) -> None:
        self.request_id = request_id
        self.action = action
        self.expected = expected
        self.intended_ns = intended_ns
        self.sent_ns = 0
        self.recorder: Recorder | None = None
        self.second = 0
        self.reply: Reading | None = None
        self.error = ""
        self._result: AsyncResult | None = None

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the end and give the answer's value; `RuntimeError` says why there is none."""
        if self.reply is None and not self.error:
            self._result = AsyncResult()
            self._result.wait(timeout_s)
        if self.reply is None:
            raise RuntimeError(self.error or "no answer in time")
        if self.error:
            raise RuntimeError(self.error)
        return self.reply.value

    def end(self, reply: Reading | None, error: str) -> None:
        """Keep the end and wake who waits for it."""
        self.reply = reply
        self.error = error
        if self._result is not None:
            self._result.set()
