"""One request and its messages: what is new, what is a repeat, what ends it."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any

from streamer_reference.client.errors import RequestFailedError


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a request is; `percentage` is 0 to 100 and never falls."""

    percentage: float
    message: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class StoredResult:
    """A result that did not fit a message: fetch it at `url` before that expires."""

    url: str


class Meaning(enum.Enum):
    """What a message was for its exchange."""

    NEW = enum.auto()
    AFTER_GAP = enum.auto()  # new, and numbers before it are missing
    REPEAT = enum.auto()  # seen before: without effect
    DUPLICATE = enum.auto()  # the server has this request already: it must be subscribed to


class Exchange:
    """A request under way; `answer` becomes its result or an exception."""

    def __init__(
        self,
        request_id: str,
        text: str,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        repeatable: bool = False,
    ) -> None:
        """`text` is the request as it is sent; `repeatable` allows to send it once more."""
        self.request_id = request_id
        self.text = text
        self.times_sent = 0
        self.waits_to_be_sent = True
        self.waited_for_token = False  # it was refused once because the old one had expired
        self._repeatable = repeatable
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._on_progress = on_progress
        self._next_sequence = 0
        self._joined_late = False

    @property
    def may_be_sent_again(self) -> bool:
        """Whether a server that does not know it may get it once more: nothing has come of it."""
        return self._repeatable and self._next_sequence == 0

    def fail(self, error: Exception) -> None:
        """End with `error`, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def resumed(self) -> None:
        """On a subscribed connection the first number seen may be any."""
        self._joined_late = True

    def take(self, message: dict[str, Any]) -> Meaning:
        """Apply one message of this request; repeats are told apart by their number."""
        kind, sequence = message.get("type"), message.get("sequence")
        if kind == "error" and message["error"].get("code") == "DUPLICATE_REQUEST":
            return self._take_duplicate(message)
        meaning = Meaning.NEW
        if isinstance(sequence, int):
            if sequence < self._next_sequence:
                return Meaning.REPEAT
            if sequence > self._next_sequence and not self._joined_late:
                meaning = Meaning.AFTER_GAP
            self._next_sequence, self._joined_late = sequence + 1, False
        if not self.answer.done():
            self._apply(kind, message)
        return meaning

    def _take_duplicate(self, message: dict[str, Any]) -> Meaning:
        if self._next_sequence:  # the server got our message twice: the first one is answered
            return Meaning.REPEAT
        if self.times_sent > 1:  # it had arrived before the connection broke
            return Meaning.DUPLICATE
        self.fail(RequestFailedError(message["error"]))
        return Meaning.NEW

    def _apply(self, kind: Any, message: dict[str, Any]) -> None:
        if kind == "response":
            self.answer.set_result(message.get("data"))
        elif kind == "complete":
            url = message.get("result_url")
            self.answer.set_result(message.get("result") if url is None else StoredResult(url))
        elif kind == "error":
            self.fail(RequestFailedError(message["error"]))
        elif kind == "progress" and self._on_progress is not None:
            progress = Progress(
                message["percentage"], message.get("message"), message.get("metadata") or {}
            )
            try:
                self._on_progress(progress)
            except Exception as error:  # noqa: BLE001  # the caller's own, handed to the caller
                self.fail(error)
