"""One request and its messages: what is new, what is a repeat, what ends it."""

from __future__ import annotations

import asyncio
import dataclasses
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


class Exchange:
    """A request under way: `text` as it is sent; `answer` becomes its result or an exception."""

    def __init__(self, text: str, on_progress: Callable[[Progress], None] | None = None) -> None:
        self.text = text
        self.was_sent = False
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._on_progress = on_progress
        self._next_sequence = 0

    def fail(self, error: Exception) -> None:
        """End with `error`, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def take(self, message: dict[str, Any]) -> None:
        """Apply one message of this request; a number seen before is a repeat, without effect."""
        sequence = message.get("sequence")
        if sequence is not None:
            if sequence < self._next_sequence:
                return
            self._next_sequence = sequence + 1
        elif self._next_sequence:
            return  # DUPLICATE_REQUEST of what the server has answered already is no outcome
        if self.answer.done():
            return
        match message["type"]:
            case "response":
                self.answer.set_result(message["data"])
            case "complete":
                url = message.get("result_url")
                self.answer.set_result(StoredResult(url) if url else message.get("result"))
            case "error":
                self.fail(RequestFailedError(message["error"]))
            case "progress" if self._on_progress is not None:
                text, metadata = message.get("message"), message.get("metadata", {})
                progress = Progress(message["percentage"], text, metadata)
                try:
                    self._on_progress(progress)
                except Exception as error:  # noqa: BLE001 - the caller's own, handed to the caller
                    self.fail(error)
